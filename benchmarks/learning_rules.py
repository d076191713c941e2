"""What an experiment is, and the fixed rules that say whether a run met it. Pure functions of the run's record.

A record is one line of the results file. `curve` has the short evaluations in order: update, env_steps, seconds (since
the process began, short evaluations left out), games (game -> measure -> value); `judged` has game -> measure -> value
from benchmarks/learning_judge.py, of the network that training ended with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from gurgeh.goals import judge_brief, parse_goal

Record = dict[str, Any]


class Verdict(NamedTuple):
    """met: None where nothing is asked for. The rest: when the goals were first met, None if never."""

    met: bool | None
    seconds: float | None = None
    env_steps: int | None = None
    updates: int | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained, what must be reached, and how long that may take."""

    name: str
    games: tuple[str, ...]
    goals: tuple[str, ...]  # as gurgeh writes them; short evaluations measure them along the way
    rule: Callable[[Experiment, Record], Verdict]
    settings: tuple[str, ...] = ()  # KEY=VALUE, besides the defaults
    updates: int = 0  # of the whole run; 0: as many as `env_steps` pay for
    env_steps: int = 0  # of each game
    seeds: int = 5  # 0 to this number
    need: int = 5  # of them must meet the rule
    limit: float = 120.0  # seconds since the process began, short evaluations left out
    running: int = 1  # evaluations in a row that must meet the goals
    stop: bool = False  # end the run then
    after: float = 0.0  # seconds that a run goes on after it met the goals
    keep: float = 0.9  # share of a goal's bound under which the policy counts as lost
    episodes: int = 100  # of the last judgement
    opponents: tuple[str, ...] = ()  # in it, besides those that goals name


def first_met(experiment: Experiment, record: Record) -> dict[str, Any] | None:
    """The evaluation that ends the first `running` ones in a row that meet all goals, in time or not."""
    row = 0
    for point in record["curve"]:
        judged = judge_brief(list(experiment.goals), point["games"])
        row = row + 1 if judged and all(one.met for one in judged) else 0
        if row == experiment.running:
            return point
    return None


def reached(experiment: Experiment, record: Record) -> Verdict:
    """The goals were met, `running` evaluations in a row, within `limit` seconds."""
    point = first_met(experiment, record)
    if point is None:
        return Verdict(False, note="never met")
    met = point["seconds"] <= experiment.limit
    return Verdict(met, point["seconds"], point["env_steps"], point["update"], "" if met else "too late")


def solved(experiment: Experiment, record: Record) -> Verdict:
    """`reached`, and the network that training ended with is optimal everywhere and lost no game that it need not."""
    verdict = reached(experiment, record)
    for game in (record["judged"] or {}).values():
        if game.get("wrong", 1) or game.get("lost_against_perfect", 1):
            note = f"{game.get('wrong')} positions wrong, {game.get('lost_against_perfect')} games lost at the end"
            return verdict._replace(met=False, note=note)
    return verdict._replace(met=bool(verdict.met and record["judged"]))


def at_end(experiment: Experiment, record: Record) -> Verdict:
    """The network that training ended with meets the goals, and it took at most `limit` seconds."""
    found = record["judged"] or {}
    judged = judge_brief(list(experiment.goals), found)
    note = ", ".join(f"{one.goal.key} {'not measured' if one.found is None else f'{one.found:.3g}'}" for one in judged)
    in_time = record["net_seconds"] <= experiment.limit
    point = first_met(experiment, record) or {}
    met = bool(judged) and all(one.met for one in judged) and in_time
    return Verdict(
        met, point.get("seconds"), point.get("env_steps"), point.get("update"), note + ("" if in_time else "; too late")
    )  # fmt: skip


def kept(experiment: Experiment, record: Record) -> Verdict:
    """`reached`, and no evaluation of the `after` seconds that follow falls below `keep` of a goal's bound."""
    verdict = reached(experiment, record)
    if verdict.seconds is None:
        return verdict
    end = verdict.seconds + experiment.after
    later = [point for point in record["curve"] if verdict.seconds < point["seconds"] <= end]
    if not later or record["net_seconds"] < end:
        return verdict._replace(met=False, note=f"training ended before {experiment.after:.0f} s had passed")
    fine, notes = True, []
    for goal in map(parse_goal, experiment.goals):
        values = [point["games"].get(goal.game, {}).get(goal.key) for point in later]
        if None in values:
            return verdict._replace(met=False, note=f"{goal.key} was not measured")
        assert goal.sign == ">=", "`keep` is a share of a bound from below"
        fine &= min(values) >= experiment.keep * goal.bound
        notes.append(
            f"lowest of {len(values)} later evaluations {min(values):.4g}, "
            f"{sum(value >= goal.bound for value in values)} of them at {goal.bound:g} or more"
        )
    return verdict._replace(met=bool(verdict.met and fine), note="; ".join(notes))


def scored(experiment: Experiment, record: Record) -> Verdict:
    """Nothing is asked for: the score at the end is the result."""
    del experiment, record
    return Verdict(None)


def deadline(experiment: Experiment, record: Record) -> float:
    """Seconds, counted as in `curve`, after which a run is stopped: nothing that follows counts."""
    point = first_met(experiment, record) if experiment.after else None
    return experiment.limit if point is None else max(experiment.limit, point["seconds"] + experiment.after)


def score(record: Record, game: str) -> float | None:
    """The one number of a game at the end: share of optimal positions, mean return, or score against the first
    opponent."""
    found = (record["judged"] or {}).get(game, {})
    for key in ("optimal", "return", *(key for key in found if key.startswith("score_against_"))):
        if isinstance(found.get(key), float | int):
            return float(found[key])
    return None
