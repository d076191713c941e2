"""OpenSpiel: any of its games that takes turns, by its short name (Apache-2.0, `pip install 'gurgeh[openspiel]'`).

    openspiel/chess                          OpenSpiel's defaults
    openspiel/hex(board_size=5)              its own notation for parameters; in a shell within quotes
    openspiel/hex:board_size=5               the same without brackets

States of pyspiel are played directly. What OpenSpiel leaves to its user is settled so:
  * Chance is drawn here, from a generator of each episode's seed, with the probabilities that OpenSpiel gives. Rules
    that draw for themselves (`SAMPLED_STOCHASTIC`) get the episode's seed as their parameter `rng_seed`; those without
    it are refused: an episode would not be its seed and its actions.
  * The player to move sees its information state (all that it was ever told) where the game hides something and offers
    one, else its observation. A search over such states takes what is hidden for chance, and is a heuristic there.
  * Most of OpenSpiel's tensors show the board from no seat's view; a seat's number in ones is added (planes of a grid,
    entries of a vector), or, for games in `BOARDS`, planes are put into the order mine, theirs.
  * Simultaneous moves are made in turn, unseen by the others until all have moved (`convert_to_turn_based`).
  * A move's reward is what the returns grew by, chance after the move included.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import random
import re
from typing import Any

import numpy as np

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, cell_keys, installed
from envs.wrapped import CopiesEnvironment

PACKAGE = ("pyspiel", "open-spiel", "openspiel")  # module, distribution, extra
MAX_ACTIONS = 20_000  # a mask of every copy and a row of the policy head for each

FAMILIES = {  # by short name; the rest is of the family "openspiel", and what is wrapped is as the game inside
    "m,n,k": ("connect_four", "phantom_ttt", "tic_tac_toe", "ultimate_tic_tac_toe", "quantum_tic_tac_toe", "mnk"),
    "m,n,k misere": ("misere",),
    "connection": ("hex", "havannah", "y", "dark_hex", "twixt"),
    "flipping": ("othello",),
    "race": ("breakthrough",),
    "go": ("go", "phantom_go"),
    "chess": ("chess", "dark_chess", "kriegspiel", "rbc", "crazyhouse"),
    "merging": ("2048",),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Board:
    """Where a game's grid has stones, so that the mover can be shown its own first."""

    planes: tuple[tuple[int, ...], ...]  # by seat: the order in which to show OpenSpiel's planes, mine and theirs first
    keys: str  # "cells": the first H * W actions put a stone there, one more passes; "columns": drop one; "": neither


RELATIVE = ((0, 1, 2), (0, 1, 2))  # mine, theirs, empty
REFUSED = {  # what is only seen when the game is made
    "colored_trails": "has 93,123 actions",
    "crossword": "gives no tensor of what a player sees, though its type says so",
    "dou_dizhu": "has 26,057 actions",
}
BOARDS = {
    "connect_four": Board(((0, 1, 2), (1, 0, 2)), "columns"),
    "tic_tac_toe": Board(((2, 1, 0), (1, 2, 0)), "cells"),
    "mnk": Board(((2, 1, 0), (1, 2, 0)), "cells"),
    "go": Board(((0, 1, 2, 3), (1, 0, 2, 3)), "cells"),  # the last plane is ones where white is to move
    "y": Board(RELATIVE, "cells"),
    "havannah": Board(RELATIVE, "cells"),
    "othello": Board(((1, 2, 0), (1, 2, 0)), "cells"),
    "pentago": Board(RELATIVE, ""),  # a move turns a quarter of the board as well
    "clobber": Board(RELATIVE, ""),
}


def names() -> list[str]:
    """Every game that can be played with its default parameters; nothing when OpenSpiel is missing."""
    try:
        return [f"openspiel/{kind.short_name}" for kind in _kinds() if refusal(kind) is None]
    except ValueError:
        return []


def refusal(kind: Any, loaded: bool = False) -> str | None:
    """Why a game of this pyspiel.GameType cannot be played; None where it can. Not `loaded`: with its default
    parameters.
    """
    pyspiel = _package()
    if not loaded and not kind.default_loadable:
        return "needs parameters"
    if not loaded and kind.short_name in REFUSED:
        return REFUSED[kind.short_name]
    if kind.dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD:
        return "is a mean-field game, which has no player to move"
    if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC and not _draws_itself(kind):
        return "draws its chance without a seed, so that no episode can be played again"
    if not kind.provides_observation_tensor and not kind.provides_information_state_tensor:
        return "gives no tensor of what a player sees"
    return None


def _draws_itself(kind: Any) -> bool:
    """Whether the rules draw chance from a seed that is one of their parameters."""
    sampled = _package().GameType.ChanceMode.SAMPLED_STOCHASTIC
    return kind.chance_mode == sampled and "rng_seed" in kind.parameter_specification


