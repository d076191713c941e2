"""The forward pass that the monitor asks often against the network's own modules, and what a moment keeps."""

import numpy as np
import pytest
import torch

from agents.learner import unroll
from agents.network import Heads, MultiGameNetwork, NetworkConfig
from envs.registry import make
from gurgeh.frozen_losses import heads_apart
from gurgeh.frozen_network import FrozenNetwork
from gurgeh.measure import activations, measure
from gurgeh.moment import Moment
from gurgeh.validation import build_frozen_set
from monitor.measures import Ablation

TINY = dict(width=16, hidden=32, channels=4, value_bins=21, value_limit=3.0, latent_grid=3)
NAMES = ["tictactoe", "CartPole-v1", "hex:9"]  # hex:9 has more actions than the core's block of keys


def network(names=NAMES, **changes) -> MultiGameNetwork:
    made = MultiGameNetwork(NetworkConfig(**TINY | changes), [make(name).spec for name in names])
    shake(made, 0)
    return made


def shake(made, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.fixture(scope="module")
def frozen():
    return {name: build_frozen_set(make(name), 40, 3, 0) for name in NAMES}


def both(asked, real, frozen, names):
    """(heads by `asked`, by the modules) of a mixed batch of all games, rows of the games in turn."""
    rows = [frozen[name] for name in names]
    game = torch.cat([torch.full((len(part),), real.games[part.game]) for part in rows])
    order = torch.randperm(len(game), generator=torch.Generator().manual_seed(1))
    action = torch.cat([part.action for part in rows])[order]
    with torch.no_grad():
        latent = torch.cat([asked.represent(part.game, part.observation) for part in rows])
        slow = torch.cat([real.represent(part.game, part.observation) for part in rows])
        torch.testing.assert_close(latent, slow, atol=1e-5, rtol=1e-5)
        latents = unroll(real, game[order], slow[order], action)
        said = [real.heads(each, game[order]) for each in latents]
        return asked.heads(game[order], latent[order], action), Heads(*map(torch.stack, zip(*said, strict=True)))


@pytest.mark.parametrize("changes", [{}, {"blocks": 2}, {"trunk": "resnet"}, {"shared_encoders": False}])
def test_it_says_what_the_modules_say(frozen, changes):
    real = network(**changes)
    asked = FrozenNetwork(real)
    for seed in (1, 2):
        for mine, theirs in zip(*both(asked, real, frozen, NAMES), strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
        shake(real, seed)  # the weights as they are now


def test_it_grows_with_the_network(frozen):
    real = network(NAMES[:1])
    asked = FrozenNetwork(real)
    both(asked, real, frozen, NAMES[:1])
    for name in NAMES[1:]:
        real.add_game(make(name).spec)
    for mine, theirs in zip(*both(asked, real, frozen, NAMES), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


def test_games_together_are_the_games_alone_and_a_moment_ends(frozen):
    real = network()
    told = measure(real, frozen)
    with told.moment():
        together = told.losses_together(NAMES, 32)
        for name in NAMES:
            alone = told.losses(name, 32)
            assert alone.keys() == together[name].keys()
            for head, loss in alone.items():
                torch.testing.assert_close(
                    torch.from_numpy(together[name][head]), torch.from_numpy(loss), equal_nan=True, atol=1e-4, rtol=1e-4
                )
    before = told.latents("tictactoe", 32)
    shake(real, 3)
    assert abs(told.latents("tictactoe", 32) - before).max() > 1e-3, "latents of weights that are no more"


def test_a_moment_keeps_until_it_is_left_and_no_longer():
    moment, calls = Moment(torch.nn.Linear(2, 2).train()), []
    state = torch.get_rng_state()
    with moment():
        assert not moment.network.training
        with moment():
            assert [moment.keep("a", lambda: calls.append(1) or len(calls)) for _ in range(3)] == [1, 1, 1]
            torch.rand(3)
        assert not moment.network.training
        assert moment.keep("a", lambda: 5) == 1
    assert moment.network.training
    assert torch.equal(torch.get_rng_state(), state)
    with moment():
        assert moment.keep("a", lambda: 5) == 5
    with pytest.raises(AssertionError, match="outside a moment"):
        moment.keep("a", lambda: 5)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("game", NAMES)
def test_ablated_heads_are_those_of_the_hooks(frozen, game, blocks):
    """Against `Ablation`, which the tests of the sharing reader hold to a network changed by hand."""
    real = network(blocks=blocks)
    rows, index = frozen[game], real.games[game]
    units = 32 * (blocks + 1)
    groups = [[0], [31], [32], [units - 1], [3, 5, units - 2], [units - 7, units - 9], [33, units - 3], [], [1]]
    layers = [*real.trunk.activations, real.activation]
    ablation, copies = Ablation(layers, [32] * len(layers)), 1 + len(groups)
    with torch.no_grad():
        latent = real.represent(game, rows.observation)
        with ablation.running(groups):
            slow = heads_apart(real, make(game).spec, rows.action.repeat(copies, 1), latent.repeat(copies, 1, 1))
    said, variance = FrozenNetwork(real).ablated(torch.full((len(rows),), index), latent, rows.action, groups)
    for mine, theirs in zip(said, slow, strict=True):
        torch.testing.assert_close(mine, theirs.unflatten(1, (copies, len(rows))), atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(variance.numpy(), ablation.variance, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(said.reward[1:, 1], said.reward[1:, 0])


def test_rows_without_targets_are_asked_for_what_they_are_judged_by(frozen):
    real = network()
    rows = [frozen["tictactoe"], frozen["CartPole-v1"]]
    game = torch.cat([torch.full((len(part),), real.games[part.game]) for part in rows])
    action = torch.cat([part.action for part in rows])
    with torch.no_grad():
        latent = torch.cat([real.represent(part.game, part.observation) for part in rows])
    asked = FrozenNetwork(real)
    whole = Heads(*(part.clone() for part in asked.heads(game, latent, action)))
    for judged in (len(rows[0]), 0):
        first, rest = asked.heads_in_two(game, latent, action, judged)
        for mine, theirs in zip(first, whole, strict=True):
            torch.testing.assert_close(mine, theirs[:, :judged])
        for name in ("reward", "continuation", "next_mover"):
            mine, theirs = getattr(rest, name)[1:], getattr(whole, name)[1:, judged:]
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("move", [True, False])
@pytest.mark.parametrize("blocks", [1, 2])
def test_activity_is_that_of_the_layers(frozen, blocks, move):
    real, rows = network(blocks=blocks), frozen["tictactoe"]
    slow = activations(real, "tictactoe", rows, move)
    with torch.no_grad():
        latent = real.represent("tictactoe", rows.observation)
    index = torch.zeros(len(rows), dtype=torch.int64)
    found = FrozenNetwork(real).activity(index, latent, rows.action[:, 0] if move else None)
    assert list(found) == list(slow)
    for name, activity in slow.items():
        np.testing.assert_allclose(found[name], activity, atol=1e-5)
    assert FrozenNetwork(network(trunk="resnet")).activity(index, latent, None) is None
