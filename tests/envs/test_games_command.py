"""`gurgeh games list | info | check`: what is printed, and the exit codes."""

from __future__ import annotations

import pytest

from gurgeh.cli import main

BROKEN = """
from envs.boards.tictactoe import TicTacToe

class Wrong(TicTacToe):
    def play(self, state, action):
        played = super().play(state, action)
        return played._replace(reward=-played.reward)
"""


def test_list_prints_one_name_a_line_and_filters(capsys):
    assert main(["games", "list"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert {"tictactoe", "connect_four", "CartPole-v1", "minatar/breakout"} <= set(names)
    assert main(["games", "list", "four"]) == 0
    assert "connect_four" in capsys.readouterr().out.splitlines()
    assert main(["games", "list", "nothing like it"]) == 2
    assert "no game's name contains 'nothing like it'" in capsys.readouterr().err


def test_info_describes_a_game(capsys):
    assert main(["games", "info", "connect_four"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("connect_four, version 1", "2, zero-sum", "grid 2 x 6 x 7, uint8", "at most 42 moves", "-1 to 1"):
        assert part in shown
    assert main(["games", "info", "errand"]) == 0
    assert "5 at most: commands that vary, of up to 24 bytes" in " ".join(capsys.readouterr().out.split())
    assert main(["games", "info", "conect_four"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean connect_four" in error


def test_the_catalogue_and_the_splits_are_shown(capsys):
    assert main(["games", "list", "--catalogue", "4x4x4:gravity"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows
    assert all(len(row) == 5 and "4x4x4:gravity" in row[0] and row[3] in ("win", "draw", "loss") for row in rows)
    assert main(["games", "list", "--catalogue", "9x9"]) == 2
    assert "no name in the catalogue contains '9x9'" in capsys.readouterr().err
    assert main(["games", "splits"]) == 0
    shown = capsys.readouterr().out
    assert "connection, version 1" in shown
    assert "held out: connection" in shown
    assert main(["games", "splits", "connection"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "native games, held out: hex:3, hex:4, hex:5, twin:2:hex:3" in shown
    assert main(["games", "splits", "nonsense"]) == 2
    assert "unknown split 'nonsense'; there are arcade" in capsys.readouterr().err
    assert main(["games", "info", "2048"]) == 0
    assert "explicit: 32 outcomes" in capsys.readouterr().out
    assert main(["games", "info", "twin:1:hex:3"]) == 0
    assert "isomorphic to hex:3" in capsys.readouterr().out


def test_check_passes_a_sound_game_and_refuses_a_broken_one(capsys, tmp_path):
    assert main(["games", "check", "tictactoe", "--moves", "60"]) == 0
    shown = capsys.readouterr().out
    assert "tictactoe keeps the contract" in shown
    assert "✗" not in shown
    file = tmp_path / "wrong.py"
    file.write_text(BROKEN)
    assert main(["games", "check", f"{file}:Wrong", "--moves", "60"]) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert "✗ reward goes to seats copy" in shown
    assert "change the sign of the reward" in shown
    assert "breaks the contract: 1 finding" in shown


@pytest.mark.parametrize("arguments", [["games"], ["games", "chek"], ["games", "check", "tictactoe", "--copies", "0"]])
def test_bad_arguments_are_one_line_and_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert "gurgeh: error" in capsys.readouterr().err
