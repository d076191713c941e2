"""OpenSpiel's Monte Carlo tree search in C++ as a player of native games that OpenSpiel knows too.

Its own example's settings: UCT with c = 2, one random rollout an evaluation, proven wins and losses backed up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from agents.player import Decision
from envs.game import NativeGame, installed

_UCT_C, _MEMORY_MB = 2.0, 2000  # the memory is a limit, not taken at once: 10,000 simulations need about 10


def placement_order(seats: Sequence[int]) -> list[int]:
    """An order of moves that gives a board on which a stone can go anywhere: seats [cells] (0, 1; -1 empty)."""
    return _alternating([[cell] for cell, seat in enumerate(seats) if seat >= 0], seats)


def drop_order(seats: Sequence[int], width: int) -> list[int]:
    """An order of columns that gives a board into which stones are dropped: seats [cells], the top row first."""
    columns = [
        [cell for cell in range(len(seats) - width + column, -1, -width) if seats[cell] >= 0] for column in range(width)
    ]
    return [cell % width for cell in _alternating(columns, seats)]


def _alternating(stacks: list[list[int]], seats: Sequence[int]) -> list[int]:
    """All cells of the stacks, each from its first, so that the seats of the cells are 0, 1, 0, 1 ...

    Depth first; amounts of the stacks from which no order leads on are remembered. ValueError if there is no order.
    """
    total, dead = sum(map(len, stacks)), set()
    order: list[int] = []
    taken = [0] * len(stacks)  # of each stack
    tried = [0]  # next stack to try at each depth
    while len(order) < total:
        for index in range(tried[-1], len(stacks)):
            if taken[index] == len(stacks[index]) or seats[stacks[index][taken[index]]] != len(order) % 2:
                continue
            taken[index] += 1
            if tuple(taken) in dead:
                taken[index] -= 1
                continue
            tried[-1] = index + 1
            order.append(index)
            tried.append(0)
            break
        else:
            if not order:
                raise ValueError("no order of alternating moves leads to this board; was it reached by legal play?")
            dead.add(tuple(taken))
            taken[order.pop()] -= 1
            tried.pop()
    position = [0] * len(stacks)
    cells = []
    for index in order:
        cells.append(stacks[index][position[index]])
        position[index] += 1
    return cells


def _seats(state: Any) -> list[list[int]]:
    """Whose stone lies on each cell, of B boards of mine and theirs: [B][cells], -1 empty."""
    mine, theirs = state.stones.flatten(2).unbind(1)
    seat = state.to_play[:, None]
    return torch.where(mine, seat, torch.where(theirs, 1 - seat, -1)).tolist()


# Native games whose actions have OpenSpiel's numbers: OpenSpiel's name, and an order of moves from whose-stone-where.
# Any order will do: a board without a line has none on the way to it.
TWINS: dict[str, tuple[str, Callable[[Sequence[int]], list[int]]]] = {
    "connect_four": ("connect_four", functools.partial(drop_order, width=7)),
    "tictactoe": ("tic_tac_toe", placement_order),
}


def no_twin(game_name: str) -> str | None:
    """Why OpenSpiel's search cannot play the native game; None if it can (once OpenSpiel is installed)."""
    if game_name in TWINS:
        return None
    return f"openspiel-mcts plays {', '.join(TWINS)}, not {game_name}; mcts:N plays any native game"


class OpenSpielPlayer:
    """OpenSpiel's MCTSBot; every decision is a search of its own, drawn by the row's seed alone."""

    def __init__(self, game: NativeGame, simulations: int):
        """MissingExtraError where OpenSpiel is not installed, ValueError for a game that it does not have."""
        reason = no_twin(game.spec.name)
        if reason:
            raise ValueError(reason)
        if simulations < 1:
            raise ValueError(f"openspiel-mcts needs at least 1 simulation, found {simulations}")
        installed("pyspiel", "open-spiel", "openspiel")
        import pyspiel

        self.name, self.simulations = f"openspiel-mcts:{simulations}", simulations
        twin, self._order = TWINS[game.spec.name]
        self._pyspiel, self._game = pyspiel, pyspiel.load_game(twin)

    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """See `agents.player.StatePlayer`. One row after the other: about 10 to 20 ms a 1,000 simulations."""
        actions = [self._search(self._order(seats), int(row)) for seats, row in zip(_seats(state), seed)]
        return Decision(torch.tensor(actions, dtype=torch.int64))

    def _search(self, moves: Sequence[int], seed: int) -> int:
        position = self._game.new_initial_state()
        for move in moves:
            position.apply_action(move)
        seed %= 2**31 - 1  # the bot takes a C int
        evaluator = self._pyspiel.RandomRolloutEvaluator(1, seed)
        bot = self._pyspiel.MCTSBot(
            self._game, evaluator, _UCT_C, self.simulations, _MEMORY_MB, True, seed, False
        )  # fmt: skip
        return bot.step(position)
