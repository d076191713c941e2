"""Records over scale: planted exponents within their intervals, what runs cannot carry refused, matched FLOPs."""

import numpy as np
import pytest

from monitor import scaling
from monitor.records import ARCHITECTURES, PROBABILITY, SCALING, validate
from monitor.refusals import UndefinedError
from monitor.scale_records import ScaledRun, architectures_record, probability_record, scale_records, scaling_record
from monitor.scaling import matched_compute

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
UPDATES = tuple(int(u) for u in np.geomspace(100, 10_000, 8))
E, A, a, B, b = 0.05, 30.0, 0.5, 20.0, 0.6


def planted(size, update):
    return E + A * size**-a + B * update**-b


def run(size, seed=0, architecture="mlp", games=("x",), outcomes=None, law=planted, noise=0.01, flops=1.0):
    draw = np.random.default_rng((size, seed, len(architecture)))
    losses = tuple(law(size, u) * float(np.exp(noise * draw.normal())) for u in UPDATES)
    return ScaledRun(
        f"{architecture}-{size}-{seed}", f"{architecture}-{size}", seed, architecture, games, size, flops * size,
        UPDATES, losses, outcomes or {},
    )  # fmt: skip


def test_a_planted_law_comes_back_and_predicts_the_largest_size(monkeypatch):
    monkeypatch.setattr(scaling, "RESAMPLINGS", 40)
    more = (*SIZES, 600, 170_000)
    record = scaling_record([run(size) for size in more], "policy")
    validate(record)
    assert record["schema"] == SCALING
    fit = record["fit"]
    assert fit["refused"] is None
    for name, truth in (("a", a), ("b", b), ("E", E)):
        assert fit[name]["low"] - 0.02 <= truth <= fit[name]["high"] + 0.02, name
    assert record["held_out"]["size"] == 300_000
    assert record["held_out"]["error"] < 0.05
    assert record["break"]["accepted"] is False
    assert sum(point["held_out"] for point in record["points"]) == len(UPDATES)


def test_too_few_sizes_are_refused_with_the_reason():
    record = scaling_record([run(size) for size in SIZES[:2]], "policy")
    validate(record)
    assert "2 different sizes N" in record["refused"]
    assert "at least 6" in record["break"]["refused"]


def outcomes(half, seeds=6, ks=(1, 2, 4, 8, 16)):
    draw = np.random.default_rng(3)
    return [
        run(10_000, 100 * k + seed, games=tuple(map(str, range(k))),
            outcomes={"sharing": bool(draw.random() < 1 / (1 + np.exp(-2.5 * (np.log2(k) - np.log2(half)))))})
        for k in ks
        for seed in range(seeds)
    ]  # fmt: skip


def test_k50_of_planted_outcomes():
    record = probability_record(outcomes(4.0, seeds=20), "sharing")
    validate(record)
    assert record["k50"]["low"] < 4.0 < record["k50"]["high"]
    assert sum(point["runs"] for point in record["points"]) == 100
    half = min(record["curve"], key=lambda point: abs(point["p"] - 0.5))
    assert half["games"] == pytest.approx(record["k50"]["value"], rel=0.15)


def test_too_few_runs_have_no_k50():
    record = probability_record(outcomes(4.0, seeds=3), "sharing")
    validate(record)
    assert "3 runs and at least 5 seeds" in record["refused"]
    assert record["k50"]["value"] is None
    assert record["points"]
    assert "no run says" in probability_record(outcomes(4.0), "faster")["refused"]


def power(exponent):
    def law(size, update):
        return 5.0 * (size * update) ** -exponent

    return law


def test_exponents_at_matched_flops_differ_as_planted():
    """Loss a pure power of compute: every configuration lies on its frontier, so the slope is the planted one."""
    one = [run(size, law=power(0.2), noise=0.002) for size in SIZES]
    other = [run(size, architecture="resnet", law=power(0.12), noise=0.002) for size in SIZES]
    record = architectures_record(one, other, "policy")
    validate(record)
    assert record["refused"] is None
    assert record["exponents"]["mlp"]["value"] == pytest.approx(0.2, abs=0.01)
    assert record["exponents"]["resnet"]["value"] == pytest.approx(0.12, abs=0.01)
    assert record["difference"]["low"] > 0
    assert record["difference"]["low"] < 0.08 < record["difference"]["high"] + 0.01
    same = architectures_record(one, [run(s, architecture="moe", law=power(0.2), noise=0.002) for s in SIZES], "policy")
    assert same["difference"]["low"] - 0.01 < 0 < same["difference"]["high"] + 0.01


def test_the_frontier_is_the_lowest_loss_at_that_compute():
    compute = np.array([1.0, 10, 100, 1, 10, 100, 1, 10, 100, 1, 10, 100])
    loss = np.array([1.0, 0.5, 0.4, 0.9, 0.8, 0.1, 2, 2, 2, 3, 3, 3])
    names = np.repeat(list("abcd"), 3)
    found = matched_compute((compute, loss, names), (compute, loss, names), np.random.default_rng(0))
    assert found.one.loss[0] == pytest.approx(0.9)
    assert found.one.loss[4] == pytest.approx(0.5)
    assert found.one.loss[8] == pytest.approx(0.1)
    assert found.difference.value == 0


def test_matched_flops_are_refused_without_overlap_or_sizes():
    one = [run(size) for size in SIZES]
    far = [run(size, architecture="resnet", flops=1e9) for size in SIZES]
    assert "overlap" in architectures_record(one, far, "policy")["refused"]
    assert "2 configurations" in architectures_record(one[:2], far, "policy")["refused"]
    with pytest.raises(UndefinedError, match="above 0"):
        matched_compute(
            (np.zeros(4), np.ones(4), np.arange(4)), (np.ones(4), np.ones(4), np.arange(4)), np.random.default_rng(0)
        )


def test_all_records_of_a_mixed_set_of_runs():
    runs = (
        [run(s) for s in SIZES[:2]] + [run(s, architecture="resnet") for s in SIZES[:2]] + [run(1000, games=("x", "y"))]
    )
    found = scale_records(runs, "policy")
    for record in found:
        validate(record)
    kinds = [record["schema"] for record in found]
    assert kinds.count(SCALING) == 3
    assert kinds.count(ARCHITECTURES) == 1
    assert kinds.count(PROBABILITY) == 3
