"""Ratings: closed forms, a general optimiser, simulated tournaments, and what games cannot say."""

import numpy as np
import pytest
from scipy import optimize

from agents.ratings import ELO, expected_score, fit, rate


def test_two_players_have_the_closed_form():
    elo, prior = fit(np.array([[0, 75], [25, 0]]))
    assert elo[0] - elo[1] == pytest.approx(190.848501887865, abs=1e-6)  # 400 log10(3)
    assert prior == 0
    assert elo.sum() == pytest.approx(0)
    assert expected_score(190.848501887865) == pytest.approx(0.75)


def test_draws_are_half_wins():
    drawn = fit(np.array([[0, 10 + 0.5 * 20], [10 + 0.5 * 20, 0]]))[0]
    assert drawn == pytest.approx([0, 0])


def test_three_players_with_a_known_solution():
    """Points exactly as strengths 1, 2 and 6 would share them: the likelihood peaks there."""
    strength = np.array([1.0, 2.0, 6.0])
    games = np.array([[0, 30, 70], [30, 0, 16], [70, 16, 0]])
    points = games * strength[:, None] / (strength[:, None] + strength)
    elo, _ = fit(points)
    assert elo - elo[0] == pytest.approx(400 * np.log10(strength), abs=1e-6)


def test_against_a_general_optimiser():
    rng = np.random.default_rng(3)
    for size in (2, 4, 9):
        points = rng.integers(1, 30, (size, size)) / 2.0
        np.fill_diagonal(points, 0)

        def loss(r, points=points):
            return (points * np.logaddexp(0, r[None] - r[:, None])).sum()

        found = optimize.minimize(loss, np.zeros(size), method="BFGS", options={"gtol": 1e-9}).x
        assert fit(points)[0] == pytest.approx((found - found.mean()) * ELO, abs=1e-3)


def test_far_apart_and_badly_scaled():
    points = np.array([[0, 1e6, 0], [1, 0, 1e6], [0, 1, 0]])
    assert np.diff(fit(points)[0]) == pytest.approx([-2400, -2400], abs=1e-3)
    points = np.array([[0, 1e6, 3], [1, 0, 1e6], [1e-3, 1, 0]])  # 3 games across make little difference
    elo, _ = fit(points)
    chance = expected_score(elo[:, None] - elo)
    assert (points - (points + points.T) * chance).sum(1) == pytest.approx([0, 0, 0], abs=1e-2)


def test_swapping_players_swaps_ratings():
    rng = np.random.default_rng(5)
    units = rng.integers(0, 3, (40, 4, 4)) / 2.0
    units[:, range(4), range(4)] = 0
    order = [2, 0, 3, 1]
    one, other = rate(units, seed=1), rate(units[:, order][:, :, order], seed=1)
    assert other.elo == pytest.approx(one.elo[order])
    assert other.low == pytest.approx(one.low[order])
    assert other.high == pytest.approx(one.high[order])
    mirrored = rate(units.transpose(0, 2, 1), seed=1)  # everybody lost what they won
    assert mirrored.elo == pytest.approx(-one.elo)


def test_who_wins_everything():
    points = np.array([[0, 20.0], [0, 0]])
    elo, prior = fit(points)
    assert prior == 1
    assert elo[0] - elo[1] == pytest.approx(400 * np.log10(20.5 / 0.5))  # one virtual draw
    with pytest.raises(ValueError, match="took no point"):
        fit(points, prior=0)
    assert np.ptp(fit(points, prior=4)[0]) == pytest.approx(400 * np.log10(22 / 2))
    found = rate(np.tile(points / 10, (10, 1, 1)), anchor=(1, 0.0))  # ten openings, 2-0 each
    assert found.prior == 1
    assert (found.high[0], found.low[1], found.high[1]) == (np.inf, 0, 0)
    # Ten trials won in a row have probability 2.5 % at a score of 0.025 ** 0.1 each.
    share = 0.025**0.1
    assert found.low[0] == pytest.approx(400 * np.log10(share / (1 - share)), abs=1e-6)


