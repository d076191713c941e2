"""Human-normalised scores: the table's conditions, and where they are shown."""

from __future__ import annotations

import json

import pytest

from envs.reference_scores import FILE, reference
from gurgeh.cli import main


def test_random_play_is_0_and_the_human_1():
    pong = reference("ale/Pong")
    assert pong is not None
    assert pong.normalized(-20.7) == 0
    assert pong.normalized(14.6) == pytest.approx(1)
    assert reference("ale/Breakout:100k-eval").normalized(16.1) == pytest.approx(0.5)  # half way from 1.7 to 30.5


def test_returns_that_are_no_scores_have_none():
    assert reference("ale/Pong:100k") is None  # a lost life ends the game, rewards are clipped
    assert reference("ale/Tetris") is None  # nobody's table has it
    assert reference("tictactoe") is None


def test_the_table_is_atari_57_and_names_its_source():
    found = json.loads(FILE.read_text())
    assert "Wang et al. 2016" in found["source"]
    assert len(found["games"]) == 57
    assert all(scores["human"] > scores["random"] for scores in found["games"].values())


def test_every_entry_is_a_rom_of_ale_py():
    pytest.importorskip("ale_py")
    from envs.adapters import ale

    assert set(json.loads(FILE.read_text())["games"]) <= set(ale.names())
    assert len(ale.names()) == 104


def test_it_is_shown_beside_the_return(capsys, tmp_path):
    pytest.importorskip("ale_py")
    command = ["evaluate", "random", "--game", "ale/Breakout:v5", "--episodes", "2", "--save", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)["games"][0]["summary"]
    expected = (summary["return"]["mean"] - 1.7) / (30.5 - 1.7)
    assert summary["human_normalized"]["mean"] == pytest.approx(expected)
    assert main(["games", "info", "ale/Breakout"]) == 0
    assert "random 1.7, human 30.5" in capsys.readouterr().out
