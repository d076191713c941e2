"""Measuring players: against whom, how long, how optimal; everything is recorded.

Shape legend: A actions, M positions of a solved game.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.bounds import at_least, at_most
from agents.chance import ChanceRulesPlayer
from agents.player import RandomPlayer, SolverPlayer, StatePlayer, TacticianPlayer
from agents.rules import mcts_player, no_exact_rules
from envs.game import Game, episode_seed, has_explicit_chance
from envs.reference_scores import reference
from envs.solver import Solution, solve, take
from gurgeh.bitbully_player import BitbullyPlayer, no_bitbully
from gurgeh.episodes import DECISIONS, AnyPlayer, play_episodes, untouched_randomness
from gurgeh.openspiel_player import OpenSpielPlayer, no_twin
from gurgeh.records import Episode, Header, write_new, write_records
from gurgeh.rundir import versions
from gurgeh.scores import summarize

JUDGED_POSITIONS = 100_000  # most positions of a solved game that an evaluation judges: a sample of larger games
# Opponents that need no run; the last two need an extra.
BUILT_IN = ("random", "perfect", "tactician1", "tactician2", "mcts:N", "openspiel-mcts:N", "bitbully")
_SEARCHES = ("mcts", "openspiel-mcts")  # those that take a number of simulations


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
    """For games of several players: random, perfect (solvable games), tactician1, tactician2 (native games for two),
    mcts:N (native games; N simulations a move), openspiel-mcts:N (OpenSpiel's own search: connect_four, tictactoe),
    bitbully (connect_four, exact) or the path of another run. Empty: random, and perfect where there is one."""
    copies: int = 128
    """Episodes that are played at once."""
    max_moves: int = 30_000
    """Moves after which an episode that does not end is stopped and counted as it stands."""

    def __post_init__(self) -> None:
        at_least("evaluation", self, episodes=1, copies=1, max_moves=1, simulations=0)
        at_most("evaluation", self, copies=10**6, simulations=10**6)


class Optimality(NamedTuple):
    """How many of the M positions of a solved game are played optimally."""

    share: float  # of positions in which the chosen move keeps the value
    wrong: Tensor  # [K] int64: numbers of the positions in which it does not
    prior_share: float | None  # the same for the likeliest move of the raw policy; None without one
    prior_wrong: Tensor | None


def optimal_share(player: AnyPlayer, solution: Solution, seed: int = 0, batch: int = 1024) -> Optimality:
    """The share of the M positions in which the move of `player` keeps the value, and where it does not.

    The same is told for the likeliest legal move of its raw policy, from the same decisions.
    """
    chosen = chosen_moves(player, solution, seed, batch)
    missed = _misses(chosen.action, solution.optimal)
    if chosen.likeliest is None:
        return Optimality(1 - len(missed) / len(solution), missed, None, None)
    prior_missed = _misses(chosen.likeliest, solution.optimal)
    return Optimality(1 - len(missed) / len(solution), missed, 1 - len(prior_missed) / len(solution), prior_missed)


def _misses(action: Tensor, optimal: Tensor) -> Tensor:
    return (~optimal.gather(1, action[:, None])[:, 0]).nonzero()[:, 0]


class Positions(Protocol):
    """M positions of a native game, such as `envs.solver.Solution`."""

    @property
    def state(self) -> Any: ...  # M states of the game's own type
    @property
    def observation(self) -> Tensor: ...  # [M, *shape]
    @property
    def legal(self) -> Tensor: ...  # [M, A] bool
    @property
    def to_play(self) -> Tensor: ...  # [M] int64
    def __len__(self) -> int: ...


class Chosen(NamedTuple):
    """What a player does in M positions."""

    action: Tensor  # [M] int64
    likeliest: Tensor | None  # [M] int64: likeliest legal move of the raw policy; None for players without one


def chosen_moves(player: AnyPlayer, positions: Positions, seed: int = 0, batch: int = 1024) -> Chosen:
    """The moves of `player` in all M positions, `batch` at a time; a position's move depends on `seed` and its
    number only."""
    actions, likeliest = [], []
    with untouched_randomness():
        for rows in torch.arange(len(positions)).split(batch):
            seeds = torch.as_tensor(episode_seed(seed, rows.numpy(), DECISIONS))
            if isinstance(player, StatePlayer):
                decision = player.act_on_state(take(positions.state, rows), seeds)
            else:
                decision = player.act(
                    positions.observation[rows], positions.legal[rows], positions.to_play[rows], seeds
                )  # fmt: skip
            actions.append(decision.action.cpu())
            if decision.prior is not None:
                likeliest.append(decision.prior.cpu().masked_fill(~positions.legal[rows], -1.0).argmax(1))
    return Chosen(torch.cat(actions), torch.cat(likeliest) if likeliest else None)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One player on one game against one kind of opponent."""

    game: Game
    players: tuple[str, ...]
    seed: int
    summary: dict[str, Any]  # see `summarize`; with `optimal`, `optimal_raw` and `positions` for solved games, and
    # `human_normalized` (mean, low, high) where `envs.reference_scores` has a game
    episodes: list[Episode]


def opponents_of(game: Game, names: Sequence[str] = ()) -> list[str]:
    """Those of `names` that `game` allows; where there are none: random, and perfect for a solvable game."""
    if game.spec.num_players == 1:
        return []
    allowed = [name for name in names if not is_built_in(name) or refusal(name, game) is None]
    return allowed or [name for name in ("random", "perfect") if refusal(name, game) is None]


def is_built_in(name: str) -> bool:
    """Whether `name` is one of `BUILT_IN`, N being any number of simulations.

    ValueError for an mcts without a number of simulations.
    """
    return mcts_simulations(name) is not None or (name in BUILT_IN and ":" not in name)


def mcts_simulations(name: str) -> int | None:
    """The N of `mcts:N` or `openspiel-mcts:N`; None for other names. ValueError where N is no number above 0."""
    kind, _, number = name.partition(":")
    if kind not in _SEARCHES:
        return None
    if not re.fullmatch(r"[1-9][0-9]*", number):
        raise ValueError(f"{name!r}: write {kind}:N with N simulations a move, N at least 1, for example {kind}:200")
    return int(number)


def refusal(name: str, game: Game) -> str | None:
    """Why the built-in player `name` cannot play `game`; None if it can (with its extra, where it needs one)."""
    if name == "bitbully":
        return no_bitbully(game.spec.name)
    if mcts_simulations(name) is not None:
        if name.startswith("mcts") and game.native and has_explicit_chance(game.native):
            return None
        return no_exact_rules(game.spec, game.native) or (
            no_twin(game.spec.name) if name.startswith("openspiel") else None
        )
    if name == "perfect" and not (game.spec.solvable and game.native):
        return f"{game.name} has no perfect player: its spec does not say solvable=True, native=True"
    if name.startswith("tactician") and (game.native is None or game.spec.num_players != 2):
        return f"a tactician needs a game for two with native rules, which {game.name} is not; use random"
    return None


def built_in(name: str, game: Game) -> AnyPlayer:
    """One of `BUILT_IN` for `game`; ValueError when there is no such player, the game does not allow it, or the extra
    that it needs is not installed."""
    if not is_built_in(name):
        raise ValueError(f"unknown player {name!r}: expected {', '.join(BUILT_IN)} or the path of a run")
    reason = refusal(name, game)
    if reason:
        raise ValueError(reason)
    if name == "random" or game.native is None:
        return RandomPlayer(game.spec)
    if name == "bitbully":
        return BitbullyPlayer()
    simulations = mcts_simulations(name)
    if simulations is not None and name.startswith("openspiel"):
        return OpenSpielPlayer(game.native, simulations)
    if simulations is not None and has_explicit_chance(game.native):
        return ChanceRulesPlayer(game.native, simulations)
    if simulations is not None:
        return mcts_player(game.native, simulations)
    return SolverPlayer(solve(game.native)) if name == "perfect" else TacticianPlayer(game.native, int(name[-1]))


def named_player(name: str, game: Game, config: EvaluationConfig) -> AnyPlayer:
    """A built-in player, or the newest player of the run whose directory is `name`."""
    if is_built_in(name) or not Path(name).exists():
        return built_in(name, game)
    from gurgeh.load import load_player  # which imports the whole agent

    with untouched_randomness():  # making the network draws initial weights
        return load_player(Path(name), game, config.simulations, config.greedy)


def evaluate_game(
    game: Game,
    player: AnyPlayer,
    config: EvaluationConfig,
    seed: int,
    opponents: Sequence[AnyPlayer] | None = None,
) -> list[Evaluation]:
    """Measure `player` on `game`: alone, or against each opponent in turn (None: those of the config that
    the game allows).

    A game for more than two has the same opponent in all other seats. The share of optimal positions of a solvable
    game is part of the first evaluation's summary.
    """
    if opponents is None:
        opponents = [named_player(name, game, config) for name in opponents_of(game, config.opponents)]
    num_seats = game.spec.num_players
    tables: list[list[AnyPlayer]] = [[player, *[opponent] * (num_seats - 1)] for opponent in opponents]
    evaluations = []
    for players in tables if num_seats > 1 else [[player]]:
        episodes = play_episodes(
            game, players, config.episodes, seed, num_copies=config.copies, max_moves=config.max_moves
        )  # fmt: skip
        names = tuple(p.name for p in players)
        evaluations.append(Evaluation(game, names, seed, summarize(episodes), episodes))
    known = reference(game.name)
    if known is not None:  # one seat: the first and only evaluation
        found = evaluations[0].summary["return"]
        evaluations[0].summary["human_normalized"] = {
            name: None if found[name] is None else known.normalized(found[name]) for name in ("mean", "low", "high")
        }
    if game.spec.solvable and game.native is not None:
        solution = solve(game.native).sample(JUDGED_POSITIONS, seed)
        found = optimal_share(player, solution, seed)
        evaluations[0].summary.update(
            positions=len(solution), optimal=found.share, optimal_raw=found.prior_share
        )  # fmt: skip
    return evaluations


def save_evaluation(
    directory: Path,
    evaluation: Evaluation,
    config: EvaluationConfig,
    run: str | None = None,
    step: int | None = None,
    checkpoint: str | None = None,
) -> tuple[Path, Path]:
    """Save the episodes (for `gurgeh replay`) and the summary as JSON; returns the two paths. Overwrites nothing.

    run, step, checkpoint: the evaluated run's directory, its checkpoint's step and the sha256 of its manifest.
    """
    settings = dataclasses.asdict(config)
    header = Header(
        evaluation.game.name, evaluation.game.spec.version, evaluation.players, evaluation.seed, run, step, checkpoint,
        settings, versions(),
    )  # fmt: skip
    parts = [evaluation.game.spec.name, *evaluation.players[1:2], f"s{evaluation.seed}"]
    parts.insert(0, evaluation.players[0] if step is None else f"{step:09d}")
    stem = "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", part).strip("-") for part in parts)
    records = write_records(directory / f"{stem}.jsonl.gz", header, evaluation.episodes)
    content = {
        "schema": "evaluation/1", "game": evaluation.game.name, "players": list(evaluation.players),
        "seed": evaluation.seed, "run": run, "step": step, "checkpoint": checkpoint, "settings": settings,
        "summary": evaluation.summary, "records": records.name,
    }  # fmt: skip
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    return records, write_new(records.with_name(records.name.removesuffix(".jsonl.gz") + ".json"), text.encode())
