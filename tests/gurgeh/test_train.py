"""The loop: the same to the bit when repeated, killed, interrupted or measured; bad input and broken runs end well."""

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gurgeh import cli
from gurgeh.load import LoadedRun
from gurgeh.rundir import RunDirectory

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "games"
SMALL = [
    "threads=1", "network.width=16", "network.hidden=32", "network.value_bins=21", "learner.batch=16",
    "learner.updates_per_step=0.7",
    "learner.start_steps=100", "learner.reanalyse=4", "learner.n_step=3", "selfplay.copies=8", "search.simulations=2",
    "selfplay.wrapped_copies=8",
    "logging.every_updates=10", "logging.evaluate_every_updates=0", "logging.tensorboard=false",
    "monitor.set_size=64", "monitor.medium_size=64", "monitor.small_size=16",
]  # fmt: skip
TWO = [
    "--games",
    "tictactoe,CartPole-v1",
    *SMALL,
    "schedule.at=[12]",
    "schedule.updates=45",
    "checkpoint.every_updates=15",
]
STREAMS = ("metrics", "monitor", "ledger", "games", "events", "evaluation")


def train(runs: Path, *arguments: str) -> int:
    return cli.main(["train", "--runs", str(runs), "--no-evaluation", *arguments])


def lines(run: Path, stream: str) -> list[dict]:
    """A stream's records, without the notes that a resume leaves in the ledger."""
    path = run / f"{stream}.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [record for record in records if record.get("kind") != "resume"]


def without_time(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "time"}


def state(run: Path, step: int | None = None) -> dict:
    return RunDirectory.open(run).load_checkpoint(step)[1]


def differences(one, other, where="") -> list[str]:
    """The paths at which two nested states differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [f"{where}/{key}" for key in one.keys() ^ other.keys()]
        return found + [
            d for key in one.keys() & other.keys() for d in differences(one[key], other[key], f"{where}/{key}")
        ]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    else:
        same = one == other
    return [] if same else [where]


def assert_same_run(one: Path, other: Path) -> None:
    """Streams equal but for the time, final checkpoints equal to the bit."""
    for stream in STREAMS:
        mine, theirs = ([without_time(line) for line in lines(run, stream)] for run in (one, other))
        assert mine == theirs, stream
    different = differences(state(one), state(other))
    assert [path for path in different if path != "/trainer/seconds"] == []


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of what is in it (locks aside)."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """An uninterrupted run of two games. Tests copy it before they change it."""
    runs = tmp_path_factory.mktemp("base")
    assert train(runs, "--name", "r", *TWO) == 0
    return runs / "r"


@pytest.fixture
def copied(base, tmp_path) -> Path:
    shutil.copytree(base, tmp_path / "r")
    return tmp_path / "r"


# -- the same to the bit ----------------------------------------------------------------------------------------


def test_a_run_writes_what_it_did(base):
    games = lines(base, "games")
    assert [(line["game"], line["update"]) for line in games] == [("tictactoe", 0), ("CartPole-v1", 12)]
    metrics = lines(base, "metrics")
    assert [line["update"] for line in metrics] == [10, 20, 30, 40]
    assert metrics[-1]["games"]["tictactoe"]["policy"] < metrics[0]["games"]["tictactoe"]["policy"]
    assert set(metrics[-1]["games"]) == {"tictactoe", "CartPole-v1"}
    saved = state(base)
    assert saved["counters"]["env_steps"] == sum(game["collector"]["num_steps"] * 8 for game in saved["games"].values())
    assert RunDirectory.open(base).latest_step() == 45
    assert {line["game"] for line in lines(base, "monitor") if "game" in line} == {"tictactoe", "CartPole-v1"}


def test_the_same_config_and_seed_give_the_same_run(base, tmp_path):
    torch.manual_seed(123)  # whatever global random state there is
    assert train(tmp_path, "--name", "r", *TWO) == 0
    assert_same_run(base, tmp_path / "r")


def test_another_seed_gives_another_run(base, tmp_path):
    assert train(tmp_path, "--name", "r", *TWO, "seed=1", "schedule.updates=10") == 0
    assert without_time(lines(tmp_path / "r", "metrics")[0]) != without_time(lines(base, "metrics")[0])


@pytest.mark.parametrize(
    "setting",
    [
        ["monitor.enabled=false"],
        ["logging.evaluate_every_updates=11", "logging.evaluate_episodes=3"],
        ["logging.tensorboard=true"],
    ],
    ids=["monitor", "evaluation", "tensorboard"],
)
def test_measuring_changes_nothing(base, tmp_path, setting):
    assert train(tmp_path, "--name", "r", *TWO, *setting) == 0
    mine, theirs = state(tmp_path / "r"), state(base)
    for key in ("learner", "games", "scales", "generator", "counters", "schedule"):
        assert differences(mine[key], theirs[key]) == [], key
    assert [without_time(line) for line in lines(tmp_path / "r", "metrics")] == [
        without_time(line) for line in lines(base, "metrics")
    ]
    if "evaluate" in setting[0]:
        evaluated = lines(tmp_path / "r", "evaluation")
        assert [line["update"] for line in evaluated] == [11, 22, 33, 44]
        assert 0 <= evaluated[-1]["games"]["tictactoe"]["optimal"] <= 1


def assert_same_but_for_the_configuration(run, other):
    """The same lines and state: the configuration's digest, which some lines carry, is left out."""
    for stream in STREAMS:
        mine, theirs = ([without_time(line) for line in lines(folder, stream)] for folder in (run, other))
        if stream in ("monitor", "ledger", "events"):
            assert len(mine) == len(theirs)
            continue
        assert mine == theirs, stream
    different = differences(state(run), state(other))
    assert [path for path in different if path.startswith(("/learner", "/games", "/scales"))] == []