def make(rest: str) -> Game:
    """NAME, NAME(parameter=value,...) or NAME:parameter=value:..."""
    pyspiel = _package()
    text = _own_notation(rest)
    short = re.split(r"[(]", text)[0]
    kinds = {kind.short_name: kind for kind in _kinds()}
    if short not in kinds:
        from envs.registry import unknown

        raise ValueError(unknown(f"openspiel/{short}", names()))
    _check_parameters(rest, text, kinds[short])
    try:
        inner = pyspiel.load_game(text)
    except (pyspiel.SpielError, RuntimeError, ValueError) as error:
        raise ValueError(f"openspiel/{rest}: {_first_line(error)}") from error
    reason = refusal(inner.get_type(), loaded=True)
    if reason is not None:
        raise ValueError(f"openspiel/{rest}: it {reason}")
    game = _in_turns(inner)
    name = "openspiel/" + str(inner).removesuffix("()")
    if game.num_distinct_actions() > MAX_ACTIONS:
        raise ValueError(
            f"{name} has {game.num_distinct_actions():,} actions; {MAX_ACTIONS:,} is the limit: choose a smaller size "
            "by its parameters"
        )
    board = BOARDS.get(short)
    try:
        reader = Reader(game, board)
    except pyspiel.SpielError as error:  # the type promises a tensor that is not written
        raise ValueError(f"{name}: it gives no tensor of what a player sees ({_first_line(error)})") from error
    spec = _spec(name, short, inner, game, reader, board)
    return Game(name, spec, functools.partial(OpenSpielEnvironment, spec, game, reader))


def _check_parameters(rest: str, text: str, kind: Any) -> None:
    """ValueError for parameters that a game does not have, before OpenSpiel itself writes to the terminal of them."""
    inside = text.partition("(")[2].removesuffix(")")
    if "(" in inside:  # a game within a game
        return
    known = sorted(kind.parameter_specification)
    for parameter in filter(None, inside.split(",")):
        name = parameter.partition("=")[0]
        if name not in known:
            has = f"its parameters are {', '.join(known)}" if known else "it has no parameters"
            raise ValueError(f"openspiel/{rest}: no parameter {name!r}; {has}")


def _in_turns(game: Any) -> Any:
    """A game with simultaneous moves as one whose players commit to theirs in turn."""
    pyspiel = _package()
    together = game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS
    return pyspiel.convert_to_turn_based(game) if together else game


def _spec(name: str, short: str, inner: Any, game: Any, reader: Reader, board: Board | None) -> GameSpec:
    types = _package().GameType
    kind, players = inner.get_type(), game.num_players()
    every_move = kind.reward_model == types.RewardModel.REWARDS
    low, high = min(0.0, game.min_utility()), max(0.0, game.max_utility())
    simultaneous = kind.dynamics == types.Dynamics.SIMULTANEOUS
    return GameSpec(
        name=name,
        observation=reader.observation,
        num_actions=game.num_distinct_actions(),
        num_players=players,
        zero_sum=players == 2 and kind.utility == types.Utility.ZERO_SUM,
        stochastic=kind.chance_mode != types.ChanceMode.DETERMINISTIC,
        perfect_information=kind.information == types.Information.PERFECT_INFORMATION and not simultaneous,
        reward_range=(-float("inf"), float("inf")) if every_move else (low, high),
        max_length=game.max_game_length(),
        family=next((family for family, games in FAMILIES.items() if short in games), "openspiel"),
        board_planes=board is not None,
        action_keys=_keys(board, game.num_distinct_actions(), reader.observation.shape) if board else None,
    )


