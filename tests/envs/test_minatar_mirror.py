"""Breakout seen in a mirror is Breakout: the package's own game, move by move, beside its reflection."""

import numpy as np
import pytest
import torch

from envs import registry

pytest.importorskip("minatar")


def reflect_(game, other):
    """Make `other` the mirror image of `game`."""
    other.reset()
    other.ball_x, other.last_x, other.pos = 9 - game.ball_x, 9 - game.last_x, 9 - game.pos
    other.ball_y, other.last_y, other.strike, other.terminal = game.ball_y, game.last_y, game.strike, game.terminal
    other.ball_dir = {0: 1, 1: 0, 2: 3, 3: 2}[game.ball_dir]
    other.brick_map = game.brick_map[:, ::-1].copy()


def test_breakout_in_a_mirror_follows_the_mirrored_moves():
    from envs.adapters.minatar import _module

    symmetries = registry.make("minatar/breakout").spec.symmetries
    assert symmetries.actions == ((0, 1, 2), (0, 2, 1))  # stay, left, right
    cells = list(symmetries.cells[1])
    module, random, caught = _module("breakout"), np.random.default_rng(0), 0
    for episode in range(60):
        game, other = module.Env(), module.Env()
        game.random.seed(episode)
        game.reset()
        reflect_(game, other)
        for _ in range(300):
            shown, mirrored = (one.state().transpose(2, 0, 1).reshape(4, 100) for one in (game, other))
            assert (shown[:, cells] == mirrored).all()
            # The paddle mostly follows the ball, so that long games are seen, too.
            follow = int(np.sign(game.ball_x - game.pos)) % 3  # 0 stay, 1 right, 2 left
            move = (0, 2, 1)[follow] if random.random() < 0.97 else int(random.integers(3))
            number = game.minimal_action_set()[move]
            rewards = [game.act(number), other.act(game.minimal_action_set()[symmetries.actions[1][move]])]
            assert rewards[0] == rewards[1]
            caught += rewards[0][0]
            if rewards[0][1]:
                break
    assert caught > 200  # bricks


def test_other_games_declare_no_symmetry():
    names = ("asterix", "freeway", "seaquest", "space_invaders")
    assert all(registry.make(f"minatar/{name}").spec.symmetries is None for name in names)
    full = registry.make("minatar/breakout:full").spec.symmetries
    assert torch.tensor(full.actions).tolist() == [[0, 1, 2, 3, 4, 5], [0, 3, 2, 1, 4, 5]]
