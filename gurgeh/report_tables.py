"""The tables of a report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gurgeh import report_html as html
from gurgeh.figures import Marked
from gurgeh.report_data import CALLED, RunData
from monitor.events import standing
from monitor.forgetting import backward_transfer, loss_matrix


def evaluation_table(run: RunData, output: Path) -> str:
    """The newest evaluation of each game against each opponent; else the last short one of training."""
    newest = {(content["game"], tuple(content["players"])): (file, content) for file, content in run.evaluations}
    if not newest:
        if run.short is None:
            return html.words("This run was not evaluated; <code>gurgeh evaluate RUN</code> does it.", raw=True)
        rows = [
            [game, name.replace("_", " "), html.number(value)]
            for game, scores in run.short["games"].items() for name, value in scores.items()
        ]  # fmt: skip
        words = (
            f"Only the short evaluations during training are there; this is the one at update {run.short['update']:,}."
        )
        return html.words(words) + html.table(["game", "measure", "value"], rows)
    rows = []
    order = {game: number for number, game in enumerate(run.games)}
    for file, content in sorted(newest.values(), key=lambda pair: order.get(pair[1]["game"], len(order))):
        summary, players = content["summary"], content["players"]
        records = file.with_name(content["records"])
        link = f'<a href="{escape(os.path.relpath(records, output))}">episodes</a>' if records.exists() else "missing"
        rows.append([
            content["game"],
            ", ".join(players[1:]) or "alone",
            html.interval(summary.get("score") or summary["return"], percent="score" in summary),
            html.interval(summary["return"]) if "score" in summary else "",
            f"{summary['optimal']:.2%} of {summary['positions']:,}" if "optimal" in summary else "",
            f"{summary['episodes']:,}",
            "" if content["step"] is None else f"{content['step']:,}",
            html.Raw(link),
        ])  # fmt: skip
    words = (
        "Score: wins and half the draws, or the mean return of a game for one; brackets are 95 % intervals over "
        "episodes. Optimal: the share of all positions (in large games of a sample) where the chosen move is one of "
        "the best. Episodes can be watched and verified: <code>gurgeh replay FILE</code>."
    )
    names = ["game", "against", "score", "return", "optimal moves", "episodes", "checkpoint", "records"]
    return html.words(words, raw=True) + html.table(names, rows)


def stage_table(run: RunData) -> str:
    """Full frozen loss of each game when its stage ended and at the end of the run, with GEM's backward transfer."""
    records = sorted([*run.ledger, *run.losses], key=lambda record: record["seq"])
    series = list(dict.fromkeys(name for record in run.losses for name in record["losses"]))
    rows, transfers = [], []
    for name in series:
        games, matrix = loss_matrix(records, name)
        now = matrix[-1]
        known = [i for i in range(len(games)) if np.isfinite(matrix[i, i]) and np.isfinite(now[i])]
        old = [i for i in known if not np.array_equal(matrix[i], now, equal_nan=True)]
        for i in old:
            rows.append(
                [games[i], name, html.number(matrix[i, i]), html.number(now[i]), f"{now[i] - matrix[i, i]:+.3g}"]
            )
        if old:
            square = matrix[np.ix_([*old, len(games) - 1], [*old, len(games) - 1])]
            transfers.append(f"{name} {backward_transfer(square, higher_is_better=False):+.3g}")
    if not rows:
        return html.words("The losses at the end of the run are not there yet, so backward transfer is not known.")
    rows.sort(key=lambda row: (run.games.index(row[0]), series.index(row[1])))
    words = (
        "The whole frozen set, when the next game joined and at the end of the run. Backward transfer (GEM) is the "
        f"mean improvement over the old games, in nats, negative where they got worse: {', '.join(transfers)}."
    )
    names = ["game", "series", "when the next joined", "at the end", "change"]
    return html.words(words) + html.fold("Frozen losses of the old games, then and now", html.table(names, rows))


