"""The real control: what the script says of a curve whose fall is known, and a training that is too short to grok."""

import numpy as np
import pytest

from benchmarks import grokking
from monitor.cadence import checkpoints


def test_a_planted_fall_is_described_as_it_was_planted():
    steps = checkpoints(20_000, 50, 60)
    scale, place = 0.05, np.log10(3000)
    losses = 10 * np.exp(-4 / (1 + np.exp(-(np.log10(steps) - place) / scale)))
    rows = [{"step": step, "loss": loss} for step, loss in zip(steps, losses, strict=True)]
    found = grokking.described(rows, 1e-3)
    assert found["middle"] == pytest.approx(3000, rel=0.01)
    assert found["decades"] == pytest.approx(2 * np.log(9) * scale, rel=0.03)  # of a logistic step
    floored = grokking.described(rows, 10 * np.exp(-2))
    assert floored["middle"] < found["middle"]


def test_training_is_the_same_for_a_seed_and_remembers_first():
    rows = grokking.train(modulus=11, share=0.5, updates=200, seed=3, decay=1.0, rate=1e-3)
    assert rows == grokking.train(modulus=11, share=0.5, updates=200, seed=3, decay=1.0, rate=1e-3)
    assert [row["step"] for row in rows] == checkpoints(200, 50, 60)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    answer = grokking.judge(rows + [dict(rows[-1], step=200 + 10 * n) for n in range(1, 30)])
    assert answer["generalised"] is None
    assert not [e for e in answer["events"] if e["type"] == "breakthrough"]
