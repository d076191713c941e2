"""Figure 5 and the matrix of savings in figure 4, from the records of transfer over a set of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gurgeh import figures
from gurgeh.figures import GREY, NULL, PALETTE, Picture, slug
from gurgeh.report_sharing import Cells, matrix_picture
from monitor.records import AGGREGATE, MATRIX, TRANSFER

PRETRAINED = "pretrained"


def source_name(source: Mapping[str, Any], most: int = 3) -> str:
    """The games that the weights come from, few of them by name."""
    games = source["games"]
    names = " + ".join(games) if len(games) <= most else f"{len(games)} games"
    return f"{names} at update {source['update']:,}" if source["asked"] != "last" else names


def transfer_panels(records: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """One picture a held-out game and source: performance against updates, from scratch and from the nearest single
    game beside it. Sources of several games first. records: monitor.transfer/1 among others."""
    mine = [record for record in records if record["schema"] == TRANSFER]
    order = sorted(mine, key=lambda r: (r["source"]["arm"] != PRETRAINED, r["game"], len(r["source"]["games"])))
    return [_transfer_panel(record, number) for number, record in enumerate(order, 1)]


def _transfer_panel(record: Mapping[str, Any], number: int) -> Picture:
    figure, axes = figures.panel()
    loss = record["unit"] == "nats"
    shown = [record["scratch_curve"], record["nearest_curve"] or [], record["curve"]]
    steps = [point["update"] for curve in shown for point in curve if point["update"] > 0]
    zero = min(steps, default=1) / 3  # where play before the first update stands on the logarithmic axis
    _draw(axes, record["scratch_curve"], NULL, "--", "null: from scratch", "null-scratch", zero)
    if record["nearest_curve"]:
        name = f"null: from {source_name(record['nearest'], 1)}"
        _draw(axes, record["nearest_curve"], PALETTE[4], "-.", name, "null-nearest", zero)
    _draw(axes, record["curve"], PALETTE[0], "-", f"from {source_name(record['source'], 2)}", "source", zero)
    axes.set_xscale("log")
    values = [point["value"] for curve in shown for point in curve if point["value"] is not None]
    if loss and values and min(values) > 0:
        axes.set_yscale("log")
        figures.log(axes.yaxis)
    if record["threshold"]["value"] is not None:
        figures.level(axes, record["threshold"]["value"], GREY, "threshold", style=(0, (1, 1.5)))
    left, right = zero / 1.3, max(steps, default=1) * 1.1
    axes.set_xlim(left, right)
    figures.log(axes.xaxis)
    axes.annotate("before", (zero, 0), xycoords=("data", "axes fraction"), xytext=(0, -13), fontsize=figures.SMALL,
                  textcoords="offset points", ha="center", va="top")  # fmt: skip
    unit = "frozen loss [nat]" if loss else "score"
    title = f"{record['game']}, held out"
    figures.label(axes, "updates on the game", f"{record['series'].replace('_', ' ')}: {unit}", title)
    figures.legend(axes)
    return Picture(f"adaptation-{number}-{slug(record['game'])}", title, _transfer_caption(record), figure)


def _draw(
    axes: Axes, curve: Sequence[Mapping[str, Any]], colour: str, style: str, name: str, gid: str, zero: float
) -> None:
    known = [point for point in curve if point["value"] is not None]
    if not known:
        return
    x = np.array([point["update"] or zero for point in known], float)
    y = np.array([point["value"] for point in known], float)
    sure = [i for i, point in enumerate(known) if point["low"] is not None and point["high"] is not None]
    if sure:
        low, high = (np.array([known[i][end] for i in sure], float) for end in ("low", "high"))
        figures.band(axes, x[sure], low, high, colour, f"{gid}-band", 0.14)
    axes.plot(
        x, y, color=colour, linestyle=style, linewidth=1.5, marker=".", markersize=4, label=figures.shortened(name, 40)
    )[0].set_gid(gid)


def _transfer_caption(record: Mapping[str, Any]) -> str:
    source, seeds = record["source"], record["seeds"]
    words = [
        f"Learnt from {source_name(source, 6)} ({', '.join(source['runs'])}); mean and 95 % interval over {len(seeds)} "
        f"seeds; {record['budget']:,} updates are the budget from scratch."
    ]
    words.append(f"Against scratch: {_compared(record['against_scratch'])}.")
    if record["against_nearest"]:
        nearest = source_name(record["nearest"], 1)
        words.append(f"Against the nearest single game ({nearest}): {_compared(record['against_nearest'])}.")
    elif source["arm"] == PRETRAINED:
        words.append("No single game was named, so nothing says that several games gave more than one of them would.")
    if record["zero_shot"]:
        words.append(f"Before the first update: not defined ({record['zero_shot']}).")
    threshold = record["threshold"]
    if threshold["value"] is None:
        words.append(f"There is no threshold: {threshold['refused']}.")
    else:
        words.append(f"Dotted: {threshold['way']:.0%} of the way from knowing nothing to the end from scratch.")
    return " ".join(words)


def _compared(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Advantage and savings with their intervals; the null is 0 for both."""
    parts = [f"{name.replace('_', ' ')} {_estimate(found[name])}" for name in ("advantage", "savings") if name in found]
    return ", ".join(parts) + " (null: 0)"


