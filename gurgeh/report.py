"""The report: one self-contained HTML page made from the records of runs, and from nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from gurgeh import report_html as html
from gurgeh import report_study as study
from gurgeh import report_tables as tables
from gurgeh.figures import Picture
from gurgeh.report_data import RunData, read_run
from gurgeh.report_exhibits import MATRIX_WORDS, Exhibit, guarded, run_exhibits
from gurgeh.report_losses import health_panels
from gurgeh.report_search import read_arenas
from gurgeh.report_style import CSS
from gurgeh.report_transfer import no_savings, savings_panels

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing from anywhere, for it holds all that it shows."""

Address = Callable[[Picture, str], str] | None


@dataclasses.dataclass(frozen=True)
class Options:
    """What is asked for beside the runs themselves."""

    output: Path | None = None  # folder of the page; None: RUN/report, of several runs report-NAMES beside them
    figures: Path | None = None  # where each figure is also written as SVG and PNG; None: nowhere
    arenas: tuple[Path, ...] = ()  # reports of arenas, or folders of them, for figure 8
    records: tuple[Path, ...] = ()  # files of records over several runs, for figures 4 to 7
    falls: bool = False  # look for sudden falls where a run did not


@dataclasses.dataclass(frozen=True)
class Section:
    """What is shown of one run, or of all together (run None), drawn before any of it is written."""

    run: RunData | None
    exhibits: list[Exhibit]
    health: tuple[Picture, ...] = ()

    @property
    def prefix(self) -> str:
        return self.run.prefix if self.run else ""

    @property
    def pictures(self) -> list[Picture]:
        return [picture for part in self.exhibits for picture in part.all_pictures] + [*self.health]


def write_report(paths: Sequence[Path], output: Path | None = None, options: Options | None = None) -> Path:
    """Write index.html; the path of the page.

    A report is made from records and can be made again, so an older one in its place is replaced.
    """
    options = options or Options(output=output)
    several = len(paths) > 1
    arenas, problems = read_arenas(options.arenas)
    records, unread = study.read_records(options.records)
    runs = [
        read_run(path, options.falls, prefix=f"r{number}-" if several else "") for number, path in enumerate(paths, 1)
    ]
    made = study.together_of(runs)
    runs = [
        dataclasses.replace(run, sharing=[*run.sharing, *made.sharing.get(run.path.resolve().name, ())]) for run in runs
    ]
    records = [*made.records, *records]
    folder = options.output or output or default_folder(paths)
    folder.mkdir(parents=True, exist_ok=True)
    together = Section(None, _study(records, arenas))
    shown = [run for run in runs if not run.adaptation]
    if several and len(shown) > MOST_SECTIONS:
        shown = []
    sections = [_draw(run) for run in (shown if several else runs)]
    if not several:  # the eight figures of one run stand in one row
        sections = [_with_study(sections[0], together)]
    drawn = [*sections, together] if several else sections
    address = None
    if options.figures is not None:
        address = _write_figures([p for section in drawn for p in section.pictures], options.figures, folder)
    body = [html.notice([*problems, *unread, *made.problems], "What could not be read or compared")]
    if several:
        body.append(_together(runs, together, records, made.events, bool(sections), address))
    body += [_section(section, folder, address, records) for section in sections]
    title = ", ".join(run.path.resolve().name for run in runs[:4]) + (" ..." if len(runs) > 4 else "")
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)} · Gurgeh report</title><style>{CSS}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    index = folder / "index.html"
    _replace(index, page.encode())
    return index


def default_folder(paths: Sequence[Path]) -> Path:
    """Where the report of these runs goes unless it is said."""
    if len(paths) == 1:
        return paths[0] / "report"
    names = "-".join(path.resolve().name for path in paths)
    return paths[0].resolve().parent / f"report-{names if len(names) <= 100 else f'{len(paths)}-runs'}"


