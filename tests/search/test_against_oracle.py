"""Every engine grows the trees of the plain-Python oracle."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from engines import ENGINES, HAVE_CHANCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import random_model

import search
from search import (
    FixedRange,
    GumbelConfig,
    NodeRange,
    PUCTConfig,
    RowScale,
    TreeRange,
    Unscaled,
    Unvisited,
    noise,
    reference,
)

SMALLEST_GAP = 1e-5
UNITS = st.sampled_from([Unscaled(), RowScale(), NodeRange(), TreeRange(), FixedRange(-2.0, 3.0)])
PROBLEMS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**20),
        "num_actions": st.integers(1, 9),
        "num_players": st.integers(1, 4),
        "terminal_share": st.sampled_from([0.0, 0.2, 0.7]),
        "exists_share": st.sampled_from([1.0, 0.6]),
        "chance_share": st.sampled_from([0.0, 0.3]),
    }
)
SEARCHES = {
    "problem": PROBLEMS,
    "batch": st.integers(1, 4),
    "legal_share": st.sampled_from([1.0, 0.5, 0.1]),
    "num_simulations": st.integers(1, 24),
    "unit": UNITS,
    "max_depth": st.sampled_from([None, None, 1, 2, 4]),
}
# Derandomised: the same examples every time; rounding magnified by a small unit may come near SMALLEST_GAP.
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def rooted(model, root, row):
    """The oracle's root: the model's state, with what is legal there."""
    prediction = model.prediction(int(root.embedding[row, 0]))
    return reference.Prediction(
        prediction.state, prediction.logits, prediction.value, prediction.to_play, root.legal[row].tolist()
    )


def model_for(engine, problem):
    """The random model, without chance nodes for engines that do not have them."""
    return random_model(**problem if engine in HAVE_CHANCE else problem | {"chance_share": 0.0})


def says_something(oracle):
    """Whether float32 must choose as the oracle does. A score made of Q / unit magnifies the rounding of Q where the
    unit is below 1, down to a range of 0 where two actions lead to the same state."""
    return oracle.smallest_gap > SMALLEST_GAP / min(1.0, oracle.smallest_unit)


def assert_row_equals(result, row, oracle, num_simulations):
    """Integers exactly, floats within 1e-5; rows where the oracle's choices were closer than rounding say nothing."""
    if not says_something(oracle):
        return
    loose = 1e-5 / min(1.0, oracle.smallest_unit)
    tree = result.tree
    used = {node.index: node for node in oracle.nodes}
    for index in range(num_simulations + 1):
        if index not in used:
            assert tree.visits[row, index] == 0
            assert tree.parent[row, index] == -1
            assert (tree.child[row, index] == -1).all()
            continue
        node = used[index]
        assert tree.visits[row, index] == len(node.returns)
        expected_children = {a: child.index for a, child in node.children.items()}
        found = tree.child[row, index]
        assert {a: int(found[a]) for a in range(len(found)) if found[a] >= 0} == expected_children
        for a, child in node.children.items():
            assert tree.parent[row, child.index] == index
            assert tree.action[row, child.index] == a
        torch.testing.assert_close(tree.value[row, index], torch.tensor(node.mean()), atol=1e-5, rtol=1e-5)
    assert result.action[row] == oracle.action
    torch.testing.assert_close(result.policy_target[row], torch.tensor(oracle.policy), atol=loose, rtol=1e-4)
    torch.testing.assert_close(result.root_value[row], torch.tensor(oracle.root_value), atol=loose, rtol=1e-4)
    for a in range(result.visits.shape[1]):
        assert result.visits[row, a] == oracle.root.N(a)
    mover = oracle.root.mover
    completed = reference._completed(oracle.root, mover)
    expected_q = torch.tensor([completed.get(a, 0.0) for a in range(result.visits.shape[1])])
    torch.testing.assert_close(result.q_values[row], expected_q, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@SETTINGS
@given(
    **SEARCHES,
    max_considered=st.sampled_from([1, 2, 3, 5, 16]),
    gumbel_scale=st.sampled_from([0.0, 1.0]),
    value_scale=st.sampled_from([0.1, 0.5]),
    waves=st.booleans(),
)
def test_gumbel_equals_oracle(
    engine,
    problem,
    batch,
    legal_share,
    num_simulations,
    unit,
    max_depth,
    max_considered,
    gumbel_scale,
    value_scale,
    waves,
):
    model = model_for(engine, problem)
    root = model.root(batch, legal_share, problem["seed"])
    config = GumbelConfig(max_considered, gumbel_scale, 50.0, value_scale, unit, max_depth)
    step = model.step
    if waves and engine == "numba":
        config = dataclasses.replace(config, waves=True)
        step = lambda embedding, action, row: model.step(embedding, action)  # noqa: E731
    result = search.gumbel_muzero(root, step, num_simulations, config, engine=ENGINES[engine])
    gumbel = noise.gumbel(root.seed, root.legal.shape[1]) * gumbel_scale
    for row in range(batch):
        oracle = reference.gumbel_muzero(
            rooted(model, root, row),
            model.oracle_step,
            num_simulations,
            config,
            float(root.value_scale[row]),
            gumbel[row].tolist(),
        )
        assert_row_equals(result, row, oracle, num_simulations)


@pytest.mark.parametrize("engine", ENGINES)
@SETTINGS
@given(
    **SEARCHES,
    unvisited=st.sampled_from(list(Unvisited)),
    dirichlet_fraction=st.sampled_from([0.0, 0.25]),
    pb_c_base=st.sampled_from([19652.0, 5.0]),
)
def test_puct_equals_oracle(
    engine, problem, batch, legal_share, num_simulations, unit, max_depth, unvisited, dirichlet_fraction, pb_c_base
):
    model = model_for(engine, problem)
    root = model.root(batch, legal_share, problem["seed"])
    config = PUCTConfig(
        pb_c_base=pb_c_base,
        dirichlet_fraction=dirichlet_fraction,
        temperature=0.0,
        unit=unit,
        unvisited=unvisited,
        max_depth=max_depth,
    )
    result = search.muzero(root, model.step, num_simulations, config, engine=ENGINES[engine])
    dirichlet = noise.dirichlet(root.seed, root.legal, config.dirichlet_alpha)
    for row in range(batch):
        oracle = reference.muzero(
            rooted(model, root, row),
            model.oracle_step,
            num_simulations,
            config,
            float(root.value_scale[row]),
            dirichlet[row].tolist(),
        )
        assert_row_equals(result, row, oracle, num_simulations)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_node_without_unvisited_actions_completes_none(engine):
    """Two actions, both soon visited: the mixed value must then leave the range of the node alone."""
    compared = 0
    for seed in range(30):
        model = random_model(seed, 2, 1, 0.0, 1.0)
        root = model.root(1, 1.0, seed)
        config = GumbelConfig(gumbel_scale=0.0, unit=NodeRange())
        result = search.gumbel_muzero(root, model.step, 24, config, engine=ENGINES[engine])
        oracle = reference.gumbel_muzero(rooted(model, root, 0), model.oracle_step, 24, config)
        compared += says_something(oracle)
        assert_row_equals(result, 0, oracle, 24)
    assert compared >= 20


@pytest.mark.parametrize("unit", [Unscaled(), NodeRange(), TreeRange()])
def test_most_random_searches_say_something(unit):
    """The comparisons above would be empty if near ties were usual."""
    oracles = []
    for seed in range(40):
        model = random_model(seed, 6, 2, 0.2, 1.0)
        root, config = rooted(model, model.root(1, 1.0, seed), 0), GumbelConfig(unit=unit)
        oracles.append(reference.gumbel_muzero(root, model.oracle_step, 16, config))
    assert sum(says_something(oracle) for oracle in oracles) >= 30
    assert all(math.isfinite(oracle.smallest_gap) for oracle in oracles)
