"""gurgeh adapt: arms that differ in first weights alone, studies that survive kills, records found again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from envs import registry
from gurgeh import cli
from gurgeh.frozen_losses import frozen_losses
from gurgeh.load import LoadedRun
from gurgeh.rundir import RunDirectory
from gurgeh.transfer_data import read_adaptations, runs_in
from gurgeh.validation import frozen_path, load_frozen_set
from monitor.adaptation import points
from monitor.records import validate
from monitor.series import named_series

ROOT = Path(__file__).parents[2]
SMALL = [
    "threads=1", "network.width=16", "network.hidden=32", "network.value_bins=21", "network.channels=4",
    "learner.batch=16", "learner.updates_per_step=0.7", "learner.start_steps=100", "learner.n_step=3",
    "selfplay.copies=8", "search.simulations=2", "evaluation.simulations=2",
    "logging.every_updates=10", "logging.evaluate_every_updates=0", "logging.tensorboard=false",
    "monitor.set_size=64", "monitor.medium_size=64", "monitor.small_size=16", "monitor.sharing=false",
]  # fmt: skip
GAME = "mnk:3x3x3:misere"
BUDGET = 30


def adapt(*arguments):
    return cli.main(["adapt", *map(str, arguments)])


def train(runs, *arguments):
    return cli.main(["train", "--runs", str(runs), "--no-evaluation", *map(str, arguments)])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def without_time(records):
    return [{key: value for key, value in record.items() if key != "time"} for record in records]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of two games with snapshots, a run of one, and a study of them with three seeds."""
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder, "--name", "two", "--games", "tictactoe,mnk:4x3x3", *SMALL, "schedule.updates=40",
                 "checkpoint.every_updates=20", "checkpoint.snapshot_every_updates=20") == 0  # fmt: skip
    assert train(folder, "--name", "one", "--games", "tictactoe", *SMALL, "schedule.updates=20") == 0
    assert adapt(folder / "two", "--games", GAME, "--single", folder / "one", "--runs", folder, "--name", "study",
                 "--budget", BUDGET, "--checkpoints", "20,last", "checkpoint.every_updates=10") == 0  # fmt: skip
    return folder


def test_every_arm_is_a_run_and_differs_in_first_weights_alone(runs):
    study = runs / "study"
    found = read_adaptations(runs_in([study]))
    assert len(found) == 3 * 4
    for seed in range(3):
        mine = [run for run in found if run.seed == seed]
        assert len({run.frozen_set for run in mine}) == 1
        assert len({round(float(run.values["policy"][0]), 6) for run in mine}) == 4  # four starts
    for folder in runs_in([study]):
        records = lines(folder / "adaptation.jsonl")
        for record in records:
            validate(record)
        assert [record["update"] for record in records] == points(BUDGET)
        assert records[0]["zero_shot"] is None
        assert records[0]["scores"].keys() == {"optimal", "optimal_raw"}
        config = RunDirectory.open(folder).config
        others = {key: value for key, value in config.items() if key not in ("seed", "adaptation")}
        first = RunDirectory.open(runs_in([study])[0]).config
        assert others == {key: value for key, value in first.items() if key not in ("seed", "adaptation")}
    arms = {(record["arm"], (record["source"] or {}).get("update")) for folder in runs_in([study])
            for record in lines(folder / "adaptation.jsonl")}  # fmt: skip
    assert arms == {("scratch", None), ("pretrained", 20), ("pretrained", 40), ("single", 20)}


def test_the_first_point_is_the_source_grown_by_the_game(runs):
    """Zero-shot: the loss at update 0 is that of the source's averaged weights, with the mean of its embeddings."""
    (folder,) = (runs / "study").glob("*-pretrained-two-20-s0")
    loaded = LoadedRun(runs / "two", 20)
    frozen = load_frozen_set(frozen_path(folder / "validation", GAME))
    mean = torch.stack(list(loaded.network.game_embedding)).mean(0)
    spec = registry.make(GAME).spec
    loaded.network.add_game(spec)
    loaded.network.requires_grad_(False)
    loaded.network.game_embedding[-1].copy_(mean)
    wanted = named_series(frozen_losses(loaded.network, spec, frozen))
    found = lines(folder / "adaptation.jsonl")[0]["losses"]
    for name, values in wanted.items():
        known = values[~torch.isnan(torch.tensor(values)).numpy()]
        assert found[name]["mean"] == pytest.approx(float(known.mean()), rel=1e-5), name


