"""Figures 6 and 7, from the records of scale over a set of runs: how likely an outcome is, and loss against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from scipy import stats

from gurgeh import figures
from gurgeh.figures import NULL, PALETTE, RED, Picture, slug
from monitor.records import ARCHITECTURES, PROBABILITY, SCALING

CHANCE = {
    "breakthrough": (0.05, "false discoveries are held at 5 % in each run (q <= 0.05)"),
    "sharing": (0.05, "where nothing is shared at most 5 % of runs showed an onset in tests, not corrected for pairs"),
    "faster": (0.025, "two lower ends of 95 % intervals above 0: at most 2.5 % where nothing is gained"),
}
"""Outcome -> how often it is called where there is nothing, and why."""

MOST_LINES = 6  # amounts of data that get a line of their own


def probability_panels(records: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Share of runs with an outcome against the number of games, by size; records without any run are left out."""
    return [_probability_panel(r) for r in records if r["schema"] == PROBABILITY and r["points"]]


def _probability_panel(record: Mapping[str, Any]) -> Picture:
    outcome, points = record["outcome"], record["points"]
    figure, axes = figures.panel()
    sizes = sorted({point["size"] for point in points})
    for number, size in enumerate(sizes):
        mine = [point for point in points if point["size"] == size]
        x = np.array([p["games"] for p in mine], float) * 2 ** (0.05 * (number - (len(sizes) - 1) / 2))
        share = np.array([p["happened"] / p["runs"] for p in mine])
        ends = np.array([_wilson(p["happened"], p["runs"]) for p in mine])
        errors = np.maximum(np.abs(ends.T - share), 0)
        axes.errorbar(
            x, share, errors, fmt="o", markersize=5, capsize=2, linewidth=1, color=PALETTE[number % len(PALETTE)],
            label=f"{size:,.0f} parameters",
        )  # fmt: skip
    if record["curve"]:
        games, p = np.array([(entry["games"], entry["p"]) for entry in record["curve"]], float).T
        label = f"fit at {record['at_size']:,.0f} parameters"
        axes.plot(games, p, color=figures.INK, linewidth=1.4, label=label)[0].set_gid("fit")
    axes.set_xscale("log", base=2)
    counts = sorted({point["games"] for point in points})
    axes.set_xlim(min(counts) / 1.4, max(counts) * 1.4)
    _draw_k50(axes, record["k50"])
    rate, why = CHANCE.get(outcome, (None, ""))
    if rate is not None:
        figures.level(axes, rate, NULL, "null-chance", "null: called by chance")
    axes.set_ylim(-0.04, 1.45)  # room for the legend
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    title = "unseen games learnt faster" if outcome == "faster" else str(outcome)
    figures.label(axes, "games in the run", "share of the runs", title)
    figures.legend(axes)
    runs = sum(point["runs"] for point in points)
    least = min(point["runs"] for point in points)
    caption = f"{runs} runs, {least} or more of each kind; bars: 95 % intervals (Wilson). {_k50_words(record)} " + (
        f"Null: {rate:.1%} of runs would be called by chance, for {why}." if rate is not None else "No null known."
    )
    return Picture(f"probability-{slug(outcome)}", f"P({outcome}) against the number of games", caption, figure)


def _draw_k50(axes: Any, k50: Mapping[str, Any]) -> None:
    """K50 with its profile interval at half height; an arrow where it is open."""
    if k50["value"] is None:
        return
    left, right = axes.get_xlim()
    low, high = k50["low"] or left, k50["high"] or right
    inside = np.clip([low, high], left, right)
    axes.plot(inside, [0.5, 0.5], color=RED, linewidth=1.2)[0].set_gid("k50")
    for end, bound, mark in ((inside[0], k50["low"], "<"), (inside[1], k50["high"], ">")):
        axes.plot([end], [0.5], "|" if bound else mark, color=RED, markersize=8)
    if left < k50["value"] < right:
        axes.plot([k50["value"]], [0.5], "D", color=RED, markersize=5)


