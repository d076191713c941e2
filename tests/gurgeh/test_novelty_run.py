"""Runs with curiosity in one game and a unit of Q set by hand in another: repeatable, resumable, and off when off."""

import shutil

import pytest
from test_train import SMALL, assert_same_run, differences, lines, refused, state, train, without_time

from gurgeh.load import LoadedRun

SHORT = ["--games", "tictactoe,CartPole-v1", *SMALL, "learner.reanalyse=0", "schedule.at=[8]", "schedule.updates=36",
         "checkpoint.every_updates=12"]  # fmt: skip
BOTH = [*SHORT, "intrinsic.weight.CartPole-v1=50", "search.q_unit.tictactoe=0.25"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    runs = tmp_path_factory.mktemp("both")
    assert train(runs, "--name", "r", *BOTH) == 0
    return runs / "r"


def test_a_run_says_what_it_was_given(both):
    for line in lines(both, "metrics"):
        assert line["games"]["tictactoe"]["value_scale"] == 0.25
        assert "novelty" not in line["games"]["tictactoe"]
    last = lines(both, "metrics")[-1]["games"]["CartPole-v1"]
    assert 0 < last["novelty"] < 1
    assert last["value_scale"] != 0.25
    loaded = LoadedRun(both)
    assert loaded.scales["tictactoe"] == 0.25
    assert loaded.scales["CartPole-v1"] not in (0.25, 1.0)


def test_resumed_it_is_the_run_that_was_never_stopped(both, tmp_path):
    run = tmp_path / "r"
    shutil.copytree(both, run)
    saved = state(run, 24)["games"]["CartPole-v1"]["collector"]["novelty"]
    assert saved["optimizer"]  # its network is being trained there
    assert train(tmp_path, "--resume", str(run), "--checkpoint", "24") == 0
    assert_same_run(both, run)


def test_a_weight_and_a_unit_of_zero_are_none(tmp_path):
    assert train(tmp_path, "--name", "off", *SHORT) == 0
    off = ["intrinsic.weight.CartPole-v1=0", "search.q_unit.tictactoe=0"]
    assert train(tmp_path, "--name", "zero", *SHORT, *off) == 0
    one, other = tmp_path / "off", tmp_path / "zero"
    assert [*map(without_time, lines(one, "metrics"))] == [*map(without_time, lines(other, "metrics"))]
    told = {"/trainer/seconds", "/monitor/fold/versions/config"}  # the configuration's own hash differs
    assert set(differences(state(one), state(other))) <= told
    assert "novelty" not in state(one)["games"]["CartPole-v1"]["collector"]


def test_curiosity_can_be_switched_on_and_off_by_a_resume(both, tmp_path):
    assert train(tmp_path, "--name", "r", *SHORT, "schedule.updates=24") == 0
    run = str(tmp_path / "r")
    assert train(tmp_path, "--resume", run, "schedule.updates=30", "intrinsic.weight.tictactoe=3") == 0
    assert "novelty" in state(tmp_path / "r")["games"]["tictactoe"]["collector"]
    assert train(tmp_path, "--resume", run, "schedule.updates=36", "intrinsic.weight.tictactoe=0") == 0
    assert "novelty" not in state(tmp_path / "r")["games"]["tictactoe"]["collector"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("intrinsic.weight.CartPole-v0=1", ["intrinsic.weight names CartPole-v0", "it plays tictactoe, CartPole-v1"]),
        ("search.q_unit.chess=1", ["search.q_unit names chess"]),
        ("search.q_unit.tictactoe=-1", ["search.q_unit.tictactoe", "-1"]),
        ("intrinsic.weight.tictactoe=lots", ["intrinsic.weight.tictactoe", "lots"]),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, setting, words):
    line = refused(capsys, train(tmp_path, "--name", "r", *SHORT, setting))
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []
