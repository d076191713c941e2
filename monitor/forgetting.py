"""Forgetting: an old game's frozen loss that rose after another game came, and stayed up.

Definition (all three): the loss on the game's frozen positions is at least 0.10 nat above its value at the last
introduction; the lower 95 % bound of that difference, paired position by position, is above 0; both hold at every
checkpoint over 0.15 decade of the updates since that introduction. The step of the event is the first of those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor.config import MonitorConfig
from monitor.records import LEDGER, LOSS

Z95 = 1.959964  # lower end of the two-sided 95 % interval


def risen(change: Mapping[str, Any], config: MonitorConfig) -> bool:
    """Whether a paired change {"mean", "se"} in nats counts as a rise at one checkpoint."""
    mean, error = change["mean"], change["se"]
    if mean is None or error is None:
        return False
    return mean >= config.forgetting_nats and mean - Z95 * error > 0


class ForgettingTracker:
    """One (game, series) after one introduction, as a fold over its checkpoints; `state` is a JSON value."""

    def __init__(self, state: dict[str, Any] | None = None):
        self.state = state or {"onset": None, "fired": False}

    def take(self, since: int, update: int, change: Mapping[str, Any], config: MonitorConfig) -> dict[str, Any] | None:
        """One checkpoint, `since` updates after the introduction; what was found when it is confirmed here.

        Returns {"step", "since", "change"} once: the update of the onset, its distance from the introduction,
        and the change at the confirmation.
        """
        if since < config.s_min:
            return None
        if not risen(change, config):
            self.state["onset"] = None
            return None
        if self.state["onset"] is None:
            self.state["onset"] = {"since": since, "step": update}
        onset = self.state["onset"]
        held = math.log10(since / onset["since"])
        if self.state["fired"] or held < config.forgetting_hold_decades - 1e-9:
            return None
        self.state["fired"] = True
        return {**onset, "change": dict(change)}


def backward_transfer(results: np.ndarray, higher_is_better: bool = True) -> float:
    """GEM's backward transfer (Lopez-Paz & Ranzato 2017): mean over old games i of R[T, i] - R[i, i].

    results: [T, T], row i after game i was learnt, column j measured on game j; entries above the diagonal are not
    read. Negative is forgetting; for losses pass higher_is_better=False, so that a rise of the loss is negative.
    Raises ValueError for fewer than two games, a shape that is not square, or a needed entry that is not finite.
    """
    results = np.asarray(results, np.float64)
    if results.ndim != 2 or results.shape[0] != results.shape[1] or len(results) < 2:
        raise ValueError(
            f"backward transfer needs a square matrix of at least two games; found the shape {results.shape}"
        )
    change = results[-1, :-1] - np.diag(results)[:-1]
    if not np.isfinite(change).all():
        games = np.flatnonzero(~np.isfinite(change)).tolist()
        raise ValueError(f"backward transfer: games {games} lack a finite result on the diagonal or in the last row")
    return float(change.mean() if higher_is_better else -change.mean())


def loss_matrix(records: list[dict[str, Any]], series: str) -> tuple[list[str], np.ndarray]:
    """Games in order of introduction and R[T, T]: the full frozen loss of game j when game i's stage ended.

    A stage ends where the next game is introduced, the last one at the end of the run; games that were introduced
    together share a stage, so that their rows are equal. records: of any schema, in the order of writing. NaN where
    nothing was measured (the game came later, has no such series, or the run goes on).
    """
    added = {r["game"]: r["update"] for r in records if r["schema"] == LEDGER and r["kind"] == "game_added"}
    games = list(added)
    matrix = np.full((len(games), len(games)), np.nan)
    for record in records:
        if record["schema"] != LOSS or record["subset"] != "full" or record["occasion"] == "checkpoint":
            continue
        values, column = record["losses"].get(series), games.index(record["game"])
        before = [u for u in added.values() if u < record["update"] or record["occasion"] == "end"]
        if values is None or values["mean"] is None or not before or added[record["game"]] > max(before):
            continue
        for row, game in enumerate(games):
            if added[game] == max(before):
                matrix[row, column] = values["mean"]
    return games, matrix
