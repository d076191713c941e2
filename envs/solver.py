"""Exact solutions of small games: every reachable position, its value and all the moves that keep it.

Shape legend: M positions where somebody is to move, A actions. Values take the view of the player to move.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.game import NativeGame
from envs.packing import RowPacking, StatePacking, TooNarrowError

MAX_POSITIONS = 12_000_000  # reachable ones, ends of the game included
MAX_BYTES = 4 * 2**30  # for the enumeration, and for the solution
_CHUNK = 1 << 16  # rows that are played at once: bounds the memory of the enumeration
_TIE = 1e-9  # sums of rewards closer than this are one value

_solutions: weakref.WeakKeyDictionary[Any, Solution] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """All M reachable positions that are not ends of the game, in order of ply."""

    game: str  # the spec's name
    version: int
    observation: Tensor  # [M, *shape] of the spec's dtype, seen by the player to move
    legal: Tensor  # [M, A] bool
    to_play: Tensor  # [M] int64
    value: Tensor  # [M] float32: return of the player to move under perfect play of both; -1, 0 or 1 in most games
    optimal: Tensor  # [M, A] bool: every move that keeps the value
    ply: Tensor  # [M] int64: fewest moves from the first position
    num_reachable: int  # M and the ends of the game together
    state: Any = dataclasses.field(repr=False)  # the M states, of the game's own type: to play on from a position

    def __len__(self) -> int:
        return len(self.ply)

    @functools.cached_property
    def _sorted(self) -> tuple[RowPacking, np.ndarray, np.ndarray]:
        """How observations become keys, the keys in sorted order, and which position each is."""
        packing = RowPacking(self.observation)
        keys, _ = packing.pack(self.observation)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        if len(first) < len(keys):
            twin = np.repeat(order[first], np.diff(np.append(first, len(keys))))  # first position that looks the same
            for name in ("legal", "optimal", "value"):
                mine = getattr(self, name)
                if not torch.equal(mine[order], mine[twin]):
                    raise ValueError(
                        f"{self.game}: two positions look the same but differ in `{name}`; "
                        "a player cannot tell them apart, so the observation must show more"
                    )
        return packing, keys[first], order[first]

    def find(self, observation: Tensor) -> Tensor:
        """Numbers of positions by what the player to move sees: [B, *shape] -> [B] int64, -1 where unknown.

        Whole observations are compared, not hashes of them, so a hit is always right. ValueError when shape or
        dtype is not the game's.
        """
        if observation.shape[1:] != self.observation.shape[1:] or observation.dtype != self.observation.dtype:
            raise ValueError(
                f"{self.game}: observations are {tuple(self.observation.shape[1:])} {self.observation.dtype}, "
                f"found {tuple(observation.shape[1:])} {observation.dtype}"
            )
        packing, keys, index = self._sorted
        wanted, within = packing.pack(observation.cpu())
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return torch.as_tensor(np.where(within & (keys[place] == wanted), index[place], -1))

    def part(self, rows: Tensor) -> Solution:
        """The solution of some of its positions: rows [R] int64, or [M] bool. `num_reachable` stays the game's."""
        tensors = ("observation", "legal", "to_play", "value", "optimal", "ply")
        parts: dict[str, Any] = {name: getattr(self, name)[rows] for name in tensors}
        return dataclasses.replace(self, state=take(self.state, rows), **parts)

    def sample(self, count: int, seed: int = 0) -> Solution:
        """At most `count` positions without repetition, each with the same chance, in order of ply: for judging players
        of games with too many positions to play them all."""
        if count >= len(self):
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.part(order[:count].sort().values)

    def lookup(self, observation: Tensor) -> Tensor:
        """`find`, with a ValueError where a position is unknown (it cannot be reached, or is an end)."""
        found = self.find(observation)
        if bool((found < 0).any()):
            row = int((found < 0).nonzero()[0])
            raise ValueError(f"{self.game}: row {row} shows no position that can be reached with a move to make")
        return found


