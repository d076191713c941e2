"""benchmarks/learning.py: rules on logs of known verdict, results that survive a kill, the report's arithmetic."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from agents.player import RandomPlayer, SolverPlayer
from benchmarks import learning, learning_judge, learning_report
from benchmarks.learning_rules import Experiment, at_end, deadline, kept, reached, scored, solved
from benchmarks.learning_table import ABLATIONS, EXPERIMENTS, Q_UNITS, TARGETS
from envs import registry
from envs.solver import solve
from gurgeh.config import RunConfig
from gurgeh.configure import load_config
from gurgeh.goals import parse_goal

ROOT = Path(__file__).parents[2]
POLE = Experiment("pole", ("Pole",), ("Pole return >= 100",), reached, limit=50, running=2, updates=1)


def record(*returns, every=10.0, **fields):
    """A run of `Pole` whose evaluations, `every` seconds apart, found these returns."""
    curve = [
        {
            "update": 5 * i,
            "env_steps": 40 * i,
            "seconds": every * i,
            "gross": 99.0 * i,
            "games": {"Pole": {"return": r}},
        }
        for i, r in enumerate(returns, 1)
    ]
    return {
        "key": ["pole", 0, "abc", "0"], "status": "done", "curve": curve, "judged": {"Pole": {"return": returns[-1]}},
        "net_seconds": every * len(returns), "start_seconds": 1.0, "evaluation_seconds": 2.0, "process_seconds": 3.0,
        "warm_up_seconds": None, "env_steps": 40 * len(returns), "updates": 5 * len(returns), "peak_mib": 7.0,
        "jobs": 1, "command": "gurgeh train x seed=0", "harness": "h", "machine": "m", "date": "2026-01-01 00:00",
    } | fields  # fmt: skip


# -- rules ---------------------------------------------------------------------------------------------------------


def test_two_in_a_row_within_the_time():
    verdict = reached(POLE, record(100, 99, 120, 100, 0))
    assert verdict == (True, 40.0, 160, 20, "")
    assert reached(POLE, record(100, 99, 100, 99, 100)) == (False, None, None, None, "never met")
    assert reached(POLE, record(0, 0, 0, 0, 100, 100)) == (False, 60.0, 240, 30, "too late")


def test_a_measure_that_is_missing_is_not_met():
    broken = record(100, 100)
    broken["curve"][1]["games"] = {"Other": {"return": 100}}
    assert not reached(POLE, broken).met


def test_at_the_end_counts_what_was_judged_and_the_time():
    end = Experiment("pole", ("Pole",), ("Pole return >= 100",), at_end, limit=50)
    assert at_end(end, record(0, 0, 100)).met
    assert not at_end(end, record(100, 100, 100, judged={"Pole": {"return": 99.9}})).met
    late = at_end(end, record(*[100] * 6))
    assert not late.met
    assert late.note.endswith("too late")
    assert not at_end(end, record(100, judged=None)).met


def test_kept_looks_at_the_lowest_that_follows():
    keep = Experiment("pole", ("Pole",), ("Pole return >= 100",), kept, limit=50, after=30, keep=0.9)
    assert kept(keep, record(0, 100, 95, 100, 90, 0)).met  # 0 comes 40 s later
    lost = kept(keep, record(0, 100, 95, 89, 100, 100))
    assert not lost.met
    assert lost.seconds == 20
    assert lost.note == "lowest of 3 later evaluations 89, 1 of them at 100 or more"
    short = kept(keep, record(0, 100, 95, 100))
    assert not short.met
    assert "ended before" in short.note
    assert deadline(keep, record(0, 0)) == 50
    assert deadline(keep, record(0, 0, 0, 100)) == 70
    assert deadline(POLE, record(100, 100)) == 50


def test_solved_needs_every_position_and_no_loss():
    game = Experiment("t", ("t",), ("t optimal >= 1",), solved, limit=50)
    curve = [{"update": 9, "env_steps": 8, "seconds": 30.0, "games": {"t": {"optimal": 1.0}}}]
    fine = {"curve": curve, "judged": {"t": {"optimal": 1.0, "wrong": 0, "lost_against_perfect": 0}}}
    assert solved(game, fine) == (True, 30.0, 8, 9, "")
    for change in ({"wrong": 1}, {"lost_against_perfect": 1}):
        assert not solved(game, fine | {"judged": {"t": fine["judged"]["t"] | change}}).met
    assert not solved(game, fine | {"judged": None}).met
    assert not solved(game, fine | {"judged": {"t": {"optimal": 1.0}}}).met


# -- the table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda one: one.name)
def test_experiments_are_configurations(experiment):
    if any("search.policy" in setting for setting in experiment.settings) and not hasattr(RunConfig().search, "policy"):
        pytest.skip("waits for search.policy")
    config = load_config(RunConfig, None, learning.arguments_of(experiment, 3, []))
    assert config.seed == 3
    assert tuple(config.games) == experiment.games
    assert bool(config.schedule.stop_after_met) == experiment.stop
    assert {parse_goal(goal).game for goal in experiment.goals} <= set(experiment.games)
    assert experiment.need <= experiment.seeds
    assert (experiment.rule is scored) == (not experiment.goals)


def test_names_are_unique_and_steps_are_paid_for():
    assert len(EXPERIMENTS) == len(TARGETS) + len(ABLATIONS) + len(Q_UNITS)
    settings = ["selfplay.picture_copies=24", "learner.updates_per_step=0.5"]
    words = learning.arguments_of(EXPERIMENTS["breakout"], 0, settings)
    assert "schedule.updates=1250" in words  # 60,000 / 24 * 0.5


# -- resuming ------------------------------------------------------------------------------------------------------


def test_a_key_changes_with_all_that_changes_a_result():
    keys = [
        learning.key_of(experiment, seed, commit, extra)
        for experiment, seed, commit, extra in (
            (POLE, 0, "a", []), (POLE, 1, "a", []), (POLE, 0, "b", []), (POLE, 0, "a", ["search.simulations=4"]),
            (dataclasses.replace(POLE, limit=51), 0, "a", []),
        )
    ]  # fmt: skip
    assert len({json.dumps(key) for key in keys}) == len(keys)
    assert learning.key_of(POLE, 0, "a", []) == keys[0]


def test_disturbed_runs_are_repeated_and_told(tmp_path):
    results = tmp_path / "r.jsonl"
    args = learning.parse(["cartpole", "--seeds", "0,1", "--results", str(results), "--again-stolen", "0.1"])
    args.code_name = "abc"
    keys = [learning.key_of(EXPERIMENTS["cartpole"], seed, "abc", []) for seed in (0, 1)]
    run = record(200, 200, judged={"CartPole-v0": {"return": 200}})
    for key, stolen in zip(keys, (0.4, 0.05), strict=True):
        learning.append_result(results, run | {"key": key, "stolen": stolen})
    assert [seed for _, seed in learning.missing(args)] == [0]
    learning.append_result(results, run | {"key": keys[0], "stolen": 0.0})
    assert not learning.missing(args)
    text = learning_report.report([EXPERIMENTS["cartpole"]], learning.read_results(results), "x", "c")
    assert "- Repeated: cartpole seed 0, 2026-01-01 00:00, 40 % stolen: missed after 20 s, 10 updates" in text


def test_a_line_cut_short_is_not_read_and_is_replaced(tmp_path):
    path = tmp_path / "deep" / "r.jsonl"
    learning.append_result(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "hal')
    assert learning.read_results(path) == [{"n": 1}]
    learning.append_result(path, {"n": 3})
    assert learning.read_results(path) == [{"n": 1}, {"n": 3}]


SHORT = [
    "schedule.updates=20", "logging.evaluate_every_updates=10", "network.width=16", "network.hidden=32",
    "learner.batch=16", "selfplay.copies=8", "selfplay.wrapped_copies=8", "learner.start_steps=100",
    "search.simulations=2", "evaluation.simulations=2", "logging.tensorboard=false", "monitor.enabled=false",
    "threads=1",
]  # fmt: skip


def harness(results: Path, *words: str) -> list[str]:
    extra = [word for setting in SHORT for word in ("--with", setting)]
    return [sys.executable, "benchmarks/learning.py", "tictactoe", "--here", "--no-warm-up", "--results", str(results),
            *extra, *words]  # fmt: skip


def is_running(process: int) -> bool:
    """Whether it lives: one that has ended stays in the table until its parent asks, which not every init does."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_session_goes_on_and_a_failure_is_recorded(tmp_path):
    results = tmp_path / "results.jsonl"
    endless = [*harness(results, "--seeds", "0"), "--with", "schedule.updates=1000000"]
    running = subprocess.Popen(endless, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    (run,) = tmp_path.glob("runs/*")
    child = int((run / "lock").read_text().split()[1])
    running.send_signal(signal.SIGKILL)
    running.wait()
    while time.monotonic() < deadline and is_running(child):
        time.sleep(0.1)
    assert not is_running(child)  # nobody is left to train on unseen
    assert learning.read_results(results) == []

    done = subprocess.run(harness(results, "--seeds", "0"), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (found,) = learning.read_results(results)
    assert found["key"][:3] == ["tictactoe", 0, "checkout"]
    assert (found["status"], found["updates"], [point["update"] for point in found["curve"]]) == ("done", 20, [10, 20])
    assert 0 < found["start_seconds"] < found["net_seconds"] < found["process_seconds"]
    assert found["judged"]["tictactoe"]["optimal"] == found["curve"][-1]["games"]["tictactoe"]["optimal"]
    assert found["judged"]["tictactoe"]["games_against_perfect"] >= 1000
    assert found["peak_mib"] > 100
    again = subprocess.run(harness(results, "--seeds", "0"), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert again.stdout.startswith("0 runs")
    assert len(learning.read_results(results)) == 1

    bad = [*harness(results, "--seeds", "1"), "--with", "selfplay.copies=0"]
    done = subprocess.run(bad, cwd=ROOT, capture_output=True, text=True, timeout=60)
    failed = learning.read_results(results)[1]
    assert failed["status"] == "failed"
    assert "selfplay.copies" in failed["error"]
    text = learning_report.report([EXPERIMENTS["tictactoe"]], learning.read_results(results), "both", "command")
    assert "0 of 2" in text
    assert "FAILED" in text


def test_no_run_begins_after_the_budget(tmp_path):
    command = harness(tmp_path / "r.jsonl", "--budget", "-1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1].startswith("10 runs are left")


def test_copies_have_the_code_of_their_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "COPIES", tmp_path)
    commit = learning.resolve("HEAD")
    folder = learning.copy_of(commit)
    shown = subprocess.run(["git", "show", f"{commit}:gurgeh/train.py"], cwd=ROOT, capture_output=True, check=True)
    assert (folder / "gurgeh" / "train.py").read_bytes() == shown.stdout
    assert learning.copy_of(commit) == folder
    with pytest.raises(ValueError, match="no such commit"):
        learning.resolve("nosuchthing")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["tictacto"], "unknown experiment"), ([], "name experiments"), (["tictactoe", "--seeds", "a"], "--seeds")],
)
def test_bad_options_say_what_to_do(words, message, capsys):
    with pytest.raises(SystemExit):
        learning.parse(words)
    assert message in capsys.readouterr().err


