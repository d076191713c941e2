"""Tables and verdicts of benchmarks/search.py, from its records."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MIB = 2**20
OWN_ROWS = ("t1", "t2", "t3", "t4", "t5", "t6")  # SEARCH.md's table
Record = dict[str, Any]


class Line(NamedTuple):
    """A record in numbers. Speeds in simulations a second (B S / seconds), None where a side has no time."""

    row: dict[str, Any]
    policy: str
    model: str  # the fastest of ours
    ours: float
    floor: float  # the bare network, the fastest way of all sides
    floor_name: str
    bare: float  # the bare network, the fastest of our ways
    over_floor: float  # time of ours / time of the floor
    over_bare: float  # time of ours / time of our bare network
    peers: dict[str, float | None]
    gains: dict[str, float | None]  # time of the peer / time of ours
    once: set[str]  # sides timed once
    memory: dict[str, int | None]
    extra: float  # seconds of ours above the floor, a simulation


def line(record: Record) -> Line:
    """The numbers of one record."""
    entrants, row = record["entrants"], record["row"]
    sims = row["batch"] * row["simulations"]

    def fastest(wanted: Callable[[str], bool]) -> str:
        return min(filter(wanted, entrants), key=lambda name: statistics.median(entrants[name]["times"]))

    ours = fastest(lambda name: name.startswith("ours search"))
    bare = fastest(lambda name: name.startswith("ours bare"))
    floor = fastest(lambda name: " bare" in name)
    peers, gains = {}, {}
    for peer in ("mctx", "lightzero"):
        name = f"{peer} search"
        peers[peer] = sims / statistics.median(entrants[name]["times"]) if name in entrants else None
        gains[peer] = pairs(entrants[name], entrants[ours]) if name in entrants else None
    memory: dict[str, int | None] = {}
    for side in ("ours", "mctx", "lightzero"):
        found = [entry["first"]["memory"] for name, entry in entrants.items() if name.startswith(f"{side} search")]
        memory[side] = max(found) if found and None not in found else None
    seconds = statistics.median(entrants[ours]["times"])
    return Line(
        row=row, policy=record["policy"], model=ours.rpartition(" ")[2], ours=sims / seconds,
        floor=sims / statistics.median(entrants[floor]["times"]), floor_name=floor.replace(" bare", ""),
        bare=sims / statistics.median(entrants[bare]["times"]),
        over_floor=pairs(entrants[ours], entrants[floor]), over_bare=pairs(entrants[ours], entrants[bare]),
        peers=peers, gains=gains, memory=memory,
        once={name.partition(" ")[0] for name, entrant in entrants.items() if len(entrant["times"]) == 1},
        extra=(seconds - statistics.median(entrants[floor]["times"])) / row["simulations"],
    )  # fmt: skip


def pairs(above: dict[str, Any], below: dict[str, Any]) -> float:
    """Time of one over time of the other: the median over the rounds in which both were timed; where one was timed
    outside the rounds, the quotient of their medians."""
    if above["once"] or below["once"]:
        return statistics.median(above["times"]) / statistics.median(below["times"])
    return statistics.median(a / b for a, b in zip(above["times"], below["times"]))


def spreads(records: list[Record]) -> list[float]:
    """Of each of our searches, slowest round over fastest: how quiet the machine was."""
    return [
        max(entrant["times"]) / min(entrant["times"])
        for record in records
        for name, entrant in record["entrants"].items()
        if name.startswith("ours search")
    ]


def geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


class Verdict(NamedTuple):
    target: str
    met: bool | None  # None: nothing to judge it by
    found: str


def verdicts(lines: list[Line], device: str) -> list[Verdict]:
    """SEARCH.md's targets, each with the number that was found."""
    found: list[Verdict] = []

    def worst(target: str, chosen: list[Line], value: Callable[[Line], float], limit: float, most: bool) -> None:
        missed = [one for one in chosen if (value(one) > limit if most else value(one) < limit)]
        if not chosen:
            found.append(Verdict(target, None, "no row"))
            return
        extreme = (max if most else min)(chosen, key=value)
        text = f"worst {value(extreme):.2f} ({_where(extreme)}), {len(chosen) - len(missed)} of {len(chosen)} rows"
        if missed:
            text += "; missed in " + ", ".join(f"{_where(one)} {value(one):.2f}" for one in missed)
        found.append(Verdict(target, not missed, text))

    def mean(target: str, chosen: list[Line], value: Callable[[Line], float], limit: float) -> None:
        if not chosen:
            found.append(Verdict(target, None, "no row"))
            return
        # Over SEARCH.md's own rows and over all of them: the stretched rows, far out, can carry a mean.
        own = [one for one in chosen if one.row["name"] in OWN_ROWS]
        numbers = [(rows, geometric_mean([value(one) for one in rows])) for rows in (own, chosen) if rows]
        text = "; ".join(
            f"{number:.2f} over {len(rows)} {'rows of the table' if rows is own else 'rows in all'}"
            for rows, number in numbers
        )
        found.append(Verdict(target, all(number >= limit for _, number in numbers), text))

    def gain(peer: str) -> Callable[[Line], float]:
        return lambda one: one.gains[peer] or math.nan

    wide = [one for one in lines if one.row["width"] >= 256]
    narrow = [one for one in lines if one.row["width"] < 256]
    worst("D >= 256: at most 1.25 times the bare network", wide, lambda one: one.over_floor, 1.25, True)
    worst("D < 256: at most 2 times the bare network", narrow, lambda one: one.over_floor, 2.0, True)
    mctx = [one for one in lines if one.gains["mctx"] is not None]
    light = [one for one in lines if one.gains["lightzero"] is not None]
    if device == "cpu":
        worst("slower than mctx in no row", mctx, gain("mctx"), 1.0, False)
        for policy, limit in (("gumbel", 3.5), ("puct", 8.0)):
            chosen = [one for one in mctx if one.policy == policy]
            mean(f"{policy}: {limit:g} times mctx in the geometric mean", chosen, gain("mctx"), limit)
        many = [one for one in light if one.row["batch"] >= 16]
        worst("2 times LightZero in every row with B >= 16", many, gain("lightzero"), 2.0, False)
        mean("4 times LightZero in the geometric mean (rows with B >= 16)", many, gain("lightzero"), 4.0)
    else:
        large = [one for one in mctx if one.row["batch"] >= 1024]
        worst("3 times mctx at B >= 1,024", large, gain("mctx"), 3.0, False)
        worst("tree work at most 30 us a simulation", lines, lambda one: one.extra * 1e6, 30.0, True)
    return found


