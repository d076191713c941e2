"""Kuhn's poker: three cards, two players, one card each, which only its owner sees; one bet.

Both put in 1. Seat 0 passes or bets 1 more; seat 1 answers a bet by folding (pass) or calling (bet), or passes or bets
after a pass; then seat 0 answers in turn. Without a fold the higher card takes the pot. Won is what the other has put
in. OpenSpiel has the same rules. Played perfectly by both, seat 0 loses 1/18 a game.

What is seen is the own card and all bets so far, which is all that the seat knows. A search over what one seat sees is
a heuristic here: it takes the other's card for settled, and cannot say how often to bluff.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.chance import uniform
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

CARDS, LONGEST = 3, 3
DEALS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))


class State(NamedTuple):
    cards: Tensor  # [B, 2] int64: seat 0's, seat 1's; 2 is the highest
    bets: Tensor  # [B, 3] int64: the moves so far, -1 where none was


class Kuhn:
    """Native rules; actions: pass, bet."""

    spec = GameSpec(
        name="kuhn",
        observation=ObservationSpec(ObservationKind.VECTOR, (CARDS + 2 * LONGEST,)),
        num_actions=2,
        num_players=2,
        zero_sum=True,
        perfect_information=False,
        reward_range=(-2.0, 2.0),
        max_length=LONGEST,
        family="poker",
        action_keys=("pass", "bet"),
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """A deal drawn from seed [B] int64, each as likely as the others."""
        deal = (uniform(seed) * len(DEALS)).long()
        cards = torch.tensor(DEALS, device=seed.device)[deal]
        return State(cards, seed.new_full((len(seed), LONGEST), -1))

    def legal(self, state: State) -> Tensor:
        """[B, 2] bool: both, always."""
        return torch.ones(len(state.cards), 2, dtype=torch.bool, device=state.cards.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: in turn."""
        return (state.bets >= 0).sum(1) % 2

    def observe(self, state: State) -> Tensor:
        """[B, 9] float32: the mover's card one-hot, then two numbers a move: passed, bet."""
        card = state.cards.gather(1, self.to_play(state)[:, None])[:, 0]
        return torch.cat([one_hot(card, CARDS), one_hot(state.bets + 1, 3)[..., 1:].flatten(1)], 1).float()

    def play(self, state: State, action: Tensor) -> Playable:
        """Pass or bet; after a fold, a call or two passes the pot is won."""
        count = (state.bets >= 0).sum(1)
        before = state.bets.gather(1, (count - 1).clamp(min=0)[:, None])[:, 0]  # -1 where none was
        bets = state.bets.scatter(1, count.clamp(max=LONGEST - 1)[:, None], action[:, None])
        called, folded = (before == 1) & (action == 1), (before == 1) & (action == 0)
        over = called | folded | ((count == 1) & (before == 0) & (action == 0))
        higher = 1 - 2 * (state.cards[:, 1] > state.cards[:, 0]).long()  # 1: seat 0 has the higher card
        other_takes = 2 * (count % 2) - 1  # 1: who folds is seat 1, so that seat 0 takes the pot
        won = torch.where(folded, other_takes, higher * torch.where(called, 2, 1)) * over
        return Playable(State(state.cards, bets), torch.stack([won, -won], 1).float(), over)


GAME = Kuhn