def _k50_words(record: Mapping[str, Any]) -> str:
    if record["refused"]:
        return f"No curve is fitted: {record['refused']}."
    k50 = record["k50"]
    bounds = ", ".join("no bound" if k50[end] is None else f"{k50[end]:.3g}" for end in ("low", "high"))
    return (
        f"Red: half of the runs from {k50['value']:.3g} games on [{bounds}], a 95 % profile interval; "
        f"{record['per_doubling']:+.2f} logits a doubling of the games, {record['per_tenfold']:+.2f} a tenfold of the "
        "size."
    )


def _wilson(happened: int, runs: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    found = stats.binomtest(happened, runs).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


# -- figure 7 -----------------------------------------------------------------------------------------------------


def scaling_panels(records: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Loss against size for each architecture and set of games that was trained in at least two sizes, with the points
    that were held out; then architectures at matched compute."""
    several = [r for r in records if r["schema"] == SCALING and len({p["size"] for p in r["points"]}) > 1]
    fits = [_scaling_panel(record, number) for number, record in enumerate(several, 1)]
    pairs = [
        _architectures_panel(r, i)
        for i, r in enumerate((r for r in records if r["schema"] == ARCHITECTURES), 1)
        if r["points"]
    ]
    return fits + pairs


def _scaling_panel(record: Mapping[str, Any], number: int) -> Picture:
    figure, axes = figures.panel()
    points, fit = record["points"], record["fit"]
    amounts = sorted({point["data"] for point in points})
    shown = amounts if len(amounts) <= MOST_LINES else [
        amounts[round(i)] for i in np.linspace(0, len(amounts) - 1, MOST_LINES)
    ]  # fmt: skip
    colours = matplotlib.colormaps["viridis"]
    sizes = np.array([point["size"] for point in points], float)
    grid = np.geomspace(sizes.min(), sizes.max(), 60)
    for place, data in enumerate(shown):
        colour = colours(0.85 * place / max(len(shown) - 1, 1))
        for held_out in (False, True):
            mine = [p for p in points if p["data"] == data and p["held_out"] == held_out]
            axes.plot(
                [p["size"] for p in mine], [p["loss"] for p in mine], "o", color=colour, markersize=5,
                markerfacecolor="white" if held_out else colour,
                label=None if held_out else f"{data:,} updates",
            )[0].set_gid(f"held-out-{place}" if held_out else f"points-{place}")  # fmt: skip
        if fit["refused"] is None:
            e, a, alpha, b, beta = (fit[name]["value"] for name in ("E", "A", "a", "B", "b"))
            axes.plot(grid, e + a * grid**-alpha + b * data**-beta, color=colour, linewidth=1.1)[0].set_gid(
                f"fit-{place}"
            )
    said = [p for p in record["held_out"].get("points", ()) if p["data"] in shown]
    if said:
        axes.plot([record["held_out"]["size"]] * len(said), [p["predicted"] for p in said], "x", color=RED,
                  markersize=6, label="foretold without them")[0].set_gid("predicted")  # fmt: skip
    unchanged = _unchanged(points)
    for number, data in enumerate(data for data in shown if data in unchanged):
        before, level, last = unchanged[data]
        label = None if number else "null: no gain from size"
        (line,) = axes.plot([before, last], [level, level], color=NULL, linewidth=1, linestyle=(0, (4, 3)), label=label)
        line.set_gid(f"null-{shown.index(data)}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    figures.log(axes.xaxis)
    figures.log(axes.yaxis)
    title = f"{record['architecture']}: {', '.join(record['games'])}"
    figures.label(axes, "trained parameters", f"{record['series'].replace('_', ' ')} [nat]", title)
    axes.set_ylim(top=axes.get_ylim()[1] ** 1.35 / axes.get_ylim()[0] ** 0.35)  # room for the legend
    figures.legend(axes, 2, loc="upper right")
    return Picture(f"scaling-{number}-{slug(record['architecture'])}", title, _scaling_caption(record), figure)


def _unchanged(points: Sequence[Mapping[str, Any]]) -> dict[int, tuple[float, float, float]]:
    """Data -> (second largest size, its mean loss, largest size): what the largest would reach if size gave nothing."""
    sizes = sorted({point["size"] for point in points})
    if len(sizes) < 2:
        return {}
    found = {}
    for data in {point["data"] for point in points}:
        before = [p["loss"] for p in points if p["data"] == data and p["size"] == sizes[-2]]
        if before and any(p["data"] == data and p["size"] == sizes[-1] for p in points):
            found[data] = sizes[-2], float(np.exp(np.log(before).mean())), sizes[-1]
    return found


def _scaling_caption(record: Mapping[str, Any]) -> str:
    fit, held, bend = record["fit"], record["held_out"], record["break"]
    if fit["refused"] is None:
        parts = ", ".join(
            f"{name} {fit[name]['value']:.3g} [{fit[name]['low']:.3g}, {fit[name]['high']:.3g}]"
            for name in ("E", "a", "b")
        )
        words = f"Lines: L = E + A N^-a + B D^-b with {parts} (95 %, bootstrap by configuration)."
    else:
        words = f"No law is fitted: {fit['refused']}."
    if held["refused"] is None:
        unchanged = _unchanged(record["points"])
        errors = [
            abs(np.log(p["loss"]) - np.log(unchanged[p["data"]][1]))
            for p in record["points"] if p["held_out"] and p["data"] in unchanged
        ]  # fmt: skip
        null = f"{np.mean(errors):.1%}" if errors else "not known"
        words += (
            f" Hollow: the largest size, held out; a law fitted without it is off by {held['error']:.1%} on average. "
            f"Null (the largest is no better than the next smaller): off by {null}."
        )
    else:
        words += f" Nothing is held out: {held['refused']}."
    if bend["refused"] is None:
        verdict = "A bend is accepted" if bend["accepted"] else "No bend is accepted"
        words += (
            f" {verdict}: AICc better by {bend['delta_aicc']:.1f} (more than 10 is asked for), held-out error "
            f"{bend['broken_error']:.1%} against {bend['plain_error']:.1%} of the plain law, its null."
        )
    else:
        words += f" Bends are not judged: {bend['refused']}."
    return words


def _architectures_panel(record: Mapping[str, Any], number: int) -> Picture:
    figure, axes = figures.panel()
    for place, name in enumerate((record["one"], record["other"])):
        mine = [p for p in record["points"] if p["architecture"] == name]
        colour = PALETTE[place]
        axes.plot([p["flops"] for p in mine], [p["loss"] for p in mine], ".", color=colour, markersize=4, alpha=0.5)
        frontier = np.array(record["frontier"].get(name) or np.empty((0, 2)), float)
        if len(frontier):
            axes.plot(*frontier.T, color=colour, linewidth=1.5, linestyle=("-", "--")[place], label=name)
        else:
            axes.plot([], [], color=colour, label=name)
    _draw_equal_gain(axes, record)
    axes.set_xscale("log")
    axes.set_yscale("log")
    figures.log(axes.xaxis)
    figures.log(axes.yaxis)
    title = f"{record['one']} and {record['other']} at matched compute"
    figures.label(axes, "FLOPs of training", f"{record['series'].replace('_', ' ')} [nat]", title)
    figures.legend(axes)
    difference = record["difference"]
    if record["refused"]:
        words = f"Not compared: {record['refused']}."
    else:
        sign = "leaves 0 out" if difference["low"] > 0 or difference["high"] < 0 else "holds 0"
        words = (
            f"Lines: the lowest loss at each amount of compute. Exponent of {record['one']} less that of "
            f"{record['other']}: {difference['value']:+.3g} [{difference['low']:+.3g}, {difference['high']:+.3g}]; "
            f"null: 0, both gain alike (grey dashes: {record['one']} if it did); the interval {sign}."
        )
    return Picture(f"compute-{number}-{slug(record['one'])}-{slug(record['other'])}", title, words, figure)


def _draw_equal_gain(axes: Any, record: Mapping[str, Any]) -> None:
    """The null: one architecture's frontier from its first point on, were its exponent the other's."""
    frontier = record["frontier"].get(record["one"])
    exponent = record["exponents"].get(record["other"])
    if not frontier or exponent is None:
        return
    compute, loss = np.array(frontier, float).T
    equal = loss[0] * (compute / compute[0]) ** -exponent["value"]
    label = f"null: {record['one']} gains as {record['other']}"
    axes.plot(compute, equal, color=NULL, linewidth=1, linestyle=(0, (4, 3)), label=label)[0].set_gid("null-equal")
