"""How Q becomes part of a score: the functions by hand, and units of one's own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from engines import ENGINES
from models import random_model

import search
from search import (
    FixedRange,
    GumbelConfig,
    NodeRange,
    NodeValues,
    PUCTConfig,
    RowScale,
    TreeRange,
    Unscaled,
    Unvisited,
    reference,
    transforms,
)

RUNS = {
    "gumbel": (search.gumbel_muzero, GumbelConfig(gumbel_scale=0.0)),
    "puct": (search.muzero, PUCTConfig(dirichlet_fraction=0.0, temperature=0.0)),
    "puct_node": (
        search.muzero,
        PUCTConfig(dirichlet_fraction=0.0, temperature=0.0, unvisited=Unvisited.NODE),
    ),
}


@pytest.fixture(params=RUNS)
def policy(request):
    return RUNS[request.param]


# Row 0: Qs 2 and -1, value 5 counts. Row 1: the same, it does not. Row 2: one Q, no range. Row 3: nothing visited.
VALUES = NodeValues(
    q=torch.tensor([[2.0, -1.0, 0.0], [2.0, -1.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    visited=torch.tensor([[True, True, False], [True, True, False], [True, False, False], [False] * 3]),
    value=torch.tensor([5.0, 5.0, -9.0, 4.0]),
    counted=torch.tensor([True, False, False, True]),
    low=torch.tensor([-7.0, -1.0, 3.0, 4.0]),
    high=torch.tensor([9.0, 2.0, 3.0, 4.0]),
)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (NodeRange(), [6.0, 3.0, 1e-4, 1e-4]),
        (NodeRange(0.5), [6.0, 3.0, 0.5, 0.5]),
        (TreeRange(), [16.0, 3.0, 1e-4, 1e-4]),
        (TreeRange(4.0), [16.0, 4.0, 4.0, 4.0]),
        (FixedRange(-2.0, 1.0), [3.0] * 4),
        (Unscaled(), [1.0] * 4),
        (RowScale(), [0.1, 0.2, 0.3, 0.4]),
        (lambda values: values.value.abs(), [5.0, 5.0, 9.0, 4.0]),
    ],
)
def test_units_by_hand(unit, expected):
    found = transforms.unit_of(unit, VALUES, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    torch.testing.assert_close(found, torch.tensor(expected))


def test_bounds_by_hand():
    low, high = transforms.node_bounds(VALUES)
    assert low.tolist() == [-1.0, -1.0, 3.0, 4.0]
    assert high.tolist() == [5.0, 2.0, 3.0, 4.0]


def test_mixed_value_and_completion_by_hand():
    """Two visited of three: v_mix = (1 + 4 * (0.5 * 2 + 0.3 * -1) / 0.8) / 5; and nothing visited: the raw value."""
    prior = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    visits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    q = torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    mixed = transforms.mixed_value(prior, visits, q, torch.tensor([1.0, 7.0]))
    assert mixed.tolist() == pytest.approx([(1 + 4 * 0.7 / 0.8) / 5, 7.0])
    completed = transforms.complete(q, visits > 0, mixed)
    assert completed.flatten().tolist() == pytest.approx([2.0, -1.0, 0.9, 7.0, 7.0, 7.0])
    scaled = transforms.scale(completed, mixed, torch.tensor([2.0, 4.0]))
    assert scaled.flatten().tolist() == pytest.approx([0.55, -0.95, 0.0, 0.0, 0.0, 0.0], abs=1e-6)


def _range_by_rows(values):
    """NodeRange once more, a row and an action at a time."""
    units = []
    for row in range(len(values.q)):
        numbers = [q for q, visited in zip(values.q[row].tolist(), values.visited[row].tolist()) if visited]
        if values.counted[row]:
            numbers.append(values.value[row].item())
        units.append(max(max(numbers) - min(numbers), 1e-4) if numbers else 1.0)
    return torch.tensor(units)


OWN = {
    "constant": (lambda values: torch.full_like(values.value, 0.7), RowScale(), 0.7),
    "tree": (lambda values: (values.high - values.low).clamp_min(1e-4), TreeRange(), None),
    "node": (_range_by_rows, NodeRange(), None),
}


# With a function the lowest of `Unvisited.LOWEST` is the node's, with TreeRange the tree's: not the same there.
@pytest.mark.parametrize(("policy_name", "name"), sorted({(p, o) for p in RUNS for o in OWN} - {("puct", "tree")}))
def test_a_unit_of_one_s_own_that_says_the_same_grows_the_same_tree(policy_name, name):
    """By the default engine of the CPU, which for a function is torch's, against the torch engine."""
    own, unit, row_scale = OWN[name]
    run, config = RUNS[policy_name]
    model = random_model(51, 5, 2, 0.2, 0.8)
    root = model.root(6, 1.0, 51)
    root = root._replace(value_scale=None if row_scale is None else torch.full((6,), row_scale))
    first = run(root, model.step, 30, dataclasses.replace(config, unit=own))
    second = run(root, model.step, 30, dataclasses.replace(config, unit=unit), engine=ENGINES["torch"])
    assert torch.equal(first.tree.child, second.tree.child)
    torch.testing.assert_close(first.policy_target, second.policy_target)
    assert torch.equal(first.action, second.action)


