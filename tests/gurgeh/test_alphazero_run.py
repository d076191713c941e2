"""AlphaZero mode from the command line: the same to the bit, resumed or not; it learns; evaluation; what is refused."""

import json

import pytest
from test_train import SMALL, assert_same_run, lines, train

from gurgeh import cli
from gurgeh.load import LoadedRun
from gurgeh.rundir import RunDirectory

RULES = [*SMALL, "search.model=rules", "schedule.updates=24", "checkpoint.every_updates=8"]
MIXED = ["--games", "tictactoe,CartPole-v1", *RULES, "schedule.at=[4]"]
BOARD = ["--games", "tictactoe", *RULES, "learner.unroll=0"]


@pytest.mark.parametrize("arguments", [MIXED, BOARD], ids=["beside a game without rules", "without a model"])
def test_a_resumed_run_is_the_same_to_the_bit(arguments, tmp_path, capsys):
    whole, again, parts = (tmp_path / name for name in ("whole", "again", "parts"))
    assert train(whole, "--name", "r", *arguments) == 0
    said = capsys.readouterr().out
    assert "tictactoe joins, searched with its rules" in said
    if arguments is MIXED:
        assert "CartPole-v1 joins, searched with the learned model, having no exact rules" in said
    assert train(again, "--name", "r", *arguments) == 0
    assert_same_run(whole / "r", again / "r")
    assert train(parts, "--name", "r", *arguments) == 0
    run = parts / "r"
    step = sorted(int(folder.name.split("-")[1]) for folder in RunDirectory.open(run).checkpoints())[0]
    assert 0 < step < 24
    assert train(parts, "--resume", str(run), "--checkpoint", str(step)) == 0
    assert_same_run(whole / "r", run)


def test_the_mode_changes_what_is_played(tmp_path):
    assert train(tmp_path, "--name", "rules", "--games", "tictactoe", *RULES) == 0
    assert train(tmp_path, "--name", "learned", "--games", "tictactoe", *RULES, "search.model=learned") == 0
    rules, learned = ([line["games"] for line in lines(tmp_path / name, "metrics")] for name in ("rules", "learned"))
    assert rules != learned


def test_a_run_without_a_model_says_nothing_of_one(tmp_path):
    """No losses of heads that are not trained, in metrics or monitor; the report is made; evaluation uses the rules."""
    assert train(tmp_path, "--name", "r", *BOARD) == 0
    run = tmp_path / "r"
    metrics = lines(run, "metrics")[-1]["games"]["tictactoe"]
    assert {"policy", "value"} < set(metrics)
    assert not {"reward", "continuation", "next_mover"} & set(metrics)
    assert not any(head in json.dumps(lines(run, "monitor")) for head in ("reward", "continuation", "next_mover"))
    assert cli.main(["report", str(run)]) == 0
    loaded = LoadedRun(run)
    assert loaded.player("tictactoe", 4).name.endswith("+rules")
    assert not loaded.player("tictactoe", 0).name.endswith("+rules")  # the raw policy looks at no rules
    with pytest.raises(ValueError, match="has no learned model to search with"):
        loaded.player("tictactoe", 4, rules=False)


def evaluate(capsys, run, *arguments: str) -> dict:
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--episodes", "2", "--opponent", "random", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_evaluation_searches_as_training_did_unless_told(tmp_path, capsys):
    for name, model in (("rules", "rules"), ("learned", "learned")):
        assert train(tmp_path, "--name", name, "--games", "tictactoe", *RULES, f"search.model={model}") == 0
        own, other = tmp_path / name / "evaluations", "learned" if model == "rules" else "rules"
        found = {flag: evaluate(capsys, tmp_path / name, *flag) for flag in ((), ("--rules",), ("--no-rules",))}
        assert [found[flag]["rules"] for flag in found] == [model == "rules", True, False]
        for report in found.values():
            (game,) = report["games"]
            assert game["players"][0].endswith("+rules") == report["rules"]
            folder = own if report["rules"] == (model == "rules") else own / other
            assert game["records"].startswith(f"{folder}/")
            assert "/" not in game["records"].removeprefix(f"{folder}/")
        asked, as_trained = found[("--rules",) if model == "rules" else ("--no-rules",)], found[()]
        assert asked["games"][0]["summary"] == as_trained["games"][0]["summary"]
    capsys.readouterr()
    assert cli.main(["evaluate", "random", "--game", "tictactoe", "--no-rules"]) == 2
    assert "random has no learned model; leave --rules and --no-rules out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.model=rule"], "search.model: expected one of 'learned', 'rules', found 'rule' (str)"),
        (["--games", "CartPole-v1", "search.model=rules"], "no game of the run has exact rules to search with: game C"),
        (["learner.unroll=0"], "learner.unroll=0 trains no model, but tictactoe is searched with the learned one"),
        (
            ["--games", "tictactoe,CartPole-v1", "search.model=rules", "learner.unroll=0"],
            "but CartPole-v1 is searched with the learned one (it has no exact rules)",
        ),
    ],
)
def test_refusals(arguments, message, tmp_path, capsys):
    assert train(tmp_path, "--name", "r", *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_other_searches_on_resume(tmp_path, capsys):
    """A run may change its search; only reanalysis with the rules needs states that were kept from the beginning."""
    start = ["--games", "tictactoe", *RULES, "search.model=learned", "schedule.updates=8"]
    assert train(tmp_path, "--name", "r", *start) == 0
    change = ["--resume", str(tmp_path / "r"), "search.model=rules", "schedule.updates=16"]
    assert train(tmp_path, *change) == 2
    assert "keeps no states, which reanalysis with the rules needs" in capsys.readouterr().err
    assert train(tmp_path, *change, "learner.reanalyse=0") == 0


def test_it_learns_tictactoe(tmp_path):
    """A short run of the defaults without a model: as good as perfect with search, far better than random without."""
    settings = ["search.model=rules", "learner.unroll=0", "schedule.updates=300", "logging.evaluate_every_updates=300",
                "monitor.enabled=false", "logging.tensorboard=false", "threads=1"]  # fmt: skip
    assert train(tmp_path, "--name", "r", "--games", "tictactoe", *settings) == 0
    found = lines(tmp_path / "r", "evaluation")[-1]["games"]["tictactoe"]
    assert found["optimal"] > 0.95
    assert found["optimal_raw"] > 0.87
