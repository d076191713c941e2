"""From a name, a file or an installed package to a game.

    tictactoe                      native rules, one file of envs/boards/ each (or of the other folders of NATIVE)
    hex:5, mnk:4x4x3:gravity       FAMILY:SETTINGS: native rules with settings, one file of those folders a family
    CartPole-v1                    any Gymnasium id
    ale/Pong, ale/Pong:100k        PREFIX/NAME[:PRESET]: the adapter envs/adapters/PREFIX.py
    my_game.py, my_game.py:Name    a file of the user's
    anything                       offered by an installed package under the entry-point group `gurgeh.games`

Nothing is listed by hand here: native games and adapters are found by their files. A file of envs/boards/ and the like
offers one game as `GAME`, or a family of games by four names:

    FAMILY = "hex"                         what its names begin with
    SYNTAX = "hex:N with N from 2 to 19"   shown when settings are not understood
    EXAMPLES = ("hex:3", "hex:5")          what `gurgeh games list` shows and the contract suite plays
    def make(settings): ...                text after `FAMILY:` -> native rules, or ValueError saying what is wrong;
                                           `spec.name` is the canonical name, the same for all spellings of one game
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import envs.adapters
import envs.boards
import envs.hidden
import envs.physics
import envs.prediction
import envs.words
from envs.batch import NativeEnvironment
from envs.game import Environment, Game, GameSpec, MissingExtraError, installed

GROUP = "gurgeh.games"
NATIVE = (envs.boards, envs.hidden, envs.prediction, envs.physics, envs.words)  # folders of native games
FALLBACK = "gymnasium"  # the adapter that is asked for names without a prefix
NATIVE_METHODS = ("initial", "legal", "to_play", "observe", "play")


def make(name: str) -> Game:
    """The game called `name` (see the top of this file), ready to build environments.

    Raises ValueError for a name that nobody knows, for a file that offers no game, and (as MissingExtraError)
    for a game whose package is not installed; each message says what to do.
    """
    path, _, attribute = name.partition(".py:")
    if name.endswith(".py") or attribute:
        return _from_file(Path(path if not attribute else path + ".py"), attribute)
    if name in _native_modules():
        return from_object(importlib.import_module(_native_modules()[name]).GAME, name)
    family, _, settings = name.partition(":")
    if family in _families():
        return _from_family(_families()[family], settings)
    if name in _entry_points():
        return _from_entry_point(_entry_points()[name])
    prefix, _, rest = name.partition("/")
    if prefix in _adapters():
        if not rest:
            raise ValueError(f"{name!r} names no game: write {prefix}/NAME; `gurgeh games list` shows the names")
        return _adapter(prefix).make(rest)
    _check_family(name)
    known = _adapter(FALLBACK).find(name)
    if known is None:
        raise ValueError(unknown(name, names()))
    return known


def _check_family(name: str) -> None:
    """ValueError for settings of a native game that has none, and for families that are nearly spelt right; before
    what stands in front of a colon is taken for a package that registers games with Gymnasium."""
    family, colon, settings = name.partition(":")
    if not colon or "/" in family or settings.startswith("bins="):
        return
    if family in _native_modules():
        raise ValueError(f"{name!r}: {family} has no settings; write {family}")
    close = difflib.get_close_matches(family.lower(), [*_families(), *_native_modules()], 1)
    if close and importlib.util.find_spec(family.partition(".")[0]) is None:
        meant = close[0] + (f":{settings}" if close[0] in _families() else "")
        raise ValueError(f"unknown game {name!r}: did you mean {meant}? `gurgeh games list` shows every name")


def is_foreign(name: str) -> bool:
    """Whether `name` is a game of the user's or of a plug-in, which nobody here has checked."""
    return name.endswith(".py") or ".py:" in name or name in _entry_points()


def names() -> list[str]:
    """Every game that can be named without a file: native ones, entry points, then each adapter's."""
    return [name for _, found, _ in groups() for name in found]


