"""Playing episodes in batches and recording all of them.

Shape legend: B episodes in play at once, L of them not over yet, A actions, P seats. Nothing here touches anybody
else's random state: every episode and every decision has a seed of its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.player import Decision, Player, StatePlayer
from envs.game import Game, GameSpec, Timestep, any_action, episode_seed
from envs.solver import take
from gurgeh.records import STATISTICS, Episode, fingerprint

AnyPlayer = Player | StatePlayer

# Evaluation's own places in the number line of episodes, far from any that training reaches.
EPISODES, DECISIONS = 1 << 40, 1 << 41


class Opening(NamedTuple):
    """The first moves of an episode, which no player chooses."""

    seed: int  # of the environment's episode
    actions: tuple[int, ...] = ()


def play_episodes(
    game: Game,
    players: Sequence[AnyPlayer],
    num_episodes: int,
    seed: int,
    *,
    num_copies: int = 128,
    max_moves: int = 30_000,
    openings: Sequence[Opening] | None = None,
    first: int = 0,
) -> list[Episode]:
    """Play and record `num_episodes` episodes, `num_copies` at a time.

    players: one for every seat, or a single one that takes all of them. With several, episode i seats player k at
    seat (k + i) mod P, and P episodes in a row share their environment's seed: everybody sits everywhere, with the
    same luck. An episode depends on `seed` and its index only: not on `num_copies` and not, beyond floating point,
    on the episodes beside it.

    openings: episode i begins with opening number i // (number of players), in whose moves nobody has a say; its seed
    is then the opening's. ValueError for an opening that is not legal or leaves nothing to play. first: the index of
    the first episode, to play a part of a longer series.
    """
    num_seats = game.spec.num_players
    if len(players) not in (1, num_seats):
        raise ValueError(f"{game.name} has {num_seats} players: give 1 or {num_seats} of them, found {len(players)}")
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, found {num_episodes}")
    if openings is not None and (first + num_episodes - 1) // len(players) >= len(openings):
        raise ValueError(
            f"episodes {first} to {first + num_episodes - 1} of {len(players)} players need "
            f"{(first + num_episodes - 1) // len(players) + 1} openings, found {len(openings)}"
        )
    if any(isinstance(player, StatePlayer) for player in players) and game.native is None:
        raise ValueError(f"{game.name} has no native rules, which a player that looks ahead with them needs")
    episodes: list[Episode] = []
    with untouched_randomness():
        for start in range(first, first + num_episodes, num_copies):
            index = np.arange(start, min(start + num_copies, first + num_episodes))
            given = None if openings is None else [openings[i] for i in (index // len(players)).tolist()]
            episodes += _play_wave(game, players, index, seed, max_moves, given)
    return episodes


def _play_wave(
    game: Game,
    players: Sequence[AnyPlayer],
    index: np.ndarray,
    seed: int,
    max_moves: int,
    openings: Sequence[Opening] | None,
) -> list[Episode]:
    """One episode a copy, from its seed to its end; copies that are done idle until the last one is."""
    num_seats = game.spec.num_players
    seating = torch.as_tensor((np.arange(num_seats) - index[:, None]) % num_seats % len(players))  # [B, P]
    seeds = episode_seed(seed, index // len(players), EPISODES)
    given = torch.zeros(len(index), 0, dtype=torch.int64)
    if openings is not None:
        seeds = np.array([opening.seed for opening in openings], np.int64)
        given = _given(openings)
    opened = (given >= 0).sum(1).tolist()
    environment = game.environment(len(index), seed)
    try:
        step = environment.reset(seeds=seeds)
        logs = [_Log(int(i), int(s), seating[b].tolist(), opened[b]) for b, (i, s) in enumerate(zip(index, seeds))]
        live = torch.arange(len(index))
        looks_ahead = any(isinstance(player, StatePlayer) for player in players)
        state = game.native.initial(torch.as_tensor(seeds)) if game.native and looks_ahead else None
        for log, view, seat in zip(logs, step.observation.numpy(), step.to_play.tolist()):
            log.see(view, seat)
        for move in range(max_moves):
            decision_seed = torch.as_tensor(episode_seed(seed, index[live.numpy()], DECISIONS + move))
            forced = given[live, move] if move < given.shape[1] else None
            decision = _decide(game.spec, players, seating, step, live, state, decision_seed, forced)
            action = any_action(game.spec, step.legal)  # of idle copies
            action[live] = decision.action
            legal = step.legal[live].numpy()
            step = environment.step(action)
            _write_(logs, live, decision, legal, step, cut=move + 1 == max_moves)
            going = ~(step.terminated | step.truncated)[live]
            if state is not None and game.native is not None:
                state = take(game.native.play(state, decision.action).state, going)
            live = live[going]
            if not len(live):
                break
    finally:
        environment.close()
    for log in logs:
        if log.opening and len(log.episode) <= log.opening:
            opening = log.episode.actions
            raise ValueError(f"the opening {opening} of {game.name} leaves no move to the players; shorten it")
    return [log.episode for log in logs]


def _given(openings: Sequence[Opening]) -> Tensor:
    """The moves of the openings [B, longest] int64; -1 where one is over."""
    longest = max(len(opening.actions) for opening in openings)
    rows = [[*opening.actions, *[-1] * (longest - len(opening.actions))] for opening in openings]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(openings), longest)


def _decide(
    spec: GameSpec,
    players: Sequence[AnyPlayer],
    seating: Tensor,
    step: Timestep,
    live: Tensor,
    state: Any,
    seed: Tensor,
    forced: Tensor | None = None,
) -> Decision:
    """The decisions of whoever is to move in each of the `live` copies [L]; seed [L]; state: of the live ones.

    forced [L] int64: a move of the opening, -1 where the player is free.
    """
    who = seating[live, step.to_play[live]]
    parts = []
    if forced is not None:
        at = (forced >= 0).nonzero()[:, 0]
        legal = step.legal[live[at]]
        wrong = forced[at] >= legal.shape[1]
        wrong |= ~legal.gather(1, forced[at].clamp(max=legal.shape[1] - 1)[:, None])[:, 0]
        if bool(wrong.any()):
            raise ValueError(f"move {int(forced[at][wrong][0])} of an opening is not legal there")
        parts.append((at, Decision(forced[at])))
        who = torch.where(forced >= 0, -1, who)
    for number, player in enumerate(players):
        at = (who == number).nonzero()[:, 0]
        if not len(at):
            continue
        rows = live[at]
        if isinstance(player, StatePlayer):
            decision = player.act_on_state(take(state, at), seed[at])
        else:
            decision = player.act(step.observation[rows], step.legal[rows], step.to_play[rows], seed[at])
        if spec.box is not None:
            allowed = spec.box.contains(decision.action)
        else:
            allowed = step.legal[rows].gather(1, decision.action[:, None])
        assert bool(allowed.all()), f"player {player.name} chose a move that is not legal"
        parts.append((at, decision))
    return _together(parts, len(live))


def _together(parts: list[tuple[Tensor, Decision]], num_rows: int) -> Decision:
    """One decision of `num_rows` from the players' parts; statistics that only some have are NaN (-1: visits)."""
    fields = {}
    for name in Decision._fields:
        given = [(at, getattr(decision, name)) for at, decision in parts if getattr(decision, name) is not None]
        if given:
            first = given[0][1].cpu()
            missing = float("nan") if first.is_floating_point() else -1
            whole = first.new_full((num_rows, *first.shape[1:]), missing)
            for at, values in given:
                whole[at] = values.detach().cpu().to(whole.dtype)
            fields[name] = whole
    return Decision(**fields)


