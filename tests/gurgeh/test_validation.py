"""Frozen validation sets: against a plain-Python tic-tac-toe, a counting game, and the global random state."""

import functools
import json
import random

import numpy as np
import pytest
import torch

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, Timestep
from envs.registry import make
from gurgeh.random_positions import stratified_order
from gurgeh.validation import build_frozen_set, load_frozen_set, save_frozen_set

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


@functools.cache
def negamax(mine: frozenset, theirs: frozenset) -> int:
    """Value of a tic-tac-toe position for the player to move, by plain recursion."""
    if any(theirs.issuperset(line) for line in LINES):
        return -1
    empty = set(range(9)) - mine - theirs
    return max((-negamax(theirs, mine | {cell}) for cell in empty), default=0)


@pytest.fixture(scope="module")
def solved():
    return build_frozen_set(make("tictactoe"), size=300, unroll=5, seed=3)


def test_solver_targets_agree_with_plain_recursion(solved):
    for row in range(len(solved)):
        planes = solved.observation[row].reshape(2, 9)
        mine, theirs = (frozenset(planes[side].nonzero().ravel().tolist()) for side in (0, 1))
        mover = int(solved.to_play[row, 0])
        for step in range(6):
            seats = [0.0, 0.0]
            optimal = set()
            if solved.exists[row, step]:
                value = negamax(mine, theirs)
                seats[mover], seats[1 - mover] = value, -value
                optimal = {cell for cell in set(range(9)) - mine - theirs if -negamax(theirs, mine | {cell}) == value}
                assert solved.to_play[row, step] == mover
            assert solved.value[row, step].tolist() == seats
            assert set(solved.policy_mask[row, step].nonzero().ravel().tolist()) == optimal
            if step == 5:
                break
            assert bool(solved.valid[row, step]) == bool(solved.exists[row, step])
            if not solved.valid[row, step]:
                assert not solved.reward[row, step].any()
                assert not solved.continues[row, step]
                continue
            cell = int(solved.action[row, step])
            assert cell not in mine | theirs
            won = any((mine | {cell}).issuperset(line) for line in LINES)
            reward = [0.0, 0.0]
            reward[mover], reward[1 - mover] = (1.0, -1.0) if won else (0.0, 0.0)
            assert solved.reward[row, step].tolist() == reward
            assert bool(solved.continues[row, step]) == (not won and len(mine) + len(theirs) < 8)
            mine, theirs, mover = theirs, mine | {cell}, 1 - mover


