"""Exact solutions of small games: every reachable position, its value and all the moves that keep it.

Shape legend: M positions where somebody is to move, A actions. Values take the view of the player to move.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.game import NativeGame

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
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Row keys of all observations in sorted order, and which position each is."""
        keys = _row_keys((self.observation,))
        _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
        twin = torch.as_tensor(index[inverse.ravel()])  # first position with the same observation; mostly itself
        for name in ("legal", "optimal", "value"):
            mine = getattr(self, name)
            if not torch.equal(mine, mine[twin]):
                raise ValueError(
                    f"{self.game}: two positions look the same but differ in `{name}`; "
                    "a player cannot tell them apart, so the observation must show more"
                )
        return keys[index], index

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
        keys, index = self._sorted
        wanted = _row_keys((observation,))
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return torch.as_tensor(np.where(keys[place] == wanted, index[place], -1))

    def lookup(self, observation: Tensor) -> Tensor:
        """`find`, with a ValueError where a position is unknown (it cannot be reached, or is an end)."""
        found = self.find(observation)
        if bool((found < 0).any()):
            row = int((found < 0).nonzero()[0])
            raise ValueError(f"{self.game}: row {row} shows no position that can be reached with a move to make")
        return found


def solve(game: NativeGame, max_positions: int = 1_000_000) -> Solution:
    """Enumerate a game breadth first with its batched rules and solve it by backward induction (CPU).

    For native two-player zero-sum games without chance, whose positions never repeat within a game. Positions
    are told apart by the state's tensors. Solutions are kept in memory for as long as the game object lives.
    ValueError when the game is of another kind, when it has more than `max_positions` reachable positions, and
    when positions repeat.
    """
    solution = _solutions.get(game)
    if solution is None:
        solution = _solve(game, max_positions)
        _solutions[game] = solution
    return solution


def _solve(game: NativeGame, max_positions: int) -> Solution:
    spec = game.spec
    if not (spec.num_players == 2 and spec.zero_sum and not spec.stochastic and spec.perfect_information):
        raise ValueError(
            f"{spec.name}: only two-player zero-sum games of perfect information without chance are solved"
        )

    # Breadth first. Each position is numbered when first seen; `edges` holds what every move in it leads to.
    number: dict[bytes, int] = {}
    layers: list[tuple[Any, Tensor, Tensor]] = []  # states, legal, to_play of a ply
    plies, edges = [], []
    first = game.initial(torch.zeros(1, dtype=torch.int64))
    layer = first
    number[_row_keys(first)[0].tobytes()] = 0
    ended: set[bytes] = set()
    while len(layer[0]):
        legal, mover = game.legal(layer), game.to_play(layer)
        start = sum(len(ply) for ply in plies)
        plies.append(torch.full((len(legal),), len(layers)))
        layers.append((layer, legal, mover))
        row, action = legal.nonzero(as_tuple=True)
        new: list[Any] = []
        for at in range(0, len(row), _CHUNK):
            rows, actions = row[at : at + _CHUNK], action[at : at + _CHUNK]
            played = game.play(take(layer, rows), actions)
            keys = _row_keys(played.state)
            reward = played.reward[:, 0].double()  # zero-sum: seat 0's says all
            target = torch.full((len(rows),), -1)
            fresh = []
            over = played.terminated.tolist()
            for i, key in enumerate(keys):
                key = key.tobytes()
                if over[i]:
                    ended.add(key)
                    continue
                if key not in number:
                    number[key] = len(number)
                    fresh.append(i)
                target[i] = number[key]
            new.append(take(played.state, torch.tensor(fresh, dtype=torch.int64)))
            edges.append((rows + start, actions, target, reward))
            if len(number) + len(ended) > max_positions:
                raise ValueError(f"{spec.name}: more than {max_positions} reachable positions; raise max_positions")
        layer = type(layer)(*(torch.cat(parts) for parts in zip(*new)))

    legal, mover = torch.cat([part[1] for part in layers]), torch.cat([part[2] for part in layers])
    source, action, target, reward = (torch.cat(parts) for parts in zip(*edges))
    value, q = _induce(spec.name, legal, mover, source, action, target, reward)
    states = type(first)(*(torch.cat(parts) for parts in zip(*(part[0] for part in layers))))
    return Solution(
        game=spec.name,
        version=spec.version,
        observation=game.observe(states),
        legal=legal,
        to_play=mover,
        value=value.float(),
        optimal=legal & (q >= value[:, None] - _TIE),
        ply=torch.cat(plies),
        num_reachable=len(number) + len(ended),
        state=states,
    )


def _induce(
    name: str, legal: Tensor, mover: Tensor, source: Tensor, action: Tensor, target: Tensor, reward: Tensor
) -> tuple[Tensor, Tensor]:
    """Values [M] and move values [M, A] (-inf where illegal), both float64 in the view of the player to move.

    source, action, target [E] int64: move `action` in position `source` leads to `target`, -1 for an end;
    reward [E] float64 is seat 0's. A position is settled once all that can follow it is.
    """
    num_positions = len(legal)
    sign = (1 - 2 * mover).double()  # seat 0's view to the mover's, and back
    value = torch.zeros(num_positions, dtype=torch.float64)  # in seat 0's view
    settled = torch.zeros(num_positions, dtype=torch.bool)
    q = torch.full(legal.shape, -torch.inf, dtype=torch.float64)
    while not bool(settled.all()):
        known = (target < 0) | settled[target.clamp(min=0)]
        seat_0 = reward + torch.where(target < 0, 0.0, value[target.clamp(min=0)])
        unknown = torch.zeros(num_positions, dtype=torch.bool)
        unknown[source[~known]] = True
        ready = ~unknown & ~settled
        if not bool(ready.any()):
            raise ValueError(f"{name}: positions repeat within a game; backward induction needs a game without loops")
        use = ready[source]
        q[source[use], action[use]] = seat_0[use] * sign[source[use]]
        value[ready] = q[ready].max(1).values * sign[ready]
        settled |= ready
    return value * sign + 0.0, q  # + 0.0: no negative zeros


def take(state: Any, rows: Tensor) -> Any:
    """Some of B states: rows [R] int64, or [B] bool -> R states."""
    return type(state)(*(part[rows] for part in state))


def _row_keys(parts: tuple[Tensor, ...]) -> np.ndarray:
    """[M] of numpy void: each row's bytes, all tensors side by side. Equal keys mean equal rows."""
    rows = [np.ascontiguousarray(part.cpu().numpy()).reshape(len(part), -1) for part in parts]
    raw = np.ascontiguousarray(np.concatenate([row.view(np.uint8) for row in rows], axis=1))
    return raw.view(np.dtype((np.void, raw.shape[1]))).ravel()
