"""A run that a game whose commands vary joins: resumed it is the same; frozen set and replay say what was said."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from envs import tokens
from envs.words.errand import Errand
from gurgeh import cli
from gurgeh.rundir import RunDirectory

SMALL = [
    "threads=1", "network.width=16", "network.hidden=32", "network.value_bins=21", "learner.batch=16",
    "learner.start_steps=100", "learner.reanalyse=4", "learner.n_step=3", "selfplay.copies=8", "search.simulations=2",
    "logging.every_updates=5", "logging.evaluate_every_updates=0", "logging.tensorboard=false", "schedule.at=[4]",
    "monitor.set_size=32", "monitor.medium_size=32", "monitor.small_size=16", "checkpoint.every_updates=16",
    "schedule.updates=48", "learner.updates_per_step=1",
]  # fmt: skip


def train(runs, *arguments):
    return cli.main(["train", "--runs", str(runs), "--no-evaluation", *arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("words")
    assert train(runs, "--name", "r", "--games", "tictactoe,errand", *SMALL) == 0
    return runs / "r"


def records(run, stream):
    found = [json.loads(line) for line in (run / f"{stream}.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "time"} for record in found]


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one if key != "seconds")
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_resumed_from_an_older_checkpoint_it_is_the_same_run(run, tmp_path):
    copied = tmp_path / "r"
    shutil.copytree(run, copied)
    assert train(tmp_path, "--resume", str(copied), "--checkpoint", "32") == 0
    for stream in ("metrics", "monitor", "games"):
        assert records(run, stream) == records(copied, stream), stream
    states = [RunDirectory.open(path).load_checkpoint(None)[1] for path in (run, copied)]
    assert equal(*states)
    assert any("command_encoders" in name for name in states[0]["learner"]["network"])
    assert "policy" in records(run, "metrics")[-1]["games"]["errand"]


def test_the_frozen_set_says_what_was_said(run):
    (path,) = (run / "validation").glob("errand*.safetensors")
    frozen = load_file(path)
    assert frozen["command"].shape == (*frozen["action"].shape, Errand.spec.action_tokens)
    said = Errand.spec.commands(frozen["observation"])
    for row in range(len(said)):
        first = said[row, frozen["action"][row, 0]]
        assert torch.equal(frozen["command"][row, 0], first)
        for k in range(frozen["action"].shape[1]):
            assert bool(tokens.decode(frozen["command"][row, k])) == bool(frozen["valid"][row, k])


def test_the_model_is_followed_along_what_was_said(run):
    """The monitor's losses of moves are told the words: other words, other losses."""
    from gurgeh.frozen_losses import frozen_losses
    from gurgeh.load import LoadedRun
    from gurgeh.validation import load_frozen_set

    (path,) = (run / "validation").glob("errand*.json")
    frozen = load_frozen_set(path)
    network = LoadedRun(run).network
    with torch.no_grad():
        told = frozen_losses(network, Errand.spec, frozen)["continuation@1"]
        import dataclasses

        muddled = dataclasses.replace(frozen, command=frozen.command.flip(0), hash="")
        other = frozen_losses(network, Errand.spec, muddled)["continuation@1"]
    assert abs(told - other).max() > 1e-6


def test_played_and_replayed_with_its_words(run, capsys):
    assert cli.main(["evaluate", str(run), "--game", "errand", "--episodes", "2", "--simulations", "2"]) == 0
    capsys.readouterr()
    assert cli.main(["games", "play", "errand", "--moves", "0,q"]) == 0
    shown = capsys.readouterr().out
    assert "Bring the " in shown
    assert "go to the " in shown
    assert "take the " in shown
