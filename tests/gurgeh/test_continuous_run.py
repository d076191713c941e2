"""Continuous actions from the command line: train beside another game, resume to the bit, evaluate, replay, play."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from test_train import SMALL, assert_same_run, train

from agents.network import MultiGameNetwork, NetworkConfig
from envs import registry
from gurgeh import cli
from gurgeh.export import export
from gurgeh.frozen_losses import frozen_losses
from gurgeh.measure import measure
from gurgeh.play import find_move
from gurgeh.records import read_records
from gurgeh.replay import frames, open_records, verify
from gurgeh.validation import build_frozen_set

RUN = [
    "--games", "tictactoe,pendulum:continuous,Pendulum-v1", *SMALL, "search.samples=4", "schedule.updates=12",
    "checkpoint.every_updates=6", "schedule.at=[2,4]",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert train(runs, "--name", "whole", *RUN) == 0
    return runs / "whole"


def test_resumed_it_is_the_run_that_was_never_stopped(run, tmp_path):
    copied = tmp_path / run.name
    shutil.copytree(run, copied)
    assert train(tmp_path, "--resume", str(copied), "--checkpoint", "6") == 0
    assert_same_run(run, copied)


def test_the_monitor_follows_the_played_points_and_has_no_policy_loss(run):
    lines = [json.loads(line) for line in (run / "monitor.jsonl").read_text().splitlines()]
    heads = {(line["game"], head) for line in lines for head in line.get("losses", {})}
    assert {"tictactoe", "pendulum:continuous", "Pendulum-v1"} == {game for game, head in heads if head == "reward"}
    assert {game for game, head in heads if head == "policy"} == {"tictactoe"}
    frozen = build_frozen_set(registry.make("aim:3"), 32, 2, 0)
    assert frozen.point.shape == (32, 2, 3)
    box, rows = registry.make("aim:3").spec.box, frozen.valid[:, 0]
    low, high = box.bounds()
    lost = ((2 * frozen.point[:, 0] - low - high) / (high - low) - frozen.observation) ** 2
    torch.testing.assert_close(frozen.reward[rows, 0, 0], -lost.mean(1)[rows])
    assert not bool(frozen.valid[:, 1].any())
    assert not bool(frozen.point[:, 1].any())


@pytest.mark.parametrize("together", [False, True])
@torch.no_grad()
def test_measured_losses_follow_the_points_that_were_played(together):
    game = registry.make("pendulum:continuous")
    network = MultiGameNetwork(NetworkConfig(width=16, hidden=32), [game.spec], seed=1)
    torch.nn.init.normal_(network.core.weight, std=0.3)  # heads begin at zero and would hide what they are told
    frozen = build_frozen_set(game, 24, 3, 0)
    other = dataclasses.replace(frozen, point=-frozen.point)
    found = []
    for rows in (frozen, other):
        measure_ = measure(network, {game.spec.name: rows})
        name = game.spec.name
        found.append(measure_.losses_together([name], 24)[name] if together else measure_.losses(name, 24))
    direct = frozen_losses(network, game.spec, frozen)
    for name, row in direct.items():
        np.testing.assert_allclose(found[0][name], row, atol=1e-5)
    assert np.nanmax(abs(found[0]["reward@1"] - found[1]["reward@1"])) > 1e-3


@pytest.mark.parametrize("simulations", [0, 3])
def test_what_was_evaluated_can_be_replayed(run, capsys, tmp_path, simulations):
    arguments = ["--game", "Pendulum-v1", "--episodes", "2", "--simulations", str(simulations)]
    assert cli.main(["evaluate", str(run), *arguments]) == 0
    shown = capsys.readouterr().out
    (path,) = (word for word in shown.split() if word.endswith(".jsonl.gz"))
    assert cli.main(["replay", path, "--verify"]) == 0
    game, header, episodes = open_records(path)
    assert verify(game, episodes).episodes == 2
    assert all(len(action) == 1 and -2 <= action[0] <= 2 for action in episodes[0].actions)
    assert len({action[0] for action in episodes[0].actions}) > 20
    assert episodes[0].value
    assert not episodes[0].policy
    first = next(frames(game, episodes[0]))
    assert first.action == read_records(path)[1][0].actions[0]
    for suffix in (".txt", ".json"):
        export(game, header, episodes[0], tmp_path / f"one{suffix}")
    assert f"{first.action[0]:.4g}" in (tmp_path / "one.txt").read_text()
    episodes[0].actions[5] = [2.5]
    with pytest.raises(ValueError, match=r"move 5: action \[2.5\] is not 1 numbers within the box"):
        verify(game, episodes)


def test_a_person_types_numbers(capsys):
    assert cli.main(["games", "play", "aim:3", "--moves", "0.5 1 -0.25"]) == 0
    shown = capsys.readouterr().out
    assert "move: 3 numbers with spaces between, -1 to 1, -1 to 3, -1 to 5" in shown
    assert "the end after 1 moves: return -" in shown
    for text in ("0.5", "0 0 6", "up 0 0"):
        with pytest.raises(ValueError, match="is no move: type 3 numbers"):
            find_move(text, registry.make("aim:3"), [0])
    assert cli.main(["games", "info", "aim:3"]) == 0
    assert "continuous: -1 to 1, -1 to 3, -1 to 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["intrinsic.weight.aim:1=1"], "curiosity does not know continuous actions"),
        (["search.model=rules"], "continuous actions, which a search with exact rules does not sample"),
        (["search.samples=0"], "search.samples must be at least 1"),
    ],
)
def test_what_does_not_know_them_says_so(tmp_path, capsys, arguments, message):
    assert train(tmp_path, "--games", "aim:1", *SMALL, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
