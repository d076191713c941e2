"""From the results file to a Markdown report: every run, the share of seeds that met the target, medians."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.learning_rules import Experiment, Record, Verdict, score

Pair = tuple[Experiment, Record]


def median(values: Iterable[float | None]) -> float | None:
    """Of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def newest(results: Sequence[Record], chosen: Sequence[Experiment]) -> list[Pair]:
    """Every chosen experiment's records, in the order of the table, then by settings and seed; of records with the
    same key the last."""
    by_key = {tuple(record["key"]): record for record in results}
    pairs = []
    for experiment in chosen:
        mine = [record for key, record in by_key.items() if key[0] == experiment.name]
        pairs += [(experiment, record) for record in sorted(mine, key=lambda one: (one["key"][2], one["key"][1]))]
    return pairs


def repeated(pairs: Sequence[Pair], results: Sequence[Record]) -> list[str]:
    """A sentence for every earlier record that a later one with the same key stands for."""
    last = {tuple(record["key"]): (experiment, record) for experiment, record in pairs}
    lines = []
    for record in results:
        experiment, newer = last.get(tuple(record["key"]), (None, None))
        if experiment is not None and record is not newer:
            share = f"{100 * record['stolen']:.0f} % stolen" if "stolen" in record else "stolen share not recorded"
            met = judged(experiment, record).met
            lines.append(f"Repeated: {experiment.name} seed {record['key'][1]}, {record['date']}, {share}: "
                         f"{'not judged' if met is None else 'met' if met else 'missed'} "
                         f"after {record['net_seconds']:.0f} s, {record['updates']} updates")  # fmt: skip
    return lines


def shown(value: Any, digits: int = 0) -> str:
    """A number of a table; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}" if isinstance(value, float | int) else str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, the first column to the left."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def summary_rows(pairs: Sequence[Pair]) -> list[list[str]]:
    """One row an experiment and commit: seeds that met the rule of all that ran, what is needed, medians of those
    that met it."""
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for experiment, record in pairs:
        groups[experiment.name, record["key"][2]].append((experiment, record))
    rows = []
    for (name, commit), group in groups.items():
        experiment = group[0][0]
        verdicts = [judged(*pair) for pair in group]
        if all(verdict.met is None for verdict in verdicts):
            continue
        met = [verdict for verdict in verdicts if verdict.met]
        enough = len(met) >= experiment.need
        rows.append([
            name, commit, f"{len(met)} of {len(group)}", f"{experiment.need} of {experiment.seeds}",
            "met" if enough else "open" if len(group) < experiment.seeds else "**missed**",
            shown(experiment.limit), shown(median(one.seconds for one in met), 1),
            shown(max((one.seconds for one in met if one.seconds is not None), default=None), 1),
            shown(median(one.env_steps for one in met)), shown(median(one.updates for one in met)),
        ])  # fmt: skip
    return rows


def judged(experiment: Experiment, record: Record) -> Verdict:
    """The rule's verdict; a run that failed has missed it."""
    if record["status"] == "failed":
        return Verdict(False, note="FAILED: " + record.get("error", "").strip().split("\n")[-1])
    return experiment.rule(experiment, record)


def run_rows(pairs: Sequence[Pair]) -> list[list[str]]:
    """One row a run."""
    rows = []
    for experiment, record in pairs:
        verdict = judged(experiment, record)
        scores = [shown(score(record, game), 4) for game in record["judged"] or {}]
        rows.append([
            experiment.name, str(record["key"][1]), record["key"][2],
            "–" if verdict.met is None else "yes" if verdict.met else "**no**",
            shown(verdict.seconds, 1), shown(verdict.env_steps), shown(verdict.updates),
            " ".join(scores) or "–", shown(record["start_seconds"], 1), shown(record["net_seconds"], 1),
            shown(record["evaluation_seconds"], 1),
            shown(record["process_seconds"], 1), shown(record["warm_up_seconds"], 1), shown(record["env_steps"]),
            shown(record["updates"]), shown(record["peak_mib"]),
            str(record["jobs"]),
            shown(100 * record["stolen"]) if "stolen" in record else "–",
            verdict.note.replace("|", "/"),
        ])  # fmt: skip
    return rows


