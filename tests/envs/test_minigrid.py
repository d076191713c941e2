"""MiniGrid: planes against the package's own numbers, missions as words, and the contract."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from envs import registry
from envs.check import check
from envs.game import episode_seed

pytest.importorskip("minigrid")
from envs.adapters import minigrid


@pytest.mark.parametrize(
    ("name", "moves"),
    {
        "Empty-5x5-v0": 110,
        "DoorKey-5x5-v0": 60,
        "Dynamic-Obstacles-5x5-v0": 60,
        "GoToDoor-5x5-v0": 60,
        "MultiRoom-N2-S4-v0": 50,
        "BabyAI-GoToObj-v0": 70,
        "BabyAI-BossLevel-v0": 20,
    }.items(),
)
def test_levels_keep_the_contract(name, moves):
    assert check(registry.make(f"minigrid/{name}"), num_copies=2, num_moves=moves).findings() == []


@pytest.mark.parametrize("name", ["MiniGrid-DoorKey-6x6-v0", "BabyAI-UnlockPickup-v0"])
def test_planes_hold_what_the_package_shows(name):
    """Every cell's object, colour and state can be read back from the planes, and the direction."""
    environment = registry.make(f"minigrid/{name}").environment(1, 2)
    own = gymnasium.make(name)
    now = environment.reset()
    seen, _ = own.reset(seed=int(episode_seed(2, 0, 0)))
    random = np.random.default_rng(0)
    carried = False
    for _ in range(150):
        planes = now.observation[0].numpy()
        image = seen["image"].transpose(1, 0, 2)  # [row, column, 3]
        assert np.array_equal(planes[:11].argmax(0), image[:, :, 0])
        assert (planes[:11].sum(0) == 1).all()
        coloured = image[:, :, 0] > 1
        assert np.array_equal(planes[11:17].sum(0), coloured)
        assert np.array_equal(planes[11:17].argmax(0)[coloured], image[:, :, 1][coloured])
        doors = image[:, :, 0] == 4
        assert np.array_equal(planes[17:20].sum(0), doors)
        assert np.array_equal(planes[17:20].argmax(0)[doors], image[:, :, 2][doors])
        assert [plane.all() for plane in planes[20:24]] == [seen["direction"] == d for d in range(4)]
        carried |= own.unwrapped.carrying is not None
        action = int(random.integers(6))
        now = environment.step(torch.tensor([action]))
        seen, reward, over, cut, _ = own.step(action)
        assert (float(now.reward[0, 0]), bool(now.terminated[0])) == (pytest.approx(reward), over)
        if over or cut:
            break


def test_a_mission_that_varies_is_shown_word_by_word():
    environment = registry.make("minigrid/GoToDoor-5x5-v0").environment(6, 0)
    first = environment.reset()
    found = set()
    for copy, env in enumerate(environment._envs):
        planes = first.observation[copy, 24:]
        words = planes.flatten(1).argmax(0)[planes.flatten(1).sum(0) > 0]
        text = [minigrid.WORDS[word] for word in words.tolist()]
        assert text == env.unwrapped.mission.split()
        found.add(" ".join(text))
    assert len(found) > 1
    assert registry.make("minigrid/DoorKey-5x5-v0").spec.observation.shape == (24, 7, 7)  # always the same sentence


def test_every_word_of_many_missions_is_known():
    for level in (
        "BabyAI-BossLevel-v0",
        "BabyAI-GoToSeq-v0",
        "BabyAI-PutNextLocal-v0",
        "MiniGrid-ObstructedMaze-1Dl-v0",
    ):
        env = gymnasium.make(level)
        for seed in range(15):
            assert 0 not in minigrid.mission_words(env.reset(seed=seed)[0]["mission"]), env.unwrapped.mission


def test_names():
    assert registry.make("minigrid/MiniGrid-Empty-5x5-v0").name == "minigrid/Empty-5x5-v0"
    with pytest.raises(ValueError, match="did you mean minigrid/DoorKey"):
        registry.make("minigrid/DoorKey-5x5")
    with pytest.raises(ValueError, match="packed without the pictures"):
        registry.make("minigrid/WFC-MazeSimple-v0")
    assert len(minigrid.names()) > 150
