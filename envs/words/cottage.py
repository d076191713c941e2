"""A little adventure in words, `cottage`: find the lamp and the key, and take the coin from the chest in the cellar.

What is seen is a text of bytes (envs.tokens): the room, its ways out, what lies there and what is carried, and last the
commands that can be given now. What can be done is one of those commands: the actions are all commands of the game,
`legal` marks those that are admissible, and the key of an action is `command TEXT`, so that games which know the same
command share what is learnt of it.

Lamp and key lie in rooms that the seed draws. The cellar is dark: nothing is seen or found there without the lamp. The
chest needs the key. A quarter each for finding lamp and key, a half for the coin, which ends the game; 40 moves at
most.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from envs import tokens
from envs.chance import next_key, uniform
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

ROOMS = ("hall", "kitchen", "garden", "attic", "cellar")
HALL, KITCHEN, GARDEN, ATTIC, CELLAR = range(5)
WAYS = {  # room -> what is said -> where it leads
    HALL: {"go north": KITCHEN, "go east": GARDEN, "go up": ATTIC},
    KITCHEN: {"go south": HALL, "go down": CELLAR},
    GARDEN: {"go west": HALL},
    ATTIC: {"go down": HALL},
    CELLAR: {"go up": KITCHEN},
}
HIDING = (KITCHEN, GARDEN, ATTIC)  # where lamp and key may lie
CARRIED = len(ROOMS)  # the place of a thing that is carried
SHUT, OPEN, EMPTY = range(3)  # the chest
COMMANDS = (
    "go north", "go south", "go east", "go west", "go up", "go down", "take lamp", "take key", "open chest with key",
    "take coin", "wait",
)  # fmt: skip
LENGTH = 224  # tokens of an observation
PLACES = CARRIED + 1
SHAPE = (len(ROOMS), PLACES, PLACES, 3)  # room, lamp, key, chest: what a position is numbered by


class State(NamedTuple):
    room: Tensor  # [B] int64
    lamp: Tensor  # [B] int64: a room, or CARRIED
    key: Tensor  # [B] int64: of the chest, not of chance
    chest: Tensor  # [B] int64: SHUT, OPEN or EMPTY


def admissible(room: int, lamp: int, key: int, chest: int) -> list[str]:
    """The commands that can be given, in the order of COMMANDS."""
    dark = room == CELLAR and lamp != CARRIED
    possible = {
        **dict.fromkeys(WAYS[room], True),
        "take lamp": lamp == room,
        "take key": key == room and not dark,
        "open chest with key": room == CELLAR and not dark and key == CARRIED and chest == SHUT,
        "take coin": room == CELLAR and not dark and chest == OPEN,
        "wait": True,
    }
    return [command for command in COMMANDS if possible.get(command, False)]


def describe(room: int, lamp: int, key: int, chest: int) -> str:
    """What the player is told."""
    lines = []
    if room == CELLAR and lamp != CARRIED:
        lines.append("It is dark here.")
    else:
        things = [f"a {name}" for name, place in (("lamp", lamp), ("key", key)) if place == room]
        if room == CELLAR:
            things.append(("a locked chest", "an open chest with a coin", "an empty chest")[chest])
        lines.append(f"You are in the {ROOMS[room]}." + (f" You see {' and '.join(things)}." if things else ""))
    carried = [f"a {name}" for name, place in (("lamp", lamp), ("key", key)) if place == CARRIED]
    lines.append(f"You carry {' and '.join(carried) or 'nothing'}.")
    return "\n".join([*lines, f"You can {', '.join(admissible(room, lamp, key, chest))}."])


def _tables() -> tuple[Tensor, Tensor]:
    """What is told [positions, LENGTH] int16 and what is admissible [positions, A] bool, of all positions."""
    told, allowed = [], []
    for at in itertools.product(*map(range, SHAPE)):
        told.append(tokens.encode(describe(*at), LENGTH))
        allowed.append([command in admissible(*at) for command in COMMANDS])
    return torch.stack(told), torch.tensor(allowed)


TOLD, ALLOWED = _tables()
LEADS = torch.tensor([[WAYS[room].get(command, room) for command in COMMANDS] for room in WAYS])  # [rooms, A]


class Cottage:
    """Native rules; action a is COMMANDS[a]."""

    spec = GameSpec(
        name="cottage",
        observation=ObservationSpec(ObservationKind.TOKENS, (LENGTH,), tokens.DTYPE),
        num_actions=len(COMMANDS),
        perfect_information=False,  # where things lie is hidden until they are seen
        reward_range=(0.0, 0.5),
        max_length=40,
        family="words",
        action_keys=tuple(f"command {command}" for command in COMMANDS),
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """In the hall; seed [B] int64 draws where lamp and key lie."""
        hiding = torch.tensor(HIDING, device=seed.device)
        lamp, key = (hiding[(uniform(drawn) * len(HIDING)).long()] for drawn in (seed, next_key(seed)))
        return State(torch.zeros_like(seed), lamp, key, torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool: the admissible commands."""
        return ALLOWED.to(state.room.device)[self._number(state)]

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.room)

    def observe(self, state: State) -> Tensor:
        """[B, 224] int16: the text."""
        return TOLD.to(state.room.device)[self._number(state)]

    def play(self, state: State, action: Tensor) -> Playable:
        """Do what was said."""
        took_lamp, took_key, opened, took_coin = (
            action == COMMANDS.index(text) for text in ("take lamp", "take key", "open chest with key", "take coin")
        )
        chest = torch.where(opened, OPEN, torch.where(took_coin, EMPTY, state.chest))
        after = State(
            LEADS.to(action.device)[state.room, action],
            torch.where(took_lamp, CARRIED, state.lamp),
            torch.where(took_key, CARRIED, state.key),
            chest,
        )
        reward = 0.25 * (took_lamp | took_key) + 0.5 * took_coin
        return Playable(after, reward[:, None].float(), took_coin)

    def _number(self, state: State) -> Tensor:
        """[B] int64: the row of the tables."""
        number = torch.zeros_like(state.room)
        for part, size in zip(state, SHAPE, strict=True):
            number = number * size + part
        return number


GAME = Cottage
