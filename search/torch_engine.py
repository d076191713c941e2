"""The vectorised engine: any device, plain torch operations, all B trees one hop at a time.

One call of `grow` makes `num_simulations` calls of the recurrent function, each with [B, ...] inputs. Between them:
`_descend` from the root to an edge without a node, `_expand_` writes the new node, `_backup_` carries its value up.
A simulation that ends at a node that cannot be expanded (behind a terminal edge, or at the depth limit) backs that
node up again; the network's answer is then not looked at, and the column of `Tree` of that simulation stays unused.

No host copies inside the loop, on CUDA at the price that the hops are always as many as the deepest possible path
(set `max_depth` there); on the CPU, where looking at a flag costs nothing, they stop when every row has arrived.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from search.border import check_step
from search.config import FixedRange, TreeRange, Unvisited
from search.plan import MASKED, GumbelPlan, Plan, PUCTPlan
from search.transforms import NodeValues, complete, mixed_value, node_bounds, scale, unit_of
from search.tree import UNVISITED, RecurrentFn, Result, Root, Step, Tree


class Extras(NamedTuple):
    """What the engine keeps beside the tree."""

    q: Tensor  # [B, N] float32: reward + discount * value of the edge into the node, for the seat moving before it
    closed: Tensor  # [B, N] bool: never expanded below: behind a terminal edge, or no action exists
    low: Tensor  # [B] float32: lowest q seen in the tree
    high: Tensor  # [B] float32: highest q seen in the tree
    rows: Tensor  # [B] int64: 0, 1, ...
    chance: Tensor | None = None  # [B, N] bool: chance nodes; None: no step has said that there are any


class Children(NamedTuple):
    """One node a row, and its A edges."""

    logits: Tensor  # [B, A] float32
    allowed: Tensor  # [B, A] bool
    visits: Tensor  # [B, A] float32
    q: Tensor  # [B, A] float32, the mover's; 0 where unvisited
    value: Tensor  # [B] float32: the node's mean value for its mover
    raw_value: Tensor  # [B] float32: the network's value for its mover


def run(plan: Plan, root: Root, recurrent_fn: RecurrentFn) -> Result:
    """The whole search."""
    tree, extras = grow(plan, root, recurrent_fn)
    return _gumbel_result(plan, tree, extras) if isinstance(plan, GumbelPlan) else _puct_result(plan, tree)


def grow(plan: Plan, root: Root, recurrent_fn: RecurrentFn) -> tuple[Tree, Extras]:
    """B trees of `plan.num_simulations` simulations. Calls `recurrent_fn` once a simulation, always with B rows."""
    if isinstance(plan, GumbelPlan) and plan.config.waves:
        raise ValueError(
            "GumbelConfig.waves is only there on the CPU and with a unit of search.config; "
            "set waves=False, or move the root there"
        )
    tree, extras = allocate(plan, root)
    limit = plan.config.max_depth or plan.num_simulations
    for simulation in range(plan.num_simulations):
        parent, action = _descend(plan, tree, extras, simulation, limit)
        embedding = tree.embedding[extras.rows, parent].to(root.embedding.dtype)
        step = recurrent_fn(embedding, action)
        if simulation == 0:
            check_step(step, root, len(extras.rows))
        if step.chance is not None and extras.chance is None:
            extras = extras._replace(chance=torch.zeros_like(extras.closed))
        leaf = _expand_(plan, tree, extras, simulation + 1, parent, action, step)
        _backup_(tree, extras, leaf, min(simulation + 1, limit))
    return tree, extras


def allocate(plan: Plan, root: Root) -> tuple[Tree, Extras]:
    """The preallocated tree, with node 0 filled in."""
    batch, num_actions = plan.logits.shape
    num_nodes, num_players = plan.num_simulations + 1, root.value.shape[1]
    device = plan.logits.device

    def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(batch, num_nodes, *shape, dtype=dtype, device=device)

    tree = Tree(
        child=torch.full((batch, num_nodes, num_actions), UNVISITED, dtype=torch.int32, device=device),
        parent=torch.full((batch, num_nodes), -1, dtype=torch.int32, device=device),
        action=torch.full((batch, num_nodes), -1, dtype=torch.int32, device=device),
        visits=zeros(dtype=torch.int32),
        value=zeros(num_players),
        raw_value=zeros(num_players),
        reward=zeros(num_players),
        discount=zeros(),
        prior_logits=zeros(num_actions),
        to_play=zeros(dtype=torch.int64),
        embedding=root.embedding.new_zeros(
            (batch, num_nodes, *root.embedding.shape[1:]), dtype=plan.config.embedding_dtype
        ),
    )
    tree.visits[:, 0] = 1
    tree.value[:, 0] = tree.raw_value[:, 0] = root.value
    tree.prior_logits[:, 0] = plan.logits
    tree.to_play[:, 0] = root.to_play
    tree.embedding[:, 0] = root.embedding
    mover_value = root.value.gather(1, root.to_play[:, None])[:, 0]
    extras = Extras(zeros(), zeros(dtype=torch.bool), mover_value.clone(), mover_value.clone(), _rows(batch, device))
    return tree, extras


def _rows(batch: int, device: torch.device) -> Tensor:
    return torch.arange(batch, device=device)


def _descend(plan: Plan, tree: Tree, extras: Extras, simulation: int, limit: int) -> tuple[Tensor, Tensor]:
    """The edge at which each row's simulation ends: (parent [B], action [B])."""
    rows = extras.rows
    node = torch.zeros_like(rows)
    parent, action = node, node
    active = torch.ones_like(rows, dtype=torch.bool)
    for depth in range(min(simulation + 1, limit)):
        chosen = _select(plan, tree, extras, node, simulation if depth == 0 else None)
        parent, action = torch.where(active, node, parent), torch.where(active, chosen, action)
        below = tree.child[rows, node, chosen].long()
        # Index -1 reads the last node; `below >= 0` discards what it says.
        active = active & (below >= 0) & ~extras.closed[rows, below]
        if active.device.type == "cpu" and not active.any():
            break
        node = torch.where(active, below, node)
    return parent, action


