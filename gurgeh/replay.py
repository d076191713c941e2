"""Playing recorded episodes again: move by move to look at, or all at once to prove that nothing differs.

"Replay" here is watching a recorded game; the store of experience is the replay buffer (agents/replay.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs import registry
from envs.game import Environment, Game, GameSpec, Timestep, any_action
from gurgeh.episodes import untouched_randomness
from gurgeh.records import Episode, Header, RecordError, fingerprint, read_records


class Verified(NamedTuple):
    """What a verification compared."""

    episodes: int
    observations: int  # moves and final observations


@dataclasses.dataclass(frozen=True)
class Frame:
    """One position of an episode, before its move; the last frame of an episode has none."""

    move: int  # 0 is the first position
    observation: Tensor  # [*shape], seen by `to_play`
    to_play: int
    legal: Tensor | None  # [A] bool; None after the last move
    action: Any  # the move that was then played, an int or D floats; None after the last move
    last_action: Any  # the move that led here; None at the start
    last_mover: int | None
    reward: list[float]  # [P] for the move that led here; zeros at the start
    total: list[float]  # [P]: sum of the rewards so far


def open_records(path: str | Path) -> tuple[Game, Header, list[Episode]]:
    """The game and everything of a record file; RecordError when this installation's game is another version."""
    header, episodes = read_records(path)
    game = registry.make(header.game)
    if game.spec.version != header.version:
        raise RecordError(
            f"{path}: recorded with version {header.version} of {header.game}, found version {game.spec.version}; "
            f"replay it with the gurgeh that recorded it ({header.code.get('gurgeh', 'version unknown')})"
        )
    num_seats = game.spec.num_players
    for episode in episodes:
        if len(episode.seating) != num_seats or len(episode.outcome) != num_seats:
            found = len(episode.seating)
            raise RecordError(f"{path}: episode {episode.index} has {found} seats, {header.game} has {num_seats}")
    return game, header, episodes


def verify(game: Game, episodes: Sequence[Episode], num_copies: int = 64) -> Verified:
    """Play every episode again from its seed and its actions and compare all that was recorded.

    Observations, legal moves and who is to move are compared by fingerprint or value at every move, rewards and ends
    exactly. RecordError names the first difference of the first episode that has one.
    """
    with untouched_randomness():
        for start in range(0, len(episodes), num_copies):
            _verify_wave(game, episodes[start : start + num_copies])
    return Verified(len(episodes), sum(len(episode.observations) for episode in episodes))


def _verify_wave(game: Game, episodes: Sequence[Episode]) -> None:
    """One episode a copy; a copy whose episode is over, or has differed, idles."""
    differences: dict[int, str] = {}  # by position in `episodes`
    environment = game.environment(len(episodes), 0)
    try:
        step = environment.reset(seeds=_seeds(episodes))
        views, movers = step.observation.numpy(), step.to_play.tolist()
        for b, episode in enumerate(episodes):
            _note_(differences, b, episode, _compare_view(episode, 0, views[b], movers[b]))
        for move in range(max(len(episode) for episode in episodes)):
            live = [b for b, episode in enumerate(episodes) if move < len(episode) and b not in differences]
            action, legal = any_action(game.spec, step.legal), step.legal.numpy()
            for b in live:
                _note_(differences, b, episodes[b], _compare_choice(game.spec, episodes[b], move, legal[b]))
                if b not in differences:
                    action[b] = torch.tensor(episodes[b].actions[move])
            step = environment.step(action)
            for b in live:
                if b not in differences:
                    _note_(differences, b, episodes[b], _compare_step(episodes[b], move, step, b))
    finally:
        environment.close()
    if differences:
        raise RecordError(differences[min(differences)])


def _seeds(episodes: Sequence[Episode]) -> np.ndarray:
    return np.array([episode.seed for episode in episodes], np.int64)


