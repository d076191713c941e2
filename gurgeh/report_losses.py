"""Figures 1 and 2: frozen losses with the band of smooth learning, and rise, plateau and fall after introductions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes

from gurgeh import figures
from gurgeh.figures import GREY, NULL, PALETTE, RED, STYLES, Marked, Picture, slug
from gurgeh.report_null import NullBand, smooth_null
from monitor.config import MonitorConfig
from monitor.matched import WIDTH
from monitor.watch import Watch

HEADS = ("policy", "value", "reward", "continuation", "next_mover")
FALLS = ("drop", "breakthrough")
STRATA_PANELS = 8  # at most, of strata with a fall of their own


@dataclasses.dataclass(frozen=True)
class Curve:
    """One series of the dense losses of one game: a head, all positions or a stratum. n points, in nats."""

    game: str
    head: str
    stratum: str
    since: np.ndarray  # [n] updates since the game's introduction, > 0
    loss: np.ndarray  # [n] as the scan counts it: nothing below monitor.loss_floor
    floor: float  # nats
    null: NullBand | None
    no_null: str  # why there is none, else ""

    @property
    def name(self) -> str:
        text = self.head.replace("dynamics_", "after ") + (" moves" if self.head.startswith("dynamics_") else "")
        text = text.replace("after 1 moves", "after 1 move").replace("_", " ")
        return text if self.stratum == "all" else f"{text}, {self.stratum}"


def curves_of(
    game: str, losses: Sequence[dict], added: dict[str, int], events: Sequence[Marked], config: MonitorConfig
) -> list[Curve]:
    """All series of a game with their nulls; strata only where a fall was called in one.

    losses: the game's monitor.loss/1 records in order; added: game -> update of its introduction.
    """
    small = [r for r in losses if r["subset"] == "small"]
    heads = [h for h in HEADS if any(h in r["losses"] for r in small)]
    heads += sorted({name for r in small for name in r["losses"] if name.startswith("dynamics_")})
    called = [e.record for e in events if e.record["game"] == game and e.record["type"] in FALLS]
    strata = list(dict.fromkeys((e["head"], e["stratum"]) for e in called if e["stratum"] != "all"))[:STRATA_PANELS]
    found = []
    for head, stratum in [(head, "all") for head in heads] + strata:
        falls = [
            (max(e["step"] - added[game], 1), e["effect"]["value"], e["effect"]["width_decades"] / WIDTH)
            for e in called
            if (e["head"], e["stratum"]) == (head, stratum) and e["effect"]["value"] and e["effect"]["width_decades"]
        ]
        curve = _curve(game, head, stratum, small, added, falls, config)
        if len(curve.since):
            found.append(curve)
    return found


def _curve(
    game: str, head: str, stratum: str, small: Sequence[dict], added: dict[str, int],
    falls: Sequence[tuple[float, float, float]], config: MonitorConfig,
) -> Curve:  # fmt: skip
    watch, points = Watch(), []
    for record in small:
        part = record["losses"].get(head) or {}
        part = part if stratum == "all" else (part.get("strata") or {}).get(stratum) or {}
        if part.get("mean") is None or record["since"] <= 0:
            continue
        points.append((record["since"], part["mean"]))
        watch.add(record["since"], record["update"], part["mean"], config)  # the points that the scan judges
    since, loss = np.array(points, float).reshape(-1, 2).T
    floor = max(config.loss_floor, 1e-300)
    later = [update - added[game] for update in added.values() if update > added[game]]
    try:
        null, why = smooth_null(*watch.series(), later, falls), ""
    except ValueError as error:
        null, why = None, str(error)
    return Curve(game, head, stratum, since, np.maximum(loss, floor), floor, null, why)


# -- figure 1 -----------------------------------------------------------------------------------------------------


def loss_panels(
    game: str, curves: Sequence[Curve], losses: Sequence[dict], ledger: Sequence[dict], events: Sequence[Marked]
) -> list[Picture]:
    """Frozen losses of one game against updates since its introduction, log-log, with the null's bands: its heads, its
    dynamics, and each stratum in which a fall was called."""
    mine = [c for c in curves if c.game == game]
    groups = [
        ("heads", [c for c in mine if c.stratum == "all" and c.head in HEADS]),
        ("dynamics", [c for c in mine if c.stratum == "all" and c.head not in HEADS]),
    ]
    groups += [(f"{c.head}-{c.stratum}", [c]) for c in mine if c.stratum != "all"]
    return [_loss_panel(game, group, some, losses, ledger, events) for group, some in groups if some]


def _loss_panel(
    game: str, group: str, curves: Sequence[Curve], losses: Sequence[dict], ledger: Sequence[dict],
    events: Sequence[Marked],
) -> Picture:  # fmt: skip
    figure, axes = figures.panel()
    for curve in curves:
        _draw_curve(axes, curve, losses, *_look(curve.head, len(curves)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    title = f"{game}: {group if len(curves) > 1 or group in ('heads', 'dynamics') else curves[0].name}"
    figures.label(axes, "updates since the introduction", "frozen loss [nat]", title)
    introduced = next(e["update"] for e in ledger if e["kind"] == "game_added" and e["game"] == game)
    shown = {(c.head, c.stratum) for c in curves}
    marked = _marks(axes, introduced, ledger, [
        e for e in events
        if e.record["game"] == game
        and ((e.record["head"], e.record["stratum"]) in shown
             or (e.record["head"] in {h for h, _ in shown} and _has_no_panel(e.record, group)))
    ])  # fmt: skip
    figures.legend(axes, 2)
    figures.log(axes.xaxis)
    figures.log(axes.yaxis)
    return Picture(f"loss-{slug(game)}-{slug(group)}", title, _loss_caption(group, curves), figure, marked)


def _has_no_panel(event: dict[str, Any], group: str) -> bool:
    """Of a stratum, but no fall: it is marked on the curve of all positions."""
    return event["stratum"] != "all" and event["type"] not in FALLS and group in ("heads", "dynamics")


def _loss_caption(group: str, curves: Sequence[Curve]) -> str:
    if group == "heads":
        words = "Loss of each head on the game's frozen positions."
    elif group == "dynamics":
        words = "Summed loss of all heads after 1 to 5 moves imagined by the learned model."
    else:
        words = f"The series {curves[0].name} alone, for a fall was called in it."
    with_null = [c for c in curves if c.null is not None]
    if with_null:
        parts = ", ".join(f"{c.name} {c.null.outside:.0%}" for c in with_null if c.null is not None)
        words += f" Null: the shaded bands of smooth learning; outside them lie {parts} of the points (5 % by chance)."
    without = [c for c in curves if c.null is None]
    if without:
        words += f" No null for {', '.join(c.name for c in without)}: {without[0].no_null}."
    return words


def _look(head: str, count: int) -> tuple[Any, Any]:
    """Colour and dash of a line: each head its own everywhere, dynamics from dark (one move) to light (`count`)."""
    if head in HEADS:
        return PALETTE[HEADS.index(head)], STYLES[HEADS.index(head)]
    number = int(head.rpartition("_")[2]) - 1
    return matplotlib.colormaps["viridis"](0.85 * number / max(count - 1, 1)), "-"


def _draw_curve(axes: Axes, curve: Curve, losses: Sequence[dict], colour: Any, style: Any) -> None:
    """The band of the null, the dense line of one series, and dots for the whole frozen set."""
    null = curve.null
    if null is not None:
        figures.band(
            axes,
            null.steps,
            np.maximum(null.low, curve.floor),
            np.maximum(null.high, curve.floor),
            colour,
            f"null-{slug(curve.head)}",
            0.2,
        )
    axes.plot(curve.since, curve.loss, color=colour, linestyle=style, linewidth=1.4, label=curve.name)
    if curve.stratum != "all":
        return
    whole = [(r["since"], (r["losses"].get(curve.head) or {}).get("mean")) for r in losses if r["subset"] == "full"]
    whole = [(since, mean) for since, mean in whole if since > 0 and mean is not None]
    if whole:
        x, y = np.array(whole, float).T
        axes.plot(x, np.maximum(y, curve.floor), "o", color=colour, markersize=4, markeredgecolor="white")


def _marks(axes: Axes, introduced: int, ledger: Sequence[dict], events: Sequence[Marked]) -> tuple[int, ...]:
    """Introductions of later games (dashed, named), other ledger entries (ticks), events (triangles)."""
    left, right = axes.get_xlim()
    joined = [e for e in ledger if e["kind"] == "game_added" and e["update"] > introduced]
    figures.introductions(axes, [(e["update"] - introduced, e["game"]) for e in joined])
    for entry in ledger:
        since = entry["update"] - introduced
        if entry["confounder"] and entry["kind"] != "game_added" and left < since < right:
            tick = axes.plot([since], [0.015], "|", transform=axes.get_xaxis_transform(), color=RED, markersize=9)
            tick[0].set_gid(f"ledger-{entry['seq']}")
    axes.set_xlim(left, right)
    return figures.event_marks(axes, [(e.record["step"] - introduced, e) for e in events])


# -- figure 2 -----------------------------------------------------------------------------------------------------


def leading_head(curves: Sequence[Curve]) -> str:
    """Which head stands for a game where only one is drawn: policy where there is a solver, else one imagined move."""
    heads = {c.head for c in curves}
    return "policy" if "policy" in heads else "dynamics_1" if "dynamics_1" in heads else min(heads, default="")


def aligned_panels(
    games: Sequence[str], curves: Sequence[Curve], added: dict[str, int], events: Sequence[Marked]
) -> list[Picture]:
    """For each game: log loss after its own introduction less its first value, with the null and what was called."""
    pictures = []
    for number, game in enumerate(games):
        mine = [c for c in curves if c.game == game and c.stratum == "all"]
        chosen = [c for c in mine if c.head == leading_head(mine)]
        if not chosen or len(chosen[0].since) < 3:
            continue
        curve, colour = chosen[0], PALETTE[number % len(PALETTE)]
        figure, axes = figures.panel()
        y = np.log(curve.loss)
        first, caption = y[0], f"Logarithm of the loss ({curve.name}) less its first value; above 0 it rose."
        if curve.null is not None:
            null = curve.null
            low, middle, high = (
                np.log(np.maximum(part, curve.floor)) - first for part in (null.low, null.middle, null.high)
            )
            figures.band(axes, null.steps, low, high, NULL, "null-band", 0.22)
            line = axes.plot(null.steps, middle, color=NULL, linewidth=1, linestyle="--", label="smooth learning")
            line[0].set_gid("null-middle")
            caption += " Null: smooth learning fitted to it, with the band of 95 % of single points."
        else:
            figures.level(axes, 0.0, NULL, "null-unchanged", "no change")
            caption += f" Null: no change; smooth learning could not be fitted ({curve.no_null})."
        axes.plot(curve.since, y - first, color=colour, linewidth=1.4, label=f"{game}: {curve.name}")
        axes.set_xscale("log")
        own = [e for e in events if e.record["game"] == game and e.record["head"] == curve.head]
        flat = [e for e in own if e.record["type"] == "plateau" and e.record["effect"]["value"]]
        for event in flat:
            begin = max(event.record["step"] - added[game], 1)
            end = begin * 10 ** event.record["effect"]["value"]
            axes.axvspan(begin, end, ymax=0.03, color="#B8860B", alpha=0.9).set_gid(f"plateau-{event.number}")
        _span(axes)
        figures.label(axes, f"updates since {figures.shortened(game, 30)} joined", "change of log loss", game)
        figures.introductions(axes, [(u - added[game], g) for g, u in added.items() if u > added[game]])
        marked = figures.event_marks(axes, [(e.record["step"] - added[game], e) for e in own])
        figures.legend(axes, loc="lower left")
        figures.log(axes.xaxis)
        caption += " Golden bar: plateau." if flat else ""
        pictures.append(Picture(f"aligned-{slug(game)}", f"{game} after it joined", caption, figure, marked))
    return pictures


def _span(axes: Axes) -> None:
    """At least 0.2 nat from bottom to top, so that noise does not look like an event."""
    low, high = axes.get_ylim()
    if high - low < 0.2:
        axes.set_ylim((low + high) / 2 - 0.1, (low + high) / 2 + 0.1)


def change_panels(
    games: Sequence[str], losses: Sequence[dict], config: MonitorConfig, added: dict[str, int], events: Sequence[Marked]
) -> list[Picture]:
    """For each introduction, what it did to the games that were there before, as a paired change in nats."""
    pictures = []
    for newcomer in games[1:]:
        figure, axes = figures.panel()
        shown: dict[str, str] = {}
        for number, game in enumerate(games):
            mine = [
                r for r in losses
                if r["game"] == game and r["latest"] == newcomer and r["subset"] == "small"
                and r["since"] > r["since_latest"] > 0
            ]  # fmt: skip
            head = "policy" if any("policy" in r["losses"] for r in mine) else "dynamics_1"
            points = [(r["since_latest"], (r["losses"].get(head) or {}).get("change")) for r in mine]
            points = [(s, c["mean"], c["se"]) for s, c in points if c and c["mean"] is not None and c["se"] is not None]
            if len(points) < 2:
                continue
            x, mean, error = np.array(points, float).T
            colour = PALETTE[number % len(PALETTE)]
            figures.band(axes, x, mean - 1.96 * error, mean + 1.96 * error, colour)
            axes.plot(x, mean, color=colour, linewidth=1.5, label=f"{game}: {head.replace('_', ' ')}")
            shown[game] = head
        if not shown:
            continue
        axes.set_xscale("log")
        figures.level(axes, 0.0, NULL, "null-unchanged", "no change", "-")
        figures.level(axes, config.forgetting_nats, RED, "threshold")
        title = f"the old games after {newcomer} joined"
        figures.label(axes, f"updates since {newcomer} joined", "change of frozen loss [nat]", title)
        after = [
            e for e in events
            if e.record["game"] in shown and e.record["type"] in ("forgetting", "rise")
            and e.record["trigger"] == f"add:{newcomer}"
        ]  # fmt: skip
        marked = figures.event_marks(axes, [(e.record["step"] - added[newcomer], e) for e in after])
        figures.legend(axes)
        figures.log(axes.xaxis)
        caption = (
            f"Games that were there before {newcomer}. Null: no change (the line at 0). Red dashes: "
            f"{config.forgetting_nats:g} nat, from where forgetting is called. Events of all heads are marked."
        )
        pictures.append(Picture(f"change-after-{slug(newcomer)}", f"after {newcomer} joined", caption, figure, marked))
    return pictures


# -- health -------------------------------------------------------------------------------------------------------


def health_panels(
    games: Sequence[str], health: Sequence[dict], ledger: Sequence[dict], events: Sequence[Marked]
) -> list[Picture]:
    """Effective rank and dormant share of each game's latents against the run's updates."""
    wanted = (
        ("effective_rank", "effective rank", "exp of the entropy of the latents' singular values (Roy and Vetterli)."),
        ("dormant", "dormant units", "Share of units that are nearly silent on the game's positions (Sokar et al.)."),
    )
    pictures = []
    for field, name, caption in wanted:
        figure, axes = figures.panel(height=3.1)
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
        figures.label(axes, "updates of the run", "", name)
        crossed = {"effective_rank": "effective_rank_ratio", "dormant": "dormant_rise"}[field]
        own = [e for e in events if e.record["type"] == "health" and e.record["effect"]["name"] == crossed]
        marked = figures.event_marks(axes, [(e.record["step"], e) for e in own])
        figures.legend(axes)
        pictures.append(Picture(f"health-{field.replace('_', '-')}", name, caption, figure, marked))
    return pictures