def _replace(path: Path, content: bytes) -> None:
    """Write aside and rename, so that nobody reads half a page."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    os.replace(aside, path)


def _write_figures(pictures: Sequence[Picture], place: Path, page: Path) -> Address:
    """Each picture as SVG and PNG in `place`; where they lie, seen from the page."""
    place.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        _replace(place / f"{picture.name}.svg", picture.svg.encode())
        _replace(place / f"{picture.name}.png", picture.png())
    seen = os.path.relpath(place.resolve(), page.resolve())
    return lambda picture, kind: f"{seen}/{picture.name}.{kind}"


def _draw(run: RunData) -> Section:
    """All pictures of one run, their names unique on the page."""
    health = guarded(
        3, lambda: Exhibit(3, pictures=tuple(health_panels(run.games, run.health, run.ledger, run.called)))
    )
    pictures = _renamed(health, run.prefix).pictures
    return Section(run, [_renamed(part, run.prefix) for part in run_exhibits(run)], pictures)


def _study(records: Sequence[Mapping], arenas: Sequence[dict]) -> list[Exhibit]:
    """Figures 5 to 8, and before them the savings, which belong to figure 4."""
    savings = guarded(
        4, lambda: Exhibit(4, *MATRIX_WORDS, tuple(savings_panels(records)), missing=tuple(no_savings(records)))
    )
    return [savings, *study.study_exhibits(records, arenas)]


def _with_study(section: Section, together: Section) -> Section:
    """The eight figures of one run and of what was measured beside it, in one row."""
    exhibits = list(section.exhibits)
    own, savings = exhibits[3], together.exhibits[0]
    pictures, missing = (*own.pictures, *savings.pictures), (*own.missing, *savings.missing)
    if not own.words:  # it could not be drawn, but savings may be
        own = dataclasses.replace(own, words=savings.words, null=savings.null, limits=savings.limits)
    if not savings.pictures and not savings.missing:
        missing = (*missing, NO_SAVINGS)
    exhibits[3] = dataclasses.replace(own, pictures=pictures, missing=missing)
    return dataclasses.replace(section, exhibits=[*exhibits, *together.exhibits[1:]])


NO_SAVINGS = (
    "Savings from game to game need runs that learn each held-out game from scratch and from single games, at least 3 "
    "seeds of each (gurgeh adapt)."
)
MOST_SECTIONS = 6  # runs that have all their own figures on a page of several


def _renamed(shown: Exhibit, prefix: str) -> Exhibit:
    pictures, folded = (
        tuple(picture.named(f"{prefix}{picture.name}") for picture in group) for group in (shown.pictures, shown.folded)
    )
    return dataclasses.replace(shown, pictures=pictures, folded=folded)


def _together(
    runs: Sequence[RunData], together: Section, records: Sequence[Mapping], events: Sequence[Mapping], linked: bool,
    address: Address,
) -> str:  # fmt: skip
    """What several runs show together, as HTML."""
    parts = [
        f"<header><h1>{len(runs)} runs</h1></header>",
        html.part("The runs", study.runs_table(runs, linked)),
        html.part("Events over the runs", study.onsets_table(events) + study.events_over_runs(runs)),
    ]
    if not linked:
        many = sum(not run.adaptation for run in runs) > MOST_SECTIONS
        words = f"These are over {MOST_SECTIONS} runs, so that the" if many else "The"
        parts.append(html.words(f"{words} figures of each run are on its own page: gurgeh report RUN."))
    sharing = study.sharing_over_runs(runs)
    if sharing:
        parts.append(html.part("Sharing over the runs", sharing))
    parts += [
        _exhibit(shown, "", address, records)
        for shown in together.exhibits
        if shown.number > 4 or shown.pictures or shown.missing
    ]
    return "".join(parts)


def _exhibit(shown: Exhibit, prefix: str, address: Address, records: Sequence[Mapping], extra: str = "") -> str:
    return html.exhibit(shown, prefix, address, extra + (study.aggregates(records) if shown.number == 5 else ""))


def _section(section: Section, folder: Path, address: Address, records: Sequence[Mapping]) -> str:
    """Everything about one run, as HTML."""
    run, places = section.run, _places(section)
    assert run is not None, "a section is of a run"
    parts = [
        _head(run),
        html.notice(run.problems, "What could not be read, and is left out"),
        html.part("Figures", _index(section), f"{run.prefix}figures"),
        html.part("How well it plays", _safe(lambda: tables.evaluation_table(run, folder))),
        html.part("Events", _safe(lambda: tables.event_table(run, places)), f"{run.prefix}events"),
    ]
    for shown in section.exhibits:
        several = shown.number == 2 and len(run.games) > 1
        extra = _safe(lambda: tables.stage_table(run)) if several else ""
        parts.append(_exhibit(shown, run.prefix, address, records, extra))
    parts += [
        html.part(
            "Health of the representation",
            html.words(
                "If the effective rank of a game falls by over 20 % or dormant units rise by over 5 points, claims "
                "that representations are shared are suspended: collapse fakes sharing. Old games are judged "
                "against the last introduction, the newest one against its state 500 updates (10 s_min) after it."
            )
            + (html.grid(section.health, run.prefix, address)
               or html.words("Nothing was recorded for this yet.")),
        ),
        html.part(
            "Ledger",
            html.words("Every discontinuity of training that could fake an event. Smooth schedules are no entries.")
            + _safe(lambda: tables.ledger_table(run)),
        ),
        html.part("What this page does not show", html.words(NOT_SHOWN)),
        _details(run),
    ]  # fmt: skip
    return "".join(parts)


def _safe(build: Callable[[], str]) -> str:
    """A piece of the page, or a sentence in its place: one damaged record must not cost the whole page."""
    try:
        return build()
    except Exception as error:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        return html.words(f"This could not be made from these records ({what}).")


NOT_SHOWN = (
    "A steep piece of a curve above that is not among the events is no evidence of a sudden fall, and a low measure of "
    "sharing is no evidence that nothing is shared. One run is one seed: intervals are over positions or episodes, not "
    "over repetitions of training. What a figure lacks is said in its place, with what would be needed."
)


def _places(section: Section) -> Mapping[int, Sequence[tuple[str, str]]]:
    """Number of an event -> (id, short name) of each picture in which it is marked."""
    found: dict[int, list[tuple[str, str]]] = {}
    for part in section.exhibits:
        for picture in part.all_pictures:
            for number in picture.marked:
                found.setdefault(number, []).append((html.anchor_of(picture), str(part.number)))
    for picture in section.health:
        for number in picture.marked:
            found.setdefault(number, []).append((html.anchor_of(picture), "health"))
    return found


def _index(section: Section) -> str:
    """What is on the page of the eight figures, and why the rest is not."""
    rows = []
    for shown in section.exhibits:
        count = len(shown.all_pictures)
        what = f"{count} picture{'s' if count != 1 else ''}" if count else "not here: " + " ".join(shown.missing)
        rows.append([shown.number, html.link(f"{section.prefix}figure-{shown.number}", shown.title), what])
    return f'<div class="index">{html.table(["figure", "", "what is here"], rows)}</div>'


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
    return f'<header id="{run.prefix}top"><h1>{escape(run.path.resolve().name)}</h1><dl>{rows}</dl></header>'


def _details(run: RunData) -> str:
    config = escape(json.dumps(run.config, indent=1))
    versions = escape(json.dumps(run.versions, indent=1))
    return html.part("Configuration", html.fold("Resolved configuration", f"<pre>{config}</pre>")
                 + html.fold("Versions", f"<pre>{versions}</pre>"))  # fmt: skip
