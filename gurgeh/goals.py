"""What a run must reach, written in its config and judged by its final evaluation."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from envs.prediction.score import NAMES

MEASURES = ("return", "optimal", "win", "draw", "loss", "score", *NAMES)
ALONE = ("return", "optimal", *NAMES)  # that need no opponent
FORM = re.compile(
    r"(?P<game>\S+) (?P<measure>[a-z_0-9]+)(?: against (?P<opponent>\S+))? (?P<sign>>=|<=) "
    r"(?P<bound>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
)


class Goal(NamedTuple):
    """`GAME MEASURE [against OPPONENT] >= NUMBER`; shares (optimal, win, ...) lie in 0..1."""

    game: str
    measure: str
    opponent: str | None
    sign: str
    bound: float

    @property
    def key(self) -> str:
        """The name of its measure in a short evaluation (gurgeh/brief.py)."""
        return self.measure if self.opponent is None else f"{self.measure}_against_{self.opponent}"


class Judged(NamedTuple):
    """A goal and what was found; None where the evaluation did not measure it."""

    goal: Goal
    found: float | None

    @property
    def met(self) -> bool:
        if self.found is None:
            return False
        return self.found >= self.goal.bound if self.goal.sign == ">=" else self.found <= self.goal.bound


def parse_goal(text: str) -> Goal:
    """Raises ValueError for a text that is no goal."""
    match = FORM.fullmatch(text.strip())
    if match is None or match["measure"] not in MEASURES:
        raise ValueError(
            f"goal {text!r} is not written GAME MEASURE [against OPPONENT] >= NUMBER with one of {', '.join(MEASURES)}"
        )
    return Goal(match["game"], match["measure"], match["opponent"], match["sign"], float(match["bound"]))


def judge(goals: list[str], report: dict[str, Any]) -> list[Judged]:
    """Each goal against the report of `gurgeh evaluate` (schema evaluations/1)."""
    return [Judged(goal, _find(goal, report)) for goal in map(parse_goal, goals)]


def judge_brief(goals: list[str], found: dict[str, dict[str, Any]]) -> list[Judged]:
    """Each goal against a short evaluation: game -> measure (`Goal.key`) -> value."""
    return [Judged(goal, found.get(goal.game, {}).get(goal.key)) for goal in map(parse_goal, goals)]


def check_stop(goals: list[str], stop_after_met: int, evaluate_every_updates: int) -> None:
    """ValueError where a run that ends when its goals are met could never end so."""
    if not stop_after_met:
        return
    if not goals:
        raise ValueError("schedule.stop_after_met needs goals: what must be met?")
    if not evaluate_every_updates:
        raise ValueError("schedule.stop_after_met needs short evaluations: logging.evaluate_every_updates is 0")
    for goal in map(parse_goal, goals):
        if goal.measure not in ALONE and goal.opponent is None:
            raise ValueError(
                f"schedule.stop_after_met needs to know whom `{goal.game} {goal.measure}` is against: write "
                f"{goal.game} {goal.measure} against OPPONENT {goal.sign} {goal.bound:g}"
            )


def _find(goal: Goal, report: dict[str, Any]) -> float | None:
    for entry in report["games"]:
        if entry["game"] != goal.game or (goal.opponent is not None and goal.opponent not in entry["players"][1:]):
            continue
        value = entry["summary"].get(goal.measure)
        if goal.measure in NAMES:
            measure = entry["summary"].get("measures", {}).get(goal.measure, {})
            value = measure.get("raw") if measure.get("search") is None else measure["search"]
            if isinstance(value, str):  # infinite
                return None
        if value is not None:
            return float(value["mean"] if isinstance(value, dict) else value)
    return None
