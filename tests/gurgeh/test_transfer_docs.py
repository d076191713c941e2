"""The example of docs/transfer.md runs, with less of everything."""

import shlex
from pathlib import Path

from gurgeh import cli

DOCS = Path(__file__).parents[2] / "docs" / "transfer.md"
LESS = [
    "threads=1", "network.width=16", "network.hidden=32", "network.value_bins=21", "network.channels=4",
    "learner.batch=16", "learner.start_steps=100", "learner.n_step=3", "selfplay.copies=8", "search.simulations=2",
    "logging.evaluate_every_updates=0", "logging.tensorboard=false", "monitor.set_size=64", "monitor.medium_size=64",
    "monitor.small_size=16", "monitor.sharing=false",
]  # fmt: skip
SMALLER = {"3000": "30", "2000": "20", "1000": "10", "--seeds 5": "--seeds 1"}


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    block = DOCS.read_text().split("```")[1]
    for large, small in SMALLER.items():
        assert large in block
        block = block.replace(large, small)
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[1:] for line in block.strip().splitlines()]
    assert [command[0] for command in commands] == ["train", "train", "adapt", "transfer", "monitor"]
    for command in commands:
        more = {"train": [*LESS, "checkpoint.every_updates=10", "--no-evaluation"], "adapt": ["--budget", "10"]}
        assert cli.main([*command, *more.get(command[0], [])]) in (0, 10, 20), command
    shown = capsys.readouterr().out
    assert "mnk:3x3x3:misere from pretrained tictactoe+mnk:4x3x3 at update 30" in shown
    assert "no events" in shown
