"""Calibration of the scan for sudden falls: error rates on curves whose truth is known, beside off-the-shelf detectors.

    python benchmarks/monitor_falls.py --out falls.jsonl            # everything; resumes, one line a curve
    python benchmarks/monitor_falls.py --out falls.jsonl --quick    # a fiftieth, for a look
    python benchmarks/monitor_falls.py --out falls.jsonl --report   # the tables of what is there, as Markdown

Curves: monitor/synthetic.py. Each is drawn from (seed, part, number), so that the order and the number of runs change
nothing. The reported seed was never used for tuning. Needs the extra `benchmarks` (ruptures, changepoint-online).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from monitor.config import MonitorConfig
from monitor.correction import benjamini_hochberg
from monitor.falls import ALPHA, scan
from monitor.nulls import decay_columns, fit_null
from monitor.synthetic import MISSPECIFIED, SLOW_SCALES, SMOOTH, Curve, null_curve, planted_curve
from monitor.watch import Watch

SEED = 20261122  # of the report; tuning used 777000, 778000 and 888000
PHIS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
POINTS = (100, 200, 400)
SNRS, SCALES, POWER_PHIS = (2, 5, 10, 20), (0.01, 0.02, 0.05, 0.1), (0.0, 0.5, 0.8, 0.95)
PANEL, PANEL_PLANTED = 40, 8
NEAR = 0.05  # decades within which a call counts as of the planted fall
SIZES = {"null": 2000, "misspecified": 300 * len(MISSPECIFIED), "power": 30 * 64, "target": 60 * 9, "panel": 30 * PANEL}
ORDER = ("null", "misspecified", "target", "power", "panel")


def curve_of(part: str, number: int, seed: int) -> tuple[dict[str, Any], Curve]:
    """(what was planted, the curve) number `number` of a part."""
    generator = np.random.default_rng([seed, ORDER.index(part), number])
    points = POINTS[number // 7 % 3] if part in ("null", "misspecified") else POINTS[number % 3]
    if part in ("null", "misspecified"):
        kinds = SMOOTH if part == "null" else MISSPECIFIED
        kind, phi = kinds[number % len(kinds)], PHIS[generator.integers(len(PHIS))]
        scale = float(generator.uniform(*SLOW_SCALES)) if kind == "slow_logistic" else None
        return {"kind": kind, "phi": phi, "n": points, "scale": scale}, null_curve(
            kind, generator, points, phi, scale=scale
        )
    if part == "panel":
        phi = PHIS[generator.integers(5)]
        if number % PANEL < PANEL_PLANTED:
            snr, scale = (5, 10, 20)[generator.integers(3)], SCALES[generator.integers(3)]
            truth = {"kind": "planted", "phi": phi, "n": 200, "snr": snr, "scale": scale}
            return truth, planted_curve(generator, snr, scale, phi, 200, plateau=bool(number % 2))
        kind = SMOOTH[generator.integers(len(SMOOTH))]
        return {"kind": kind, "phi": phi, "n": 200}, null_curve(kind, generator, 200, phi)
    if part == "target":
        snr, scale, phi = 10, SCALES[number // 3 % 3], POWER_PHIS[number // 9 % 3]
        plateau, rise = bool(number // 27 % 2), bool(number // 54 % 2)
    else:
        cell = number // 3 % 64
        snr, scale, phi = SNRS[cell // 16], SCALES[cell // 4 % 4], POWER_PHIS[cell % 4]
        plateau, rise = bool(number // 192 % 2), bool(number // 384 % 2)
    truth = {
        "kind": "planted", "phi": phi, "n": points, "snr": snr, "scale": scale, "plateau": plateau, "rise": rise
    }  # fmt: skip
    return truth, planted_curve(generator, snr, scale, phi, points, plateau=plateau, rise=rise)


def trial(part: str, number: int, seed: int) -> dict[str, Any]:
    """One curve through the scan; every fifth also through the online detector and the peers."""
    truth, curve = curve_of(part, number, seed)
    start = time.process_time()
    # p is reported for curves without a fall; elsewhere only the verdict counts, so what cannot be a fall needs no p.
    nulls = part in ("null", "misspecified")
    draws = np.random.default_rng([seed, 99, ORDER.index(part), number])
    surrogates = 499 if part in ("power", "target") else 999  # with 499, too, .004 is a p that can be had
    result = scan(curve.steps, curve.losses, draws, surrogates=surrogates, always_p=nulls)
    out = {
        "part": part, "number": number, **truth, "call": result.kind, "p": result.p, "stat": result.statistic,
        "step": result.step, "size": result.size, "snr_found": result.snr, "seconds": time.process_time() - start,
        "surrogates": result.surrogates, "unmet": result.unmet, "held": result.held,
    }  # fmt: skip
    if curve.planted:
        out["off"] = float(np.log10(result.step / curve.planted.step))
    if curve.ledger:
        out["confounded"] = bool(min(abs(np.log10(result.step / at)) for at in curve.ledger) <= 0.05)
    if number % 5 == 0 and part != "panel":
        out |= {"online": online(curve), "peers": peers(curve)}
    return out


def online(curve: Curve) -> dict[str, float | None]:
    """Step of the first warning and alert, None where there was none; only those after a planted fall's begin count."""
    watch, config = Watch(), MonitorConfig()
    first: dict[str, float | None] = {"warn": None, "alert": None}
    for number, (step, loss) in enumerate(zip(curve.steps, curve.losses)):
        what = watch.take(round(step * 1000), number, float(loss), config)  # thousandths: no two fall together
        if what in first and first[what] is None:
            first[what] = float(step)
            first["warn"] = first["warn"] or float(step)
    return first