def test_the_study_says_what_came_out_and_the_monitor_finds_it_again(runs, tmp_path, capsys):
    study = tmp_path / "study"
    shutil.copytree(runs / "study", study)
    records = lines(study / "transfer.jsonl")
    assert [record["schema"] for record in records].count("monitor.transfer/1") == 3
    for record in records:
        validate(record)
    assert cli.main(["monitor", str(study), "--json"]) in (0, 10, 20)
    out = capsys.readouterr()
    answer = json.loads(out.out)
    assert answer["transfer"]["identical"] is True
    assert answer["transfer"]["records"] == records
    assert all(run["identical"] for run in answer["runs"])
    assert out.err == ""
    code = cli.main(["transfer", str(study)])
    assert code in (0, 10)
    shown = capsys.readouterr().out
    assert f"{GAME} from pretrained tictactoe+mnk:4x3x3 at update 40" in shown
    assert "against nearest single game (tictactoe)" in shown
    assert "savings from a single game" in shown
    (study / "events.jsonl").write_text('{"made": "up"}\n')
    cli.main(["monitor", str(study)])
    assert "are not the 1 of" in capsys.readouterr().err
    assert cli.main(["transfer", str(study), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["records"] == records


def test_its_runs_are_runs_to_every_other_command(runs, tmp_path, capsys):
    (folder,) = (runs / "study").glob("*-single-one-last-s1")
    assert cli.main(["monitor", str(folder)]) in (0, 10, 20)
    assert list(LoadedRun(folder).games) == [GAME]
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    before = lines(copy / "adaptation.jsonl")
    assert cli.main(["train", "--resume", str(copy), "--no-evaluation", "--checkpoint", "30"]) == 0
    assert lines(copy / "adaptation.jsonl") == before
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert cli.main(["report", str(copy)]) == 0


CHILD = """
import os, signal, sys
from gurgeh import cli, train

left = int(sys.argv[1])
begin = train.begin_step

def counted(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return begin(*arguments)

train.begin_step = counted
sys.exit(cli.main(sys.argv[2:]))
"""


def child(steps, *arguments):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, str(steps), *map(str, arguments)]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_killed_and_resumed_it_is_the_same_study_though_the_source_is_gone(runs, tmp_path):
    shutil.copytree(runs / "two", tmp_path / "two")
    begun = [
        "adapt", tmp_path / "two", "--games", GAME, "--runs", tmp_path, "--name", "s", "--budget", BUDGET,
        "--checkpoints", "20", "--seeds", 1, "checkpoint.every_updates=10",
    ]  # fmt: skip
    stopped = child(75, *begun)  # in the second run, between two checkpoints
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    shutil.rmtree(tmp_path / "two")
    mine = runs_in([tmp_path / "s"])
    assert [RunDirectory.open(folder).latest_step() == BUDGET for folder in mine].count(True) == 1
    assert adapt("--resume", tmp_path / "s") == 0
    mine = runs_in([tmp_path / "s"])
    base = [runs / "study" / folder.name for folder in mine]
    assert len(mine) == 2
    for one, other in zip(mine, base):
        for stream in ("adaptation", "metrics", "monitor", "events"):
            found, wanted = (without_time(lines(folder / f"{stream}.jsonl")) for folder in (one, other))
            assert found == wanted, (one.name, stream)
        states = [RunDirectory.open(folder).load_checkpoint()[1]["learner"]["averaged"] for folder in (one, other)]
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_more_seeds_later(runs, tmp_path, capsys):
    shutil.copytree(runs / "study", tmp_path / "study")
    for folder in (tmp_path / "study").glob("*-s2"):
        shutil.rmtree(folder)
    assert adapt("--resume", tmp_path / "study", "--seeds", 3) == 0
    assert lines(tmp_path / "study" / "transfer.jsonl") == lines(runs / "study" / "transfer.jsonl")
    for fewer in (2, 0):
        assert adapt("--resume", tmp_path / "study", "--seeds", fewer) == 2
        assert "3 seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--games", "tictactoe"], ["tictactoe", "not held out"]),
        ([], ["--games"]),
        (["--games", GAME, "--single", "two"], ["has 2 games", "a run of one"]),
        (["--games", GAME, "--checkpoints", "7"], ["no checkpoint of step 7", "20"]),
        (["--games", GAME, "--checkpoints", "soon"], ["'soon'"]),
        (["--games", GAME, "--checkpoints", ","], ["--checkpoints", "`last`"]),
        (["--games", GAME, "--split", "connection"], ["cannot be called unseen"]),
        (["--games", GAME, "--seeds", "0"], ["--seeds"]),
        (["--games", GAME, "--budget", "3"], ["--budget"]),
        (["--games", GAME, "network.width=24"], ["network.width=16 and not 24"]),
        (["--games", GAME, "schedule.updates=9"], ["schedule.updates", "--budget"]),
        (["--games", GAME, "monitor.enabled=false"], ["monitor.enabled"]),
        (["--games", "no such game"], ["no such game"]),
        (["--games", GAME, "--name", "study"], ["exists already", "--resume"]),
        (["two", "--games", GAME], ["named twice"]),
    ],
)
def test_bad_input_writes_nothing(runs, capsys, arguments, words):
    before = sorted(path.name for path in runs.iterdir())
    arguments = [runs / word if word in ("two",) else word for word in arguments]
    assert adapt(runs / "two", *arguments, "--runs", runs) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("gurgeh: error: ")
    for word in words:
        assert word in line
    assert sorted(path.name for path in runs.iterdir()) == before


