"""What all figures of a report have in common: a picture with its words, its axes, its marks of events.

One small panel a picture, so that it stays readable on a phone. What is drawn as the null, as a ceiling and as an event
has an id in the SVG that says so: `NAME.null...`, `NAME.ceiling...`, `NAME.event-NUMBER`.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

matplotlib.rcParams["svg.hashsalt"] = "gurgeh"  # the same records, the same file
matplotlib.rcParams["text.parse_math"] = False  # a game's name may hold dollars

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#000000", "#7F3C8D")  # Okabe-Ito, darker
STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
INK, GREY, RED, NULL, CEILING = "#222222", "#8a8a8a", "#b2182b", "#6b6b6b", "#1b7837"
SMALL, LABEL, TITLE = 9.0, 9.5, 11.0  # points
WIDTH, HEIGHT = 4.8, 3.3  # inches: on a phone (340 px) 9 points are then 9 px, on a wide page 15
TOP = 0.34  # inches above a panel
SAME_PLACE = 0.04  # of the axis' width: marks of events that are nearer share one label


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with the words that belong to it."""

    name: str  # of its files
    title: str
    caption: str
    figure: Figure
    marked: tuple[int, ...] = ()  # numbers of the events that are marked in it

    @functools.cached_property
    def _drawn(self) -> str:
        """The SVG element with matplotlib's own ids."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        return re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text[text.index("<svg") :], flags=re.DOTALL)

    @property
    def svg(self) -> str:
        """The figure as an SVG element, without the XML header that HTML does not allow; all ids begin with `name.`,
        so that several pictures fit on one page. Links to elsewhere on the page stay as they are."""
        text = re.sub(r'\bid="([^"]+)"', lambda found: f'id="{self.name}.{found[1]}"', self._drawn)
        return re.sub(r'(url\(|<use\b[^>]*?\bxlink:href=")#', lambda found: f"{found[1]}#{self.name}.", text)

    def named(self, name: str) -> Picture:
        """The same picture under another name; what was drawn is not drawn again."""
        copy = dataclasses.replace(self, name=name)
        if "_drawn" in self.__dict__:
            copy.__dict__["_drawn"] = self._drawn
        return copy

    def png(self) -> bytes:
        """The figure as PNG, 160 dots an inch."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
        return buffer.getvalue()


@dataclasses.dataclass(frozen=True)
class Marked:
    """An event with its number in the table of events and the id of its row there."""

    number: int
    anchor: str
    record: dict[str, Any]


def panel(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of one panel."""
    figure, (axes,) = rows([height], width)
    return figure, axes


def rows(heights: Sequence[float], width: float = WIDTH, top: float = TOP) -> tuple[Figure, list[Axes]]:
    """Panels one above the other, of these heights in inches with their share of the margins, sharing their x axis.

    top: inches above the first."""
    total = sum(heights) + top - TOP
    figure = Figure(figsize=(width, total))  # fixed margins: ten times faster than a layout engine
    found = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights))[:, 0]
    figure.subplots_adjust(
        left=0.78 / width, right=1 - 0.12 / width, bottom=0.55 / total, top=1 - top / total,
        hspace=0.0 if len(heights) == 1 else 0.30,
    )  # fmt: skip
    for axes in found:
        tidy(axes)
    return figure, list(found)


def tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def label(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Axis labels and the title at the left."""
    if x:
        axes.set_xlabel(x, fontsize=LABEL)
    if y:
        axes.set_ylabel(y, fontsize=LABEL)
    if title:
        axes.set_title(shortened(title), fontsize=TITLE, color=INK, loc="left")


def shortened(text: str, most: int = 52) -> str:
    """The text, cut for a title or a legend."""
    return text if len(text) <= most else text[: most - 1] + "…"


def legend(axes: Axes, columns: int = 1, **more: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        options: dict[str, Any] = {"loc": "best", **more}
        axes.legend(fontsize=SMALL, frameon=False, ncols=columns, **options)


def log(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis; more of them where it spans less than two decades."""
    low, high = axis.get_view_interval()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: _plain(x)))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def _plain(x: float) -> str:
    """0.01, 20, 1,000, 2e6."""
    if x >= 1e6:
        return f"{x:g}".replace("e+0", "e").replace("e+", "e") if x >= 1e7 else f"{x / 1e6:g}e6"
    return f"{x:,.0f}" if x >= 1000 else f"{x:g}"


def band(axes: Axes, x: Any, low: Any, high: Any, colour: Any, gid: str | None = None, alpha: float = 0.18) -> None:
    """A shaded interval; gid: its id in the SVG."""
    axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0).set_gid(gid)


def level(axes: Axes, height: float, colour: str, gid: str, text: str = "", style: Any = (0, (4, 3))) -> None:
    """A horizontal line that is a null or a ceiling; text: of the legend."""
    axes.axhline(height, color=colour, linewidth=1.1, linestyle=style, zorder=1.5, label=text or None).set_gid(gid)


def introductions(axes: Axes, entries: Sequence[tuple[float, str]], row: int | None = None) -> None:
    """Dashed verticals where other games joined: (x, name), inside the axis; named unless it is one row of several."""
    left, right = axes.get_xlim()
    for x, name in entries:
        if not left < x < right:
            continue
        gid = f"introduction-{slug(name)}" + ("" if row is None else f"-{row}")
        axes.axvline(x, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1).set_gid(gid)
        if row is None:
            axes.annotate(
                f"+ {shortened(name, 24)}", (x, 1), xycoords=("data", "axes fraction"), xytext=(-3, -3),
                textcoords="offset points", rotation=90, ha="right", va="top", fontsize=SMALL - 1, color="#555555",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
            )  # fmt: skip
    axes.set_xlim(left, right)


def event_marks(axes: Axes, events: Sequence[tuple[float, Marked]], height: float = 0.06) -> tuple[int, ...]:
    """Triangles with the events' numbers at (x, event), `height` of the axes up, hollow unless confirmed; a number is a
    link to the event's row. The numbers that are marked."""
    left, right = axes.get_xlim()
    logarithmic = axes.get_xscale() == "log"
    if logarithmic and left <= 0:
        return ()

    def place(x: float) -> float:
        return float(np.log(x / left) / np.log(right / left)) if logarithmic else (x - left) / (right - left)

    inside = [(place(x), x, event) for x, event in events if (x > 0 or not logarithmic) and 0 <= place(x) <= 1.001]
    groups: list[list[tuple[float, float, Marked]]] = []
    for entry in sorted(inside, key=lambda entry: (entry[0], entry[2].number)):
        if groups and entry[0] - groups[-1][-1][0] < SAME_PLACE:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    for group in groups:
        for _, x, event in group:
            confirmed = event.record["status"] == "confirmed"
            axes.plot(
                [x], [height], "v", transform=axes.get_xaxis_transform(), color=RED, markersize=7, zorder=4,
                markerfacecolor=RED if confirmed else "white", clip_on=False,
            )[0].set_gid(f"event-{event.number}")  # fmt: skip
        middle = float(np.mean([x for _, x, _ in group]))
        axes.annotate(
            ranges([event.number for _, _, event in group]), (middle, height), xycoords=("data", "axes fraction"),
            xytext=(0, 5), textcoords="offset points", fontsize=SMALL - 1, color=RED, ha="center", va="bottom",
            zorder=5, url=f"#{group[0][2].anchor}", annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3},
        )  # fmt: skip
    axes.set_xlim(left, right)
    return tuple(sorted(event.number for _, _, event in inside))


def ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 5 as "1-3, 5"."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def slug(name: str) -> str:
    """The name for a file and an id."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "-_" else "_" for c in name)