# -- the judge -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tictactoe():
    game = registry.make("tictactoe")
    return game.native, solve(game.native)


def test_openings_that_are_not_lost(tictactoe):
    _, solution = tictactoe
    position, seat = learning_judge.unlost_openings(solution, 1000)
    ply = solution.ply[position]
    # By hand: the first position, its 9 replies and all 72 after two moves from both sides, unless lost there.
    assert [(ply == n).sum().item() for n in (0, 1)] == [2, 18]
    assert len(position) >= 1000
    assert int(ply.max()) == 4
    value = torch.where(solution.to_play[position] == seat, solution.value[position], -solution.value[position])
    assert bool((value >= 0).all())
    lost = int((solution.value[solution.ply <= 4] != 0).sum())  # each such position is lost for one of the two
    assert len(position) == 2 * int((solution.ply <= 4).sum()) - lost


def test_who_plays_perfectly_loses_none_and_others_do(tictactoe):
    native, solution = tictactoe
    from envs.solver import take

    position, seat = learning_judge.unlost_openings(solution, 1000)
    state, perfect = take(solution.state, position), SolverPlayer(solution)
    sure = learning_judge.outcomes(native, state, seat, perfect, perfect)
    value = torch.where(solution.to_play[position] == seat, solution.value[position], -solution.value[position])
    assert torch.equal(sure.float(), value)
    assert int((learning_judge.outcomes(native, state, seat, RandomPlayer(native.spec), perfect) < 0).sum()) > 300