class _Log:
    """What happened in one episode so far."""

    def __init__(self, index: int, seed: int, seating: list[int], opening: int):
        self.start, self.opening = (index, seed, tuple(seating)), opening
        self.lists: dict[str, list[Any]] = {
            name: [] for name in ("actions", "to_play", "observations", "legal", "rewards", *STATISTICS)
        }
        self.episode: Episode

    def see(self, observation: np.ndarray, seat: int) -> None:
        self.lists["observations"].append(fingerprint(observation))
        self.lists["to_play"].append(seat)

    def end(self, terminated: bool, truncated: bool, cut: bool) -> None:
        outcome = np.sum(self.lists["rewards"], axis=0).tolist()
        index, seed, seating = self.start
        self.episode = Episode(index, seed, seating, outcome=outcome, terminated=terminated, truncated=truncated,
                               cut=cut, opening=self.opening, **self.lists)  # fmt: skip


def _write_(logs: list[_Log], live: Tensor, decision: Decision, legal: np.ndarray, step: Timestep, cut: bool) -> None:
    """Add a move to the logs of the `live` copies [L]; end those whose episode ended."""
    ended = (step.terminated | step.truncated)[live]
    shape = (-1, *[1] * (step.observation.dim() - 1))
    views = torch.where(ended.reshape(shape), step.final_observation[live], step.observation[live]).numpy()
    seats = torch.where(ended, step.final_to_play[live], step.to_play[live]).tolist()
    thoughts = {name: _short(getattr(decision, name), len(live)) for name in STATISTICS}
    actions, rewards = decision.action.tolist(), step.reward[live].tolist()
    terminated, over = step.terminated[live].tolist(), ended.tolist()
    for i, b in enumerate(live.tolist()):
        log = logs[b]
        for name, entries in thoughts.items():
            log.lists[name].append(entries[i])
        log.lists["actions"].append(actions[i])
        log.lists["legal"].append(fingerprint(legal[i]))
        log.lists["rewards"].append(rewards[i])
        log.see(views[i], seats[i])
        if over[i] or cut:
            log.end(terminated[i], over[i] and not terminated[i], cut and not over[i])


def _short(values: Tensor | None, num_rows: int) -> list[Any]:
    """[L, K] as short lists; None for rows without statistics."""
    if values is None:
        return [None] * num_rows
    if not values.is_floating_point():
        return [None if row[0] < 0 else row for row in values.tolist()]
    rows = (values.double().round(decimals=4) + 0.0).tolist()  # + 0.0: no negative zeros
    return [None if row[0] != row[0] else row for row in rows]


@contextlib.contextmanager
def untouched_randomness() -> Iterator[None]:
    """Whatever is drawn inside, the global states of torch, NumPy and random are afterwards what they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() and torch.cuda.is_initialized() else ()
    kept = (
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
        [torch.cuda.get_rng_state(i) for i in devices],
    )
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
        for i, state in zip(devices, kept[3]):
            torch.cuda.set_rng_state(state, i)
