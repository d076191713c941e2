"""The run directory: nothing is overwritten, logs are cut back exactly, a kill never costs a checkpoint."""

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch

from gurgeh.rundir import RunDirectory, versions


@pytest.fixture
def run(tmp_path):
    with RunDirectory.create(tmp_path / "run", {"seed": 3, "games": ["tictactoe"]}) as run:
        yield run


def state_of(step):
    return {"weights": {"w": torch.full((10,), float(step))}, "step": step}


def test_create_writes_config_and_versions(run):
    assert RunDirectory.open(run.path).config == {"seed": 3, "games": ["tictactoe"]}
    recorded = json.loads((run.path / "versions.json").read_text())
    assert recorded["torch"] == torch.__version__
    assert recorded == versions()


def test_no_environment_variable_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("GURGEH_TEST_SECRET", "correct-horse-battery")
    with RunDirectory.create(tmp_path / "run", {}) as run:
        run.append("metrics", {"x": 1})
        run.save_checkpoint(1, state_of(1))
    for path in run.path.rglob("*"):
        assert path.is_dir() or b"correct-horse-battery" not in path.read_bytes()


@pytest.mark.parametrize("what", ["run", "folder", "file"])
def test_create_never_overwrites(tmp_path, what):
    path = tmp_path / "run"
    if what == "run":
        RunDirectory.create(path, {"seed": 1}).close()
    elif what == "folder":
        path.mkdir()
    else:
        path.write_text("mine")
    before = sorted((entry, entry.is_file() and entry.read_bytes()) for entry in tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="--resume, or choose a new --name"):
        RunDirectory.create(path, {"seed": 2})
    assert sorted((entry, entry.is_file() and entry.read_bytes()) for entry in tmp_path.rglob("*")) == before


def test_open_refuses_what_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="not a run directory"):
        RunDirectory.open(tmp_path)


def test_write_config_replaces_the_whole(run):
    run.write_config({"games": ["tictactoe", "connect_four"]})
    assert run.config == {"games": ["tictactoe", "connect_four"]}


def test_damaged_config_is_named(run):
    (run.path / "config.yaml").write_text("a: [1,\nb: }")
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        _ = run.config


def test_records_are_one_line_each_with_a_schema(run):
    run.append("metrics", {"update": 1, "name": "a\nb", "loss": np.float32(0.5), "counts": np.arange(2)})
    run.append("metrics", {"update": 2}, version=4)
    run.append("monitor", {"schema": "forgetting/2", "game": "tictactoe"})
    assert (run.path / "metrics.jsonl").read_bytes().count(b"\n") == 2
    assert list(run.records("metrics")) == [
        {"schema": "metrics/1", "update": 1, "name": "a\nb", "loss": 0.5, "counts": [0, 1]},
        {"schema": "metrics/4", "update": 2},
    ]
    assert next(run.records("monitor"))["schema"] == "forgetting/2"
    assert list(run.records("ledger")) == []


def test_a_record_is_visible_to_a_reader_at_once_and_a_partial_line_is_not(run):
    run.append("metrics", {"update": 1})
    reader = RunDirectory.open(run.path)
    assert len(list(reader.records("metrics"))) == 1
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"update": 2')
    assert len(list(reader.records("metrics"))) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan"), np.array([1.0, -np.inf])])
def test_numbers_that_are_none_are_refused_by_name(run, bad):
    with pytest.raises(ValueError, match=r"metrics: the field games\.pong\.loss"):
        run.append("metrics", {"games": {"pong": {"loss": bad}}})
    assert list(run.records("metrics")) == []


def test_tensors_and_odd_names_are_refused(run):
    with pytest.raises(ValueError, match="found a Tensor"):
        run.append("metrics", {"loss": torch.ones(())})
    with pytest.raises(ValueError, match="stream's name"):
        run.append("../metrics", {"schema": "metrics/1"})
    with pytest.raises(ValueError, match="must look like metrics/1"):
        run.append("metrics", {"schema": "metrics"})


def test_checkpoints_keep_the_newest(run):
    assert run.latest_step() is None
    for step in (1, 5, 10):
        run.save_checkpoint(step, state_of(step), keep=2)
    assert [path.name for path in run.checkpoints()] == ["step-000000005", "step-000000010"]
    step, state = run.load_checkpoint()
    assert (step, state["step"]) == (10, 10)
    assert torch.equal(state["weights"]["w"], torch.full((10,), 10.0))
    assert run.load_checkpoint(5)[1]["step"] == 5
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 1; it has 5, 10"):
        run.load_checkpoint(1)


