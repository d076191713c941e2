"""Excess over nulls, the sharing index and its band: by hand, and at their stated rates."""

import numpy as np
import pytest

from monitor.refusals import UndefinedError
from monitor.sharing import Null, excess, over_seeds, resamplings, sharing_index


def test_excess_is_over_the_worst_null_and_its_band_holds_against_all():
    nulls = [Null("fixed", np.array([0.5]), paired_error=0.01), Null("drawn", np.array([0.1, 0.3, 0.2, 0.2, 0.2, 0.2]))]
    found = excess(0.9, 0.05, nulls)
    assert (found.null, found.null_value) == ("fixed", 0.5)
    assert found.value == pytest.approx(0.4)
    # Against the fixed one .4 - 1.96 * .01; the drawn ones: .7 less sqrt((1.96 * .05)^2 + (2.571 * .0632 * 1.08)^2).
    assert found.low == pytest.approx(0.4 - 0.0196, abs=1e-4)
    low = 0.7 - np.hypot(0.098, 2.5706 * 0.063246 * 1.0801)
    assert excess(0.9, 0.05, nulls[1:]).low == pytest.approx(low, abs=1e-4)


def test_the_reach_of_many_draws_is_their_upper_point():
    draws = np.arange(1, 200) / 200  # 199 draws: one more is above the 195th with probability 5 / 200
    null = Null("drawn", draws)
    assert null.mean + null.reach == pytest.approx(195 / 200)
    assert Null("drawn", np.arange(40.0)).mean + Null("drawn", np.arange(40.0)).reach == 39


@pytest.mark.parametrize("draws", [4, 6, 40, 199])
def test_a_further_draw_of_the_null_is_in_excess_at_the_stated_rate(draws):
    generator = np.random.default_rng(draws)
    found = 0
    for _ in range(4000):
        sample = generator.normal(size=draws + 1)
        found += excess(float(sample[0]), 0.0, [Null("drawn", sample[1:])]).low > 0
    assert found / 4000 == pytest.approx(0.025, abs=0.008)


def test_errors_of_the_positions_count_too():
    generator = np.random.default_rng(1)
    found = sum(
        excess(float(generator.normal(scale=np.sqrt(2))), 1.0, [Null("drawn", generator.normal(size=40))]).low > 0
        for _ in range(4000)
    )
    assert found / 4000 == pytest.approx(0.025, abs=0.008)


def test_the_index_runs_from_the_null_to_the_twin():
    nulls = [Null("fixed", np.array([0.2]))]
    for value, expected in ((0.2, 0.0), (0.5, 0.5), (0.8, 1.0), (0.1, -1 / 6)):
        index, low, high = sharing_index(excess(value, 0.03, nulls), 0.8)
        assert index == pytest.approx(expected)
        assert (high - low) / 2 == pytest.approx(1.96 * 0.03 / 0.6, abs=1e-4)
    with pytest.raises(UndefinedError, match="cannot tell here"):
        sharing_index(excess(0.3, 0.01, nulls), 0.2)


def test_no_null_and_no_number_are_refused():
    with pytest.raises(UndefinedError, match="without its null"):
        excess(0.5, 0.1, [])
    with pytest.raises(UndefinedError, match="not finite"):
        excess(np.nan, 0.1, [Null("fixed", np.array([0.2]))])
    with pytest.raises(UndefinedError, match="at least 3 runs"):
        over_seeds(np.array([0.1, 0.2]))


def test_over_seeds_is_students_band():
    mean, low, high = over_seeds(np.array([1.0, 2.0, 3.0]))
    assert mean == 2
    assert high - low == pytest.approx(2 * 4.302653 / np.sqrt(3))


def test_resamplings_draw_every_position_as_often():
    counts = resamplings(20, 3000, np.random.default_rng(2))
    assert (counts.sum(1) == 20).all()
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.1)
    assert counts.var(0).mean() == pytest.approx(0.95, abs=0.03)
