"""Which folders are runs, and which of them are compared: games that joined later against runs of them alone."""

import pytest
import yaml
from synthetic_run import make_run

from gurgeh.scale_data import scale_of
from gurgeh.transfer_data import behaviour_of, learning_curves_of, runs_in

GROWN = {"tictactoe": 0, "CartPole-v1": 100}


@pytest.fixture
def folders(tmp_path):
    """A run in which CartPole-v1 joins, and it alone, as `width` says: [grown, alone]."""

    def made(*widths):
        found = []
        for name, games, width in zip(("grown", "alone"), (GROWN, {"CartPole-v1": 0}), widths, strict=True):
            folder = make_run(tmp_path / name, games, last=400, forget=False, falls=False)
            config = yaml.safe_load((folder / "config.yaml").read_text())
            (folder / "config.yaml").write_text(yaml.safe_dump(config | {"network": {"width": width}}))
            found.append(folder)
        return found

    return made


def test_runs_that_differ_in_their_games_alone_are_compared(folders):
    records, _ = behaviour_of(folders(32, 32), "dynamics_1")
    assert {(r["run"], r["game"], r["other_game"]) for r in records} == {("grown", "tictactoe", "CartPole-v1")}


def test_a_larger_network_is_not_compared_with_a_smaller_one(folders):
    assert behaviour_of(folders(64, 32), "dynamics_1") == ([], [])


def test_a_run_that_was_killed_while_it_was_made_is_none(tmp_path):
    for name in ("whole", ".creating-half-77"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    assert runs_in([tmp_path]) == [tmp_path / "whole"]


def test_learning_curves_are_of_runs_that_learn_alike(tmp_path):
    folders = []
    for name, width in (("one", 32), ("two", 32), ("large", 64)):
        folder = make_run(tmp_path / name, GROWN, last=400, forget=False, falls=False)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {"network": {"width": width}}))
        folders.append(folder)
    records = learning_curves_of(folders, "dynamics_1")
    assert [{point["run"] for point in record["points"]} for record in records] == [{"one", "two"}, {"large"}]


def test_runs_of_one_name_are_refused_where_the_name_tells_them(tmp_path):
    folders = [make_run(tmp_path / f"seed{n}" / "demo", GROWN, last=400, forget=False, falls=False) for n in (0, 1)]
    with pytest.raises(ValueError, match="have the same name; rename one"):
        behaviour_of(folders, "dynamics_1")
    with pytest.raises(ValueError, match="have the same name; rename one"):
        scale_of(folders, "dynamics_1")