def groups() -> list[tuple[str, list[str], str | None]]:
    """(origin, names, what is missing or None): native ones, entry points, then each adapter's."""
    examples = [name for family in _families().values() for name in family.EXAMPLES]
    found: list[tuple[str, list[str], str | None]] = [("native", [*_native_modules(), *examples], None)]
    if _entry_points():
        found.append(("plug-ins", [*_entry_points()], None))
    for prefix in _adapters():
        missing = None
        try:
            installed(*getattr(_adapter(prefix), "PACKAGE", ("torch", "torch", "")))
        except MissingExtraError as error:
            missing = str(error)
        found.append((prefix, _adapter(prefix).names(), missing))
    return found


def families() -> dict[str, str]:
    """How the names of each family of native games with settings are written: {family: syntax}."""
    return {family: module.SYNTAX for family, module in _families().items()}


def unknown(name: str, known: list[str], what: str = "game") -> str:
    """The text of the error for a name that is not in `known`."""
    lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    if not close:  # a part of a name: "pong" for "ale/Pong"
        close = [candidate for candidate in lower if name.lower() in candidate][:3]
    hint = f"did you mean {' or '.join(lower[candidate] for candidate in close)}? " if close else ""
    return f"unknown {what} {name!r}: {hint}`gurgeh games list` shows every name"


def from_object(thing: Any, name: str) -> Game:
    """The game that an author's object stands for.

    thing: native rules (a class or an object with `spec` and the five functions), a Game, a factory
    `(num_copies, seed) -> Environment`, or a class or function without arguments that makes a Gymnasium
    or PettingZoo AEC environment.
    """
    if isinstance(thing, Game):
        return dataclasses.replace(thing, name=name)
    if hasattr(thing, "initial"):
        try:
            rules = thing() if inspect.isclass(thing) else thing
        except TypeError as error:
            raise ValueError(f"{name}: {thing.__name__} cannot be made without arguments: {error}") from error
        return _native(rules, name)
    if not callable(thing):
        raise ValueError(
            f"{name}: a {type(thing).__name__} is no game; offer native rules or a function that makes one"
        )
    required = [
        parameter.name for parameter in _parameters(thing) if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    if required == ["num_copies", "seed"]:
        factory: Any = thing
        return Game(name, factory(1, 0).spec, factory)
    if required:
        raise ValueError(
            f"{name}: called with {', '.join(required)}; a factory takes (num_copies, seed) and returns an "
            "Environment, or takes nothing and returns a Gymnasium or PettingZoo environment"
        )
    return _from_maker(thing, name)


def _from_maker(maker: Any, name: str) -> Game:
    """A game from a function without arguments."""
    made = maker()
    if isinstance(made, Game):
        return dataclasses.replace(made, name=name)
    if all(hasattr(made, method) for method in NATIVE_METHODS):
        return _native(made, name)
    for prefix in _adapters():
        wrap = getattr(_adapter(prefix), "wrap", None)
        game = wrap(maker, made, name) if wrap else None
        if game is not None:
            return game
    raise ValueError(
        f"{name}: made a {type(made).__name__}, which is no game; return native rules, a gymnasium.Env or a "
        "PettingZoo AECEnv"
    )


def _native(rules: Any, name: str) -> Game:
    missing = [method for method in NATIVE_METHODS if not callable(getattr(rules, method, None))]
    if missing or not isinstance(getattr(rules, "spec", None), GameSpec):
        raise ValueError(
            f"{name}: native rules need `spec = GameSpec(...)` and {', '.join(NATIVE_METHODS)}; "
            f"missing: {', '.join(missing) or 'spec'}"
        )
    return Game(name, rules.spec, functools.partial(NativeEnvironment, rules), rules)


def _from_family(family: ModuleType, settings: str) -> Game:
    """A game of a family, under its canonical name."""
    try:
        rules = family.make(settings)
    except MissingExtraError:
        raise
    except ValueError as error:
        given = f"{family.FAMILY}:{settings}" if settings else family.FAMILY
        raise ValueError(f"{given!r}: {error}; write {family.SYNTAX}") from error
    return _native(rules, rules.spec.name)


def _parameters(thing: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(thing).parameters.values())
    except ValueError:  # some C callables have no signature
        return []


def _from_file(path: Path, attribute: str) -> Game:
    """A game from a file: `attribute`, else `GAME`, else the only class of rules or environment in it.

    A wrapped game is called after the file; a dict `SPEC` in the file says more about it than its package can.
    """
    module = _load(path)
    name = f"{path.resolve()}:{attribute}" if attribute else str(path.resolve())
    game = from_object(_offered(module, path, attribute), name)
    if game.native is not None:
        return game
    changes = {"name": f"{path.stem}:{attribute}" if attribute else path.stem, **getattr(module, "SPEC", {})}
    wrong = sorted(set(changes) - {field.name for field in dataclasses.fields(GameSpec)})
    if wrong:
        raise ValueError(f"{path}: SPEC has {wrong[0]!r}, which is no field of GameSpec (see envs/game.py)")
    spec = dataclasses.replace(game.spec, **changes)
    return dataclasses.replace(game, spec=spec, build=functools.partial(_build_as, game.build, spec))


def _build_as(build: Callable[[int, int], Environment], spec: GameSpec, num_copies: int, seed: int) -> Environment:
    """An environment under another description."""
    environment = build(num_copies, seed)
    environment.spec = spec
    return environment


def _offered(module: ModuleType, path: Path, attribute: str) -> Any:
    """The object in a user's file that stands for the game."""
    if attribute:
        if not hasattr(module, attribute):
            own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise ValueError(f"{path} has no {attribute!r}; it has {', '.join(own) or 'nothing to play'}")
        return getattr(module, attribute)
    if hasattr(module, "GAME"):
        return module.GAME
    own = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]
    games = [value for value in own if all(hasattr(value, method) for method in NATIVE_METHODS)]
    games = games or [value for value in own if hasattr(value, "reset") and hasattr(value, "step")]
    if len(games) != 1:
        found = ", ".join(value.__name__ for value in games) or "none"
        raise ValueError(f"{path}: which game? Found {found}; write GAME = ... in it, or name one as {path}:NAME")
    return games[0]