def test_solver_positions_are_distinct_and_their_phase_is_the_ply(solved):
    boards = solved.observation.reshape(len(solved), -1)
    assert len({tuple(row) for row in boards.tolist()}) == len(solved)
    assert torch.equal(solved.phase, boards.sum(1) // 3)
    assert torch.equal(solved.legal, solved.observation.sum(1).reshape(-1, 9) == 0)


class Counter:
    """Every episode of copy b lasts 4 + b % 3 moves (the fourth kind is cut off at 6) and shows copy, episode, ply."""

    spec = GameSpec("counter", ObservationSpec(ObservationKind.VECTOR, (3,)), num_actions=3, num_players=2)

    def __init__(self, num_copies: int, seed: int):
        self.num_copies = num_copies
        self.length = torch.tensor([4 + b % 3 for b in range(num_copies)])

    def reset(self) -> Timestep:
        self.ply = torch.zeros(self.num_copies, dtype=torch.int64)
        self.episode = torch.zeros(self.num_copies, dtype=torch.int64)
        no = torch.zeros(self.num_copies, dtype=torch.bool)
        return self.show(torch.zeros(self.num_copies, 2), no, no)

    def show(self, reward, terminated, truncated) -> Timestep:
        copies = torch.arange(self.num_copies)
        observation = torch.stack([copies, self.episode, self.ply], 1).float()
        legal = torch.ones(self.num_copies, 3, dtype=torch.bool)
        legal[:, 2] = self.ply % 2 == 0  # the last move is legal at even plies only
        seat = self.ply % 2
        return Timestep(observation, legal, seat, reward, terminated, truncated, observation, 1 - seat)

    def step(self, action) -> Timestep:
        assert bool(((action < 2) | (self.ply % 2 == 0)).all()), "an illegal move was played"
        reward = torch.stack([action.float(), 10.0 * self.ply], 1)
        self.ply = self.ply + 1
        over = self.ply == self.length
        cut = over & (self.length == 6)
        self.episode, self.ply = self.episode + over, torch.where(over, 0, self.ply)
        return self.show(reward, over & ~cut, cut)

    def close(self) -> None: ...


def test_random_play_against_a_game_whose_every_step_is_known():
    frozen = build_frozen_set(Game("counter", Counter.spec, Counter), size=200, unroll=5, seed=0)
    assert frozen.targets == "none"
    assert frozen.policy_mask is None
    assert frozen.value is None
    assert len(frozen) == 200
    for row, (copy, _, ply) in enumerate(frozen.observation.long().tolist()):
        length = 4 + copy % 3
        cut = length == 6
        assert frozen.phase[row] == ply * 3 // length
        assert bool(frozen.legal[row, 2]) == (ply % 2 == 0)
        for step in range(5):
            played = ply + step < length
            assert bool(frozen.valid[row, step]) == played
            assert bool(frozen.continues[row, step]) == (played and (ply + step + 1 < length or cut))
            expected = [float(frozen.action[row, step]), 10.0 * (ply + step)] if played else [0.0, 0.0]
            assert frozen.reward[row, step].tolist() == expected
            if played:
                assert frozen.to_play[row, step] == (ply + step) % 2
    episodes = frozen.observation[:, 1]
    most = [int(episodes[frozen.observation[:, 0] % 3 == kind].max()) for kind in range(3)]
    assert max(most) - min(most) <= 2, f"copies with short episodes are used more: {most}"


@pytest.mark.parametrize("name", ["tictactoe", "connect_four", "CartPole-v1"])
def test_same_seed_same_set_other_seed_another(name):
    first, again, other = (build_frozen_set(make(name), 128, 3, seed) for seed in (1, 1, 2))
    assert first.hash == again.hash != other.hash
    assert len(first) == 128


@pytest.mark.parametrize("name", ["tictactoe", "connect_four", "CartPole-v1"])
def test_every_prefix_is_stratified(name):
    frozen = build_frozen_set(make(name), 256, 2, 5)
    for size in (30, 64, 200):
        counts = torch.bincount(frozen.first(size).phase, minlength=3)
        assert counts.max() - counts.min() <= 1, (size, counts)


def test_phases_take_turns_until_one_runs_out():
    phase = torch.tensor([0] * 2 + [1] * 5 + [2] * 9)
    order = stratified_order(phase, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(16))
    assert phase[order].tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 1, 2, 1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("name", ["tictactoe", "CartPole-v1"])
def test_building_leaves_global_random_states_alone(name):
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    build_frozen_set(make(name), 64, 2, 0)
    assert random.getstate() == states[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1]))
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize("name", ["tictactoe", "CartPole-v1"])
def test_saved_and_loaded_it_is_the_same(name, tmp_path):
    frozen = build_frozen_set(make(name), 64, 5, 0)
    loaded = load_frozen_set(save_frozen_set(frozen, tmp_path / "frozen"))
    assert loaded.hash == frozen.hash
    for field in ("observation", "legal", "to_play", "action", "reward", "continues", "valid", "phase"):
        mine, theirs = getattr(frozen, field), getattr(loaded, field)
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    assert (loaded.value is None) == (frozen.value is None)


def test_a_changed_byte_a_changed_name_and_a_missing_file_are_refused(tmp_path):
    path = save_frozen_set(build_frozen_set(make("tictactoe"), 64, 5, 0), tmp_path)
    data = path.with_suffix(".safetensors")
    good = data.read_bytes()
    data.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ValueError, match="changed or damaged"):
        load_frozen_set(path)
    data.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="not a frozen validation set"):
        load_frozen_set(path)
    data.write_bytes(good)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(ValueError, match="changed or damaged"):
        load_frozen_set(path)
    data.unlink()
    with pytest.raises(FileNotFoundError):
        load_frozen_set(path)


def test_a_game_that_is_not_repeatable_is_refused():
    calls = iter(range(100))

    class Moody(Counter):
        def show(self, *args) -> Timestep:
            shown = super().show(*args)
            return shown._replace(observation=shown.observation + self.mood)

        def reset(self) -> Timestep:
            self.mood = next(calls)
            return super().reset()

    with pytest.raises(ValueError, match="gurgeh games check"):
        build_frozen_set(Game("moody", Moody.spec, Moody), size=30, unroll=2, seed=0)


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        build_frozen_set(make("tictactoe"), 0, 5, 0)
