"""How Q becomes part of a score, as pure functions: what each unit of `search.config` divides by, the mixed value,
and the completion of unvisited actions. The torch engine is made of them; a unit of one's own can be, too.

A unit of one's own is a function from `NodeValues` to the unit of each row, [B] above 0:

    def by_deviation(values):
        return values.q.std(dim=1).clamp_min(0.1)

    GumbelConfig(unit=by_deviation)

B rows, each with one node, and A actions. All tensors lie on the search's device; nothing here copies to the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from search import border
from search.config import FixedRange, NodeRange, RowScale, TreeRange, Unit, Unscaled

_TINY = torch.finfo(torch.float32).tiny


class NodeValues(NamedTuple):
    """What is known of one node a row when an action is chosen there. In the view of the node's mover."""

    q: Tensor  # [B, A] float32: reward + discount * mean value of visited actions, 0 elsewhere
    visited: Tensor  # [B, A] bool
    value: Tensor  # [B] float32, subtracted from Q: PUCT: the node's own mean value; Gumbel: its mixed value
    counted: Tensor  # [B] bool: whether `value` is compared, too: PUCT: always; Gumbel: where an action is unvisited
    low: Tensor  # [B] float32: the lowest Q seen anywhere in the row's tree
    high: Tensor  # [B] float32: the highest


UnitFn = Callable[[NodeValues], Tensor]


class WatchedUnit:
    """A unit function of the user's that keeps each row's smallest and largest unit, to be looked at after the search:
    looking at once would be a host copy."""

    def __init__(self, unit: UnitFn):
        self._unit = unit
        self._low: Tensor | None = None
        self._high: Tensor | None = None

    def __call__(self, values: NodeValues) -> Tensor:
        found = unit_of(self._unit, values, values.value)
        # NaN stays NaN in both.
        self._low = found if self._low is None else torch.minimum(self._low, found)
        self._high = found if self._high is None else torch.maximum(self._high, found)
        return found

    def check(self) -> None:
        """ValueError, naming the row, if one of the units was no positive number."""
        assert self._low is not None, "a search asks for the unit"
        assert self._high is not None, "a search asks for the unit"
        border.refuse(
            ~((self._low >= border.SMALLEST) & (self._high <= border.LARGEST)),
            "the unit function returned 0, a negative number, NaN or infinity for row {row} "
            f"(allowed: {border.SMALLEST:g} to {border.LARGEST:g}); "
            "give it a floor, such as .clamp_min(1e-4): before the first visits all of q is 0",
        )


def node_bounds(values: NodeValues) -> tuple[Tensor, Tensor]:
    """The lowest and the highest [B] of the node's visited Qs and, where it counts, its value: by siblings and
    parent. Infinite (low above high) where nothing counts."""
    low = values.q.masked_fill(~values.visited, torch.inf).amin(dim=1)
    high = values.q.masked_fill(~values.visited, -torch.inf).amax(dim=1)
    low = torch.where(values.counted, torch.minimum(low, values.value), low)
    return low, torch.where(values.counted, torch.maximum(high, values.value), high)


def node_range(values: NodeValues, epsilon: float = 1e-4) -> Tensor:
    """The unit [B] of `NodeRange`: the range of `node_bounds`, at least epsilon."""
    low, high = node_bounds(values)
    return (high - low).clamp_min(epsilon)


def tree_range(values: NodeValues, epsilon: float = 1e-4) -> Tensor:
    """The unit [B] of `TreeRange`: the range of all Qs of the row's tree, at least epsilon."""
    return (values.high - values.low).clamp_min(epsilon)


def unit_of(unit: Unit, values: NodeValues, row_scale: Tensor) -> Tensor:
    """The unit [B] that `unit` means at these nodes; row_scale [B] is `Root.value_scale`.

    ValueError for what is no unit, and for a function that does not return [B].
    """
    if isinstance(unit, NodeRange):
        return node_range(values, unit.epsilon)
    if isinstance(unit, RowScale):
        return row_scale
    if isinstance(unit, TreeRange):
        return tree_range(values, unit.epsilon)
    if isinstance(unit, FixedRange):
        return torch.full_like(row_scale, unit.high - unit.low)
    if isinstance(unit, Unscaled):
        return torch.ones_like(row_scale)
    if callable(unit):
        found = unit(values)
        border.check_tensor("what a unit function returns", found, tuple(row_scale.shape), fix="one number a row")
        return found.float()
    raise ValueError(f"unknown unit {unit!r}; use one of search.config or a function of search.transforms.NodeValues")


def mixed_value(prior: Tensor, visits: Tensor, q: Tensor, raw_value: Tensor) -> Tensor:
    """v_mix (Danihelka et al. 2022, eq. 33): the network's value and the prior-weighted mean of the visited Q.

    prior, visits, q: [B, A], or with a last axis of players; raw_value [B] or [B, P]. Returns raw_value's shape.
    """
    weight = torch.where(visits > 0, prior.clamp_min(_TINY), 0)
    mean = (weight * q).sum(dim=1) / weight.sum(dim=1).clamp_min(_TINY)
    num_visits = visits.sum(dim=1)
    return (raw_value + num_visits * mean) / (1 + num_visits)


def complete(q: Tensor, visited: Tensor, value: Tensor) -> Tensor:
    """Q with `value` in the place of unvisited actions. q, visited: [B, A], value [B]; or with a last axis of players
    on all three (visited: of size 1)."""
    return torch.where(visited, q, value[:, None])


def scale(q: Tensor, value: Tensor, unit: Tensor) -> Tensor:
    """(q - value) / unit; q [B, A], value and unit [B]."""
    return (q - value[:, None]) / unit[:, None]
