"""Pig for two to ten players, `pig:PLAYERS`: roll a die as often as you dare, and hold to keep what you have rolled.

A 1 loses the points of the turn and ends it; any other number is added to them. Holding adds them to the score and ends
the turn. The first to hold with 100 points (or `pig:3:target=50`) wins 1, and the others share the loss; who has enough
must hold. A seat moves several times in a row, and chance decides between its moves. OpenSpiel has the same rules; what
ends the game there after 1,000 rolls and holds cuts it off here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.chance import Chance, next_key
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

FAMILY = "pig"
FEWEST, MOST = 2, 10
TARGET, SIDES = 100, 6
SYNTAX = f"pig:PLAYERS or pig:PLAYERS:target=POINTS, {FEWEST} to {MOST} players, as in pig:3:target=50"
EXAMPLES = ("pig:3", "pig:3:target=20")


class State(NamedTuple):
    score: Tensor  # [B, P] int64: what each seat has kept
    turn: Tensor  # [B] int64: points of the turn so far
    to_play: Tensor  # [B] int64
    key: Tensor  # [B] int64: where chance comes from


class Afterstate(NamedTuple):
    score: Tensor  # [B, P] int64
    turn: Tensor  # [B] int64
    to_play: Tensor  # [B] int64: who made the move
    rolling: Tensor  # [B] bool: the die decides; else the move was a hold, and nothing is left to chance
    key: Tensor  # [B] int64


class Pig(Chance):
    """Native rules with explicit chance; actions: roll, hold. Outcome n is the number n + 1 on the die."""

    def __init__(self, num_players: int, target: int = TARGET):
        self.num_players, self.target = num_players, target
        self.spec = GameSpec(
            name=f"{FAMILY}:{num_players}" + (f":target={target}" if target != TARGET else ""),
            observation=ObservationSpec(ObservationKind.VECTOR, (num_players + 1,)),
            num_actions=2,
            num_players=num_players,
            zero_sum=num_players == 2,
            stochastic=True,
            num_outcomes=SIDES,
            reward_range=(-1.0, 1.0),
            max_length=1000,
            family="dice",
            action_keys=("roll", "hold"),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """No points; seed [B] int64 is where the dice come from."""
        none = torch.zeros_like(seed)
        return State(seed.new_zeros(len(seed), self.num_players), none, none.clone(), seed.clone())

    def legal(self, state: State) -> Tensor:
        """[B, 2] bool: who has enough points must hold."""
        short = state.score.gather(1, state.to_play[:, None])[:, 0] + state.turn < self.target
        return torch.stack([short, torch.ones_like(short)], 1)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, P + 1] float32: scores from the mover on in the order of play, then the turn's points, in targets."""
        seats = (state.to_play[:, None] + torch.arange(self.num_players, device=state.turn.device)) % self.num_players
        return torch.cat([state.score.gather(1, seats), state.turn[:, None]], 1).float() / self.target

    def decide(self, state: State, action: Tensor) -> Afterstate:
        """A roll leaves everything to the die; a hold adds the turn's points to the score."""
        rolling = action == 0
        kept = one_hot(state.to_play, self.num_players) * torch.where(rolling, 0, state.turn)[:, None]
        return Afterstate(state.score + kept, torch.where(rolling, state.turn, 0), state.to_play, rolling, state.key)

    def chances(self, after: Afterstate) -> Tensor:
        """[B, 6] float32: a sixth each after a roll; after a hold outcome 0, which then means nothing."""
        sure = one_hot(torch.zeros_like(after.turn), SIDES).float()
        return torch.where(after.rolling[:, None], torch.full_like(sure, 1 / SIDES), sure)

    def resolve(self, after: Afterstate, outcome: Tensor) -> Playable:
        """The turn goes on after a number that is no 1; holding with enough points wins."""
        goes_on = after.rolling & (outcome > 0)
        turn = torch.where(goes_on, after.turn + outcome + 1, 0)
        mover = torch.where(goes_on, after.to_play, (after.to_play + 1) % self.num_players)
        won = (after.score >= self.target).any(1)
        share = 1 / (self.num_players - 1)
        reward = won[:, None] * ((1 + share) * one_hot(after.to_play, self.num_players) - share)
        return Playable(State(after.score, turn, mover, next_key(after.key)), reward.float(), won)


def make(settings: str) -> Pig:
    """`pig:PLAYERS` or `pig:PLAYERS:target=POINTS`. ValueError for anything else."""
    found = re.fullmatch(r"([0-9]+)(?::target=([0-9]+))?", settings)
    if not found:
        raise ValueError(f"{settings!r} is no number of players and target" if settings else "the players are missing")
    num_players, target = int(found[1]), int(found[2] or TARGET)
    if not FEWEST <= num_players <= MOST:
        raise ValueError(f"{num_players} players are not between {FEWEST} and {MOST}")
    if not 2 <= target <= 1000:
        raise ValueError(f"the target {target} is not between 2 and 1000")
    return Pig(num_players, target)
