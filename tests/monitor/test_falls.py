"""The scan for sudden falls: planted steps are found, smooth learning is not called one."""

import numpy as np
import pytest
from scipy.signal import lfilter

from monitor.falls import ALPHA, peak_of_rise, scan
from monitor.nulls import corrected_correlation, correlations, decay_columns, draw_noise, fit_null, whiten

S = np.geomspace(50, 50_000, 200)
X = np.log10(S)
SMOOTH = {
    "power law": 2 * (S / 50) ** -0.4 + 0.1,
    "knee": 1 / (1 + S / 1000) + 0.05,
    "two exponentials": 0.5 + np.exp(-S / 200) + 0.3 * np.exp(-S / 5000),
    "flat": np.ones_like(S),
}


def noise(phi, sigma, seed):
    """AR(1) noise by scipy's filter, independent of the monitor's own."""
    innovations = np.random.default_rng(seed).normal(size=len(S) + 500) * sigma * np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], innovations)[500:]


def fall(size, place, scale):
    return -size / (1 + np.exp(-(X - place) / scale))


@pytest.mark.parametrize("scale", [0.01, 0.02])
@pytest.mark.parametrize("background", ["flat", "power law", "two exponentials"])
def test_a_planted_fall_is_found_where_it_is(background, scale):
    loss = SMOOTH[background] * np.exp(noise(0.5, 0.02, 1) + fall(0.3, 3.3, scale))
    found = scan(S, loss, np.random.default_rng(0), surrogates=249)
    assert found.p <= ALPHA
    assert found.kind == ("breakthrough" if background == "flat" else "drop")
    assert np.log10(found.step) == pytest.approx(3.3, abs=0.02)
    assert found.size == pytest.approx(0.3, abs=0.1)
    assert found.sigma == pytest.approx(0.02, rel=0.35)
    if background == "flat":
        start, end = found.plateau
        assert start < 100
        assert 3.1 < np.log10(end) < 3.3


def test_a_rise_is_no_fall():
    loss = np.exp(noise(0.5, 0.02, 2) - fall(0.3, 3.3, 0.02))
    assert scan(S, loss, np.random.default_rng(0), surrogates=99).kind == "none"


@pytest.mark.parametrize(("back", "held"), [(3.38, False), (3.40, False), (3.6, True)])
def test_a_fall_that_comes_back_within_a_seventh_of_a_decade_is_not_held(back, held):
    dip = fall(0.4, 3.3, 0.01) - fall(0.4, back, 0.01)
    found = scan(S, np.exp(noise(0.3, 0.02, 3) + dip), np.random.default_rng(0), surrogates=9)
    assert np.log10(found.step) == pytest.approx(3.3, abs=0.02)
    assert found.held is held
    assert held or found.kind == "none"


def test_smooth_learning_is_seldom_called_a_fall():
    """40 smooth curves; at a true level of 5 % more than 6 below p = .05 have probability 1.4 %."""
    p = []
    for number in range(40):
        background = list(SMOOTH.values())[number % 4]
        loss = background * np.exp(noise(0.6, 0.02, 100 + number))
        p.append(scan(S, loss, np.random.default_rng(number), surrogates=39, always_p=True).p)
    assert sum(value <= 0.05 for value in p) <= 6
    assert np.mean(p) > 0.3  # a test that says 1 to everything would be no test: see the planted falls


def test_the_recovery_after_a_later_introduction_is_smooth_learning():
    jump = np.where(S >= 2000, np.exp(-(S - 2000) / 60), 0.0)
    loss = (SMOOTH["power law"] + 0.8 * jump) * np.exp(noise(0.3, 0.02, 4))
    told = scan(S, loss, np.random.default_rng(0), introductions=[2000], surrogates=99, always_p=True)
    assert told.p > 0.05


def test_a_fall_after_a_rise_is_found_from_the_peak_on():
    rise = 0.8 / (1 + np.exp(-(X - 2.1) / 0.08))
    loss = np.exp(rise + noise(0.5, 0.01, 6) + fall(0.5, 3.6, 0.02))
    found = scan(S, loss, np.random.default_rng(0), surrogates=499)
    assert found.kind == "breakthrough"
    assert np.log10(found.step) == pytest.approx(3.6, abs=0.02)
    assert np.log10(found.plateau[0]) > 2.2
    assert peak_of_rise(X, np.log(loss)) > 30
    assert peak_of_rise(X, np.log(SMOOTH["power law"]) + noise(0.5, 0.02, 6)) == 0
    assert peak_of_rise(X, noise(0.9, 0.02, 7)) == 0


