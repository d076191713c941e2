"""An errand, `errand`: bring the thing that is asked for. What can be said differs in every position.

A note says which thing of which colour to bring from which room. In the hall the commands are the ways to three rooms
(`go to the attic`), in a room its four things (`take the red lamp`) and `go back`. Which rooms there are, what lies in
them, and in which order the commands are listed is drawn from the seed, so that the number of an action says nothing:
whoever does not read the commands takes the right thing by luck, in the right room one time in four. Two of the things
in the right room are like the one that is asked for in colour or in kind.

1 for the right thing; anything taken ends the game. 8 moves at most.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from envs import tokens
from envs.chance import next_key, uniform
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

ROOMS = ("attic", "cellar", "garden", "kitchen", "library", "stable")
COLOURS = ("red", "green", "blue", "yellow", "black")
THINGS = ("lamp", "key", "book", "cup", "rope", "apple")
DOORS, SHELVES = 3, 4  # rooms to go to, things in a room
ACTIONS = max(DOORS, SHELVES + 1)
TEXT, COMMAND = 96, 24  # tokens of the text and of a command
HALL = DOORS  # the place that is no room
BACK = len(ROOMS) + len(COLOURS) * len(THINGS)  # number of `go back` among all that can be said; NOTHING follows
NOTHING = BACK + 1


class State(NamedTuple):
    seed: Tensor  # [B] int64: the layout is computed from it
    place: Tensor  # [B] int64: one of three doors, or HALL


class Layout(NamedTuple):
    """What the seed has drawn; a thing is its colour times the number of things, plus its kind."""

    rooms: Tensor  # [B, DOORS] int64
    wanted_room: Tensor  # [B] int64: a door
    wanted: Tensor  # [B] int64: a thing
    things: Tensor  # [B, DOORS, SHELVES] int64


def layout(seed: Tensor) -> Layout:
    """The rooms and things of B games; seed [B] int64."""
    count, step = len(COLOURS) * len(THINGS), next_key(torch.zeros_like(seed))[:, None]
    sizes = (len(ROOMS), 1, len(COLOURS), len(THINGS), SHELVES, DOORS * count)
    drawn = uniform(seed[:, None] + step * torch.arange(1, sum(sizes) + 1, device=seed.device))  # a key for each number
    in_order, at_door, in_colour, in_kind, on_shelf, elsewhere = drawn.split(sizes, 1)
    rooms = in_order.argsort(1)[:, :DOORS]
    door = (at_door[:, 0] * DOORS).long()
    colours, kinds = in_colour.argsort(1), in_kind.argsort(1)
    wanted = colours[:, 0] * len(THINGS) + kinds[:, 0]
    alike = torch.stack(
        [wanted, colours[:, 0] * len(THINGS) + kinds[:, 1], colours[:, 1] * len(THINGS) + kinds[:, 0],
         colours[:, 2] * len(THINGS) + kinds[:, 2]], 1,
    )  # fmt: skip
    right = alike.gather(1, on_shelf.argsort(1))
    # In the other rooms anything but what is wanted, which comes last there.
    others = elsewhere.view(-1, DOORS, count).scatter(2, wanted[:, None, None].expand(-1, DOORS, 1), 2.0)
    things = others.argsort(2)[:, :, :SHELVES]
    here = torch.arange(DOORS, device=seed.device) == door[:, None]
    return Layout(rooms, door, wanted, torch.where(here[:, :, None], right[:, None], things))


def thing(number: int) -> str:
    """`red lamp`."""
    return f"{COLOURS[number // len(THINGS)]} {THINGS[number % len(THINGS)]}"


@functools.cache
def _tables() -> tuple[Tensor, Tensor]:
    """Texts [rooms, things, rooms + 1, TEXT] (wanted from where, what, where one is) and commands [NOTHING + 1, T]."""
    many = len(COLOURS) * len(THINGS)
    texts = [
        tokens.encode(f"Bring the {thing(what)} from the {room}. You are in the {place}.", TEXT)
        for room in ROOMS for what in range(many) for place in (*ROOMS, "hall")
    ]  # fmt: skip
    said = [f"go to the {room}" for room in ROOMS] + [f"take the {thing(what)}" for what in range(many)]
    commands = [tokens.encode(text, COMMAND) for text in (*said, "go back", "")]
    return torch.stack(texts).view(len(ROOMS), many, len(ROOMS) + 1, TEXT), torch.stack(commands)


class Errand:
    """Native rules."""

    spec = GameSpec(
        name="errand",
        observation=ObservationSpec(ObservationKind.TOKENS, (TEXT + ACTIONS * COMMAND,), tokens.DTYPE),
        num_actions=ACTIONS,
        perfect_information=False,  # what lies in a room is seen there
        reward_range=(0.0, 1.0),
        max_length=8,
        family="words",
        action_tokens=COMMAND,
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """In the hall; seed [B] int64."""
        return State(seed.clone(), torch.full_like(seed, HALL))

    def said(self, state: State) -> Tensor:
        """[B, A] int64: the number of each action's command, NOTHING where there is none."""
        found, rows = layout(state.seed), torch.arange(len(state.seed), device=state.seed.device)
        hall = torch.nn.functional.pad(found.rooms, (0, ACTIONS - DOORS), value=NOTHING)
        things = len(ROOMS) + found.things[rows, state.place.clamp(max=DOORS - 1)]
        room = torch.nn.functional.pad(things, (0, 1), value=BACK)
        # Where `go back` stands among the things differs from game to game, too.
        turn = (state.seed + state.place) % ACTIONS
        room = room.gather(1, (torch.arange(ACTIONS, device=room.device) + turn[:, None]) % ACTIONS)
        return torch.where((state.place == HALL)[:, None], hall, room)

    def legal(self, state: State) -> Tensor:
        """[B, A] bool."""
        return self.said(state) != NOTHING

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.place)

    def observe(self, state: State) -> Tensor:
        """[B, N] int16: the note and the place, then the commands."""
        texts, commands = (table.to(state.seed.device) for table in _tables())
        found = layout(state.seed)
        rooms = torch.nn.functional.pad(found.rooms, (0, 1), value=len(ROOMS))
        at = rooms.gather(1, state.place[:, None])[:, 0]
        wanted_from = found.rooms.gather(1, found.wanted_room[:, None])[:, 0]
        return torch.cat([texts[wanted_from, found.wanted, at], commands[self.said(state)].flatten(1)], 1)

    def play(self, state: State, action: Tensor) -> Playable:
        """Do what was said."""
        said = self.said(state).gather(1, action[:, None])[:, 0]
        took = (said >= len(ROOMS)) & (said < BACK)
        right = took & (said - len(ROOMS) == layout(state.seed).wanted)
        place = torch.where(said < len(ROOMS), action, torch.where(took, state.place, HALL))
        return Playable(State(state.seed, place), right[:, None].float(), took)


GAME = Errand
