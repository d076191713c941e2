"""Batched tree search over a learned (or exact) model: torch only, nothing of ours."""

from search.tree import RecurrentFn, Result, Root, Step, Tree

__all__ = ["RecurrentFn", "Result", "Root", "Step", "Tree"]