def _expand_(plan: Plan, tree: Tree, extras: Extras, new: int, parent: Tensor, action: Tensor, step: Step) -> Tensor:
    """Writes node `new` behind the edge where there is none yet; returns the node [B] behind the edge."""
    rows = extras.rows
    present = tree.child[rows, parent, action].long()
    fresh = present < 0
    leaf = torch.where(fresh, new, present)
    exists = plan.exists if step.exists is None else step.exists
    logits = step.prior_logits.float()
    closed = step.discount == 0
    if exists is not None:
        logits = logits.masked_fill(~exists, MASKED)
        closed = closed | ~exists.any(dim=1)
    tree.child[rows, parent, action] = leaf.int()
    tree.parent[:, new] = torch.where(fresh, parent, -1).int()
    tree.action[:, new] = torch.where(fresh, action, -1).int()
    tree.raw_value[:, new] = torch.where(fresh[:, None], step.value.float(), 0)
    tree.reward[:, new] = torch.where(fresh[:, None], step.reward.float(), 0)
    tree.discount[:, new] = torch.where(fresh, step.discount.float(), 0)
    tree.prior_logits[:, new] = torch.where(fresh[:, None], logits, 0)
    tree.to_play[:, new] = torch.where(fresh, step.to_play, 0)
    tree.embedding[:, new] = step.embedding
    extras.closed[:, new] = closed
    if step.chance is not None and extras.chance is not None:
        extras.chance[:, new] = step.chance
    return leaf


def _backup_(tree: Tree, extras: Extras, leaf: Tensor, max_hops: int) -> None:
    """Adds the leaf's network value, and the rewards on the way, to the means of all nodes up to the root."""
    rows = extras.rows
    node, active = leaf, torch.ones_like(leaf, dtype=torch.bool)
    returns = tree.raw_value[rows, leaf]  # [B, P], seen from `node`
    for _ in range(max_hops + 1):
        visits, mean = tree.visits[rows, node], tree.value[rows, node]
        updated = mean + (returns - mean) / (visits + 1)[:, None]
        tree.value[rows, node] = torch.where(active[:, None], updated, mean)
        tree.visits[rows, node] = visits + active.int()
        above = tree.parent[rows, node].long()
        active = active & (above >= 0)
        if active.device.type == "cpu" and not active.any():
            break
        above = above.clamp_min(0)
        reward, discount = tree.reward[rows, node], tree.discount[rows, node]
        mover = tree.to_play[rows, above][:, None]
        q = (reward + discount[:, None] * updated).gather(1, mover)[:, 0]
        extras.q[rows, node] = torch.where(active, q, extras.q[rows, node])
        chosen = active if extras.chance is None else active & ~extras.chance[rows, above]
        torch.where(chosen, torch.minimum(extras.low, q), extras.low, out=extras.low)
        torch.where(chosen, torch.maximum(extras.high, q), extras.high, out=extras.high)
        returns = reward + discount[:, None] * returns
        node = torch.where(active, above, node)


def children_of(tree: Tree, extras: Extras, node: Tensor) -> Children:
    """The edges of node [B] of each row."""
    rows = extras.rows
    child = tree.child[rows, node]
    visited, index = child >= 0, child.clamp_min(0).long()
    logits = tree.prior_logits[rows, node]
    mover = tree.to_play[rows, node][:, None]
    return Children(
        logits=logits,
        allowed=logits > MASKED,
        visits=torch.where(visited, tree.visits.gather(1, index), 0).float(),
        q=torch.where(visited, extras.q.gather(1, index), 0),
        value=tree.value[rows, node].gather(1, mover)[:, 0],
        raw_value=tree.raw_value[rows, node].gather(1, mover)[:, 0],
    )


