"""Compiled batches against the torch path: the same positions, the same targets, from the same random numbers."""

import dataclasses

import pytest
import torch
from tiny import grid, shaken, tiny_config, toy, vector

from agents.fused import Aims
from agents.learner import Learner, LearnerConfig
from agents.network import MultiGameNetwork
from agents.replay import ReplayBuffer, ReplayConfig
from envs.game import GameSpec

CONFIG = LearnerConfig(batch=32, unroll=3, n_step=4)
COPIES, LENGTH = 5, 40


def arbitrary_buffer(spec: GameSpec, steps: int, config: LearnerConfig, seed: int) -> ReplayBuffer:
    """`steps` steps of noise in a ring of 40: episodes end, are cut off, hold random moves."""
    generator = torch.Generator().manual_seed(seed)
    buffer = ReplayBuffer(spec, COPIES, ReplayConfig(max_steps=LENGTH * COPIES), config.window)
    assert buffer.length == LENGTH

    def chance(share):
        return torch.rand(COPIES, generator=generator) < share

    for _ in range(steps):
        shape = (COPIES, *spec.observation.shape)
        if spec.observation.dtype == torch.uint8:
            observation = (torch.rand(shape, generator=generator) < 0.4).to(torch.uint8)
        else:
            observation = torch.randn(shape, generator=generator)
        terminated = chance(0.1)
        buffer.add(
            observation=observation, trainable=chance(0.8), legal=torch.ones(COPIES, spec.num_actions),
            to_play=torch.randint(spec.num_players, (COPIES,), generator=generator),
            action=torch.randint(spec.num_actions, (COPIES,), generator=generator),
            reward=torch.randn(COPIES, spec.num_players, generator=generator), terminated=terminated,
            truncated=~terminated & chance(0.1),
            policy=torch.rand(COPIES, spec.num_actions, generator=generator).softmax(1),
            root_value=torch.randn(COPIES, spec.num_players, generator=generator),
            final_value=torch.randn(COPIES, spec.num_players, generator=generator), explored=chance(0.1),
        )  # fmt: skip
    trained = buffer.mass > 0
    buffer.mass[trained] = torch.rand(int(trained.sum()), generator=generator) ** 2
    return buffer


def learner_of(specs, config, seed=0):
    """A learner with unlike weights in the averaged network."""
    nets = [shaken(MultiGameNetwork(tiny_config(), specs, seed=seed + i)) for i in range(2)]
    return Learner(nets[0], nets[1].requires_grad_(False), config, seed)


def drawn(learner, buffers, gamma=0.9):
    """A compiled batch and its targets as tensors."""
    batch = learner.fused(buffers).draw(list(buffers.values()), gamma, learner.generator)
    return batch, Aims(*map(torch.from_numpy, batch.aims))


def both(learner, buffers, gamma=0.9):
    """(samples, indices, batch, its targets) of the same random state."""
    state = learner.generator.get_state()
    samples, indices = learner.sample(buffers, gamma)
    after = learner.generator.get_state()
    learner.generator.set_state(state)
    batch, aims = drawn(learner, buffers, gamma)
    assert torch.equal(learner.generator.get_state(), after)
    return samples, indices, batch, aims