# -- the report ----------------------------------------------------------------------------------------------------


def test_the_summary_counts_and_takes_medians_of_what_met_the_rule():
    results = [record(0, 0, 0, 0, 0), record(100, 100), record(0, 100, 100), record(0, 0, 100, 100)]
    for seed, one in enumerate(results):
        one["key"] = ["pole", seed, "abc", "0"]
    pole = Experiment("pole", ("Pole",), ("Pole return >= 100",), reached, limit=50, running=2, seeds=4, need=3)
    pairs = learning_report.newest(results, [pole])
    (row,) = learning_report.summary_rows(pairs)
    assert row[2:] == ["3 of 4", "3 of 4", "met", "50", "30.0", "40.0", "120", "15"]
    results[3] |= {"status": "failed", "error": "boom"}
    (row,) = learning_report.summary_rows(pairs)
    assert row[2:5] == ["2 of 4", "3 of 4", "**missed**"]
    assert "boom" in learning_report.report([pole], results, "n", "c")


def test_a_later_record_of_the_same_key_replaces_the_earlier():
    results = [record(0), record(100, 100)]
    assert [one["updates"] for _, one in learning_report.newest(results, [POLE])] == [10]


def minatar(name, seed, games):
    judged = {f"minatar/{game}": {"return": value} for game, value in games.items()}
    return record(1.0, key=[f"minatar:{name}", seed, "c", "0"], judged=judged)


