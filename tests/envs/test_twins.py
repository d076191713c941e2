"""Isomorphic twins are their original exactly; scrambled twins look like it and share nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from agents.network import MultiGameNetwork, NetworkConfig
from envs import registry
from envs.boards.scrambled import Draws, play_at_random
from envs.chance import uniform
from envs.solver import solve


def rules_of(name):
    return registry.make(name).native


@pytest.mark.parametrize(
    "original",
    ["tictactoe", "hex:3", "mnk:5x4x3:gravity:misere:wrap:two:blocked=2@3", "go:5", "2048", "catch:5x5", "pig:3"],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_a_twin_plays_its_original_under_other_names(original, seed):
    one, other = rules_of(original), rules_of(f"twin:{seed}:{original}")
    relabel, planes = other.relabel, other.planes
    assert sorted(relabel.tolist()) == list(range(one.spec.num_actions)) != relabel.tolist()
    assert len(planes) == one.spec.observation.shape[0]
    if len(planes) > 1:
        assert sorted(planes.tolist()) == list(range(len(planes))) != planes.tolist()
    seeds = torch.arange(40)
    state, twin = one.initial(seeds), other.initial(seeds)
    for move in range(60):
        assert torch.equal(one.observe(state)[:, planes], other.observe(twin))
        assert torch.equal(one.legal(state), other.legal(twin)[:, relabel])
        assert torch.equal(one.to_play(state), other.to_play(twin))
        noise = uniform(torch.arange(one.legal(state).numel()) + 99999 * move).view(one.legal(state).shape)
        action = torch.where(one.legal(state), noise, -1.0).argmax(1)
        left, right = one.play(state, action), other.play(twin, relabel[action])
        assert torch.equal(left.reward, right.reward)
        assert torch.equal(left.terminated, right.terminated)
        going = ~left.terminated
        state, twin = (type(at)(*(part[going] for part in at)) for at in (left.state, right.state))
        if not len(state[0]):
            break


def test_a_twin_is_solved_and_its_symmetries_hold():
    one, other = solve(rules_of("hex:3")), solve(rules_of("twin:5:hex:3"))
    twin = rules_of("twin:5:hex:3")
    place = other.find(one.observation[:, twin.planes])
    assert (place >= 0).all()
    assert torch.equal(one.value, other.value[place])
    assert torch.equal(one.optimal, other.optimal[place][:, twin.relabel])
    square = rules_of("twin:5:tictactoe").spec.symmetries
    assert len(square.actions) == 8
    assert square.actions[0] == tuple(range(9))


def test_what_the_spec_of_a_twin_says():
    original, twin, scrambled = (registry.make(name).spec for name in ("hex:3", "twin:1:hex:3", "scrambled:1:hex:3"))
    assert (twin.twin_of, twin.scrambles, twin.family) == ("hex:3", None, original.family)
    assert (scrambled.twin_of, scrambled.scrambles, scrambled.family) == (None, "hex:3", "scrambled")
    assert scrambled.observation == twin.observation == original.observation
    assert (twin.board_planes, scrambled.board_planes) == (False, True)  # a twin's planes change places
    assert twin.action_keys is None is scrambled.action_keys
    assert scrambled.symmetries is None


@pytest.mark.parametrize("original", ["connect_four", "2048", "hex:3", "twin:1:tictactoe"])
def test_a_placebo_is_the_game_itself_under_another_name(original):
    one, other = rules_of(original), rules_of(f"placebo:{original}")
    assert other.spec == dataclasses.replace(
        one.spec, name=f"placebo:{original}", action_keys=one.spec.keys(), twin_of=one.spec.twin_of or original
    )
    assert registry.make(original).spec.name == original, "the original's own spec stays"
    state = same = one.initial(torch.arange(30))
    for move in range(40):
        assert torch.equal(one.observe(state), other.observe(same))
        assert torch.equal(one.legal(state), other.legal(same))
        assert torch.equal(one.to_play(state), other.to_play(same))
        noise = uniform(torch.arange(one.legal(state).numel()) + 99999 * move).view(one.legal(state).shape)
        action = torch.where(one.legal(state), noise, -1.0).argmax(1)
        left, right = one.play(state, action), other.play(same, action)
        assert torch.equal(left.reward, right.reward)
        assert torch.equal(left.terminated, right.terminated)
        going = ~left.terminated
        state, same = (type(at)(*(part[going] for part in at)) for at in (left.state, right.state))
        if not len(state[0]):
            break


def test_a_network_sees_a_placebo_as_the_original_but_for_its_embedding():
    names = ("tictactoe", "placebo:tictactoe", "twin:1:tictactoe")
    network = MultiGameNetwork(NetworkConfig(width=16, hidden=24, channels=4), [registry.make(n).spec for n in names])
    rules = rules_of("tictactoe")
    state = rules.play(rules.initial(torch.arange(3)), torch.tensor([0, 1, 4])).state
    shown = rules.observe(rules.play(state, torch.tensor([2, 2, 2])).state)
    latent = network.represent(names[0], shown)
    assert torch.equal(latent, network.represent(names[1], shown))
    assert not torch.equal(latent, network.represent(names[2], shown))
    move = torch.tensor([0, 4, 8])
    told = [network.condition(torch.full((3,), number), move) for number in (0, 1)]
    own = [network.game_embedding[number] for number in (0, 1)]
    torch.testing.assert_close(told[0] - own[0], told[1] - own[1])
    assert not torch.equal(told[0], told[1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("placebo:", "the game is missing; write placebo:GAME"),
        ("placebo:CartPole-v1", "CartPole-v1 is a wrapped environment; only games with native rules have placebos"),
        ("placebo:errand", "errand has commands that vary"),
        ("twin", "the seed is missing; write twin:SEED:GAME"),
        ("twin:hex:3", "the seed 'hex' is no whole number"),
        ("scrambled:1", "the game is missing; write scrambled:SEED:GAME"),
        ("twin:1:hexx", "unknown game 'hexx'"),
        ("twin:1:CartPole-v1", "CartPole-v1 is a wrapped environment; only games with native rules have twins"),
        ("scrambled:1:CartPole-v1", "only games with native rules have twins"),
    ],
)
def test_bad_names_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)


@pytest.mark.parametrize("name", ["tictactoe", "hex:3"])
def test_the_solver_finds_the_planted_values_and_every_layer_has_mistakes(name):
    rules = rules_of(f"scrambled:3:{name}")
    solution, tables = solve(rules), rules.tables()
    row = solution.state.row
    seat0 = solution.value * (1 - 2 * solution.to_play)
    assert torch.equal(seat0, tables.value[row])
    assert len(seat0.unique()) == (3 if name == "tictactoe" else 2)
    mistakes = (solution.legal & ~solution.optimal).any(1)
    layer = tables.layer[row]
    for number in range(1, tables.num_layers):
        share = float(mistakes[layer == number].double().mean())
        assert 0.1 < share < 1.0, (number, share)


def random_play(rules, num_games):
    """(observations [N, ...], moves left [N], legal moves [N]) of the positions of random games."""
    sample = play_at_random(rules, Draws(12345))
    live = torch.arange(len(sample.legal))[:, None] < sample.length
    left = (sample.length - torch.arange(len(sample.legal))[:, None])[live]
    return sample.observation[:-1][live], left, sample.legal.sum(2)[live]


@pytest.fixture(scope="module")
def pair():
    """Random play of an original and of its scrambled twin."""
    original, scrambled = rules_of("tictactoe"), rules_of("scrambled:3:tictactoe")
    return original, scrambled, random_play(original, 1000), random_play(scrambled, 1000)


def test_a_scrambled_game_looks_like_its_original(pair):
    original, _, (seen, _, legal), (shown, _, masks) = pair
    assert (solve(original).find(shown) >= 0).all()  # every board is one of the original's
    stones, others = (part.flatten(2).sum((1, 2)).bincount(minlength=10).double() for part in (seen, shown))
    assert float((stones / stones.sum() - others / others.sum()).abs().sum()) / 2 < 0.15  # total variation
    assert float((seen.double().mean(0) - shown.double().mean(0)).abs().max()) < 0.1  # how often each cell is taken
    counts, given = (part.bincount(minlength=10).double() for part in (legal, masks))
    assert float((counts / counts.sum() - given / given.sum()).abs().sum()) / 2 < 0.15


def squared_correlation(one, other):
    return float(np.corrcoef(one.double().numpy(), other.double().numpy())[0, 1]) ** 2


def test_a_scrambled_game_shares_nothing_with_its_original(pair):
    original, scrambled, (seen, left, legal), (shown, follow, _) = pair
    stones, others = seen.flatten(1).sum(1), shown.flatten(1).sum(1)
    late, later = stones > 0, others > 0  # the first position comes first in both
    assert squared_correlation(stones[late], left[late]) > 0.5  # a fuller board is nearer to the end ...
    assert squared_correlation(others[later], follow[later]) < 0.05  # ... here not
    assert squared_correlation(stones, legal) > 0.99
    solution, twin = solve(original), solve(scrambled)
    assert squared_correlation(twin.observation.flatten(1).sum(1), twin.legal.sum(1)) < 0.02
    place = solution.find(twin.observation)
    many = solution.ply[place] > 1
    assert squared_correlation(solution.value[place][many], twin.value[many]) < 0.02
    # The move is no placement: what was there is there afterwards in the original, and by chance in the other.
    for rules, kept in ((original, True), (scrambled, False)):
        tables = solve(rules)
        some = tables.sample(400, seed=1)
        action = some.legal.int().argmax(1)
        after = rules.play(some.state, action)
        before, now = some.observation.flatten(1).sum(1), rules.observe(after.state).flatten(1).sum(1)
        assert bool((now == before + 1).all()) == kept
        taken, still = (
            rules_seen.any(1).flatten(1) for rules_seen in (some.observation.bool(), rules.observe(after.state).bool())
        )
        share = float((taken & still).sum() / taken.sum())
        assert share == 1.0 if kept else share < 0.75


def test_scrambled_games_differ_by_seed_and_are_the_same_for_ever():
    one, again, other = (rules_of(f"scrambled:{seed}:hex:3").tables() for seed in (1, 1, 2))
    assert torch.equal(one.target, again.target)
    assert one.target.shape != other.target.shape or not torch.equal(one.target, other.target)


def test_rewards_of_games_that_pay_on_the_way_are_the_originals():
    rules, original = rules_of("scrambled:1:2048:64"), rules_of("2048:64")
    assert not rules.spec.stochastic
    paid = play_at_random(rules, Draws(1), 200).reward
    real = play_at_random(original, Draws(2), 200).reward
    assert set(paid.unique().tolist()) <= {float(made) for made in range(0, 200, 4)}
    assert 0.6 < float(paid.sum() / real.sum()) < 1.6
