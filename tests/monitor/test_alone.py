"""The monitor on anybody's losses: a planted fall becomes one event, whatever form the losses come in."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor.alone import _records, events_from_losses
from monitor.config import MonitorConfig
from monitor.events import EventFold, standing
from monitor.records import validate
from monitor.synthetic import null_curve, planted_curve

ROOT = Path(__file__).resolve().parents[2]


def rows(curve, task="a", start=0):
    steps = np.unique(np.round(curve.steps).astype(int), return_index=True)
    return [{"step": int(s) + start, "task": task, "loss": float(curve.losses[i])} for s, i in zip(*steps)]


FALL = planted_curve(np.random.default_rng(3), 20, 0.02, phi=0.3, place=0.6)
SMOOTH = null_curve("power_law", np.random.default_rng(1), phi=0.3)


@pytest.fixture(scope="module")
def both():
    """A smooth task and one with a breakthrough."""
    return rows(FALL) + rows(SMOOTH, "b")


@pytest.fixture(scope="module")
def events(both):
    return events_from_losses(both)


def test_the_planted_fall_is_one_breakthrough_and_its_plateau(events):
    for event in events:
        validate(event)
    told = {(e["type"], e["game"], e["status"]) for e in standing(events)}
    assert told == {("breakthrough", "a", "confirmed"), ("plateau", "a", "confirmed")}
    fall = next(e for e in standing(events) if e["type"] == "breakthrough")
    planted = FALL.planted
    assert abs(np.log10(fall["step"] / planted.step)) < 0.02
    assert fall["step_ci95"][0] <= fall["step"] <= fall["step_ci95"][1]
    assert fall["effect"]["value"] == pytest.approx(planted.size, abs=0.1)
    assert fall["effect"]["width_decades"] <= 0.25
    assert fall["test"]["p"] <= 0.004
    assert fall["test"]["q_bh"] == pytest.approx(2 * fall["test"]["p"])  # two series, the other is not significant
    assert fall["test"]["family"] == {"series": 2, "when": "end"}


def test_an_alarm_and_its_verdicts_have_one_id(events):
    lines = [e for e in events if e["game"] == "a" and e["type"] != "plateau"]
    assert len({e["id"] for e in lines}) == 1
    statuses = [e["status"] for e in lines]
    assert statuses[-2:] == ["confirmed", "confirmed"]  # by the scan after the alert, and at the end
    assert statuses[-3] == "alert"
    assert [e["test"]["family"]["when"] for e in lines[-2:]] == ["confirmation", "end"]


def test_a_frame_a_file_and_the_command_say_the_same(both, events, tmp_path):
    pandas = pytest.importorskip("pandas")
    assert events_from_losses(pandas.DataFrame(both)) == events
    path = tmp_path / "run.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "task", "loss"])
        writer.writeheader()
        writer.writerows(both)
    assert events_from_losses(path) == events
    done = subprocess.run(
        [sys.executable, "-m", "monitor", str(path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 10, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == events


def test_a_ledger_entry_at_the_fall_confounds_it():
    step = FALL.planted.step
    near = standing(events_from_losses(rows(FALL), ledger=[(round(step), "learning rate cut")]))
    assert {e["status"] for e in near if e["type"] == "breakthrough"} == {"confounded"}
    assert near[-1]["confounders"][0]["kind"] == "other"
    far = standing(events_from_losses(rows(FALL), ledger=[(round(2 * step), "learning rate cut")]))
    assert {e["status"] for e in far if e["type"] == "breakthrough"} == {"confirmed"}


def test_a_later_task_counts_from_its_own_introduction():
    shifted = [*rows(SMOOTH), {"step": 20000, "task": "b", "loss": 3.0}, *rows(FALL, "b", 20000)]
    found = [e for e in standing(events_from_losses(shifted)) if e["type"] == "breakthrough"]
    assert [(e["game"], e["trigger"]) for e in found] == [("b", "add:b")]
    assert abs(np.log10((found[0]["step"] - 20_000) / FALL.planted.step)) < 0.02


def test_events_are_a_function_of_the_records_and_survive_a_resume(both, events):
    tasks = {t: [(r["step"], r["loss"]) for r in both if r["task"] == t] for t in "ab"}
    config = MonitorConfig(s_min=50, loss_floor=0.0, falls=True)
    records = list(_records(tasks, {"a": 0.0, "b": 0.0}, (), "run", config))
    fold, again = EventFold(), []
    for number, record in enumerate(records):
        again += fold.take(record)
        if number % 97 == 0:
            saved = json.loads(json.dumps(fold.state_dict()))
            fold = EventFold()
            fold.load_state_dict(saved)
    assert again == events


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:20], r"task 'a' has 19 points.*40 are needed"),
        (
            lambda r: [{**row, "step": 10**6 + i} for i, row in enumerate(r)] + [{**r[0], "step": 10**7}],
            "more are closer than",
        ),
        (
            lambda r: [{**row, "step": round(10**4 * 10 ** (0.4 * i / 45))} for i, row in enumerate(r[:46])],
            r"spans 0\.40 decades.*0\.5 are needed",
        ),
        (lambda r: [*r[:5], {**r[5], "loss": float("nan")}, *r[6:]], r"row 6, task 'a'.*loss nan"),
        (lambda r: [*r[:5], r[4], *r[5:]], r"row 6, task 'a'.*must increase"),
        (lambda r: [{**row, "loss": -row["loss"]} for row in r], r"row 1.*above 0"),
        (lambda r: [{"step": 1, "loss": 1.0}], "row 1 lacks task"),
        (lambda r: [{**r[0], "loss": "much"}], "must be numbers"),
        (lambda r: [], "no rows"),
    ],
)
def test_losses_that_cannot_be_judged_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        events_from_losses(change(rows(FALL)))


def test_the_command_refuses_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "monitor", str(tmp_path / "none.csv")], capture_output=True, text=True, cwd=ROOT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("monitor: ")
    assert done.stderr.count("\n") == 1
