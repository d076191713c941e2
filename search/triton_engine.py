"""The CUDA engine: the kernels of `triton_kernels.py`, two launches and one network call a simulation.

Nothing in `run` looks at a number on the host, and no shape depends on data, so that a whole search can be captured
in one CUDA graph (`captured.py`). What happens once a search, the noise before and the decision after it, is the torch
engine's own code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from search import memory, torch_engine, triton_kernels
from search.border import check_step
from search.config import FixedRange, NodeRange, RowScale, TreeRange, Unit, Unscaled, Unvisited
from search.plan import GumbelPlan, Plan
from search.tree import UNVISITED, RecurrentFn, Result, Root, Step, Tree

kernels: Any = triton_kernels  # launched by indexing, which no type checker knows
ON_CPU = not isinstance(kernels.descend, triton.runtime.JITFunction)  # in the interpreter, TRITON_INTERPRET=1
_LARGEST = 2**20 - 1  # actions and simulations: a link holds either in 20 bits
_COPY_BYTES = 2**14  # wider embeddings are copied by torch: one warp of a kernel would take longer than a launch


class Store(NamedTuple):
    """The trees as the kernels see them; shapes and meaning in `triton_kernels.py`."""

    ints: Tensor
    floats: Tensor
    stats: Tensor
    logits: Tensor
    links: Tensor
    slot_q: Tensor
    slot_visits: Tensor
    slot_prior: Tensor
    root_keys: Tensor
    rows: Tensor
    path: Tensor
    path_slots: Tensor
    ends: Tensor
    embedding: Tensor  # [N, B, ...]: one simulation's answers lie together


class Rule(NamedTuple):
    """What the kernels have to know of the config."""

    gumbel: bool
    unit_kind: int
    default_kind: int
    limit: int  # edges
    epsilon: float = 0.0
    visit_offset: float = 0.0
    value_scale: float = 0.0
    pb_c_init: float = 0.0
    pb_c_base: float = 1.0
    fixed: float = 0.0


class Launch(NamedTuple):
    """How the kernels are launched for one shape."""

    block_k: int
    block_a: int
    block_d: int
    block_e: int
    warps_descend: int
    warps_expand: int
    copy: bool  # the kernels copy embeddings


def run(plan: Plan, root: Root, recurrent_fn: RecurrentFn) -> Result:
    """The whole search. The embedding and action handed to `recurrent_fn` are buffers, overwritten by the next
    simulation: a function that keeps them must clone them."""
    _check(plan, root)
    store, rule = _allocate(plan, root), _rule(plan)
    launch = _launch(plan, root, store)
    batch, num_actions = plan.logits.shape
    num_players = root.value.shape[1]
    noise = plan.noise.contiguous()
    _start(plan, root, store, noise, rule, launch)
    considered = plan.considered.contiguous() if isinstance(plan, GumbelPlan) else store.ends  # there, not read
    action, source = torch.empty(2, batch, dtype=torch.int64, device=noise.device).unbind(0)
    handed = root.embedding.new_empty(root.embedding.shape)
    width = root.embedding.numel() // batch
    shape = (plan.num_simulations + 1, store.links.shape[2], batch, width)  # N, K, B, width
    exists = None if plan.exists is None else plan.exists.contiguous()
    has_chance = False
    # No fused multiply-add: an action not tried yet and a tried one, scored by different formulas, could not tie.
    for simulation in range(plan.num_simulations):
        kernels.descend[(batch,)](
            *(store.ints, store.floats, store.links, store.slot_q, store.slot_visits, store.slot_prior),
            *(store.root_keys, store.rows, considered, store.path, store.path_slots, store.ends),
            *(action, source, store.embedding, handed, simulation, *shape),
            *rule[3:],
            GUMBEL=rule.gumbel,
            UNIT_KIND=rule.unit_kind,
            DEFAULT_KIND=rule.default_kind,
            HAS_CHANCE=has_chance,
            COPY=launch.copy,
            FETCH_ALL=launch.block_k <= 32,
            BLOCK_K=launch.block_k,
            BLOCK_E=launch.block_e,
            num_warps=launch.warps_descend,
            enable_fp_fusion=False,
        )
        if not launch.copy:
            handed.copy_(store.embedding.flatten(0, 1).index_select(0, source))
        step = recurrent_fn(handed, action)
        if simulation == 0:
            check_step(step, root, batch)
        if not launch.copy:
            store.embedding[simulation + 1].copy_(step.embedding)
        has_chance = has_chance or step.chance is not None
        answer, strides = _answer(step, exists, batch, width)
        kernels.expand_and_backup[(batch,)](
            *(*store[:10], noise, store.path, store.path_slots, store.ends, store.embedding),
            *(*answer, *strides, simulation + 1, *shape),
            A=num_actions,
            P=num_players,
            GUMBEL=rule.gumbel,
            UNIT_KIND=rule.unit_kind,
            HAS_EXISTS=step.exists is not None or exists is not None,
            HAS_CHANCE=step.chance is not None,
            COPY=launch.copy,
            BLOCK_A=launch.block_a,
            BLOCK_D=launch.block_d,
            BLOCK_E=launch.block_e,
            num_warps=launch.warps_expand,
            enable_fp_fusion=False,
        )
    return _decide(plan, store)


def bytes_needed(batch: int, num_actions: int, num_players: int, num_simulations: int, embedding_bytes: int) -> int:
    """Bytes of the trees of one search: B (S + 1) (72 + 8 A + 20 K + 12 P + E), K = min(A, S).

    8 A: the logits, and `Tree.child`, which is made at the end; 20 K: link, Q, visits and prior of a visited child.
    """
    slots = min(num_actions, num_simulations)
    per_node = 72 + 8 * num_actions + 20 * slots + 12 * num_players + embedding_bytes
    return batch * (num_simulations + 1) * per_node


def _check(plan: Plan, root: Root) -> None:
    device = plan.logits.device
    if device.type != "cuda" and not ON_CPU:
        raise ValueError(f"the Triton engine needs a CUDA device, the root is on {device}; leave `engine` out")
    if isinstance(plan, GumbelPlan) and plan.config.waves:
        raise ValueError(
            "GumbelConfig.waves is only there on the CPU: how many simulations a wave has depends on the numbers, "
            "and CUDA graphs want fixed shapes; set waves=False or move the root there"
        )
    batch, num_actions = plan.logits.shape
    for name, found in (("actions", num_actions), ("simulations", plan.num_simulations)):
        if found > _LARGEST:
            raise ValueError(f"the Triton engine takes at most {_LARGEST} {name}, found {found}; use torch_engine.run")
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        item = (plan.config.embedding_dtype or root.embedding.dtype).itemsize
        embedding_bytes = root.embedding.numel() // batch * item
        needed = bytes_needed(batch, num_actions, root.value.shape[1], plan.num_simulations, embedding_bytes)
        memory.check_memory(needed, batch, plan.num_simulations, device)


def _allocate(plan: Plan, root: Root) -> Store:
    batch, num_actions = plan.logits.shape
    num_nodes, num_players, device = plan.num_simulations + 1, root.value.shape[1], plan.logits.device
    num_slots = min(num_actions, plan.num_simulations)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        # Empty: each simulation writes its whole column.
        return torch.empty(batch, *shape, dtype=dtype, device=device)

    record = int(kernels.RECORD)
    store = Store(
        ints=empty(num_nodes, record, dtype=torch.int32),
        floats=empty(num_nodes, record),
        stats=empty(num_nodes, 3, num_players),
        logits=empty(num_nodes, num_actions),
        links=empty(num_nodes, num_slots, dtype=torch.int64),
        slot_q=empty(num_nodes, num_slots),
        slot_visits=empty(num_nodes, num_slots, dtype=torch.int32),
        slot_prior=empty(num_nodes, num_slots),
        root_keys=empty(num_slots),
        rows=empty(int(kernels.ROW)),
        path=empty(num_nodes, dtype=torch.int32),
        path_slots=empty(num_nodes, dtype=torch.int32),
        ends=empty(int(kernels.END), dtype=torch.int32),
        embedding=root.embedding.new_empty((num_nodes, *root.embedding.shape), dtype=plan.config.embedding_dtype),
    )
    store.embedding[0].copy_(root.embedding)
    return store


def _launch(plan: Plan, root: Root, store: Store) -> Launch:
    """Block sizes and warps. One warp wherever it can hold a node: reductions then need no shared memory."""
    num_actions, num_slots = plan.logits.shape[1], store.links.shape[2]
    width = root.embedding.numel() // len(root.embedding)
    block_k, block_a = _power_of_2(num_slots), min(1024, _power_of_2(num_actions))
    limit = min(plan.config.max_depth or plan.num_simulations, plan.num_simulations)
    copied = width > 0 and not root.embedding.is_complex() and root.embedding.dtype != torch.bool
    return Launch(
        block_k,
        block_a,
        block_d=min(32, _power_of_2(limit + 1)),
        block_e=min(1024, _power_of_2(max(1, width))),
        warps_descend=_warps(block_k),
        warps_expand=_warps(block_a),
        copy=copied and width * store.embedding.element_size() <= _COPY_BYTES,
    )


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _warps(block: int) -> int:
    """Eight numbers a lane, at most 8 warps."""
    return min(8, max(1, block // 256))


def _start(plan: Plan, root: Root, store: Store, noise: Tensor, rule: Rule, launch: Launch) -> None:
    unit = plan.config.unit
    if isinstance(unit, RowScale):
        units = plan.unit.contiguous()
    else:
        units = torch.full_like(plan.unit, unit.high - unit.low if isinstance(unit, FixedRange) else 1.0)
    kernels.start[(len(units),)](
        *(store.ints, store.floats, store.stats, store.logits, store.rows, noise),
        *(plan.logits.contiguous(), root.value.contiguous(), root.to_play.contiguous(), units.contiguous()),
        plan.num_simulations + 1,
        A=plan.logits.shape[1],
        P=root.value.shape[1],
        GUMBEL=rule.gumbel,
        BLOCK_A=launch.block_a,
        num_warps=launch.warps_expand,
        enable_fp_fusion=False,
    )


def _rule(plan: Plan) -> Rule:
    unit_kind, epsilon = _unit_kind(plan.config.unit)
    limit = plan.config.max_depth or plan.num_simulations
    if isinstance(plan, GumbelPlan):
        config = plan.config
        return Rule(True, unit_kind, 0, limit, epsilon, float(config.visit_offset), float(config.value_scale))
    config, default_kind, fixed = plan.config, int(kernels.DEFAULT_LOWEST), 0.0
    if config.unvisited is Unvisited.NODE:
        default_kind = int(kernels.DEFAULT_NODE)
    elif isinstance(config.unit, TreeRange):
        default_kind = int(kernels.DEFAULT_TREE)
    elif isinstance(config.unit, FixedRange):
        default_kind, fixed = int(kernels.DEFAULT_FIXED), float(config.unit.low)
    numbers = {"pb_c_init": float(config.pb_c_init), "pb_c_base": float(config.pb_c_base), "fixed": fixed}
    return Rule(False, unit_kind, default_kind, limit, epsilon, **numbers)


def _unit_kind(unit: Unit) -> tuple[int, float]:
    """(UNIT_KIND, epsilon) of the kernels."""
    if isinstance(unit, (Unscaled, RowScale, FixedRange)):
        return int(kernels.CONSTANT_UNIT), 0.0
    if isinstance(unit, NodeRange):
        return int(kernels.NODE_RANGE), float(unit.epsilon)
    if isinstance(unit, TreeRange):
        return int(kernels.TREE_RANGE), float(unit.epsilon)
    raise ValueError(f"unknown unit {unit!r}; use one of search.config")


def _answer(step: Step, exists: Tensor | None, batch: int, width: int) -> tuple[list[Tensor], list[int]]:
    """The step's tensors with a dense last axis, and their row strides. Absent ones: another stands in, not read."""
    if step.exists is not None:
        exists = step.exists
    tensors = [
        step.embedding.reshape(batch, width),
        step.reward,
        step.discount,
        step.value,
        step.prior_logits,
        step.to_play,
        step.to_play if exists is None else exists.view(torch.uint8),
        step.to_play if step.chance is None else step.chance.view(torch.uint8),
    ]
    dense = [x.contiguous() if x.ndim > 1 and x.shape[1] > 1 and x.stride(1) != 1 else x for x in tensors]
    return dense, [x.stride(0) for x in dense]


