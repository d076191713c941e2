"""EnvPool: the contract, its boards against our own rules, and what stays of an episode that ended. Slow: its import
alone takes longer than a file of tests may."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs import registry
from envs.adapters import envpool
from envs.check import check
from envs.game import MissingExtraError

pytestmark = pytest.mark.slow


def installed_game(name):
    try:
        return registry.make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "name", [f"envpool/{task}" for task in (*envpool.BOARDS, *envpool.CARDS, *envpool.ALONE, *envpool.REAL)]
)
def test_tasks_keep_the_contract(name):
    report = check(installed_game(name), num_copies=2, num_moves=40)
    assert [finding for _, finding in report.findings() if finding.broken] == []


@pytest.mark.parametrize(
    ("name", "native"), [("TicTacToe-v1", "tictactoe"), ("ConnectFour-v1", "connect_four"), ("Othello-v1", "othello:8")]
)
def test_boards_play_our_own_rules(name, native):
    """Mover, legal moves, rewards, ends, mine and theirs, in all copies at once, through many ends."""
    left = installed_game(f"envpool/{name}").environment(6, 0)
    right = registry.make(native).environment(6, 0)
    one, other, random, ended = left.reset(), right.reset(), np.random.default_rng(0), 0
    for _ in range(150):
        for field in ("legal", "to_play", "reward", "terminated"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        assert torch.equal(one.observation, other.observation[:, :2].to(one.observation.dtype))
        action = torch.tensor([random.choice(np.flatnonzero(row)) for row in one.legal.numpy()])
        one, other = left.step(action), right.step(action)
        ended += int(one.terminated.sum())
    assert ended > 6


def test_the_end_is_not_lost_to_the_next_reset():
    """CartPole: EnvPool's own next step would only reset; here it is a move of the next episode, with its own seed."""
    environment = installed_game("envpool/CartPole-v1").environment(1, 0)
    now, lengths, length = environment.reset(), [], 0
    for _ in range(60):
        before = now
        now = environment.step(torch.tensor([1]))
        length += 1
        assert float(now.reward[0, 0]) == 1  # a step that only resets would pay nothing
        if bool(now.terminated[0]):
            assert abs(float(now.final_observation[0, 2])) > 0.2  # it has fallen
            assert abs(float(now.observation[0, 2])) < 0.06
            lengths.append(length)
            length = 0
        else:
            assert not torch.equal(now.observation, before.observation)
    assert len(lengths) >= 4


def test_what_is_not_offered_says_why():
    installed_game("envpool/TicTacToe-v1")
    for name, message in (
        ("Pong-v5", "ale/NAME plays the same"),
        ("Tetris-v0", "one Discrete choice or a bounded Box of real numbers"),
        ("TicTacTo-v1", "did you mean envpool/TicTacToe-v1"),
    ):
        with pytest.raises(ValueError, match=message):
            registry.make(f"envpool/{name}")
