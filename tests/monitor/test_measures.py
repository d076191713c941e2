"""Measuring changes nothing: weights, buffers, modes, gradients and all global random states, to the bit."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from monitor.measures import collect_activations, undisturbed, unit_activity


@pytest.fixture
def network():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4), nn.ReLU()
    )
    module.train()
    module[1].eval()  # one part is frozen on purpose
    return module


def everything(module):
    """A copy of all that must not change."""
    return (
        copy.deepcopy(module.state_dict()), [inner.training for inner in module.modules()],
        [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        [p.requires_grad for p in module.parameters()],
        random.getstate(), np.random.get_state(), torch.get_rng_state(), torch.is_grad_enabled(),
        [len(inner._forward_hooks) for inner in module.modules()],
    )  # fmt: skip


def assert_same(before, after):
    for name, value in before[0].items():
        assert torch.equal(value, after[0][name]), name
    assert before[1] == after[1]
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(before[2], after[2], strict=True))
    assert before[3:5] == after[3:5]
    assert all(np.array_equal(a, b) for a, b in zip(before[5], after[5], strict=True))
    assert torch.equal(before[6], after[6])
    assert before[7:] == after[7:]


def test_undisturbed_puts_modes_and_random_states_back(network):
    network(torch.randn(5, 6)).sum().backward()
    before = everything(network)
    with undisturbed(network):
        assert not any(inner.training for inner in network.modules())
        for inner in network.modules():
            if isinstance(inner, nn.Dropout):
                inner.train()
        random.random(), np.random.rand(), torch.rand(3)
        assert not network(torch.randn(8, 6)).requires_grad
    assert_same(before, everything(network))


def test_undisturbed_puts_them_back_after_an_error(network):
    def fail():
        with undisturbed(network):
            torch.rand(3)
            raise RuntimeError("measured")

    before = everything(network)
    with pytest.raises(RuntimeError, match="measured"):
        fail()
    assert_same(before, everything(network))


def test_collecting_activations_changes_nothing(network):
    before = everything(network)
    collect_activations(network, lambda: network(torch.randn(8, 6)))
    assert_same(before, everything(network))


def test_collected_activations_are_the_layers_outputs(network):
    rows = torch.randn(8, 6)
    found = collect_activations(network, lambda: network(rows))
    network.eval()
    hidden = network[2](network[1](network[0](rows)))
    assert set(found) == {"2", "5"}
    np.testing.assert_array_equal(found["2"], hidden.detach().numpy())
    twice = collect_activations(network, lambda: [network(rows), network(rows[:3])])
    assert twice["2"].shape == (11, 16)


def test_training_goes_the_same_way_with_measuring(network):
    def train(measured):
        torch.manual_seed(1)
        module = copy.deepcopy(network)
        optimiser = torch.optim.AdamW(module.parameters())
        for _ in range(5):
            optimiser.zero_grad()
            module(torch.randn(8, 6)).square().mean().backward()
            if measured:
                with undisturbed(module):
                    torch.randn(7), np.random.rand()
                collect_activations(module, lambda: module(torch.randn(8, 6)))
            optimiser.step()
        return module.state_dict()

    plain, watched = train(False), train(True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_a_unit_is_a_column_a_feature_or_a_channel():
    rng = torch.Generator().manual_seed(0)
    flat, tokens, planes = (torch.randn(shape, generator=rng) for shape in ((5, 3), (5, 4, 3), (5, 3, 2, 2)))
    np.testing.assert_array_equal(unit_activity(flat), flat.abs().numpy())
    np.testing.assert_allclose(unit_activity(tokens)[2, 1], tokens[2, :, 1].abs().mean(), rtol=1e-6)
    np.testing.assert_allclose(unit_activity(planes)[2, 1], planes[2, 1].abs().mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="must be"):
        unit_activity(torch.zeros(3))
