"""Fits over scale on planted laws: exponents inside their intervals at the stated rate, breaks found, none invented."""

import numpy as np
import pytest

from monitor.refusals import UndefinedError
from monitor.scaling import (
    BROKEN,
    PLAIN,
    corrected_akaike,
    elo_per_doubling,
    fifty_percent_games,
    find_break,
    fit_law,
    held_out_error,
)

SIZES, AMOUNTS = 10.0 ** np.linspace(3, 6, 7), 10.0 ** np.linspace(3, 6, 7)
TRUTH = {"E": 0.5, "A": 30.0, "a": 0.4, "B": 20.0, "b": 0.35}


def planted(generator, noise=0.01, bend=None, sizes=SIZES):
    """(N, D, loss, configuration): one run a (N, D); bend: (N_b, change of the exponent beyond it)."""
    size, data = (part.ravel() for part in np.meshgrid(sizes, AMOUNTS))
    term = TRUTH["A"] * size ** -TRUTH["a"]
    if bend:
        term = term * np.maximum(size / bend[0], 1.0) ** -bend[1]
    loss = TRUTH["E"] + term + TRUTH["B"] * data ** -TRUTH["b"]
    return size, data, loss * np.exp(noise * generator.normal(size=len(size))), np.arange(len(size))


def test_a_law_without_noise_is_found_exactly():
    found = fit_law(*planted(np.random.default_rng(0), 0.0))
    np.testing.assert_allclose(np.exp(found.parameters[[0, 1, 3]]), [0.5, 30, 20], rtol=1e-2)
    np.testing.assert_allclose(found.parameters[[2, 4]], [0.4, 0.35], rtol=5e-3)
    np.testing.assert_allclose(found.predict(np.array([1e4]), np.array([1e5])), [
        0.5 + 30 * 1e4**-0.4 + 20 * 1e5**-0.35
    ], rtol=1e-4)  # fmt: skip


def test_one_wild_measurement_hardly_matters():
    size, data, loss, configuration = planted(np.random.default_rng(1), 0.0)
    loss[10] *= 3
    np.testing.assert_allclose(fit_law(size, data, loss, configuration).parameters[[2, 4]], [0.4, 0.35], rtol=0.03)


@pytest.mark.parametrize("law", [PLAIN, BROKEN], ids=["plain", "broken"])
def test_slopes_are_those_of_finite_differences(law):
    generator = np.random.default_rng(2)
    size, data = (np.log(10.0 ** generator.uniform(3, 6, 20)) for _ in range(2))
    parameters = np.array([-0.7, 3.4, 0.4, 3.0, 0.35, np.log(3e4), 0.2])[: len(law.names)]
    terms, slopes = law.terms(parameters, size, data)
    for place in range(len(parameters)):
        step = np.zeros(len(parameters))
        step[place] = 1e-6
        slow = (law.terms(parameters + step, size, data)[0] - law.terms(parameters - step, size, data)[0]) / 2e-6
        np.testing.assert_allclose(slopes[:, :, place], slow, atol=1e-6)
    assert terms.shape == (3, 20)


def rate(runs):
    holds = {name: 0 for name in TRUTH}
    for seed in range(runs):
        generator = np.random.default_rng(seed)
        found = fit_law(*planted(generator), generator)
        for name, value in TRUTH.items():
            interval = found.interval(name)
            holds[name] += interval.low <= value <= interval.high
    return holds


def test_planted_exponents_are_inside_their_intervals():
    holds = rate(5)
    assert min(holds.values()) >= 3, holds


@pytest.mark.slow
def test_planted_exponents_are_inside_their_intervals_at_the_stated_rate():
    """95 % intervals of a percentile bootstrap over 49 configurations: at least 90 %, allowing for 200 simulations."""
    holds = rate(200)
    print({name: count / 200 for name, count in holds.items()})
    assert min(holds.values()) / 200 >= 0.90 - 2 * np.sqrt(0.09 / 200), holds


def test_the_bootstrap_draws_configurations_and_not_points():
    """Points of one configuration that are copies of each other add nothing: the interval stays as wide."""
    generator = np.random.default_rng(3)
    size, data, loss, configuration = planted(generator)
    once = fit_law(size, data, loss, configuration, np.random.default_rng(0)).interval("a")
    copies = [np.repeat(part, 4) for part in (size, data, loss, configuration)]
    again = fit_law(*copies, np.random.default_rng(0)).interval("a")
    assert (again.high - again.low) == pytest.approx(once.high - once.low, rel=0.05)


def test_a_break_is_found_and_none_is_invented():
    wide = 10.0 ** np.linspace(3, 7, 9)
    found = find_break(*planted(np.random.default_rng(4), 0.005, bend=(1e5, 0.6), sizes=wide))
    assert found.accepted
    assert np.log10(found.at) == pytest.approx(5, abs=0.3)
    assert found.broken_error < found.plain_error
    for seed in range(3):
        none = find_break(*planted(np.random.default_rng(seed), 0.01, sizes=wide))
        assert not none.accepted


def test_the_held_out_error_of_the_right_law_is_the_noise():
    error = held_out_error(*planted(np.random.default_rng(5), 0.01))
    assert error < 0.04


