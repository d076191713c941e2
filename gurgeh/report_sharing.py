"""Figures 3 and 4: measures of sharing against their nulls and the twin's ceiling, and games against games."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gurgeh import figures
from gurgeh.figures import CEILING, INK, NULL, PALETTE, RED, SMALL, Marked, Picture, slug
from monitor.events import EventFold
from monitor.records import HEALTH

DECIDING = ("probe", "subspace", "ablation", "tag", "transfer")
MEASURES = (*DECIDING, "cka", "gradient")
MATRICES = ("probe", "ablation", "tag")
HEALTHY, ILL, UNJUDGED = "#c7e0c4", RED, "#dddddd"
NAMES = {"tag": "TAG", "cka": "CKA"}

Pair = tuple[str, str]
Judged = tuple[int, float | None, bool | None]  # update, effective rank / reference, ill (None: no reference yet)


def health_of(records: Iterable[dict[str, Any]]) -> dict[str, list[Judged]]:
    """Game -> its health at each of its health records, judged by the rule of the events; records in the order of
    writing."""
    fold, found = EventFold(falls=False), {}
    for record in records:
        fold.take(record)
        if record["schema"] == HEALTH:
            state = fold.health[record["game"]]
            reference, now = state["reference"], state["now"]
            ratio = None
            if reference and reference["effective_rank"] and now["effective_rank"] is not None:
                ratio = now["effective_rank"] / reference["effective_rank"]
            judged = None if reference is None else bool(state["bad"])
            found.setdefault(record["game"], []).append((record["update"], ratio, judged))
    return found


def pairs_of(sharing: Sequence[dict], events: Sequence[Marked]) -> list[Pair]:
    """Pairs in the order in which they are shown: those with an event, twins, scrambled twins, then as measured."""
    pairs = list(dict.fromkeys((r["game"], r["other_game"]) for r in sharing))
    relation = {(r["game"], r["other_game"]): r["relation"] for r in sharing}
    called = {(e.record["game"], e.record["other_game"]) for e in events if e.record["type"] == "sharing_onset"}
    order = {"twin": 0, "scrambled": 1}
    return sorted(pairs, key=lambda pair: (pair not in called, order.get(relation[pair], 2)))


# -- figure 3 -----------------------------------------------------------------------------------------------------


def pair_panel(
    pair: Pair, sharing: Sequence[dict], added: Mapping[str, int], health: Mapping[str, Sequence[Judged]],
    events: Sequence[Marked],
) -> Picture | None:  # fmt: skip
    """One pair of games: the sharing index where a twin gives it a scale, each measure with its worst null and the
    twin's ceiling, and the strip of health. None where nothing was measured.

    sharing: monitor.sharing/1 records; added: game -> update of its introduction.
    """
    mine = [r for r in sharing if (r["game"], r["other_game"]) == pair and r["value"] is not None and r["since"] > 0]
    by_measure = {m: [r for r in mine if r["measure"] == m] for m in MEASURES}
    measures = [m for m in MEASURES if len(by_measure[m]) > 1]
    if not measures:
        return None
    indexed = [m for m in measures if m in DECIDING and any(r["index"] for r in by_measure[m])]
    heights = ([1.7] if indexed else []) + [1.25] * len(measures) + [0.42]
    figure, axes = figures.rows(heights, top=0.62)
    figure.subplots_adjust(hspace=0.42)
    panels, strip = list(axes[:-1]), axes[-1]
    strip.set_xscale("log")  # shared by all
    if indexed:
        _draw_index(panels.pop(0), indexed, by_measure)
    for axis, measure in zip(panels, measures):
        _draw_measure(axis, measure, by_measure[measure])
    steps = [r["since"] for r in mine]
    strip.set_xlim(min(steps) / 1.1, max(steps) * 1.1)
    introduced = max(added[game] for game in pair)
    _draw_health(strip, pair, health, introduced)
    joined = [(u - introduced, g) for g, u in added.items() if u > introduced]
    for row, axis in enumerate(axes[:-1]):
        figures.introductions(axis, joined, row)
    own = [e for e in events if _about(e.record, pair)]
    marked = figures.event_marks(
        axes[0], [(e.record["step"] - introduced, e) for e in own if e.record["type"] == "sharing_onset"]
    )
    marked += figures.event_marks(
        strip, [(e.record["step"] - introduced, e) for e in own if e.record["type"] == "health"], 1.2
    )
    title = f"{pair[0]} and {pair[1]}"
    figures.label(strip, "updates since the later of the two joined")
    # Above the legend of the first row.
    axes[0].set_title(figures.shortened(title), loc="left", fontsize=figures.TITLE, color=INK, pad=20)
    figures.log(strip.xaxis)
    caption = _pair_caption(mine[0]["relation"], indexed, measures, by_measure)
    shown = [game for since, game in joined if since < max(steps)]
    caption += f" Dashed: {', '.join(shown)} joined." if shown else ""
    return Picture(f"sharing-{slug(pair[0])}-{slug(pair[1])}", title, caption, figure, tuple(sorted(marked)))


def _about(event: dict[str, Any], pair: Pair) -> bool:
    """Whether an event is the pair's: its onset, or the health of one of the two."""
    if event["type"] == "sharing_onset":
        return (event["game"], event["other_game"]) == pair
    return event["type"] == "health" and event["game"] in pair


