"""Falls of all series of a run as a fold over its records: warn, alert, the offline scan, the correction at the end.

A finding is the part of an event that the falls decide; `monitor.events` adds what all events have.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monitor.config import MonitorConfig
from monitor.correction import benjamini_hochberg
from monitor.falls import PLATEAU_SLOPE, SAME_FALL, Scan, scan
from monitor.online import forecast_errors
from monitor.series import plain
from monitor.watch import RISE_DECADES, Watch

FDR = 0.05
SURROGATES = 999  # at least; the family's size may ask for more
NULL = "a non-negative mixture of decays from each introduction on, times Ornstein-Uhlenbeck noise"
STRATUM_LEAST = 8  # positions of a stratum, below which its mean is not followed


Series = tuple[str, str, str]  # game, head, stratum


class FallFold:
    """`state` is a JSON value: {"watches": key -> Watch.state, "ended": game -> update, "found": [...]}."""

    def __init__(self, state: dict[str, Any] | None = None):
        self.state = state or {"watches": {}, "ended": {}, "found": []}

    def take(
        self, record: Mapping[str, Any], config: MonitorConfig, introductions: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The findings of a monitor.loss/1 record of the small subset; introductions: {"game", "update"} so far."""
        new, findings = [], []
        for head, values in record["losses"].items():
            for stratum, part in {"all": values, **values.get("strata", {})}.items():
                if part.get("mean") is None or part["n"] < STRATUM_LEAST:
                    continue
                series = (record["game"], head, stratum)
                watch = self._watch(series)
                if watch.add(record["since"], record["update"], part["mean"], config):
                    new.append((series, watch))
        errors = self._forecast_errors(new)
        for series, watch in new:
            if watch.scan_due():
                findings += self._confirm(record["run"], series, record["update"], introductions)
            elif series in errors:
                what = watch.judge(errors[series], config)
                findings += [self._alarm(series, watch, what)] if what else []
            findings += self._rise(record, series, watch, config)
        if record["occasion"] == "end":
            self.state["ended"][record["game"]] = record["update"]
            if all(self.state["ended"].get(i["game"]) == record["update"] for i in introductions):
                findings += self._end(record["run"], record["update"], introductions)
        return findings

    def _forecast_errors(self, new: Sequence[tuple[Series, Watch]]) -> dict[Series, float]:
        """Of each series whose window is long enough; those with the same steps (most) are forecast together."""
        groups: dict[tuple[int, ...], list[tuple[Series, list[float]]]] = {}
        for series, watch in new:
            steps, losses = watch.window()
            groups.setdefault(tuple(steps), []).append((series, losses))
        errors = {}
        for steps, members in groups.items():
            found = forecast_errors(np.log10(steps), np.log([losses for _, losses in members]))
            if found is not None:
                errors |= {series: float(error) for (series, _), error in zip(members, found)}
        return errors

    def _alarm(self, series, watch: Watch, what: str) -> dict[str, Any]:
        first = watch.state["first"]
        return _finding(
            "drop", what, series, first["onset"], _effect("focus_statistic", first["statistic"]),
            number=watch.state["candidates"],
            test={"stat": plain(first["statistic"]), "null": "the forecast from the last 80 points"},
        )  # fmt: skip

    def _confirm(self, run, series, update, introductions) -> list[dict[str, Any]]:
        """The verdict on an alert: breakthrough (with its plateau), drop, or knee, by the offline scan."""
        watch, number = self._watch(series), self._watch(series).state["candidates"]
        result = self._scan(run, series, update, introductions)
        if result is None:
            onset = watch.state["first"]["onset"]
            watch.settle(None)
            return [_finding("knee", "rejected", series, onset, _effect("fall_nats", None), number=number)]
        if result.undecided and result.seen_out > watch.state["since"][-1]:
            watch.postpone(result.seen_out)
            return []
        q = self._corrected({(*series, number): result}).get((*series, number))
        return self._judged(series, number, result, q, introductions, "confirmation")

    def _judged(self, series, number, result: Scan, q: float | None, introductions, when) -> list[dict[str, Any]]:
        """The findings of one scan; the alarm, if one was open, is settled."""
        watch = self._watch(series)
        start = _introduced(series[0], introductions)
        fell = result.kind != "none" and q is not None and q <= FDR
        family = {"series": len(self.state["watches"]), "when": when}
        test = {
            "stat": plain(result.statistic), "p": None if result.p is None else plain(result.p),
            "q_bh": None if q is None else plain(q), "surrogates": result.surrogates, "phi": plain(result.phi),
            "null": NULL, "family": family, "unmet": list(result.unmet) or ([] if fell else ["q"]),
        }  # fmt: skip
        effect = _effect(
            "fall_nats", result.size, result.size_ci95, result.snr, result.width_decades if result.size > 0 else None
        )
        step, bounds = start + round(result.step), [start + round(s) for s in result.step_ci95]
        kind = result.kind if fell else "knee"
        status = "confirmed" if fell else "rejected"
        watch.settle((result.step, result.size, result.scale) if fell and when != "end" else None)
        if fell and when != "end":
            self.state["found"].append({
                "series": list(series), "number": number, "s": result.step, "p": result.p,
                "surrogates": result.surrogates,
            })  # fmt: skip
        findings = [_finding(kind, status, series, step, effect, bounds, test, number, own_clock=True)]
        if fell and result.plateau is not None:
            low, high = result.plateau
            flat = _effect("plateau_decades", math.log10(high / low))
            null = {"null": f"a slope of at least {PLATEAU_SLOPE} nat a decade (two one-sided tests at 5 %)"}
            findings.append(
                _finding("plateau", status, series, start + round(low), flat, None, null, number, own_clock=True)
            )
        return findings

    def _end(self, run, update, introductions) -> list[dict[str, Any]]:
        """Every series scanned once more, and corrected over all of them; what has not had time to hold stays an
        alert."""
        scans, reported = {}, set()
        for key, state in self.state["watches"].items():
            series = tuple(json.loads(key))
            found = [old for old in self.state["found"] if tuple(old["series"]) == series]
            judged = [(old["s"], old["p"], old["surrogates"]) for old in found]
            result = self._scan(run, series, update, introductions, judged=judged)
            if result is None:
                continue
            same = [old["number"] for old in found if abs(math.log10(old["s"] / result.step)) <= SAME_FALL]
            waits = state["scan_at"] is not None and state["scan_at"] > state["since"][-1]
            open_alarm = state["level"] is not None and not waits and not result.undecided
            number = same[0] if same else state["candidates"] if open_alarm else state["candidates"] + 1
            scans[(*series, number)] = result
            reported |= {(*series, number)} if same or open_alarm else set()
        q = self._corrected(scans)
        findings = []
        for key, result in scans.items():
            if key in reported or (result.kind != "none" and q[key] <= FDR):
                findings += self._judged(key[:3], key[3], result, q.get(key), introductions, "end")
        return findings

    def _corrected(self, scans: Mapping[tuple, Scan]) -> dict[tuple, float]:
        """Adjusted p-values of the scans that have a p and of what was confirmed before; tests: all series of the
        run."""
        pool = {(*old["series"], old["number"]): old["p"] for old in self.state["found"]}
        pool |= {key: result.p for key, result in scans.items() if result.p is not None}
        adjusted = benjamini_hochberg(list(pool.values()), max(len(self.state["watches"]), len(pool)))
        return dict(zip(pool, map(float, adjusted)))

    def _scan(self, run, series, update, introductions, judged=None) -> Scan | None:
        """The offline scan of a series, None where it cannot be judged; seeded by run, series and step.

        Falls that were found before are taken out, or, where `judged` has their p, may be found again.
        """
        watch = self._watch(series)
        steps, losses = watch.series()
        start = _introduced(series[0], introductions)
        later = [i["update"] - start for i in introductions if i["update"] > start]
        key = "|".join((run, *series, str(update)))
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))
        surrogates = max(SURROGATES, math.ceil(len(self.state["watches"]) / FDR))
        try:
            known = watch.state["known"] if judged is None else ()
            return scan(steps, losses, generator, later, surrogates, known, judged or ())
        except ValueError:  # too short a series is no error of the run
            return None

    def _rise(self, record, series, watch: Watch, config: MonitorConfig) -> list[dict[str, Any]]:
        """The rise after the last introduction, once, when its half decade is over."""
        introduced = record["update"] - record["since_latest"]
        if record["since_latest"] < config.s_min * 10**RISE_DECADES or introduced in watch.state["risen"]:
            return []
        watch.state["risen"].append(introduced)
        old = record["since"] > record["since_latest"]
        found = watch.rise(introduced, old, config)
        if found is None:
            return []
        effect = _effect(
            "rise_of_old_nats" if old else "rise_of_new_nats", found["size"], (found["low"], found["high"]),
            found["size"] / found["sigma"] if found["sigma"] > 0 else None,
        )  # fmt: skip
        null = {"null": "no change; the largest of the values, Sidak"}
        return [_finding("rise", "confirmed", series, int(found["step"]), effect, test=null, number=introduced)]

    def _watch(self, series: Sequence[str]) -> Watch:
        return Watch(self.state["watches"].setdefault(json.dumps(series), Watch().state))


def _introduced(game: str, introductions: Sequence[Mapping[str, Any]]) -> int:
    return next(i["update"] for i in introductions if i["game"] == game)


def _effect(name, value, ci95=None, snr=None, width=None) -> dict[str, Any]:
    return {
        "name": name, "value": None if value is None else plain(value),
        "ci95": None if ci95 is None else [plain(x) for x in ci95], "snr": None if snr is None else plain(snr),
        "width_decades": None if width is None else plain(width),
    }  # fmt: skip


def _finding(
    kind: str, status: str, series: Sequence[str], step: int, effect: dict[str, Any], step_ci95=None, test=None,
    number: int = 0, own_clock: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """number: of the candidate in its series, so that all lines on one candidate have one id."""
    game, head, stratum = series
    return {
        "type": kind, "status": status, "game": game, "head": head, "stratum": stratum, "step": step,
        "step_ci95": step_ci95, "effect": effect, "test": test or {}, "number": number, "own_clock": own_clock,
    }  # fmt: skip
