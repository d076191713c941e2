"""Noise: the right distributions, from the row's seed and the action's index alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from search import noise

SEEDS = torch.arange(4000, dtype=torch.int64)


def test_uniform_is_uniform_and_open():
    numbers = noise.uniform(SEEDS, 25, 7)
    assert (numbers > 0).all()
    assert (numbers < 1).all()
    assert scipy.stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 1e-3
    rows = np.corrcoef(numbers.numpy().T)
    assert np.abs(rows - np.eye(25)).max() < 0.08  # neighbouring actions share nothing
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.06  # nor do neighbouring seeds


def test_splitmix_finaliser_matches_the_published_sequence():
    # The first outputs of SplitMix64 seeded with 1234567 (the reference C program's, also used by Java's tests).
    state = torch.tensor([1234567 + 0x9E3779B97F4A7C15 - 2**64])
    assert int(noise._mix(state)) % 2**64 == 6457827717110365317


def test_gumbel_is_gumbel():
    numbers = noise.gumbel(SEEDS, 20).flatten().numpy()
    assert np.isfinite(numbers).all()
    assert scipy.stats.kstest(numbers, "gumbel_r").pvalue > 1e-3


def test_kernels_and_torch_agree():
    seed = torch.cat([SEEDS[:200], torch.tensor([-1, 2**63 - 1, -(2**63)])])
    stream = noise.GUMBEL * noise._STREAMS_PER_USE
    torch.testing.assert_close(noise.gumbel(seed, 9), noise._gumbel(seed, 9, stream), rtol=1e-6, atol=1e-6)
    legal = torch.rand(len(seed), 9, generator=torch.Generator().manual_seed(0)) < 0.7
    legal[:, 0] = True
    for alpha in (0.03, 0.3, 3.0):
        expected = noise._dirichlet(seed, legal, alpha, noise.DIRICHLET * noise._STREAMS_PER_USE)
        torch.testing.assert_close(noise.dirichlet(seed, legal, alpha), expected, rtol=1e-5, atol=1e-7)


def test_streams_and_extreme_seeds_differ():
    extreme = torch.tensor([0, -1, 2**63 - 1, -(2**63), 1])
    drawn = torch.cat([noise.gumbel(extreme, 8), noise.gumbel(extreme, 8, noise.ACTION)])
    assert torch.isfinite(drawn).all()
    assert len(drawn.unique()) == drawn.numel()


@pytest.mark.parametrize("draw", [noise.gumbel, lambda seed, n: noise.uniform(seed, n, 3)])
def test_noise_ignores_batch_and_padding(draw):
    wide = draw(SEEDS[:50], 18)
    assert torch.equal(wide[7:8, :5], draw(SEEDS[7:8], 5))


def test_dirichlet_ignores_batch_and_padding():
    legal = torch.ones(50, 5, dtype=torch.bool)
    padded = torch.cat([legal, torch.zeros(50, 13, dtype=torch.bool)], dim=1)
    wide = noise.dirichlet(SEEDS[:50], padded, 0.3)
    assert not wide[:, 5:].any()
    torch.testing.assert_close(wide[7:8, :5], noise.dirichlet(SEEDS[7:8], legal[:1], 0.3), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 1.0, 10.0])
def test_dirichlet_over_the_legal_actions(alpha):
    legal = torch.tensor([True, False, True, True, True]).expand(len(SEEDS), 5)
    drawn = noise.dirichlet(SEEDS, legal, alpha).double()
    assert not drawn[:, 1].any()
    torch.testing.assert_close(drawn.sum(dim=1), torch.ones(len(SEEDS), dtype=torch.float64), atol=1e-5, rtol=0)
    for action in (0, 2, 3, 4):  # a marginal of a symmetric Dirichlet over four is Beta(alpha, 3 alpha)
        # The float32 ends of the interval collect what is nearer to them than float32 can say.
        inner = drawn[:, action].clamp(1e-12, 1 - 1e-7).numpy()
        expected = scipy.stats.beta(alpha, 3 * alpha)
        for point in (0.01, 0.2, 0.5, 0.9):
            assert abs((inner < point).mean() - expected.cdf(point)) < 0.035, (action, point)


def test_mixing_and_drawing_on_the_cpu_are_torchs():
    """The CPU's kernels against the formulas in torch."""
    generator = torch.Generator().manual_seed(0)
    logits, shares = torch.randn(40, 7, generator=generator) * 5, torch.rand(40, 7, generator=generator)
    legal = torch.rand(40, 7, generator=generator) < 0.6
    legal[:, 3] = True
    drawn = noise.dirichlet(torch.arange(40), legal, 0.3)
    found = noise.mixed_logits(logits, legal, drawn, 0.25, -1e30)
    prior = torch.softmax(logits.masked_fill(~legal, -torch.inf).double(), dim=1)
    expected = torch.log(0.75 * prior + 0.25 * drawn.double())
    torch.testing.assert_close(found[legal].double(), expected[legal], atol=1e-5, rtol=1e-5)
    assert (found[~legal] == -1e30).all()
    shares[~legal] = 0
    gumbel = noise.gumbel(torch.arange(40), 7)
    for temperature in (0.5, 1.0, 3.0):
        action = noise.draw(shares, gumbel, temperature)
        assert torch.equal(action, (torch.log(shares) / temperature + gumbel).argmax(1))
        assert legal[torch.arange(40), action].all()