@pytest.mark.parametrize("number", [2, 3])
def test_any_number_of_threads_gives_the_same_run(base, tmp_path, number):
    assert train(tmp_path, "--name", "r", *TWO, f"threads={number}") == 0
    assert_same_but_for_the_configuration(base, tmp_path / "r")


@pytest.mark.parametrize(
    "setting",
    [["search.model=rules"], ["network.trunk=resnet", "network.latent_grid=3"]],
    ids=["rules", "resnet"],
)
def test_searches_of_every_kind_grow_beside_learning_and_change_nothing(tmp_path, setting):
    for number in (1, 2):
        assert train(tmp_path, "--name", f"r{number}", *TWO, *setting, f"threads={number}", "schedule.updates=20") == 0
    assert_same_but_for_the_configuration(tmp_path / "r1", tmp_path / "r2")


CHILD = """
import os, random, signal, sys, threading, time
from gurgeh import cli, train

number, seed, low, high = (int(word) for word in sys.argv[1:5])
moment = random.Random(seed)
left, delay = moment.randint(low, high), moment.random() * 0.03
begin = train.begin_step

def counted(*arguments):
    global left
    left -= 1
    if left == 0:  # the signal comes from another thread, somewhere in the steps that follow
        threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), number)), daemon=True).start()
    return begin(*arguments)

train.begin_step = counted
sys.exit(cli.main(sys.argv[5:]))
"""