def _select(plan: Plan, tree: Tree, extras: Extras, node: Tensor, root_simulation: int | None) -> Tensor:
    """The action [B] of node [B]; `root_simulation` is the simulation's number where the node is the root."""
    children = children_of(tree, extras, node)
    if isinstance(plan, PUCTPlan):
        scores = _puct_scores(plan, extras, children)
    elif root_simulation is None:
        improved = torch.softmax(children.logits + sigma(plan, extras, children), dim=1)
        scores = improved - children.visits / (1 + children.visits.sum(dim=1, keepdim=True))
    else:
        scores = gumbel_root_scores(plan, extras, children, plan.considered[:, root_simulation])
    if extras.chance is not None:
        # Takes outcomes in proportion to their probabilities, as drawing them would, but evenly.
        outcomes = torch.softmax(children.logits, dim=1) / (1 + children.visits)
        scores = torch.where(extras.chance[extras.rows, node][:, None], outcomes, scores)
    return scores.masked_fill(~children.allowed, -torch.inf).argmax(dim=1)


def gumbel_root_scores(plan: GumbelPlan, extras: Extras, children: Children, considered: Tensor) -> Tensor:
    """g + logits + sigma(q) [B, A] for actions with `considered` [B] visits, -inf for the others."""
    scores = plan.noise + children.logits + sigma(plan, extras, children)
    eligible = children.allowed & (children.visits == considered[:, None])
    return scores.masked_fill(~eligible, -torch.inf)


def sigma(plan: GumbelPlan, extras: Extras, children: Children) -> Tensor:
    """(c_visit + max visits) * c_scale * (completed q - v_mix) / unit, [B, A]: 0 where unvisited."""
    prior, visited = torch.softmax(children.logits, dim=1), children.visits > 0
    mixed = mixed_value(prior, children.visits, children.q, children.raw_value)
    # v_mix counts as a completed Q only where an action has it.
    counted = (children.allowed & ~visited).any(dim=1)
    values = NodeValues(children.q, visited, mixed, counted, extras.low, extras.high)
    unit = unit_of(plan.config.unit, values, plan.unit)
    factor = (plan.config.visit_offset + children.visits.amax(dim=1)) * plan.config.value_scale
    return factor[:, None] * scale(complete(children.q, visited, mixed), mixed, unit)


def _puct_scores(plan: PUCTPlan, extras: Extras, children: Children) -> Tensor:
    """PUCT's scores [B, A]."""
    config, visited = plan.config, children.visits > 0
    total = 1 + children.visits.sum(dim=1)  # N: the node's own evaluation counts
    weight = config.pb_c_init + torch.log((total + config.pb_c_base + 1) / config.pb_c_base)
    prior = torch.softmax(children.logits, dim=1)
    exploration = (torch.sqrt(total) * weight)[:, None] * prior / (1 + children.visits)
    counted = torch.ones_like(visited[:, 0])
    values = NodeValues(children.q, visited, children.value, counted, extras.low, extras.high)
    if config.unvisited is Unvisited.NODE:
        default = children.value
    elif isinstance(config.unit, TreeRange):
        default = extras.low
    elif isinstance(config.unit, FixedRange):
        default = torch.full_like(children.value, config.unit.low)
    else:
        default, _ = node_bounds(values)
    unit = unit_of(config.unit, values, plan.unit)
    return scale(complete(children.q, visited, default), children.value, unit) + exploration


def _root_returns(tree: Tree) -> tuple[Tensor, Tensor]:
    """Visits [B, A] int64 and completed returns [B, A, P] of the root's actions."""
    child = tree.child[:, 0]
    visited, index = child >= 0, child.clamp_min(0).long()
    visits = torch.where(visited, tree.visits.gather(1, index), 0).long()
    edge = tree.reward + tree.discount[..., None] * tree.value  # [B, N, P]
    returns = edge.gather(1, index[..., None].expand(-1, -1, edge.shape[2]))
    prior = torch.softmax(tree.prior_logits[:, 0], dim=1)
    mixed = mixed_value(prior[..., None], visits[..., None], returns, tree.raw_value[:, 0])
    return visits, complete(returns, visited[..., None], mixed)


def _mover_q(tree: Tree, returns: Tensor, allowed: Tensor) -> Tensor:
    mover = tree.to_play[:, 0][:, None, None].expand(-1, returns.shape[1], 1)
    return torch.where(allowed, returns.gather(2, mover)[..., 0], 0)


def _gumbel_result(plan: GumbelPlan, tree: Tree, extras: Extras) -> Result:
    visits, returns = _root_returns(tree)
    children = children_of(tree, extras, torch.zeros_like(extras.rows))
    improved = torch.softmax(plan.logits + sigma(plan, extras, children), dim=1)
    improved = torch.where(children.allowed, improved, 0)
    most = torch.where(children.allowed, visits, -1).amax(dim=1)
    action = gumbel_root_scores(plan, extras, children, most).argmax(dim=1)
    root_value = (improved[..., None] * returns).sum(dim=1)
    return Result(action, improved, root_value, visits, _mover_q(tree, returns, children.allowed), tree)


def _puct_result(plan: PUCTPlan, tree: Tree) -> Result:
    visits, returns = _root_returns(tree)
    allowed = plan.logits > MASKED
    target = visits / visits.sum(dim=1, keepdim=True)
    return Result(plan.draw(target), target, tree.value[:, 0].clone(), visits, _mover_q(tree, returns, allowed), tree)