def test_the_same_step_again_replaces_the_first(run):
    for content in range(3):
        run.save_checkpoint(4, state_of(content))
    assert [path.name for path in run.checkpoints()] == ["step-000000004.2"]
    assert run.load_checkpoint()[1]["step"] == 2
    assert run.load_checkpoint(4)[1]["step"] == 2
    run.save_checkpoint(5, state_of(5))
    assert run.latest_step() == 5


def test_an_older_step_is_refused(run):
    run.save_checkpoint(4, state_of(4))
    with pytest.raises(ValueError, match="step 4, newer than 3"):
        run.save_checkpoint(3, state_of(3))
    with pytest.raises(ValueError, match="keep=0"):
        run.save_checkpoint(5, state_of(5), keep=0)


def test_a_failed_save_leaves_the_last_one_alone(run):
    run.save_checkpoint(1, state_of(1), keep=1)
    with pytest.raises(ValueError, match="is a set"):
        run.save_checkpoint(2, {"weights": {"w": torch.ones(3)}, "bad": {1}}, keep=1)
    assert run.load_checkpoint()[0] == 1
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-000000001"]


def test_damage_names_file_and_remedy_and_does_not_fall_back(run):
    run.save_checkpoint(1, state_of(1))
    run.save_checkpoint(2, state_of(2))
    path = run.checkpoints()[-1] / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"step-000000002/weights\.safetensors is damaged.*--checkpoint 1"):
        run.load_checkpoint()
    assert run.load_checkpoint(1)[1]["step"] == 1
    (run.checkpoints()[-1] / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read.*--checkpoint 1"):
        run.load_checkpoint()
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read.*--checkpoint 1"):
        run.cut_back()
    (run.checkpoints()[0] / "state.json").unlink()
    with pytest.raises(ValueError, match="no earlier checkpoint"):
        run.load_checkpoint(1)


def test_no_checkpoint_yet(run):
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        run.load_checkpoint()


def test_cut_back_is_exact(run):
    run.append("metrics", {"n": 1})
    run.append("events", {"n": 1})
    run.save_checkpoint(1, state_of(1))
    expected = {path.name: path.read_bytes() for path in run.path.glob("*.jsonl")}
    run.append("metrics", {"n": 2})
    run.append("ledger", {"born": "later"})
    run.save_checkpoint(2, state_of(2))
    run.append("events", {"n": 2})
    assert run.cut_back(1) == 1
    assert {path.name: path.read_bytes() for path in run.path.glob("*.jsonl")} == expected
    assert run.latest_step() == 1
    run.append("metrics", {"n": "again"})  # the open stream continues where it was cut
    assert [record["n"] for record in run.records("metrics")] == [1, "again"]


def test_cut_back_removes_a_half_written_line(run):
    run.append("metrics", {"n": 1})
    run.save_checkpoint(1, state_of(1))
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"n":')
    run.cut_back()
    assert [record["n"] for record in run.records("metrics")] == [1]


def test_cut_back_changes_nothing_when_a_log_is_short(run):
    for n in range(3):
        run.append("metrics", {"n": n})
    run.save_checkpoint(1, state_of(1))
    run.append("events", {"n": 1})
    run.save_checkpoint(2, state_of(2))
    os.truncate(run.path / "metrics.jsonl", 10)
    with pytest.raises(ValueError, match=r"metrics\.jsonl has lost records"):
        run.cut_back(1)
    assert run.latest_step() == 2
    assert (run.path / "metrics.jsonl").stat().st_size == 10
    assert len(list(run.records("events"))) == 1


def test_two_writers_are_refused_and_readers_are_not(run):
    other = RunDirectory.open(run.path)
    run.append("metrics", {"n": 1})
    run.save_checkpoint(1, state_of(1))
    assert other.load_checkpoint()[0] == 1
    assert len(list(other.records("metrics"))) == 1
    for write in (
        other.lock,
        lambda: other.append("metrics", {}),
        lambda: other.save_checkpoint(2, {}),
        other.cut_back,
    ):
        with pytest.raises(ValueError, match=f"written by another process \\(process {os.getpid()}\\)"):
            write()
    run.close()
    other.lock()
    other.close()


def test_leftovers_of_a_kill_are_ignored_by_readers_and_cleaned_by_the_next_writer(run):
    run.save_checkpoint(1, state_of(1))
    run.close()
    for name in (".writing-step-000000002", ".removing-step-000000000"):
        (run.path / "checkpoints" / name).mkdir()
        (run.path / "checkpoints" / name / "weights.safetensors").write_bytes(b"half")
    again = RunDirectory.open(run.path)
    assert again.load_checkpoint()[0] == 1
    assert len(list((run.path / "checkpoints").iterdir())) == 3
    again.lock()
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-000000001"]
    again.close()


def train_for_ever(path, big):
    """One record a step, a checkpoint every second step; continues where the checkpoint was."""
    run = RunDirectory.open(path)
    step, _ = run.load_checkpoint()
    run.cut_back()
    while True:
        step += 1
        run.append("metrics", {"step": step})
        if step % 2 == 0:
            run.save_checkpoint(step, {"weights": {"w": torch.full((big,), float(step))}, "step": step}, keep=1)


def test_sigkill_at_random_moments_never_costs_a_checkpoint(tmp_path):
    """The oracle is arithmetic: at checkpoint n there are the records 1..n and weights of n, whatever was killed."""
    path = tmp_path / "run"
    with RunDirectory.create(path, {}) as run:  # as the trainer does: a kill before the first one leaves lines of no
        run.save_checkpoint(0, {"weights": {"w": torch.zeros(200_000)}, "step": 0})  # checkpoint, on a busy machine
    rng = random.Random(os.getpid())
    context = multiprocessing.get_context("fork")
    last, half_written = 0, 0
    for _ in range(25):
        process = context.Process(target=train_for_ever, args=(path, 200_000), daemon=True)
        process.start()
        time.sleep(rng.uniform(0.02, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        run = RunDirectory.open(path)
        half_written += any((path / "checkpoints").glob(".*"))
        step, state = run.load_checkpoint()
        assert step >= last, "a checkpoint was lost"
        assert state["step"] == step
        assert torch.equal(state["weights"]["w"], torch.full((200_000,), float(step)))
        assert [record["step"] for record in run.records("metrics")][:step] == list(range(1, step + 1))
        last = step
    assert last > 0
    assert half_written > 0, "no kill fell into a save: the test proved nothing"
    run = RunDirectory.open(path)
    assert run.cut_back() == last
    assert [record["step"] for record in run.records("metrics")] == list(range(1, last + 1))
    run.close()


# Snapshots


def played(step):
    """A run's state, with what playing needs and what it does not."""
    return {
        "learner": {"averaged": {"w": torch.full((10,), float(step))}, "optimizer": {"m": torch.ones(1000)}},
        "games": {"toy": {"made_from": "toy.py", "version": 2, "buffer": {"b": torch.ones(10_000)}}},
        "scales": {"toy": 0.5},
        "generator": torch.ones(5),
    }


def test_snapshots_stay_when_checkpoints_go(run):
    for step in (10, 20, 30):
        run.save_snapshot(step, played(step))
        run.save_checkpoint(step, played(step), keep=1)
    assert run.steps() == [10, 20, 30]
    assert [path.name for path in run.checkpoints()] == ["step-000000030"]
    step, state = run.load_weights(10)
    assert step == 10
    assert torch.equal(state["learner"]["averaged"]["w"], torch.full((10,), 10.0))
    assert state["games"] == {"toy": {"made_from": "toy.py", "version": 2}}
    assert state["scales"] == {"toy": 0.5}
    assert set(state) == {"learner", "games", "scales"}
    size = sum(file.stat().st_size for file in run.snapshots()[0].iterdir())
    assert size < 2000  # of 44,000 in the checkpoint
    assert "generator" in run.load_weights(30)[1]  # the whole checkpoint, where there is one
    assert run.load_weights()[0] == 30
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 15; it has 10, 20, 30"):
        run.load_weights(15)
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 10; it has 30"):
        run.load_checkpoint(10)  # nothing to resume from


def test_cut_back_removes_newer_snapshots(run):
    for step in (10, 20):
        run.save_snapshot(step, played(step))
        run.save_checkpoint(step, played(step))
    run.save_snapshot(30, played(30))  # and killed before the checkpoint
    assert run.cut_back() == 20
    assert run.steps() == [10, 20]
    run.cut_back(10)
    assert run.steps() == [10]


def test_a_snapshot_again_replaces_the_first(run):
    run.save_snapshot(10, played(1))
    run.save_snapshot(10, played(2))
    assert float(run.load_weights(10)[1]["learner"]["averaged"]["w"][0]) == 2
    assert len(run.snapshots()) == 1


def test_a_damaged_or_unfinished_snapshot(run):
    path = run.save_snapshot(10, played(10))
    unfinished = path.with_name(".writing-step-000000020")
    unfinished.mkdir()
    assert run.steps() == [10]
    run.close()
    run.lock()
    assert not unfinished.exists()
    weights = path / "learner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(ValueError, match=r"learner\.safetensors is damaged"):
        run.load_weights(10)
    with pytest.raises(ValueError, match="step >= 0"):
        run.save_snapshot(-1, played(0))


def test_a_run_without_anything_has_no_weights(run):
    assert run.steps() == []
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        run.load_weights()