RUN_HEAD = (
    "experiment", "seed", "commit", "met", "s to the rule", "steps to it", "updates to it", "score at the end",
    "start s", "net s", "evaluating s", "process s", "warm-up s", "steps", "updates", "peak MiB", "jobs",
    "stolen %", "note",
)  # fmt: skip
SUMMARY_HEAD = (
    "experiment", "commit", "seeds that met it", "needed", "target", "limit s", "median s", "longest s",
    "median env steps", "median updates",
)  # fmt: skip


def solved_rows(pairs: Sequence[Pair]) -> list[list[str]]:
    """One row a run of a solvable game: search and raw policy beside each other."""
    rows = []
    for experiment, record in pairs:
        for name, found in (record["judged"] or {}).items():
            if "positions" in found:
                positions = found["positions"]
                rows.append([
                    experiment.name, str(record["key"][1]), shown(positions),
                    shown(round(found["optimal"] * positions)), shown(round((found["optimal_raw"] or 0) * positions)),
                    shown(found["games_against_perfect"]), shown(found["lost_against_perfect"]), name,
                ])  # fmt: skip
    return rows


def joint_rows(pairs: Sequence[Pair], joint: str = "minatar:joint") -> list[list[str]]:
    """Each game's mean return alone and in the joint network, over seeds, and the ratio."""
    alone, together = defaultdict(list), defaultdict(list)
    for experiment, record in pairs:
        if not experiment.name.startswith("minatar:"):
            continue
        for game in record["judged"] or {}:
            (together if experiment.name == joint else alone)[game].append(score(record, game))
    rows = []
    for game in together:
        if alone[game]:
            one, other = statistics.fmean(alone[game]), statistics.fmean(together[game])
            rows.append([
                game, shown(one, 2), _range(alone[game], 2), shown(other, 2), _range(together[game], 2),
                shown(other / one, 2) if one else "–",
            ])  # fmt: skip
    return rows


def ablation_rows(pairs: Sequence[Pair], wanted: str = "ablation") -> tuple[list[str], list[list[str]]]:
    """(games, rows) of the experiments `wanted`:GAME:FACTOR: one row a factor, for each game the mean and range of the
    score at the end, then the mean of the curve."""
    found: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    games: dict[str, None] = {}
    for experiment, record in pairs:
        kind, _, rest = experiment.name.partition(":")
        if kind == wanted:
            game, factor = rest.split(":", 1)
            games.setdefault(game)
            found[factor][game].append(record)
    rows = []
    for factor, by_game in found.items():
        row = [factor]
        for game in games:
            records = by_game[game]
            ends = [value for one in records for name in one["judged"] or {} if (value := score(one, name)) is not None]
            failed = sum(one["status"] == "failed" for one in records)
            text = f"{statistics.fmean(ends):.4g} ({_range(ends, 4)})" if ends else "–"
            row.append(text + (f", {failed} failed" if failed else ""))
            curves = [mean for one in records if (mean := curve_mean(one)) is not None]
            row.append(f"{statistics.fmean(curves):.4g}" if curves else "–")
            row.append(shown(median(one["net_seconds"] for one in records if one["status"] == "done"), 0))
        rows.append(row)
    return list(games), rows


def curve_mean(record: Record) -> float | None:
    """Mean over the short evaluations of the first game's first measure: how early it learnt."""
    values = [next(iter(measures.values())) for point in record["curve"] for measures in [*point["games"].values()][:1]]
    return statistics.fmean(values) if values else None


def _range(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.{digits}g} to {max(known):.{digits}g}" if known else "–"


