"""The two searches, `gumbel_muzero` and `muzero`: check, draw the noise, grow the trees, read the decision off."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from search import border, torch_engine
from search.config import GumbelConfig, PUCTConfig
from search.plan import MASKED, GumbelPlan, Plan, PUCTPlan, plan_gumbel, plan_puct
from search.tree import RecurrentFn, Result, Root, Tree

Engine = Callable[[Plan, Root, RecurrentFn], tuple[Tree, torch_engine.Extras]]


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
    rows, without gradients.

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
    plan = plan_gumbel(root, num_simulations, config)
    tree, extras = (engine or _engine_of(root))(plan, root, recurrent_fn)
    if check:
        border.check_tree(tree)
    return _gumbel_result(plan, tree, extras)


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
    plan = plan_puct(root, num_simulations, config)
    tree, _ = (engine or _engine_of(root))(plan, root, recurrent_fn)
    if check:
        border.check_tree(tree)
    return _puct_result(plan, tree)


def _engine_of(root: Root) -> Engine:
    """The seam for the fast engines: the device decides."""
    return torch_engine.grow


def _root_returns(tree: Tree) -> tuple[Tensor, Tensor]:
    """Visits [B, A] int64 and completed returns [B, A, P] of the root's actions."""
    child = tree.child[:, 0]
    visited, index = child >= 0, child.clamp_min(0).long()
    visits = torch.where(visited, tree.visits.gather(1, index), 0).long()
    edge = tree.reward + tree.discount[..., None] * tree.value  # [B, N, P]
    returns = edge.gather(1, index[..., None].expand(-1, -1, edge.shape[2]))
    prior = torch.softmax(tree.prior_logits[:, 0], dim=1)
    mixed = torch_engine.mixed_value(prior[..., None], visits[..., None], returns, tree.raw_value[:, 0])
    return visits, torch.where(visited[..., None], returns, mixed[:, None])


def _mover_q(tree: Tree, returns: Tensor, allowed: Tensor) -> Tensor:
    mover = tree.to_play[:, 0][:, None, None].expand(-1, returns.shape[1], 1)
    return torch.where(allowed, returns.gather(2, mover)[..., 0], 0)


def _gumbel_result(plan: GumbelPlan, tree: Tree, extras: torch_engine.Extras) -> Result:
    visits, returns = _root_returns(tree)
    children = torch_engine.children_of(tree, extras, torch.zeros_like(extras.rows))
    improved = torch.softmax(plan.logits + torch_engine.sigma(plan, extras, children), dim=1)
    improved = torch.where(children.allowed, improved, 0)
    most = torch.where(children.allowed, visits, -1).amax(dim=1)
    action = torch_engine.gumbel_root_scores(plan, extras, children, most).argmax(dim=1)
    root_value = (improved[..., None] * returns).sum(dim=1)
    return Result(action, improved, root_value, visits, _mover_q(tree, returns, children.allowed), tree)


def _puct_result(plan: PUCTPlan, tree: Tree) -> Result:
    visits, returns = _root_returns(tree)
    allowed = plan.logits > MASKED
    target = visits / visits.sum(dim=1, keepdim=True)
    temperature = plan.config.temperature
    if temperature == 0:  # noqa: SIM108
        action = visits.argmax(dim=1)
    else:  # drawn by the Gumbel-max trick; actions without visits have log 0
        action = (torch.log(target) / temperature + plan.noise).argmax(dim=1)
    return Result(action, target, tree.value[:, 0], visits, _mover_q(tree, returns, allowed), tree)
