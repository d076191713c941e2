"""From losses a head and an unrolled step to the named series that the monitor follows.

The loop measures `head@k`: the loss of a head after k unrolled steps of the learned model, in nats, one value a
position, NaN where that position has no target (the game had ended; nothing solves it). The series are:

  policy, value                     at the position itself: `policy@0`, `value@0`
  reward, continuation, next_mover  after one move: `reward@1`, `continuation@1`, `next_mover@1`
  dynamics_k                        after k moves: the sum of all heads that have a target there

All are cross-entropies or divergences in nats, so the sum is the loss of predicting everything that the heads
predict, taken as independent. Which targets exist is fixed by the frozen set, so that a sum
never changes because a head came or went.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

HEADS = ("policy", "value", "reward", "continuation", "next_mover")
STRATA = ("opening", "middle", "end")  # the values 0, 1, 2 of a frozen set's `phase`

_FIRST = {"policy": "policy@0", "value": "value@0"} | {head: f"{head}@1" for head in HEADS[2:]}


def named_series(losses: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Series name -> [N] float64 from `head@k` -> [N]; heads without any target are left out.

    Raises ValueError for a name that is not `head@k`, or arrays of different lengths.
    """
    losses = {name: np.asarray(values, np.float64) for name, values in losses.items()}
    shapes = {values.shape for values in losses.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ValueError(f"losses must all be [N], one value a position; found the shapes {sorted(shapes)}")
    steps: dict[int, list[np.ndarray]] = {}
    for name, values in losses.items():
        head, _, step = name.partition("@")
        if head not in HEADS or not step.isdigit():
            raise ValueError(f"unknown loss {name!r}: write HEAD@K with HEAD one of {', '.join(HEADS)} and K >= 0")
        steps.setdefault(int(step), []).append(values)
    series = {head: losses[name] for head, name in _FIRST.items() if name in losses}
    for step in sorted(steps.keys() - {0}):
        stack = np.stack(steps[step])
        series[f"dynamics_{step}"] = np.where(np.isfinite(stack).any(0), np.nansum(stack, 0), np.nan)
    return {name: values for name, values in series.items() if np.isfinite(values).any()}


def summaries(values: np.ndarray, groups: np.ndarray) -> list[list[dict[str, float | int | None]]]:
    """[S][G] mean, standard error and count of the finite entries of values [S, N] in groups [G, N] bool; None where
    undefined."""
    used = np.isfinite(values)[:, None] & groups  # [S, G, N]
    count = used.sum(-1)
    clean = np.where(used, values[:, None], 0.0)
    mean = clean.sum(-1) / np.maximum(count, 1)
    squares = (np.where(used, clean - mean[..., None], 0.0) ** 2).sum(-1)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return [
        [
            {"mean": plain(m) if n else None, "se": plain(e) if n > 1 else None, "n": n}
            for m, e, n in zip(*row, strict=True)
        ]
        for row in zip(mean.tolist(), error.tolist(), count.tolist(), strict=True)
    ]


def plain(number: float | np.floating) -> float | None:
    """A JSON number of seven significant digits; None for what is not finite."""
    return float(f"{number:.7g}") if math.isfinite(number) else None
