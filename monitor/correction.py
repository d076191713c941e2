"""Correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p: Sequence[float], tests: int | None = None) -> np.ndarray:
    """Adjusted p-values [k] (Benjamini and Hochberg 1995): at most q of those with a value <= q are false, on average.

    p: [k]; tests: the size of the family where not all were made, m >= k; the others count as p = 1.
    Raises ValueError for a p outside [0, 1] or m < k.
    """
    values = np.asarray(p, np.float64)
    count = len(values) if tests is None else tests
    if count < len(values) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1], no more of them than tests; found {list(p)}, {count} tests")
    order = np.argsort(values)
    scaled = values[order] * count / np.arange(1, len(values) + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    out = np.empty_like(values)
    out[order] = adjusted
    return out
