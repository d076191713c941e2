"""Sequential halving as a table: which visit count the action of a simulation must have (Danihelka et al. 2022)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor


@functools.lru_cache(maxsize=1024)
def considered_visits(num_considered: int, num_simulations: int) -> tuple[int, ...]:
    """For each simulation the visit count that the root action to be tried has so far.

    The k actions still considered are visited in rounds; between phases k halves, never below 2. Neither number need
    be a power of two: the last phase is cut off at `num_simulations`.
    """
    if num_considered == 1:
        return tuple(range(num_simulations))
    num_phases = math.ceil(math.log2(num_considered))
    sequence: list[int] = []
    remaining, visit = num_considered, 0
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (num_phases * remaining))):
            sequence.extend([visit] * remaining)
            visit += 1
        remaining = max(2, remaining // 2)
    return tuple(sequence[:num_simulations])


@functools.lru_cache(maxsize=64)
def considered_visits_table(max_considered: int, num_simulations: int, device: torch.device) -> Tensor:
    """Row m of the result, [max_considered + 1, num_simulations] int64, is `considered_visits(m)`; row 0 is unused."""
    rows = [considered_visits(max(m, 1), num_simulations) for m in range(max_considered + 1)]
    return torch.tensor(rows, dtype=torch.int64, device=device)
