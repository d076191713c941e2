"""What a set of runs shows together: figures 5 to 8, savings, and tables over seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gurgeh import report_html as html
from gurgeh.report_data import RunData
from gurgeh.report_exhibits import Exhibit, guarded, search
from gurgeh.report_scale import probability_panels, scaling_panels
from gurgeh.report_transfer import aggregate_rows, transfer_panels
from monitor.records import AGGREGATE, ARCHITECTURES, MATRIX, PROBABILITY, SCALING, TRANSFER, validate
from monitor.refusals import UndefinedError
from monitor.sharing import over_seeds

STUDY = (TRANSFER, MATRIX, AGGREGATE, SCALING, PROBABILITY, ARCHITECTURES)
"""Schemas of records over several runs that a report draws."""

Record = Mapping[str, Any]


def read_records(files: Sequence[Path]) -> tuple[list[Record], list[str]]:
    """(records over several runs in files of JSON lines or of `gurgeh transfer --json`, what could not be read in
    words). Records that a report does not draw are passed over. FileNotFoundError where a file is not there."""
    records, problems = [], []
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not a file; give JSON lines of gurgeh transfer or gurgeh scale")
        for where, text in _entries(file.read_text(encoding="utf-8", errors="replace")):
            try:
                record = json.loads(text) if isinstance(text, str) else text
                validate(record)
            except (ValueError, AttributeError) as error:
                problems.append(f"{file}, {where}: {error}")
                continue
            if record["schema"] in STUDY:
                records.append(record)
    return records, problems


def _entries(text: str) -> list[tuple[str, Any]]:
    """(where, record or its line) of a JSON object with `records`, as --json prints it, else of JSON lines."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("records"), list):
        return [(f"record {number}", record) for number, record in enumerate(whole["records"], 1)]
    return [(f"line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


@dataclasses.dataclass(frozen=True)
class Together:
    """What runs show together."""

    records: list[Record]
    events: list[dict[str, Any]]  # meta_onset
    sharing: dict[str, list[dict[str, Any]]]  # run -> its monitor.sharing/1 records of the measure transfer
    problems: list[str]  # what could not be made, in words


def together_of(runs: Sequence[RunData]) -> Together:
    """What these runs show together, made from their records now; nothing for a run alone."""
    found = Together([], [], {}, [])
    if len(runs) < 2:
        return found
    from gurgeh.scale_data import scale_of
    from gurgeh.transfer_data import adaptation_records, behaviour_of, series_of

    adapting = [run.path for run in runs if run.adaptation]
    others = [run.path for run in runs if not run.adaptation and run.losses]

    def adapt() -> None:
        records, events = adaptation_records(adapting)
        found.records.extend(records)
        found.events.extend(events)

    def scale() -> None:
        found.records.extend(scale_of([*others, *adapting], series_of(others)))

    def behave() -> None:
        for record in behaviour_of(others, series_of(others))[0]:
            found.sharing.setdefault(record["run"], []).append(record)

    for wanted, what, make in (
        (adapting, "Transfer", adapt), (others[1:], "Scale", scale), (others[1:], "Behaviour", behave),
    ):  # fmt: skip
        if not wanted:
            continue
        try:
            make()
        except Exception as error:  # one run's records must not cost what the others show
            found.problems.append(f"{what} over these runs could not be worked out: {error}")
    return found


def study_exhibits(records: Sequence[Record], arenas: Sequence[dict[str, Any]]) -> list[Exhibit]:
    """Figures 5 to 8."""
    return [
        guarded(5, lambda: adaptation(records)),
        guarded(6, lambda: probabilities(records)),
        guarded(7, lambda: scaling(records)),
        guarded(8, lambda: search(arenas)),
    ]


def adaptation(records: Sequence[Record]) -> Exhibit:
    """Figure 5."""
    pictures = transfer_panels(records)
    if not pictures:
        return Exhibit(5, missing=(
            "It needs runs that learn a held-out game from scratch, from a network of several games and from single "
            "games, over at least 3 seeds (gurgeh adapt); give the folders of those runs to gurgeh report.",
        ))  # fmt: skip
    several = [r for r in records if r["schema"] == TRANSFER and r["source"]["arm"] == "pretrained"]
    first, rest = pictures[: max(len(several), 1)], pictures[max(len(several), 1) :]
    missing = []
    if not several:
        missing.append("No run began from a network of several games: whether many games help is not shown.")
    elif not any(record["against_nearest"] for record in several):
        missing.append("No run began from a single game: that many games help more than the nearest one is not shown.")
    return Exhibit(
        5,
        words="A game that no run had seen is learnt by networks that differ in their first weights alone. Blue: from "
        "the games named; below are its numbers against the others, paired by seed.",
        null="Grey dashes: from scratch. Golden dots and dashes: from the nearest single game, the one that turned out "
        "the best start of those named, which makes it harder to beat. Only what beats both is transfer from many "
        "games; in the table the null is 0 for the advantage and 0.5 for the probabilities.",
        limits="Intervals are over seeds, and with few seeds too narrow. A held-out game of the same family as trained "
        "ones says nothing of games of other kinds.",
        pictures=tuple(first),
        folded=tuple(rest),
        missing=tuple(missing),
    )


def aggregates(records: Sequence[Record]) -> str:
    """The table over seeds and held-out games, as HTML; "" where there is none."""
    rows = aggregate_rows(records)
    if not rows:
        return ""
    names = ["from", "held-out games", "seeds", "advantage, IQM (null 0)", "P(better than scratch) (null 0.5)",
             "P(better than nearest) (null 0.5)"]  # fmt: skip
    return f'<div class="events">{html.table(names, rows)}</div>'


def probabilities(records: Sequence[Record]) -> Exhibit:
    """Figure 6."""
    pictures = probability_panels(records)
    mine = [r for r in records if r["schema"] == PROBABILITY]
    if not pictures:
        return Exhibit(6, missing=(
            "It needs runs with different numbers of games: at least 3 numbers, 5 seeds of each "
            "(gurgeh report RUN RUN ...).",
        ))  # fmt: skip
    empty = [f"{r['outcome']}: {r['refused'] or 'no run says whether it happened'}." for r in mine if not r["points"]]
    return Exhibit(
        6,
        words="One point a number of games and size of network: in which share of the runs the outcome was called. "
        "Curves are fits of logit P = b0 + b1 log2 K + b2 log10 N.",
        null="Grey dashes: how often the outcome would be called in runs in which there is nothing to find.",
        limits="Runs of more games differ in more than their number: which games, and how long each was trained. A "
        "curve describes these runs and foretells nothing beyond them.",
        pictures=tuple(pictures),
        missing=tuple(empty),
    )


def scaling(records: Sequence[Record]) -> Exhibit:
    """Figure 7."""
    pictures = scaling_panels(records)
    if not pictures:
        return Exhibit(7, missing=(
            "It needs runs of the same games with at least 4 sizes of network and 4 amounts of data, 8 configurations "
            "for intervals (gurgeh report RUN RUN ...).",
        ))  # fmt: skip
    return Exhibit(
        7,
        words="Loss against the number of trained parameters, one colour an amount of data. Filled points and lines: "
        "what was measured and the fitted law. Hollow: the largest networks; crosses: what a law fitted without them "
        "foretold.",
        null="Grey dashes: the largest network no better than the next smaller one. For a bend the null is the plain "
        "law, for two architectures equal exponents.",
        limits="A fit describes the sizes that were trained. A bend is accepted only if AICc improves by more than 10 "
        "and so does the largest size held out; bends beyond what was measured are never foretold.",
        pictures=tuple(pictures),
    )


# -- tables over runs ---------------------------------------------------------------------------------------------


def runs_table(runs: Sequence[RunData], linked: bool) -> str:
    """The runs with their seeds, games and events; linked: each has a section of its own on the page."""
    rows = []
    for run in runs:
        name = run.path.resolve().name
        events = ", ".join(f"{count} {kind}" for kind, count in _counts(run).items()) or "none"
        rows.append([
            html.link(f"{run.prefix}top", name) if linked and not run.adaptation else name,
            run.config.get("seed", "unknown"), f"{len(run.games)}: {', '.join(run.games)}" if run.games else "",
            f"{run.last['update']:,}", "adaptation" if run.adaptation else "", events,
        ])  # fmt: skip
    return html.table(["run", "seed", "games", "updates", "kind", "confirmed events"], rows)


def _counts(run: RunData) -> dict[str, int]:
    found: dict[str, int] = {}
    for event in run.called:
        if event.record["status"] == "confirmed":
            kind = event.record["type"].replace("_", " ")
            found[kind] = found.get(kind, 0) + 1
    return found


def onsets_table(events: Sequence[Mapping[str, Any]]) -> str:
    """The events that only several runs can show: from where on unseen games are learnt faster."""
    if not events:
        return ""
    rows = []
    for event in events:
        low, high = event["effect"]["ci95"]
        rows.append([
            event["type"].replace("_", " "), event["status"], event["game"].replace(",", ", "), f"{event['step']:,}",
            f"{event['effect']['name'].replace('_', ' ')} {event['effect']['value']:+.3g} [{low:+.3g}, {high:+.3g}]",
            event["test"]["null"], event["test"]["family"], html.link("figure-5", "figure 5"),
        ])  # fmt: skip
    return html.table(
        ["type", "status", "held-out games", "from update", "size", "null", "correction", "figures"], rows
    )


def events_over_runs(runs: Sequence[RunData]) -> str:
    """In how many runs each kind of event was confirmed, by game."""
    found: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for event in run.called:
            record = event.record
            if record["status"] == "confirmed":
                game = record["game"]
                if record["type"] == "sharing_onset":
                    game += f" and {record['other_game']}"
                found.setdefault((record["type"].replace("_", " "), game), set()).add(run.path.resolve().name)
    if not found:
        return html.words(f"In none of the {len(runs)} runs was an event confirmed.")
    rows = [[kind, game, f"{len(names)} of {len(runs)}", ", ".join(sorted(names))] for (kind, game), names in
            sorted(found.items())]  # fmt: skip
    return html.table(["event", "game", "confirmed in", "runs"], rows)


def sharing_over_runs(runs: Sequence[RunData]) -> str:
    """Mean excess of each measure of each pair at the last measurement, with its band over runs of the same games."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        newest = {(r["game"], r["other_game"], r["measure"]): r for r in run.sharing if r["excess"] and r["pillar"]}
        for key, record in newest.items():
            values.setdefault(key, []).append(record["excess"]["value"])
    if not values:
        return ""
    rows = []
    for (game, other, measure), excess in sorted(values.items()):
        try:
            mean, low, high = over_seeds(excess)  # type: ignore[arg-type]  # a list is as good as an array
            band, verdict = f"{mean:+.3g} [{low:+.3g}, {high:+.3g}]", "yes" if low > 0 else "no"
        except UndefinedError:
            mean = sum(excess) / len(excess)
            band, verdict = f"{mean:+.3g}", "not known: a band needs at least 3 runs"
        rows.append([f"{game} and {other}", measure, str(len(excess)), band, verdict])
    words = (
        "Value less the worst null at each run's last measurement, mean over runs with its 95 % band (Student's t). "
        "The null is 0. Not corrected for the number of pairs and measures."
    )
    return html.words(words) + html.table(["pair", "measure", "runs", "excess (null 0)", "above the null"], rows)
