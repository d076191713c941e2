"""The two searches, `gumbel_muzero` and `muzero`: check, draw the noise, hand over to the engine."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from search import border, memory, numba_engine, torch_engine
from search.config import GumbelConfig, PUCTConfig
from search.mlp import MLP
from search.native import NativeModel
from search.plan import Plan, plan_gumbel, plan_puct
from search.transforms import WatchedUnit
from search.tree import RecurrentFn, Result, Root

Engine = Callable[[Plan, Root, RecurrentFn], Result]


@torch.no_grad()
def gumbel_muzero(
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    config: GumbelConfig = GumbelConfig(),  # noqa: B008 - frozen
    *,
    check: bool = True,
    engine: Engine | None = None,
) -> Result:
    """Gumbel MuZero from each row of `root` (Danihelka et al. 2022): sequential halving at the root, completed Q.

    `recurrent_fn(embedding [B, ...], action [B]) -> Step` is called exactly `num_simulations` times, always with B
    rows (with waves: less often, with more), without gradients; a `NativeModel` runs inside the kernels instead
    (search/native.py).

    Result.action [B]: argmax of noise + logits + sigma(q) among the most visited legal actions (greedy at
    `gumbel_scale=0`). Result.policy_target [B, A]: softmax(logits + sigma(completed q)), without noise.
    Result.root_value [B, P]: per player, the mean of the returns of the root's actions weighted by policy_target,
    those of unvisited actions completed by that player's mixed value; in a zero-sum game the seats' sum is 0.
    Result.q_values [B, A]: the same returns for the root's mover, not divided by any unit; 0 on illegal actions.

    check: refuse bad input, and after the search NaN from the network, by ValueError with the row and the fix;
    False saves the reads in hot loops. engine: for tests; by default the root's device decides.
    """
    border.check_kind("config", config, GumbelConfig, "search.muzero takes the other one")
    return _search(plan_gumbel, root, recurrent_fn, num_simulations, config, check, engine)


@torch.no_grad()
def muzero(
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    config: PUCTConfig = PUCTConfig(),  # noqa: B008 - frozen
    *,
    check: bool = True,
    engine: Engine | None = None,
) -> Result:
    """MuZero's PUCT search from each row of `root` (Schrittwieser et al. 2020).

    Result.action [B]: drawn in proportion to visits ** (1 / temperature). Result.policy_target [B, A]: the visits'
    shares. Result.root_value [B, P]: mean of the root's network value and all returns backed up. Result.q_values,
    the number of calls, `check` and `engine`: as in `gumbel_muzero`.
    """
    border.check_kind("config", config, PUCTConfig, "search.gumbel_muzero takes the other one")
    return _search(plan_puct, root, recurrent_fn, num_simulations, config, check, engine)


def _search(
    plan_of: Callable[..., Plan],
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    config: Any,
    check: bool,
    engine: Engine | None,
) -> Result:
    border.check_call(root, Root, num_simulations, engine, recurrent_fn=recurrent_fn)
    watched = None
    if check:
        border.check_root(root)
        _check_embedding(root, recurrent_fn, config)
        if callable(config.unit):
            watched = WatchedUnit(config.unit)  # pyright: ignore[reportArgumentType]
            config = dataclasses.replace(config, unit=watched)
    _check_memory(root, num_simulations, config)
    plan = plan_of(root, num_simulations, config)
    result = (engine or engine_of(root, config))(plan, root, recurrent_fn)
    if check:
        border.check_tree(result.tree)
    if watched is not None:
        watched.check()
    return result


def _check_embedding(root: Root, recurrent_fn: RecurrentFn, config: GumbelConfig | PUCTConfig) -> None:
    if isinstance(recurrent_fn, NativeModel) and root.embedding.dtype != torch.float32:
        raise ValueError(
            f"a model inside the kernels needs Root.embedding in torch.float32, found {root.embedding.dtype}; "
            "convert it with .float() (embedding_dtype sets how it is stored)"
        )
    if isinstance(recurrent_fn, MLP):
        recurrent_fn.check_root(root)
    if config.embedding_dtype is not None and not root.embedding.is_floating_point():
        raise ValueError(
            f"embedding_dtype is for floating-point embeddings, Root.embedding is {root.embedding.dtype}; "
            "leave embedding_dtype None"
        )


def engine_of(root: Root, config: GumbelConfig | PUCTConfig) -> Engine:
    if callable(config.unit):  # a function of the user's: no kernel knows it
        return torch_engine.run
    device = root.prior_logits.device
    if device.type == "cpu":
        return numba_engine.run
    # Written and tested for NVIDIA alone, whose torch brings Triton along.
    if device.type == "cuda" and torch.version.hip is None and importlib.util.find_spec("triton") is not None:
        from search import triton_engine

        return triton_engine.run
    return torch_engine.run


def _check_memory(root: Root, num_simulations: int, config: GumbelConfig | PUCTConfig) -> None:
    (batch, num_actions), num_players = root.prior_logits.shape, root.value.shape[1]
    item = (config.embedding_dtype or root.embedding.dtype).itemsize
    embedding_bytes = root.embedding.numel() // batch * item
    needed = memory.tree_bytes(batch, num_actions, num_players, num_simulations, embedding_bytes)
    memory.check_memory(needed, batch, num_simulations, root.prior_logits.device)