def solve(game: NativeGame, max_positions: int = MAX_POSITIONS, max_bytes: int = MAX_BYTES) -> Solution:
    """Enumerate a game breadth first with its batched rules and solve it by backward induction (CPU).

    For native two-player zero-sum games without chance, whose positions never repeat within a game. Positions
    are told apart by the state's tensors. Solutions are kept in memory for as long as the game object lives.
    ValueError when the game is of another kind, when it has more than `max_positions` reachable positions (ends
    included), when the enumeration or the solution would take more than `max_bytes`, and when positions repeat.
    """
    solution = _solutions.get(game)
    if solution is None:
        solution = _solve(game, max_positions, max_bytes)
        _solutions[game] = solution
    return solution


@dataclasses.dataclass(frozen=True)
class _Layer:
    """The L positions that are first seen after as many moves, and the E moves in them, position by position."""

    keys: np.ndarray  # [L]
    start: int  # number of the first
    mover: Tensor  # [L] int8
    legal: np.ndarray  # [L, ceil(A / 8)] uint8: the mask, eight moves a byte
    target: np.ndarray  # [E] int32: number of the position that the move leads to, -1 for an end
    rewarded: np.ndarray  # [R] int64: those of the E moves that seat 0 has a reward for
    reward: np.ndarray  # [R] float64: that reward

    @property
    def num_bytes(self) -> int:
        arrays = (self.keys, self.legal, self.target, self.rewarded, self.reward)
        return len(self.mover) + sum(array.nbytes for array in arrays)

    @functools.cached_property
    def lookup(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted keys, and the number of each."""
        order = np.argsort(self.keys)
        return self.keys[order], order + self.start

    @functools.cached_property
    def bit_counts(self) -> set[int]:
        """Of the keys: layers that have none in common have no key in common."""
        return _bit_counts(self.keys)

    def moves(self, num_actions: int) -> Iterator[tuple[slice, Tensor, np.ndarray, np.ndarray]]:
        """By chunks of positions: their rows, legal [l, A], the moves' targets [e] and seat 0's rewards [e]."""
        at = 0
        for begin in range(0, len(self.keys), _CHUNK):
            rows = slice(begin, min(begin + _CHUNK, len(self.keys)))
            mask = torch.from_numpy(np.unpackbits(self.legal[rows], axis=1, count=num_actions).astype(bool))
            end = at + int(mask.sum())
            reward = np.zeros(end - at)
            some = slice(*np.searchsorted(self.rewarded, (at, end)))
            reward[self.rewarded[some] - at] = self.reward[some]
            yield rows, mask, self.target[at:end], reward
            at = end


def _solve(game: NativeGame, max_positions: int, max_bytes: int) -> Solution:
    spec = game.spec
    if not (spec.num_players == 2 and spec.zero_sum and not spec.stochastic and spec.perfect_information):
        raise ValueError(
            f"{spec.name}: only two-player zero-sum games of perfect information without chance are solved"
        )
    packing = StatePacking(game.initial(torch.zeros(1, dtype=torch.int64)))
    while True:
        try:
            layers, num_ended = _enumerate(game, packing, max_positions, max_bytes)
            break
        except TooNarrowError as error:
            packing = packing.wider(error.field)
    num_positions, num_actions = layers[-1].start + len(layers[-1].keys), spec.num_actions
    value = np.zeros(num_positions)
    optimal = np.zeros((num_positions, -(-num_actions // 8)), np.uint8)
    if not _induce_layers(layers, num_actions, value, optimal):
        _induce_sweeps(spec.name, layers, num_actions, value, optimal)
    ply = torch.cat([torch.full((len(layer.keys),), depth) for depth, layer in enumerate(layers)])
    keys, mover = np.concatenate([layer.keys for layer in layers]), torch.cat([layer.mover for layer in layers])
    layers.clear()  # gives back their memory before the tensors are made
    own = torch.from_numpy(value) * (1 - 2 * mover) + 0.0  # seat 0's view to the mover's
    return assemble(game, packing, keys, ply, own.float(), optimal, num_positions + num_ended, max_bytes)


def _enumerate(game: NativeGame, packing: StatePacking, max_positions: int, max_bytes: int) -> tuple[list[_Layer], int]:
    """All positions by the fewest moves that lead to them, numbered as they are discovered, and the number of ends."""
    layers: list[_Layer] = []
    ended = np.zeros(0, np.uint64)
    keys, start, held = packing.pack(game.initial(torch.zeros(1, dtype=torch.int64))), 0, 0
    while len(keys):
        masks, movers, children, overs, rewards = [], [], [], [], []
        for at in range(0, len(keys), _CHUNK):
            state = packing.unpack(keys[at : at + _CHUNK])
            legal = game.legal(state)
            row, action = legal.nonzero(as_tuple=True)
            masks.append(np.packbits(legal.numpy(), axis=1))
            movers.append(game.to_play(state).to(torch.int8))
            for part in torch.arange(len(row)).split(_CHUNK):
                played = game.play(take(state, row[part]), action[part])
                children.append(packing.pack(played.state))
                overs.append(played.terminated.numpy())
                rewards.append(played.reward[:, 0].double().numpy())  # zero-sum: seat 0's says all
        child, over, reward = np.concatenate(children), np.concatenate(overs), np.concatenate(rewards)
        del children
        ends = np.unique(child[over])
        ended = ends if not len(ended) else np.concatenate([ended, ends])
        target = np.full(len(child), -1, np.int32)
        rewarded = np.flatnonzero(reward)
        layer = _Layer(
            keys, start, torch.cat(movers), np.concatenate(masks), target, rewarded, reward[rewarded]
        )  # fmt: skip
        layers.append(layer)
        start += len(keys)
        keys, target[~over] = _number(child[~over], layers, start)
        held += layer.num_bytes
        if start + len(keys) + len(ended) > max_positions:
            raise ValueError(
                f"{game.spec.name}: more than {max_positions} reachable positions; raise max_positions, or choose a "
                "smaller game"
            )
        if held + ended.nbytes > max_bytes:
            raise ValueError(
                f"{game.spec.name}: its first {start} positions already take more than {max_bytes / 2**30:.3g} GiB; "
                "raise max_bytes, or choose a smaller game"
            )
    return layers, len(np.unique(ended))


def _number(child: np.ndarray, layers: list[_Layer], start: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys among child [E] that no layer has, in order of appearance, and the number of each child [E] int32."""
    if not len(child):
        return child, np.zeros(0, np.int32)
    unique, first, inverse = np.unique(child, return_index=True, return_inverse=True)
    number = np.full(len(unique), -1, np.int32)
    counts = _bit_counts(unique)
    for layer in layers:
        if counts & layer.bit_counts:
            known, numbers = layer.lookup
            place = np.searchsorted(known, unique).clip(max=len(known) - 1)
            number = np.where(known[place] == unique, numbers[place], number).astype(np.int32)
    fresh = np.flatnonzero(number < 0)
    fresh = fresh[np.argsort(first[fresh])]
    number[fresh] = start + np.arange(len(fresh), dtype=np.int32)
    return unique[fresh], number[inverse.ravel()]


def _bit_counts(keys: np.ndarray) -> set[int]:
    words = np.ascontiguousarray(keys).view(np.uint64).reshape(len(keys), -1)
    return set(np.unique(np.bitwise_count(words).sum(1, dtype=np.int64)).tolist())


def _induce_layers(layers: list[_Layer], num_actions: int, value: np.ndarray, optimal: np.ndarray) -> bool:
    """Fill value [M] (seat 0's view) and optimal [M, ceil(A / 8)] from the last layer to the first.

    False, with nothing of use filled in, where a move does not lead to the next layer.
    """
    for layer in reversed(layers):
        last = layer.start + len(layer.keys)
        if bool(((layer.target >= 0) & (layer.target < last)).any()):
            return False
        for rows, legal, target, reward in layer.moves(num_actions):
            follow = reward + np.where(target < 0, 0.0, value[target])
            best, kept = _choose(legal, layer.mover[rows], follow)
            into = slice(layer.start + rows.start, layer.start + rows.stop)
            value[into], optimal[into] = best, kept
    return True


def _choose(legal: Tensor, mover: Tensor, follow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """legal [L, A], mover [L], follow [E] what seat 0 gets after each legal move -> its value [L] (seat 0's view) under
    the mover's best move, and the moves that keep it [L, ceil(A / 8)], eight a byte."""
    sign = (1 - 2 * mover).double()  # seat 0's view to the mover's, and back
    q = torch.full(legal.shape, -torch.inf, dtype=torch.float64)
    q[legal] = torch.from_numpy(follow)
    q = torch.where(legal, q * sign[:, None], -torch.inf)
    best = q.max(1).values
    kept = np.packbits((legal & (q >= best[:, None] - _TIE)).numpy(), axis=1)
    return (best * sign + 0.0).numpy(), kept  # + 0.0: no negative zeros


def _induce_sweeps(name: str, layers: list[_Layer], num_actions: int, value: np.ndarray, optimal: np.ndarray) -> None:
    """The same for games whose moves skip layers or lead back to earlier ones: a position is settled once all that can
    follow it is. ValueError where some never are: positions repeat."""
    settled = np.zeros(len(value), bool)
    while not settled.all():
        before = int(settled.sum())
        for layer in reversed(layers):
            for rows, legal, target, reward in layer.moves(num_actions):
                into = slice(layer.start + rows.start, layer.start + rows.stop)
                known = (target < 0) | settled[target]
                row = legal.nonzero()[:, 0].numpy()
                ready = ~settled[into]
                ready[row[~known]] = False
                follow = reward + np.where(target < 0, 0.0, value[target])
                best, kept = _choose(legal, layer.mover[rows], follow)
                value[into], optimal[into] = (
                    np.where(ready, best, value[into]),
                    np.where(ready[:, None], kept, optimal[into]),
                )
                settled[into] |= ready
        if int(settled.sum()) == before:
            raise ValueError(f"{name}: positions repeat within a game; backward induction needs a game without loops")


def assemble(
    game: NativeGame,
    packing: StatePacking,
    keys: np.ndarray,
    ply: Tensor,
    value: Tensor,
    optimal: np.ndarray,
    num_reachable: int,
    max_bytes: int,
) -> Solution:
    """The solution of the states of `keys` [M]: what the rules say of them, written chunk by chunk, and what was found:
    ply [M] int64, value [M] float32 (the mover's view), optimal [M, ceil(A / 8)] uint8, eight moves a byte."""
    spec = game.spec
    whole: dict[str, Any] = {}
    states: list[Tensor] = []
    for at in range(0, len(keys), _CHUNK):
        rows = slice(at, min(at + _CHUNK, len(keys)))
        state = packing.unpack(keys[rows])
        shown = {"observation": game.observe(state), "legal": game.legal(state), "to_play": game.to_play(state)}
        mask = np.unpackbits(optimal[rows], axis=1, count=spec.num_actions).astype(bool)
        shown |= {"optimal": torch.from_numpy(mask)}
        if not whole:
            each = sum(part[0].nbytes for part in (*shown.values(), *state)) + 12
            if each * len(keys) > max_bytes:
                raise ValueError(
                    f"{spec.name}: its {len(keys)} positions take {each * len(keys) / 2**30:.3g} GiB as tensors, more "
                    f"than {max_bytes / 2**30:.3g} GiB; raise max_bytes, or choose a smaller game"
                )
            whole = {name: part.new_empty(len(keys), *part.shape[1:]) for name, part in shown.items()}
            states = [part.new_empty(len(keys), *part.shape[1:]) for part in state]
        for name, part in shown.items():
            whole[name][rows] = part
        for into, part in zip(states, state, strict=True):
            into[rows] = part
    return Solution(
        game=spec.name, version=spec.version, value=value, ply=ply, num_reachable=num_reachable,
        state=packing.type(*states), **whole,
    )  # fmt: skip


def take(state: Any, rows: Tensor) -> Any:
    """Some of B states: rows [R] int64, or [B] bool -> R states."""
    return type(state)(*(part[rows] for part in state))
