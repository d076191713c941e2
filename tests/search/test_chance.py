"""Chance nodes by arithmetic, on every engine that has them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from engines import ENGINES, HAVE_CHANCE
from models import random_model

import search
from search import GumbelConfig, NodeRange, PUCTConfig, Root, Step, TreeRange

RUNS = {
    "gumbel": (search.gumbel_muzero, GumbelConfig(gumbel_scale=0.0)),
    "puct": (search.muzero, PUCTConfig(dirichlet_fraction=0.0, temperature=0.0)),
}


@pytest.fixture(params=HAVE_CHANCE)
def engine(request):
    return ENGINES[request.param]


@pytest.fixture(params=RUNS)
def policy(request):
    return RUNS[request.param]


def lottery(probabilities, prizes, num_simulations, policy, engine, exists=None):
    """One action, behind it one chance node of value 0.25; each outcome pays its prize and ends the game. Returns the
    outcomes in the order in which they were first visited, their visits, and the mean value of the chance node."""
    run, config = policy
    logits = torch.log(torch.tensor([probabilities]))
    num_outcomes = len(probabilities)
    is_action = torch.arange(num_outcomes)[None] == 0

    def step(embedding, action):
        chance = embedding[:, 0] == 0
        reward = torch.where(chance, 0.0, torch.tensor(prizes)[action])
        return Step(
            embedding + 1,
            reward[:, None],
            chance.float(),
            logits.expand(len(action), -1),
            torch.full((len(action), 1), 0.25),
            torch.zeros_like(action),
            None if exists is None else torch.tensor([exists]),
            chance,
        )

    zeros = torch.zeros(1, dtype=torch.int64)
    root = Root(torch.zeros(1, num_outcomes), torch.zeros(1, 1), torch.zeros(1, 1), is_action, zeros, zeros)
    tree = run(root, step, num_simulations, config, engine=engine).tree
    behind = tree.child[0, 1]  # node 1 is the chance node: the only action was tried first
    first = sorted((int(node), outcome) for outcome, node in enumerate(behind) if node >= 0)
    visits = [int(tree.visits[0, node]) if node >= 0 else 0 for node in behind]
    return [outcome for _, outcome in first], visits, tree.value[0, 1, 0].item()


@pytest.mark.parametrize(
    ("num_visits", "expected"),
    # p / (1 + n) on paper: 0 (.5), 1 (.3 > .25), 0 (.25 > .2), 2 (.2 > .167), 0 (.167), 1 (.15 > .125), 0 (.125).
    [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [2, 1, 0]), (4, [2, 1, 1]), (5, [3, 1, 1]), (6, [3, 2, 1]), (7, [4, 2, 1])],
)
def test_outcomes_by_hand(policy, engine, num_visits, expected):
    prizes = [-3.0, 2.0, 50.0]  # what an outcome is worth chooses nothing
    first, visits, value = lottery([0.5, 0.3, 0.2], prizes, 1 + num_visits, policy, engine)
    assert visits == expected
    assert first == [0, 1, 2][: len(first)]
    paid = sum(n * prize for n, prize in zip(expected, prizes))
    assert value == pytest.approx((0.25 + paid) / (1 + num_visits), abs=1e-5)


def test_equal_outcomes_are_tried_from_the_lowest_index(policy, engine):
    first, visits, _ = lottery([0.25] * 4, [9.0, -9.0, 1.0, 0.0], 1 + 6, policy, engine)
    assert (first, visits) == ([0, 1, 2, 3], [2, 2, 1, 1])


def test_outcomes_that_do_not_exist_leave_their_share_to_the_others(policy, engine):
    """Of 0.7, 0.1 and 0.2 the first is missing: 1 to 2 for the others."""
    _, visits, _ = lottery([0.7, 0.1, 0.2], [1.0, 0.0, 0.0], 1 + 30, policy, engine, [False, True, True])
    assert visits == [0, 10, 20]


def test_visits_follow_the_probabilities(policy, engine):
    probabilities = [0.05, 0.4, 0.25, 0.3]
    _, visits, value = lottery(probabilities, [1.0, 2.0, 4.0, 8.0], 1 + 200, policy, engine)
    assert all(abs(n - 200 * p) <= 2 for n, p in zip(visits, probabilities))
    assert value == pytest.approx(0.05 * 1 + 0.4 * 2 + 0.25 * 4 + 0.3 * 8, abs=0.06)


@pytest.mark.parametrize("unit", [NodeRange(), TreeRange()])
def test_the_seat_of_a_chance_node_means_nothing(policy, engine, unit):
    run, config = policy
    model = random_model(31, 5, 2, 0.2, 1.0, 0.4)
    assert model.chance is not None
    other = dataclasses.replace(model, to_play=torch.where(model.chance, 1 - model.to_play, model.to_play))
    root = model.root(8, 1.0, 31)
    config = dataclasses.replace(config, unit=unit)
    first, second = (run(root, m.step, 40, config, engine=engine) for m in (model, other))
    assert not torch.equal(first.tree.to_play, second.tree.to_play)
    assert torch.equal(first.tree.child, second.tree.child)
    assert torch.equal(first.policy_target, second.policy_target)
    assert torch.equal(first.root_value, second.root_value)


def test_a_row_s_chance_nodes_are_its_own(policy, engine):
    """Rows with and without chance nodes side by side: each as when it is alone."""
    run, config = policy
    model = random_model(32, 5, 1, 0.1, 1.0, 0.5)
    root = model.root(6, 1.0, 32)
    together = run(root, model.step, 24, config, engine=engine)
    for row in range(6):
        alone = run(Root(*(x if x is None else x[row : row + 1] for x in root)), model.step, 24, config, engine=engine)
        assert torch.equal(alone.tree.child[0], together.tree.child[row])
        assert torch.equal(alone.policy_target[0], together.policy_target[row])


@pytest.mark.parametrize(
    ("chance", "message"),
    [
        (torch.zeros(2, dtype=torch.bool), r"Step\.chance must have shape \[3\], found \[2\]"),
        (torch.zeros(3, 1, dtype=torch.bool), r"Step\.chance must have shape \[3\]"),
        (torch.zeros(3), r"Step\.chance must be torch\.bool"),
    ],
)
def test_bad_flags_are_refused(chance, message, engine):
    model = random_model(33, 4, 1, 0.0, 1.0)

    def broken(embedding, action):
        return model.step(embedding, action)._replace(chance=chance)

    with pytest.raises(ValueError, match=message):
        search.muzero(model.root(3, 1.0, 0), broken, 3, engine=engine)
