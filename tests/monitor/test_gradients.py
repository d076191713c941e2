"""Agreement of gradients at a planted angle, with noise made up for; TAG on losses whose steps are known."""

import numpy as np
import pytest

from monitor.gradients import agreement_error, cosine, gradient_agreement, reliability, tag, tags
from monitor.refusals import UndefinedError

SIZE = 2000


def directions(degrees):
    one, other = np.zeros(SIZE), np.zeros(SIZE)
    one[0] = 1.0
    other[:2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return one, other


def blocks(mean, noise, count, generator):
    """Gradients of `count` blocks: the mean, and noise of the given length in all directions."""
    return mean + noise / np.sqrt(SIZE) * generator.normal(size=(count, SIZE))


@pytest.mark.parametrize("degrees", [0, 45, 90, 135])
def test_the_planted_angle_is_found_through_the_noise(degrees):
    generator = np.random.default_rng(degrees)
    one, other = directions(degrees)
    a, b = blocks(one, 1.0, 4, generator), blocks(3 * other, 6.0, 4, generator)
    found = gradient_agreement(a, b)
    assert found == pytest.approx(np.cos(np.radians(degrees)), abs=0.12)
    raw = cosine(a.mean(0), b.mean(0))
    assert abs(raw) <= abs(found) + 1e-12  # the noise had hidden part of it
    # Known: reliability 1 / (1 + noise^2 / blocks).
    assert reliability(a) == pytest.approx(1 / (1 + 1 / 4), abs=0.05)
    assert reliability(b) == pytest.approx(1 / (1 + 4 / 4), abs=0.05)


def test_reliability_of_two_blocks_is_spearman_brown():
    generator = np.random.default_rng(1)
    pair = generator.normal(size=(2, 5)) + 1
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    half = pair[0] @ pair[1]
    assert reliability(pair) == pytest.approx(2 * half / (1 + half))


def test_unrelated_gradients_agree_by_nothing_at_the_rate_of_their_error():
    generator = np.random.default_rng(2)
    beyond = []
    for _ in range(300):
        means = generator.normal(size=(2, SIZE)) / np.sqrt(SIZE)
        a, b = (blocks(mean, 1.0, 4, generator) for mean in means)
        found = gradient_agreement(a, b)
        error = agreement_error(a @ a.T, b @ b.T, a @ b.T)
        # The angle between two random directions is itself not 0; it is the shuffled targets that have its scatter.
        beyond.append((found - means[0] @ means[1] / np.prod(np.linalg.norm(means, axis=1))) / error)
    assert abs(np.mean(beyond)) < 0.2
    assert np.mean(np.abs(beyond) > 1.96) < 0.15  # a jackknife over four blocks is a rough error


def test_noise_and_zero_gradients_are_refused():
    generator = np.random.default_rng(3)
    one, other = directions(0)
    with pytest.raises(UndefinedError, match=r"reliability.*measure more"):
        gradient_agreement(blocks(one, 20.0, 4, generator), blocks(other, 0.1, 4, generator))
    with pytest.raises(UndefinedError, match="gradient is zero"):
        gradient_agreement(np.zeros((4, SIZE)), blocks(one, 0.1, 4, generator))
    with pytest.raises(UndefinedError, match="at least 2"):
        reliability(blocks(one, 0.1, 1, generator))
    with pytest.raises(UndefinedError, match="columns"):
        gradient_agreement(np.ones((2, 4)), np.ones((2, 5)))


@pytest.mark.parametrize("degrees", [0, 60, 90, 180])
def test_tag_of_quadratic_losses_is_the_algebra(degrees):
    """L_B = |theta - b|^2 / 2 at theta = 0; A's gradient is -a: Z = 1 - |eta a - b|^2 / |b|^2."""
    a, b = directions(degrees)
    a, b = 2 * a, 3 * b
    eta = 0.1
    before, after = np.full(5, b @ b / 2), np.full(5, ((eta * a - b) ** 2).sum() / 2)
    expected = 2 * eta * 2 * np.cos(np.radians(degrees)) / 3 - (eta * 2 / 3) ** 2
    assert tag(before, after) == pytest.approx(expected)


def test_positions_without_a_target_do_not_count():
    before, after = np.array([1.0, np.nan, 3.0]), np.array([0.5, np.nan, 3.0])
    assert tag(before, after) == pytest.approx(0.125)
    counts = np.array([[2.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(tags(before[[0, 2]], after[[0, 2]], counts), [0.5, 0.125])
    with pytest.raises(UndefinedError, match="different positions"):
        tag(before, np.array([0.5, 1.0, np.nan]))
    with pytest.raises(UndefinedError, match="above 0"):
        tag(np.zeros(4), np.zeros(4))
    with pytest.raises(UndefinedError, match="at least 2"):
        tag(np.array([1.0, np.nan]), np.array([1.0, np.nan]))
