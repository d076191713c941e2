"""What goes into a search and what comes out: `Root`, `Step`, `Tree`, `Result`.

Shape legend: B batch, A actions, N nodes (simulations + 1), P players. True = legal. Values and rewards are per
player, in absolute seats: entry p belongs to seat p whoever moves. A single-player row in a batch with P = 2 has
`to_play` 0 throughout and zeros for seat 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

UNVISITED = -1  # in `Tree.child`: no node there yet


class Root(NamedTuple):
    """The positions to search from, one a row."""

    prior_logits: Tensor  # [B, A] float32, finite where legal
    value: Tensor  # [B, P] float32, the network's value of each root
    embedding: Tensor  # [B, ...] what `recurrent_fn` is given back
    legal: Tensor  # [B, A] bool: at the root
    to_play: Tensor  # [B] int64, the seat to move
    seed: Tensor  # [B] int64: all of a row's randomness comes from its own seed
    exists: Tensor | None = None  # [B, A] bool: the actions a row's game has at all; None: all of them
    value_scale: Tensor | None = None  # [B] float32: the unit in which a row's differences of Q count; None: ones


class Step(NamedTuple):
    """What the model says of one edge a row: the node behind it and the way there."""

    embedding: Tensor  # [B, ...]
    reward: Tensor  # [B, P] float32, per seat, before the discount
    discount: Tensor  # [B] float32 >= 0: gamma times continuation; 0 ends the game on this edge
    prior_logits: Tensor  # [B, A] float32, of the new node
    value: Tensor  # [B, P] float32, of the new node
    to_play: Tensor  # [B] int64, who moves in the new node
    exists: Tensor | None = None  # [B, A] bool: overrides `Root.exists` for this node (actions that vary by state)
    chance: Tensor | None = None  # [B] bool: the new node is a chance node (below); None: no row's is
    # At a chance node the actions are outcomes and nobody chooses: both policies take the highest
    # softmax(prior_logits)[a] / (1 + visits[a]), ties to the lowest index, so that outcomes are visited in proportion
    # to their probabilities (Antonoglou et al. 2022). Its value is the mean of what was backed up, as everywhere.
    # `to_play` may be any seat there: Q of its edges is compared with nothing and does not count in `TreeRange`.
    # The root is never one.


RecurrentFn = Callable[..., Step]  # (embedding [B, ...], action [B] int64) -> Step; in waves with row [B] int64 behind


class Tree(NamedTuple):
    """B trees after a search; node 0 is the root, node i is the one simulation i made."""

    child: Tensor  # [B, N, A] int32: node behind each action, UNVISITED where none
    parent: Tensor  # [B, N] int32, -1 at the root and at rows' unused nodes
    action: Tensor  # [B, N] int32, the action that leads from the parent here
    visits: Tensor  # [B, N] int32; the root's own evaluation counts as one
    value: Tensor  # [B, N, P] float32: mean of the returns backed up through the node
    raw_value: Tensor  # [B, N, P] float32: the network's value
    reward: Tensor  # [B, N, P] float32: on the edge from the parent
    discount: Tensor  # [B, N] float32: on the edge from the parent
    prior_logits: Tensor  # [B, N, A] float32
    to_play: Tensor  # [B, N] int64
    embedding: Tensor  # [B, N, ...]


class Result(NamedTuple):
    """What a search decides."""

    action: Tensor  # [B] int64, to play
    policy_target: Tensor  # [B, A] float32, sums to 1, 0 on illegal actions: the improved policy
    root_value: Tensor  # [B, P] float32: the root's value under the search
    visits: Tensor  # [B, A] int64: how often each root action was tried
    q_values: Tensor  # [B, A] float32: the mover's completed Q of each root action
    tree: Tree
