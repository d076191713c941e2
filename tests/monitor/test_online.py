"""The online detector: its statistic against changepoint-online's, its errors on curves whose truth is known."""

import numpy as np
import pytest

from monitor.config import MonitorConfig
from monitor.online import LEAST, LOOK_BACK, focus, forecast_errors, looked_at
from monitor.synthetic import null_curve, planted_curve
from monitor.watch import Watch


def test_the_statistic_is_that_of_changepoint_online():
    peer = pytest.importorskip("changepoint_online")
    errors = np.random.default_rng(0).normal(size=80)
    errors[50:] -= 1
    detector = peer.Focus(peer.Gaussian(loc=0.0), side="left")
    for number, error in enumerate(errors):
        detector.update(float(error))
        seen = errors[: number + 1]
        # The peer counts the sum over everything whatever its sign; ours only sums below 0.
        everything = seen.sum() ** 2 / (2 * len(seen))
        assert max(focus(seen)[0], everything) == pytest.approx(detector.statistic(), abs=1e-9)


def test_the_start_is_where_the_mean_fell():
    errors = np.zeros(40)
    errors[25:] = -2
    assert focus(errors) == (pytest.approx(15 * 4 / 2), 25)
    assert focus(np.ones(5)) == (0.0, 5)


def test_forecast_errors_of_smooth_learning_are_about_standard_normal():
    errors = []
    for seed in range(12):
        curve = null_curve("power_law", np.random.default_rng(seed), phi=0.5)
        x, y = np.log10(curve.steps), np.log(curve.losses)
        errors += [forecast_errors(x[:n], y[None, :n])[0] for n in range(60, 200, 3)]
    assert np.mean(errors) == pytest.approx(0, abs=0.15)
    assert np.std(errors) == pytest.approx(1, abs=0.15)
    assert forecast_errors(x[: LEAST + 4], y[None, : LEAST + 4]) is None


def test_a_forecast_error_is_that_of_a_regression_by_hand():
    """No correlation is left in white noise seen through a quadratic: the textbook's prediction error."""
    generator = np.random.default_rng(11)
    x = np.linspace(2, 3, 61)
    y = 1 - x + 0.3 * x**2 + 0.02 * generator.normal(size=(400, 61))
    inside, at = np.vander(x[:56], 3), np.vander(x[-1:], 3)[0]
    beta, rest, _, _ = np.linalg.lstsq(inside, y[:, :56].T, rcond=None)
    sigma = np.sqrt(rest / 53 * (1 + at @ np.linalg.inv(inside.T @ inside) @ at))
    by_hand = (y[:, -1] - at @ beta) / sigma
    white = np.array([abs(r[1:] @ r[:-1]) / (r @ r) < 0.01 for r in y[:, :56] - (inside @ beta).T])
    assert white.sum() > 10
    found = forecast_errors(x, y)
    assert np.corrcoef(found, by_hand)[0, 1] > 0.98
    assert np.std(found) == pytest.approx(1, abs=0.1)
    one = np.array([forecast_errors(x, row[None])[0] for row in y[:20]])
    np.testing.assert_allclose(found[:20], one, rtol=1e-9)


def test_only_the_last_errors_are_looked_at():
    assert looked_at(np.linspace(2, 3, 101)) == pytest.approx(100 * LOOK_BACK + 1, abs=1)
    assert looked_at(np.linspace(2, 3, 11)) == 8
    assert looked_at(np.array([2.0, 3.0])) == 2


def run(curve):
    watch, said = Watch(), []
    for number, (step, loss) in enumerate(zip(curve.steps, curve.losses)):
        what = watch.take(round(step), number, float(loss), MonitorConfig())
        if what:
            said.append((what, step))
            if what == "confirm":
                watch.settle(None)
    return said


def test_a_planted_fall_is_warned_of_alerted_and_handed_to_the_scan_in_order():
    curve = planted_curve(np.random.default_rng(1), 20, 0.01, phi=0.3, place=0.6)
    said = run(curve)
    names = [what for what, _ in said]
    assert names[:1] in (["warn"], ["alert"])
    alert, confirm = (dict(reversed(said))[name] for name in ("alert", "confirm"))
    assert abs(np.log10(alert / curve.planted.step)) < 0.05
    assert np.log10(confirm / alert) == pytest.approx(0.15, abs=0.02)


def test_points_too_close_for_the_scan_are_kept_but_not_scanned():
    watch = Watch()
    for number, since in enumerate([100, 101, 150]):
        watch.take(since, number, 1.0, MonitorConfig())
    assert watch.state["since"] == [100, 101, 150]
    assert watch.series()[0].tolist() == [100, 150]


def test_a_rise_needs_nats_and_a_bound():
    def watch_of(bump, noise, introduced=1000):
        watch, generator = Watch(), np.random.default_rng(2)
        updates = [*range(500, 1001, 10), *range(1050, 1160, 5)]
        for update in updates:
            rise = bump if update > introduced else 0.0
            watch.take(update, update, float(np.exp(rise + noise * generator.normal())), MonitorConfig())
        return watch.rise(introduced, True, MonitorConfig())

    found = watch_of(0.2, 0.01)
    assert found["size"] == pytest.approx(0.2, abs=0.04)
    assert 0 < found["low"] < found["size"] < found["high"]
    assert watch_of(0.0, 0.01) is None
    assert watch_of(0.02, 0.0001) is None  # certain, but under .03 nat
    assert watch_of(0.0, 0.05) is None  # the largest of many values, no rise
