"""The ledger: every discontinuity of training that could fake an event, with its step.

Smooth schedules and moving averages are no entries. What an introduction itself brings (the new game's share of
the sampling) belongs to its `game_added`. A resume is noted but is no confounder, for it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.records import LEDGER

KINDS = {
    "start": False, "resume": False, "monitor_config": False, "game_added": True, "learning_rate": True,
    "batch_size": True, "replay_size": True, "sampling_weights": True, "simulations": True,
    "hard_target_copy": True, "validation_set": True, "other": True,
}  # fmt: skip
"""Kind of entry -> whether it can fake an event."""

WATCHED = ("learning_rate", "batch_size", "replay_size", "sampling_weights", "simulations")
_JUMP = 0.10  # of the largest learning rate so far: far more than a schedule moves in one update
_WARM_UP = 50  # updates at the start of a run in which a linear warm-up moves faster than that


def entry(kind: str, update: int, env_steps: int, game: str | None, before: Any, after: Any, note: str) -> dict:
    """One ledger record without run, seed and seq. Raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"unknown ledger kind {kind!r}; known are {', '.join(KINDS)}")
    return {
        "schema": LEDGER, "update": update, "env_steps": env_steps, "kind": kind, "game": game, "before": before,
        "after": after, "confounder": KINDS[kind], "note": note,
    }  # fmt: skip


def discontinuities(
    previous: Mapping[str, Any], now: Mapping[str, Any], update: int, peak_rate: float
) -> list[tuple[str, Any, Any]]:
    """What jumped between two successive updates: (kind, before, after) of each.

    previous, now: values of `WATCHED`, those that are known; `sampling_weights` maps game to weight.
    peak_rate: the largest learning rate before `now`; a jump of the rate is measured against it.
    """
    jumps = []
    for kind in WATCHED:
        if kind not in previous or kind not in now or previous[kind] == now[kind]:
            continue
        before, after = previous[kind], now[kind]
        if kind == "learning_rate":
            smooth = abs(after - before) <= _JUMP * max(peak_rate, after)
            if smooth or update <= _WARM_UP:
                continue
        if kind == "sampling_weights" and before.keys() != after.keys():
            continue  # a game came: its introduction is the entry
        jumps.append((kind, before, after))
    return jumps
