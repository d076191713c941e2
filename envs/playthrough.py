"""Recorded games, readable by a person: what a game showed once it must show for ever, or say another version.

A playthrough is a JSON file of a few random games, each with its seed, its actions and every position: the observation,
who was to move, the legal moves, the reward of the move that led there and whether the game was over. A game that is
checked (`envs.check`) is held to its file where it has one: MY_GAME.playthrough.json beside a user's my_game.py
(`gurgeh games check my_game.py --record` writes it), tests/golden/playthroughs/ in a checkout for the games of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.game import Game, NativeGame, ObservationKind

SUFFIX = ".playthrough.json"
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "playthroughs"
_LONGEST = 200  # moves of a recorded game that does not say how long it lasts
_NUMBERS = 1024  # values of an observation that are written out; of larger ones a hash


Move = int | list[float]  # D numbers where actions are continuous
Chooser = Callable[[list[int]], Move | None]  # the legal moves -> one of them, or None to stop


class _Shown(NamedTuple):
    """One position of one game."""

    observation: Tensor  # [*shape]
    to_play: int
    legal: list[int]
    reward: list[float]  # [P]
    terminated: bool
    over: bool


def golden_path(name: str) -> Path:
    """Where a checkout keeps the recorded games of `name`: a colon is no part of a file's name everywhere."""
    return GOLDEN / (re.sub(r"[^A-Za-z0-9_]+", "-", name) + ".json")


def path_of(game: Game) -> Path:
    """Where the recorded games of `game` lie, or would lie."""
    file, colon, attribute = game.name.partition(".py:")
    if colon or game.name.endswith(".py"):
        path = Path(file if colon else file.removesuffix(".py"))
        return path.with_name(path.name + f"-{attribute}" * bool(attribute) + SUFFIX)
    return golden_path(game.name)


def record(game: Game, num_games: int = 3, enough: int = 150) -> dict[str, Any]:
    """Random games from as many seeds, fewer where they have `enough` positions together."""
    games: list[dict[str, Any]] = []
    while len(games) < num_games and sum(len(done["positions"]) for done in games) < enough:
        seed = len(games)
        random = np.random.default_rng(seed)
        actions, shown = [], None
        player = _player(game, seed)
        for shown in player(lambda legal, random=random: _random_move(game, legal, random)):
            if shown[1] is not None:
                actions.append(shown[1])
            if len(actions) >= (game.spec.max_length or _LONGEST):
                break
        games.append(play(game, seed, actions))
    return {"game": game.spec.name, "version": game.spec.version, "games": games}


def _random_move(game: Game, legal: list[int], random: np.random.Generator) -> Move:
    box = game.spec.box
    return int(random.choice(legal)) if box is None else box.at(torch.from_numpy(random.random(len(box.low)))).tolist()


def play(game: Game, seed: int, actions: list[Move]) -> dict[str, Any]:
    """Every position of one game, as JSON values."""
    left = iter(actions)
    positions = []
    for shown, _ in _player(game, seed)(lambda _: next(left, None)):
        positions.append(_json(game, shown))
        if len(positions) > len(actions):
            break
    return {"seed": seed, "actions": actions, "positions": positions}


def write(game: Game, path: Path) -> None:
    """Record games of `game` in a file, one position a line."""
    text = json.dumps(record(game)).replace(', "positions": [', ', "positions": [\n')
    text = text.replace("}, {", "},\n{").replace("}]}, {", "}]},\n{")
    path.write_text(text + "\n")


def differences(game: Game, path: Path) -> Iterator[tuple[str, int | None]]:
    """(what differs from the recorded games, after which move) of the first difference, if there is one."""
    try:
        recorded = json.loads(path.read_text())
        games, version = recorded["games"], recorded["version"]
    except (ValueError, KeyError, TypeError) as error:
        yield f"{path} is no playthrough ({error})", None
        return
    if version != game.spec.version:
        yield f"{path.name} is of version {version}, the game is version {game.spec.version}", None
        return
    for number, old in enumerate(games):
        new = play(game, old["seed"], old["actions"])
        pairs = zip(old["positions"], new["positions"], strict=False)
        for move, (one, other) in enumerate(pairs):
            wrong = [key for key in one if one[key] != other.get(key)]
            if wrong:
                yield f"{wrong[0]} is not what game {number} of {path.name} recorded", move
                return
        if len(old["positions"]) != len(new["positions"]):
            yield f"game {number} of {path.name} ended after {len(new['positions']) - 1} moves", None
            return


def _player(game: Game, seed: int) -> Callable[[Chooser], Iterator[tuple[_Shown, Move | None]]]:
    """A function that plays one game with moves of a chooser, and yields (position, the move that led there)."""
    rules = game.native
    return lambda choose: _native(rules, seed, choose) if rules is not None else _wrapped(game, seed, choose)


def _native(rules: NativeGame, seed: int, choose: Chooser) -> Iterator[tuple[_Shown, Move | None]]:
    state, action, over = rules.initial(torch.tensor([seed])), None, False
    reward = [0.0] * rules.spec.num_players
    while True:
        legal = torch.nonzero(rules.legal(state)[0]).flatten().tolist()
        to_play = int(rules.to_play(state)[0])
        yield _Shown(rules.observe(state)[0], to_play, legal, reward, over, over), action
        action = None if over else choose(legal)
        if action is None:
            return
        played = rules.play(state, torch.tensor([action]))  # [1] int64, or [1, D] float32
        state, reward, over = played.state, (played.reward[0] + 0.0).tolist(), bool(played.terminated[0])


def _wrapped(game: Game, seed: int, choose: Chooser) -> Iterator[tuple[_Shown, Move | None]]:
    """The same through an environment; after the end no moves are shown, for the next episode has begun."""
    environment = game.environment(1, 0)
    try:
        now, action = environment.reset(np.array([seed])), None
        while True:
            over = bool(now.terminated[0] | now.truncated[0])
            legal = [] if over else torch.nonzero(now.legal[0]).flatten().tolist()
            reward = (now.reward[0] + 0.0).tolist()
            shown = _Shown(
                now.final_observation[0], int(now.final_to_play[0]), legal, reward, bool(now.terminated[0]), over
            )
            yield shown, action
            action = None if over else choose(legal)
            if action is None:
                return
            now = environment.step(torch.tensor([action]))
    finally:
        environment.close()


def _json(game: Game, shown: _Shown) -> dict[str, Any]:
    rest = {"to_play": shown.to_play, "legal": shown.legal, "reward": shown.reward, "terminated": shown.terminated}
    return {**_observation(game, shown.observation), **rest}


def _observation(game: Game, observation: Tensor) -> dict[str, Any]:
    kind = game.spec.observation.kind
    if game.spec.board_planes:
        planes = zip(("mine", "theirs"), observation[:2].tolist(), strict=True)
        shown: dict[str, Any] = {name: ["".join(".#"[cell] for cell in row) for row in plane] for name, plane in planes}
        return {**shown, "rest": observation[2:].flatten().tolist()} if len(observation) > 2 else shown
    if kind is ObservationKind.GRID and not observation.is_floating_point() and int(observation.max()) < 2:
        return {"planes": ["".join(".#"[cell] for cell in plane) for plane in observation.flatten(1).tolist()]}
    if observation.numel() > _NUMBERS:
        import hashlib

        return {"sha256": hashlib.sha256(observation.contiguous().numpy().tobytes()).hexdigest()}
    if kind is ObservationKind.TOKENS:
        return {"tokens": observation.tolist()}
    return {"observation": observation.flatten().tolist()}