def _estimate(estimate: Mapping[str, Any], form: str = "+.3g") -> str:
    if estimate["value"] is None:
        return f"not known ({estimate['refused']})"
    text = f"{estimate['value']:{form}}"
    if estimate["low"] is not None:
        text += f" [{estimate['low']:{form}}, {estimate['high']:{form}}]"
    elif estimate["refused"]:
        text += f" ({estimate['refused']})"
    return text + (f", of which {estimate['bounds']} are upper bounds" if estimate.get("bounds") else "")


def no_savings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a matrix of savings has no measured cell."""
    return [
        f"Savings from {', '.join(r['from'])} to {', '.join(r['to'])} are not known: no start and no run from scratch "
        f"could be compared ({r['refused'] or 'no seed has both'})."
        for r in records if r["schema"] == MATRIX and not r["cells"]
    ]  # fmt: skip


def aggregate_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """[source, games, seeds, IQM of the advantage, P(better than scratch), P(better than nearest)] as text."""
    return [
        [
            source_name(record["source"], 4), ", ".join(record["games"]), str(record["seeds"]),
            _estimate(record["iqm"]),
            *(_estimate(record[name], ".2f") for name in ("better_than_scratch", "better_than_nearest")),
        ]
        for record in records if record["schema"] == AGGREGATE
    ]  # fmt: skip


def savings_panels(records: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """The matrix of savings; framed where the corrected interval leaves 0 out. None without any measured cell."""
    pictures, measured = [], [r for r in records if r["schema"] == MATRIX and r["cells"]]
    for number, record in enumerate(measured, 1):
        mean, low, high = (
            np.array([[np.nan if v is None else v for v in row] for row in record[name]], float).reshape(
                len(record["from"]), len(record["to"])
            )
            for name in ("mean", "low", "high")
        )
        cells = Cells(mean, np.zeros_like(mean), np.array(record["certain"], bool).reshape(mean.shape))
        below = [
            [f"[{a:.2f}, {b:.2f}]" if np.isfinite(a) and np.isfinite(b) else "no interval" for a, b in zip(*rows)]
            for rows in zip(low, high)
        ]
        refused = f" {record['refused']}." if record["refused"] else ""
        caption = (
            f"Share of the from-scratch updates that a start saves ({record['series'].replace('_', ' ')}); at least "
            f"{record['seeds']} seeds a cell; {record['level']:.0%} intervals hold for all {record['cells']} cells "
            f"together. Null: 0, no faster than from scratch. Framed: the interval leaves 0 out.{refused}"
        )
        name = "matrix-savings" if number == 1 else f"matrix-savings-{number}"
        pictures.append(
            matrix_picture(
                name, "savings", caption, record["from"], cells, columns=record["to"], below=below, from_to=True
            )
        )
    return pictures