def report(chosen: Sequence[Experiment], results: Sequence[Record], name: str, command: str) -> str:
    """The whole report as Markdown."""
    pairs = newest(results, chosen)
    if not pairs:
        raise ValueError(f"no results of {', '.join(one.name for one in chosen)} yet")
    facts = {
        "Written by": {f"`{command}`"},
        "Runs made by": {f"`{record['harness']}`" for _, record in pairs},
        "Commits": {record["key"][2] for _, record in pairs},
        "Machine": {record["machine"] for _, record in pairs},
        "Days": {record["date"][:10] for _, record in pairs},
        "Versions": {
            ", ".join(f"{package} {version}" for package, version in record["versions"].items())
            for _, record in pairs
            if "versions" in record
        },
    }
    lines = [f"# Learning: {name}, {time.strftime('%Y-%m-%d')}", ""]
    lines += [f"- {title}: {'; '.join(sorted(entries))}" for title, entries in facts.items() if entries]
    lines += [
        "- Seconds count from the beginning of the process (start: Python, imports, checks) and leave out short",
        "  evaluations, which stand beside them, and the judgement after training. Warm-up: a whole process with three",
        "  updates before the first run, which leaves compiled kernels on the disk. Stolen: the share of the processor",
        "  time wanted that the host of a virtual machine gave to others.",
    ]
    lines += [f"- {line}" for line in repeated(pairs, results)]
    if any(record["jobs"] > 1 for _, record in pairs):
        lines.append("- With jobs 2, two runs with one thread each shared the machine: their times do not count.")
    lines.append("")
    summary, joint, solved = summary_rows(pairs), joint_rows(pairs), solved_rows(pairs)
    if summary:
        lines += ["## Targets", "", *_rules(pairs), *table(SUMMARY_HEAD, summary)]
    if solved:
        head = ("experiment", "seed", "positions", "optimal with search", "optimal raw", "games against perfect play",
                "lost", "game")  # fmt: skip
        lines += ["## Solved games, at the end of training", "", *table(head, solved)]
    if joint:
        head = ("game", "alone", "range", "joint", "range", "joint / alone")
        lines += ["## One network for all, against one for each", "", *table(head, joint)]
    for kind, title in (("ablation", "Ablations"), ("q_unit", "The unit of Q, automatic and by hand")):
        games, rows = ablation_rows(pairs, kind)
        head = ["factor", *(f"{game}{what}" for game in games for what in ("", ": mean of the curve", ": median s"))]
        if rows:
            lines += [f"## {title}: mean (range) of the score at the end", "", *table(head, rows)]
    lines += ["## Every run", "", *table(RUN_HEAD, run_rows(pairs))]
    failed = [(experiment, record) for experiment, record in pairs if record["status"] == "failed"]
    for experiment, record in failed:
        lines += [f"{experiment.name} seed {record['key'][1]} failed:", "", "```", record["error"], "```", ""]
    commands = dict.fromkeys(record["command"].rsplit(" seed=", 1)[0] for _, record in pairs)
    lines += ["## Commands of the runs, without their seeds", "", "```", *commands, "```", ""]
    return "\n".join(lines)


def _rules(pairs: Sequence[Pair]) -> list[str]:
    """What each rule says, in words."""
    lines = []
    for experiment in dict.fromkeys(experiment for experiment, _ in pairs if experiment.goals):
        words = " ".join((experiment.rule.__doc__ or "").split())
        row = f" ({experiment.running} evaluations in a row)" if experiment.running > 1 else ""
        lines.append(f"- {experiment.name}: {'; '.join(experiment.goals)}{row}, limit {experiment.limit:g} s. {words}")
    return [*lines, ""]


def write_report(
    folder: Path, name: str, chosen: Sequence[Experiment], results: Sequence[Record], command: str
) -> Path:
    """Write DATE-learning-NAME.md and return its path; a report of the same day and name is replaced."""
    path = folder / f"{time.strftime('%Y-%m-%d')}-learning-{name}.md"
    path.write_text(report(chosen, results, name, command), encoding="utf-8")
    return path
