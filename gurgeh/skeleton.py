"""`gurgeh games new NAME`: a game that passes the contract at once, to be changed line by line into another one."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

KINDS = ("native", "gymnasium")

NATIVE = '''"""NAME: say here what the rules are. (So far: two players, 7 cells, two neighbours of your own win.)

    gurgeh games check NAME.py           what is wrong with it, if anything
    gurgeh games play NAME.py            play it here, in the terminal
    gurgeh train --games tictactoe,NAME.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, cell_keys

HEIGHT, WIDTH = 1, 7
CELLS = HEIGHT * WIDTH


class State(NamedTuple):
    """B positions: every field has B rows. Add what your game has to remember."""

    stones: Tensor  # [B, 2, CELLS] bool: the mover's, then the other's
    to_play: Tensor  # [B] int64


class CLASS:
    """The rules, of B positions at once. No function changes what it is given."""

    spec = GameSpec(
        name="NAME",
        version=1,  # raise it whenever the rules change
        observation=ObservationSpec(ObservationKind.GRID, (2, HEIGHT, WIDTH), torch.uint8),
        num_actions=CELLS,
        num_players=2,
        zero_sum=True,
        reward_range=(-1.0, 1.0),
        max_length=CELLS,
        family="NAME",  # held-out splits are made by family
        board_planes=True,  # planes 0 and 1 are mine and theirs, as in all board games
        action_keys=cell_keys(HEIGHT, WIDTH),  # an action on a cell means the same in all board games
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """The first position; seed [B] int64 is where all chance must come from."""
        return State(seed.new_zeros(len(seed), 2, CELLS, dtype=torch.bool), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool: True where a move is allowed. No row may be empty, not even after the end."""
        free = ~state.stones.any(1)
        return free | ~free.any(1, keepdim=True)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: the seat to move."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 2, H, W] uint8: what the seat to move sees."""
        return state.stones.reshape(-1, 2, HEIGHT, WIDTH).to(torch.uint8)

    def play(self, state: State, action: Tensor) -> Playable:
        """action [B] int64 -> the next positions, the reward of every seat [B, 2], and whether the game is over [B]."""
        mine = state.stones[:, 0].scatter(1, action[:, None], True)
        theirs = state.stones[:, 1]
        won = (mine[:, 1:] & mine[:, :-1]).any(1)
        over = won | (mine | theirs).all(1)
        seats = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)  # the mover 1, the other -1
        after = State(torch.stack([theirs, mine], 1), 1 - state.to_play)  # the other one moves, and sees its own first
        return Playable(after, won[:, None] * seats.float(), over)


GAME = CLASS
'''

GYMNASIUM = '''"""NAME: say here what happens. (So far: 20 steps on a line; right is where the reward is.)

    gurgeh games check NAME.py           what is wrong with it, if anything
    gurgeh games play NAME.py            play it here, in the terminal
    gurgeh train --games tictactoe,NAME.py
"""

import gymnasium
import numpy as np


class CLASS(gymnasium.Env):
    """Any Gymnasium environment with Discrete actions; one that is registered needs only `GAME` below."""

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        """All chance comes from `self.np_random`, which the seed has set. Forget everything before."""
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.integers(-5, 6)), 0
        return self._look(), {}  # put a mask of legal actions into {"action_mask": ...} where not all are

    def step(self, action):
        """observation, reward, terminated (by the rules), truncated (by a limit), info."""
        self.place = float(np.clip(self.place + (1 if action == 1 else -1), -10, 10))
        self.steps += 1
        return self._look(), self.place / 10, False, self.steps == 20, {}

    def _look(self):
        return np.array([self.place, self.steps / 20], np.float32)


GAME = CLASS
SPEC = {"reward_range": (-1.0, 1.0), "max_length": 20, "family": "NAME"}  # what Gymnasium does not know
'''


def write(name: str, kind: str, folder: Path) -> Path:
    """Write NAME.py. ValueError for a name that is none, FileExistsError where there is such a file."""
    name = name.removesuffix(".py")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        near = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_0123456789") or "my_game"
        raise ValueError(f"{name!r} cannot be the name of a game's file: use small letters, digits and _, as in {near}")
    path = folder / f"{name}.py"
    if path.exists():
        raise FileExistsError(f"{path} exists already and is not overwritten; choose another name")
    text = {"native": NATIVE, "gymnasium": GYMNASIUM}[kind]
    camel = "".join(word.capitalize() for word in name.split("_"))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("NAME", name).replace("CLASS", camel))
    return path
