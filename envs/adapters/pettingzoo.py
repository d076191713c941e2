"""PettingZoo: games for several agents by id (`pip install 'gurgeh[pettingzoo]'`).

    pettingzoo/connect_four_v3              the classic games
    pettingzoo/butterfly/pistonball_v6      butterfly and SISL with their group before them
    pettingzoo/atari/pong_v3                Atari for two or four, with the ROMs of ale-py (envs/multi_atari.py says
    how)

An author's own AEC or parallel environment goes through here too (see docs/adding-a-game.md). Observations are what the
agent to move observes, planes first; pictures of more than 84 pixels a side are shrunk to 84 x 84 (envs/aec.py). In
games that are not classic boards the mover is also shown which seat it has. The multi-particle environments are
`mpe2/...`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envs.aec import AecEnvironment, describe, from_parallel
from envs.game import Game, GameSpec, cell_keys, installed

PACKAGE = ("pettingzoo", "pettingzoo", "pettingzoo")  # module, distribution, extra
GROUPS = ("classic", "butterfly", "sisl", "atari")
UNBOUNDED = (-float("inf"), float("inf"))


@dataclasses.dataclass(frozen=True)
class Known:
    """What PettingZoo does not say about its own games."""

    family: str
    max_length: int | None = None
    zero_sum: bool = False
    reward_range: tuple[float, float] = UNBOUNDED
    action_keys: tuple[str, ...] | None = None
    board_planes: bool = False
    planes: tuple[int, ...] | None = None  # the order in which to show its planes
    perfect: bool = False  # no hidden information, and one agent moves at a time
    stochastic: bool = False
    seats: bool = True  # show the mover which seat it has
    flat: bool = False  # its grid is a table, not a picture
    anew: bool = False  # its reset does not forget everything
    arguments: tuple[tuple[str, Any], ...] = ()  # of the environment, where its defaults cannot be played


# Go's history pairs are stored from the view of whoever moved then: every second pair is (theirs, mine).
GO_PLANES = tuple(plane ^ 1 if plane < 16 and plane // 2 % 2 == 0 else plane for plane in range(17))
_board = functools.partial(Known, zero_sum=True, reward_range=(-1.0, 1.0), perfect=True, seats=False)
KNOWN = {
    "tictactoe": _board("m,n,k", 9, action_keys=cell_keys(3, 3), board_planes=True),
    "connect_four": _board(
        "m,n,k", 42, action_keys=tuple(f"column {column}" for column in range(7)), board_planes=True
    ),
    "go": _board(  # random Go has no end by itself
        "go", 2 * 19 * 19, action_keys=(*cell_keys(19, 19), "pass"), board_planes=True, planes=GO_PLANES
    ),
    "chess": _board("chess"),
    "rps": Known("matrix", zero_sum=True, reward_range=(-1.0, 1.0)),
    "leduc_holdem": Known("cards", zero_sum=True, stochastic=True),
    "texas_holdem": Known("cards", zero_sum=True, stochastic=True),
    "texas_holdem_no_limit": Known("cards", zero_sum=True, stochastic=True),
    "hanabi": Known("cards", stochastic=True),
    "knights_archers_zombies": Known(  # in 1.27 reset keeps the time to the next zombie and who is about to die
        "butterfly", stochastic=True, flat=True, anew=True
    ),
    "pistonball": Known("butterfly", arguments=(("continuous", False),)),
    "cooperative_pong": Known("butterfly"),
    "pursuit": Known("sisl", stochastic=True),
    "multiwalker": Known("sisl"),
}


def names() -> list[str]:
    """What can be played; nothing when PettingZoo is missing."""
    found = [f"pettingzoo/{name}" for name in _ids("classic")]
    for group in GROUPS[1:]:
        found += [f"pettingzoo/{group}/{name}" for name in _ids(group)]
    return found


def make(rest: str) -> Game:
    """ID of a classic game such as tictactoe_v3, or GROUP/ID."""
    installed(*PACKAGE)
    group, _, identifier = rest.rpartition("/")
    group = group or "classic"
    if group not in GROUPS or identifier not in _ids(group):
        from envs.registry import unknown

        raise ValueError(unknown(f"pettingzoo/{rest}", names()))
    name = f"pettingzoo/{rest.removeprefix('classic/')}"
    if group == "atari":
        from envs import multi_atari

        return multi_atari.make(name, identifier)
    known = KNOWN.get(_root(identifier), Known(group))
    try:
        with warnings.catch_warnings():  # its newer registry hands out wrapped environments only
            warnings.simplefilter("ignore", DeprecationWarning)
            module = importlib.import_module(f"pettingzoo.{group}.{identifier}")
        # Without the wrappers that check legality: that is the caller's business here.
        maker = functools.partial(module.raw_env, **dict(known.arguments))
        made = maker()
    except ImportError as error:
        missing = error.name or "a package that it needs"
        raise ValueError(f"{name}: {missing} is not installed: pip install 'gurgeh[pettingzoo]'") from error
    return _game(maker, made, name, known)


def wrap(maker: Callable[[], Any], made: Any, name: str) -> Game | None:
    """The game of an author's own AEC or parallel environment, if it is one."""
    if not hasattr(made, "possible_agents"):
        return None
    if all(hasattr(made, part) for part in ("observe", "last")):
        return _game(maker, made, name, Known("other", perfect=True, seats=False))
    if not all(hasattr(made, part) for part in ("reset", "step", "observation_space", "action_space")):
        return None
    maker = from_parallel(maker)
    return _game(maker, maker(), name, Known("other"))


def _game(maker: Callable[[], Any], made: Any, name: str, known: Known) -> Game:
    view = describe(made, name, known.seats, known.flat, known.planes)
    view = dataclasses.replace(view, anew=known.anew)
    players = len(made.possible_agents)
    spec = GameSpec(
        name=name,
        observation=view.observation,
        num_actions=view.num_actions,
        box=view.box,
        num_players=players,
        zero_sum=known.zero_sum,
        stochastic=known.stochastic,
        perfect_information=known.perfect,
        reward_range=known.reward_range,
        max_length=known.max_length,
        family=known.family,
        board_planes=known.board_planes,
        action_keys=known.action_keys,
    )
    made.close()
    return Game(name, spec, functools.partial(AecEnvironment, spec, maker, view))


def _root(name: str) -> str:
    return name.rpartition("_v")[0] or name


@functools.cache
def _ids(group: str) -> tuple[str, ...]:
    """The ids, read from the package's folder: importing it would import pygame."""
    package = importlib.util.find_spec("pettingzoo")
    if package is None or package.origin is None:
        return ()
    files = (Path(package.origin).parent / group).glob("*_v*.py")
    return tuple(sorted(file.stem for file in files))