def peers(curve: Curve) -> dict[str, bool | float | None]:
    """Whether each detector calls a fall (and, for a planted one, near it), on log losses and on the null's
    residuals."""
    import ruptures
    from changepoint_online import Focus, Gaussian

    y = np.log(curve.losses)
    fit, _ = fit_null(curve.losses, decay_columns(curve.steps, []))
    x, out = np.log10(curve.steps), {}
    for name, series in (("raw", y), ("residual", np.log(curve.losses / fit))):
        sigma = 1.4826 * np.median(np.abs(np.diff(series) - np.median(np.diff(series)))) / np.sqrt(2)
        signal = (series / max(sigma, 1e-9))[:, None]
        penalty = 3 * np.log(len(x))  # BIC for a change of mean: a level and a place
        found = {
            "PELT": ruptures.KernelCPD(kernel="linear", min_size=5).fit(signal).predict(pen=penalty),
            "Binseg": ruptures.Binseg(model="l2", min_size=5, jump=1).fit(signal).predict(pen=penalty),
        }
        for method, breaks in found.items():
            ends = [0, *breaks]
            falls = [b for a, b, c in zip(ends, ends[1:], ends[2:]) if series[b:c].mean() < series[a:b].mean()]
            out[f"{method} {name}"] = _near(falls, x, curve)
        detector = Focus(Gaussian(loc=0.0), side="left")
        start = series[: max(len(series) // 5, 20)]
        called = []
        for number, value in enumerate((series - start.mean()) / max(start.std(), 1e-9)):
            detector.update(float(value))
            if detector.statistic() >= 15:
                called = [number - 1]
                break
        out[f"FOCuS {name}"] = _near(called, x, curve)
    return out


def _near(falls: list[int], x: np.ndarray, curve: Curve) -> bool:
    if curve.planted is None:
        return bool(falls)
    return bool(any(abs(x[min(i, len(x) - 1)] - np.log10(curve.planted.step)) <= NEAR for i in falls))


# -- report ------------------------------------------------------------------------------------------------------------


def interval(hits: int, total: int) -> tuple[float, float]:
    """Two-sided 95 % interval of a rate (Clopper and Pearson 1934)."""
    low = stats.beta.ppf(0.025, hits, total - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, total - hits) if hits < total else 1.0
    return float(low), float(high)


def bounds(hits: int, total: int) -> str:
    """`hits / total`, rate and two-sided 95 % Clopper-Pearson interval, in per cent."""
    if total == 0:
        return "-"
    low, high = interval(hits, total)
    return f"{hits}/{total} = {100 * hits / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def called(line: dict[str, Any]) -> bool:
    """Whether a fall was called; at a step of the learning rate that the ledger knows it is confounded: not called."""
    return line["call"] != "none" and not line.get("confounded", False)


def rate(lines: list[dict[str, Any]], test: Callable[[dict[str, Any]], bool]) -> str:
    return bounds(sum(map(bool, map(test, lines))), len(lines))


def hit(line: dict[str, Any]) -> bool:
    """A planted fall that was called within .05 decade."""
    return line["call"] != "none" and abs(line["off"]) <= NEAR


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def report(lines: list[dict[str, Any]]) -> str:
    """The tables, as Markdown."""
    parts = {part: [line for line in lines if line["part"] == part] for part in ORDER}
    out: list[str] = [
        f"A call meets the whole definition of a fall, p <= {ALPHA} among it; intervals: 95 %, Clopper-Pearson.", "",
        "## Targets", "", *targets(parts), "## False positives", "",
        "A smooth curve may have a small p and be no fall; the columns of p say how far p alone can be trusted.", "",
    ]  # fmt: skip
    groups = [("all smooth nulls", parts["null"])]
    groups += [(kind, [x for x in parts["null"] if x["kind"] == kind]) for kind in SMOOTH]
    slow = [x for x in parts["null"] if x["kind"] == "slow_logistic"]
    groups += [("slow_logistic, scale .2 to .3", [x for x in slow if x["scale"] < 0.3])]
    groups += [("slow_logistic, scale .3 to .5", [x for x in slow if x["scale"] >= 0.3])]
    groups += [(f"smooth, phi {phi}", [x for x in parts["null"] if x["phi"] == phi]) for phi in PHIS]
    groups += [(f"smooth, n {n}", [x for x in parts["null"] if x["n"] == n]) for n in POINTS]
    groups += [("all misspecified", parts["misspecified"])]
    groups += [(kind, [x for x in parts["misspecified"] if x["kind"] == kind]) for kind in MISSPECIFIED]
    rows = [
        [name, rate(group, called), *(rate(group, lambda x, a=a: x["p"] <= a) for a in (ALPHA, 0.01, 0.05))]
        for name, group in groups if group
    ]  # fmt: skip
    out += table(["curves", "called a fall", f"p <= {ALPHA} alone", "p <= .01", "p <= .05"], rows)
    out += ["## Power", "", "Called within .05 decade of the planted fall.", ""]
    target = _target_cells(parts)
    rows = [["D/sigma 10, scale <= .05, phi <= .8", *(rate([x for x in target if f(x)], hit) for f in _BY_PLATEAU)]]
    for scale in SCALES[:3]:
        for phi in POWER_PHIS[:3]:
            cell = [x for x in target if x["scale"] == scale and x["phi"] == phi]
            rows.append([f"scale {scale}, phi {phi}", *(rate([x for x in cell if f(x)], hit) for f in _BY_PLATEAU)])
    for n in POINTS:
        cell = [x for x in target if x["n"] == n]
        rows.append([f"n {n}", *(rate([x for x in cell if f(x)], hit) for f in _BY_PLATEAU)])
    out += table(["D/sigma 10", "after a plateau", "on a curve", "both"], rows)
    rows = []
    for snr in SNRS:
        for scale in SCALES:
            cells = [x for x in parts["target"] + parts["power"] if x["snr"] == snr and x["scale"] == scale]
            by_phi = [[x for x in cells if x["phi"] == phi] for phi in POWER_PHIS]
            rows.append([f"{snr}", f"{scale}", *(rate(cell, hit) for cell in by_phi)])
    out += table(["D/sigma", "scale", *(f"phi {phi}" for phi in POWER_PHIS)], rows)
    off = [abs(x["off"]) for x in target if x["call"] != "none"]
    if off:
        low, middle, high = np.quantile(off, [0.5, 0.9, 0.99])
        out += [f"Location error of called falls of the target cells, decades: median {low:.4f}, 90 % {middle:.4f}, "
                f"99 % {high:.4f} ({len(off)} falls).", ""]  # fmt: skip
    out += ["## Many tests", "", *panels(parts["panel"]), "## Beside other detectors", ""]
    watched = [x for x in parts["null"] if "online" in x], [x for x in target if "online" in x]
    rows = [["this scan", rate(watched[0], called), rate(watched[1], hit)]]
    for level in ("warn", "alert"):
        rows.append([f"online {level}", *(rate(group, lambda x, w=level: x["online"][w]) for group in watched)])
    for name in next((list(x["peers"]) for x in watched[0]), []):
        rows.append([name, *(rate(group, lambda x, w=name: x["peers"][w]) for group in watched)])
    out += table(["detector", "calls on smooth nulls", "finds D/sigma 10, scale <= .05, phi <= .8"], rows)
    for level in ("warn", "alert"):
        true = [np.log10(x["online"][level] / x["step"]) + x["off"] for x in watched[1] if x["online"][level]]
        late = [value for value in true if value > -0.1]
        if late:
            out.append(
                f"Delay of the first {level} after the middle of the fall: median {np.median(late):.3f} decades, 90 % "
                f"{np.quantile(late, 0.9):.3f}; {len(true) - len(late)} came over .1 decade early. "
            )
    seconds = sum(x["seconds"] for x in lines)
    drawn = sum(x["surrogates"] for x in lines)
    out += [
        "",
        f"{len(lines)} curves, {seconds:.0f} s of one core, {drawn / max(seconds, 1e-9):.0f} surrogates a second.",
    ]
    return "\n".join(out)


def _target_cells(parts: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The planted falls for which a power of .90 is asked."""
    falls = parts["target"] + parts["power"]
    return [x for x in falls if x["snr"] == 10 and x["scale"] <= 0.05 and x["phi"] <= 0.8]


def targets(parts: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """What shared/MONITOR.md asks for, what was found, and whether it is met; misses in bold."""

    def row(what: str, asked: str, found: str, met: bool) -> list[str]:
        return [what, asked, found, "met"] if met else [f"**{what}**", asked, f"**{found}**", "**missed**"]

    rows = []
    for name, part, most in (("smooth nulls", "null", 1.0), ("misspecified nulls", "misspecified", 2.0)):
        if parts[part]:
            high = interval(sum(map(called, parts[part])), len(parts[part]))[1]
            asked = f"upper bound <= {most:g} %" if part == "null" else f"<= {most:g} %"
            rate_here = 100 * sum(map(called, parts[part])) / len(parts[part])
            met = 100 * high <= most if part == "null" else rate_here <= most
            rows.append(row(f"false positives, {name}", asked, rate(parts[part], called), met))
    for kind in MISSPECIFIED:
        group = [x for x in parts["misspecified"] if x["kind"] == kind]
        if group:
            met = sum(map(called, group)) <= 0.02 * len(group)
            rows.append(row(f"false positives, {kind}", "<= 2 %", rate(group, called), met))
    cells = _target_cells(parts)
    for place, test in (("after a plateau", _BY_PLATEAU[0]), ("on a curve", _BY_PLATEAU[1])):
        for scale in SCALES[:3]:
            for phi in POWER_PHIS[:3]:
                group = [x for x in cells if x["scale"] == scale and x["phi"] == phi and test(x)]
                if group:
                    met = sum(map(hit, group)) >= 0.9 * len(group)
                    rows.append(row(f"power {place}, scale {scale}, phi {phi}", ">= 90 %", rate(group, hit), met))
    off = [abs(x["off"]) for x in cells if x["call"] != "none"]
    if off:
        middle = float(np.median(off))
        rows.append(row("median location error", "<= .02 decade", f"{middle:.4f}", middle <= 0.02))
    if shares := panel_shares(parts["panel"])[0]:
        rows.append(row("panel FDR", "<= 5 %", f"{100 * np.mean(shares):.1f} %", float(np.mean(shares)) <= 0.05))
    return table(["what", "asked", "found", ""], rows)


_BY_PLATEAU: tuple[Callable[[dict[str, Any]], bool], ...] = (
    lambda x: x["plateau"], lambda x: not x["plateau"], lambda x: True
)  # fmt: skip


def panel_shares(lines: list[dict[str, Any]]) -> tuple[list[float], int, int]:
    """(share of false calls in each whole panel, planted falls called, planted falls): Benjamini and Hochberg at 5
    %."""
    shares, found, total = [], 0, 0
    for number in sorted({x["number"] // PANEL for x in lines}):
        panel = [x for x in lines if x["number"] // PANEL == number]
        if len(panel) < PANEL:
            continue
        q = benjamini_hochberg([x["p"] if x["p"] is not None else 1.0 for x in panel])
        calls = [x for x, adjusted in zip(panel, q) if called(x) and adjusted <= 0.05]
        false = sum(x["kind"] != "planted" for x in calls)
        shares.append(false / max(len(calls), 1))
        found += len(calls) - false
        total += PANEL_PLANTED
    return shares, found, total


def panels(lines: list[dict[str, Any]]) -> list[str]:
    """False discoveries of whole panels of series, with the definition of a fall."""
    shares, found, total = panel_shares(lines)
    if not shares:
        return ["No whole panel yet.", ""]
    generator = np.random.default_rng(0)
    means = [np.mean(generator.choice(shares, len(shares))) for _ in range(2000)]
    return [
        f"{len(shares)} panels of {PANEL} series, {PANEL_PLANTED} with a fall of D/sigma 5 to 20: false discovery rate "
        f"{100 * np.mean(shares):.1f} % (bootstrap 97.5 % bound {100 * np.quantile(means, 0.975):.1f} %); "
        f"found {bounds(found, total)}. Of D/sigma 5 the step is .10 nat, which is just the least that counts.", "",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of results, one JSON line a curve")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the curves")
    parser.add_argument("--report", action="store_true", help="only the tables of what is there")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many minutes; start again to go on")
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(line["part"], line["number"]) for line in lines}
    sizes = {part: size // 50 if args.quick else size for part, size in SIZES.items()}
    # Interleaved, so that what is there when it is stopped speaks of all parts.
    jobs = sorted((number / sizes[part], part, number) for part in ORDER for number in range(sizes[part]))
    until = time.monotonic() + 60 * args.minutes
    if not args.report:
        with args.out.open("a") as file:
            for _, part, number in jobs:
                if time.monotonic() > until:
                    break
                if (part, number) not in done:
                    lines.append(trial(part, number, args.seed))
                    file.write(json.dumps(lines[-1]) + "\n")
                    file.flush()
    sys.stdout.write(report(lines) + "\n")


if __name__ == "__main__":
    main()
