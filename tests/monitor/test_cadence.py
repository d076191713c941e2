"""Checkpoints: against a brute-force grid, with and without strides."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cadence import checkpoint, checkpoints, checkpoints_until, due, following


def test_first_checkpoints_by_hand():
    # 50 * 10^(k / 10) = 50, 62.9, 79.2, 99.8, 125.6, 158.1, 199.1, 250.6, 315.5, 397.2, 500
    assert checkpoints(500, 50, 10) == [50, 63, 79, 100, 126, 158, 199, 251, 315, 397, 500]


@pytest.mark.parametrize(("points", "decades"), [(60, 3), (10, 4), (4, 2)])
def test_as_many_a_decade_as_asked(points, decades):
    assert len(checkpoints(50 * 10**decades, 50, points)) == points * decades + 1


@given(since=st.integers(-100, 200_000), s_min=st.integers(1, 200), points=st.integers(1, 80))
def test_count_equals_brute_force(since, s_min, points):
    last = math.ceil(points * math.log10(200_001 / s_min)) + 2
    assert checkpoints_until(since, s_min, points) == sum(checkpoint(k, s_min, points) <= since for k in range(last))


@given(strides=st.lists(st.integers(1, 40), max_size=60))
def test_strides_miss_no_checkpoint_for_good(strides):
    now, measured = 0, 0
    for stride in strides:
        measured += due(now, now + stride, 50, 10)
        now += stride
    grid = checkpoints(now, 50, 10)
    assert measured <= len(grid)
    assert (measured > 0) == (len(grid) > 0)


def test_one_update_at_a_time_measures_exactly_at_the_checkpoints():
    assert [s for s in range(1, 2000) if due(s - 1, s, 50, 60)] == checkpoints(1999, 50, 60)
    assert not any(due(s - 1, s, 50, 60) for s in range(-500, 50))


@given(since=st.integers(-100, 20_000), s_min=st.integers(1, 200), points=st.integers(1, 80))
def test_the_following_checkpoint_is_the_first_at_which_something_is_due(since, s_min, points):
    found = following(since, s_min, points)
    assert found > since
    assert due(since, found, s_min, points)
    assert not due(since, found - 1, s_min, points)
