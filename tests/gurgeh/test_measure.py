"""What the monitor is told: losses of networks made by hand, the same for every size, and no trace left behind."""

import copy
import dataclasses
import random

import numpy as np
import pytest
import torch

from agents.network import Heads, MultiGameNetwork, NetworkConfig
from envs.registry import make
from gurgeh.frozen_losses import frozen_losses, heads_apart, unrolled_heads
from gurgeh.measure import measure
from gurgeh.validation import build_frozen_set

TINY = dict(width=16, hidden=32, channels=4, value_bins=21, value_limit=3.0)
NAMES = ["tictactoe", "CartPole-v1"]


def network(trunk="mlp") -> MultiGameNetwork:
    made = MultiGameNetwork(NetworkConfig(trunk=trunk, latent_grid=3, **TINY), [make(name).spec for name in NAMES])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made


@pytest.fixture(scope="module")
def frozen():
    return {name: build_frozen_set(make(name), 200, 3, 0) for name in NAMES}


def saying(say) -> MultiGameNetwork:
    """A network whose heads say what the test wants said of positions k = 0, 1, 2, 3, which come in order."""
    made = network()

    def heads(latent, game):
        parts = [say(k, len(latent) // 4) for k in range(4)]
        return Heads(*(torch.cat(part) for part in zip(*parts, strict=True)))

    made.heads = heads
    return made


def flat(said, count, actions=9):
    """Heads that know nothing: uniform everywhere."""
    bins = len(said)
    zeros = torch.zeros
    return Heads(zeros(count, actions), zeros(count, 1, bins), zeros(count, 1, bins), zeros(count), zeros(count, 2))


def test_a_uniform_policy_costs_the_log_of_legal_over_optimal_moves(frozen):
    real = network()
    rows = frozen["tictactoe"]
    losses = frozen_losses(saying(lambda k, n: flat(real.bins, n)), make("tictactoe").spec, rows)
    for row in range(len(rows)):
        for k in range(4):
            found = losses[f"policy@{k}"][row]
            if not rows.exists[row, k]:
                assert np.isnan(found)
                continue
            choices = int(rows.legal[row].sum()) if k == 0 else 9
            assert found == pytest.approx(np.log(choices / int(rows.policy_mask[row, k].sum())), abs=1e-5)
            if k:
                moved = bool(rows.valid[row, k - 1])
                assert np.isnan(losses[f"continuation@{k}"][row]) == (not moved)
                assert not moved or losses[f"continuation@{k}"][row] == pytest.approx(np.log(2))
                assert losses[f"next_mover@{k}"][row] == pytest.approx(np.log(2))


def test_a_perfect_network_loses_nothing(frozen):
    real, spec = network(), make("tictactoe").spec
    rows = frozen["tictactoe"]

    def perfect(k, count):
        def scalar(seats, mover):
            value = seats.gather(1, mover[:, None])
            low = torch.searchsorted(real.bins, value, right=True) - 1
            low = low.clamp(0, len(real.bins) - 2)
            share = (value - real.bins[low]) / (real.bins[low + 1] - real.bins[low])
            weights = torch.zeros(count, len(real.bins)).scatter(1, low, 1 - share).scatter(1, low + 1, share)
            return torch.log(weights + 1e-9)[:, None]

        at = max(k - 1, 0)
        goes_on = torch.where(rows.continues[:, at], 30.0, -30.0)
        distance = (rows.to_play[:, k] - rows.to_play[:, at]) % 2
        return Heads(
            torch.where(rows.policy_mask[:, k], 30.0, -30.0),
            scalar(rows.value[:, k], rows.to_play[:, k]),
            scalar(rows.reward[:, at], rows.to_play[:, at]),
            goes_on,
            torch.nn.functional.one_hot(distance, 2) * 60.0,
        )

    losses = frozen_losses(saying(perfect), spec, rows)
    assert set(losses) == {
        *(f"{head}@{k}" for head in ("policy", "value") for k in range(4)),
        *(f"{head}@{k}" for head in ("reward", "continuation", "next_mover") for k in range(1, 4)),
    }
    for name, loss in losses.items():
        assert np.nanmax(np.abs(loss)) < 1e-4, name
        assert np.isnan(loss).sum() < len(loss)


def test_value_and_reward_losses_are_divergences_in_the_games_unit(frozen):
    """A head that is sure of the wrong number pays the log of what it gave the right bins, less their own entropy."""
    real, rows = network(), frozen["tictactoe"]
    zero_bin = len(real.bins) // 2
    sure = torch.zeros(len(real.bins))
    sure[zero_bin] = 9.0

    def says_zero(k, count):
        heads = flat(real.bins, count)
        return heads._replace(value=sure.expand(count, 1, -1), reward=sure.expand(count, 1, -1))

    losses = frozen_losses(saying(says_zero), make("tictactoe").spec, rows)
    log = torch.log_softmax(sure.double(), 0)
    step = real.bins.double()
    for row in range(len(rows)):
        value = float(rows.value[row, 0, rows.to_play[row, 0]])
        high = int(torch.searchsorted(real.bins, torch.tensor(value)))
        share = (value - step[high - 1]) / (step[high] - step[high - 1])
        cross = -(share * log[high] + (1 - share) * log[high - 1])
        entropy = -sum(float(p) * np.log(float(p)) for p in (share, 1 - share) if float(p) > 0)
        assert losses["value@0"][row] == pytest.approx(float(cross) - entropy, abs=1e-4)


def test_games_without_a_solver_have_no_policy_or_value_losses(frozen):
    losses = measure(network(), frozen).losses("CartPole-v1", 64)
    assert not any(name.startswith(("policy", "value", "next_mover")) for name in losses)
    assert {name.partition("@")[0] for name in losses} == {"reward", "continuation"}


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@pytest.mark.parametrize("game", NAMES)
def test_a_positions_numbers_do_not_depend_on_how_many_are_asked_for(frozen, game, trunk, monkeypatch):
    monkeypatch.setattr("gurgeh.measure.CHUNK", 96)  # several calls
    told = measure(network(trunk), frozen)
    whole = told.losses(game, 10_000)
    size = len(frozen[game])
    for count in (64, 128, 37):
        part = told.losses(game, count)
        again = told.losses(game, count)  # with targets that are kept
        for name, loss in part.items():
            assert loss.shape == (count,)
            assert np.allclose(loss, whole[name][:count], atol=1e-5, equal_nan=True), name
            assert np.array_equal(loss, again[name], equal_nan=True), name
        assert np.allclose(told.latents(game, count), told.latents(game, size)[:count], atol=1e-5)
        for name, activity in told.activations(game, count).items():
            assert np.allclose(activity, told.activations(game, size)[name][:count], atol=1e-5), name
    assert told.phase(game, 50).tolist() == frozen[game].phase[:50].tolist()


def test_real_losses_equal_the_slow_way(frozen):
    """Through the real network, one position at a time."""
    real, rows, spec = network(), frozen["tictactoe"], make("tictactoe").spec
    losses = measure(real, frozen).losses("tictactoe", 40)
    with torch.no_grad():
        for row in range(40):
            latent = real.represent("tictactoe", rows.observation[row : row + 1])
            for k in range(4):
                heads = real.heads(latent, torch.tensor([0]))
                if rows.exists[row, k]:
                    logits = heads.policy[0, :9].masked_fill(~rows.legal[row], -1e9) if k == 0 else heads.policy[0, :9]
                    mass = torch.softmax(logits, 0)[rows.policy_mask[row, k]].sum()
                    assert losses[f"policy@{k}"][row] == pytest.approx(-float(mass.log()), abs=1e-4)
                if k < 3:
                    latent = real.transition(latent, torch.tensor([0]), rows.action[row : row + 1, k])
    assert real.specs[0] == spec


def test_measuring_leaves_no_trace(frozen):
    real = network()
    real.train()
    real.trunk.eval()  # an odd mixture, which must come back
    weights = copy.deepcopy(real.state_dict())
    modes = [module.training for module in real.modules()]
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    hashes = {name: dataclasses.replace(each, hash="").hash for name, each in frozen.items()}
    told = measure(real, frozen)
    for game in NAMES:
        told.losses(game, 100)
        told.latents(game, 100)
        told.activations(game, 100)
        told.phase(game, 100)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert all(torch.equal(value, weights[name]) for name, value in real.state_dict().items())
    assert [module.training for module in real.modules()] == modes
    assert all(parameter.grad is None for parameter in real.parameters())
    assert not any(module._forward_hooks for module in real.modules())
    assert {name: dataclasses.replace(each, hash="").hash for name, each in frozen.items()} == hashes


def test_activations_are_those_of_the_layers_that_games_share(frozen):
    real = network()
    found = measure(real, frozen).activations("tictactoe", 70)
    relus = [name for name, module in real.named_modules() if isinstance(module, torch.nn.ReLU)]
    assert set(found) == set(relus)
    for name, activity in found.items():
        assert activity.shape == (70, 32), name
        assert activity.min() >= 0
        assert activity.max() > 0


def test_heads_of_one_pass_and_of_one_pass_for_each_step_are_the_same(frozen):
    real, rows = network(), frozen["tictactoe"]
    spec = make("tictactoe").spec
    latent = real.represent("tictactoe", rows.observation)
    for one, other in zip(
        unrolled_heads(real, spec, rows.action, latent), heads_apart(real, spec, rows.action, latent), strict=True
    ):
        assert one.shape[:2] == (4, len(rows))
        assert torch.allclose(one, other, atol=1e-5)
