"""How a search chooses: `GumbelConfig`, `PUCTConfig`, and the units in which differences of Q count.

A Q enters a score as `(q - v) / unit`, v being a value of the node itself (subtracting it changes no argmax and no
softmax, and keeps float32 precise). The *unit* is what the transforms below differ in.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from search.border import LARGEST, SMALLEST, check_count, check_kind, check_number

if TYPE_CHECKING:
    from search.transforms import NodeValues


@dataclass(frozen=True)
class Unscaled:
    """Q as it is: one unit of return counts as one."""


@dataclass(frozen=True)
class RowScale:
    """Unit `Root.value_scale[row]`: one number a row, that is a game, chosen by the caller; it does not drift inside
    a search. Ones where the root carries none."""


@dataclass(frozen=True)
class NodeRange:
    """Unit: highest less lowest Q at the node (min-max per node, as mctx does).

    Counted in: for PUCT the visited Qs and the node's own mean value, for Gumbel the completed Qs.
    """

    epsilon: float = 1e-4
    """The smallest unit. Means of float32 differ by some 1e-7 where they should be equal (two actions that lead to the
    same state); a much smaller unit would blow that up to a preference."""

    def __post_init__(self) -> None:
        check_number("NodeRange.epsilon", self.epsilon, SMALLEST)


@dataclass(frozen=True)
class TreeRange:
    """Unit: highest less lowest Q that any backup of this row's tree has seen (min-max per tree, as in the MuZero
    paper, appendix B), each Q in its own mover's view, the root's network value counted too; Qs of outcomes at chance
    nodes, where nobody moves, are left out. Never across rows."""

    epsilon: float = 1e-4
    """The smallest unit; below it differences of Q are taken for rounding."""

    def __post_init__(self) -> None:
        check_number("TreeRange.epsilon", self.epsilon, SMALLEST)


@dataclass(frozen=True)
class FixedRange:
    """Unit `high - low`: returns are known to lie in this range."""

    low: float = -1.0
    """The lowest return (what `Unvisited.LOWEST` gives)."""
    high: float = 1.0
    """The highest return."""

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            check_number(f"FixedRange.{name}", getattr(self, name), -LARGEST)
        if not self.high - self.low >= SMALLEST:
            raise ValueError(f"FixedRange needs high > low by {SMALLEST:g}, found low={self.low}, high={self.high}")


# The last: a function of one's own, from what is known of one node a row to the unit [B] (search/transforms.py).
Unit = Unscaled | RowScale | NodeRange | TreeRange | FixedRange | Callable[["NodeValues"], Tensor]


class Unvisited(enum.Enum):
    """The Q of an action that PUCT has not tried yet."""

    LOWEST = enum.auto()
    """The lowest value in the unit's own range: of the node's value and its visited Qs (NodeRange, RowScale,
    Unscaled, a function), of the tree (TreeRange), `low` (FixedRange). mctx's choice."""
    NODE = enum.auto()
    """The node's own mean value."""


@dataclass(frozen=True)
class GumbelConfig:
    """Gumbel MuZero (Danihelka et al. 2022)."""

    max_considered: int = 16
    """m: how many root actions sequential halving starts from (fewer where fewer are legal)."""
    gumbel_scale: float = 1.0
    """Factor on the root's Gumbel noise; 0 makes `Result.action` the greedy one."""
    visit_offset: float = 50.0
    """c_visit of sigma(q) = (c_visit + max visits) * c_scale * (q - v_mix) / unit."""
    value_scale: float = 0.1
    """c_scale of the same formula."""
    unit: Unit = field(default_factory=NodeRange)
    """How Q is normalised: `Unscaled()`, `NodeRange()`, `TreeRange()`, `FixedRange(low, high)`, `RowScale()`
    (divided by the row's own `Root.value_scale`), or a function of `search.transforms.NodeValues` that returns the
    unit [B], above 0; a function runs on the torch engine, on any device."""
    max_depth: int | None = None
    """The deepest node, in edges from the root; a simulation that gets there backs that node up again. None: no
    limit."""
    embedding_dtype: torch.dtype | None = None
    """Embeddings are stored in this type and handed to the model in the root's own, for example torch.bfloat16 for
    half the memory; statistics and logits are float32 always. None: the root's own type."""
    waves: bool = False
    """Simulations of a row that share a visit level of sequential halving, and so go to different root actions, are
    evaluated in one call: `recurrent_fn(embedding [K, ...], action [K], row [K])` is called less often, with K =
    several simulations of all rows at once (K varies from call to call), `row` naming the row of each. The root's
    scores are then looked at once a level. CPU only; docs/search.md says how often results differ."""

    def __post_init__(self) -> None:
        check_count("max_considered", self.max_considered)
        for name in ("gumbel_scale", "visit_offset", "value_scale"):
            check_number(name, getattr(self, name), 0)
        if not isinstance(self.waves, bool):
            raise ValueError(f"waves must be True or False, found {self.waves!r}")
        _check_common(self)


@dataclass(frozen=True)
class PUCTConfig:
    """MuZero's PUCT (Schrittwieser et al. 2020, appendix B):
    `(q - v) / unit + P sqrt(N) / (1 + n) * (pb_c_init + log((N + pb_c_base + 1) / pb_c_base))`, where N counts the
    node's own evaluation too (N = 1 + sum of n), so the first choice already follows the prior."""

    pb_c_init: float = 1.25
    """Weight of the prior."""
    pb_c_base: float = 19652.0
    """Visits at which the weight of the prior begins to grow."""
    dirichlet_fraction: float = 0.25
    """Share of Dirichlet noise in the root's prior; 0: none."""
    dirichlet_alpha: float = 0.3
    """Concentration of the noise, over the legal actions only."""
    temperature: float = 1.0
    """The action is drawn with probability proportional to visits ** (1 / temperature); 0: the most visited."""
    unit: Unit = field(default_factory=NodeRange)
    """How Q is normalised, as in `GumbelConfig.unit`."""
    unvisited: Unvisited = Unvisited.LOWEST
    """The Q of actions not tried yet."""
    max_depth: int | None = None
    """As in `GumbelConfig.max_depth`."""
    embedding_dtype: torch.dtype | None = None
    """As in `GumbelConfig.embedding_dtype`."""

    def __post_init__(self) -> None:
        bounds = {"pb_c_init": (0,), "pb_c_base": (1e-6,), "dirichlet_fraction": (0, 1), "dirichlet_alpha": (1e-6,)}
        for name, bound in bounds.items():
            check_number(name, getattr(self, name), *bound)
        if self.temperature != 0:  # below: the shares' powers underflow
            check_number("temperature (where not 0)", self.temperature, 1e-6)
        check_kind("unvisited", self.unvisited, Unvisited, "such as Unvisited.NODE")
        _check_common(self)


def _check_common(config: GumbelConfig | PUCTConfig) -> None:
    unit, dtype = config.unit, config.embedding_dtype
    known = isinstance(unit, (Unscaled, RowScale, NodeRange, TreeRange, FixedRange))
    if isinstance(unit, type) or not (known or callable(unit)):
        raise ValueError(f"unit must be one of search.config, such as NodeRange(), or a function, found {unit!r}")
    if config.max_depth is not None:
        check_count("max_depth", config.max_depth)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(
            f"embedding_dtype must be a floating-point type such as torch.bfloat16, or None, found {dtype!r}: "
            "numbers of an embedding would be cut off"
        )