def _draw_index(axes: Axes, measures: Sequence[str], by_measure: Mapping[str, Sequence[dict]]) -> None:
    ends = []
    for measure in measures:
        points = [(r["since"], *(r["index"][k] for k in ("value", "low", "high"))) for r in by_measure[measure]
                  if r["index"]]  # fmt: skip
        x, value, low, high = np.array(points, float).T
        colour = _colour(measure)
        figures.band(axes, x, low, high, colour, alpha=0.12)
        axes.plot(x, value, color=colour, linewidth=1.3, marker=".", markersize=4, label=_name(measure))
        ends += [*value, *np.clip(low, -1, 2), *np.clip(high, -1, 2)]
    low, high = np.nanpercentile(ends, [2, 98])
    axes.set_ylim(min(low, -0.2), max(high, 1.2))
    figures.level(axes, 0.0, NULL, "null-index")
    figures.level(axes, 1.0, CEILING, "ceiling-index", style="-")
    figures.label(axes, y="sharing index")
    figures.legend(axes, 2)


def _draw_measure(axes: Axes, measure: str, records: Sequence[dict]) -> None:
    """Raw values with their 95 % intervals, the worst null with what a further draw of it may reach, the ceiling."""
    colour = _colour(measure)
    banded = [(r["since"], *r["ci95"]) for r in records if r["ci95"]]
    if banded:
        x, low, high = np.array(banded, float).T
        figures.band(axes, x, low, high, colour)
    x, value = np.array([(r["since"], r["value"]) for r in records], float).T
    decides = "" if measure in DECIDING else " (decides nothing)"
    axes.plot(x, value, color=colour, linewidth=1.3, marker=".", markersize=4, label=f"{_name(measure)}{decides}")
    ends = [*value]
    nulls = [(r["since"], *_worst(r)) for r in records if r["excess"]]
    if nulls:
        x, mean, reach = np.array(nulls, float).T
        figures.band(axes, x, mean, mean + reach, NULL, f"null-band-{measure}", 0.15)
        axes.plot(x, mean, color=NULL, linewidth=1.1, linestyle=(0, (4, 3)), label="worst null")[0].set_gid(
            f"null-{measure}"
        )
        ends += [*mean, *np.minimum(mean + reach, np.nanmax([*value, *mean]) + np.ptp([*value, *mean]))]
    ceilings = [(r["since"], r["ceiling"]) for r in records if r["ceiling"] is not None]
    if ceilings:
        x, top = np.array(ceilings, float).T
        axes.plot(x, top, color=CEILING, linewidth=1.1, label="twin")[0].set_gid(f"ceiling-{measure}")
        ends += [*top]
    bottom, top = np.nanpercentile(ends, [1, 99])
    room = max(0.15 * (top - bottom), 1e-6)
    axes.set_ylim(bottom - room, top + room)
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    figures.legend(axes, 3, loc="lower left", bbox_to_anchor=(-0.01, 0.93), borderaxespad=0.0, handlelength=1.6)


