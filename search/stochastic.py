"""Stochastic MuZero (Antonoglou et al. 2022): chance nodes between a move and what comes of it.

The model is two functions. `decision_fn`, from a state and an action, is the afterstate dynamics and prediction: the
afterstate, its value, and the probabilities of the outcomes (the paper's chance codes). `chance_fn`, from an
afterstate and an outcome, is the dynamics and prediction: the next state, and the reward of the way there. A node is
one of the two kinds, a path alternates between them, and every simulation adds one node of either kind.

Nothing here is an engine: both functions become one `recurrent_fn` over packed embeddings, whose edges are actions
below a state and outcomes below an afterstate, so every engine and both policies serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from search import border
from search.config import GumbelConfig, PUCTConfig
from search.policies import Engine, gumbel_muzero, muzero
from search.tree import Result, Root, Step, Tree


class Afterstate(NamedTuple):
    """What the model says of a move before chance has spoken. B rows, C outcomes, P players."""

    embedding: Tensor  # [B, ...] of the root's dtype; the shape of a row may differ from the states'
    code_logits: Tensor  # [B, C] float32: softmax gives the probabilities of the outcomes
    value: Tensor  # [B, P] float32, per seat
    exists: Tensor | None = None  # [B, C] bool: the outcomes that can happen; None: all


DecisionFn = Callable[..., Afterstate]  # (state [B, ...], action [B] int64) -> Afterstate
ChanceFn = Callable[..., Step]  # (afterstate [B, ...], outcome [B] int64) -> Step


@torch.no_grad()
def stochastic_muzero(
    root: Root,
    decision_fn: DecisionFn,
    chance_fn: ChanceFn,
    num_simulations: int,
    num_codes: int,
    config: GumbelConfig | PUCTConfig = GumbelConfig(),  # noqa: B008 - frozen
    *,
    afterstate_shape: Sequence[int] | None = None,
    check: bool = True,
    engine: Engine | None = None,
) -> Result:
    """Search from each row of `root`, all of them states, with chance nodes behind the actions.

    `decision_fn(state [B, ...], action [B]) -> Afterstate` and `chance_fn(afterstate [B, ...], outcome [B]) -> Step`
    (its `chance` left None; reward and discount are of the move and its outcome together). num_codes: C.
    afterstate_shape: of one row of `Afterstate.embedding`, None: as the states'. config chooses the policy.

    In a simulation each function is called at most once, with B rows, and on the CPU only if one of the rows needs
    it. Elsewhere looking would be a host copy, so from the second simulation on both are called. Where rows of both
    kinds meet, a function gets zeros and number 0 in the rows that are not its own; its answer there is not used.
    With `GumbelConfig.waves` both take `row [K]` as a third argument, as in `gumbel_muzero`.

    At a chance node the outcome taken is the one furthest behind its probability (`Step.chance`). `max_depth` counts
    edges, two a move. Result: as of `gumbel_muzero` or `muzero`, over the root's actions. Result.tree is the engine's
    own: its A is the larger of actions and outcomes, its embeddings are packed, and `chance_nodes` tells the kinds.
    ValueError: as in those two, and for answers of the wrong shape.
    """
    border.check_kind("config", config, (GumbelConfig, PUCTConfig), "it chooses the policy")
    border.check_call(root, Root, num_simulations, engine, decision_fn=decision_fn, chance_fn=chance_fn)
    border.check_count("num_codes", num_codes)
    if afterstate_shape is not None:
        _check_shape(afterstate_shape)
    if check:
        border.check_root(root)
    recurrent = _Recurrent(root, decision_fn, chance_fn, num_codes, afterstate_shape)
    run = gumbel_muzero if isinstance(config, GumbelConfig) else muzero
    result = run(recurrent.root(), recurrent, num_simulations, config, check=check, engine=engine)  # pyright: ignore[reportArgumentType]
    num_actions = root.prior_logits.shape[1]
    return result._replace(
        policy_target=result.policy_target[:, :num_actions],
        visits=result.visits[:, :num_actions],
        q_values=result.q_values[:, :num_actions],
    )


def chance_nodes(tree: Tree) -> Tensor:
    """[B, N] bool: the nodes of `stochastic_muzero`'s tree that are chance nodes."""
    return (tree.embedding[..., -1] != 0) & (tree.visits > 0)


