"""The type of `--seed` options."""

from __future__ import annotations

import argparse

LARGEST = 2**32 - 1  # what the environments of all packages take


def as_seed(text: str) -> int:
    """A seed from 0 to 2**32 - 1; argparse's error for anything else."""
    if not (text.isascii() and text.isdigit()) or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {LARGEST}, found {text!r}")
    return int(text)
