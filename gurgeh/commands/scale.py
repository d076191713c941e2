"""gurgeh scale: what runs of many sizes and numbers of games say of loss, compute and the chance of transfer."""

from __future__ import annotations

import argparse
import json
from typing import Any

EPILOG = """What is shown, each part with its reason where the runs cannot carry it:
  L(N, D) = E + A N^-a + B D^-b   per architecture and set of games, judged at the largest N, which is held out
  architectures                    exponents at matched training FLOPs and their difference
  P(breakthrough), P(sharing), P(faster on unseen games) against the number of games, and K50

Sizes N are parameters, data D updates. A run says whether there was a breakthrough only where it looked for falls
(monitor.falls), and whether unseen games are learnt faster only where a study of `gurgeh adapt` among PATH starts
from it. docs/transfer.md says what each needs."""


def add_parser(subparsers: Any) -> None:
    """`scale`."""
    parser = subparsers.add_parser(
        "scale", help="loss, compute and the chance of transfer over runs of many sizes", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Read runs and folders of runs, fit over scale.",
    )  # fmt: skip
    parser.add_argument("paths", nargs="+", metavar="PATH", help="runs and folders of runs")
    parser.add_argument("--series", help="which loss (default: policy where all games have it, else dynamics_1)")
    parser.add_argument("--json", action="store_true", help="the records, one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print; 0."""
    from gurgeh.scale_data import scale_of
    from gurgeh.transfer_data import check_series, runs_in, series_of
    from monitor.records import validate

    folders = runs_in(args.paths)
    plain = [folder for folder in folders if not (folder / "adaptation.jsonl").exists()]
    if not plain:
        raise ValueError("all of these are runs of a study of gurgeh adapt; name the runs that it starts from, too")
    if args.series:
        check_series(plain, args.series)
    series = args.series or series_of(plain)
    records = scale_of(folders, series)
    for record in records:
        validate(record)
    if args.json:
        print(json.dumps({"runs": len(plain), "series": series, "records": records}, indent=1))
    else:
        print("\n".join(text(records, len(plain), series)))
    return 0


def text(records: list[dict[str, Any]], num_runs: int, series: str) -> list[str]:
    """What a person reads."""
    lines = [f"{num_runs} runs, series {series}"]
    for record in records:
        lines += ["", *_TEXT[record["schema"]](record)]
    return lines


def interval(found: dict[str, Any], form: str = ".3g") -> str:
    """A value with its interval, or why there is none (what would help is in the record)."""
    if found.get("value") is None:
        return f"refused: {found['refused'].partition('; ')[0]}" if found.get("refused") else "not known"
    ends = [found.get("low"), found.get("high")]
    if ends == [None, None]:
        return f"{found['value']:{form}}" + (f" ({found['refused']})" if found.get("refused") else "")
    low, high = ("no bound" if end is None else f"{end:{form}}" for end in ends)
    return f"{found['value']:{form}} [{low}, {high}]"


def _games(record: dict[str, Any]) -> str:
    return ", ".join(record["games"])


def _scaling(record: dict[str, Any]) -> list[str]:
    points = record["points"]
    sizes, data = {point["size"] for point in points}, {point["data"] for point in points}
    lines = [
        f"{record['architecture']} on {_games(record)}: {len(points)} losses, {len(sizes)} sizes, {len(data)} amounts "
        "of data"
    ]
    if record["refused"]:
        return [*lines, f"  no fit: {record['refused']}"]
    fit, held, bend = record["fit"], record["held_out"], record["break"]
    lines.append("  " + "; ".join(f"{name} = {interval(fit[name])}" for name in ("E", "A", "a", "B", "b")))
    lines.append(
        f"  largest N held out: {held['refused']}" if held["refused"]
        else f"  largest N = {held['size']:,} held out: mean |log error| {held['error']:.3g}"
    )  # fmt: skip
    if bend["refused"]:
        return [*lines, f"  a break in N: {bend['refused']}"]
    verdict = "accepted" if bend["accepted"] else "not accepted"
    return [
        *lines,
        f"  a break in N: {verdict} (at {bend['at']:.3g}, AICc better by {bend['delta_aicc']:.3g}, held-out error "
        f"{bend['plain_error']:.3g} without and {bend['broken_error']:.3g} with)",
    ]


def _architectures(record: dict[str, Any]) -> list[str]:
    head = f"{record['one']} against {record['other']} at matched FLOPs on {_games(record)}"
    if record["refused"]:
        return [f"{head}: refused: {record['refused']}"]
    low, high = record["overlap"]
    each = "; ".join(f"{name} {interval(found)}" for name, found in record["exponents"].items())
    return [f"{head}, {low:.2g} to {high:.2g}", f"  exponents: {each}; difference {interval(record['difference'])}"]


def _probability(record: dict[str, Any]) -> list[str]:
    lines = [f"P({record['outcome']}) against the number of games"]
    lines += [
        f"  {point['games']} games, {point['size']:,} parameters: {point['happened']} of {point['runs']} runs"
        for point in record["points"]
    ]
    if record["refused"]:
        return [*lines, f"  no K50: {record['refused']}"]
    return [*lines, f"  K50 = {interval(record['k50'])} games at {record['at_size']:,.0f} parameters"]


_TEXT = {
    "monitor.scaling/1": _scaling, "monitor.architectures/1": _architectures, "monitor.probability/1": _probability,
}  # fmt: skip
