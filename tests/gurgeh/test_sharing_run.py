"""Sharing in a run: measured at its checkpoints, training the same to the bit, also when it is interrupted."""

import json

import pytest
from test_train import TWO, assert_same_run, differences, lines, state, train, without_time

from gurgeh import cli
from monitor.records import SHARING, validate

SETTINGS = [
    *TWO, "games=[tictactoe,twin:1:tictactoe]", "monitor.s_min=4", "monitor.sharing_size=48", "monitor.cause_size=32",
    "monitor.ablation_units=24", "network.hidden=24",
]  # fmt: skip


def arguments(*more):
    return [argument for argument in SETTINGS if argument not in ("--games", "tictactoe,CartPole-v1")] + list(more)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    runs = tmp_path_factory.mktemp("shared")
    assert train(runs, "--name", "r", *arguments()) == 0
    return runs / "r"


def of_pairs(run):
    return [line for line in lines(run, "monitor") if line["schema"] == SHARING]


def test_pairs_are_measured_at_the_checkpoints_of_the_latest_introduction(shared):
    records = of_pairs(shared)
    for record in records:
        validate(record)
        assert (record["game"], record["other_game"], record["relation"]) == (
            "tictactoe", "twin:1:tictactoe", "twin",
        )  # fmt: skip
    at = {m: [r["update"] for r in records if r["measure"] == m] for m in {r["measure"] for r in records}}
    assert set(at) == {"probe", "subspace", "cka", "ablation", "gradient", "tag"}
    # s_min 4 after update 12, ten (four) a decade: 4, 5, 6, 8, ... (4, 7, 13, 22) updates later; both ends beside them.
    assert at["probe"] == at["subspace"] == at["gradient"] == [12, 16, 17, 18, 20, 22, 25, 28, 32, 37, 44, 45]
    assert at["tag"] == at["ablation"] == at["cka"] == [12, 16, 19, 25, 34, 45]
    for measure in ("probe", "subspace", "cka", "tag"):
        assert [r["value"] for r in records if r["measure"] == measure][-1] is not None, measure
    found = {r["measure"]: r for r in records}
    assert found["probe"]["nulls"].keys() == {
        "random network", "random network 2", "random network 3", "shuffled labels", "chance rotations",
    }  # fmt: skip
    assert set(found["probe"]["details"]) == {"value", "legal_moves", "moves_to_end"}


def test_training_is_the_same_to_the_bit_without_it(shared, tmp_path):
    for setting in ("monitor.sharing=false", "monitor.enabled=false"):
        assert train(tmp_path, "--name", setting[8:15], *arguments(setting)) == 0
        mine, theirs = state(tmp_path / setting[8:15]), state(shared)
        for key in ("learner", "games", "scales", "generator", "counters", "schedule"):
            assert differences(mine[key], theirs[key]) == [], key
        assert [without_time(line) for line in lines(tmp_path / setting[8:15], "metrics")] == [
            without_time(line) for line in lines(shared, "metrics")
        ]


def test_an_interrupted_run_has_the_same_records(shared, tmp_path):
    assert train(tmp_path, "--name", "r", *arguments("schedule.updates=30")) == 0
    assert train(tmp_path, "--resume", str(tmp_path / "r"), "--checkpoint", "15", "schedule.updates=45") == 0
    mine, theirs = of_pairs(tmp_path / "r"), of_pairs(shared)
    assert len(mine) == len(theirs)
    ignored = {"seq", "run"}  # the changed length of the run is in the ledger
    for one, other in zip(mine, theirs):
        assert {k: v for k, v in one.items() if k not in ignored} == {
            k: v for k, v in other.items() if k not in ignored
        }


def test_the_same_run_again_is_the_same(shared, tmp_path):
    assert train(tmp_path, "--name", "r", *arguments()) == 0
    assert_same_run(shared, tmp_path / "r")


def test_the_command_finds_the_same_events_again(shared, capsys):
    cli.main(["monitor", str(shared), "--json"])
    assert json.loads(capsys.readouterr().out)["identical"] is True


def test_tensorboard_has_what_the_monitor_recorded(shared, tmp_path):
    """The same run with TensorBoard: each small loss, health and measure of sharing is there at its update."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(tmp_path, "--name", "r", *arguments("logging.tensorboard=true")) == 0
    board = EventAccumulator(str(tmp_path / "r" / "tensorboard"), {"scalars": 0})
    board.Reload()

    def points(tag):
        return [(entry.step, entry.value) for entry in board.Scalars(f"monitor/{tag}")]

    records = lines(tmp_path / "r", "monitor")
    small = [
        r for r in records if r["schema"] == "monitor.loss/1" and r["subset"] == "small" and r["game"] == "tictactoe"
    ]
    wanted = [(r["update"], pytest.approx(r["losses"]["policy"]["mean"], rel=1e-6)) for r in small]
    assert points("loss/tictactoe/policy") == wanted
    tags = [r for r in of_pairs(tmp_path / "r") if r["measure"] == "tag"]
    where = "sharing/tictactoe+twin:1:tictactoe/tag"
    assert points(f"{where}/value") == [(r["update"], pytest.approx(r["value"], rel=1e-6)) for r in tags]
    assert [step for step, _ in points(f"{where}/ceiling")] == [r["update"] for r in tags]
    assert "monitor/health/tictactoe/effective_rank" in board.Tags()["scalars"]