def test_the_joint_network_is_compared_with_the_specialists():
    results = [minatar("breakout", 0, {"breakout": 8.0}), minatar("breakout", 1, {"breakout": 12.0}),
               minatar("freeway", 0, {"freeway": 40.0}),
               minatar("joint", 0, {"breakout": 9.0, "freeway": 36.0})]  # fmt: skip
    names = ("minatar:breakout", "minatar:freeway", "minatar:joint")
    rows = learning_report.joint_rows(learning_report.newest(results, [EXPERIMENTS[name] for name in names]))
    assert [(row[0], row[1], row[3], row[5]) for row in rows] == [
        ("minatar/breakout", "10.00", "9.00", "0.90"), ("minatar/freeway", "40.00", "36.00", "0.90"),
    ]  # fmt: skip


def test_ablations_are_means_and_ranges_over_seeds():
    results = []
    for factor, ends in (("defaults", (0.5, 1.0)), ("ema-0", (0.25, 0.75))):
        for seed, end in enumerate(ends):
            one = record(0.0, end, key=[f"ablation:tictactoe:{factor}", seed, "c", "0"])
            results.append(one | {"judged": {"tictactoe": {"optimal": end}}})
    results.append(results[-1] | {"key": [*results[-1]["key"][:1], 2, "c", "0"], "status": "failed", "judged": None})
    games, rows = learning_report.ablation_rows(learning_report.newest(results, ABLATIONS))
    assert games == ["tictactoe"]
    assert rows == [
        ["defaults", "0.75 (0.5 to 1)", "0.375", "20"], ["ema-0", "0.5 (0.25 to 0.75), 1 failed", "0.2917", "20"],
    ]  # fmt: skip


def test_units_of_q_by_hand_stand_beside_the_automatic_one():
    results = []
    for game, factor, end in (("tictactoe", "automatic", 0.9), ("tictactoe", "0.3", 0.8), ("cartpole", "10.0", 44.0)):
        one = record(0.0, end, key=[f"q_unit:{game}:{factor}", 0, "c", "0"])
        results.append(one | {"judged": {"x": {"optimal": end}}})
    text = learning_report.report(Q_UNITS, results, "q_unit", "command")
    rows = [line for line in text.splitlines() if line.startswith(("| automatic |", "| 0.3 |", "| 10.0 |"))]
    assert [[cell.strip() for cell in row.split("|")][1:5:3] for row in rows] == [
        ["automatic", "20"], ["0.3", "20"], ["10.0", "–"],
    ]  # fmt: skip
    assert "0.9 (0.9 to 0.9)" in rows[0]
    assert "44 (44 to 44)" in rows[2]


def test_a_grid_of_units_is_that_games_own():
    """Each game has the automatic unit, which sets nothing, and its own units by hand."""
    for game in ("tictactoe", "CartPole-v1", "minatar/breakout", "connect_four"):
        mine = [one for one in Q_UNITS if one.games == (game,)]
        settings = [[word for word in one.settings if "q_unit" in word] for one in mine]
        assert settings[0] == []
        assert len(mine) == 5
        assert all(len(words) == 1 and words[0].startswith(f"search.q_unit.{game}=") for words in settings[1:])


def test_results_lines_are_whole_json(tmp_path):
    learning.append_result(tmp_path / "r.jsonl", record(1, 2))
    assert (tmp_path / "r.jsonl").read_bytes().endswith(b"\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        learning.append_result(tmp_path / "r.jsonl", {"x": float("nan")})
    assert os.path.getsize(tmp_path / "r.jsonl") > 0


def test_times_of_a_curve_begin_with_the_process(tmp_path):
    line = {"update": 9, "env_steps": 8, "games": {}, "time": {"seconds": 20.0, "evaluating": 4.0}}
    (tmp_path / "evaluation.jsonl").write_text(json.dumps(line) + "\n")
    (point,) = learning.curve_of(tmp_path, 3.0)
    assert point["seconds"] == 19.0
    assert point["gross"] == 23.0
