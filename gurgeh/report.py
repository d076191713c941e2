"""The report: one self-contained HTML page made from a run's records, and from nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from gurgeh import report_html as html
from gurgeh import report_tables as tables
from gurgeh.figures import Picture, change_panels, health_panels, loss_panels
from gurgeh.report_data import RunData, read_run
from gurgeh.report_style import CSS
from monitor.config import MonitorConfig
from monitor.events import standing


def write_report(paths: Sequence[Path], output: Path | None = None) -> Path:
    """Write index.html, and each figure as SVG and PNG under figures/; the path of the page.

    A report is made from records and can be made again, so an older one in its place is replaced.
    """
    runs = [read_run(path) for path in paths]
    if output is None:
        names = "-".join(path.resolve().name for path in paths)
        output = paths[0] / "report" if len(paths) == 1 else paths[0].resolve().parent / f"report-{names}"
    (output / "figures").mkdir(parents=True, exist_ok=True)
    body = []
    for number, run in enumerate(runs):
        prefix = f"{number + 1}-" if len(runs) > 1 else ""
        pictures = _pictures(run)
        for name, picture in ((f"{prefix}{p.name}", p) for group in pictures.values() for p in group):
            _replace(output / "figures" / f"{name}.svg", picture.svg.encode())
            _replace(output / "figures" / f"{name}.png", picture.png())
        body.append(_section(run, pictures, output, prefix))
    title = ", ".join(run.path.resolve().name for run in runs)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)} · Gurgeh report</title><style>{CSS}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    index = output / "index.html"
    _replace(index, page.encode())
    return index


def _replace(path: Path, content: bytes) -> None:
    """Write aside and rename, so that nobody reads half a page."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    os.replace(aside, path)


def _pictures(run: RunData) -> dict[str, list[Picture]]:
    """The pictures of a run by part of the page."""
    by_game = {game: [r for r in run.losses if r["game"] == game] for game in run.games}
    config = dataclasses.asdict(MonitorConfig()) | dict(run.config.get("monitor") or {})
    events = [e for e in standing(run.events) if e["status"] in ("confirmed", "confounded") and e["stratum"] == "all"]
    return {
        "losses": [p for game in run.games for p in loss_panels(game, by_game[game], run.ledger, events)],
        "changes": change_panels(run.games, run.losses, config),
        "health": health_panels(run.games, run.health, run.ledger),
    }


def _section(run: RunData, pictures: dict[str, list[Picture]], output: Path, prefix: str) -> str:
    """Everything about one run, as HTML."""
    parts = [
        _head(run),
        html.part("How well it plays", tables.evaluation_table(run, output)),
        html.part(
            "Loss of each game",
            html.words(
                "Measured on positions that are fixed when a game joins and never change, with the averaged (EMA) "
                f"weights. {_target_words(run)} Both axes are logarithmic. Lines: the first {_size(run, 'small')} "
                f"positions; dots: the whole set, at introductions and at the end. Dashed verticals: another game "
                "joined; red ticks: another entry of the ledger; triangles: events on all positions of a head, "
                "such as forgetting or a fall (hollow: confounded), named in the table of events. "
                "Losses under 0.0001 nat are drawn at 0.0001."
            )
            + html.grid(pictures["losses"], prefix),
        ),
    ]
    if len(run.games) > 1:
        parts.append(
            html.part(
                "What each new game did to the old ones",
                html.words(
                    "Difference of the frozen loss, position by position, from its value when the new game joined; "
                    "bands are 95 % intervals over positions. Policy loss where there is a solver, else the summed "
                    "loss after one imagined move. Above the dashed line for 0.15 decade, with the band above 0, "
                    "is called forgetting; below 0 is further learning, for old games stay in training."
                )
                + html.grid(pictures["changes"], prefix)
                + tables.stage_table(run),
            )
        )
    parts += [
        html.part(
            "Health of the representation",
            html.words(
                "If the effective rank of a game falls by over 20 % or dormant units rise by over 5 points, claims "
                "that representations are shared would be suspended: collapse fakes sharing. Old games are judged "
                "against the last introduction, the newest one against its state 500 updates (10 s_min) after it."
            )
            + html.grid(pictures["health"], prefix),
        ),
        html.part("Events", tables.event_table(run)),
        html.part(
            "Ledger",
            html.words("Every discontinuity of training that could fake an event. Smooth schedules are no entries.")
            + tables.ledger_table(run),
        ),
        html.part("What this page does not show", html.words(NOT_SHOWN)),
        _details(run),
    ]
    return "".join(parts)


NOT_SHOWN = (
    "A steep piece of a curve above that is not among the events is no evidence of a sudden fall. "
    "Nothing here says whether games share representations, nor whether unseen games are learnt faster. One run is "
    "one seed: intervals are over positions or episodes, not over repetitions of training."
)


def _head(run: RunData) -> str:
    last, versions = run.last, run.versions
    seconds = ((run.metrics or {}).get("time") or {}).get("seconds")
    facts = {
        "updates": f"{last['update']:,}",
        "environment steps": f"{last['env_steps']:,}",
        "training time": "unknown" if seconds is None else f"{seconds / 60:,.1f} minutes",
        "seed": run.config.get("seed", "unknown"),
        "games, in order": ", ".join(run.games) or "none",
        "machine": " ".join(str(versions[key]) for key in ("system", "machine") if key in versions) or "unknown",
        "versions": ", ".join(f"{name} {versions[name]}" for name in ("gurgeh", "torch", "python") if name in versions),
    }
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    return f"<header><h1>{escape(run.path.resolve().name)}</h1><dl>{rows}</dl></header>"


def _target_words(run: RunData) -> str:
    solved = list(dict.fromkeys(r["game"] for r in run.losses if r["targets"] != "none"))
    others = [game for game in run.games if game not in solved]
    words = []
    if solved:
        words.append(f"For {', '.join(solved)} a solver says which moves are optimal and what a position is worth.")
    if others:
        words.append(
            f"For {', '.join(others)} nothing does, so that there is no policy and no value loss: reward, continuation "
            "and the mover alone are judged, on positions from random play."
        )
    return " ".join(words)


def _size(run: RunData, subset: str) -> str:
    sizes = sorted({record["positions"] for record in run.losses if record["subset"] == subset})
    return " or ".join(map(str, sizes)) or "few"


def _details(run: RunData) -> str:
    config = escape(json.dumps(run.config, indent=1))
    versions = escape(json.dumps(run.versions, indent=1))
    return html.part("Configuration", html.fold("Resolved configuration", f"<pre>{config}</pre>")
                 + html.fold("Versions", f"<pre>{versions}</pre>"))  # fmt: skip
