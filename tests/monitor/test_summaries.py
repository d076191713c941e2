"""Means and errors of many series at once, against numpy one at a time."""

import numpy as np
import pytest

from monitor.series import plain, summaries


def test_every_series_and_group_as_numpy_says_one_at_a_time():
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 3.0, (5, 40))
    values[1, ::3], values[2, 1:], values[3], values[4, 5] = np.nan, np.nan, np.nan, np.inf
    groups = np.stack([np.ones(40, bool), rng.random(40) < 0.3, np.arange(40) == 7, np.zeros(40, bool)])

    found = summaries(values, groups)

    for row, of_row in zip(values, found, strict=True):
        for group, summary in zip(groups, of_row, strict=True):
            known = row[group & np.isfinite(row)]
            assert summary["n"] == len(known)
            assert summary["mean"] == (pytest.approx(known.mean(), rel=1e-6) if len(known) else None)
            error = known.std(ddof=1) / len(known) ** 0.5 if len(known) > 1 else None
            assert summary["se"] == (None if error is None else pytest.approx(error, rel=1e-6))


def test_numbers_have_seven_digits_and_what_is_not_finite_is_none():
    assert plain(1 / 3) == 0.3333333
    assert plain(np.float32(2.0)) == 2.0
    assert plain(float("nan")) is plain(float("inf")) is None