def _keys(board: Board, num_actions: int, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    if not board.keys:
        return None
    if board.keys == "columns":
        return tuple(f"column {column}" for column in range(num_actions))
    cells = cell_keys(*shape[1:])
    if num_actions == len(cells):
        return cells
    assert num_actions == len(cells) + 1, f"{num_actions} actions on a board of {len(cells)} cells"
    return (*cells, "pass")


class Reader:
    """What the player to move sees, as an array of the spec's shape."""

    def __init__(self, game: Any, board: Board | None):
        self._board = board
        kind, types = game.get_type(), _package().GameType
        hidden = kind.information != types.Information.PERFECT_INFORMATION
        self._history = kind.provides_information_state_tensor and (hidden or not kind.provides_observation_tensor)
        if self._history:
            shape, layout = game.information_state_tensor_shape(), game.information_state_tensor_layout()
        else:
            shape, layout = game.observation_tensor_shape(), game.observation_tensor_layout()
        self._last = len(shape) == 3 and layout == _package().TensorLayout.HWC
        self._shape = tuple(shape)
        self._seats = 0 if game.num_players() == 1 or board is not None else game.num_players()
        self._buffer = self._fast(game)
        if len(shape) == 3:
            planes, height, width = (shape[2], *shape[:2]) if self._last else shape
            self.observation = ObservationSpec(ObservationKind.GRID, (planes + self._seats, height, width))
        else:
            size = int(np.prod(shape)) + self._seats
            self.observation = ObservationSpec(ObservationKind.VECTOR, (size,))

    def _fast(self, game: Any) -> Any:
        """OpenSpiel's buffer for observations, where it shows the same as the lists; else None."""
        pyspiel = _package()
        module = importlib.import_module("open_spiel.python.observation")
        wanted = pyspiel.IIGObservationType(perfect_recall=True) if self._history else None
        state = game.new_initial_state()
        _resolve_chance_(state, random.Random(0))
        try:
            buffer = module.make_observation(game, wanted)
            if buffer is None or buffer.tensor is None:
                return None
            buffer.set_from(state, state.current_player())
            same = np.array_equal(buffer.tensor, np.asarray(self._list(state, state.current_player()), np.float32))
            return buffer if same else None
        except (pyspiel.SpielError, RuntimeError, ValueError, TypeError):
            return None

    def _list(self, state: Any, player: int) -> list[float]:
        return state.information_state_tensor(player) if self._history else state.observation_tensor(player)

    def read_(self, state: Any, player: int, out: np.ndarray) -> None:
        """Write what `player` sees into `out`, an array of the spec's shape."""
        if self._buffer is not None:
            self._buffer.set_from(state, player)
            seen = self._buffer.tensor
        else:
            seen = np.asarray(self._list(state, player), np.float32)
        if self.observation.kind is ObservationKind.VECTOR:
            out[: seen.size] = seen
            if self._seats:
                out[seen.size :] = 0
                out[seen.size + player] = 1
            return
        planes = seen.reshape(self._shape)
        planes = planes.transpose(2, 0, 1) if self._last else planes
        if self._board is not None:
            out[:] = planes[list(self._board.planes[player])]
            return
        out[: len(planes)] = planes
        if self._seats:
            out[len(planes) :] = 0
            out[len(planes) + player] = 1


class OpenSpielEnvironment(CopiesEnvironment):
    """One pyspiel state a copy, with a generator of its own for chance."""

    def __init__(self, spec: GameSpec, game: Any, reader: Reader, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self._game, self._reader = game, reader
        self._every_move = game.get_type().reward_model == _package().GameType.RewardModel.REWARDS
        self._draws_itself = _draws_itself(game.get_type())
        self._states: list[Any] = [None] * num_copies
        self._random = [random.Random(0) for _ in range(num_copies)]
        self._returns = np.zeros((num_copies, spec.num_players))
        self._nothing = np.zeros(spec.num_players)

    def begin_copy(self, copy: int, seed: int) -> None:
        """A new state; what chance does before the first move is drawn."""
        self._random[copy].seed(seed)
        game = self._game
        if self._draws_itself:  # from a generator of the game's, so that every episode has a game of its own
            parameters = {**game.get_parameters(), "rng_seed": seed}
            game = _in_turns(_package().load_game(game.get_type().short_name, parameters))
        state = self._states[copy] = game.new_initial_state()
        _resolve_chance_(state, self._random[copy])
        self._returns[copy] = state.returns() if self._every_move else 0.0
        self._show_copy(copy, state.current_player())

    def play_copy(self, copy: int, action: int) -> tuple[Any, bool, bool]:
        """A move, and chance up to the next one."""
        state = self._states[copy]
        mover = state.current_player()
        state.apply_action(action)
        _resolve_chance_(state, self._random[copy])
        over = state.is_terminal()
        reward = self._nothing
        if over or self._every_move:
            reward = np.asarray(state.returns()) - self._returns[copy]
            self._returns[copy] += reward
        self._show_copy(copy, (mover + 1) % self.spec.num_players if over else state.current_player())
        return reward, over, False

    def _show_copy(self, copy: int, player: int) -> None:
        """What `player` sees. After the end nobody is to move; then it is who would have been, and anything is
        legal.
        """
        state = self._states[copy]
        self.to_play[copy] = player
        self._reader.read_(state, player, self.observation[copy])
        row = self.legal[copy]
        if state.is_terminal():
            row[:] = True
            return
        row[:] = False
        row[state.legal_actions()] = True


def _resolve_chance_(state: Any, generator: random.Random) -> None:
    """Draw what chance does until somebody is to move or the game is over."""
    while state.is_chance_node():
        outcomes, chances = zip(*state.chance_outcomes())
        state.apply_action(generator.choices(outcomes, chances)[0])


def _own_notation(rest: str) -> str:
    """`hex:board_size=5:swap=True` -> `hex(board_size=5,swap=True)`; with brackets it stays as it is."""
    short, colon, parameters = rest.partition(":")
    if not colon or "(" in short:
        return rest.replace(" ", "")
    if not all("=" in parameter for parameter in parameters.split(":")):
        raise ValueError(
            f"openspiel/{rest}: write openspiel/{short}:PARAMETER=VALUE or openspiel/{short}(PARAMETER=VALUE)"
        )
    return f"{short}({parameters.replace(':', ',')})"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _package() -> Any:
    installed(*PACKAGE)
    return importlib.import_module("pyspiel")


@functools.cache
def _kinds() -> tuple[Any, ...]:
    return tuple(sorted(_package().registered_games(), key=lambda kind: kind.short_name))
