"""The figures of a report, from records alone: one small panel a picture, so that they stay readable on a phone."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

matplotlib.rcParams["svg.hashsalt"] = "gurgeh"  # the same records, the same file

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#000000", "#7F3C8D")  # Okabe-Ito, darker
HEADS = ("policy", "value", "reward", "continuation", "next_mover")
STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
FLOOR = 1e-4  # nats; smaller losses are drawn here
INK, GREY, RED = "#222222", "#8a8a8a", "#b2182b"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with the words that belong to it."""

    name: str  # of its files
    title: str
    caption: str
    figure: Figure

    @functools.cached_property
    def svg(self) -> str:
        """The figure as an SVG element, without the XML header that HTML does not allow."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        return text[text.index("<svg") :]

    def png(self) -> bytes:
        """The figure as PNG, 160 dots an inch."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
        return buffer.getvalue()


def _panel(width: float = 5.4, height: float = 3.5) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))  # fixed margins: ten times faster than a layout engine
    axes = figure.subplots()
    figure.subplots_adjust(left=0.74 / width, right=1 - 0.12 / width, bottom=0.52 / height, top=1 - 0.32 / height)
    _tidy(axes)
    return figure, axes


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _log(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis; more of them where it spans less than two decades."""
    low, high = axis.get_view_interval()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1000 else f"{x:g}"))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def loss_panels(game: str, losses: Sequence[dict], ledger: Sequence[dict], events: Sequence[dict]) -> list[Picture]:
    """Frozen losses of one game against updates since its introduction, log-log: its heads, then its dynamics.

    losses: the game's monitor.loss/1 records in order; ledger and events: of the run.
    """
    introduced = next(e["update"] for e in ledger if e["kind"] == "game_added" and e["game"] == game)
    pictures = []
    steps = sorted({name for r in losses for name in r["losses"] if name.startswith("dynamics_")})
    groups = (("heads", [h for h in HEADS if any(h in r["losses"] for r in losses)]), ("dynamics", steps))
    for group, names in groups:
        figure, axes = _panel()
        drawn = [_series(axes, losses, name, *_look(name, len(names))) for name in names]
        if not any(drawn):
            continue
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("updates since the introduction", fontsize=9)
        axes.set_ylabel("frozen loss [nat]", fontsize=9)
        axes.set_title(f"{game}: {group}", fontsize=10.5, color=INK, loc="left")
        _marks(axes, game, introduced, ledger, [e for e in events if e["game"] == game and e["head"] in names])
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="best")
        _log(axes.xaxis)
        _log(axes.yaxis)
        if group == "heads":
            caption = "Loss of each head on the game's frozen positions."
        else:
            caption = "Summed loss of all heads after 1 to 5 moves imagined by the learned model."
        pictures.append(Picture(f"loss-{_slug(game)}-{group}", f"{game}: {group}", caption, figure))
    return pictures


def _look(name: str, count: int) -> tuple[Any, Any]:
    """Colour and dash of a line: each head its own everywhere, dynamics from dark (one move) to light (`count`)."""
    if name in HEADS:
        return PALETTE[HEADS.index(name)], STYLES[HEADS.index(name)]
    number = int(name.rpartition("_")[2]) - 1
    return matplotlib.colormaps["viridis"](0.85 * number / max(count - 1, 1)), "-"


def _series(axes: Axes, losses: Sequence[dict], name: str, colour: Any, style: Any) -> bool:
    """The dense line of one series, and dots for the whole frozen set; whether there was anything."""
    line = [(r["since"], r["losses"][name]["mean"]) for r in losses if r["subset"] == "small" and name in r["losses"]]
    line = [(since, mean) for since, mean in line if since > 0 and mean is not None]
    dots = [(r["since"], r["losses"][name]["mean"]) for r in losses if r["subset"] == "full" and name in r["losses"]]
    dots = [(since, mean) for since, mean in dots if since > 0 and mean is not None]
    if not line:
        return False
    label = name.replace("dynamics_", "after ") + (" moves" if name.startswith("dynamics_") else "")
    label = label.replace("after 1 moves", "after 1 move").replace("_", " ")
    x, y = np.array(line, float).T
    axes.plot(x, np.maximum(y, FLOOR), color=colour, linestyle=style, linewidth=1.5, label=label)
    if dots:
        x, y = np.array(dots, float).T
        axes.plot(x, np.maximum(y, FLOOR), "o", color=colour, markersize=4, markeredgecolor="white")
    return True


def _marks(axes: Axes, game: str, introduced: int, ledger: Sequence[dict], events: Sequence[dict]) -> None:
    """Introductions of later games (dashed, named), other ledger entries (ticks), events (triangles)."""
    right = axes.get_xlim()[1]
    for entry in ledger:
        since = entry["update"] - introduced
        if since <= 0 or not entry["confounder"] or since > right:
            continue
        if entry["kind"] == "game_added":
            axes.axvline(since, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
            axes.annotate(
                f"+ {entry['game']}", (since, 1), xycoords=("data", "axes fraction"), xytext=(-3, -3),
                textcoords="offset points", rotation=90, ha="right", va="top", fontsize=7.5, color="#555555",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
            )  # fmt: skip
        else:
            axes.plot([since], [0.015], "|", transform=axes.get_xaxis_transform(), color=RED, markersize=9)
    for event in events:
        since = event["step"] - introduced
        if since > 0:
            filled = event["status"] == "confirmed"
            axes.plot(
                [since], [0.06], "v", transform=axes.get_xaxis_transform(), color=RED, markersize=7,
                markerfacecolor=RED if filled else "white",
            )  # fmt: skip


def change_panels(games: Sequence[str], losses: Sequence[dict], config: dict[str, Any]) -> list[Picture]:
    """For each introduction, what it did to the games that were there before, as a paired change in nats."""
    pictures = []
    for newcomer in games[1:]:
        figure, axes = _panel()
        shown = []
        for number, game in enumerate(games):
            mine = [
                r for r in losses
                if r["game"] == game and r["latest"] == newcomer and r["subset"] == "small"
                and r["since"] > r["since_latest"] > 0
            ]  # fmt: skip
            head = "policy" if any("policy" in r["losses"] for r in mine) else "dynamics_1"
            points = [(r["since_latest"], r["losses"].get(head, {}).get("change")) for r in mine]
            points = [(s, c["mean"], c["se"]) for s, c in points if c and c["mean"] is not None and c["se"] is not None]
            if len(points) < 2:
                continue
            x, mean, error = np.array(points, float).T
            colour = PALETTE[number % len(PALETTE)]
            axes.fill_between(x, mean - 1.96 * error, mean + 1.96 * error, color=colour, alpha=0.18, linewidth=0)
            axes.plot(x, mean, color=colour, linewidth=1.5, label=f"{game}: {head.replace('_', ' ')}")
            shown.append(game)
        if not shown:
            continue
        axes.set_xscale("log")
        _log(axes.xaxis)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.axhline(config["forgetting_nats"], color=RED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlabel(f"updates since {newcomer} joined", fontsize=9)
        axes.set_ylabel("change of frozen loss [nat]", fontsize=9)
        axes.set_title(f"the old games after {newcomer} joined", fontsize=10.5, color=INK, loc="left")
        axes.legend(fontsize=8, frameon=False, loc="best")
        caption = f"Games that were there before {newcomer}."
        pictures.append(Picture(f"change-after-{_slug(newcomer)}", f"after {newcomer} joined", caption, figure))
    return pictures


def health_panels(games: Sequence[str], health: Sequence[dict], ledger: Sequence[dict]) -> list[Picture]:
    """Effective rank and dormant share of each game's latents against the run's updates."""
    wanted = (
        ("effective_rank", "effective rank", "exp of the entropy of the latents' singular values (Roy and Vetterli)."),
        ("dormant", "dormant units", "Share of units that are nearly silent on the game's positions (Sokar et al.)."),
    )
    pictures = []
    for field, label, caption in wanted:
        figure, axes = _panel(5.4, 2.9)
        drawn = False
        for number, game in enumerate(games):
            points = [(r["update"], r[field]) for r in health if r["game"] == game and r[field] is not None]
            if len(points) > 1:
                x, y = np.array(points, float).T
                axes.plot(x, y, color=PALETTE[number % len(PALETTE)], linewidth=1.5, marker=".", ms=4, label=game)
                drawn = True
        if not drawn:
            continue
        if field == "dormant":
            axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.set_ylim(bottom=0)
        for entry in ledger:
            if entry["kind"] == "game_added" and entry["update"] > 0:
                axes.axvline(entry["update"], color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6))
        axes.set_xlabel("updates of the run", fontsize=9)
        axes.set_title(label, fontsize=10.5, color=INK, loc="left")
        axes.legend(fontsize=8, frameon=False, loc="best")
        pictures.append(Picture(f"health-{field.replace('_', '-')}", label, caption, figure))
    return pictures


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