def _where(one: Line) -> str:
    return f"{one.row['name']} {one.policy}"


def speed(value: float | None) -> str:
    """Simulations a second, to three digits."""
    if value is None:
        return "–"
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if value >= factor or unit == " k":
            number = value / factor
            return f"{number:.{max(0, 2 - max(0, math.floor(math.log10(number))))}f}{unit}"
    raise AssertionError(value)


def _times(value: float | None, once: bool = False) -> str:
    return "–" if value is None else f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{'*' * once}"


def _mib(value: int | None) -> str:
    return "–" if value is None else f"{value / MIB:.1f}" if value < 10 * MIB else f"{value / MIB:.0f}"


def _sizes(row: dict[str, Any]) -> str:
    priors = row["logit_scale"]
    shape = ", ".join(str(row[size]) for size in ("batch", "simulations", "actions", "width", "hidden"))
    return shape + ("" if priors == 1 else f", logits {priors:g}")


COLUMNS = (
    "row", "B, S, A, D, H", "policy", "ours", "model", "bare", "bare by", "ours/bare", "mctx", "vs mctx", "LightZero",
    "vs LightZero", "MiB ours", "mctx", "LightZero", "calls",
)  # fmt: skip


def cells(record: Record) -> list[str]:
    """One line of the table."""
    one = line(record)
    return [
        one.row["name"], _sizes(one.row), one.policy, speed(one.ours), one.model, speed(one.floor), one.floor_name,
        _times(one.over_floor), speed(one.peers["mctx"]), _times(one.gains["mctx"], "mctx" in one.once),
        speed(one.peers["lightzero"]), _times(one.gains["lightzero"], "lightzero" in one.once),
        *(_mib(one.memory[side]) for side in ("ours", "mctx", "lightzero")), str(one.row["simulations"]),
    ]  # fmt: skip


def progress(record: Record) -> str:
    """A finished row in one line."""
    row, failures = record["row"], record["failures"]
    if "ours" in failures:
        return f"{row['name']:8} {record['policy']:6} ours failed: {failures['ours']}"
    one = line(record)
    text = f"{one.row['name']:8} {one.policy:6} ours {speed(one.ours):>7} ({one.model}), {one.over_floor:.2f} x bare"
    for peer, gain in one.gains.items():
        if gain is not None:
            text += f", {_times(gain, peer in one.once)} x {peer}"
    return text + "".join(f", {side} failed: {message}" for side, message in failures.items())


