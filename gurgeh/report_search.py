"""Figure 8: what search is worth, Elo against simulations at one checkpoint, from the reports of arenas."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.ticker
import numpy as np

from gurgeh import figures
from gurgeh.figures import NULL, PALETTE, Picture, slug
from monitor.refusals import UndefinedError
from monitor.scaling import elo_per_doubling

SCHEMA = "arena/1"
LINES = {False: ("learned model", PALETTE[0], "o"), True: ("exact rules", PALETTE[1], "s")}
OPEN_END = 60.0  # Elo: length of the arrow that stands for an open end of an interval
Z95 = 1.959964


def read_arenas(places: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """(reports of arenas in these files and folders, what could not be read in words). A place that is not there is a
    FileNotFoundError."""
    reports, problems = [], []
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place} does not exist; give the folder of an arena (gurgeh arena --out)")
        for file in [place] if place.is_file() else sorted(place.rglob("arena.json")):
            try:
                report = json.loads(file.read_text(encoding="utf-8"))
            except (ValueError, OSError) as error:
                problems.append(f"{file}: not a report of an arena ({error})")
                continue
            if isinstance(report, dict) and report.get("schema") == SCHEMA and report.get("players"):
                reports.append(report)
            elif place.is_file():
                problems.append(f"{file}: no report of an arena (schema {SCHEMA})")
    return reports, problems


def ladders(report: dict[str, Any]) -> list[tuple[str, bool, list[dict[str, Any]]]]:
    """(checkpoint, exact rules or not, its players by simulations) of every checkpoint that plays with at least two
    numbers of simulations; the raw policy, which asks neither, begins both lines."""
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for player in report["players"]:
        if player.get("simulations") is None or not player.get("run"):
            continue
        key = f"{Path(player['run']).name}@{player['step']}"
        for rules in (False, True) if player["simulations"] == 0 else (bool(player.get("rules")),):
            found.setdefault((key, rules), []).append(player)
    lines = [(key, rules, sorted(players, key=lambda p: p["simulations"])) for (key, rules), players in found.items()]
    return [line for line in lines if len({p["simulations"] for p in line[2]}) > 1]


def elo_panel(report: dict[str, Any]) -> Picture | None:
    """Elo over simulations in one game; None where no checkpoint plays with two numbers of simulations."""
    lines = ladders(report)
    if not lines:
        return None
    figure, axes = figures.panel()
    counts, words = sorted({p["simulations"] for _, _, players in lines for p in players}), []
    checkpoints = list(dict.fromkeys(key for key, _, _ in lines))
    several = {rules for _, rules, _ in lines} == {False, True}
    for key, rules, players in lines:
        name, colour, marker = LINES[rules]
        if len(checkpoints) > 1:
            colour, name = PALETTE[checkpoints.index(key) % len(PALETTE)], f"{key}, {name}"
        base = next((p["elo"] for p in players if p["simulations"] == 0), players[0]["elo"])
        shift = 0.06 * (2 * rules - 1) * several  # beside one another where both lines have a point
        x = np.array([_place(p["simulations"]) + shift for p in players])
        axes.plot(x, [p["elo"] - base for p in players], marker=marker, markersize=4.5, linewidth=1.4, color=colour,
                  linestyle="--" if rules else "-", label=name)  # fmt: skip
        for at, player in zip(x, players):
            _whisker(axes, at, player, base, colour)
        words.append(f"{name}: {_worth(players)}")
    figures.level(axes, 0.0, NULL, "null-search", "null: search is worth nothing")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -50), max(high, 50))  # players that are all alike look alike
    shown = counts if len(counts) <= 9 else [counts[0], *counts[1::2]]
    axes.set_xticks([_place(c) for c in shown], ["raw" if not c else str(c) for c in shown])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    base_name = "the raw policy" if 0 in counts else f"{counts[0]} simulations"
    figures.label(axes, "simulations a move", f"Elo above {base_name}", report["game"])
    figures.legend(axes)
    settings = report.get("settings") or {}
    caption = (
        f"{', '.join(checkpoints)}; {settings.get('games_per_pair', '?')} games a pair, 95 % intervals over openings "
        f"(arrows: open). Null: 0, search is worth nothing. A doubling of the simulations is worth, {'; '.join(words)}."
    )
    return Picture(f"elo-{slug(report['game'])}", f"{report['game']}: Elo against simulations", caption, figure)


def _worth(players: Sequence[dict[str, Any]]) -> str:
    """Elo a doubling with its interval and whether it bends, or why it is not known."""
    known = [
        p for p in players
        if p["simulations"] >= 1 and p["low"] is not None and p["high"] is not None and p["high"] > p["low"]
    ]  # fmt: skip
    if not known:
        return "not fitted (no rating has an error: every opening gave the same points)"
    x, elo = np.array([p["simulations"] for p in known], float), np.array([p["elo"] for p in known], float)
    error = np.array([(p["high"] - p["low"]) / (2 * Z95) for p in known])
    try:
        worth = elo_per_doubling(x, elo, error)
    except UndefinedError as error:
        return f"not fitted ({error})"
    slope, bend = worth.per_doubling, worth.bend
    bent = "it bends" if bend.low > 0 or bend.high < 0 else "no bend shown"
    return f"{slope.value:+.0f} Elo [{slope.low:+.0f}, {slope.high:+.0f}], {bent}"


def _place(simulations: int) -> float:
    """Where a number of simulations stands: its logarithm to base 2; the raw policy before 1."""
    return -1.5 if simulations == 0 else math.log2(simulations)


def _whisker(axes: Any, x: float, player: dict[str, Any], base: float, colour: str) -> None:
    """The interval of a point; an arrow where it is open, nothing where it is unknown."""
    for name, side, sign in (("low", "open_below", -1), ("high", "open_above", 1)):
        elo = player["elo"] - base
        if player.get(side):
            arrow = {"arrowstyle": "->", "color": colour, "lw": 1}
            axes.annotate("", (x, elo + sign * OPEN_END), (x, elo), arrowprops=arrow)
        elif player[name] is not None:
            axes.plot([x, x], [elo, player[name] - base], color=colour, linewidth=1, alpha=0.8)
            axes.plot([x], [player[name] - base], marker="_", markersize=6, color=colour, alpha=0.8)
