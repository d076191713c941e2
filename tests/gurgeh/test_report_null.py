"""The band of smooth learning beside a curve: it holds what is smooth, and stays up where a curve falls."""

import numpy as np
import pytest

from gurgeh.report_null import smooth_null

STEPS = np.unique(np.geomspace(50, 5000, 140).round())


def noise(seed, sigma=0.03):
    return np.exp(sigma * np.random.default_rng(seed).normal(size=len(STEPS)))


@pytest.mark.parametrize("seed", range(3))
def test_a_power_law_lies_inside_its_band(seed):
    truth = 0.2 + 30 / STEPS**0.8
    found = smooth_null(STEPS, truth * noise(seed))
    np.testing.assert_allclose(found.middle, truth, rtol=0.05)
    assert ((truth > found.low) & (truth < found.high)).mean() > 0.95
    assert 0.01 < found.outside < 0.11
    assert found.sigma == pytest.approx(0.03, rel=0.25)


def test_beside_a_confirmed_fall_the_null_is_drawn_without_it():
    fall, size, scale = 1000.0, 0.8, 0.02
    truth = 1.5 + 0 * STEPS
    fallen = truth * np.exp(-size / (1 + np.exp((np.log10(fall) - np.log10(STEPS)) / scale)))
    found = smooth_null(STEPS, fallen * noise(0), falls=[(fall, size, scale)])
    np.testing.assert_allclose(found.middle, truth, rtol=0.05)
    after = STEPS > 1300
    assert (fallen[after] < found.low[after]).all(), "the curve leaves the band where it fell"
    assert found.outside > 0.2


def test_an_old_game_that_recovers_from_an_introduction_is_smooth():
    introduced = 800.0
    truth = 0.5 + 2 * np.exp(-STEPS / 150) + np.where(introduced <= STEPS, 0.6 * np.exp(-(STEPS - introduced) / 300), 0)
    without, beside = (smooth_null(STEPS, truth * noise(1), later) for later in ((), (introduced,)))
    assert beside.sigma < 0.045 < without.sigma
    assert beside.outside < 0.11


def test_too_short_a_curve_has_no_null():
    with pytest.raises(ValueError, match="at least 40 points"):
        smooth_null(STEPS[:20], np.ones(20))
