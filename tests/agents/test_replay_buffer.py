"""The replay buffer against a plain list of everything that was ever added."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import grid, vector

from agents.replay import ReplayBuffer, ReplayConfig

SPEC = vector("numbers", 2, 3, num_players=2)


def step(time, copies, trainable=None):
    """Step `time` of all copies, in which every number says which step and copy it is."""
    mark = time * 100 + torch.arange(copies)
    return dict(
        observation=torch.stack([mark, -mark], 1).float(),
        legal=torch.stack([mark % 2 == 0, mark % 3 == 0, torch.ones(copies, dtype=torch.bool)], 1),
        to_play=mark % 2,
        action=mark % 3,
        reward=torch.stack([mark, mark + 0.5], 1).float(),
        terminated=mark % 5 == 0,
        truncated=mark % 7 == 0,
        policy=torch.stack([mark, mark, mark], 1).float() / 1000,
        root_value=torch.stack([-mark, mark], 1).float(),
        final_value=torch.stack([mark, 2 * mark], 1).float(),
        trainable=torch.ones(copies, dtype=torch.bool) if trainable is None else trainable,
        explored=torch.zeros(copies, dtype=torch.bool),
    )


def filled(steps, copies=3, length=20, window=4, trainable=lambda t: None, **config):
    config = ReplayConfig(max_steps=length * copies, **config)
    buffer = ReplayBuffer(SPEC, copies, config, window)
    for time in range(steps):
        buffer.add(**step(time, copies, trainable(time)))
    return buffer


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 70), st.integers(1, 4), st.integers(9, 25), st.integers(1, 7), st.integers(0, 99))
def test_windows_are_what_really_followed(steps, copies, length, window, seed):
    buffer = filled(steps, copies, length, window)
    sample = buffer.sample(16, torch.Generator().manual_seed(seed), following=window)
    assert buffer.sample(16, torch.Generator().manual_seed(seed), 1).next_observation.shape[:2] == (16, 1)
    marks = sample.reward[:, :, 0].long()
    oldest = max(0, steps - length)
    for row in range(16):
        time, copy = divmod(int(marks[row, 0]), 100)
        assert oldest <= time, "a step that is no longer stored"
        assert time + window <= steps - 1, "a step whose future is not stored yet"
        for k in range(window):
            truth = step(time + k, copies)
            assert int(marks[row, k]) == (time + k) * 100 + copy
            names = ("to_play", "action", "reward", "terminated", "truncated", "policy", "root_value", "final_value")
            for name in names:
                assert torch.equal(getattr(sample, name)[row, k], truth[name][copy].to(getattr(sample, name).dtype)), (
                    name
                )
            assert torch.equal(sample.next_observation[row, k], step(time + k + 1, copies)["observation"][copy])
        assert torch.equal(sample.observation[row], step(time, copies)["observation"][copy])
        assert torch.equal(sample.legal[row], step(time, copies)["legal"][copy])


@pytest.mark.parametrize("steps", [12, 20, 33, 61])
def test_every_stored_step_with_a_future_is_drawn_sometime(steps):
    buffer = filled(steps, copies=3, length=20, window=4)
    sample = buffer.sample(2000, torch.Generator().manual_seed(0))
    seen = set(sample.reward[:, 0, 0].int().tolist())
    expected = {t * 100 + c for t in range(max(0, steps - 20), steps - 4) for c in range(3)}
    assert seen == expected
    assert buffer.num_ready == len(expected) // 3
    assert len(buffer) == min(steps, 20) * 3


@pytest.mark.parametrize("steps", [18, 47])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_frequencies_follow_priorities_and_weights_undo_them(steps, exponent):
    buffer = filled(steps, priority_exponent=exponent, correction_exponent=0.7)
    every = buffer.sample(4000, torch.Generator().manual_seed(1))
    index = every.index.unique()
    priority = 0.1 + torch.rand(len(index), generator=torch.Generator().manual_seed(2)) * 5
    buffer.set_priority_(index, priority)
    generator = torch.Generator().manual_seed(3)
    counts = torch.zeros(20 * 3)
    rounds = [buffer.sample(8, generator) for _ in range(800)]
    for sample in rounds:
        counts.index_add_(0, sample.index, torch.ones(8))
        assert float(sample.weight.max()) == 1
    expected = priority**exponent / (priority**exponent).sum() * 6_400
    assert int(counts.sum()) == int(counts[index].sum()) == 6_400
    chi = float(((counts[index] - expected) ** 2 / expected).sum())
    freedom = len(index) - 1
    assert chi < freedom + 4 * (2 * freedom) ** 0.5, f"chi-square {chi} with {freedom} degrees of freedom"
    # Weights: (probability)^-beta, the largest of a batch 1.
    for sample in rounds[:50]:
        place = torch.searchsorted(index, sample.index)
        raw = (priority[place] ** exponent) ** -0.7
        assert torch.allclose(sample.weight, raw / raw.max(), rtol=1e-4)


def test_openings_are_in_windows_but_never_begin_one():
    random = torch.Generator().manual_seed(0)
    played = [torch.rand(3, generator=random) < 0.4 for _ in range(50)]
    buffer = filled(50, trainable=lambda t: played[t])
    for draw in (lambda g: buffer.sample(500, g).index, lambda g: buffer.draw_positions(500, g)):
        index = draw(torch.Generator().manual_seed(1))
        marks = buffer.read(index)[0][:, 0].long()
        assert all(bool(played[int(mark) // 100][int(mark) % 100]) for mark in marks)
    sample = buffer.sample(500, torch.Generator().manual_seed(1))
    assert not sample.trainable.all()


def test_positions_for_reanalysis_ignore_priorities():
    buffer = filled(47)
    index = buffer.sample(4000, torch.Generator().manual_seed(1)).index.unique()
    buffer.set_priority_(index, torch.linspace(0.01, 50, len(index)))
    drawn = torch.bincount(buffer.draw_positions(12_000, torch.Generator().manual_seed(0)), minlength=60)[index].float()
    expected = 12_000 / len(index)
    assert float(((drawn - expected) ** 2 / expected).sum()) < len(index) + 4 * (2 * len(index)) ** 0.5


def test_reanalysis_overwrites_policy_and_value_and_nothing_else():
    buffer, untouched = filled(47), filled(47)
    index = buffer.sample(400, torch.Generator().manual_seed(1)).index.unique()[::3]
    buffer.write_(index, torch.full((len(index), 3), 0.25), torch.full((len(index), 2), -7.0))
    mine, theirs = (each.sample(400, torch.Generator().manual_seed(2)) for each in (buffer, untouched))
    flat = (mine.index[:, None] + torch.arange(4) * 3) % 60
    written = torch.isin(flat, index)
    assert written.any()
    assert mine.policy[written].eq(0.25).all()
    assert mine.root_value[written].eq(-7.0).all()
    for name in mine._fields[:-2]:  # but those of continuous actions
        changed = name in ("policy", "root_value")
        a, b = getattr(mine, name), getattr(theirs, name)
        assert torch.equal(a[~written], b[~written]) if changed else torch.equal(a, b), name


def test_new_steps_come_in_with_the_largest_priority():
    buffer = filled(19, priority_exponent=1.0)
    index = buffer.sample(4000, torch.Generator().manual_seed(1)).index.unique()
    buffer.set_priority_(index, torch.full((len(index),), 0.001))
    buffer.set_priority_(index[:1], torch.tensor([9.0]))
    for time in range(19, 27):
        buffer.add(**step(time, 3))
    marks = buffer.sample(2000, torch.Generator().manual_seed(4)).reward[:, 0, 0]
    # Ready are steps 7 to 22: 7-14 at 0.001, 15-18 at the first 1.0, 19-22 at 9, the largest seen.
    assert float((marks >= 1900).float().mean()) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("spec", [SPEC, grid("board", 3, 7, 5), vector("wide", 300, 40)], ids=lambda spec: spec.name)
@pytest.mark.parametrize("limit", [200_000, 1_000_000])
def test_the_bound_in_bytes_is_kept_and_used(spec, limit):
    buffer = ReplayBuffer(spec, 4, ReplayConfig(max_bytes=limit, max_steps=10**9), window=5)
    held = sum(value.nbytes for value in vars(buffer).values() if isinstance(value, torch.Tensor))
    one_step = held // buffer.length
    assert limit - one_step < held <= limit
    few = ReplayBuffer(spec, 4, ReplayConfig(max_bytes=limit, max_steps=30), window=5)
    assert few.length == 7  # 30 // 4


def test_too_small_a_bound_is_refused_with_what_to_change():
    with pytest.raises(
        ValueError, match=r"numbers: replay.max_bytes=.* keep 5 steps of each of 4 copies, a window needs"
    ):
        ReplayBuffer(SPEC, 4, ReplayConfig(max_steps=20), window=5)
    ReplayBuffer(SPEC, 4, ReplayConfig(max_steps=24), window=5)


def test_nothing_to_learn_from_is_an_error_not_a_wrong_sample():
    buffer = filled(12, trainable=lambda t: torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="numbers: the replay buffer holds no step to learn from yet"):
        buffer.sample(4, torch.Generator())


@pytest.mark.parametrize("steps", [6, 13, 47])
def test_a_restored_buffer_goes_on_with_the_same_samples(steps):
    buffer = filled(steps)
    if steps > 10:
        index = buffer.sample(30, torch.Generator().manual_seed(0)).index
        buffer.set_priority_(index, torch.linspace(0.1, 3, 30))
    state = {
        key: {name: column.clone() for name, column in value.items()} if isinstance(value, dict) else value
        for key, value in buffer.state_dict().items()
    }
    other = filled(0)
    other.load_state_dict(state)
    for time in range(steps, steps + 30):
        for each in (buffer, other):
            each.add(**step(time, 3))
        mine, theirs = (each.sample(16, torch.Generator().manual_seed(time)) for each in (buffer, other))
        for name in mine._fields[:-2]:  # but those of continuous actions
            assert torch.equal(getattr(mine, name), getattr(theirs, name)), name
        for each, sample in ((buffer, mine), (other, theirs)):
            each.set_priority_(sample.index, 0.1 + sample.weight)


def test_a_buffer_of_other_sizes_is_refused():
    state = filled(30).state_dict()
    with pytest.raises(ValueError, match=r"numbers: the checkpoint's replay .* resume with the run's own"):
        filled(0, copies=2).load_state_dict(state)
    with pytest.raises(ValueError, match="numbers: the checkpoint's replay"):
        filled(0, length=15).load_state_dict(state)


@pytest.mark.parametrize("steps", [15, 47])
def test_a_longer_buffer_takes_a_shorter_one_over(steps):
    """`--resume RUN replay.max_steps=...` with more room: old steps stay what they are, and no row is made up."""
    buffer = filled(0, length=32)
    buffer.load_state_dict(filled(steps, length=20).state_dict())
    for time in range(steps, steps + 9):
        buffer.add(**step(time, 3))
        sample = buffer.sample(64, torch.Generator().manual_seed(time))
        marks = sample.reward[:, :, 0].long()
        assert bool((marks[:, 1:] == marks[:, :-1] + 100).all())
        assert int(marks.min()) >= max(0, steps - 20) * 100
