"""Who chooses moves: the interface of all players, and those that need no network.

Shape legend: B positions, A actions, P players. True = legal. A player is made for one game. A row's choice depends
on that row and its seed alone, never on the rows around it nor on any global random state.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from envs.game import GameSpec, NativeGame, episode_seed
from envs.solver import Solution, take


class Decision(NamedTuple):
    """The move in each of B positions, and what the player thought; None where it thinks nothing of the kind."""

    action: Tensor  # [B] int64; [B, D] float32, in the game's units, where actions are continuous
    policy: Tensor | None = None  # [B, A] float, sums to 1: after search, where there is one
    prior: Tensor | None = None  # [B, A] float, sums to 1: the raw policy of a network
    value: Tensor | None = None  # [B, P] float: expected return of each seat
    visits: Tensor | None = None  # [B, A] int64: how often search tried each move


@runtime_checkable
class Player(Protocol):
    """Chooses from what the player to move sees."""

    name: str

    def act(self, observation: Tensor, legal: Tensor, to_play: Tensor, seed: Tensor) -> Decision:
        """observation [B, *shape] in the view of the player to move, legal [B, A] bool, to_play [B] int64 (seats),
        seed [B] int64: the source of all of a row's randomness."""
        ...


@runtime_checkable
class StatePlayer(Protocol):
    """Chooses from the state of a native game, with whose rules it can look ahead."""

    name: str

    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """state: B states of the game's own type, seed [B] int64 as in `Player.act`."""
        ...


def choose_uniformly(mask: Tensor, seed: Tensor, stream: int = 0) -> Tensor:
    """One of each row's True entries with equal chances: mask [B, A] bool, seed [B] int64 -> [B] int64.

    The same row and seed always give the same choice. `stream` separates several draws from one seed.
    """
    count = mask.sum(1)
    if bool((count == 0).any()):
        raise ValueError(f"row {int((count == 0).nonzero()[0])} has nothing to choose from: its mask is all False")
    draw = torch.as_tensor(episode_seed(stream, seed.cpu().numpy(), 0), device=mask.device)  # 31 uniform bits
    rank = (draw * count) >> 31
    return (mask.cumsum(1) > rank[:, None]).long().argmax(1)


def _uniform(mask: Tensor) -> Tensor:
    return mask.float() / mask.sum(1, keepdim=True)


class RandomPlayer:
    """Every legal move with equal chances; where actions are continuous, every point of the box."""

    name = "random"

    def __init__(self, spec: GameSpec):
        self.spec = spec

    def act(self, observation: Tensor, legal: Tensor, to_play: Tensor, seed: Tensor) -> Decision:
        """See `Player.act`."""
        box = self.spec.box
        if box is not None:  # a number of 31 bits for each coordinate, from the row's seed
            words = [episode_seed(d, seed.cpu().numpy(), 0) for d in range(box.num_dimensions)]
            return Decision(box.at(torch.as_tensor(np.stack(words, 1) / 2.0**31)))
        return Decision(choose_uniformly(legal, seed), policy=_uniform(legal))


class SolverPlayer:
    """Plays perfectly: any move that keeps the value, with equal chances."""

    name = "perfect"

    def __init__(self, solution: Solution):
        self.solution = solution

    def act(self, observation: Tensor, legal: Tensor, to_play: Tensor, seed: Tensor) -> Decision:
        """See `Player.act`; ValueError for positions that the game cannot reach."""
        index = self.solution.lookup(observation)
        optimal = self.solution.optimal[index]
        sign = torch.stack([1 - 2 * to_play, 2 * to_play - 1], 1)
        value = self.solution.value[index, None] * sign  # of the player to move -> of each seat
        return Decision(choose_uniformly(optimal, seed), policy=_uniform(optimal), value=value)


class TacticianPlayer:
    """Looks one or two moves ahead in a native two-player game, and is random where that shows no difference.

    plies=1 takes a win when there is one; plies=2 also leaves the opponent no immediate win when it can. In
    general: the move with the highest reward after `plies` moves, the opponent answering with the worst for us.
    """

    def __init__(self, game: NativeGame, plies: int = 2):
        if plies not in (1, 2):
            raise ValueError(f"plies must be 1 or 2, found {plies}")
        if game.spec.num_players != 2:
            raise ValueError(f"{game.spec.name} has {game.spec.num_players} players; a tactician needs a game for two")
        self.game, self.plies, self.name = game, plies, f"tactician{plies}"

    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """See `StatePlayer.act_on_state`."""
        score = self._score(state, self.game.to_play(state), self.plies)
        best = score == score.max(1, keepdim=True).values
        return Decision(choose_uniformly(best, seed), policy=_uniform(best))

    def _score(self, state: Any, seat: Tensor, plies: int) -> Tensor:
        """[B, A]: what `seat` [B] receives in the next `plies` moves; worst for whoever moves where illegal."""
        legal, mover = self.game.legal(state), self.game.to_play(state)
        row, action = legal.nonzero(as_tuple=True)
        played = self.game.play(take(state, row), action)
        reward = played.reward.gather(1, seat[row, None])[:, 0].clone()
        if plies > 1:
            on = (~played.terminated).nonzero()[:, 0]
            if len(on):
                after = take(played.state, on)
                reply = self._score(after, seat[row[on]], plies - 1)
                mine = self.game.to_play(after) == seat[row[on]]
                reward[on] += torch.where(mine, reply.max(1).values, reply.min(1).values)
        worst = torch.where(mover == seat, -torch.inf, torch.inf)
        return worst[:, None].repeat(1, legal.shape[1]).index_put((row, action), reward)
