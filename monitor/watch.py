"""One series of losses (a game, a head, a stratum) watched for a fall: warn, alert, then what to scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from monitor import online
from monitor.config import MonitorConfig
from monitor.matched import HOLD, WIDTH

RISE_NATS = 0.03
RISE_DECADES = 0.5
BASELINE = 10  # values before an introduction whose mean a rise is measured from
_LEAST_GAP = 0.5  # of the cadence's spacing; closer points (of a later introduction's cadence) are not scanned


def apart(previous: float, since: float, config: MonitorConfig) -> bool:
    """Whether a point is far enough behind the previous one to be scanned."""
    return math.log10(since / previous) >= _LEAST_GAP / config.loss_points_per_decade


class Watch:
    """A series as a fold over its points; `state` is a JSON value."""

    def __init__(self, state: dict[str, Any] | None = None):
        self.state = state or {
            "since": [], "update": [], "loss": [], "kept": [], "errors": [], "level": None, "scan_at": None,
            "candidates": 0, "known": [], "first": None, "after": 0, "risen": [],
        }  # fmt: skip

    def take(self, since: int, update: int, loss: float, config: MonitorConfig) -> str | None:
        """A point, `since` updates after the game's introduction; "warn", "alert" or "confirm" where one is due now.

        The parts apart are for a caller that has many series at the same points, which `forecast_errors` takes
        together.
        """
        if not self.add(since, update, loss, config):
            return None
        if self.scan_due():
            return "confirm"
        steps, losses = self.window()
        error = online.forecast_errors(np.log10(steps), np.log(losses)[None])
        return None if error is None else self.judge(float(error[0]), config)

    def add(self, since: int, update: int, loss: float, config: MonitorConfig) -> bool:
        """Whether the point is a new one of the series that is scanned."""
        state = self.state
        if since < config.s_min or (state["update"] and update <= state["update"][-1]):
            return False
        state["since"].append(since)
        state["update"].append(update)
        state["loss"].append(max(loss, config.loss_floor, 1e-300))
        if state["kept"] and not apart(state["since"][state["kept"][-1]], since, config):
            return False
        state["kept"].append(len(state["since"]) - 1)
        return True

    def scan_due(self) -> bool:
        """Whether an alert is old enough for the offline scan."""
        return self.state["scan_at"] is not None and self.state["since"][-1] >= self.state["scan_at"]

    def window(self) -> tuple[list[int], list[float]]:
        """(steps, losses) that the next forecast is made from."""
        state = self.state
        kept = state["kept"][max(len(state["kept"]) - online.WINDOW - online.GAP, state["after"]) :]
        return [state["since"][i] for i in kept], [state["loss"][i] for i in kept]

    def judge(self, error: float, config: MonitorConfig) -> str | None:
        """The newest point's forecast error; "warn" or "alert" where FOCuS first reaches that level."""
        state = self.state
        state["errors"].append(float(f"{error:.7g}"))
        kept = state["kept"][-len(state["errors"]) :]
        back = online.looked_at(np.log10([state["since"][i] for i in kept]))
        state["errors"] = state["errors"][-back:]
        statistic, start = online.focus(np.array(state["errors"]))
        level = (
            "alert" if statistic >= config.alert_statistic else "warn" if statistic >= config.warn_statistic else None
        )
        if level is None or level == state["level"] or state["level"] == "alert":
            return None
        if state["level"] is None:
            state["candidates"] += 1
        onset = state["update"][kept[len(kept) - back + min(start, back - 1)]]
        state["level"], state["first"] = level, {"statistic": statistic, "onset": onset}
        if level == "alert":
            state["scan_at"] = state["since"][-1] * 10**HOLD
        return level

    def series(self) -> tuple[np.ndarray, np.ndarray]:
        """(steps [n], losses [n]) that are scanned."""
        kept = self.state["kept"]
        return np.array([self.state["since"][i] for i in kept], float), np.array([self.state["loss"][i] for i in kept])

    def postpone(self, since: float) -> None:
        """Ask for the scan again at `since`: the fall may not yet have held for long enough."""
        self.state["scan_at"] = since

    def settle(self, fall: Sequence[float] | None) -> None:
        """An alarm was judged; fall: (step, size, scale) if it was confirmed, after which forecasts begin anew."""
        if fall is not None:
            self.state["known"].append(list(fall))
            over = fall[0] * 10 ** (WIDTH * fall[2] / 2)
            self.state["after"] = sum(self.state["since"][i] <= over for i in self.state["kept"])
        self.state.update(errors=[], level=None, scan_at=None, first=None)

    def rise(self, introduced: int, old: bool, config: MonitorConfig) -> dict[str, float] | None:
        """The rise of log loss after an introduction at update `introduced`, once RISE_DECADES are over; None if none.

        Of an old game: the peak within .5 decade from s_min less the mean of the last 10 values before it; of the new
        game: the peak less its first value. At least .03 nat, and its lower 95 % bound above 0: the bound allows for
        the peak being the largest of its points (Sidak), with the standard deviation of the values about a line.
        """
        update, y = np.array(self.state["update"]), np.log(self.state["loss"])
        after = np.flatnonzero(
            (update >= introduced + config.s_min) & (update <= introduced + config.s_min * 10**RISE_DECADES)
        )
        before = np.flatnonzero(update <= introduced)[-3 * BASELINE :] if old else after
        if len(after) < 3 or len(before) < BASELINE:
            return None
        base = float(y[before[-BASELINE:]].mean() if old else y[after[0]])
        peak = after[int(y[after].argmax())]
        size = float(y[peak]) - base
        at = np.log10(update[before]) if old else np.log10(update[before] - introduced)
        residual = y[before] - np.polyval(np.polyfit(at, y[before], 1 if old else 2), at)
        sigma = float(np.sqrt(residual @ residual / max(len(before) - 3, 1)))
        spread = sigma * math.sqrt(1 + (1 / BASELINE if old else 1))
        z = float(stats.norm.ppf(0.95 ** (1 / len(after))))
        low, high = size - z * spread, size + 1.959964 * spread
        if size < RISE_NATS or low <= 0:
            return None
        return {
            "size": size, "low": low, "high": high, "sigma": sigma, "step": int(update[peak]),
        }  # fmt: skip
