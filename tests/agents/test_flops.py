"""FLOPs against counts by hand."""

import pytest

from agents.flops import num_parameters, position_flops, update_flops
from agents.learner import LearnerConfig
from agents.network import MultiGameNetwork, NetworkConfig
from envs import registry


def network(trunk="mlp", **more):
    config = NetworkConfig(trunk=trunk, width=16, hidden=32, channels=4, value_bins=21, **more)
    return MultiGameNetwork(config, [registry.make("tictactoe").spec])


CORE = 64 + 2 * 21 + 1 + 2  # rows: actions, value and reward, continuation, mover


def test_the_mlp_by_hand():
    found = position_flops(network(), registry.make("tictactoe").spec)
    # A 3x3 convolution of 2 planes to 4 channels on 9 cells, then 9 * 4 numbers to a token of 16.
    assert found.represent == 2 * (9 * 2 * 9 * 4 + 9 * 4 * 16)
    assert found.transition == 2 * (16 * 32 + 32 * 16)
    assert found.heads == 2 * (16 * 32 + 32 * CORE)
    assert found.unrolled(2) == found.represent + 2 * found.transition + 3 * found.heads


def test_the_resnet_by_hand():
    found = position_flops(network("resnet", latent_grid=3, blocks=2), registry.make("tictactoe").spec)
    assert found.represent == 2 * (9 * 2 * 9 * 4 + 9 * 4 * 16)  # the lift is a convolution of one cell
    assert found.transition == 2 * 2 * 2 * (9 * 16 * 9 * 16)
    assert found.heads == 2 * (9 * 16 * 32 + 32 * CORE)


def test_an_update_is_three_times_its_batches():
    both = MultiGameNetwork(
        NetworkConfig(width=16, hidden=32, channels=4, value_bins=21),
        [registry.make(name).spec for name in ("tictactoe", "mnk:4x4x3")],
    )
    each = [position_flops(both, spec).unrolled(3) for spec in both.specs]
    assert update_flops(both, LearnerConfig(batch=10, unroll=3)) == 3 * 10 * sum(each)


@pytest.mark.parametrize("name", ["CartPole-v1", "cottage", "errand"])
def test_other_kinds_of_observation_are_counted(name):
    spec = registry.make(name).spec
    alone = MultiGameNetwork(NetworkConfig(width=16, hidden=32, value_bins=21), [spec])
    if name == "CartPole-v1":
        assert position_flops(alone, spec).represent == 2 * (4 * 32 + 32 * 16)
    assert position_flops(alone, spec).represent > 0


def test_parameters():
    net = network()
    assert num_parameters(net) == (4 * 2 * 9 + 4) + (9 * 4 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + (16 * 32 + 32) + (
        CORE * 32 + CORE
    ) + 64 * 32 + 32  # fmt: skip