def test_corrected_akaike_by_hand():
    residuals = np.array([0.1, -0.1, 0.2, -0.2, 0.1, -0.1, 0.0, 0.1, -0.1, 0.0])
    squares = (residuals**2).sum()
    assert corrected_akaike(residuals, 2) == pytest.approx(10 * np.log(squares / 10) + 6 + 2 * 3 * 4 / 6)
    with pytest.raises(UndefinedError, match="cannot carry"):
        corrected_akaike(residuals[:4], 3)


def test_too_little_is_refused():
    size, data, loss, configuration = planted(np.random.default_rng(6))
    few = size <= SIZES[2]
    with pytest.raises(UndefinedError, match="different sizes N"):
        fit_law(size[few], data[few], loss[few], configuration[few])
    with pytest.raises(UndefinedError, match="above 0"):
        fit_law(size, data, loss - 10, configuration)
    with pytest.raises(UndefinedError, match="at least 8 configurations"):
        fit_law(size, data, loss, configuration // 10, np.random.default_rng(0))
    with pytest.raises(UndefinedError, match="no bootstrap"):
        fit_law(size, data, loss, configuration).interval("a")
    some = size <= SIZES[4]
    with pytest.raises(UndefinedError, match="at least 6"):
        find_break(size[some], data[some], loss[some], configuration[some])


# -- K50 -------------------------------------------------------------------------------------------------------------


def outcomes(generator, fifty=8.0, slope=1.5, per_tenfold=1.0, seeds=10):
    games, sizes = (part.ravel() for part in np.meshgrid([1, 2, 4, 8, 16, 32], [1e4, 1e5]))
    games, sizes = np.repeat(games, seeds).astype(float), np.repeat(sizes, seeds)
    logit = slope * (np.log2(games) - np.log2(fifty)) + per_tenfold * (np.log10(sizes) - 4)
    return games, sizes, generator.random(len(games)) < 1 / (1 + np.exp(-logit))


def test_k50_is_inside_its_profile_interval_at_the_stated_rate():
    holds, runs = 0, 40
    for seed in range(runs):
        games, sizes, happened = outcomes(np.random.default_rng(seed))
        found = fifty_percent_games(games, sizes, happened, 1e4)
        holds += found.low <= 8 <= found.high
    assert holds / runs >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / runs)


def test_k50_moves_with_the_size():
    games, sizes, happened = outcomes(np.random.default_rng(1), seeds=200)
    small, large = (fifty_percent_games(games, sizes, happened, size) for size in (1e4, 1e5))
    assert small.games == pytest.approx(8, rel=0.15)
    assert large.games == pytest.approx(8 * 2 ** (-1 / 1.5), rel=0.15)
    assert small.per_doubling == pytest.approx(1.5, rel=0.15)
    assert small.per_tenfold == pytest.approx(1.0, rel=0.25)


def test_a_clean_step_has_a_closed_interval_and_a_coin_an_open_one():
    games = np.repeat([1.0, 2, 4, 8, 16], 6)
    one = np.full(len(games), 1e4)
    found = fifty_percent_games(games, one, games > 3, 1e4)
    assert 1 < found.low < found.high < 8
    assert found.per_tenfold == 0
    coin = np.arange(len(games)) % 2 == 0
    assert fifty_percent_games(games, one, coin, 1e4).high == np.inf


def test_k50_of_too_few_runs_is_refused():
    games = np.repeat([1.0, 2, 4], 4)
    with pytest.raises(UndefinedError, match="at least 5 seeds"):
        fifty_percent_games(games, np.ones(12), games > 1, 1.0)
    games = np.repeat([1.0, 2, 4], 5)
    with pytest.raises(UndefinedError, match="in every run"):
        fifty_percent_games(games, np.ones(15), games > 0, 1.0)
    with pytest.raises(UndefinedError, match="at least 3"):
        fifty_percent_games(games[:10], np.ones(10), games[:10] > 1, 1.0)


# -- Elo -------------------------------------------------------------------------------------------------------------


def test_elo_per_doubling_is_inside_its_interval_at_the_stated_rate():
    generator, holds, bends = np.random.default_rng(2), 0, 0
    simulations = 2.0 ** np.arange(9)
    error = np.linspace(10, 30, 9)
    for _ in range(400):
        found = elo_per_doubling(simulations, 60 * np.log2(simulations) + error * generator.normal(size=9), error)
        holds += found.per_doubling.low <= 60 <= found.per_doubling.high
        bends += not found.bend.low <= 0 <= found.bend.high
    assert holds / 400 == pytest.approx(0.95, abs=0.03)
    assert bends / 400 == pytest.approx(0.05, abs=0.03)


def test_saturation_is_a_bend():
    simulations = 2.0 ** np.arange(9)
    found = elo_per_doubling(simulations, 400 * (1 - 0.6 ** np.arange(9)), np.full(9, 10.0))
    assert found.bend.high < 0
    with pytest.raises(UndefinedError, match="at least 4"):
        elo_per_doubling(simulations[:3], np.zeros(3), np.ones(3))
    with pytest.raises(UndefinedError, match="anchor"):
        elo_per_doubling(simulations, np.zeros(9), np.zeros(9))
