"""Batched tree search over a learned (or exact) model: torch and numba only, nothing of ours. See docs/search.md."""

from search.captured import CapturedSearch
from search.config import (
    FixedRange,
    GumbelConfig,
    NodeRange,
    PUCTConfig,
    RowScale,
    TreeRange,
    Unit,
    Unscaled,
    Unvisited,
)
from search.layers import Layer
from search.mlp import MLP
from search.native import NativeModel
from search.policies import gumbel_muzero, muzero
from search.sampled import Gaussian, Proposal, SampledResult, SampledRoot, SampledStep, Samples, sampled_muzero
from search.stochastic import Afterstate, chance_nodes, stochastic_muzero
from search.transforms import NodeValues
from search.tree import UNVISITED, RecurrentFn, Result, Root, Step, Tree
from search.warm import warm_up

__all__ = [
    "MLP",
    "UNVISITED",
    "Afterstate",
    "CapturedSearch",
    "FixedRange",
    "Gaussian",
    "GumbelConfig",
    "Layer",
    "NativeModel",
    "NodeRange",
    "NodeValues",
    "PUCTConfig",
    "Proposal",
    "RecurrentFn",
    "Result",
    "Root",
    "RowScale",
    "SampledResult",
    "SampledRoot",
    "SampledStep",
    "Samples",
    "Step",
    "Tree",
    "TreeRange",
    "Unit",
    "Unscaled",
    "Unvisited",
    "chance_nodes",
    "gumbel_muzero",
    "muzero",
    "sampled_muzero",
    "stochastic_muzero",
    "warm_up",
]
