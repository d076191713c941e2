"""`gurgeh monitor` on runs with falls: found again, followed while they grow, over a folder; training stays the
same."""

import json
import re
import shutil
import threading
import time

import numpy as np
import pytest
from test_train import SMALL, assert_same_run, differences, lines, state, train, without_time

from gurgeh import cli
from gurgeh.rundir import RunDirectory
from monitor import Measure, Monitor, MonitorConfig
from monitor.cadence import checkpoints
from monitor.events import standing
from monitor.synthetic import null_curve, planted_curve

FALL = planted_curve(np.random.default_rng(3), 20, 0.02, phi=0.3, place=0.5, points=121, decades=2.0)
CALM = null_curve("power_law", np.random.default_rng(1), 121, phi=0.3, decades=2.0)
SCANNED = [
    "--games", "tictactoe", *SMALL, "schedule.updates=260", "checkpoint.every_updates=150", "learner.reanalyse=0",
    "learner.start_steps=20", "monitor.warn_statistic=0.01", "monitor.alert_statistic=0.02",
    "monitor.falls=true",
]  # fmt: skip


def planted_run(path, curve=FALL, falls=True):
    """A run of tic-tac-toe whose policy loss is a planted curve and whose next mover's is smooth, by the real
    monitor."""
    steps = checkpoints(5000, 50, 60)
    with RunDirectory.create(path, {"seed": 0}) as run:
        monitor = Monitor(MonitorConfig(set_size=64, medium_size=64, falls=falls), run.append, path.name, 0)
        now = {}

        def losses(game, size):
            value = {"policy@0": now["policy"], "next_mover@1": now["calm"]}
            return {name: np.full(size, one) for name, one in value.items()}

        measure = Measure(losses, lambda game, size: np.arange(size) % 3)
        for number, step in enumerate([0, *steps]):
            at = min(max(number - 1, 0), 120)
            now |= {"policy": curve.losses[at], "calm": CALM.losses[at]}
            if step == 0:
                monitor.introduce("tictactoe", 0, 0, "f" * 64, "solver")
            monitor.observe(step, step, measure)
        monitor.finish(steps[-1], steps[-1], measure)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, one with a breakthrough in the policy, and a folder that is none."""
    runs = tmp_path_factory.mktemp("runs")
    planted_run(runs / "fall")
    planted_run(runs / "calm", CALM)
    (runs / "notes").mkdir()
    return runs


def monitor(*arguments, capsys):
    code = cli.main(["monitor", *map(str, arguments)])
    return code, capsys.readouterr()


def test_a_planted_fall_is_found_again_from_the_logs(folder, capsys):
    code, shown = monitor(folder / "fall", "--json", capsys=capsys)
    answer = json.loads(shown.out)
    assert (code, shown.err, answer["identical"]) == (10, "", True)
    stand = standing(answer["events"])
    falls = [e for e in stand if e["type"] == "breakthrough"]
    # All positions and three strata have the same losses here.
    assert sorted(e["stratum"] for e in falls) == ["all", "end", "middle", "opening"]
    assert {(e["status"], e["head"]) for e in falls} == {("confirmed", "policy")}
    assert all(abs(np.log10(e["step"] / FALL.planted.step)) < 0.03 for e in falls)
    assert not [e for e in stand if e["head"] == "next_mover" and e["status"] == "confirmed"]
    for event in falls:
        assert event["test"]["family"] == {"series": 12, "when": "end"}  # policy, next mover, dynamics_1; 4 strata
        assert event["test"]["surrogates"] == 999


def test_a_folder_of_runs_answers_for_each_and_over_all(folder, capsys):
    code, shown = monitor(folder, capsys=capsys)
    assert code == 10
    assert "1 of 2  breakthrough: tictactoe  (fall)" in shown.out
    code, shown = monitor(folder, "--json", capsys=capsys)
    assert [(run["run"], run["exit_code"]) for run in json.loads(shown.out)["runs"]] == [("calm", 0), ("fall", 10)]
    assert monitor(folder / "calm", capsys=capsys)[0] == 0


def test_following_says_what_was_said_live_and_ends_with_the_run(folder, capsys):
    live = [json.loads(line) for line in (folder / "fall/events.jsonl").read_text().splitlines()]
    code, shown = monitor(folder / "fall", "--follow", "--json", "--every", "0.01", capsys=capsys)
    assert code == 10
    assert [json.loads(line) for line in shown.out.splitlines()] == live


def test_following_a_run_that_is_being_written(folder, tmp_path, capsys):
    source, growing = folder / "fall", tmp_path / "fall"
    shutil.copytree(source, growing)
    text = (source / "monitor.jsonl").read_bytes()
    (growing / "monitor.jsonl").write_bytes(b"")

    def write():
        for start in range(0, len(text), len(text) // 7):  # cuts lines in half
            time.sleep(0.03)
            with (growing / "monitor.jsonl").open("ab") as file:
                file.write(text[start : start + len(text) // 7])

    writer = threading.Thread(target=write)
    writer.start()
    code, shown = monitor(growing, "--follow", "--every", "0.01", capsys=capsys)
    writer.join()
    assert code == 10
    assert shown.out.count("confirmed breakthrough: tictactoe policy") >= 4


def test_what_cannot_be_followed_is_refused(folder, capsys):
    code, shown = monitor(folder, "--follow", capsys=capsys)
    assert (code, shown.err.count("\n")) == (2, 1)
    assert "is a folder of 2 runs; --follow watches one" in shown.err
    assert monitor(folder / "fall", "--follow", "--every", "0", capsys=capsys)[0] == 2
    assert monitor(folder / "notes", capsys=capsys)[0] == 2


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A trained run in which every series is scanned again and again."""
    runs = tmp_path_factory.mktemp("scanned")
    assert train(runs, "--name", "r", *SCANNED) == 0
    return runs / "r"