def _note_(differences: dict[int, str], b: int, episode: Episode, found: str | None) -> None:
    if found is not None:
        differences[b] = f"episode {episode.index}, {found}; the game or its library differs from what was recorded"


def _compare_view(episode: Episode, move: int, observation: np.ndarray, to_play: int) -> str | None:
    """What differs in the position before `move` (counted from 0), or None."""
    if episode.to_play[move] != to_play:
        return f"move {move}: to_play was {episode.to_play[move]}, is {to_play}"
    found = fingerprint(observation)
    if episode.observations[move] != found:
        return f"move {move}: observation was {episode.observations[move]}, is {found}"
    return None


def _compare_choice(spec: GameSpec, episode: Episode, move: int, legal: np.ndarray) -> str | None:
    found = fingerprint(legal)
    if episode.legal[move] != found:
        return f"move {move}: legal moves were {episode.legal[move]}, are {found}"
    action = episode.actions[move]
    if spec.box is not None:
        numbers = isinstance(action, list) and all(type(value) is float for value in action)
        size = spec.box.num_dimensions
        if not numbers or len(action) != size or not bool(spec.box.contains(torch.tensor(action))):
            return f"move {move}: action {action} is not {size} numbers within the box of actions"
        return None
    if type(action) is not int or not 0 <= action < len(legal) or not legal[action]:
        return f"move {move}: action {action} is not legal"
    return None


def _compare_step(episode: Episode, move: int, step: Timestep, b: int) -> str | None:
    """What differs after `move` in copy b: reward, end, the next observation."""
    reward = step.reward[b].tolist()
    if episode.rewards[move] != reward:
        return f"move {move}: reward was {episode.rewards[move]}, is {reward}"
    last = move == len(episode) - 1
    expected = (episode.terminated, episode.truncated) if last else (False, False)
    found = bool(step.terminated[b]), bool(step.truncated[b])
    if expected != found:
        return f"move {move}: (terminated, truncated) was {expected}, is {found}"
    if last and np.sum(episode.rewards, axis=0).tolist() != episode.outcome:
        return f"outcome {episode.outcome} is not the sum of its rewards"
    over = found != (False, False)
    view = (step.final_observation if over else step.observation)[b]
    return _compare_view(episode, move + 1, view.numpy(), int((step.final_to_play if over else step.to_play)[b]))


def frames(game: Game, episode: Episode) -> Iterator[Frame]:
    """The positions of one episode in order; RecordError at the first that is not what was recorded."""
    environment = game.environment(1, 0)
    try:
        yield from _frames(environment, episode)
    finally:
        environment.close()


def _frames(environment: Environment, episode: Episode) -> Iterator[Frame]:
    differences: dict[int, str] = {}
    step = environment.reset(seeds=_seeds([episode]))
    total = [0.0] * len(episode.outcome)
    reward, last_action, last_mover = list(total), None, None
    observation, to_play = step.observation[0], int(step.to_play[0])
    _note_(differences, 0, episode, _compare_view(episode, 0, observation.numpy(), to_play))
    for move, action in enumerate(episode.actions):
        if not differences:
            _note_(differences, 0, episode, _compare_choice(environment.spec, episode, move, step.legal[0].numpy()))
        if differences:
            raise RecordError(differences[0])
        yield Frame(move, observation, to_play, step.legal[0], action, last_action, last_mover, reward, total)
        step = environment.step(torch.tensor([action]))
        _note_(differences, 0, episode, _compare_step(episode, move, step, 0))
        over = bool(step.terminated[0] | step.truncated[0])
        last_action, last_mover = action, to_play
        observation = (step.final_observation if over else step.observation)[0]
        to_play = int((step.final_to_play if over else step.to_play)[0])
        reward = step.reward[0].tolist()
        total = [a + b for a, b in zip(total, reward)]
    if differences:
        raise RecordError(differences[0])
    yield Frame(len(episode), observation, to_play, None, None, last_action, last_mover, reward, total)
