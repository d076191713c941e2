"""Subspace overlap: planted subspaces at a known angle, the null's value and its rate, what is refused."""

import numpy as np
import pytest

from monitor.refusals import UndefinedError
from monitor.sharing import Null
from monitor.subspaces import ChanceRotations, matched_overlaps, principal_angles, subspace_overlap

WIDTH, K = 24, 4


def rows_in(basis, variances, rows, generator):
    """[rows, D] whose covariance is exactly basis diag(variances) basis', with a mean that must not matter."""
    free = generator.normal(size=(rows, basis.shape[1]))
    free -= free.mean(0)
    exact = np.linalg.qr(free)[0] * np.sqrt(rows)
    return exact * np.sqrt(variances) @ basis.T + generator.normal(size=basis.shape[0])


def turned(degrees):
    """Two bases [D, K]: direction i of the second is that of the first, turned by degrees[i] out of it."""
    whole = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0]
    angle = np.radians(degrees)
    return whole[:, :K], whole[:, :K] * np.cos(angle) + whole[:, K : 2 * K] * np.sin(angle)


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 90.0])
def test_planted_subspaces_overlap_by_the_squared_cosine(degrees):
    generator = np.random.default_rng(1)
    one, other = turned(np.full(K, degrees))
    a, b = rows_in(one, np.ones(K), 60, generator), rows_in(other, np.array([4.0, 3.0, 2.0, 1.0]), 80, generator)
    assert subspace_overlap(a, b, K) == pytest.approx(np.cos(np.radians(degrees)) ** 2, abs=1e-9)
    np.testing.assert_allclose(np.degrees(principal_angles(a, b, K)), degrees, atol=1e-5)


def test_directions_count_by_the_targets_variance_and_angles_do_not():
    generator = np.random.default_rng(2)
    degrees = np.array([0.0, 30.0, 60.0, 90.0])
    one, other = turned(degrees)
    variances = np.array([8.0, 4.0, 2.0, 1.0])
    a, b = rows_in(one, np.ones(K), 60, generator), rows_in(other, variances, 60, generator)
    expected = (variances * np.cos(np.radians(degrees)) ** 2).sum() / variances.sum()
    assert subspace_overlap(a, b, K) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(np.degrees(principal_angles(a, b, K)), degrees, atol=1e-4)


def test_a_random_subspace_holds_k_over_d_of_a_game_that_fills_k_directions():
    generator = np.random.default_rng(3)
    found = []
    for _ in range(100):
        bases = [np.linalg.qr(generator.normal(size=(WIDTH, K)))[0] for _ in range(2)]
        found.append(subspace_overlap(*(rows_in(basis, np.ones(K), 40, generator) for basis in bases), K))
    assert np.mean(found) == pytest.approx(K / WIDTH, abs=0.02)


def test_in_white_data_every_subspace_is_as_good_as_the_best():
    generator = np.random.default_rng(9)
    rows = rows_in(np.eye(WIDTH), np.ones(WIDTH), 100, generator)
    assert subspace_overlap(generator.normal(size=(100, WIDTH)), rows, K) == pytest.approx(1)


def test_drawn_subspaces_lie_half_in_each_of_two_games_without_common_directions():
    """The pooled covariance is white in 2 K directions, of which the target fills K."""
    generator = np.random.default_rng(10)
    one, other = turned(np.full(K, 90.0))
    a, b = (rows_in(basis, np.ones(K), 60, generator) for basis in (one, other))
    drawn = matched_overlaps(a, b, 300, K, generator)
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.std() > 0.03


def test_the_null_knows_the_covariance():
    """Where both games use few directions, drawn subspaces overlap far more than K / D, and the null says so."""
    generator = np.random.default_rng(4)
    basis = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]
    variances = 0.5 ** np.arange(WIDTH)
    a, b = (rows_in(basis, variances, 200, generator) for _ in range(2))
    assert matched_overlaps(a, b, 100, K, generator).mean() > 0.8


def test_the_null_is_right_about_subspaces_drawn_from_it():
    """Games with independent subspaces: the overlap is beyond the null's reach in at most 5 % of 200 draws."""
    generator = np.random.default_rng(5)
    beyond = 0
    for _ in range(200):
        bases = [np.linalg.qr(generator.normal(size=(WIDTH, 8)))[0] for _ in range(2)]
        a, b = (rows_in(basis, 0.7 ** np.arange(8), 60, generator) for basis in bases)
        a, b = (rows + 0.2 * generator.normal(size=rows.shape) for rows in (a, b))
        null = Null("covariance-matched", matched_overlaps(a, b, 40, K, generator))
        beyond += subspace_overlap(a, b, K) > null.mean + null.reach
    assert beyond <= 10 + 2 * np.sqrt(10)


@pytest.mark.parametrize("width", [12, 150])
def test_chance_rotations_turn_and_do_nothing_else(width):
    """Turned rows keep their lengths and inner products; reading them is reading the turned rows."""
    generator = np.random.default_rng(7)
    one, other = (generator.normal(size=(50, width)) * 0.8 ** np.arange(width) for _ in range(2))
    one, other = one - one.mean(0), other - other.mean(0)
    turns = ChanceRotations(one, other, 5, generator, axes=12)
    weights = generator.normal(size=(width, 3))
    for draw, turn in enumerate(turns.turns):
        np.testing.assert_allclose(turn @ turn.T, np.eye(12), atol=1e-9)
        moved = one @ turns.basis @ turn @ turns.basis.T
        np.testing.assert_allclose(turns.read_source(weights)[draw], moved @ weights, atol=1e-9)
        # The source's probe w on turned rows is w itself if it turns along: on the target it is the turned w.
        np.testing.assert_allclose(
            turns.read_target(weights)[draw], other @ turns.basis @ turn.T @ turns.basis.T @ weights, atol=1e-9
        )
    if width == 12:
        np.testing.assert_allclose(turns.basis @ turns.basis.T, np.eye(12), atol=1e-9)


def test_rotated_axes_go_where_the_variance_is():
    """The source's widest axis lands in a direction of the pooled covariance: as often as that has it."""
    generator = np.random.default_rng(8)
    variances = np.array([16.0, 1.0, 1.0])
    one, other = (rows_in(np.eye(3), variances, 200, generator) for _ in range(2))
    turns = ChanceRotations(one - one.mean(0), other - other.mean(0), 2000, generator)
    landed = (np.linalg.eigh(turns.source.T @ turns.source)[1][:, -1] @ turns.turns) ** 2  # [S, axes]
    drawn = generator.normal(size=(20_000, 3)) * np.sqrt(variances)
    expected = (drawn**2 / (drawn**2).sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(landed.mean(0), expected, atol=0.03)


def test_undefined_cases_are_refused_with_what_is_needed():
    generator = np.random.default_rng(6)
    rows = generator.normal(size=(60, WIDTH))
    with pytest.raises(UndefinedError, match="at least 30"):
        subspace_overlap(rows[:20], rows)
    with pytest.raises(UndefinedError, match="vary in 2 directions"):
        subspace_overlap(rows, rows[:, :2] @ generator.normal(size=(2, WIDTH)), K)
    with pytest.raises(UndefinedError, match="shared coordinates"):
        subspace_overlap(rows, rows[:, :20], K)
    with pytest.raises(UndefinedError, match="NaN"):
        principal_angles(rows, np.where(rows > 2, np.nan, rows), K)
    with pytest.raises(UndefinedError, match="vary in 0 directions"):
        subspace_overlap(rows, np.ones((60, WIDTH)), K)