def _decide(plan: Plan, store: Store) -> Result:
    """The torch engine's decision, from the tree and what that engine would keep beside it."""
    tree = _as_tree(store)
    ints, rows = store.ints, store.rows
    extras = torch_engine.Extras(
        q=store.floats[:, :, int(kernels.Q)],
        closed=ints[:, :, int(kernels.CHILDREN)] < 0,
        low=rows[:, int(kernels.LOW)],
        high=rows[:, int(kernels.HIGH)],
        rows=torch.arange(len(rows), device=rows.device),
    )
    if isinstance(plan, GumbelPlan):
        return torch_engine._gumbel_result(plan, tree, extras)
    return torch_engine._puct_result(plan, tree)


def _as_tree(store: Store) -> Tree:
    """The store as `Tree`: views, but for `child` and `to_play`."""

    def of_node(field: Any) -> Tensor:
        return store.ints[:, :, int(field)]

    batch, num_nodes, num_actions = store.logits.shape
    parent, action = of_node(kernels.PARENT), of_node(kernels.ACTION)
    child = torch.full(store.logits.shape, UNVISITED, dtype=torch.int32, device=parent.device)
    number = torch.arange(num_nodes, dtype=torch.int32, device=parent.device).expand(batch, -1)
    # Unused nodes and the root write UNVISITED, the least number, somewhere: the maximum keeps what is there.
    used = parent >= 0
    edge = torch.where(used, parent.long() * num_actions + action, 0)
    child.view(batch, -1).scatter_reduce_(1, edge, torch.where(used, number, UNVISITED), "amax")
    return Tree(
        child=child,
        parent=parent,
        action=action,
        visits=of_node(kernels.VISITS),
        value=store.stats[:, :, int(kernels.VALUE)],
        raw_value=store.stats[:, :, int(kernels.RAW)],
        reward=store.stats[:, :, int(kernels.REWARD)],
        discount=store.floats[:, :, int(kernels.DISCOUNT)],
        prior_logits=store.logits,
        to_play=of_node(kernels.TO_PLAY).long(),
        embedding=store.embedding.transpose(0, 1),
    )
