"""Transfer: GEM's and Continual World's measures by hand, savings of planted curves, matrices and learning curves."""

import numpy as np
import pytest

from monitor.refusals import UndefinedError
from monitor.transfer import (
    area_ratio,
    average_performance,
    budgets,
    continual_forgetting,
    continual_forward_transfer,
    forgetting,
    forward_transfer,
    jump_start,
    learning_curve,
    reached,
    savings,
    transfer_matrix,
)

RESULTS = np.array([[0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.6, 0.9, 0.7]])


def test_forward_transfer_is_above_the_untrained_before_the_introduction():
    assert forward_transfer(RESULTS, np.array([0.1, 0.1, 0.2])) == pytest.approx(((0.3 - 0.1) + (0.4 - 0.2)) / 2)
    with pytest.raises(UndefinedError, match=r"before the introduction of games \[1\]"):
        forward_transfer(np.where(RESULTS == 0.4, np.nan, RESULTS), np.zeros(3))
    with pytest.raises(UndefinedError, match="square matrix"):
        forward_transfer(RESULTS[:2], np.zeros(2))


def test_forgetting_counts_from_the_best_before_the_end():
    assert forgetting(RESULTS) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.9)) / 2)
    better = RESULTS.copy()
    better[1, 0] = 0.95
    assert forgetting(better) == pytest.approx(((0.95 - 0.6) + (0.8 - 0.9)) / 2)
    assert forgetting(np.where(np.triu(np.ones((3, 3)), 1) > 0, np.nan, RESULTS)) == pytest.approx(0.1)


def test_continual_worlds_measures_by_hand():
    curves = np.array([[0.0, 0.8, 0.6, 0.5], [0.1, 0.1, 0.5, 0.9]])
    assert average_performance(curves) == pytest.approx(0.7)
    np.testing.assert_allclose(continual_forgetting(curves, np.array([1, 3])), [0.3, 0.0])
    own, alone = np.array([[0.5, 0.9, 0.9]]), np.array([[0.0, 0.4, 0.8]])
    np.testing.assert_allclose(continual_forward_transfer(own, alone), [(0.8 - 0.4) / 0.6])
    with pytest.raises(UndefinedError, match=r"within \[0, 1\]"):
        average_performance(curves * 2)
    with pytest.raises(UndefinedError, match="no scale"):
        continual_forward_transfer(own, np.ones((1, 3)))


def test_a_curve_reaches_what_it_keeps():
    steps = np.array([0.0, 10, 20, 30, 40])
    assert reached(steps, np.array([0.0, 0.6, 0.4, 0.8, 0.9]), 0.5) == pytest.approx(22.5)  # not at 10: it fell back
    assert reached(steps, np.array([0.9, 0.9, 0.9, 0.9, 0.9]), 0.5) == 0
    assert reached(steps, np.array([0.0, 0.9, 0.9, 0.9, 0.1]), 0.5) is None
    with pytest.raises(UndefinedError, match="steps must rise"):
        reached(steps[::-1], steps, 0.5)


def test_planted_savings_are_found():
    """Two exponentials of known time constants reach a threshold at tau log(1 / (1 - threshold))."""
    steps = np.arange(0.0, 3000)
    slow, fast = (1 - np.exp(-steps / tau) for tau in (500, 100))
    times = [reached(steps, curve, 0.8) for curve in (fast, slow)]
    assert times[1] == pytest.approx(500 * np.log(5), abs=0.1)
    found = savings(*times, budget=3000)
    assert found.value == pytest.approx(1 - 100 / 500, abs=1e-3)
    assert not found.bound
    bounded = savings(None, 1000.0, budget=300)
    assert (bounded.value, bounded.bound) == (0.7, True)
    with pytest.raises(UndefinedError, match="never reaches"):
        savings(100.0, None, 300)


def test_area_ratio_and_jump_start():
    steps = np.array([0.0, 1.0, 3.0])
    assert area_ratio(steps, np.array([2.0, 3.0, 3.0]), np.array([1.0, 2.0, 3.0]), 1.0) == pytest.approx(5.5 / 3.5 - 1)
    with pytest.raises(UndefinedError, match="area from scratch"):
        area_ratio(steps, np.ones(3), np.zeros(3), 1.0)
    assert jump_start(0.4, 0.1) == pytest.approx(0.3)
    with pytest.raises(UndefinedError, match="zero-shot"):
        jump_start(np.nan, 0.1)
    assert budgets(20_000) == [0, 20, 60, 200, 600, 2000]
    assert budgets(100) == [0, 1, 3, 10]


def test_all_cells_of_a_matrix_hold_their_truth_together():
    """Family-wise: in at least 95 % of matrices every interval holds the truth; uncorrected ones would in far fewer."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(4, 4))
    holds, runs = 0, 400
    for _ in range(runs):
        found = transfer_matrix(truth + generator.normal(size=(6, 4, 4)))
        holds += bool(((found.low <= truth) & (truth <= found.high)).all())
    assert holds / runs >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / runs)
    assert found.cells == 16


def test_cells_that_were_not_measured_are_left_out():
    samples = np.random.default_rng(1).normal(size=(5, 3, 3)) * 0.1 + 2
    samples[:, range(3), range(3)] = np.nan
    found = transfer_matrix(samples)
    assert found.cells == 6
    assert np.isnan(np.diag(found.mean)).all()
    assert found.certain.sum() == 6
    samples[1:4, 0, 1] = np.nan
    with pytest.raises(UndefinedError, match="the least has 2"):
        transfer_matrix(samples)


def orders(runs, places, generator):
    return np.array([generator.permutation(places) for _ in range(runs)])


def test_a_planted_progress_ratio_is_found_at_the_stated_rate():
    generator = np.random.default_rng(2)
    difficulty, holds = np.array([5.0, 7.0, 6.0, 9.0, 8.0]), 0
    for _ in range(300):
        games = orders(10, 5, generator)
        place = np.log2(np.arange(1, 6))
        run = 0.3 * generator.normal(size=(10, 1))  # runs differ as wholes
        noise = 0.3 * generator.normal(size=(10, 5))
        costs = 2 ** (difficulty[games] - 0.4 * place + run + noise)
        found = learning_curve(costs, games)
        holds += found.beta.low <= -0.4 <= found.beta.high
    assert holds / 300 == pytest.approx(0.95, abs=0.035)
    assert found.progress_ratio.value == pytest.approx(2**found.beta.value)
    assert found.progress_ratio.value < 1


def test_the_same_order_in_every_run_is_refused():
    generator = np.random.default_rng(3)
    games = np.tile(np.arange(4), (5, 1))
    with pytest.raises(UndefinedError, match="balance the order"):
        learning_curve(np.exp(generator.normal(size=(5, 4))), games)
    with pytest.raises(UndefinedError, match="never reached"):
        learning_curve(np.full((5, 4), np.inf), orders(5, 4, generator))