def child(number: int, seed: int, low: int, high: int, *arguments: str) -> subprocess.CompletedProcess:
    """`gurgeh train` in a process of its own that gets signal `number` after a random collecting step in low..high."""
    command = [
        sys.executable,
        "-c",
        CHILD,
        *map(str, (int(number), seed, low, high)),
        "train",
        "--no-evaluation",
        *arguments,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_killed_three_times_and_resumed_it_is_the_run_that_was_never_killed(base, tmp_path):
    run = tmp_path / "r"
    stopped = child(signal.SIGKILL, 11, 46, 60, "--runs", str(tmp_path), "--name", "r", *TWO)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    for seed in (12, 13):
        stopped = child(signal.SIGKILL, seed, 3, 12, "--resume", str(run))
        assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert len(lines(run, "metrics")) < 4
    assert train(tmp_path, "--resume", str(run)) == 0
    assert_same_run(base, run)
    assert len(lines(run, "sessions")) >= 2


def test_ctrl_c_saves_and_says_how_to_go_on(base, tmp_path):
    run = tmp_path / "r"
    stopped = child(signal.SIGINT, 5, 20, 40, "--runs", str(tmp_path), "--name", "r", *TWO)
    assert stopped.returncode == 130, stopped.stderr
    assert f"gurgeh train --resume {run}" in stopped.stdout
    assert "Traceback" not in stopped.stderr
    step = RunDirectory.open(run).latest_step()
    assert f"stopped at update {step}" in stopped.stdout
    assert 0 < step < 45
    assert train(tmp_path, "--resume", str(run)) == 0
    assert_same_run(base, run)


def test_from_an_older_checkpoint_the_same_run_comes_again(base, copied):
    assert train(copied.parent, "--resume", str(copied), "--checkpoint", "30") == 0
    assert_same_run(base, copied)


# -- growth -----------------------------------------------------------------------------------------------------


def test_a_game_is_added_to_a_finished_run(base, copied, capsys):
    toy = str(TOYS / "identity.py")
    before = lines(copied, "games"), lines(copied, "metrics"), fingerprint(copied / "validation")
    assert train(copied.parent, "--resume", str(copied), "--add-game", toy, "learner.reanalyse=0") == 0
    run = RunDirectory.open(copied)
    assert run.config["games"] == ["tictactoe", "CartPole-v1", toy]
    updates = run.config["schedule"]["updates"]
    assert updates > 45  # room for the new game
    assert run.latest_step() == updates
    games = lines(copied, "games")
    assert games[:2] == before[0]
    assert (games[2]["game"], games[2]["update"]) == ("identity", 45)
    assert lines(copied, "metrics")[: len(before[1])] == before[1]
    assert fingerprint(copied / "validation").items() >= before[2].items()  # old frozen sets are what they were
    last = lines(copied, "metrics")[-1]["games"]
    assert set(last) == {"tictactoe", "CartPole-v1", "identity"}
    loaded = LoadedRun(copied)
    assert list(loaded.games) == ["tictactoe", "CartPole-v1", "identity"]
    entries = [line for line in lines(copied, "ledger") if "identity" in json.dumps(line)]
    assert entries, "the ledger does not say that the game was added"


# -- bad input --------------------------------------------------------------------------------------------------


def refused(capsys, code: int) -> str:
    """The one line of an error."""
    assert code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("gurgeh: error: ")
    return line


def test_a_run_that_exists_is_not_touched(copied, capsys):
    before = fingerprint(copied)
    line = refused(capsys, train(copied.parent, "--name", "r", *TWO))
    assert "exists already" in line
    assert "--resume" in line
    assert fingerprint(copied) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--games", "tictactoo"], ["unknown game 'tictactoo'", "did you mean tictactoe"]),
        (["--games", "tictactoe,nowhere.py"], ["nowhere.py: no such file"]),
        (["--games", "tictactoe", "learner.lrr=1"], ["lrr", "lr"]),
        (["--games", "tictactoe", "learner.lr=fast"], ["learner.lr", "fast"]),
        (["--games", "tictactoe", "schedule.at=[5]"], ["schedule.at has 1 updates for 1 games"]),
        (["--games", "tictactoe", "schedule.rule=sometimes"], ["schedule.rule", "sometimes"]),
        (["--games", "tictactoe", "network.trunk=resent"], ["network.trunk", "resnet"]),
        (["--games", "tictactoe", "network.value_bins=20"], ["network.value_bins must be odd", "20"]),
        (["--games", "tictactoe,tictactoe"], ["twice"]),
        (["--games", "tictactoe", "learner.unroll=0"], ["learner.unroll", "0"]),
        (["--games", "tictactoe", "learner.batch=0"], ["learner.batch", "0"]),
        (["--games", "tictactoe", "learner.n_step=0"], ["learner.n_step", "0"]),
        (["--games", "tictactoe", "selfplay.copies=0"], ["copies", "0"]),
        (["--games", "tictactoe", "search.simulations=0"], ["simulations", "0"]),
        (["--games", "tictactoe", "learner.updates_per_step=-1"], ["learner.updates_per_step", "-1"]),
        (["--games", "tictactoe", "replay.max_steps=10"], ["replay.max_steps=10", "raise"]),
        (["--games", f"tictactoe,{ROOT}/envs/boards/tictactoe.py"], ["tictactoe"]),
    ],
    ids=lambda value: " ".join(value)[-40:] if value and value[0] == "--games" else "",
)
def test_bad_input_writes_nothing(tmp_path, capsys, arguments, words):
    line = refused(capsys, train(tmp_path, "--name", "r", *SMALL, "schedule.updates=3", *arguments))
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_refused_and_an_older_one_named(copied, capsys):
    victim = copied / "checkpoints" / "step-000000045" / "learner.safetensors"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    before = fingerprint(copied)
    for more in ([], ["--add-game", str(TOYS / "identity.py")], ["learner.lr=0.001"]):
        line = refused(capsys, train(copied.parent, "--resume", str(copied), *more))
        assert "learner.safetensors is damaged" in line
        assert "--checkpoint 30" in line
        assert fingerprint(copied) == before