def event_table(run: RunData, places: Mapping[int, Sequence[tuple[str, str]]]) -> str:
    """What stands of the events with links to the figures; alarms that came to nothing are folded away, not left out.

    places: number of an event -> (id on the page, short name) of each picture in which it is marked.
    """
    called = run.called
    rest = [event for event in standing(run.events) if event["status"] not in CALLED]
    words = (
        "Forgetting: a frozen loss at least 0.10 nat above its value at the last introduction, paired 95 % bound above "
        "0, for 0.15 decade; without correction for the number of heads and games. Drop: a sudden fall of at least "
        "0.10 nat and 5 standard deviations of the noise within a quarter of a decade, which held for 0.15 decade and "
        "which no mixture of decays explains (p against surrogates of the fitted null; q corrected over all series of "
        "the run by Benjamini and Hochberg). Breakthrough: a drop that ends a plateau. Sharing onset: two pillars "
        "above every null at three checkpoints in a row. Confounded: another entry of the ledger lies within 0.05 "
        "decade. Suspended: the representation was not healthy. docs/monitor.md has the definitions and what was "
        "measured of their errors."
    )
    nothing = (
        "No rise, fall, forgetting or sharing was confirmed and no representation collapsed, by those definitions."
    )
    parts = [html.words(words), _events(called, places) if called else html.words(nothing)]
    if rest:
        parts.append(
            html.fold(
                f"{len(rest)} alarms that were rejected, or not decided when the run ended",
                _events([Marked(0, "", event) for event in rest], {}),
            )
        )
    return "".join(parts)


def _events(events: Sequence[Marked], places: Mapping[int, Sequence[tuple[str, str]]]) -> str:
    rows = []
    for marked in events:
        event = marked.record
        effect, test = event["effect"], event["test"]
        size = _interval(effect["value"], effect["ci95"]) if effect.get("ci95") else html.number(effect["value"])
        near = ", ".join(f"{entry['kind']} at {entry['update']:,}" for entry in event["confounders"])
        game = event["game"] if event["type"] != "sharing_onset" else f"{event['game']} and {event['other_game']}"
        seen = places.get(marked.number, ())
        where = (event["head"] or "").replace("_", " ")
        where += f" ({event['stratum']})" if event["stratum"] != "all" else ""
        p, q = (html.number(test.get(name)) for name in ("p", "q_bh"))
        rows.append([
            marked.number or "", f"{event['step']:,}", event["type"].replace("_", " "), event["status"], game, where,
            f"{effect['name'].replace('_', ' ')} {size}", _null_of(event), p, q,
            html.Raw(", ".join(html.link(anchor, name) for anchor, name in seen) or "none"),
            (event["trigger"] or "").replace(":", " ", 1), near,
        ])  # fmt: skip
    names = ["no.", "update", "type", "status", "game", "head", "size", "null", "p", "q", "figures", "after",
             "confounders"]  # fmt: skip
    anchors = [marked.anchor for marked in events] if events and events[0].anchor else ()
    return f'<div class="events">{html.table(names, rows, anchors)}</div>'


NULLS = {  # of events whose records name none
    "health": "its own reference",
    "sharing_onset": "the worst of its nulls",
}


def _null_of(event: dict[str, Any]) -> str:
    """What the event was held against, in few words."""
    said = event["test"].get("null") or NULLS.get(event["type"], "")
    if said.startswith("a non-negative mixture of decays"):
        return "smooth learning"
    if said.startswith("no change of the loss"):
        return "no change"
    return said if len(said) <= 60 else said[:57] + "..."


def ledger_table(run: RunData) -> str:
    rows = []
    for entry in run.ledger:
        before, after = (_short(entry["kind"], entry[key]) for key in ("before", "after"))
        confounds = "yes" if entry["confounder"] else "no"
        rows.append([f"{entry['update']:,}", f"{entry['env_steps']:,}", entry["kind"].replace("_", " "),
                     entry["game"] or "", before, after, confounds, entry["note"]])  # fmt: skip
    names = ["update", "environment steps", "what", "game", "before", "after", "can fake an event", "note"]
    return html.table(names, rows)


def _short(kind: str, value: Any) -> str:
    """What a ledger entry says of before or after, in few words."""
    if value is None or kind in ("start", "monitor_config"):  # the configuration is below
        return ""
    if kind == "game_added":
        return f"frozen set {value['frozen_set'][:12]}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _interval(value: float, bounds: list[float]) -> str:
    return html.interval({"mean": value, "low": bounds[0], "high": bounds[1]})
