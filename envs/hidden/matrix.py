"""Both players move at once, `matrix:GAME:ROUNDS`: rounds of a game whose payoffs are a table.

    matrix:rps:10        rock, paper, scissors, ten rounds; zero-sum
    matrix:pennies:1     matching pennies: seat 0 wants the same, seat 1 something else; zero-sum
    matrix:dilemma:10    the iterated prisoner's dilemma: 5 each for cooperation, 10 and 0, 1 each

Moves that are made at once are turns with a hidden commitment: seat 0 chooses first, and nothing that seat 1 sees or
may do depends on it; then seat 1 chooses, both are shown, and both are paid. What is seen is all earlier rounds, the
latest first, own move before the other's. The payoffs are OpenSpiel's.

No move is best here whatever the other does, and good play is at random: a search that plays the best move it knows
can be exploited, so that its strength means little.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

FAMILY = "matrix"
MOST = 20  # rounds


class Table(NamedTuple):
    """One game of a round."""

    moves: tuple[str, ...]
    payoffs: tuple[tuple[tuple[float, float], ...], ...]  # [A, A] of (seat 0, seat 1), seat 0's move first


TABLES = {
    "rps": Table(
        ("rock", "paper", "scissors"),
        (((0, 0), (-1, 1), (1, -1)), ((1, -1), (0, 0), (-1, 1)), ((-1, 1), (1, -1), (0, 0))),
    ),
    "pennies": Table(("heads", "tails"), (((1, -1), (-1, 1)), ((-1, 1), (1, -1)))),
    "dilemma": Table(("cooperate", "defect"), (((5, 5), (0, 10)), ((10, 0), (1, 1)))),
}
SYNTAX = f"matrix:GAME:ROUNDS with GAME {', '.join(TABLES)} and 1 to {MOST} rounds, as in matrix:rps:10"
EXAMPLES = ("matrix:rps:3", "matrix:pennies:1", "matrix:dilemma:10")


class State(NamedTuple):
    shown: Tensor  # [B, ROUNDS, 2] int64: moves of earlier rounds by seat, the latest round first, -1 where none was
    committed: Tensor  # [B] int64: what seat 0 has chosen in this round, -1 before; nobody sees it
    round: Tensor  # [B] int64


class Matrix:
    """Native rules."""

    def __init__(self, name: str, rounds: int):
        table = TABLES[name]
        self.rounds, self.payoffs = rounds, torch.tensor(table.payoffs, dtype=torch.float32)  # [A, A, 2]
        self.num_moves = len(table.moves)
        highest, lowest = float(self.payoffs.max()), float(self.payoffs.min())
        self.spec = GameSpec(
            name=f"{FAMILY}:{name}:{rounds}",
            observation=ObservationSpec(ObservationKind.VECTOR, (rounds * 2 * self.num_moves + 1,)),
            num_actions=self.num_moves,
            num_players=2,
            zero_sum=bool((self.payoffs.sum(2) == 0).all()),
            perfect_information=False,
            reward_range=(lowest, highest),
            max_length=2 * rounds,
            family="matrix",
            action_keys=table.moves,
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Nothing has been played; seed [B] int64 only gives the number of copies."""
        shown = seed.new_full((len(seed), self.rounds, 2), -1)
        return State(shown, torch.full_like(seed, -1), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool: everything, always."""
        return torch.ones(len(state.round), self.num_moves, dtype=torch.bool, device=state.round.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: seat 1 after seat 0 has chosen."""
        return (state.committed >= 0).long()

    def observe(self, state: State) -> Tensor:
        """[B, 2 A ROUNDS + 1] float32: earlier rounds, and the share of rounds that are over."""
        mine_first = torch.where((self.to_play(state) == 0)[:, None, None], state.shown, state.shown.flip(2))
        moves = one_hot(mine_first + 1, self.num_moves + 1)[..., 1:].flatten(1).float()
        return torch.cat([moves, state.round[:, None] / self.rounds], 1)

    def play(self, state: State, action: Tensor) -> Playable:
        """Seat 0's move is kept back; seat 1's is shown together with it, and both are paid."""
        second = state.committed >= 0
        pair = torch.stack([state.committed.clamp(min=0), action], 1)
        reward = self.payoffs.to(action.device)[pair[:, 0], pair[:, 1]] * second[:, None]
        now = torch.cat([pair[:, None], state.shown[:, :-1]], 1)
        after = State(
            torch.where(second[:, None, None], now, state.shown),
            torch.where(second, -1, action),
            state.round + second.long(),
        )
        return Playable(after, reward, after.round == self.rounds)


def make(settings: str) -> Matrix:
    """`matrix:GAME:ROUNDS`. ValueError for another game or number of rounds."""
    name, _, rounds = settings.partition(":")
    if name not in TABLES:
        raise ValueError(f"the game {name!r} is not one of {', '.join(TABLES)}" if name else "the game is missing")
    if not re.fullmatch(r"[0-9]+", rounds or "10") or not 1 <= int(rounds or "10") <= MOST:
        raise ValueError(f"the rounds {rounds!r} are no number from 1 to {MOST}")
    return Matrix(name, int(rounds or "10"))