@pytest.mark.parametrize(
    "change",
    ["network.width=24", "selfplay.copies=4", "replay.max_steps=80", "network.value_bins=41", "network.trunk=resnet"],
)
def test_a_checkpoint_that_does_not_fit_the_config_is_refused_and_nothing_is_lost(copied, capsys, change):
    before = fingerprint(copied)
    refused(capsys, train(copied.parent, "--resume", str(copied), change, "schedule.updates=47"))
    assert fingerprint(copied) == before
    assert train(copied.parent, "--resume", str(copied), "schedule.updates=46") == 0


@pytest.mark.parametrize("name", ["CartPole-v1", "nonsense", f"{ROOT}/envs/boards/tictactoe.py"])
def test_a_game_that_cannot_be_added_changes_nothing(copied, capsys, name):
    before = fingerprint(copied)
    refused(capsys, train(copied.parent, "--resume", str(copied), "--add-game", name))
    assert fingerprint(copied) == before


# -- broken runs ------------------------------------------------------------------------------------------------


def finite(saved: dict) -> bool:
    learner = saved["learner"]
    tensors = [*learner["network"].values(), *learner["averaged"].values()]
    tensors += [value for moments in learner["optimizer"].values() for value in moments.values()]
    return all(bool(torch.isfinite(value.float()).all()) for value in tensors)


def test_a_game_that_pays_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, capsys):
    arguments = ["--games", str(TOYS / "poisoned.py"), *SMALL, "schedule.updates=200", "checkpoint.every_updates=1"]
    line = refused(capsys, train(tmp_path, "--name", "r", *arguments))
    assert "nan" in line.lower()
    run = RunDirectory.open(tmp_path / "r")
    assert run.latest_step() > 5
    assert f"checkpoint is {run.latest_step()}" in line
    assert finite(state(tmp_path / "r"))
    for record in lines(tmp_path / "r", "metrics"):
        assert all(math.isfinite(value) for value in record["all_games"].values())


def test_weights_that_overflow_stop_the_run_and_keep_a_checkpoint_of_numbers(tmp_path, capsys):
    arguments = ["--games", "tictactoe", *SMALL, "schedule.updates=200", "checkpoint.every_updates=1", "learner.lr=1e9"]
    line = refused(capsys, train(tmp_path, "--name", "r", *arguments, "learner.warmup=1", "learner.weight_decay=0.5"))
    assert "learner.lr" in line
    assert finite(state(tmp_path / "r"))


# -- real numbers -----------------------------------------------------------------------------------------------


def test_a_game_that_begins_to_learn_inside_a_line_of_metrics_is_averaged_over_its_own_updates(tmp_path):
    """The same run logged at every update and every ten: a line is the mean of what it covers."""
    arguments = [*TWO, "schedule.updates=40", "monitor.enabled=false"]
    assert train(tmp_path, "--name", "fine", *arguments, "logging.every_updates=1") == 0
    assert train(tmp_path, "--name", "coarse", *arguments) == 0
    fine = lines(tmp_path / "fine", "metrics")
    for line in lines(tmp_path / "coarse", "metrics"):
        covered = fine[line["update"] - 10 : line["update"]]
        assert line["all_games"]["loss"] == pytest.approx(sum(each["all_games"]["loss"] for each in covered) / 10)
        for name, game in line["games"].items():
            policy = [other["games"][name]["policy"] for other in covered if "policy" in other["games"].get(name, {})]
            assert ("policy" in game) == bool(policy)
            if policy:
                assert game["policy"] == pytest.approx(sum(policy) / len(policy)), (line["update"], name)
