"""Atari: the presets, and restoring to the bit. Loading a ROM takes 0.1 s or more, so that copies are few here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs import registry

pytest.importorskip("ale_py")


def play(environment, moves, num_actions, seed=0):
    random = np.random.default_rng(seed)
    return [
        environment.step(torch.from_numpy(random.integers(0, num_actions, environment.num_copies)))
        for _ in range(moves)
    ]


def test_presets_are_the_protocols():
    machado, hundred = registry.make("ale/Breakout"), registry.make("ale/Breakout:100k")
    assert (machado.spec.num_actions, machado.spec.stochastic, machado.spec.max_length) == (18, True, 3600)
    assert (hundred.spec.num_actions, hundred.spec.stochastic, hundred.spec.reward_range) == (4, False, (-1.0, 1.0))
    assert registry.make("ale/ms_pacman").name == registry.make("ale/MsPacman").name == "ale/MsPacman"
    with pytest.raises(ValueError, match="unknown preset '200k' of ale/Pong: one of 2018, v5, 100k, 100k-eval"):
        registry.make("ale/Pong:200k")
    with pytest.raises(ValueError, match="did you mean ale/Pong"):
        registry.make("ale/Ponk")


def test_sticky_game_is_restored_to_the_bit():
    """Sticky actions are drawn inside the emulator: only its seed and the moves bring them back."""
    game = registry.make("ale/Breakout:v5")
    environment = game.environment(2, 5)
    environment.reset()
    play(environment, 15, 4, seed=1)
    saved = environment.state_dict()
    expected = play(environment, 15, 4, seed=2)
    restored = game.environment(2, 5)
    restored.load_state_dict(saved)
    for left, right in zip(expected, play(restored, 15, 4, seed=2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    other = game.environment(1, 5)
    other.reset(np.array([99]))
    assert not torch.equal(play(other, 15, 4, seed=1)[-1].observation[0], expected[0].observation[0])


def test_a_lost_life_ends_a_training_episode_and_the_next_one_starts_anew():
    game = registry.make("ale/Breakout:100k")
    environment = game.environment(1, 0)
    first = environment.reset()
    shown = play(environment, 60, 4)
    ends = [move for move, now in enumerate(shown) if bool(now.terminated[0])]
    assert ends, "60 random moves lose a life of Breakout"
    now = shown[ends[0]]
    assert not torch.equal(now.final_observation, now.observation)
    saved = environment.state_dict()
    restored = game.environment(1, 0).load_state_dict(saved)
    assert torch.equal(restored.observation, shown[-1].observation)
    again = environment.reset()
    assert torch.equal(first.observation, again.observation)


def test_no_op_starts_differ_between_seeds():
    environment = registry.make("ale/Pong:100k").environment(1, 0)
    starts = {environment.reset(np.array([seed])).observation.numpy().tobytes() for seed in range(12)}
    assert len(starts) > 2
