"""The parts of the null and of the search: batched non-negative least squares, spikes, the order of things."""

import numpy as np
import pytest
from scipy.ndimage import median_filter
from scipy.optimize import nnls

from monitor import nulls
from monitor.matched import Search, logistic, without_spikes
from monitor.nulls import decay_columns, fit_null, nnls_many
from monitor.synthetic import MISSPECIFIED, SMOOTH, ar1, null_curve, planted_curve

S = np.geomspace(50, 50_000, 200)
X = np.log10(S)


@pytest.mark.parametrize("background", ["power law", "flat"])
def test_many_series_are_fitted_as_scipy_fits_each(background):
    base = 2 * (S / 50) ** -0.4 + 0.1 if background == "power law" else np.ones_like(S)
    columns = decay_columns(S, [2000.0]) / base[:, None]
    values = np.exp(0.02 * np.random.default_rng(0).normal(size=(30, 200)))
    amplitude, active = nnls_many(columns.T @ columns, values @ columns)
    assert (amplitude >= 0).all()
    assert (amplitude[~active] == 0).all()
    for row, value in zip(amplitude, values):
        _, best = nnls(columns, value)
        assert np.linalg.norm(value - columns @ row) <= best * (1 + 1e-3)


@pytest.mark.parametrize("shape", ["fall", "floor", "steps", "spread of ten decades"])
def test_the_null_is_fitted_whatever_the_series(shape, monkeypatch):
    """Two later introductions, 37 columns that are nearly the same: as near as scipy comes with all the time it
    wants."""
    x, generator = np.log10(S), np.random.default_rng(7)
    loss = {
        "fall": np.exp(-3 / (1 + np.exp(-(x - 3) / 0.02))),
        "floor": np.maximum(np.exp(-(S / 300)), 1e-4),
        "steps": np.where(S < 700, 1.0, np.where(S < 5000, 2.0, 0.5)),
        "spread of ten decades": 10 ** -(3.3 * (x - x[0])),
    }[shape] * np.exp(0.02 * generator.normal(size=200))  # fmt: skip
    columns = decay_columns(S, [700.0, 5000.0])
    fit, active = fit_null(loss, columns)
    assert np.isfinite(fit).all()
    assert (fit > 0).all()
    assert active.any()

    def gives_up(*_args, **_kwargs):
        raise RuntimeError("Maximum number of iterations reached.")

    # A real run died of this error. Our own solver is then as good, by its residual.
    monkeypatch.setattr(nulls, "nnls", gives_up)
    own, _ = fit_null(loss, columns)
    off, own_off = (float(np.sqrt(np.mean((loss / one - 1) ** 2))) for one in (fit, own))
    assert own_off <= off * 1.01


def test_a_design_each_is_the_same_as_one_for_all():
    design = np.random.default_rng(1).uniform(size=(50, 6))
    values = np.random.default_rng(2).normal(size=(8, 50))
    gram = design.T @ design
    one, _ = nnls_many(gram, values @ design)
    each, _ = nnls_many(np.broadcast_to(gram, (8, 6, 6)).copy(), values @ design)
    np.testing.assert_allclose(one, each, rtol=1e-9, atol=1e-12)


def test_spikes_go_and_steps_stay():
    y = 0.02 * np.random.default_rng(3).normal(size=(2, 200))
    y[:, 100:] -= 0.5
    spiked = y.copy()
    spiked[0, [20, 150]] += (0.6, -0.6)
    cleaned = without_spikes(spiked)
    np.testing.assert_array_equal(cleaned[1], y[1])
    assert np.abs(cleaned[0] - y[0]).max() < 0.2
    middle = median_filter(spiked, (1, 5), mode="mirror")
    limit = 4 * np.quantile(np.abs(spiked - middle), 0.75, axis=1, method="lower", keepdims=True)
    np.testing.assert_allclose(cleaned, middle + np.clip(spiked - middle, -limit, limit))


def test_the_statistic_is_the_gain_in_likelihood_by_the_step():
    loss = np.exp(0.3 * logistic(X, 3.3, 0.02) + 0.02 * np.random.default_rng(4).normal(size=200))
    columns = decay_columns(S, [])
    fit, _ = fit_null(loss, columns)
    search = Search(X, columns / fit[:, None])
    found = search.best(np.log(loss / fit)[None])
    assert found.phi[0] <= 0.1
    place, scale = search.candidates[int(found.number[0])]
    assert (place, scale) == (pytest.approx(3.3, abs=0.03), pytest.approx(0.02, abs=0.01))
    if found.phi[0] == 0:  # white noise: both fits by scipy, with the step as one column more
        relative, design = loss / fit, columns / fit[:, None]
        _, without = nnls(design, relative)
        _, with_step = nnls(np.column_stack([design, search.templates[found.number[0]]]), relative)
        gain = (without**2 - with_step**2) / found.sigma[0] ** 2
        assert found.statistic[0] ** 2 == pytest.approx(gain, rel=0.01)


def test_generators_give_what_they_say():
    noise = np.array([ar1(300, 0.8, np.random.default_rng(seed)) for seed in range(300)])
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(0.8, abs=0.03)
    for kind in (*SMOOTH, *MISSPECIFIED):
        curve = null_curve(kind, np.random.default_rng(5), 100)
        assert (curve.losses > 0).all()
        assert curve.planted is None
        assert bool(curve.ledger) == (kind == "learning_rate_step")
    with pytest.raises(ValueError, match="unknown null 'wave'"):
        null_curve("wave", np.random.default_rng(0))
    curve = planted_curve(np.random.default_rng(6), snr=10, scale=0.01, phi=0, sigma=0.001, place=0.5)
    y, at = np.log(curve.losses), np.log10(curve.planted.step)
    assert at == pytest.approx(np.log10(50) + 1.5)
    x = np.log10(curve.steps)
    assert y[x < at - 0.1].mean() - y[x > at + 0.1].mean() == pytest.approx(0.01, abs=5e-4)


@pytest.mark.parametrize("kind", SMOOTH)
def test_smooth_curves_of_the_benchmark_do_not_fall_in_a_quarter_of_a_decade(kind):
    """Their steepest quarter of a decade is no fall: 80 % of a fall would lie in it."""
    for seed in range(30):
        y = np.log(null_curve(kind, np.random.default_rng(seed), 400, sigma=1e-9).losses)
        window = round(0.25 / (3 / 399))
        drop = y[:-window] - y[window:]
        assert drop.max() < 0.8 * max(y.max() - y.min(), 0.1) + 1e-6
