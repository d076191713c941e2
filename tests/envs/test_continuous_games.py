"""Continuous actions: the box, native games, wrapped ones against the environments they wrap, and what is refused."""

from __future__ import annotations

import dataclasses
import functools

import gymnasium
import numpy as np
import pytest
import torch

from envs import registry
from envs.adapters.gymnasium import wrap
from envs.batch import NativeEnvironment
from envs.check import check
from envs.game import Box, Game, MissingExtraError, any_action, episode_seed
from envs.physics.aim import Aim
from envs.playthrough import play


def installed_game(name):
    try:
        return registry.make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def native(rules):
    return Game(rules.spec.name, rules.spec, functools.partial(NativeEnvironment, rules), rules)


def test_a_box_has_finite_bounds_in_order():
    box = Box((-1.0, 0.0), (1.0, 4.0))
    assert box.at(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.25]])).tolist() == [[-1, 0], [1, 4], [0, 1]]
    assert box.contains(torch.tensor([[-1.0, 4.0], [-1.01, 0.0], [0.0, 4.1]])).tolist() == [True, False, False]
    assert any_action(registry.make("aim:3").spec, torch.ones(2, 1)).tolist() == [[0, 1, 2]] * 2
    third = Box((0.1,), (0.3,))  # neither is a float32
    assert bool(third.contains(third.at(torch.tensor([[0.0], [1.0]]))).all())
    for low, high in (
        ((0.0,), (0.0,)),
        ((), ()),
        ((0.0,), (1.0, 2.0)),
        ((-float("inf"),), (0.0,)),
        ((float("nan"),), (1.0,)),
    ):
        with pytest.raises(ValueError, match="a box of actions needs"):
            Box(low, high)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_actions": 3}, "num_actions is 1, found 3"),
        ({"action_keys": ("fire",), "solvable": True}, "leave action_keys, solvable out"),
    ],
)
def test_a_spec_with_a_box_says_nothing_of_single_actions(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(registry.make("aim:1").spec, **changes)


def test_aim_pays_by_the_distance_in_half_widths():
    environment = registry.make("aim:3").environment(1000, 0)
    target = environment.reset().observation
    assert target.abs().max() <= 1
    width = torch.tensor([1.0, 2.0, 3.0])  # halves of -1 to 1, 3 and 5
    now = environment.step(target * width + width - 1)
    assert torch.allclose(now.reward, torch.zeros(1000, 1), atol=1e-6)
    assert bool(now.terminated.all())
    target = now.observation
    now = environment.step((target + 0.5) * width + width - 1)
    assert torch.allclose(now.reward, torch.full((1000, 1), -0.25), atol=1e-5)
    # What is lost by who ignores the target, or knows only the corners.
    for place in (torch.zeros_like(target), target.sign()):
        lost = -((place - target) ** 2).mean()
        assert float(lost) == pytest.approx(-1 / 3, abs=0.02)


def test_the_native_pendulum_plays_gymnasiums_with_any_torque():
    native_one, own = registry.make("pendulum:continuous").environment(1, 0), gymnasium.make("Pendulum-v1").unwrapped
    native_one.reset()
    own.reset(seed=0)
    own.state = native_one.state.body[0].numpy().copy()
    for torque in np.random.default_rng(0).uniform(-2, 2, 100).astype(np.float32):
        now = native_one.step(torch.tensor([[torque]]))
        seen, reward, *_ = own.step(np.array([torque]))
        assert np.abs(now.observation[0].numpy() - seen).max() < 1e-3
        assert float(now.reward[0, 0]) == pytest.approx(float(reward), abs=1e-3)


@pytest.mark.parametrize("name", ["Pendulum-v1", "MountainCarContinuous-v0", "BipedalWalker-v3", "Hopper-v5"])
def test_wrapped_games_are_told_the_very_numbers(name):
    game = installed_game(name)
    environment, own, random = game.environment(2, 3), gymnasium.make(name), np.random.default_rng(0)
    now = environment.reset()
    seen, _ = own.reset(seed=int(episode_seed(3, 1, 0)))
    for _ in range(20):
        assert np.array_equal(now.observation[1].numpy(), np.asarray(seen, np.float32))
        action = game.spec.box.at(torch.from_numpy(random.random((2, game.spec.box.num_dimensions))))
        assert bool(game.spec.box.contains(action).all())
        now = environment.step(action)
        seen, reward, terminated, truncated, _ = own.step(action[1].numpy())
        assert float(now.reward[1, 0]) == pytest.approx(float(reward))
        if terminated or truncated:
            break


@pytest.mark.parametrize(
    ("name", "dimensions", "moves"),
    [
        ("Pendulum-v1", 1, 210), ("MountainCarContinuous-v0", 1, 20), ("BipedalWalker-v3", 4, 30), ("Hopper-v5", 3, 80),
        ("Humanoid-v5", 17, 60), ("pettingzoo/sisl/multiwalker_v9", 4, 10),
    ],
)  # fmt: skip
def test_wrapped_games_keep_the_contract(name, dimensions, moves):
    game = installed_game(name)
    assert game.spec.box.num_dimensions == dimensions
    assert check(game, num_copies=2, num_moves=moves).findings() == []


def test_who_ignores_the_action_is_asked_about_it():
    class Deaf(Aim):
        def play(self, state, action):
            return super().play(state, torch.zeros_like(action))

    (finding,) = [str(found) for name, found in check(native(Deaf(2))).findings() if name == "box of actions"]
    assert "lower bounds, middle and upper bounds of the box all led to the same" in finding
    assert check(native(Aim(2))).findings() == []


def test_actions_of_another_shape_come_back_in_it():
    class Grid(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        action_space = gymnasium.spaces.Box(np.zeros((2, 3)), np.arange(1.0, 7.0).reshape(2, 3), dtype=np.float64)

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            assert action.shape == (2, 3)
            assert action.dtype == np.float64
            return np.zeros(1, np.float32), float(action[1, 0]), True, False, {}

    game = wrap(Grid, Grid(), "grid")
    assert game.spec.box.high == (1, 2, 3, 4, 5, 6)
    environment = game.environment(1, 0)
    environment.reset()
    assert float(environment.step(torch.tensor([[0.0, 0, 0, 3.5, 0, 0]])).reward) == 3.5


def test_running_episodes_are_restored_with_their_numbers():
    game = registry.make("Pendulum-v1")
    environment = game.environment(2, 0)
    environment.reset()
    random = np.random.default_rng(0)
    for _ in range(70):  # more than the history has room for at first
        now = environment.step(torch.from_numpy(random.uniform(-2, 2, (2, 1)).astype(np.float32)))
    state = environment.state_dict()
    assert state["actions"].shape == (2, 70, 1)
    assert torch.equal(game.environment(2, 0).load_state_dict(state).observation, now.observation)


def test_playthroughs_hold_the_numbers():
    game = play(registry.make("aim:1"), 5, [[0.25]])
    (target,) = game["positions"][0]["observation"]
    assert game["positions"][1]["reward"] == pytest.approx([-((0.25 - target) ** 2)], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aim:0", "0 dimensions are not offered; write aim:D"),
        ("aim", "dimensions are missing"),
        ("pendulum:continous", "no whole number; write .*pendulum:continuous"),
        ("twin:1:aim:1", "has continuous actions, which cannot be given other names"),
        ("scrambled:1:aim:1", "has continuous actions"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)


def test_spaces_that_cannot_be_played():
    class Odd(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(2)
        action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))

    with pytest.raises(ValueError, match="Discrete actions and a bounded Box of real numbers can be played"):
        wrap(Odd, Odd(), "odd")
    Odd.action_space = gymnasium.spaces.MultiDiscrete([2, 3])
    with pytest.raises(ValueError, match="Discrete actions and a bounded Box"):
        wrap(Odd, Odd(), "odd")
