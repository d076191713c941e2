"""The table of the Atari smoke proof: rates are of the stretch between two lines, and a loss that rose is called so."""

from __future__ import annotations

from benchmarks.atari import report

GAME = "ale/Pong:100k"


def line(update: int, moves: int, seconds: float, loss: float) -> dict:
    games = {GAME: {"loss": loss, "policy": 1.5, "value": 0.25, "reward": 0.5, "continuation": 0.125}}
    return {"update": update, "env_steps": moves, "time": {"seconds": seconds, "evaluating": 0.0}, "games": games}


def test_rates_are_between_lines_and_the_loss_is_judged():
    rows = report([line(10, 1000, 10.0, 4.0), line(30, 1500, 15.0, 3.0)], GAME, ["# head"]).splitlines()
    assert rows[4] == "| 10 | 1,000 | 400 | 1.0 | 1.5000 | 0.2500 | 0.5000 | 0.1250 | – |"
    assert rows[5].startswith("| 30 | 1,500 | 400 | 4.0 |")
    assert rows[-1].endswith("to 3.000: it fell.")
    assert "did not fall" in report([line(10, 1000, 10.0, 4.0), line(30, 1500, 15.0, 5.0)], GAME, [])