def _load(path: Path) -> ModuleType:
    """The module of a user's file, executed once until the file changes."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a game is a name (`gurgeh games list`) or a path to a Python file")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    key = "gurgeh_file_" + hashlib.sha256(f"{path.resolve()} {content}".encode()).hexdigest()[:16]
    if key in sys.modules:
        return sys.modules[key]
    found = importlib.util.spec_from_file_location(key, path)
    assert found, f"{path} has no import specification"
    assert found.loader, f"{path} has no loader"
    module = importlib.util.module_from_spec(found)
    sys.modules[key] = module
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        raise ValueError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _from_entry_point(point: importlib.metadata.EntryPoint) -> Game:
    try:
        thing = point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{point.name}: the plug-in {point.value} does not load: {error}") from error
    return from_object(thing, point.name)


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Plug-ins by name; a plug-in cannot take the name of a native game."""
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


@functools.cache
def _board_modules() -> tuple[ModuleType, ...]:
    """Every file of the folders of native games."""
    return tuple(
        importlib.import_module(f"{folder.__name__}.{found.name}")
        for folder in NATIVE for found in pkgutil.iter_modules(folder.__path__)
    )  # fmt: skip


@functools.cache
def _native_modules() -> dict[str, str]:
    """Module by game, for every native file with a GAME."""
    return {module.GAME.spec.name: module.__name__ for module in _board_modules() if hasattr(module, "GAME")}


@functools.cache
def _families() -> dict[str, ModuleType]:
    """Module by what its games' names begin with, for every native file with a FAMILY."""
    return {module.FAMILY: module for module in _board_modules() if hasattr(module, "FAMILY")}


@functools.cache
def _adapters() -> tuple[str, ...]:
    """The prefixes: one adapter a file."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(envs.adapters.__path__)))


def _adapter(prefix: str) -> ModuleType:
    return importlib.import_module(f"envs.adapters.{prefix}")