def assert_equal_where_it_counts(learner, samples, indices, batch, aims):
    network = learner.network
    rows_weight = learner._row_weights(samples)
    for sample, index, part in zip(samples, indices, batch.parts, strict=True):
        rows, actions = part.rows, sample.spec.num_actions
        assert part.spec is sample.spec
        assert torch.equal(torch.from_numpy(part.shown.index), index)
        assert (aims.game[rows] == network.games[sample.spec.name]).all()
        assert torch.equal(part.shown.observation(), sample.observation)
        alive, moved, known = sample.alive, sample.moved, sample.policy_known
        assert torch.equal(aims.alive[rows], alive)
        assert torch.equal(aims.moved[rows], moved)
        assert torch.equal(aims.policy_known[rows], known)
        assert torch.equal(aims.action[rows], sample.action)
        assert torch.equal(aims.policy[rows][..., :actions][known], sample.policy[known])
        assert torch.equal(aims.continues[rows][moved], sample.continues[moved])
        assert torch.equal(aims.next_mover[rows][moved], sample.next_mover[moved])
        assert torch.equal(aims.reward[rows][moved], sample.reward[..., 0][moved])
        torch.testing.assert_close(aims.value[rows][alive], sample.value[..., 0][alive], rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(aims.weight[rows], rows_weight[rows], rtol=1e-5, atol=0)


TWO = grid("two", 3, 3, 3, symmetries=None)
GAMES = {
    "board": [toy("tictactoe").spec],  # symmetries
    "vector": [vector("one", 6, 3)],
    "several": [toy("connect_four").spec, vector("one", 6, 3), toy("tictactoe").spec, TWO],
}


@pytest.mark.parametrize("games", GAMES)
@pytest.mark.parametrize("steps", [25, 93], ids=["half full", "gone round"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fresh_values": False},
        {"search_share": 0.3, "n_step": 1},
        {"stale_after": 9, "updates_per_step": 1.7, "n_step": 6},
        {"symmetries": False, "unroll": 1, "search_share": 0.5, "fresh_values": False},
    ],
    ids=["default", "stored", "share", "stale", "plain"],
)
def test_the_same_batch_as_in_torch(games, steps, changes):
    config = dataclasses.replace(CONFIG, **changes)
    specs = GAMES[games]
    buffers = {spec.name: arbitrary_buffer(spec, steps, config, 7 + i) for i, spec in enumerate(specs)}
    learner = learner_of(specs, config)
    seen = {"dead": False, "unknown": False, "over": False}
    for _ in range(3):
        samples, *others = both(learner, buffers)
        assert_equal_where_it_counts(learner, samples, *others)
        seen["dead"] |= any(bool((~s.alive).any()) for s in samples)
        seen["unknown"] |= any(bool((s.alive & ~s.policy_known).any()) for s in samples)
        seen["over"] |= any(bool((s.moved & ~s.continues).any()) for s in samples)
    assert all(seen.values()), seen


def test_positions_are_drawn_by_their_mass():
    """Against the expectation: of many draws each position has its share, and none without mass appears."""
    spec = toy("tictactoe").spec
    config = dataclasses.replace(CONFIG, batch=4096)
    buffer = arbitrary_buffer(spec, 93, config, 3)
    learner = learner_of([spec], config)
    seen = torch.zeros(LENGTH * COPIES)
    for _ in range(20):
        batch, aims = drawn(learner, {spec.name: buffer})
        index = torch.from_numpy(batch.parts[0].shown.index)
        seen += torch.bincount(index, minlength=len(seen))
    oldest = buffer.num_added % LENGTH
    slots = (oldest + torch.arange(buffer.num_ready)) % LENGTH
    mass = torch.zeros(LENGTH, COPIES)
    mass[slots] = buffer.mass[slots]
    share = (mass / mass.sum()).flatten()
    assert not seen[share == 0].any()
    expected = share * 20 * 4096
    assert ((seen - expected).abs() < 5 * expected.sqrt() + 1).all()
    # Importance weights undo the priorities in part: weight ~ share ** -0.5.
    ratio = aims.weight * share[index].sqrt()
    assert aims.weight.std() > 0.1 * aims.weight.mean()
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)


def test_an_empty_buffer_is_named():
    spec = toy("tictactoe").spec
    buffer = arbitrary_buffer(spec, 30, CONFIG, 3)
    buffer.mass.zero_()
    learner = learner_of([spec], CONFIG)
    with pytest.raises(ValueError, match="tictactoe: the replay buffer holds no step"):
        drawn(learner, {spec.name: buffer})
