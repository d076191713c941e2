"""The two searches, `gumbel_muzero` and `muzero`: check, draw the noise, hand over to the engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

from search import border, memory, numba_engine, torch_engine
from search.config import GumbelConfig, PUCTConfig
from search.plan import Plan, plan_gumbel, plan_puct
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
    if check:
        border.check_root(root, num_simulations)
    _check_memory(root, num_simulations, config)
    plan = plan_gumbel(root, num_simulations, config)
    result = (engine or engine_of(root, config))(plan, root, recurrent_fn)
    if check:
        border.check_tree(result.tree)
    return result


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
    if check:
        border.check_root(root, num_simulations)
    _check_memory(root, num_simulations, config)
    plan = plan_puct(root, num_simulations, config)
    result = (engine or engine_of(root, config))(plan, root, recurrent_fn)
    if check:
        border.check_tree(result.tree)
    return result


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