def _worst(record: dict) -> tuple[float, float]:
    """(mean, reach) of the worst null; a null of one draw has no reach."""
    null = record["nulls"].get(record["excess"]["null"]) or {}
    mean = null.get("mean")
    return (np.nan if mean is None else mean), null.get("reach") or 0.0


def _draw_health(axes: Axes, pair: Pair, health: Mapping[str, Sequence[Judged]], introduced: int) -> None:
    """One row a game: whether claims about it would be suspended, from each of its records to the next."""
    left, right = axes.get_xlim()
    for place, game in enumerate(pair):
        judged = [(update - introduced, ill) for update, _, ill in health.get(game, ())]
        for number, ((start, ill), end) in enumerate(zip(judged, [s for s, _ in judged[1:]] + [right])):
            begin, end = max(start, left), min(end, right)
            if end <= begin:
                continue
            colour, what = (UNJUDGED, "unjudged") if ill is None else (ILL, "ill") if ill else (HEALTHY, "healthy")
            bar = axes.barh(1 - place, end - begin, 0.8, begin, color=colour, linewidth=0)
            bar.patches[0].set_gid(f"health-{what}-{place}-{number}")
    axes.set_ylim(-0.5, 1.5)
    axes.set_yticks([1, 0], [figures.shortened(game, 13) for game in pair])
    axes.tick_params(axis="y", labelsize=SMALL - 2, length=0)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.grid(False)
    axes.spines["left"].set_visible(False)


def _pair_caption(
    relation: str, indexed: Sequence[str], measures: Sequence[str], by_measure: Mapping[str, Sequence[dict]]
) -> str:
    related = {
        "twin": "An isomorphic twin: the ceiling of sharing itself. ",
        "scrambled": "A scrambled twin, the negative control: nothing should be shared. ",
    }.get(relation, "")
    has_ceiling = any(r["ceiling"] is not None for m in measures for r in by_measure[m])
    if indexed:
        scale = "Index: 0 is the worst null, 1 the twin's ceiling."
    elif has_ceiling:
        scale = "No index: the twin was nowhere above the worst null, so these measures cannot tell here."
    else:
        scale = "No ceiling and no index: neither game has an isomorphic twin in this run."
    above = [
        f"{_name(m)} {sum(_held(r) for r in points)} of {len(points)}"
        for m in measures if m in DECIDING and (points := [r for r in by_measure[m] if r["occasion"] == "checkpoint"])
    ]  # fmt: skip
    words = f"{related}{scale} Checkpoints above every null (lower 95 % end): {', '.join(above) or 'none measured'}."
    return words + " Strip: green healthy, red claims would be suspended, grey not judged yet."


def _held(record: dict) -> bool:
    return bool(record["excess"]) and record["excess"]["low"] is not None and record["excess"]["low"] > 0


def _name(measure: str) -> str:
    return NAMES.get(measure, measure)


def _colour(measure: str) -> str:
    return PALETTE[(MEASURES.index(measure) + (MEASURES.index(measure) >= 5)) % len(PALETTE)]


# -- figure 4 -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cells:
    """A matrix of games by games, K of them: what was observed, the null beside it, whether it is above it."""

    value: np.ndarray  # [K, K]; NaN where nothing was measured
    null: np.ndarray  # [K, K]
    certain: np.ndarray  # [K, K] bool: the lower end of the interval of value - null is above 0


def latest_cells(games: Sequence[str], sharing: Sequence[dict], measure: str) -> Cells:
    """The newest measurement of each pair, the same in both triangles (measures are means of both ways)."""
    shape = (len(games), len(games))
    cells = Cells(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, bool))
    for record in sharing:  # in the order of writing: the newest stays
        if record["measure"] != measure or record["value"] is None or record["excess"] is None:
            continue
        if record["game"] not in games or record["other_game"] not in games:
            continue
        i, j = games.index(record["game"]), games.index(record["other_game"])
        for place in ((i, j), (j, i)):
            cells.value[place], cells.null[place] = record["value"], _worst(record)[0]
            cells.certain[place] = _held(record)
    return cells


