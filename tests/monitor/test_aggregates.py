"""rliable's aggregates: against scipy and pair-by-pair counting, and their intervals at their rate."""

import numpy as np
import pytest
from scipy import stats

from monitor.aggregates import improvement, interquartile_mean, iqm, probability_of_improvement
from monitor.refusals import UndefinedError


@pytest.mark.parametrize("shape", [(5, 4), (3, 3), (10, 1), (7, 6)])
def test_the_interquartile_mean_is_scipys_trimmed_mean(shape):
    values = np.random.default_rng(0).normal(size=shape)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=None))


def test_improvement_counts_pairs_and_halves_ties():
    one, other = np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[1.0, 6.0], [0.0, 5.0], [3.0, 4.0]])
    games = []
    for game in range(2):
        pairs = [(a > b) + 0.5 * (a == b) for a in one[:, game] for b in other[:, game]]
        games.append(np.mean(pairs))
    assert improvement(one, other) == pytest.approx(np.mean(games))
    assert improvement(one, other) + improvement(other, one) == pytest.approx(1)


def test_intervals_hold_the_truth_at_about_their_rate():
    """Ten seeds of eight games that differ: percentile intervals are a little narrow, as Agarwal et al. report."""
    generator, holds = np.random.default_rng(1), 0
    means = np.linspace(-1, 1, 8)
    truth = interquartile_mean(generator.normal(size=(40_000, 8)) + means)
    for _ in range(100):
        found = iqm(generator.normal(size=(10, 8)) + means, generator)
        holds += found.low <= truth <= found.high
    assert 0.85 <= holds / 100 <= 1


def test_the_same_algorithm_is_no_improvement_and_a_better_one_is():
    generator = np.random.default_rng(2)
    one = generator.normal(size=(10, 5))
    same = probability_of_improvement(one, generator.normal(size=(10, 5)), generator)
    assert same.low < 0.5 < same.high
    better = probability_of_improvement(one + 2, generator.normal(size=(8, 5)), generator)
    assert better.low > 0.8


def test_too_few_seeds_and_missing_runs_are_refused():
    generator = np.random.default_rng(3)
    with pytest.raises(UndefinedError, match="at least 3"):
        iqm(np.ones((2, 4)), generator)
    with pytest.raises(UndefinedError, match="not finite"):
        iqm(np.array([[1.0, np.nan]] * 4), generator)
    with pytest.raises(UndefinedError, match="same games"):
        probability_of_improvement(np.ones((4, 2)), np.ones((4, 3)), generator)
    with pytest.raises(UndefinedError, match=r"\[seeds, games\]"):
        iqm(np.ones(4), generator)
