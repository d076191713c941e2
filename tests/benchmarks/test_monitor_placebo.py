"""The placebo control: what counts as a fall of the game that joined, and a small run read from end to end."""

import pytest

from benchmarks import monitor_placebo


def found(*events, game="placebo:tictactoe", run="r"):
    fields = ("type", "status", "game")
    return {"run": run, "game": game, "events": [dict(zip(fields, event, strict=True)) for event in events]}


def test_only_falls_of_the_newcomer_that_stand_count():
    mine = "placebo:tictactoe"
    none = found(("drop", "rejected", mine), ("drop", "alert", mine), ("knee", "rejected", mine),
                 ("breakthrough", "confirmed", "tictactoe"), ("rise", "confirmed", mine))  # fmt: skip
    drop = found(("drop", "confounded", mine), run="d")
    broken = found(("breakthrough", "confirmed", mine), run="b")
    assert monitor_placebo.falls(none) == []
    said = monitor_placebo.summary([none, drop, broken])
    assert said == ("1 of 3 runs with a breakthrough of the game that joined, 2 with a breakthrough or a drop: d, b")
    assert monitor_placebo.summary([none]).startswith("0 of 1 runs with a breakthrough")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import argparse

    runs = tmp_path_factory.mktemp("placebo")
    settings = [
        "network.width=16", "network.hidden=24", "network.channels=4", "search.simulations=4", "learner.batch=8",
        "selfplay.copies=8", "learner.start_steps=32", "monitor.s_min=4", "monitor.sharing_size=48",
        "monitor.cause_size=32", "monitor.ablation_units=24", "monitor.set_size=64", "monitor.medium_size=48",
        "monitor.small_size=32", "logging.tensorboard=false", "logging.evaluate_every_updates=0",
    ]  # fmt: skip
    args = argparse.Namespace(game="tictactoe", newcomer=None, at=20, updates=60, runs=runs, settings=settings)
    return monitor_placebo.train(args, 1)


def test_a_run_is_read_from_where_the_placebo_joins(folder):
    judged = monitor_placebo.judge(folder)
    assert (judged["game"], judged["joined"], judged["updates"]) == ("placebo:tictactoe", 20, 60)
    assert judged["series"] >= 4
    first = judged["losses"]["policy"][0]
    assert first[0] == 0
    assert first[1] > 0
    assert judged["sharing"]["probe"]["checkpoints"] > 0
    assert all(event["step"] >= 20 for event in judged["events"])
    said = "\n".join(monitor_placebo.lines(judged))
    assert "placebo:tictactoe joins at update 20 of 60" in said
    assert "sharing probe" in said
    assert monitor_placebo.judge(folder) == judged