def machine() -> str:
    """Processor, cores, memory, system."""
    processor = platform.processor() or platform.machine()
    for text in _read("/proc/cpuinfo").splitlines():
        if text.startswith("model name"):
            processor = text.partition(":")[2].strip()
            break
    memory = _read("/proc/meminfo").partition("MemTotal:")[2].split()
    gib = f", {int(memory[0]) / 2**20:.0f} GiB" if memory else ""
    return f"{processor}, {os.cpu_count()} cores{gib}, {platform.system()}, Python {platform.python_version()}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def print_table(result: dict[str, Any]) -> None:
    """The table and the verdicts on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 220  # a file or a pipe: whole lines
    table = Table(box=None, padding=(0, 1))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("row", "policy", "model", "bare by") else "right")
    for record in result["records"]:
        table.add_row(*cells(record))
    console.print()
    console.print(table)
    console.print("Speeds in simulations a second. * timed once.")
    if result["quick"]:
        console.print("A quick run: it shows that everything works, its numbers are no result.")
    for target, met, found in verdicts([line(record) for record in result["records"]], result["device"]):
        console.print(f"{_verdict(met):8} {target}: {found}", soft_wrap=True)


def _verdict(met: bool | None) -> str:
    return "–" if met is None else "met" if met else "MISSED"


def markdown(result: dict[str, Any]) -> str:
    """The recorded result."""
    records = result["records"]
    lines = [line(record) for record in records]
    judged = verdicts(lines, result["device"])
    missed = [verdict for verdict in judged if verdict.met is False]
    sides = "; ".join(
        f"{name}: {side['versions']}, threads: {side['threads']}" for name, side in result["sides"].items()
    )
    apart = spreads(records)
    text = [
        "# The batched tree search against its peers",
        "",
        f"- Command: `{result['command']}`" + (" (a quick run: no result)" if result["quick"] else ""),
        f"- Date: {result['date']}, {result['seconds'] / 60:.0f} minutes, load average at the start "
        f"{result['load']:.2f}",
        f"- Machine: {result['machine']}; every side on {result['threads']} of its cores"
        + (f", device {result['sides']['ours']['network']}" if result["device"] == "cuda" else ""),
        f"- Sides: {sides}",
        f"- Slowest round over fastest, of our searches: {statistics.median(apart):.2f} in the median, "
        f"{max(apart):.2f} at worst",
        "",
        "## Targets",
        "",
        (f"{len(missed)} missed." if missed else "None missed.")
        + " `bare` is the network alone, the fastest way found on any side.",
        "",
        *_table(("target", "", "found"), [(target, _verdict(met), found) for target, met, found in judged]),
        "",
        "## Table",
        "",
        "Simulations a second: batch times simulations over the median time of a search. `vs`: time of the peer over "
        "time of ours, the median over the rounds; \\* timed once, for one search took more than "
        "20 s or one round used up the side's time. `calls`: network evaluations a tree, checked on every side. MiB: "
        + (
            "the growth of the process's resident memory at its peak in the first search of that size, heap given back "
            "before; ours is the largest of our models'."
            if result["device"] == "cpu"
            else "ours by torch's count of allocated memory, mctx's the buffers planned by XLA."
        ),
        "",
        *_table(COLUMNS, [cells(record) for record in records]),
        "",
    ]
    for record in (*records, *result["failed"]):
        for side, message in record["failures"].items():
            text += [f"- {record['row']['name']} {record['policy']}: no time of {side}: {message}"]
    text += [
        "",
        "## Geometric means",
        "",
        *_table(("policy", "rows", "vs mctx", "vs LightZero", "ours/bare"), _means(lines)),
        "",
        "## All of our models, and what the others took to compile",
        "",
        "Simulations a second of each way to run the network on our side: in a search, and alone. Compile: seconds of "
        "jax for the search. Depth: mean depth of a node, in edges: LightZero's rule leads to other trees.",
        "",
        *_details(records),
        "",
        f"The sides' networks differ from numpy's float64 by at most "
        f"{max(record['difference'] for record in records):.1e}.",
    ]
    return "\n".join(text) + "\n"


def _means(lines: list[Line]) -> list[tuple[str, ...]]:
    found = []
    for policy in dict.fromkeys(one.policy for one in lines):
        for title, wanted in (("table", OWN_ROWS), ("all", None)):
            chosen = [one for one in lines if one.policy == policy and (not wanted or one.row["name"] in wanted)]
            if not chosen:
                continue
            gains = [[one.gains[peer] for one in chosen] for peer in ("mctx", "lightzero")]
            known = [[gain for gain in of_peer if gain is not None] for of_peer in gains]
            means = [geometric_mean(values) if values else None for values in known]
            floor = geometric_mean([one.over_floor for one in chosen])
            found.append((policy, f"{title}, {len(chosen)}", *map(_times, means), _times(floor)))
    return found


def _details(records: list[Record]) -> list[str]:
    names = list(dict.fromkeys(name for record in records for name in record["entrants"] if name.startswith("ours")))
    heads = (
        "row", "policy", *(name.removeprefix("ours ") for name in names), "mctx bare", "mctx compile",
        "depth ours", "mctx", "LightZero",
    )  # fmt: skip
    rows = []
    for record in records:
        entrants, row = record["entrants"], record["row"]
        sims = row["batch"] * row["simulations"]
        speeds = [
            speed(sims / statistics.median(entrants[name]["times"])) if name in entrants else "–"
            for name in (*names, "mctx bare")
        ]
        compiled = entrants["mctx search"]["first"]["compile"] if "mctx search" in entrants else None
        depths = [
            next(
                (entry["first"]["depth"] for name, entry in entrants.items() if name.startswith(f"{side} search")), None
            )
            for side in ("ours", "mctx", "lightzero")
        ]
        rows.append((row["name"], record["policy"], *speeds, _times(compiled), *map(_times, depths)))
    return _table(heads, rows)


def _table(heads: tuple[str, ...], rows: list[Any]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
