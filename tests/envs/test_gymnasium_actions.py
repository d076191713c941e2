"""Box actions on a grid, chance that Gymnasium's tables tell, and what is refused."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from envs import registry
from envs.check import check
from envs.game import MissingExtraError, episode_seed


def installed_game(name):
    try:
        return registry.make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def test_a_grid_plays_the_environment_with_the_points_values():
    game = registry.make("Pendulum-v1:bins=5")
    assert game.spec.num_actions == 5
    environment, own = game.environment(1, 3), gymnasium.make("Pendulum-v1")
    now = environment.reset()
    seen, _ = own.reset(seed=int(episode_seed(3, 0, 0)))
    for action in (0, 1, 2, 3, 4, 4, 0, 2):
        assert np.array_equal(now.observation[0].numpy(), seen)
        now = environment.step(torch.tensor([action]))
        seen, reward, *_ = own.step(np.array([action - 2.0], np.float32))  # torque from -2 to 2
        assert float(now.reward[0, 0]) == pytest.approx(reward)


@pytest.mark.parametrize(
    ("name", "actions", "moves"),
    [
        ("Pendulum-v1:bins=5", 5, 210),
        ("MountainCarContinuous-v0:bins=3", 3, 20),
        ("BipedalWalker-v3:bins=2", 16, 30),
        ("Hopper-v5:bins=3", 27, 80),
        ("HalfCheetah-v5:bins=2", 64, 20),
        ("InvertedPendulum-v5:bins=3", 3, 60),
    ],
)
def test_games_with_real_valued_actions_keep_the_contract(name, actions, moves):
    game = installed_game(name)
    assert game.spec.num_actions == actions
    assert check(game, num_copies=2, num_moves=moves).findings() == []


def test_a_grid_has_every_combination_once():
    from envs.adapters.gymnasium import Grid

    class Two(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(1)
        action_space = gymnasium.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 4], np.float32))

    points = Grid(Two(), 3).points.tolist()
    assert points == [[x, y] for x in (-1, 0, 1) for y in (0, 2, 4)]


def test_chance_is_known_from_the_tables():
    assert registry.make("FrozenLake-v1").spec.stochastic
    assert not registry.make("CliffWalking-v1").spec.stochastic
    assert registry.make("Blackjack-v1").spec.stochastic
    assert not registry.make("Blackjack-v1").spec.perfect_information


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pendulum-v1:bins=x", "bins is 'x'; write a whole number"),
        ("Pendulum-v1:bins=5000", "5,000 actions, 4,096 is the limit"),
        ("CartPole-v1:bins=3", r"its actions are Discrete\(2\); bins is for a bounded Box"),
    ],
)
def test_what_cannot_be_played_says_what_would_help(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)
