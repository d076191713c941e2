"""The CPU engine: the kernels of `kernels.py`, and between them one gather, one network call, one copy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from search import kernels
from search.border import check_step
from search.config import FixedRange, NodeRange, RowScale, TreeRange, Unit, Unscaled, Unvisited
from search.native import NativeModel, aligned_bytes
from search.plan import GumbelPlan, Plan, PUCTPlan
from search.tree import RecurrentFn, Result, Root, Step, Tree


class Store(NamedTuple):
    """The trees as the kernels see them, and the embeddings."""

    nodes: np.ndarray  # [B, N] kernels.NODE
    links: np.ndarray  # [B, 4 N] kernels.LINK
    stats: np.ndarray  # [B, N, 3, P] float32
    edges: np.ndarray  # [B, N, A] int32
    logits: np.ndarray  # [B, N, A] float32
    rows: np.ndarray  # [B] kernels.ROW
    embedding: Tensor  # [N, B, ...]: one simulation's answers lie together


class Buffers(NamedTuple):
    """What one network call reads and where its answer goes; K: slots."""

    slots: np.ndarray  # [K] kernels.SLOT
    action: Tensor  # [K] int64
    row: Tensor  # [K] int64
    source: Tensor  # [K] int64: the parents' places in the flat store of embeddings
    target: Tensor  # [K] int64: the new nodes' places there
    stored: Tensor  # [K, ...] embeddings as the store has them
    handed: Tensor  # [K, ...] as the model gets them; the same tensor where the types agree

    def cut(self, k: int) -> Buffers:
        """The first k slots."""
        return self._replace(slots=self.slots[:k], **{name: getattr(self, name)[:k] for name in self._fields[1:]})

    def indices(self) -> tuple[np.ndarray, ...]:
        """The four index tensors as the kernels see them."""
        return self.action.numpy(), self.row.numpy(), self.source.numpy(), self.target.numpy()


def run(plan: Plan, root: Root, recurrent_fn: RecurrentFn) -> Result:
    """The whole search. The embedding and action handed to `recurrent_fn` are buffers, overwritten by the next
    simulation: a function that keeps them must clone them."""
    store, rules = _allocate(plan, root), _rules(plan)
    if isinstance(recurrent_fn, NativeModel) and store.embedding.dtype == torch.float32:
        _grow_native(plan, store, rules, recurrent_fn)
        return _decide(plan, store, rules, plan.noise.contiguous().numpy())
    trees = store[:6]
    batch, num_actions = plan.logits.shape
    waves, num_slots = False, batch
    if isinstance(plan, GumbelPlan) and plan.config.waves:
        waves, num_slots = True, batch * min(plan.config.max_considered, num_actions)
    buffers = _buffers(store, root, num_slots)
    slots, index_arrays = buffers.slots, buffers.indices()
    flat, columns = store.embedding.flatten(0, 1), store.embedding.unbind(0)
    exists = None if plan.exists is None else plan.exists.contiguous().numpy()
    noise = plan.noise.contiguous().numpy()
    considered = plan.considered.contiguous().numpy() if isinstance(plan, GumbelPlan) else None
    weights = np.empty(plan.num_simulations + 3, np.float32)
    kernels.puct_weights_(rules, weights)
    call: Callable[..., Step] = recurrent_fn
    used, done = buffers, 0  # `used`: the buffers cut to the slots of this call
    threads = 1 if waves else min(torch.get_num_threads(), max(1, batch // _ROWS_A_THREAD))

    def descend(first: int, last: int) -> int:
        part = slice(first, last) if threads > 1 else slice(None)
        rows = tuple(array[part] for array in trees)
        if considered is None:
            kernels.descend_puct_(*rows, rules, weights, slots[part])
            count = last - first
        else:
            count = kernels.descend_gumbel_(*rows, rules, noise[part], considered[part], waves, slots[part])
        kernels.address_(slots[part], count, first, batch, *(index[part] for index in index_arrays))
        return count

    while done < batch * plan.num_simulations:
        num_slots = sum(_shared(descend, batch, threads))
        if num_slots != len(used.slots):
            used = buffers.cut(num_slots)
        torch.index_select(flat, 0, used.source, out=used.stored)
        if buffers.handed is not buffers.stored:
            used.handed.copy_(used.stored)
        step = call(used.handed, used.action, used.row) if waves else call(used.handed, used.action)
        if done == 0:
            check_step(step, root, num_slots)
        if step.embedding.shape != used.handed.shape:
            raise ValueError(
                f"Step.embedding must have shape {list(used.handed.shape)}, found {list(step.embedding.shape)}"
            )
        if waves:
            flat.index_copy_(0, used.target, step.embedding.to(flat.dtype))
        else:
            columns[done // batch + 1].copy_(step.embedding)
        _absorb_(trees, used.slots, step, exists, threads)
        done += num_slots
    return _decide(plan, store, rules, noise)


_THREADS_FROM = 1500  # evaluations of a search below which a second thread costs more than it saves
_ROWS_A_THREAD = 256  # the same for the kernels between two calls of a model in Python
_CHUNK = 64  # rows searched together in a thread: their trees stay in its cache
_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def _shared(function: Callable[[int, int], Any], batch: int, threads: int) -> list[Any]:
    """[function(first, last)] for parts of the batch, each in a thread of its own."""
    if threads == 1:
        return [function(0, batch)]
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads - 1, "search")
    bounds = [batch * i // threads for i in range(threads + 1)]
    others = [_pools[threads].submit(function, *pair) for pair in itertools.pairwise(bounds[1:])]
    return [function(bounds[0], bounds[1]), *(other.result() for other in others)]


def _grow_native(plan: Plan, store: Store, rules: np.ndarray, model: NativeModel) -> None:
    """Every simulation inside the kernels, the rows shared out among the threads. Rows do not meet: the result does
    not depend on the number of threads."""
    batch, num_actions = plan.logits.shape
    num_players = store.stats.shape[3]
    found = (store.embedding[0, 0].numel(), num_actions, num_players)
    if found != (model.width, model.num_actions, model.num_players):
        raise ValueError(
            f"the model has embeddings of {model.width} numbers, {model.num_actions} actions and {model.num_players} "
            f"players, the root {found[0]}, {found[1]} and {found[2]}"
        )
    gumbel = isinstance(plan, GumbelPlan)
    considered = plan.considered.contiguous().numpy() if gumbel else np.empty((0, 0), np.int64)
    waves = isinstance(plan, GumbelPlan) and plan.config.waves
    noise = plan.noise.contiguous().numpy()
    exists = None if plan.exists is None else plan.exists.contiguous().numpy()
    most_of_wave = min(plan.config.max_considered, num_actions) if isinstance(plan, GumbelPlan) else 1

    address = model.address  # compiled here, not by several threads at once

    def grow(first: int, last: int) -> tuple[int, int]:
        scratch = aligned_bytes(model.scratch_bytes)
        space = _space(min(_CHUNK, last - first) * (most_of_wave if waves else 1), model, waves)
        for start in range(first, last, _CHUNK):
            part = slice(start, min(start + _CHUNK, last))
            answer = kernels.grow_(
                *(array[part] for array in store[:6]), rules, noise[part], considered[part], waves,
                _NO_EXISTS if exists is None else exists[part], address, model.context.ctypes.data,
                scratch.ctypes.data, start, batch, store.embedding.data_ptr(), model.width, space,
            )  # fmt: skip
            if answer[0] >= 0:
                return answer
        return -1, 0

    threads = min(torch.get_num_threads(), batch, 1 + batch * plan.num_simulations // _THREADS_FROM)
    answers = _shared(grow, batch, threads)
    for row, simulation in answers:
        if row >= 0:
            raise ValueError(
                f"Step.to_play of row {row} in simulation {simulation} is not a seat of {num_players} players"
            )


def _space(num_slots: int, model: NativeModel, waves: bool) -> tuple[np.ndarray, ...]:
    """`space` of `kernels.grow_`."""
    whole, numbers = np.empty((5, num_slots), np.int64), np.float32
    return (
        np.zeros(num_slots, kernels.SLOT), *whole[:4], np.empty((num_slots, model.width), numbers),
        np.empty((num_slots if waves else 0, model.width), numbers), np.empty((num_slots, model.num_players), numbers),
        np.empty((num_slots, model.num_players), numbers), np.empty((num_slots, model.num_actions), numbers),
        np.empty(num_slots, numbers), whole[4], np.empty(6, np.int64),
    )  # fmt: skip


def _buffers(store: Store, root: Root, num_slots: int) -> Buffers:
    shape = (num_slots, *root.embedding.shape[1:])
    stored = store.embedding.new_empty(shape)
    handed = stored if stored.dtype == root.embedding.dtype else root.embedding.new_empty(shape)
    action, row, source, target = torch.empty(4, num_slots, dtype=torch.int64).unbind(0)
    return Buffers(np.zeros(num_slots, kernels.SLOT), action, row, source, target, stored, handed)


def _allocate(plan: Plan, root: Root) -> Store:
    batch, num_actions = plan.logits.shape
    num_nodes, num_players = plan.num_simulations + 1, root.value.shape[1]
    # Empty: each simulation writes its whole column.
    store = Store(
        np.empty((batch, num_nodes), kernels.NODE),
        np.empty((batch, 4 * num_nodes), kernels.LINK),
        np.empty((batch, num_nodes, 3, num_players), np.float32),
        np.empty((batch, num_nodes, num_actions), np.int32),
        np.empty((batch, num_nodes, num_actions), np.float32),
        np.empty(batch, kernels.ROW),
        root.embedding.new_empty((num_nodes, *root.embedding.shape), dtype=plan.config.embedding_dtype),
    )
    store.embedding[0].copy_(root.embedding)
    unit = plan.config.unit
    fixed = torch.full_like(plan.unit, unit.high - unit.low) if isinstance(unit, FixedRange) else None
    units = plan.unit if isinstance(unit, RowScale) else torch.ones_like(plan.unit) if fixed is None else fixed
    arrays = (_float(plan.logits), _float(root.value), root.to_play.contiguous().numpy(), _float(units))
    kernels.start_(store.nodes, *store[2:6], *arrays)
    return store


def _float(tensor: Tensor) -> np.ndarray:
    """As a C-contiguous float32 array: the one type that the kernels are compiled for."""
    if tensor.dtype != torch.float32 or tensor.requires_grad or not tensor.is_contiguous():
        tensor = tensor.detach().float().contiguous()
    return tensor.numpy()


def _unit_kind(unit: Unit) -> tuple[int, float]:
    """(RULE.unit_kind, RULE.epsilon)."""
    if isinstance(unit, (Unscaled, RowScale, FixedRange)):
        return kernels.CONSTANT_UNIT, 0.0
    if isinstance(unit, NodeRange):
        return kernels.NODE_RANGE, unit.epsilon
    if isinstance(unit, TreeRange):
        return kernels.TREE_RANGE, unit.epsilon
    raise ValueError(f"unknown unit {unit!r}; use one of search.config")


def _rules(plan: Plan) -> np.ndarray:
    """[1] kernels.RULE."""
    rules = np.zeros(1, kernels.RULE)
    config = plan.config
    rules["limit"] = config.max_depth or plan.num_simulations
    rules["unit_kind"], rules["epsilon"] = _unit_kind(config.unit)
    if isinstance(plan, GumbelPlan):
        rules["visit_offset"], rules["value_scale"] = plan.config.visit_offset, plan.config.value_scale
        return rules
    puct = plan.config
    rules["pb_c_init"], rules["pb_c_base"] = puct.pb_c_init, puct.pb_c_base
    if puct.unvisited is Unvisited.NODE:
        rules["default_kind"] = kernels.DEFAULT_NODE
    elif isinstance(puct.unit, TreeRange):
        rules["default_kind"] = kernels.DEFAULT_TREE
    elif isinstance(puct.unit, FixedRange):
        rules["default_kind"], rules["fixed"] = kernels.DEFAULT_FIXED, puct.unit.low
    else:
        rules["default_kind"] = kernels.DEFAULT_LOWEST
    return rules


_NO_EXISTS, _NO_CHANCE = np.empty((0, 0), np.bool_), np.empty(0, np.bool_)


def _absorb_(trees: tuple, slots: np.ndarray, step: Step, exists: np.ndarray | None,
             threads: int) -> None:  # fmt: skip
    """The slots' new nodes from the model's answer, and the backups. exists: [B, A], of the rows."""
    num_slots, num_actions, num_players = len(slots), trees[4].shape[2], trees[2].shape[3]
    by_row = step.exists is None
    if step.exists is not None:
        exists = step.exists.contiguous().numpy()
        if exists.shape != (num_slots, num_actions):
            raise ValueError(f"Step.exists must have shape {[num_slots, num_actions]}, found {list(exists.shape)}")
    if step.chance is not None and step.chance.shape != (num_slots,):
        raise ValueError(f"Step.chance must have shape {[num_slots]}, found {list(step.chance.shape)}")
    chance = _NO_CHANCE if step.chance is None else step.chance.contiguous().numpy()
    # The names keep alive what the addresses point to until the kernel is done.
    reward, value = (
        _dense("reward", step.reward, num_slots, num_players),
        _dense("value", step.value, num_slots, num_players),
    )
    logits = _dense("prior_logits", step.prior_logits, num_slots, num_actions)
    discount, to_play = _dense("discount", step.discount, num_slots, 1), _dense("to_play", step.to_play, num_slots, 1)
    answers = (reward, value, logits, discount, to_play)
    exists = _NO_EXISTS if exists is None else exists

    def expand(first: int, last: int) -> int:
        if threads == 1:
            answer = tuple(number for x in answers for number in (x.data_ptr(), x.stride(0)))
            return kernels.expand_and_backup_(*trees, slots, answer, exists, by_row, chance)
        part = slice(first, last)
        answer = tuple(number for x in answers for number in (x[first:].data_ptr(), x.stride(0)))
        bad = kernels.expand_and_backup_(*(array[part] for array in trees), slots[part], answer, exists[part], by_row,
                                         chance[part])  # fmt: skip
        return bad + first if bad >= 0 else -1

    for bad in _shared(expand, num_slots, threads):
        if bad >= 0:
            row = slots["row"][bad] if threads == 1 else bad  # a row's slot is its own place unless there are waves
            raise ValueError(
                f"Step.to_play of row {row} is {int(step.to_play[bad])} in simulation {slots['new'][bad]}: "
                f"not a seat of {num_players} players"
            )


def _dense(name: str, tensor: Tensor, num_rows: int, width: int) -> Tensor:
    """The tensor as the kernel reads it by address: on the CPU, float32 (to_play: int64), dense last axis."""
    expected = (num_rows,) if name in ("discount", "to_play") else (num_rows, width)
    if tensor.shape != expected or not tensor.is_cpu:
        raise ValueError(
            f"Step.{name} must have shape {list(expected)} on the CPU, found {list(tensor.shape)} on {tensor.device}"
        )
    dtype = torch.int64 if name == "to_play" else torch.float32
    if tensor.dtype != dtype or (width > 1 and tensor.stride(1) != 1):
        return tensor.to(dtype).contiguous()
    return tensor


def _decide(plan: Plan, store: Store, rules: np.ndarray, noise: np.ndarray) -> Result:
    batch, num_actions = plan.logits.shape
    target, q_values = torch.empty(batch, num_actions), torch.empty(batch, num_actions)
    visits = torch.empty(batch, num_actions, dtype=torch.int64)
    tree = _as_tree(store)
    if isinstance(plan, PUCTPlan):
        kernels.decide_puct_(*store[:5], visits.numpy(), q_values.numpy(), target.numpy())
        return Result(plan.draw(target), target, tree.value[:, 0].clone(), visits, q_values, tree)
    action = torch.empty(batch, dtype=torch.int64)
    root_value = torch.empty(batch, store.stats.shape[3])
    outputs = (action, target, root_value, visits, q_values)
    kernels.decide_gumbel_(*store[:6], rules, noise, *(x.numpy() for x in outputs))
    return Result(action, target, root_value, visits, q_values, tree)


def _as_tree(store: Store) -> Tree:
    """The store seen as tensors, nothing copied."""

    def of_node(name: str) -> Tensor:
        return torch.from_numpy(store.nodes[name])

    stats = torch.from_numpy(store.stats)
    return Tree(
        child=torch.from_numpy(store.edges),
        parent=of_node("parent"),
        action=of_node("action"),
        visits=of_node("visits"),
        value=stats[:, :, kernels.VALUE],
        raw_value=stats[:, :, kernels.RAW],
        reward=stats[:, :, kernels.REWARD],
        discount=of_node("discount"),
        prior_logits=torch.from_numpy(store.logits),
        to_play=of_node("to_play"),
        embedding=store.embedding.transpose(0, 1),
    )
