"""The written-out gradients against autograd's."""

import dataclasses

import pytest
import torch

from agents.acting import SearchConfig, ValueScales
from agents.fused import can_fuse
from agents.learner import Learner, LearnerConfig, Losses
from agents.network import MultiGameNetwork, NetworkConfig
from agents.replay import ReplayBuffer, ReplayConfig
from agents.selfplay import Collector, SelfPlayConfig, collect_step
from envs import registry

SMALL = LearnerConfig(batch=24, unroll=3, n_step=4, start_steps=1)


def learner_of(names, network=None, config=SMALL, updates=12):
    """A learner that has made some updates, and its buffers."""
    network = network or NetworkConfig(width=16, hidden=24, channels=4)
    handles = [registry.make(name) for name in names]
    nets = [MultiGameNetwork(network, seed=3) for _ in range(2)]
    learner = Learner(nets[0], nets[1].requires_grad_(False), config, 3)
    collectors, buffers = {}, {}
    for handle in handles:
        learner.add_game(handle.spec)
        nets[1].requires_grad_(False)
        play = SelfPlayConfig(copies=8)
        collectors[handle.spec.name] = Collector(handle.spec, handle.environment(8, 0), play, 3)
        buffers[handle.spec.name] = ReplayBuffer(handle.spec, 8, ReplayConfig(), config.window)
    for _ in range(30):
        collect_step(nets[1], collectors, buffers, ValueScales(), SearchConfig(simulations=2))
    for _ in range(updates):
        learner.update(buffers, 0.99, 100)
    return learner, buffers


def gradients(learner, buffers, state, fused):
    """Losses, total and gradients of the batch that the random state draws."""
    learner.generator.set_state(state)
    learner.optimizer.zero_grad(set_to_none=True)
    if fused:
        update = learner.fused(buffers)
        batch = update.draw(list(buffers.values()), 0.99, learner.generator)
        answer = update.backward(batch, [buffer.copies for buffer in buffers.values()])
        heads = [torch.from_numpy(part) for part in answer.losses]
        losses = Losses(*heads[:2], *(part[1:] for part in heads[2:]), None, torch.from_numpy(answer.value_error))
        total = answer.total
    else:
        losses, total = learner._backward(learner.sample(buffers, 0.99)[0])
    return losses, total, {name: weight.grad for name, weight in learner._named_parameters().items()}


@pytest.mark.parametrize(
    ("games", "network"),
    [
        (["tictactoe"], NetworkConfig(width=16, hidden=24, channels=4)),
        (["tictactoe", "CartPole-v1", "connect_four"], NetworkConfig(width=16, hidden=24, channels=4, blocks=2)),
        (["connect_four", "hex:9"], NetworkConfig(width=16, hidden=24, channels=4)),  # 81 actions: two policy blocks
    ],
)
@pytest.mark.parametrize("consistency", [0.0, 0.7])
def test_same_losses_and_gradients_as_autograd(games, network, consistency):
    learner, buffers = learner_of(games, network, dataclasses.replace(SMALL, consistency_loss=consistency))
    assert can_fuse(learner.network)
    state = learner.generator.get_state()
    expected, total, wanted = gradients(learner, buffers, state, fused=False)
    found, fused_total, got = gradients(learner, buffers, state, fused=True)
    assert fused_total == pytest.approx(total, rel=1e-5)
    for name in set(expected._fields) - {"consistency"}:  # which the total and the gradients show
        one, other = getattr(expected, name), getattr(found, name)
        torch.testing.assert_close(other, one.detach(), rtol=1e-4, atol=3e-5)
    assert any(name.startswith("predictor") for name in wanted) == (consistency > 0)
    assert any(weight is not None and weight.abs().max() > 1e-3 for weight in wanted.values())
    for name, weight in wanted.items():
        assert (weight is None) == (got[name] is None), name
        if weight is not None:
            torch.testing.assert_close(got[name], weight, rtol=2e-4, atol=1e-6, msg=name)


def test_actions_that_share_a_key_share_its_gradient():
    """A plug-in whose game was never checked can have two moves that the network cannot tell apart."""
    learner, buffers = learner_of(["tictactoe"])
    table = learner.network.tables.action_row
    table[0, 4] = table[0, 2]
    state = learner.generator.get_state()
    _, total, wanted = gradients(learner, buffers, state, fused=False)
    _, fused_total, got = gradients(learner, buffers, state, fused=True)
    assert fused_total == pytest.approx(total, rel=1e-5)
    for name, weight in wanted.items():
        torch.testing.assert_close(got[name], weight, rtol=2e-4, atol=1e-6, msg=name)


def test_what_is_not_fused():
    learner, _ = learner_of(["tictactoe"], NetworkConfig(trunk="resnet", width=8, hidden=8, latent_grid=3), updates=1)
    assert not can_fuse(learner.network)


def test_nan_is_seen():
    learner, buffers = learner_of(["tictactoe"])
    with torch.no_grad():
        learner.network.trunk.inward[0].bias[0] = float("nan")
    _, total, got = gradients(learner, buffers, learner.generator.get_state(), fused=True)
    assert total != total
    assert not all(bool(weight.isfinite().all()) for weight in got.values() if weight is not None)


def test_a_whole_update_is_that_of_the_torch_path():
    """Weights, averages, moments, priorities and the report after one update each way, from the same state."""
    (one, first), (other, second) = (learner_of(["tictactoe", "CartPole-v1"]) for _ in range(2))
    other._can_fuse = lambda buffers: False
    for _ in range(2):
        found, wanted = one.update(first, 0.99, 100), other.update(second, 0.99, 100)
        for game, losses in wanted.items():
            assert found[game] == pytest.approx(losses, rel=2e-3, abs=1e-5), game
        assert one.value_errors == pytest.approx(other.value_errors, rel=2e-3)
        for name in first:
            torch.testing.assert_close(first[name].mass, second[name].mass, rtol=2e-3, atol=1e-4)
    mine, theirs = one.state_dict(), other.state_dict()
    for part in ("network", "averaged"):
        for name, weight in theirs[part].items():
            torch.testing.assert_close(mine[part][name], weight, rtol=1e-3, atol=5e-5, msg=name)
    assert mine["optimizer"].keys() == theirs["optimizer"].keys()
    for name, moments in theirs["optimizer"].items():
        assert int(mine["optimizer"][name]["step"]) == int(moments["step"]) == 14
        torch.testing.assert_close(
            mine["optimizer"][name]["exp_avg"], moments["exp_avg"], rtol=5e-3, atol=1e-5, msg=name
        )
