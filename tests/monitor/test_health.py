"""Effective rank against closed forms, planted dormant units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.health import dormant_ratio, dormant_units, effective_rank, latent_norm

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_identity_has_full_rank(size):
    assert effective_rank(3.0 * np.eye(size)) == pytest.approx(size)


def test_rank_one_is_one_and_nothing_is_zero():
    assert effective_rank(np.outer(RNG.normal(size=40), RNG.normal(size=9))) == pytest.approx(1)
    assert effective_rank(np.zeros((4, 3))) == 0


def test_two_unequal_directions_by_hand():
    # Singular values 3 and 1: shares 3/4 and 1/4, exp(-(0.75 ln 0.75 + 0.25 ln 0.25)) = 4 / 3^0.75
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(4 / 3**0.75)


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_rotation_and_scale_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(12, 5)) * rng.exponential(size=5)
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert effective_rank(scale * matrix @ rotation) == pytest.approx(effective_rank(matrix))
    assert 1 <= effective_rank(matrix) <= 5


@pytest.mark.parametrize("bad", [np.ones(3), np.array([[1.0, np.nan]])])
def test_rank_refuses_what_is_no_finite_matrix(bad):
    with pytest.raises(ValueError, match="finite matrix"):
        effective_rank(bad)


def test_planted_dormant_units_are_found():
    activity = np.abs(RNG.normal(size=(200, 40))) + 0.5
    activity[:, [3, 17]] = 0
    activity[:, 20] *= 0.01
    activity[:, 21] *= 0.2  # quiet, not dormant
    assert np.flatnonzero(dormant_units(activity, 0.025)).tolist() == [3, 17, 20]
    assert not dormant_units(activity, 0.0)[20]


def test_the_threshold_is_a_share_of_the_layers_mean():
    # Means 1, 1, 1, x: x / ((3 + x) / 4) = 0.025 at x = 0.075 / 3.975
    edge = 0.075 / 3.975
    assert dormant_units(np.array([[1, 1, 1, edge * 0.999]]), 0.025).tolist() == [False, False, False, True]
    assert not dormant_units(np.array([[1, 1, 1, edge * 1.001]]), 0.025).any()


def test_ratio_counts_units_not_layers():
    small, large = np.ones((5, 2)), np.ones((5, 8))
    small[:, 0] = 0
    total, layers = dormant_ratio({"small": small, "large": large}, 0.025)
    assert total == pytest.approx(0.1)
    assert layers == {"small": 0.5, "large": 0.0}
    assert dormant_ratio({}, 0.025) == (None, {})
    assert dormant_ratio({"silent": np.zeros((3, 4))}, 0.025)[0] == 1.0


def test_norm_is_the_mean_of_the_rows():
    assert latent_norm(np.array([[3.0, 4.0], [0.0, 1.0]])) == pytest.approx(3.0)