def test_a_unit_of_one_s_own_changes_the_search(policy):
    run, config = policy
    model = random_model(52, 5, 1, 0.0, 1.0)
    root = model.root(6, 1.0, 52)
    small, large = (
        run(root, model.step, 30, dataclasses.replace(config, unit=lambda v, x=x: torch.full_like(v.value, x)))
        for x in (0.01, 1e4)
    )
    assert not torch.equal(small.visits, large.visits)
    # In so large a unit only the prior is left.
    favourite = root.prior_logits.argmax(dim=1, keepdim=True)
    assert torch.equal(large.visits.gather(1, favourite)[:, 0], large.visits.amax(dim=1))


def test_what_a_unit_is_told(policy):
    """At the root, before the last simulation: the oracle's values there."""
    run, config = policy
    model = random_model(53, 4, 2, 0.2, 1.0)
    root = model.root(1, 1.0, 53)
    simulations, told = 9, []

    def watch(values):
        told.append([x.clone() for x in values])
        return torch.ones_like(values.value)

    calls = []

    def step(embedding, action):
        calls.append(len(told))  # how often the unit had been asked before the call of each simulation
        return model.step(embedding, action)

    run(root, step, simulations, dataclasses.replace(config, unit=watch))
    q, visited, value, counted, low, high = told[calls[-2]]  # the first hop of the last simulation
    prediction = model.prediction(int(root.embedding[0, 0]))
    config = dataclasses.replace(config, unit=Unscaled())
    oracle_run = reference.gumbel_muzero if isinstance(config, GumbelConfig) else reference.muzero
    oracle = oracle_run(prediction, model.oracle_step, simulations - 1, config)
    top = oracle.root
    # The oracle above followed the same sequence only if the schedule of the shorter search is the same.
    assert (
        not isinstance(config, GumbelConfig)
        or reference.sequential_halving(4, 8) == (reference.sequential_halving(4, 9)[:8])
    )
    mover = top.mover
    expected_q = [top.Q(a)[mover] if a in top.children else 0.0 for a in range(4)]
    assert q[0].tolist() == pytest.approx(expected_q, abs=1e-5)
    assert visited[0].tolist() == [a in top.children for a in range(4)]
    gumbel = isinstance(config, GumbelConfig)
    expected_value = reference._v_mix(top, mover) if gumbel else top.mean()[mover]
    assert value.item() == pytest.approx(expected_value, abs=1e-5)
    assert counted.item() == (len(top.children) < 4 or not gumbel)
    assert (low.item(), high.item()) == pytest.approx((min(oracle.seen), max(oracle.seen)), abs=1e-5)


def test_bad_units_are_refused(policy):
    run, config = policy
    model = random_model(54, 4, 1, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"what a unit function returns must have shape \[3\], found \[3, 4\]"):
        run(model.root(3, 1.0, 54), model.step, 4, dataclasses.replace(config, unit=lambda values: values.q))
    for unit in (NodeRange, "range", 1.0):
        with pytest.raises(ValueError, match=r"unit must be one of search\.config, such as NodeRange\(\)"):
            dataclasses.replace(config, unit=unit)


def test_waves_and_a_unit_of_one_s_own_are_refused_together():
    model = random_model(55, 4, 1, 0.0, 1.0)
    config = GumbelConfig(unit=lambda values: torch.ones_like(values.value), waves=True)
    with pytest.raises(ValueError, match=r"waves.*unit of search\.config"):
        search.gumbel_muzero(model.root(3, 1.0, 55), model.step, 4, config)
