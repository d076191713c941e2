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


class Watch:
    """A series as a fold over its points; `state` is a JSON value."""

    def __init__(self, state: dict[str, Any] | None = None):
        self.state = state or {
            "since": [], "update": [], "loss": [], "kept": [], "errors": [], "level": None, "scan_at": None,
            "candidates": 0, "known": [], "first": None, "after": 0,
        }  # fmt: skip

    def take(self, since: int, update: int, loss: float, config: MonitorConfig) -> str | None:
        """A point, `since` updates after the game's introduction; "warn", "alert" or "confirm" where one is due now."""
        state = self.state
        if since < config.s_min or (state["update"] and update <= state["update"][-1]):
            return None
        state["since"].append(since)
        state["update"].append(update)
        state["loss"].append(max(loss, config.loss_floor, 1e-300))
        least = _LEAST_GAP / config.loss_points_per_decade
        if state["kept"] and math.log10(since / state["since"][state["kept"][-1]]) < least:
            return None
        state["kept"].append(len(state["since"]) - 1)
        if state["scan_at"] is not None and since >= state["scan_at"]:
            return "confirm"
        steps, losses = self.series(min(online.WINDOW + online.GAP, len(state["kept"]) - state["after"]))
        error = online.forecast_error(np.log10(steps), np.log(losses))
        if error is None:
            return None
        state["errors"].append(float(f"{error:.7g}"))
        statistic, start = online.focus(np.array(state["errors"]))
        level = "alert" if statistic >= config.alert_statistic else "warn" if statistic >= config.warn_statistic else None
        if level is None or level == state["level"] or state["level"] == "alert":
            return None
        if state["level"] is None:
            state["candidates"] += 1
        state["level"], state["first"] = level, {"statistic": statistic, "back": len(state["errors"]) - start}
        if level == "alert":
            state["scan_at"] = since * 10**HOLD
        return level

    def onset(self) -> int:
        """The update at which the mean began to be low, by FOCuS."""
        kept = self.state["kept"]
        return self.state["update"][kept[max(-self.state["first"]["back"], -len(kept))]]

    def series(self, last: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(steps [n], losses [n]) that are scanned, the last ones."""
        kept = self.state["kept"]
        kept = kept if last is None else kept[len(kept) - last :]
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

        Of an old game: the peak within .5 decade from s_min less the mean of the last 10 values before it; of the new game:
        the peak less its first value. At least .03 nat, and its lower 95 % bound above 0: the bound allows for the peak
        being the largest of its points (Sidak), with the standard deviation of the values about a line.
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
