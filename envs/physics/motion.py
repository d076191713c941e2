"""Predicting motion, `motion:BODY`: how far does each coordinate of a body move in the next step?

    motion:pendulum, motion:cartpole          Gymnasium's bodies, pushed by controls that the seed draws
    motion:pendulum:bins=41

What is seen: the state, the control of this step, and which coordinate is asked. The move is one of `bins` (21) equal
intervals of its change; 1 for the right one, a half for a neighbour of it. When all coordinates of a step have been
asked the body moves, by the true change. Ten steps a game.

Held out are other starts and controls than any game of training has. A policy is measured there in bits per coordinate,
and by its errors after 1, 4 and 8 steps in which it feeds on its own predictions (the middles of the intervals): the
root of the mean squared error of a coordinate over that of the guess that nothing ever moves, squared and averaged over
the coordinates. 0 is exact, 1 as good as that guess.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.chance import next_key, uniform
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable
from envs.physics.bodies import BODIES
from envs.prediction.score import Measure, Predict, log_scores

FAMILY = "motion"
BINS, STEPS = 21, 10
SYNTAX = f"motion:BODY with BODY {' or '.join(BODIES)}, and :bins=BINS, an odd number from 3 to 101"
EXAMPLES = ("motion:pendulum", "motion:cartpole")
HELD_OUT = 1 << 48  # seeds from here on are no episode's
HORIZONS = (1, 4, 8)  # steps after which the error is measured


class State(NamedTuple):
    body: Tensor  # [B, D] float64: now
    key: Tensor  # [B] int64: where this step's control comes from, and later ones
    coordinate: Tensor  # [B] int64: which one is asked
    step: Tensor  # [B] int64: steps so far


class Motion:
    """Native rules; action a is the a-th interval from the lowest change to the highest."""

    def __init__(self, name: str, bins: int):
        self.body, self.bins = BODIES[name], bins
        self.size = len(self.body.coordinates)
        self.widest = torch.tensor(self.body.change, dtype=torch.float64)
        self.spec = GameSpec(
            name=f"{FAMILY}:{name}" + f":bins={bins}" * (bins != BINS),
            observation=ObservationSpec(ObservationKind.VECTOR, (self.body.num_seen + 1 + self.size,)),
            num_actions=bins,
            stochastic=True,  # the control of the next step
            reward_range=(0.0, 1.0),
            max_length=STEPS * self.size,
            family="motion",
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """A body in a state drawn from seed [B] int64."""
        key, drawn = seed, []
        for _ in range(self.size):
            drawn.append(2 * uniform(key) - 1)
            key = next_key(key)
        start = torch.tensor(self.body.start, dtype=torch.float64, device=seed.device)
        return State(torch.stack(drawn, 1) * start, key, torch.zeros_like(seed), torch.zeros_like(seed))

    def control(self, state: State) -> Tensor:
        """[B] float64: the control of this step."""
        drawn = 2 * uniform(state.key) - 1
        return (torch.where(drawn < 0, -1.0, 1.0).double() if self.body.two else drawn) * self.body.control

    def legal(self, state: State) -> Tensor:
        """[B, bins] bool: everything, always."""
        return torch.ones(len(state.key), self.bins, dtype=torch.bool, device=state.key.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.key)

    def observe(self, state: State) -> Tensor:
        """[B, F + 1 + D] float32: what is seen of the body, the control from -1 to 1, the coordinate one-hot."""
        control = (self.control(state) / self.body.control)[:, None].float()
        asked = one_hot(state.coordinate.clamp(max=self.size - 1), self.size).float()
        return torch.cat([self.body.look(state.body), control, asked], 1)

    def play(self, state: State, action: Tensor) -> Playable:
        """The nearer the interval, the higher the reward; after the last coordinate the body moves."""
        distance = (action - self.answer(state)).abs()
        reward = torch.where(distance == 0, 1.0, torch.where(distance == 1, 0.5, 0.0))
        last = state.coordinate == self.size - 1
        body = torch.where(last[:, None], self.body.step(state.body, self.control(state)), state.body)
        after = State(
            body,
            torch.where(last, next_key(state.key), state.key),
            torch.where(last, 0, state.coordinate + 1),
            state.step + last.long(),
        )
        return Playable(after, reward[:, None], after.step >= STEPS)

    def answer(self, state: State) -> Tensor:
        """[B] int64: the interval in which the change of the coordinate that is asked lies; the outermost ones have no
        outer end."""
        change = self.body.step(state.body, self.control(state)) - state.body
        change = change.gather(1, state.coordinate[:, None])[:, 0]
        widest = self.widest.to(change.device)[state.coordinate]
        return ((change / widest + 1) / 2 * self.bins).floor().long().clamp(0, self.bins - 1)

    def middle(self, action: Tensor, coordinate: Tensor) -> Tensor:
        """[B] float64: the change in the middle of interval `action` [B]."""
        return ((2 * action.double() + 1) / self.bins - 1) * self.widest.to(action.device)[coordinate]

    def measure(self, predict: Predict, limit: int) -> dict[str, Measure]:
        """`bits_per_coordinate`, `right`, and `error_K` after K steps of its own predictions."""
        count = max(1, limit // (self.size * (1 + max(HORIZONS))))
        start = self.initial(HELD_OUT + torch.arange(count))
        asked = [start._replace(coordinate=torch.full_like(start.key, d)) for d in range(self.size)]
        state = State(*(torch.cat(parts) for parts in zip(*asked)))
        scores = log_scores("coordinate", predict(state), self.answer(state), self.bins)
        return {**scores, **self._errors(start, predict)}

    def _errors(self, start: State, predict: Predict) -> dict[str, Measure]:
        """Errors of rollouts: `search` of the moves, `raw` of the likeliest interval of the raw policy."""
        searched, plain = self._rollout(start, predict, False), self._rollout(start, predict, True)
        found, true = {}, start
        for step in range(max(HORIZONS)):
            true = true._replace(body=self.body.step(true.body, self.control(true)), key=next_key(true.key))
            if step + 1 in HORIZONS:
                still = ((true.body - start.body) ** 2).mean(0)
                errors = [
                    None if run is None else math.sqrt(float((((run[step] - true.body) ** 2).mean(0) / still).mean()))
                    for run in (searched, plain)
                ]
                found[f"error_{step + 1}"] = Measure(errors[0], errors[1], 1.0, len(start.key))
        return found

    def _rollout(self, start: State, predict: Predict, raw: bool) -> list[Tensor] | None:
        """The bodies [M, D] after each step by the player's own predictions; None for players without a raw policy."""
        state, bodies = start, []
        for _ in range(max(HORIZONS)):
            changes = []
            for coordinate in range(self.size):
                asked = state._replace(coordinate=torch.full_like(state.key, coordinate))
                guess = predict(asked)
                if raw and guess.raw is None:
                    return None
                action = guess.raw.argmax(1) if raw and guess.raw is not None else guess.action
                changes.append(self.middle(action, asked.coordinate))
            state = state._replace(body=state.body + torch.stack(changes, 1), key=next_key(state.key))
            bodies.append(state.body)
        return bodies


def make(settings: str) -> Motion:
    """`motion:BODY`. ValueError for another body or number of intervals."""
    name, _, option = settings.partition(":")
    if name not in BODIES:
        raise ValueError(f"the body {name!r} is not one of {', '.join(BODIES)}" if name else "the body is missing")
    found = re.fullmatch(r"bins=([0-9]+)", option or f"bins={BINS}")
    if not found or not 3 <= int(found[1]) <= 101 or int(found[1]) % 2 == 0:
        raise ValueError(f"the option {option!r} is not bins=BINS with an odd number from 3 to 101")
    return Motion(name, int(found[1]))