def test_groups_that_no_point_joins():
    """Two strong and two weak players, mixed results within: the gap is unknown, the distance within is not."""
    rng = np.random.default_rng(0)
    units = np.zeros((50, 4, 4))
    for a, b in ((0, 1), (2, 3)):
        won = rng.integers(0, 5, 50) / 2
        units[:, a, b], units[:, b, a] = won, 2 - won
    units[:, :2, 2:] = 2
    found = rate(units, anchor=(0, 0.0))
    assert np.isfinite([found.low[1], found.high[1]]).all()
    assert (found.low[2:] == -np.inf).all()
    assert np.isfinite(found.high[2:]).all()
    assert (found.high[2:] < 0).all()
    centred = rate(units)
    assert (centred.high[:2] == np.inf).all()
    assert np.isfinite(centred.low[:2]).all()
    assert (centred.low[2:] == -np.inf).all()


def test_everybody_in_a_row_is_open_on_both_sides_in_the_middle():
    units = np.zeros((5, 3, 3))
    units[:, 0, 1] = units[:, 0, 2] = units[:, 1, 2] = 2
    found = rate(units)
    assert found.high[0] == np.inf
    assert (found.low[1], found.high[1]) == (-np.inf, np.inf)
    assert found.low[2] == -np.inf
    assert found.elo[0] > found.elo[1] > found.elo[2]


def test_players_without_games_in_common_are_refused():
    points = np.zeros((4, 4))
    points[0, 1] = points[1, 0] = points[2, 3] = points[3, 2] = 3
    with pytest.raises(ValueError, match="no games connect a, b with c, d"):
        fit(points, names=["a", "b", "c", "d"])
    points[1, 2] = 1  # a single game joins them, and a virtual draw makes it finite
    assert fit(points)[1] == 1


@pytest.mark.parametrize(
    "points", [np.zeros((1, 1)), np.ones((2, 2)), np.array([[0, -1], [1, 0]]), np.array([[0, np.nan], [1, 0]])]
)
def test_what_is_no_table_of_points(points):
    with pytest.raises(ValueError, match="points must be"):
        fit(points)


def test_the_anchor_moves_all_and_has_no_interval():
    rng = np.random.default_rng(2)
    units = rng.integers(0, 3, (30, 3, 3)) / 2.0
    units[:, range(3), range(3)] = 0
    free, hung = rate(units), rate(units, anchor=(2, 1500.0))
    assert hung.elo - hung.elo[0] == pytest.approx(free.elo - free.elo[0])
    assert (hung.elo[2], hung.low[2], hung.high[2]) == pytest.approx((1500, 1500, 1500))
    assert hung.low[0] < hung.elo[0] < hung.high[0]


def test_one_unit_has_no_interval():
    found = rate(np.array([[[0, 1.5], [0.5, 0]]]))
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()


def tournament(rng, elo, num_units, same):
    """Pairs of games in which both have one result with probability `same`, else independent ones."""
    units = np.zeros((num_units, len(elo), len(elo)))
    for i in range(len(elo)):
        for j in range(i):
            chance = expected_score(elo[i] - elo[j])
            first, second = rng.random((2, num_units)) < chance
            points = first.astype(float) + np.where(rng.random(num_units) < same, first, second)
            units[:, i, j], units[:, j, i] = points, 2 - points
    return units


@pytest.mark.parametrize("same", [0.0, 0.8])
def test_the_intervals_cover(same):
    """95 % of the intervals hold the truth, also where the two games of a pair go together."""
    rng = np.random.default_rng(7)
    truth = np.array([-150.0, -30.0, 20.0, 160.0])
    inside = total = 0
    for number in range(150):
        found = rate(tournament(rng, truth, 50, same), resamples=300, seed=number)
        inside += int(((found.low <= truth) & (truth <= found.high)).sum())
        total += 4
    assert 0.92 <= inside / total <= 0.975


def test_single_games_as_units_would_be_too_sure():
    """The oracle of the test above can fail: with pairs taken apart, intervals are too narrow."""
    rng = np.random.default_rng(7)
    truth, inside = np.array([-60.0, 60.0]), 0
    for number in range(200):
        units = tournament(rng, truth, 50, 1.0)
        apart = np.repeat(units / 2, 2, axis=0)
        found = rate(apart, resamples=300, seed=number)
        inside += int(((found.low <= truth) & (truth <= found.high)).sum())
    assert inside / 400 < 0.9