def matrix_picture(
    name: str, title: str, caption: str, games: Sequence[str], cells: Cells, columns: Sequence[str] | None = None,
    below: Sequence[Sequence[str]] | None = None, from_to: bool = False,
) -> Picture:  # fmt: skip
    """Games by games, coloured by value less null; each cell says both, and is framed where it is certain.

    columns: other games than the rows'; below: text under each value in place of its null; from_to: rows are where one
    starts and columns where one goes.
    """
    across = list(games if columns is None else columns)
    names, over = [figures.shortened(game, 20) for game in games], [figures.shortened(game, 20) for game in across]
    left = 0.35 + 0.078 * max(map(len, names)) + (0.2 if from_to else 0)
    tilted = len(across) > 3 or max(map(len, over)) > 12
    bottom = 0.4 + (0.45 if tilted else 0) + (0.2 if from_to else 0)
    width, height = max(figures.WIDTH, 0.95 * len(across) + left + 0.15), 0.62 * len(games) + bottom + 0.5
    figure, axes = figures.panel(width, height)
    figure.subplots_adjust(left=left / width, bottom=bottom / height)
    excess = cells.value - cells.null
    limit = float(np.nanmax(np.abs(excess))) if np.isfinite(excess).any() else 1.0
    reach = 1.8 * (limit or 1.0)  # the darkest colours would swallow the numbers
    colours = matplotlib.colors.Normalize(-reach, reach)
    axes.imshow(excess, cmap="RdBu_r", norm=colours, aspect="auto", alpha=0.75).set_gid("matrix")
    for i, j in itertools.product(range(len(games)), range(len(across))):
        value = float(cells.value[i, j])
        if not np.isfinite(value):
            text = "same" if columns is None and i == j else "not measured"
            axes.text(j, i, text, ha="center", va="center", fontsize=SMALL - 1.5, color="#777777")
            continue
        axes.text(j, i - 0.16, _short(value), ha="center", va="center", fontsize=SMALL + 0.5, color=INK)
        text = f"null {_short(float(cells.null[i, j]))}" if below is None else below[i][j]
        axes.text(j, i + 0.24, text, ha="center", va="center", fontsize=SMALL - 1.5, color=INK, gid=f"null-{i}-{j}")
        if cells.certain[i, j]:
            frame = Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, edgecolor=INK, linewidth=1.8)
            axes.add_patch(frame).set_gid(f"certain-{i}-{j}")
    turn = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if tilted else {}
    axes.set_xticks(range(len(across)), over, fontsize=SMALL, **turn)
    axes.set_yticks(range(len(games)), names, fontsize=SMALL)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    figures.label(axes, *(("learnt next", "learnt first") if from_to else ("", "")), title=title)
    return Picture(name, title, caption, figure)


def matrix_panels(games: Sequence[str], sharing: Sequence[dict]) -> list[Picture]:
    """The newest probe, ablation overlap and TAG of all pairs, each with its worst null."""
    pictures = []
    for measure in MATRICES:
        cells = latest_cells(list(games), sharing, measure)
        if not np.isfinite(cells.value).any():
            continue
        newest = [r for r in sharing if r["measure"] == measure and r["value"] is not None]
        update = max(r["update"] for r in newest)
        ceilings = sorted({r["ceiling"] for r in newest if r["update"] == update and r["ceiling"] is not None})
        ceiling = (
            f"Ceiling (a game and its twin): {', '.join(_short(c) for c in ceilings)}."
            if ceilings
            else "No ceiling: no game has a twin here."
        )
        caption = (
            f"At update {update:,}. Upper number: {_name(measure)}, mean of both directions; below it the worst null. "
            f"Framed: above every null, lower 95 % end. {ceiling}"
        )
        title = {"probe": "cross-game probe (R²)", "ablation": "ablation overlap", "tag": "TAG (lookahead)"}[measure]
        pictures.append(matrix_picture(f"matrix-{measure}", title, caption, games, cells))
    return pictures


def _short(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}"
