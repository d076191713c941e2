"""The games in tests/games that do not alternate keep the contract, and their rules are what their texts say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from envs import registry
from envs.check import check

GAMES = Path(__file__).parents[1] / "games"


@pytest.mark.parametrize("name", ["three", "two_each"])
def test_they_keep_the_contract(name):
    assert check(registry.make(str(GAMES / f"{name}.py")), num_moves=100).findings() == []


def test_three_players_take_turns_and_one_wins():
    environment = registry.make(str(GAMES / "three.py")).environment(1, 0)
    now, seats = environment.reset(), []
    for sticks in (2, 2, 2, 1):
        seats.append(int(now.to_play))
        now = environment.step(torch.tensor([sticks - 1]))
    assert seats == [0, 1, 2, 0]
    assert now.reward.tolist() == [[1.0, -0.5, -0.5]]
    assert (int(now.final_to_play), int(now.to_play)) == (1, 0)


def test_two_stones_each_after_the_first():
    environment = registry.make(str(GAMES / "two_each.py")).environment(1, 0)
    now, seats = environment.reset(), []
    for cell in (0, 20, 21, 1, 2, 22, 24, 3):
        seats.append(int(now.to_play))
        now = environment.step(torch.tensor([cell]))
    assert seats == [0, 1, 1, 0, 0, 1, 1, 0]
    assert now.terminated.tolist() == [True]
    assert now.reward.tolist() == [[1.0, -1.0]]
    assert int(now.final_to_play) == 0  # the second stone of that turn would have been his too
    assert now.final_observation[0, 0].flatten().nonzero().flatten().tolist() == [0, 1, 2, 3]