def test_what_cannot_be_a_fall_gets_no_p_and_says_why():
    slow = scan(S, np.exp(noise(0.3, 0.01, 8) + fall(0.6, 3.3, 0.2)), np.random.default_rng(0))
    assert slow.kind == "none"
    assert "sharp" in slow.unmet
    assert (slow.p, slow.surrogates) == (None, 0)
    small = scan(S, np.exp(noise(0.3, 0.005, 9) + fall(0.06, 3.3, 0.02)), np.random.default_rng(0))
    assert small.unmet == ("size",)
    assert small.size == pytest.approx(0.06, abs=0.01)
    asked = scan(S, np.exp(noise(0.3, 0.005, 9) + fall(0.06, 3.3, 0.02)), np.random.default_rng(0), always_p=True)
    assert asked.unmet == ("size",)
    assert asked.p == pytest.approx(1 / 1000)


def test_a_fall_at_the_end_is_undecided():
    end = int(np.flatnonzero(X > 3.3 + 0.18)[0])
    loss = np.exp(noise(0.3, 0.01, 10) + fall(0.6, 3.3, 0.02))
    cut = scan(S[:end], loss[:end], np.random.default_rng(0))
    assert cut.undecided
    assert cut.kind == "none"
    assert S[end - 1] < cut.seen_out
    assert scan(S[: end + 12], loss[: end + 12], np.random.default_rng(0)).kind == "breakthrough"


def test_the_same_generator_gives_the_same_answer():
    loss = SMOOTH["knee"] * np.exp(noise(0.5, 0.02, 5))
    assert scan(S, loss, np.random.default_rng(3), surrogates=19) == scan(
        S, loss, np.random.default_rng(3), surrogates=19
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, loss: (s[:30], loss[:30]), "at least 40 points"),
        (lambda s, loss: (s, np.where(np.arange(200) == 7, np.nan, loss)), "point 7 is not finite"),
        (lambda s, loss: (s[::-1], loss), "increase; point 1"),
        (lambda s, loss: (s, loss - loss[50]), "above 0, for their logarithm"),
        (lambda s, loss: (s, loss[:-1]), "equal length"),
        (lambda s, loss: (np.linspace(50, 90, 200), loss), "at least 0.5 decades"),
    ],
)
def test_series_that_cannot_be_judged_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        scan(*change(S, SMOOTH["power law"]), np.random.default_rng(0), surrogates=9)


@pytest.mark.parametrize("background", SMOOTH)
def test_smooth_learning_is_a_mixture_of_decays(background):
    fit, _ = fit_null(SMOOTH[background], decay_columns(S, []))
    assert np.abs(np.log(fit / SMOOTH[background])).max() < 0.01  # half of the noise below


def test_whitening_undoes_the_correlation():
    generator = np.random.default_rng(0)
    x = np.sort(generator.uniform(0, 3, 400))  # uneven spacing
    draws = np.stack([draw_noise(x, 0.8, 0.5, generator) for _ in range(400)])
    covariance = np.cov(draws.T)
    gaps = np.abs(x[:, None] - x[None, :])
    expected = 0.25 * 0.8 ** (gaps / np.median(np.diff(x)))
    assert np.abs(covariance - expected).max() < 0.1
    white = whiten(draws, correlations(x, 0.8)) / 0.5
    assert np.abs(np.cov(white.T) - np.eye(400)).max() < 0.35  # 5 standard errors of 400 draws are 0.25 off, 0.35 on
    assert abs((white[:, 1:] * white[:, :-1]).mean()) < 0.01


def test_correlation_is_corrected_for_a_short_series():
    found = [corrected_correlation(noise(0.6, 1.0, seed)[:60])[0] for seed in range(300)]
    assert np.mean(found) == pytest.approx(0.6, abs=0.03)
