"""Goals while a run goes on: what short evaluations measure, and when a run ends early."""

import json

import pytest

from agents.player import RandomPlayer, SolverPlayer
from envs import registry
from envs.solver import solve
from gurgeh import cli
from gurgeh.brief import brief_evaluation
from gurgeh.config import RunConfig
from gurgeh.configure import load_config
from gurgeh.evaluate import EvaluationConfig
from gurgeh.goals import judge_brief, parse_goal
from gurgeh.rundir import RunDirectory

SMALL = [
    "threads=1", "network.width=16", "network.hidden=32", "network.value_bins=21", "learner.batch=16",
    "learner.start_steps=100", "selfplay.copies=8", "selfplay.wrapped_copies=8", "search.simulations=2",
    "evaluation.simulations=2",
    "logging.every_updates=5", "logging.evaluate_every_updates=4", "logging.evaluate_episodes=4",
    "logging.tensorboard=false", "monitor.enabled=false", "schedule.updates=15",
]  # fmt: skip


def train(runs, *arguments):
    return cli.main(["train", "--runs", str(runs), "--no-evaluation", *arguments])


def evaluations(run):
    return [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]


def test_short_evaluations_measure_what_goals_name():
    game = registry.make("tictactoe")
    goals = [parse_goal("tictactoe loss against perfect <= 0"), parse_goal("tictactoe win against random >= 0.5")]
    perfect = SolverPlayer(solve(game.native))
    found = brief_evaluation(game, perfect, 20, 0, EvaluationConfig(), goals)
    assert found["optimal"] == 1.0
    assert found["loss_against_perfect"] == 0.0
    assert found["win_against_random"] >= 0.5
    assert all(one.met for one in judge_brief(["tictactoe optimal >= 1", "tictactoe loss against perfect <= 0"],
                                              {"tictactoe": found}))  # fmt: skip
    random = brief_evaluation(game, RandomPlayer(game.spec), 20, 0, EvaluationConfig(), goals)
    assert random["optimal"] < 0.9
    assert random["loss_against_perfect"] > 0.3


def test_a_goal_that_was_not_measured_is_not_met():
    judged = judge_brief(["a return >= 1", "b win against random >= 0"], {"a": {"return": 1.0}, "b": {"win": 1.0}})
    assert [one.met for one in judged] == [True, False]
    assert judged[1].found is None


def test_a_run_ends_when_its_goals_were_met_often_enough(tmp_path):
    goals = ["goals=[tictactoe optimal >= 0.01]"]
    assert train(tmp_path, "--name", "whole", *SMALL, *goals) == 0
    assert train(tmp_path, "--name", "early", *SMALL, *goals, "schedule.stop_after_met=2") == 0
    assert [line["goals_met"] for line in evaluations(tmp_path / "whole")] == [1, 2, 3]
    assert [line["update"] for line in evaluations(tmp_path / "early")] == [4, 8]
    assert RunDirectory.open(tmp_path / "early").latest_step() == 8
    # Until then it is the same run, and gone on with it makes the rest.
    for mine, theirs in zip(evaluations(tmp_path / "early"), evaluations(tmp_path / "whole"), strict=False):
        assert mine["games"] == theirs["games"]
    spent = evaluations(tmp_path / "early")[-1]["time"]
    assert 0 < spent["evaluating"] < spent["seconds"]
    assert train(tmp_path, "--resume", str(tmp_path / "early")) == 0
    assert RunDirectory.open(tmp_path / "early").latest_step() == 8  # met it is, and met it stays
    assert train(tmp_path, "--resume", str(tmp_path / "early"), "schedule.stop_after_met=0") == 0
    assert RunDirectory.open(tmp_path / "early").latest_step() == 15


def test_goals_that_are_missed_count_anew(tmp_path):
    assert train(tmp_path, "--name", "r", *SMALL, "goals=[tictactoe optimal >= 1]", "schedule.stop_after_met=1") == 0
    assert [line["goals_met"] for line in evaluations(tmp_path / "r")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["schedule.stop_after_met=1"], "needs goals"),
        (["schedule.stop_after_met=-1"], "at least 0, found -1"),
        (["schedule.stop_after_met=1", "goals=[tictactoe optimal >= 1]", "logging.evaluate_every_updates=0"],
         "evaluate_every_updates is 0"),
        (["schedule.stop_after_met=1", "goals=[tictactoe win >= 1]"], "win against OPPONENT >= 1"),
    ],
)  # fmt: skip
def test_a_run_that_could_never_end_so_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load_config(RunConfig, None, settings)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("tictactoe optimal >= 1.2.3", "is not written GAME MEASURE"),
        ("connect_four win against perfect >= 0.1", "no perfect player"),
        ("tictactoe win against mcts:0 >= 0.1", "mcts:N"),
        ("tictactoe win against tacticain2 >= 0.1", "neither"),
        ("tictactoe optimal against perfect >= 0.9", "against nobody"),
        ("connect_four optimal >= 0.9", "solvable"),
        ("CartPole-v1 return against random >= 195", "for one player"),
        ("connect_four return >= 0", "against OPPONENT"),
        ("tictactoe win against openspiel-mcts:5 >= 0.1", None),
    ],
)
def test_goals_that_nobody_could_measure_are_refused_before_the_run(tmp_path, capsys, goal, message):
    if message is None:
        pytest.importorskip("pyspiel")
    games = "tictactoe,connect_four,CartPole-v1"
    code = train(tmp_path, "--name", "r", "--games", games, "schedule.updates=1", "learner.start_steps=100000",
                 f"goals=[{goal}]", "selfplay.random_plies=nonsense" if message is None else "seed=1")  # fmt: skip
    assert code == 2
    assert (message or "random_plies") in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
