"""What a run that learns one game after another says of transfer: GEM's and Continual World's measures, the learning
curve over its games, and behaviour as a pillar of sharing. Pure functions of records.

Conventions: performance is larger for better (minus a loss); a game's stage goes from its introduction to the next one.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor.adaptation import estimate
from monitor.forgetting import backward_transfer, loss_matrix
from monitor.records import LEARNING_CURVE, LEDGER, LOSS, SEQUENCE, SHARING
from monitor.refusals import UndefinedError
from monitor.series import plain
from monitor.transfer import continual_forward_transfer, forgetting, forward_transfer, learning_curve, reached

Record = dict[str, Any]
Curve = tuple[Sequence[float], Sequence[float]]
"""Updates and performance in [0, 1] of one game."""


def introductions(records: Sequence[Record]) -> dict[str, int]:
    """Game -> update at which it was introduced, in order."""
    return {r["game"]: r["update"] for r in records if r["schema"] == LEDGER and r["kind"] == "game_added"}


def _value(measure: Callable[[], float]) -> dict[str, Any]:
    try:
        return {"value": plain(measure()), "refused": None}
    except UndefinedError as error:
        return {"value": None, "refused": str(error)}
    except ValueError as error:  # of backward_transfer
        return {"value": None, "refused": str(error)}


def results_matrix(records: Sequence[Record], series: str, undefined: Mapping[str, str] | None = None):
    """(games, [T, T] performance): `loss_matrix` with its sign turned, and above the diagonal what a game's loss was
    when it was introduced, before anything of it was learnt: R[i - 1, i] for a game that joined after the one before
    had been trained. NaN where that is not known or, by `undefined` (game -> reason), not defined."""
    games, losses = loss_matrix(list(records), series)
    added = introductions(records)
    for record in records:
        if record["schema"] != LOSS or record["subset"] != "full" or record["occasion"] != "introduction":
            continue
        game, place = record["game"], games.index(record["game"])
        values = record["losses"].get(series)
        first = record["since"] == 0 and record["latest"] == game and place > 0
        trained = first and added[games[place - 1]] < added[game]
        if trained and values is not None and values["mean"] is not None and game not in (undefined or {}):
            losses[place - 1, place] = values["mean"]
    return games, -losses


def sequence_record(
    records: Sequence[Record],
    series: str,
    untrained: Mapping[str, float],
    undefined: Mapping[str, str],
    scores: Mapping[str, Curve | str],
    alone: Mapping[str, Curve],
) -> dict[str, Any]:
    """A `monitor.sequence/1` record of a run.

    records: its loss and ledger records in order. untrained: game -> loss of a network that learnt nothing. undefined:
    game -> why it cannot be played before it is introduced. scores: game -> its short evaluations in [0, 1], or why it
    has none; alone: game -> the same from a run of it alone. Raises UndefinedError for a run without such losses.
    """
    losses = [r for r in records if r["schema"] == LOSS]
    if not any(series in r["losses"] for r in losses):
        known = list(dict.fromkeys(name for r in losses for name in r["losses"]))
        raise UndefinedError(f"no game of the run has the series {series!r}; there are {', '.join(known)}")
    added = introductions(records)
    games, results = results_matrix(records, series, undefined)
    base = np.array([-untrained.get(game, np.nan) for game in games])

    def forward() -> float:
        together = [game for one, game in itertools.pairwise(games) if added[one] == added[game]]
        if together:
            raise UndefinedError(
                f"{', '.join(together)} joined together with the game before, so nothing was learnt in between; "
                "give the games times of their own (schedule.at)"
            )
        reasons = [f"{game}: {undefined[game]}" for game in games[1:] if game in undefined]
        if reasons:
            raise UndefinedError(f"a game cannot be played before it is introduced: {'; '.join(reasons)}")
        return forward_transfer(results, base)

    def table(values: np.ndarray) -> list[Any]:
        return [[plain(v) for v in row] for row in values] if values.ndim == 2 else [plain(v) for v in values]

    return {
        "schema": SEQUENCE, "run": losses[-1]["run"], "seed": losses[-1]["seed"], "update": losses[-1]["update"],
        "series": series, "games": games, "results": table(results), "untrained": table(base),
        "backward_transfer": _value(lambda: backward_transfer(results)), "forward_transfer": _value(forward),
        "forgetting": _value(lambda: forgetting(results)),
        "continual_world": continual_world(added, scores, alone),
    }  # fmt: skip


def continual_world(
    added: Mapping[str, int], scores: Mapping[str, Curve | str], alone: Mapping[str, Curve]
) -> dict[str, Any]:
    """Continual World's measures (Wolczyk et al. 2021) from short evaluations: average performance at the end,
    forgetting since the end of a game's own stage, and forward transfer against a run of the game alone."""
    ends = {}
    for game in added:
        later = [update for update in added.values() if update > added[game]]
        ends[game] = min(later, default=None)

    def curve(game: str) -> tuple[np.ndarray, np.ndarray]:
        found = scores.get(game, "it was never evaluated")
        if isinstance(found, str):
            raise UndefinedError(found)
        updates, values = (np.asarray(part, np.float64) for part in found)
        if not len(updates):
            raise UndefinedError("it was never evaluated; set logging.evaluate_every_updates")
        return updates, values

    def stage(game: str) -> np.ndarray:
        """Which evaluations lie in the game's own stage."""
        updates, _ = curve(game)
        end = ends[game]
        inside = (updates > added[game]) & (updates <= (np.inf if end is None else end))
        if not inside.any():
            raise UndefinedError("no short evaluation lies in its own stage; lower logging.evaluate_every_updates")
        return inside

    def lost(game: str) -> float:
        _, values = curve(game)
        return float(values[stage(game)][-1] - values[-1])

    def gained(game: str) -> float:
        if game not in alone:
            raise UndefinedError("no run of this game alone was given to compare with")
        updates, values = curve(game)
        inside = stage(game)
        since = updates[inside] - added[game]
        others, reference = (np.asarray(part, np.float64) for part in alone[game])
        known = (since >= others.min(initial=np.inf)) & (since <= others.max(initial=-np.inf))
        if known.sum() < 2:
            raise UndefinedError("its evaluations and those of the run alone have fewer than two times in common")
        own = values[inside][known]
        return float(continual_forward_transfer(own[None], np.interp(since[known], others, reference)[None])[0])

    def average() -> float:
        return float(np.mean([curve(game)[1][-1] for game in added]))

    return {
        "average_performance": _value(average),
        "forgetting": {game: _value(lambda game=game: lost(game)) for game in added},
        "forward_transfer": {game: _value(lambda game=game: gained(game)) for game in added},
    }


