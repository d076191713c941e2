"""Small pictures as a game, `digits:LEVELS`: pixel by pixel, the move is the grey level of the next one.

The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn brings (UCI, E. Alpaydin and C. Kaynak 1998), their 17
levels of grey reduced to LEVELS (2 to 17; 17 loses nothing). Pixels come row by row from the top left; what is seen is
the part of the picture so far and the place that is asked. 1 for the right level. The last fifth of the pictures is
held out; a policy is measured on it in bits per dimension. An even policy has log2(LEVELS).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.chance import uniform
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, installed
from envs.prediction.score import Measure, Predict, log_scores, spread

FAMILY = "digits"
SIDE, PIXELS, GREYS = 8, 64, 17
HELD_OUT = 5  # one part in five
SYNTAX = f"digits:LEVELS with 2 to {GREYS} levels of grey, as in digits:4"
EXAMPLES = ("digits:4",)


class State(NamedTuple):
    picture: Tensor  # [B] int64: its number
    place: Tensor  # [B] int64: the pixel that is asked, row by row; 64 after the last


class Digits:
    """Native rules; action a is the level a, 0 is white."""

    def __init__(self, levels: int):
        self.levels = levels
        self.pictures = greys() * levels // GREYS  # [M, 64] int64
        self.train = len(self.pictures) - len(self.pictures) // HELD_OUT
        self.spec = GameSpec(
            name=f"{FAMILY}:{levels}",
            observation=ObservationSpec(ObservationKind.GRID, (levels + 1, SIDE, SIDE), torch.uint8),
            num_actions=levels,
            perfect_information=False,  # the rules know what comes next: no search may ask them
            reward_range=(0.0, 1.0),
            max_length=PIXELS,
            family="pixel prediction",
            action_keys=tuple(f"level {level} of {levels}" for level in range(levels)),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """The first pixel of a training picture that seed [B] int64 draws."""
        return State((uniform(seed) * self.train).long(), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, levels] bool: everything, always."""
        return torch.ones(len(state.place), self.levels, dtype=torch.bool, device=state.place.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.place)

    def observe(self, state: State) -> Tensor:
        """[B, levels + 1, 8, 8] uint8: plane l is one where a pixel that has been seen has level l; the last plane is
        one at the pixel that is asked."""
        pixel = torch.arange(PIXELS, device=state.place.device)
        seen = pixel < state.place[:, None]
        planes = one_hot(self._levels(state.picture), self.levels) * seen[:, :, None]
        asked = (pixel == state.place[:, None])[:, :, None]
        return torch.cat([planes.to(torch.uint8), asked.to(torch.uint8)], 2).transpose(1, 2).unflatten(2, (SIDE, SIDE))

    def play(self, state: State, action: Tensor) -> Playable:
        """1 for the right level; the picture goes on with the right one in any case."""
        right = action == self._answer(state)
        place = (state.place + 1).clamp(max=PIXELS)
        return Playable(State(state.picture, place), right[:, None].float(), place == PIXELS)

    def symbols(self, state: State, count: int) -> Tensor:
        """See `SequenceGame`: the pixels before, row by row."""
        place = state.place[:, None] - torch.arange(count, 0, -1, device=state.place.device)
        seen = self._levels(state.picture).gather(1, place.clamp(min=0))
        return torch.where(place < 0, self.levels, seen)

    def lessons(self) -> tuple[State, Tensor]:
        """See `SequenceGame`."""
        state = _all_pixels(torch.arange(self.train))
        return state, self._answer(state)

    def measure(self, predict: Predict, limit: int) -> dict[str, Measure]:
        """`bits_per_dim` and `right` on held-out pictures, whole ones, `limit` pixels or a few more."""
        held_out = len(self.pictures) - self.train
        state = _all_pixels(self.train + spread(held_out, max(1, limit // PIXELS)))
        return log_scores("dim", predict(state), self._answer(state), self.levels)

    def _levels(self, picture: Tensor) -> Tensor:
        """[B, 64] int64."""
        return self.pictures.to(picture.device)[picture]

    def _answer(self, state: State) -> Tensor:
        """[B] int64: the level of the pixel that is asked (after the last one, of the last one)."""
        return self._levels(state.picture).gather(1, state.place.clamp(max=PIXELS - 1)[:, None])[:, 0]


def _all_pixels(picture: Tensor) -> State:
    """The positions of all pixels of pictures [M]: 64 M."""
    return State(picture.repeat_interleave(PIXELS), torch.arange(PIXELS).repeat(len(picture)))


@functools.cache
def greys() -> Tensor:
    """[1797, 64] int64 from 0 to 16; MissingExtraError without scikit-learn."""
    installed("sklearn", "scikit-learn", "digits")
    from sklearn.datasets import load_digits

    pictures, _ = load_digits(return_X_y=True)
    return torch.as_tensor(pictures).long()


def make(settings: str) -> Digits:
    """`digits:LEVELS`. ValueError for anything but a number of levels that is offered."""
    if not settings.isascii() or not settings.isdigit():
        raise ValueError(f"the levels {settings!r} are no whole number" if settings else "the levels are missing")
    if not 2 <= int(settings) <= GREYS:
        raise ValueError(f"{int(settings)} levels of grey are not offered")
    return Digits(int(settings))
