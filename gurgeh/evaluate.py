"""Measuring players: batched episodes, all recorded, and what they add up to.

Shape legend: B episodes in play at once, A actions, P seats, M positions of a solved game. Nothing here touches
anybody else's random state: every episode and every decision has a seed of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.player import Decision, Player, RandomPlayer, SolverPlayer, StatePlayer, TacticianPlayer
from envs.game import Game, Timestep, episode_seed
from envs.solver import Solution, solve
from gurgeh.records import Episode, fingerprint

AnyPlayer = Player | StatePlayer
BUILT_IN = ("random", "perfect", "tactician1", "tactician2")  # opponents that need no run

# Evaluation's own places in the number line of episodes, far from any that training reaches.
_EPISODES, _DECISIONS = 1 << 40, 1 << 41


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How a network is measured."""

    episodes: int = 100
    """Episodes per game and opponent."""
    simulations: int = 16
    """Simulations of the search per move; 0 plays the raw policy."""
    greedy: bool = True
    """Play the best move found; false samples moves as self-play does."""
    opponents: tuple[str, ...] = ()
    """For games of several players: random, perfect (solvable games), tactician1, tactician2 (native games for two)
    or the path of another run. Empty: random, and perfect where there is one."""
    copies: int = 64
    """Episodes that are played at once."""
    max_moves: int = 30_000
    """Moves after which an episode that does not end is stopped and counted as it stands."""

    def __post_init__(self) -> None:
        for name in ("episodes", "copies", "max_moves"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluation.{name} must be at least 1, found {getattr(self, name)}")
        if self.simulations < 0:
            raise ValueError(f"evaluation.simulations must be at least 0, found {self.simulations}")


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


class Optimality(NamedTuple):
    """How many of the M positions of a solved game are played optimally."""

    share: float  # of positions in which the chosen move keeps the value
    wrong: Tensor  # [K] int64: numbers of the positions in which it does not
    prior_share: float | None  # the same for the likeliest move of the raw policy; None without one
    prior_wrong: Tensor | None


# Playing


def play_episodes(
    game: Game,
    players: Sequence[AnyPlayer],
    num_episodes: int,
    seed: int,
    *,
    num_copies: int = 64,
    max_moves: int = 30_000,
) -> list[Episode]:
    """Play and record `num_episodes` episodes, `num_copies` at a time.

    players: one for every seat, or a single one that takes all of them. With several, episode i seats player k at
    seat (k + i) mod P, and P episodes in a row share their environment's seed: everybody sits everywhere, with the
    same luck. An episode depends on `seed` and its index only: not on `num_copies` and not, beyond floating point,
    on the episodes beside it.
    """
    num_seats = game.spec.num_players
    if len(players) not in (1, num_seats):
        raise ValueError(f"{game.name} has {num_seats} players: give 1 or {num_seats} of them, found {len(players)}")
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, found {num_episodes}")
    if any(isinstance(player, StatePlayer) for player in players) and game.native is None:
        raise ValueError(f"{game.name} has no native rules, which a player that looks ahead with them needs")
    episodes: list[Episode] = []
    with untouched_randomness():
        for start in range(0, num_episodes, num_copies):
            index = np.arange(start, min(start + num_copies, num_episodes))
            episodes += _play_wave(game, players, index, seed, max_moves)
    return episodes


def _play_wave(game: Game, players: Sequence[AnyPlayer], index: np.ndarray, seed: int, max_moves: int) -> list[Episode]:
    """One episode a copy, from its seed to its end; copies that are done idle until the last one is."""
    num_seats = game.spec.num_players
    seating = torch.as_tensor((np.arange(num_seats) - index[:, None]) % num_seats % len(players))  # [B, P]
    seeds = episode_seed(seed, index // len(players), _EPISODES)
    environment = game.environment(len(index), seed)
    try:
        step = environment.reset(seeds=seeds)
        logs = [_Log(int(i), int(s), seating[b].tolist()) for b, (i, s) in enumerate(zip(index, seeds))]
        live = torch.arange(len(index))
        looks_ahead = any(isinstance(player, StatePlayer) for player in players)
        state = game.native.initial(torch.as_tensor(seeds)) if game.native and looks_ahead else None
        for log, view, seat in zip(logs, step.observation.numpy(), step.to_play.tolist()):
            log.see(view, seat)
        for move in range(max_moves):
            decision_seed = torch.as_tensor(episode_seed(seed, index[live.numpy()], _DECISIONS + move))
            decision = _decide(players, seating, step, live, state, decision_seed)
            action = step.legal.long().argmax(1)  # idle copies: anything that is legal
            action[live] = decision.action
            legal = step.legal[live].numpy()
            step = environment.step(action)
            _write_(logs, live, decision, legal, step, cut=move + 1 == max_moves)
            going = ~(step.terminated | step.truncated)[live]
            if state is not None and game.native is not None:
                state = _rows(game.native.play(state, decision.action).state, going)
            live = live[going]
            if not len(live):
                break
    finally:
        environment.close()
    return [log.episode for log in logs]


def _decide(
    players: Sequence[AnyPlayer], seating: Tensor, step: Timestep, live: Tensor, state: Any, seed: Tensor
) -> Decision:
    """The decisions of whoever is to move in each of the `live` copies [L]; seed [L]; state: of the live ones."""
    who = seating[live, step.to_play[live]]
    parts = []
    for number, player in enumerate(players):
        at = (who == number).nonzero()[:, 0]
        if not len(at):
            continue
        rows = live[at]
        if isinstance(player, StatePlayer):
            decision = player.act_on_state(_rows(state, at), seed[at])
        else:
            decision = player.act(step.observation[rows], step.legal[rows], step.to_play[rows], seed[at])
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

    def __init__(self, index: int, seed: int, seating: list[int]):
        self.start = (index, seed, tuple(seating))
        self.lists: dict[str, list[Any]] = {
            name: []
            for name in ("actions", "to_play", "observations", "legal", "rewards", "value", "policy", "prior", "visits")
        }
        self.episode: Episode

    def see(self, observation: np.ndarray, seat: int) -> None:
        self.lists["observations"].append(fingerprint(observation))
        self.lists["to_play"].append(seat)

    def end(self, terminated: bool, truncated: bool, cut: bool) -> None:
        outcome = np.sum(self.lists["rewards"], axis=0).tolist()
        index, seed, seating = self.start
        self.episode = Episode(index, seed, seating, outcome=outcome, terminated=terminated, truncated=truncated,
                               cut=cut, **self.lists)  # fmt: skip


def _write_(logs: list[_Log], live: Tensor, decision: Decision, legal: np.ndarray, step: Timestep, cut: bool) -> None:
    """Add a move to the logs of the `live` copies [L]; end those whose episode ended."""
    ended = (step.terminated | step.truncated)[live]
    shape = (-1, *[1] * (step.observation.dim() - 1))
    views = torch.where(ended.reshape(shape), step.final_observation[live], step.observation[live]).numpy()
    seats = torch.where(ended, step.final_to_play[live], step.to_play[live]).tolist()
    thoughts = {name: _short(getattr(decision, name), len(live)) for name in ("value", "policy", "prior", "visits")}
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
    rows = values.double().round(decimals=4).tolist()
    return [None if row[0] != row[0] else row for row in rows]


def _rows(state: Any, rows: Tensor) -> Any:
    return type(state)(*(part[rows] for part in state))


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


# Judging


def optimal_share(player: AnyPlayer, solution: Solution, seed: int = 0, batch: int = 1024) -> Optimality:
    """The share of the M positions in which the move of `player` keeps the value, and where it does not.

    The same is told for the likeliest legal move of its raw policy, from the same decisions.
    """
    wrong, prior_wrong = [], []
    with untouched_randomness():
        for rows in torch.arange(len(solution)).split(batch):
            seeds = torch.as_tensor(episode_seed(seed, rows.numpy(), _DECISIONS))
            if isinstance(player, StatePlayer):
                decision = player.act_on_state(_rows(solution.state, rows), seeds)
            else:
                decision = player.act(
                    solution.observation[rows], solution.legal[rows], solution.to_play[rows], seeds
                )  # fmt: skip
            wrong.append(rows[_misses(decision.action, solution.optimal[rows])])
            if decision.prior is not None:
                likeliest = decision.prior.cpu().masked_fill(~solution.legal[rows], -1.0).argmax(1)
                prior_wrong.append(rows[_misses(likeliest, solution.optimal[rows])])
    missed = torch.cat(wrong)
    prior_missed = torch.cat(prior_wrong) if prior_wrong else None
    prior_share = None if prior_missed is None else 1 - len(prior_missed) / len(solution)
    return Optimality(1 - len(missed) / len(solution), missed, prior_share, prior_missed)


def _misses(action: Tensor, optimal: Tensor) -> Tensor:
    return ~optimal.gather(1, action.cpu()[:, None])[:, 0]


def wilson(successes: float, trials: int) -> Interval:
    """A share of `trials` and its 95 % interval (Wilson 1927): never outside 0..1, never empty.

    A draw may count as half a success: the interval is then a little wider than it had to be.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"wilson needs 0 <= successes <= trials and trials >= 1, found {successes} of {trials}")
    from scipy import stats

    z = float(stats.norm.ppf(0.975))
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z * np.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return Interval(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """A mean and its 95 % interval by Student's t; of a single value the interval is unknown: NaN."""
    from scipy import stats

    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Interval(mean, mean - half, mean + half)


def summarize(episodes: Sequence[Episode], player: int = 0) -> dict[str, Any]:
    """What the episodes say of one player (its number in `players`), as JSON values; intervals are 95 %.

    Of one seat: `return`. Of several: also win, draw and loss (an outcome above, level with or below the best other
    seat's) and `score`, where a draw counts half. None stands for a bound that one episode cannot give.
    """
    seats = [episode.seating.index(player) for episode in episodes]
    returns = [episode.outcome[seat] for episode, seat in zip(episodes, seats)]
    summary: dict[str, Any] = {
        "episodes": len(episodes),
        "moves": float(np.mean([len(episode) for episode in episodes])),
        "return": _plain(mean_interval(returns)),
        "lowest": min(returns),
        "highest": max(returns),
        "cut": sum(episode.cut for episode in episodes),
    }
    if len(episodes[0].outcome) > 1:
        best = [max(r for s, r in enumerate(e.outcome) if s != seat) for e, seat in zip(episodes, seats)]
        wins = sum(mine > other for mine, other in zip(returns, best))
        draws = sum(mine == other for mine, other in zip(returns, best))
        losses = len(episodes) - wins - draws
        for name, count in (("win", wins), ("draw", draws), ("loss", losses), ("score", wins + draws / 2)):
            summary[name] = {"count": count, **_plain(wilson(count, len(episodes)))}
    return summary


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in interval._asdict().items()}


# The whole evaluation of a game


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One player on one game against one kind of opponent."""

    game: Game
    players: tuple[str, ...]
    seed: int
    summary: dict[str, Any]  # see `summarize`; with `optimal`, `optimal_raw` and `positions` for solved games
    episodes: list[Episode]


def opponents_of(game: Game) -> tuple[str, ...]:
    """Opponents that are used when none is named."""
    if game.spec.num_players == 1:
        return ()
    return ("random", "perfect") if game.spec.solvable and game.native else ("random",)


def built_in(name: str, game: Game) -> AnyPlayer:
    """One of `BUILT_IN` for `game`; ValueError when the game does not allow it."""
    if name == "random":
        return RandomPlayer(game.spec)
    if name == "perfect":
        if game.native is None or not game.spec.solvable:
            raise ValueError(f"{game.name} has no perfect player: its spec does not say solvable=True, native=True")
        return SolverPlayer(solve(game.native))
    if name in ("tactician1", "tactician2"):
        if game.native is None:
            raise ValueError(f"{game.name} has no native rules, so a tactician cannot look ahead; use random")
        return TacticianPlayer(game.native, int(name[-1]))
    raise ValueError(f"unknown opponent {name!r}: expected {', '.join(BUILT_IN)} or the path of a run")


def evaluate_game(
    game: Game,
    player: AnyPlayer,
    config: EvaluationConfig,
    seed: int,
    opponents: Sequence[AnyPlayer] | None = None,
) -> list[Evaluation]:
    """Measure `player` on `game`: alone, or against each opponent in turn (None: those the config names).

    A game for more than two has the same opponent in all other seats. The share of optimal positions of a solvable
    game is part of the first evaluation's summary.
    """
    if opponents is None:
        opponents = [built_in(name, game) for name in config.opponents or opponents_of(game)]
    num_seats = game.spec.num_players
    tables: list[list[AnyPlayer]] = [[player, *[opponent] * (num_seats - 1)] for opponent in opponents]
    evaluations = []
    for players in tables if num_seats > 1 else [[player]]:
        episodes = play_episodes(
            game, players, config.episodes, seed, num_copies=config.copies, max_moves=config.max_moves
        )  # fmt: skip
        names = tuple(p.name for p in players)
        evaluations.append(Evaluation(game, names, seed, summarize(episodes), episodes))
    if game.spec.solvable and game.native is not None:
        found = optimal_share(player, solve(game.native), seed)
        evaluations[0].summary.update(
            positions=len(solve(game.native)), optimal=found.share, optimal_raw=found.prior_share
        )  # fmt: skip
    return evaluations
