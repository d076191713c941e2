"""Progress: numbers shown are the numbers given, lines can be parsed, and nothing random is touched."""

import dataclasses
import io
import random
import re

import numpy as np
import torch

from gurgeh.live import GameRow, Progress, Snapshot, clock_time, line

GAMES = (
    GameRow("tictactoe", 0, 1200, score=0.981, score_name="wins against random", loss=0.4123, status="settled"),
    GameRow("CartPole-v1", 500, 340),
)
SNAPSHOT = Snapshot(1200, 10000, 83.4, 611.0, 123456, 1480.2, 45.23, GAMES)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(stream):
    """What was written, without the escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_a_plain_line_can_be_parsed():
    fields = dict(field.split("=") for field in line(SNAPSHOT).split())
    assert fields == {
        "update": "1200/10000",
        "elapsed": "83",
        "left": "611",
        "env_steps": "123456",
        "env_steps/s": "1480",
        "updates/s": "45.2",
        "tictactoe.wins_against_random": "0.981",
        "tictactoe.loss": "0.412",
        "CartPole-v1.score": "-",
        "CartPole-v1.loss": "-",
    }


def test_lines_are_aligned():
    early = dataclasses.replace(SNAPSHOT, update=3, elapsed=0.1, remaining=None, env_steps=9, env_steps_rate=None)
    assert line(early).index("tictactoe") == line(SNAPSHOT).index("tictactoe")


def test_plain_lines_come_every_few_seconds_and_the_last_one_always():
    now = [0.0]
    stream = io.StringIO()
    with Progress("demo", stream, every=5.0, clock=lambda: now[0]) as progress:
        for update in range(101):
            now[0] = update / 10
            progress.update(dataclasses.replace(SNAPSHOT, update=update))
        assert not progress.due()
        progress.say("added connect_four")
        progress.update(dataclasses.replace(SNAPSHOT, update=101))
    lines = stream.getvalue().splitlines()
    assert [text.split("/")[0] for text in lines] == [
        "update=0", "update=50", "update=100", "added connect_four", "update=101",
    ]  # fmt: skip
    assert "\x1b" not in stream.getvalue()


def test_the_table_shows_every_number(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with Progress("demo", stream) as progress:
        progress.update(SNAPSHOT)
        progress.say("added [connect_four]")
    text = screen(stream)
    for part in ("demo", "update 1,200 of 10,000 (12%)", "0:01:23 gone, 0:10:11 left", "123,456 environment steps",
                 "1,480/s", "45.2 updates/s", "tictactoe", "0.981 wins against random", "0.412", "settled",
                 "CartPole-v1", "added [connect_four]"):  # fmt: skip
        assert part in text, part


def test_a_terminal_is_restored_when_the_run_fails(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    try:
        with Progress("demo", stream) as progress:
            progress.update(SNAPSHOT)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l"), "the cursor is shown again"


def test_no_random_state_is_touched(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    for stream in (io.StringIO(), Terminal()):
        with Progress("demo", stream) as progress:
            progress.update(SNAPSHOT)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_large_scores_stay_readable():
    games = (dataclasses.replace(GAMES[0], score=21345.6, loss=1e-5),)
    text = line(dataclasses.replace(SNAPSHOT, games=games))
    assert text.endswith("wins_against_random=21346 tictactoe.loss=1e-05")


def test_clock_time():
    assert [clock_time(seconds) for seconds in (0, 59.6, 3599, 360000, None)] == [
        "0:00:00", "0:01:00", "0:59:59", "100:00:00", "–",
    ]  # fmt: skip
