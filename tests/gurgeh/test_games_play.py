"""`gurgeh games play`: scripts, pipes, a person at a terminal, and clean ends."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envs import registry
from gurgeh.cli import main
from gurgeh.play import find_move, scripted

ROOT = Path(__file__).parents[2]


def played(arguments, capsys):
    assert main(["games", "play", *arguments]) == 0
    return capsys.readouterr().out


def test_a_script_plays_both_seats_to_the_end(capsys):
    shown = played(["connect_four", "--opponent", "self", "--moves", "3,0,3,0,3,0,3"], capsys)
    assert "move 7, X to move" in shown
    assert "moves: 0, 1, 2, 3, 4, 5, 6" in shown
    assert "the end after 7 moves: X wins" in shown
    board = shown.split("move 7")[1].splitlines()
    assert any(row.split()[:2] == ["5", "O"] for row in board)


def test_moves_from_a_pipe_may_be_numbers_cells_and_comments(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("4\n0 0, cell 2 2\n# a comment\n1 0 # and one more\n\n1 2\n"))
    shown = played(["tictactoe", "--opponent", "self"], capsys)
    assert "cells (row column): 0 0, 0 1, 0 2, 1 0, 1 2, 2 0, 2 1, 2 2" in shown
    assert "stopped after 5 moves" in shown


def test_a_script_that_ends_early_stops_the_game(capsys):
    assert "stopped after 2 moves" in played(["tictactoe", "--moves", "4", "--seed", "3"], capsys)
    assert "stopped after 0 moves" in played(["tictactoe", "--moves", "q"], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tictactoe", "--opponent", "self", "--moves", "4,4"], "move 2 of the script: cell 1 1 is not legal here"),
        (["tictactoe", "--moves", "9"], "move 1 of the script: '9' is no move: type a number from 0 to 8"),
        (["tictactoe", "--moves", "\u00b2"], "is no move: type a number from 0 to 8"),
        (["tictactoe", "--moves", "4 0 8"], "moves are separated by commas or lines"),
        (["tictactoe", "--opponent", "nobody", "--moves", "4"], "unknown player 'nobody'"),
        (["tictactoe", "--seat", "2"], "--seat must be from 0 to 1"),
        (["kuhn", "--opponent", "mcts:10"], "hidden information"),
        (["CartPole-v1", "--seat", "1"], "is for one player"),
        (["tictactoe", "--opponent", "self", "--seat", "1"], "leave --seat out"),
        (["tictactow"], "did you mean tictactoe"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(["games", "play", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_an_opponent_moves_and_may_begin(capsys):
    shown = played(["connect_four", "--opponent", "mcts:50", "--seat", "1", "--moves", "0,0,0"], capsys)
    assert shown.splitlines()[0] == "connect_four against mcts:50"
    assert shown.splitlines()[1].startswith("X (mcts:50) plays column")
    assert "O (you) to move" in shown
    again = played(["connect_four", "--opponent", "mcts:50", "--seat", "1", "--moves", "0,0,0"], capsys)
    assert again == shown  # the same seed, the same game


def test_hidden_moves_stay_hidden(capsys):
    shown = played(["matrix:rps:3", "--seat", "1", "--moves", "rock,rock,rock"], capsys)
    assert shown.count("seat 0 (random) plays (hidden)") == 3
    assert "plays rock" not in shown


def test_one_player_vectors_pixels_and_text(capsys):
    assert "reward 1" in played(["CartPole-v1", "--moves", "0,1,1"], capsys)
    shown = played(["text:zen", "--moves", "t,97"], capsys)
    assert "10, 32, !, " in shown
    shown = played(["cottage", "--moves", "go north, go south, wait"], capsys)
    assert "You are in the kitchen." in shown
    assert "You can go south, go down" in shown


def test_moves_are_found_by_number_label_and_beginning():
    game = registry.make("cottage")
    legal = [0, 2, 4, 10]
    assert find_move("go north", game, legal) == 0
    assert find_move("2", game, legal) == 2
    assert find_move("WAIT", game, legal) == 10
    with pytest.raises(ValueError, match="is not legal here"):
        find_move("take lamp", game, legal)
    with pytest.raises(ValueError, match="is no move"):
        find_move("fly", game, legal)
    text = registry.make("text:zen")
    assert find_move("a", text, [97, 104]) == find_move("97", text, [97]) == 97
    assert list(scripted("a, b c ,, # d")) == ["a", "b c"]


def test_a_person_at_a_terminal():
    """A real terminal: a prompt, a mistake that is explained, moves, and q."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gurgeh", "games", "play", "tictactoe", "--opponent", "self", "--no-color"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    seen = ""

    def until(text, timeout=120):
        nonlocal seen
        end = time.monotonic() + timeout
        while text not in seen:
            assert time.monotonic() < end, f"{text!r} did not come; seen: {seen}"
            if select.select([ours], [], [], 1)[0]:
                try:
                    seen += os.read(ours, 4096).decode(errors="replace")
                except OSError:  # the other side is closed
                    break
        before, seen = seen, ""
        assert text in before
        return before

    def say(line):
        os.write(ours, line.encode() + b"\n")

    until("your move> ")
    say("17")
    assert "'17' is no move" in until("your move> ")
    say("1 1")
    assert "move 2, O to move" in until("your move> ")
    say("4")
    assert "cell 1 1 is not legal here" in until("your move> ")
    say("q")
    until("stopped after 1 moves")
    assert process.wait(20) == 0
    os.close(ours)
