"""When the monitor measures: checkpoints that are log-spaced in the updates since an introduction.

Checkpoint k lies at round(s_min * 10^(k / points)) updates after the introduction; where rounding makes two
fall together they are one. All functions are pure, so that a resumed run measures where an uninterrupted one does.
"""

from __future__ import annotations

import math


def checkpoint(index: int, s_min: int, points: int) -> int:
    """Updates since the introduction at checkpoint `index` (0, 1, ...), with `points` checkpoints a decade."""
    return round(s_min * 10 ** (index / points))


def checkpoints_until(since: int, s_min: int, points: int) -> int:
    """The number of checkpoints k = 0, 1, ... at or before `since` updates after the introduction."""
    if since < s_min:
        return 0
    # Start below the logarithm's answer and walk up: its rounding may be off by one, ours may not.
    index = max(int(points * math.log10(since / s_min)) - 1, 0)
    while checkpoint(index, s_min, points) <= since:
        index += 1
    return index


def due(previous: int, now: int, s_min: int, points: int) -> bool:
    """Whether a checkpoint lies in (previous, now], both in updates since the introduction.

    A loop that makes one update at a time passes `now - 1`; one that makes several at once still measures, late.
    """
    return checkpoints_until(now, s_min, points) > checkpoints_until(previous, s_min, points)


def following(since: int, s_min: int, points: int) -> int:
    """The first checkpoint after `since`, both in updates since the introduction."""
    index = checkpoints_until(since, s_min, points)
    return checkpoint(index, s_min, points)


def checkpoints(last: int, s_min: int, points: int) -> list[int]:
    """All distinct checkpoints at or before `last` updates since the introduction, in order."""
    return sorted({checkpoint(k, s_min, points) for k in range(checkpoints_until(last, s_min, points))})
