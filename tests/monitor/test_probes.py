"""Cross-game probes: planted directions whose R2 is known in closed form, and a slow oracle for leaving one out."""

import numpy as np
import pytest

from monitor.probes import (
    Ridge,
    chance_r_squared,
    correlations,
    probe_across,
    probe_transfer,
    probe_within,
    r_squared,
    standard_labels,
    thin_svd,
)
from monitor.refusals import UndefinedError

ROWS, WIDTH = 20_000, 12


def planted(generator, direction, noise, rows=ROWS, offset=0.0):
    """Features of unit variance around an offset, and a label read along `direction` with noise, in odd units."""
    features = generator.normal(size=(rows, WIDTH))
    return features + offset, 7.0 + 3.0 * (features @ direction + noise * generator.normal(size=rows))


def rotated(degrees):
    """Unit directions for two games with a known angle between them."""
    one, other = np.zeros(WIDTH), np.zeros(WIDTH)
    one[0] = 1.0
    other[:2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return one, other


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_a_planted_direction_has_the_known_r2(degrees, noise):
    """A share s2 = 1 / (1 + noise^2) of the label's variance can be read: a probe at angle t has R2 = s2 (2 cos t -
    1)."""
    generator = np.random.default_rng(degrees)
    one, other = rotated(degrees)
    source, target = planted(generator, one, noise), planted(generator, other, noise, offset=5.0)
    share = 1 / (1 + noise**2)
    assert probe_across(*source, *target) == pytest.approx(share * (2 * np.cos(np.radians(degrees)) - 1), abs=0.07)
    assert probe_within(*target) == pytest.approx(share, abs=0.02)


def test_transfer_is_one_for_the_same_direction_and_zero_at_the_null():
    generator = np.random.default_rng(1)
    one, _ = rotated(0)
    source, target = planted(generator, one, 0.5), planted(generator, one, 0.5)
    across, within = probe_across(*source, *target), probe_within(*target)
    assert probe_transfer(across, within, 0.1) == pytest.approx(1, abs=0.03)
    assert probe_transfer(0.1, within, 0.1) == 0
    with pytest.raises(UndefinedError, match="own probe"):
        probe_transfer(0.5, 0.2, 0.3)


def test_leaving_one_out_in_closed_form_is_the_slow_one():
    generator = np.random.default_rng(2)
    features, label = planted(generator, rotated(0)[0], 1.0, rows=40)
    features = features - features.mean(0)
    label = standard_labels(label)[:, None]
    ridge = Ridge(features)
    # The penalty that it chose, from the length of its weights: found again by bisection.
    weights = ridge.weights(label)[:, 0]

    def solve(rows, said, penalty):
        return np.linalg.solve(rows.T @ rows + penalty * np.eye(WIDTH), rows.T @ said)

    low, high = 1e-9, 1e6
    for _ in range(200):
        middle = np.sqrt(low * high)
        longer = np.linalg.norm(solve(features, label[:, 0], middle)) > np.linalg.norm(weights)
        low, high = (middle, high) if longer else (low, middle)
    np.testing.assert_allclose(solve(features, label[:, 0], low), weights, rtol=1e-6)
    slow = []
    for row in range(len(features)):
        others = np.delete(np.arange(len(features)), row)
        rows, said = features[others], label[others, 0]
        found = solve(rows - rows.mean(0), said - said.mean(), low)
        slow.append((label[row, 0] - said.mean() - (features[row] - rows.mean(0)) @ found) ** 2)
    np.testing.assert_allclose(ridge.left_out_errors(label)[:, 0], slow, rtol=1e-6)


def test_the_penalty_grows_with_the_noise():
    generator = np.random.default_rng(3)
    features = generator.normal(size=(60, 40))
    features -= features.mean(0)
    clean = features[:, 0] * 1.0
    noise = generator.normal(size=60)
    lengths = np.linalg.norm(Ridge(features).weights(np.stack([clean - clean.mean(), noise - noise.mean()], 1)), axis=0)
    assert lengths[0] == pytest.approx(1, abs=0.1)
    assert lengths[1] < 0.3 * np.linalg.norm(np.linalg.lstsq(features, noise - noise.mean(), rcond=None)[0])


def test_resampled_r2_is_that_of_the_repeated_rows():
    generator = np.random.default_rng(4)
    labels, errors = generator.normal(size=(30, 2)), generator.random(size=(30, 2))
    counts = generator.multinomial(30, np.full(30, 1 / 30), 3)
    found = r_squared(errors, labels, counts.astype(float))
    for row, count in zip(found, counts):
        again = np.repeat(np.arange(30), count)
        own = labels[again]
        np.testing.assert_allclose(row, 1 - errors[again].sum(0) / ((own - own.mean(0)) ** 2).sum(0))


def test_chance_directions_have_the_r2_of_a_probe_along_them():
    generator = np.random.default_rng(5)
    features, label = planted(generator, rotated(0)[0], 0.5, rows=300)
    features = features - features.mean(0)
    label = standard_labels(label)[:, None]
    raw = features @ generator.normal(size=(WIDTH, 2)) + 3
    said = (raw - raw.mean(0)) / raw.std(0) * 0.4
    expected = 1 - ((label - said) ** 2).sum(0) / (label**2).sum(0)
    found = correlations(np.stack([raw, np.ones_like(raw)]), np.repeat(label, 2, 1))
    np.testing.assert_allclose(chance_r_squared(np.full(2, 0.4), found[0]), expected)
    assert (found[1] == 0).all()


def test_undefined_cases_are_refused_with_what_is_needed():
    generator = np.random.default_rng(6)
    features, label = planted(generator, rotated(0)[0], 0.5, rows=50)
    with pytest.raises(UndefinedError, match="same for all positions"):
        probe_across(features, np.ones(50), features, label)
    with pytest.raises(UndefinedError, match="at least 20"):
        probe_within(features[:10], label[:10])
    with pytest.raises(UndefinedError, match="NaN"):
        probe_within(np.where(features > 2, np.nan, features), label)
    with pytest.raises(UndefinedError, match="shared coordinates"):
        probe_across(features[:, :5], label, features, label)
    with pytest.raises(UndefinedError, match="50 rows of features and 40 labels"):
        probe_within(features, label[:40])
    with pytest.raises(UndefinedError, match="nothing can be read"):
        probe_within(np.ones((50, 3)), label)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (30, 30)])
def test_the_thin_decomposition_is_numpys(shape):
    generator = np.random.default_rng(3)
    rows = generator.normal(size=shape) * 0.8 ** np.arange(shape[1])
    left, singular, right = thin_svd(rows)
    np.testing.assert_allclose(singular, np.linalg.svd(rows, compute_uv=False), rtol=1e-6)
    np.testing.assert_allclose(left * singular @ right, rows, atol=1e-8)
    np.testing.assert_allclose(left.T @ left, np.eye(min(shape)), atol=1e-4)
    np.testing.assert_allclose(right @ right.T, np.eye(min(shape)), atol=1e-4)


def test_directions_below_what_is_resolved_are_none():
    generator = np.random.default_rng(4)
    rows = generator.normal(size=(50, 3)) @ generator.normal(size=(3, 20))
    noisy = rows + 1e-9 * generator.normal(size=(50, 20))
    for features in (rows, noisy):
        ridge = Ridge(features - features.mean(0))
        assert ridge.rank == 3
        labels = standard_labels(rows[:, 0])[:, None]
        exact = np.linalg.lstsq(features - features.mean(0), labels, rcond=1e-6)[0]
        np.testing.assert_allclose(ridge.weights(labels), exact, atol=1e-4)