def test_two_sources_of_one_name_are_refused(runs, tmp_path, capsys):
    shutil.copytree(runs / "one", tmp_path / "one")
    text = (tmp_path / "one" / "config.yaml").read_text()
    (tmp_path / "one" / "config.yaml").write_text(text.replace("lr: 0.003", "lr: 0.004"))
    arguments = ["--single", runs / "one", "--single", tmp_path / "one", "--runs", tmp_path]
    assert adapt(runs / "two", "--games", GAME, *arguments) == 2
    assert "rename the folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_study_to_resume_must_be_there(tmp_path, capsys):
    assert adapt("--resume", tmp_path) == 2
    assert "study.json" in capsys.readouterr().err
    for more in (["--games", GAME], ["--checkpoints", "7"], ["--budget", "0"]):
        assert adapt("--resume", tmp_path, *more) == 2
        assert "only --seeds" in capsys.readouterr().err


def test_first_weights_that_were_changed_are_refused(runs, tmp_path, capsys):
    (folder,) = (runs / "study").glob("*-single-one-last-s1")
    copy = tmp_path / "r"
    shutil.copytree(folder, copy)
    victim = copy / "initial" / "weights.safetensors"
    data = bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.write_bytes(data)
    assert cli.main(["train", "--resume", str(copy), "--no-evaluation"]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_sequences_scale_and_behaviour_are_read_from_ordinary_runs(runs, tmp_path, capsys):
    for name in ("two", "one"):
        shutil.copytree(runs / name, tmp_path / name)
    assert train(tmp_path, "--name", "grown", "--games", "tictactoe,mnk:4x3x3", *SMALL, "schedule.updates=120",
                 "schedule.at=[60]", "logging.evaluate_every_updates=20",
                 "logging.evaluate_episodes=2") == 0  # fmt: skip
    capsys.readouterr()
    assert cli.main(["transfer", str(tmp_path / "grown"), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)["records"]
    validate(record)
    assert record["games"] == ["tictactoe", "mnk:4x3x3"]
    assert record["backward_transfer"]["value"] is not None
    assert (
        "never trained" in record["forward_transfer"]["refused"]
        or "lie outside" in record["forward_transfer"]["refused"]
    )
    assert record["continual_world"]["average_performance"]["value"] > 0
    assert cli.main(["transfer", str(tmp_path / "grown"), "--alone", str(tmp_path / "one")]) == 0
    assert "GEM: backward transfer" in capsys.readouterr().out
    assert cli.main(["scale", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["runs"] == 3
    for record in answer["records"]:
        validate(record)
    assert cli.main(["scale", str(tmp_path)]) == 0
    assert "no fit" in capsys.readouterr().out
    assert cli.main(["scale", str(tmp_path), "--series", "plicy"]) == 2
    assert "no run has the series 'plicy'; there are policy, value" in capsys.readouterr().err
    assert cli.main(["transfer", str(tmp_path / "one")]) == 2
    assert "nothing here" in capsys.readouterr().err


def test_train_alone_cannot_begin_from_other_weights(tmp_path, capsys):
    assert train(tmp_path, "--games", GAME, "adaptation.arm=pretrained", "adaptation.budget=10") == 2
    assert "gurgeh adapt" in capsys.readouterr().err
    assert train(tmp_path, "--games", GAME, "adaptation.arm=single") == 2
    assert "needs adaptation.budget" in capsys.readouterr().err
    assert train(tmp_path, "--games", f"{GAME},tictactoe", "adaptation.budget=10") == 2
    assert "for one game" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