# -- the learning curve over games --------------------------------------------------------------------------------


def _stage_curve(records: Sequence[Record], game: str, series: str, subset: str = "medium") -> Curve:
    """(updates since the introduction, losses) of a game within its own stage."""
    added = introductions(records)
    later = min((update for update in added.values() if update > added[game]), default=float("inf"))
    found = [
        (r["since"], r["losses"][series]["mean"])
        for r in records
        if r["schema"] == LOSS and r["game"] == game and r["subset"] == subset and r["occasion"] == "checkpoint"
        and r["update"] <= later and r["losses"].get(series, {}).get("mean") is not None
    ]  # fmt: skip
    return [since for since, _ in found], [loss for _, loss in found]


def learning_curve_record(runs: Sequence[Sequence[Record]], series: str, way: float = 0.9) -> dict[str, Any]:
    """log2 cost of the k-th game against log2 k over runs: a `monitor.learning_curve/1` record.

    Cost: updates from a game's introduction until its loss reaches its threshold and stays there within its own stage.
    A game's threshold is one for all runs: `way` of the way from the mean first loss to the worst last one of a stage,
    so that every run reaches it. Runs whose games joined together, or that have fewer games than others, are left out.
    """
    kept = []
    for records in runs:
        added = introductions(records)
        if len(added) > 1 and len(set(added.values())) == len(added):
            kept.append((records, added))
    most = max((len(added) for _, added in kept), default=0)
    kept = [(records, added) for records, added in kept if len(added) == most]
    curves = {
        (place, game): _stage_curve(records, game, series) for place, (records, added) in enumerate(kept)
        for game in added
    }  # fmt: skip
    record = {"schema": LEARNING_CURVE, "series": series, "points": [], "thresholds": {}, "runs": len(kept)}

    def refused(reason: str) -> dict[str, Any]:
        empty = {"value": None, "low": None, "high": None, "refused": reason}
        return record | {"beta": empty, "progress_ratio": empty}

    missing = sorted({game for (_, game), curve in curves.items() if len(curve[0]) < 2})
    if missing:
        return refused(f"{series} was measured fewer than twice in the stages of {', '.join(missing)}")
    by_game: dict[str, list[Curve]] = collections.defaultdict(list)
    for (_, game), curve in curves.items():
        by_game[game].append(curve)
    for game, mine in by_game.items():
        start, worst = float(np.mean([curve[1][0] for curve in mine])), max(curve[1][-1] for curve in mine)
        record["thresholds"][game] = plain(worst + (1 - way) * max(start - worst, 0.0))
    for (place, game), (since, losses) in curves.items():
        at = reached(np.array(since), -np.array(losses), -record["thresholds"][game])
        assert at is not None, "the last loss of a stage is at its threshold or below"
        records, added = kept[place]
        run = next(r["run"] for r in records if r["schema"] == LOSS)
        record["points"].append({"run": run, "game": game, "place": list(added).index(game) + 1, "cost": plain(at)})
    names = sorted(by_game)
    # Runs in turn, games in order of introduction.
    costs = np.array([point["cost"] for point in record["points"]]).reshape(len(kept), most)
    games = np.array([names.index(point["game"]) for point in record["points"]]).reshape(len(kept), most)
    try:
        found = learning_curve(costs, games)
    except UndefinedError as error:
        return refused(str(error))
    return record | {
        name: {end: plain(getattr(interval, end)) for end in ("value", "low", "high")} | {"refused": None}
        for name, interval in (("beta", found.beta), ("progress_ratio", found.progress_ratio))
    }


