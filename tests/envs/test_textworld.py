"""TextWorld's adventures: the contract, TextWorld's own play, and worlds that are the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from envs import registry, tokens
from envs.check import check
from envs.game import MissingExtraError


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"textworld is not installed: pip install 'gurgeh\[textworld\]'"):
        registry.make("textworld/simple")


@pytest.fixture(autouse=True)
def _installed(request):
    if "without" not in request.node.name:
        pytest.importorskip("textworld", reason="pip install 'gurgeh[textworld]'")


def read(game, now, copy=0):
    """What is seen, and the action behind each command."""
    said = game.spec.commands(now.observation[copy])
    legal = now.legal[copy].nonzero()[:, 0].tolist()
    return tokens.decode(game.spec.text(now.observation[copy])), {tokens.decode(said[a]): a for a in legal}


@pytest.mark.parametrize(("name", "moves"), [("coin_collector:1:games=3", 60), ("simple:games=2", 30)])
def test_they_keep_the_contract(name, moves):
    assert check(registry.make(f"textworld/{name}"), num_copies=2, num_moves=moves).findings() == []


@pytest.mark.parametrize("name", ["treasure_hunter:3:games=1", "simple:games=1"])
def test_textworld_plays_the_same(name, tmp_path):
    """TextWorld's own environment, from the file of the same world: commands, score and end, move by move."""
    from textworld import EnvInfos
    from textworld.envs.tw import TextWorldEnv

    from envs.adapters import textworld as adapter

    game = registry.make(f"textworld/{name}")
    environment = game.environment(1, 0)
    now, choose = environment.reset(), np.random.default_rng(1)
    path = tmp_path / "world.json"
    environment._in[0].game.save(str(path))
    own = TextWorldEnv(EnvInfos(admissible_commands=True))
    own.load(str(path))
    state, total = own.reset(), 0.0
    for _ in range(25):
        _, commands = read(game, now)
        theirs = [text for text in state["admissible_commands"] if not text.startswith(adapter.NO_MOVES)]
        assert list(commands) == theirs
        text = str(choose.choice(theirs))
        state, score, done = own.step(text)
        now = environment.step(torch.tensor([commands[text]]))
        total += float(now.reward)
        assert total == score
        assert bool(now.terminated) == done
        if done:
            break


@pytest.mark.parametrize("name", ["coin_collector:3:games=2", "simple:games=2"])
def test_the_winning_way_earns_everything(name):
    game = registry.make(f"textworld/{name}")
    environment = game.environment(2, 0)
    now = environment.reset(np.array([0, 1]))
    total, over = torch.zeros(2), torch.zeros(2, dtype=torch.bool)
    for _ in range(40):
        action = []
        for copy in range(2):
            world, at = environment._in[copy], environment._at[copy]
            (text,) = world.writer.gen_commands_from_actions(at.winning_policy[:1])
            action.append(read(game, now, copy)[1][text])
        now = environment.step(torch.tensor(action))
        total += now.reward[:, 0] * ~over
        over |= now.terminated
        if bool(over.all()):
            break
    assert total.tolist() == [environment._world(1 + copy).game.max_score for copy in range(2)]


def test_what_is_carried_and_where_one_is():
    game = registry.make("textworld/coin_collector:3:games=1")
    environment = game.environment(1, 0)
    now = environment.reset()
    shown, commands = read(game, now)
    assert environment._in[0].game.objective[-60:] in shown
    rooms = []
    *way, take = environment._in[0].writer.gen_commands_from_actions(environment._at[0].winning_policy)
    assert (len(way), take) == (2, "take coin")
    for text in way:
        rooms.append(shown.split("You are in the ")[1].split(".")[0])
        exits = shown.split("Exits: ")[1].split(".")[0].split(", ")
        assert [said.removeprefix("go ") for said in commands if said.startswith("go ")] == exits
        assert shown.endswith("Here: nothing. You carry nothing.")
        now = environment.step(torch.tensor([commands[text]]))
        shown, commands = read(game, now)
    assert len({*rooms, shown.split("You are in the ")[1].split(".")[0]}) == 3
    assert "Here: coin." in shown
    now = environment.step(torch.tensor([commands["take coin"]]))
    assert tokens.decode(game.spec.text(now.final_observation[0])).endswith("Here: nothing. You carry coin.")
    assert (float(now.reward), bool(now.terminated)) == (1.0, True)


SHOW = """
import hashlib, torch
from envs import registry
environment = registry.make("textworld/treasure_hunter:2:games=2").environment(3, 4)
now, digest = environment.reset(), hashlib.sha256()
for _ in range(20):
    digest.update(now.observation.numpy().tobytes() + now.legal.numpy().tobytes() + now.reward.numpy().tobytes())
    now = environment.step(now.legal.long().argmax(1))
print(digest.hexdigest())
"""


def test_worlds_are_the_same_in_every_process():
    shown = {
        subprocess.run([sys.executable, "-c", SHOW], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
                       text=True, check=True).stdout for seed in ("1", "2")
    }  # fmt: skip
    assert len(shown) == 1


def test_names():
    assert registry.make("textworld/coin_collector:games=16:2").name == "textworld/coin_collector:2"
    for name, problem in (
        ("coin_collector", "has levels from 1 to 300"),
        ("coin_collector:0", "has levels from 1 to 300"),
        ("treasure_hunter:31", "has levels from 1 to 30"),
        ("simple:1", "simple has no levels"),
        ("simple:games=0", "is not from 1 to 1024"),
        ("simple:big", "'big' is not understood; write textworld/"),
        ("coin_colector:1", "did you mean textworld/coin_collector:1"),
    ):
        with pytest.raises(ValueError, match=problem):
            registry.make(f"textworld/{name}")