def test_scans_leave_training_the_same_to_the_bit(scanned, tmp_path):
    judged = [e for e in lines(scanned, "events") if e["status"] == "rejected"]
    assert len(judged) > 5
    assert train(tmp_path, "--name", "r", *SCANNED, "monitor.enabled=false") == 0
    mine, theirs = state(tmp_path / "r"), state(scanned)
    for key in ("learner", "games", "scales", "generator", "counters", "schedule"):
        assert differences(mine[key], theirs[key]) == [], key
    assert [*map(without_time, lines(tmp_path / "r", "metrics"))] == [*map(without_time, lines(scanned, "metrics"))]


def test_a_resumed_run_has_the_events_of_one_that_was_not_stopped(scanned, tmp_path, capsys):
    run = tmp_path / "r"
    shutil.copytree(scanned, run)
    assert train(tmp_path, "--resume", str(run), "--checkpoint", "150") == 0
    assert_same_run(scanned, run)
    capsys.readouterr()
    _, shown = monitor(run, "--json", capsys=capsys)
    assert json.loads(shown.out)["identical"] is True


def test_alarms_in_words(folder, capsys):
    out = monitor(folder / "fall", capsys=capsys)[1].out
    assert re.search(r"confirmed breakthrough: tictactoe policy, fall_nats 0\.[34]", out)
    assert "p = 0.001, q = " in out


def test_falls_are_found_later_where_the_run_did_not_look(tmp_path, capsys):
    answers = {}
    for name, falls in (("looked", True), ("did-not", False)):
        run = planted_run(tmp_path / name / "run", falls=falls)
        live = run / "events.jsonl"  # without an event there is no file
        assert ('"breakthrough"' in live.read_text() if live.exists() else False) is falls
        capsys.readouterr()
        assert cli.main(["monitor", str(run), "--json", "--falls"]) == 10
        answers[name] = json.loads(capsys.readouterr().out)
        assert answers[name]["identical"] is True
    looked, later = (standing(answer["events"]) for answer in answers.values())
    assert looked == later
    assert any(event["type"] == "breakthrough" for event in later)