# -- behaviour, as a pillar of sharing ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Joined:
    """A run in which games joined one after another, and, by game, the run of that game alone with the same seed."""

    records: Sequence[Record]
    scratch: Mapping[str, Sequence[Record]]


def behaviour_records(runs: Sequence[Joined], series: str) -> list[list[dict[str, Any]]]:
    """By run, `monitor.sharing/1` records of the measure `transfer`: how much lower the loss of a game that joined
    later is than that of the same game alone, at the same number of updates of its own, at the sparse checkpoints.

    Paired by seed on the same frozen positions; the band is Student's t over seeds, of which 3 are needed. Held up to
    the behaviour pillar where one older game was there; with several the gain is nobody's in particular, the pillar is
    null and `details` says so.
    """
    games = {game for run in runs for game in run.scratch}
    result: list[list[dict[str, Any]]] = [[] for _ in runs]
    for game in sorted(games):
        here = [place for place, run in enumerate(runs) if game in run.scratch and _joined_later(run.records, game)]
        olders = {tuple(_older(runs[place].records, game)) for place in here}
        for older in sorted(olders):
            group = [place for place in here if tuple(_older(runs[place].records, game)) == older]
            for place, records in _gains([(place, runs[place]) for place in group], older, game, series):
                result[place].append(records)
    for records in result:
        records.sort(key=lambda record: (record["update"], record["game"], record["other_game"]))
    return result


def _joined_later(records: Sequence[Record], game: str) -> bool:
    return bool(_older(records, game))


def _older(records: Sequence[Record], game: str) -> list[str]:
    """Games that were there, and trained, before `game` joined."""
    added = introductions(records)
    return [other for other, update in added.items() if game in added and update < added[game]]


def _points(records: Sequence[Record], game: str, series: str) -> dict[int, Record]:
    """Updates since the introduction -> loss record of the sparse cadence."""
    return {
        r["since"]: r for r in records
        if r["schema"] == LOSS and r["game"] == game and r["subset"] == "medium" and r["occasion"] == "checkpoint"
        and r["losses"].get(series, {}).get("mean") is not None
    }  # fmt: skip


def _gains(group: Sequence[tuple[int, Joined]], older: tuple[str, ...], game: str, series: str):
    """(place, record) of every run, pair of games and checkpoint that all runs of the group have."""
    pairs = []
    for place, run in group:
        mine, alone = _points(run.records, game, series), _points(run.scratch[game], game, series)
        sets = {r["frozen_set"] for points in (mine, alone) for r in points.values()}
        if len(sets) == 1 and mine:
            pairs.append((place, mine, alone))
    common = sorted(set.intersection(*({*mine} & {*alone} for _, mine, alone in pairs))) if pairs else []
    for since in common:
        gains = [
            alone[since]["losses"][series]["mean"] - mine[since]["losses"][series]["mean"] for _, mine, alone in pairs
        ]
        over = estimate(gains)
        for (place, mine, _), gain in zip(pairs, gains):
            record = mine[since]
            for other in older:
                yield place, {
                    "schema": SHARING, "run": record["run"], "seed": record["seed"], "seq": record["seq"],
                    "update": record["update"], "env_steps": record["env_steps"], "game": other, "other_game": game,
                    "relation": "none", "occasion": "checkpoint", "positions": record["positions"], "since": since,
                    "latest": record["latest"], "since_latest": record["since_latest"],
                    "frozen_sets": [record["frozen_set"]], "family": 1, "measure": "transfer",
                    "pillar": "behaviour" if len(older) == 1 else None, "value": plain(gain),
                    "ci95": None if over["low"] is None else [over["low"], over["high"]],
                    "nulls": {"from scratch": {"mean": 0.0, "reach": 0.0, "draws": over["n"]}},
                    "excess": None if over["low"] is None else {
                        "value": over["value"], "low": over["low"], "high": over["high"], "null": "from scratch",
                    },
                    "ceiling": None, "index": None, "refused": over["refused"],
                    "details": {"series": series, "seeds": over["n"], "older_games": list(older)},
                }  # fmt: skip