class _Recurrent:
    """The two functions as one. A packed embedding is the state or the afterstate, flat, zeros, and in the last
    column the kind of node: 0 state, 1 afterstate."""

    def __init__(
        self,
        root: Root,
        decision_fn: DecisionFn,
        chance_fn: ChanceFn,
        num_codes: int,
        afterstate_shape: Sequence[int] | None,
    ) -> None:
        self.states = root
        self.decision_fn, self.chance_fn, self.num_codes = decision_fn, chance_fn, num_codes
        self.state_shape = tuple(root.embedding.shape[1:])
        self.afterstate_shape = self.state_shape if afterstate_shape is None else tuple(afterstate_shape)
        self.width = 1 + max(math.prod(self.state_shape), math.prod(self.afterstate_shape))
        (self.batch, self.num_actions), device = root.prior_logits.shape, root.prior_logits.device
        self.num_edges = max(self.num_actions, num_codes)
        actions = torch.ones(1, self.num_actions, dtype=torch.bool, device=device)
        self.actions_exist = self._pad(actions if root.exists is None else root.exists)
        self.all_codes_exist = self._pad(torch.ones(1, num_codes, dtype=torch.bool, device=device))
        # One row of each, expanded where needed. The edge of a move is free: reward 0, discount 1.
        self.no_reward = torch.zeros(1, root.value.shape[1], device=device)
        self.goes_on = torch.ones(1, device=device)
        self.nobody = torch.zeros(1, dtype=torch.int64, device=device)
        self.is_chance = torch.ones(1, dtype=torch.bool, device=device)
        self.is_state = torch.zeros(1, dtype=torch.bool, device=device)
        self.calls = 0
        self.checked_decision = self.checked_chance = False

    def root(self) -> Root:
        """The root as the engines get it."""
        return self.states._replace(
            prior_logits=self._pad(self.states.prior_logits),
            legal=self._pad(self.states.legal),
            exists=None if self.states.exists is None else self.actions_exist,
            embedding=self._pack(self.states.embedding, 0),
        )

    def __call__(self, packed: Tensor, edge: Tensor, *row: Tensor) -> Step:
        self.calls += 1
        if self.calls == 1:  # every row is at its root
            return self._decide(packed, edge, row)
        at_chance = packed[:, -1] != 0
        if _may_look(at_chance):
            if not at_chance.any():
                return self._decide(packed, edge, row)
            if at_chance.all():
                return self._resolve(packed, edge, row)
        decided = self._decide(*_only(~at_chance, packed, edge), row)
        resolved = self._resolve(*_only(at_chance, packed, edge), row)
        merged = []
        for of_chance, of_state in zip(resolved, decided):
            assert of_chance is not None, "_decide and _resolve fill every field"
            assert of_state is not None, "_decide and _resolve fill every field"
            merged.append(torch.where(at_chance.view(-1, *[1] * (of_state.ndim - 1)), of_chance, of_state))
        return Step(*merged)

    def _decide(self, packed: Tensor, action: Tensor, row: tuple[Tensor, ...]) -> Step:
        """From states to chance nodes."""
        num_rows = len(action)
        state = packed[:, : math.prod(self.state_shape)].reshape(num_rows, *self.state_shape)
        answer = self.decision_fn(state, action, *row)
        if not self.checked_decision:
            self._check_afterstate(answer, num_rows)
            self.checked_decision = True
        exists = self.all_codes_exist if answer.exists is None else self._pad(answer.exists)
        return Step(
            self._pack(answer.embedding, 1),
            self.no_reward.expand(num_rows, -1),
            self.goes_on.expand(num_rows),
            self._pad(answer.code_logits),
            answer.value,
            self.nobody.expand(num_rows),
            exists.expand(num_rows, -1),
            self.is_chance.expand(num_rows),
        )

    def _resolve(self, packed: Tensor, code: Tensor, row: tuple[Tensor, ...]) -> Step:
        """From chance nodes to states."""
        num_rows = len(code)
        afterstate = packed[:, : math.prod(self.afterstate_shape)].reshape(num_rows, *self.afterstate_shape)
        step = self.chance_fn(afterstate, code, *row)
        if not self.checked_chance:
            border.check_step(step, self.states, num_rows)
            if step.chance is not None:
                raise ValueError("chance_fn leads from a chance node to a state: leave Step.chance None")
            self.checked_chance = True
        if step.exists is not None:
            exists = self._pad(step.exists)
        else:
            exists = self.actions_exist
            if row and len(exists) > 1:
                exists = exists[row[0]]
        return step._replace(
            embedding=self._pack(step.embedding, 0),
            prior_logits=self._pad(step.prior_logits),
            exists=exists.expand(num_rows, -1),
            chance=self.is_state.expand(num_rows),
        )

    def _pad(self, edges: Tensor) -> Tensor:
        """[K, A or C] to [K, num_edges], with zeros."""
        missing = self.num_edges - edges.shape[1]
        return edges if missing == 0 else torch.nn.functional.pad(edges, (0, missing))

    def _pack(self, embedding: Tensor, kind: int) -> Tensor:
        packed = embedding.new_zeros(len(embedding), self.width)
        flat = embedding.reshape(len(embedding), -1)
        packed[:, : flat.shape[1]] = flat
        packed[:, -1] = kind
        return packed

    def _check_afterstate(self, answer: Afterstate, num_rows: int) -> None:
        border.check_kind(
            "the answer of decision_fn", answer, Afterstate, "return Afterstate(embedding, code_logits, value)"
        )
        shape, edges = (num_rows, *self.afterstate_shape), (num_rows, self.num_codes)
        if isinstance(answer.embedding, Tensor) and tuple(answer.embedding.shape) != shape:
            raise ValueError(
                f"Afterstate.embedding must have shape {list(shape)}, found {list(answer.embedding.shape)}; "
                "give the shape of one row as afterstate_shape"
            )
        shapes = {
            "embedding": (shape, self.states.embedding.dtype),
            "code_logits": (edges, None),
            "value": ((num_rows, self.states.value.shape[1]), None),
            "exists": (edges, torch.bool),
        }
        border.check_answer(answer, shapes, self.states.prior_logits.device)


def _check_shape(shape: Sequence[int]) -> None:
    if not isinstance(shape, (list, tuple)) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"afterstate_shape must be the sizes of one row, such as (64,), found {shape!r}")


def _may_look(tensor: Tensor) -> bool:
    """Whether reading a value is no copy to the host."""
    return tensor.device.type == "cpu"


def _only(mine: Tensor, packed: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros in the rows that are not `mine`: numbers of the other kind could lie outside of a function's tables."""
    return torch.where(mine[:, None], packed, 0), torch.where(mine, edge, 0)
