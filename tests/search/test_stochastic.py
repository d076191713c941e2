"""Stochastic MuZero: against the plain-Python oracle, by expectimax on paper, and by the calls that it makes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from engines import ENGINES, HAVE_CHANCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_against_oracle import assert_row_equals, says_something

from search import (
    Afterstate,
    GumbelConfig,
    PUCTConfig,
    Root,
    RowScale,
    Step,
    TreeRange,
    Unscaled,
    chance_nodes,
    noise,
    reference,
    stochastic,
    stochastic_muzero,
)

NUM_STATES, NUM_AFTERSTATES = 31, 23
GREEDY = {
    "gumbel": GumbelConfig(gumbel_scale=0.0),
    "puct": PUCTConfig(dirichlet_fraction=0.0, temperature=0.0),
}


# Nothing here is an engine's; without a GPU, Triton's kernels run on numpy, too slowly for more than a few tests.
FAST = [name for name in HAVE_CHANCE if name != "triton"]


@pytest.fixture(params=FAST)
def engine(request):
    return ENGINES[request.param]


@pytest.fixture(params=GREEDY)
def config(request):
    return GREEDY[request.param]


@dataclass(frozen=True)
class Tables:
    """A random model; the embedding of state s is [s, 0], that of afterstate z is [[0, 0, z]], both float32."""

    after: torch.Tensor  # [S, A] the afterstate of an action
    code_logits: torch.Tensor  # [Z, C]
    codes_exist: torch.Tensor  # [Z, C]
    after_value: torch.Tensor  # [Z, P]
    next_state: torch.Tensor  # [Z, C]
    reward: torch.Tensor  # [S, P]
    discount: torch.Tensor  # [S]
    logits: torch.Tensor  # [S, A]
    value: torch.Tensor  # [S, P]
    to_play: torch.Tensor  # [S]
    exists: torch.Tensor  # [S, A]

    @property
    def num_edges(self):
        return max(self.logits.shape[1], self.code_logits.shape[1])

    def decide(self, embedding, action):
        assert embedding.shape[1:] == (2,)
        after = self.after[embedding[:, 0].long(), action]
        packed = torch.zeros(len(action), 1, 3)
        packed[:, 0, 2] = after
        return Afterstate(packed, self.code_logits[after], self.after_value[after], self.codes_exist[after])

    def resolve(self, embedding, code):
        assert embedding.shape[1:] == (1, 3)
        state = self.next_state[embedding[:, 0, 2].long(), code]
        return Step(
            torch.stack([state, 0 * state], dim=1).float(),
            self.reward[state],
            self.discount[state],
            self.logits[state],
            self.value[state],
            self.to_play[state],
            self.exists[state],
        )

    def root(self, batch, seed):
        generator = torch.Generator().manual_seed(seed)
        state = torch.randint(NUM_STATES, (batch,), generator=generator)
        legal = torch.rand(batch, self.logits.shape[1], generator=generator) < 0.7
        legal[:, 0] = True
        return Root(
            self.logits[state],
            self.value[state],
            torch.stack([state, 0 * state], dim=1).float(),
            legal,
            self.to_play[state],
            torch.randint(2**62, (batch,), generator=generator),
            None,
            0.5 + torch.rand(batch, generator=generator),
        )

    def oracle_step(self, node, edge):
        kind, number = node
        if kind == "state":
            after = int(self.after[number, edge])
            return self.prediction(
                ("afterstate", after),
                self.code_logits[after],
                self.codes_exist[after],
                self.after_value[after],
                0,
                reward=[0.0] * self.value.shape[1],
                chance=True,
            )
        state = int(self.next_state[number, edge])
        return self.state(state, self.exists[state], self.reward[state].tolist(), float(self.discount[state]))

    def state(self, state, exists, reward=(), discount=1.0):
        mover = int(self.to_play[state])
        logits, value = self.logits[state], self.value[state]
        return self.prediction(("state", state), logits, exists, value, mover, reward=reward, discount=discount)

    def prediction(self, node, logits, exists, value, to_play, **more):
        missing = self.num_edges - len(logits)
        padded, there = logits.tolist() + [0.0] * missing, exists.tolist() + [False] * missing
        return reference.Prediction(node, padded, value.tolist(), to_play, there, **more)


def tables(seed, num_actions, num_codes, num_players=1, terminal_share=0.15, codes_share=0.8):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    def number(limit, *shape):
        return torch.randint(limit, shape, generator=generator)

    return Tables(
        after=number(NUM_AFTERSTATES, NUM_STATES, num_actions),
        code_logits=normal(NUM_AFTERSTATES, num_codes),
        codes_exist=torch.rand(NUM_AFTERSTATES, num_codes, generator=generator) < codes_share,
        after_value=normal(NUM_AFTERSTATES, num_players),
        next_state=number(NUM_STATES, NUM_AFTERSTATES, num_codes),
        reward=normal(NUM_STATES, num_players) * 0.3,
        discount=torch.where(torch.rand(NUM_STATES, generator=generator) < terminal_share, 0.0, 0.9),
        logits=2 * normal(NUM_STATES, num_actions),
        value=normal(NUM_STATES, num_players),
        to_play=number(num_players, NUM_STATES),
        exists=torch.rand(NUM_STATES, num_actions, generator=generator) < 0.9,
    )


def search_tables(model, root, num_simulations, config, engine=None):
    num_codes = model.code_logits.shape[1]
    arguments = (root, model.decide, model.resolve, num_simulations, num_codes, config)
    return stochastic_muzero(*arguments, afterstate_shape=(1, 3), engine=engine)


@pytest.mark.parametrize("engine_name", FAST)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**20),
    num_actions=st.integers(1, 6),
    num_codes=st.integers(1, 6),
    num_players=st.integers(1, 3),
    num_simulations=st.integers(1, 30),
    gumbel=st.booleans(),
    unit=st.sampled_from([Unscaled(), RowScale(), TreeRange()]),
    max_depth=st.sampled_from([None, None, 1, 3]),
)
def test_equals_the_oracle(
    engine_name, seed, num_actions, num_codes, num_players, num_simulations, gumbel, unit, max_depth
):
    model = tables(seed, num_actions, num_codes, num_players)
    root = model.root(3, seed)
    if gumbel:
        config = GumbelConfig(unit=unit, max_depth=max_depth)
    else:
        config = PUCTConfig(unit=unit, max_depth=max_depth, temperature=0.0, dirichlet_fraction=0.0)
    result = search_tables(model, root, num_simulations, config, ENGINES[engine_name])
    assert result.policy_target.shape == result.visits.shape == result.q_values.shape == (3, num_actions)
    missing = (0, model.num_edges - num_actions)
    wide = result._replace(
        policy_target=torch.nn.functional.pad(result.policy_target, missing),
        visits=torch.nn.functional.pad(result.visits, missing),
        q_values=torch.nn.functional.pad(result.q_values, missing),
    )
    gumbels = torch.nn.functional.pad(noise.gumbel(root.seed, num_actions), missing)
    for row in range(3):
        top = model.state(int(root.embedding[row, 0]), root.legal[row])
        scale = float(root.value_scale[row])
        if gumbel:
            arguments = (top, model.oracle_step, num_simulations, config, scale, gumbels[row].tolist())
            oracle = reference.gumbel_muzero(*arguments)
        else:
            oracle = reference.muzero(top, model.oracle_step, num_simulations, config, scale)
        assert_row_equals(wide, row, oracle, num_simulations)
        if says_something(oracle):
            expected = [False] * (num_simulations + 1)
            for node in oracle.nodes:
                expected[node.index] = node.prediction.chance
            assert chance_nodes(result.tree)[row].tolist() == expected


def watched(model):
    """The two functions, each noting at each call how many rows it was called with and which inputs it got."""
    calls = []

    def decide(embedding, action):
        calls.append(("decision", tuple(embedding.shape), tuple(action.shape)))
        return model.decide(embedding, action)

    def resolve(embedding, code):
        calls.append(("chance", tuple(embedding.shape), tuple(code.shape)))
        return model.resolve(embedding, code)

    return calls, decide, resolve


def test_only_the_kinds_that_occur_are_called_with_all_rows(engine, config):
    """One row: exactly one call a simulation, of the kind of the new node's parent."""
    model = tables(3, 4, 3, terminal_share=0.0)
    calls, decide, resolve = watched(model)
    root = model.root(1, 3)
    tree = stochastic_muzero(root, decide, resolve, 30, 3, config, afterstate_shape=(1, 3), engine=engine).tree
    kinds = chance_nodes(tree)[0]
    parents = tree.parent[0, 1:].long()
    assert (parents >= 0).all()
    assert [kind == "chance" for kind, *_ in calls] == kinds[parents].tolist()
    assert len(calls) == 30
    assert 0 < sum(kind == "chance" for kind, *_ in calls) < 30


def test_rows_of_both_kinds_cost_one_call_of_each(engine, config):
    model = tables(4, 4, 3, terminal_share=0.0)
    calls, decide, resolve = watched(model)
    root = model.root(5, 4)
    tree = stochastic_muzero(root, decide, resolve, 30, 3, config, afterstate_shape=(1, 3), engine=engine).tree
    kinds, expected = chance_nodes(tree), []
    for node in range(1, 31):
        parents = tree.parent[:, node].long()
        assert (parents >= 0).all()
        found = set(kinds[torch.arange(5), parents].tolist())
        expected += [kind for kind, is_chance in (("decision", False), ("chance", True)) if is_chance in found]
    assert [kind for kind, *_ in calls] == expected
    assert expected[0] == "decision"
    assert len(expected) < 60
    shapes = {kind: (embedding, edge) for kind, embedding, edge in calls}
    assert shapes == {"decision": ((5, 2), (5,)), "chance": ((5, 1, 3), (5,))}


@pytest.mark.parametrize("engine_name", HAVE_CHANCE)
def test_where_looking_costs_both_are_called_and_nothing_else_changes(engine_name, config, monkeypatch):
    """As on CUDA: from the second simulation on one call of each."""
    engine = ENGINES[engine_name]
    model = tables(7, 4, 3)
    root = model.root(3, 7)
    expected = search_tables(model, root, 20, config, engine)
    monkeypatch.setattr(stochastic, "_may_look", lambda tensor: False)
    calls, decide, resolve = watched(model)
    found = stochastic_muzero(root, decide, resolve, 20, 3, config, afterstate_shape=(1, 3), engine=engine)
    assert [kind for kind, *_ in calls] == ["decision"] + ["decision", "chance"] * 19
    assert torch.equal(found.tree.child, expected.tree.child)
    assert torch.equal(found.tree.embedding[found.tree.visits > 0], expected.tree.embedding[found.tree.visits > 0])
    assert torch.equal(found.policy_target, expected.policy_target)


def test_rows_of_the_other_kind_are_zeros(engine, config):
    """States and actions from 100 on, afterstates and outcomes below: no function ever sees the other's numbers, nor
    an action that it does not have."""
    model = tables(5, 2, 6, terminal_share=0.0)

    def decide(embedding, action):
        assert ((embedding[:, 0] >= 100) | ((embedding == 0).all(dim=1) & (action == 0))).all()
        assert (action < 2).all()
        return model.decide((embedding - torch.tensor([100, 0])).clamp_min(0), action)

    def resolve(embedding, code):
        assert (embedding < 100).all()
        step = model.resolve(embedding, code)
        return step._replace(embedding=step.embedding + torch.tensor([100, 0]))

    root = model.root(6, 5)
    moved = root._replace(embedding=root.embedding + torch.tensor([100, 0]))
    found = stochastic_muzero(moved, decide, resolve, 24, 6, config, afterstate_shape=(1, 3), engine=engine)
    expected = search_tables(model, root, 24, config, engine)
    assert torch.equal(found.tree.child, expected.tree.child)


def test_a_row_does_not_depend_on_its_batch(engine, config):
    model = tables(6, 4, 3, 2)
    root = model.root(6, 6)
    together = search_tables(model, root, 24, config, engine)
    for row in range(6):
        alone = search_tables(model, Root(*(x if x is None else x[row : row + 1] for x in root)), 24, config, engine)
        for name in ("action", "policy_target", "root_value", "visits", "q_values"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[row]), name


# Action 0 pays 1 for sure. Action 1 pays 0, 3 or 6 with probabilities 0.5, 0.3, 0.2: 2.1. Action 2: 0.5 or -4: 0.05.
CHANCES = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
PRIZES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 6.0], [0.5, -4.0, 0.0]])
EXPECTED = [1.0, 2.1, 0.05]


def gamble(num_simulations, config, engine, prior=(0.0, 0.0, 0.0)):
    """One move, one outcome, the end. The model says 8 of every move, more than any is worth: a search that began with
    too low a value might give the better gamble up after its first blank."""

    def decide(embedding, action):
        chances = CHANCES[action]
        return Afterstate(action[:, None].float(), torch.log(chances), torch.full((len(action), 1), 8.0), chances > 0)

    def resolve(embedding, code):
        reward = PRIZES[embedding[:, 0].long(), code][:, None]
        zeros = torch.zeros_like(reward)
        return Step(zeros, reward, zeros[:, 0], torch.zeros(len(code), 3), zeros, 0 * code)

    zeros = torch.zeros(1, 1)
    legal, seats = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    root = Root(torch.tensor([prior]), zeros, zeros, legal, seats, seats)
    return stochastic_muzero(root, decide, resolve, num_simulations, 3, config, engine=engine)


def test_a_gamble_is_worth_its_expectation_and_the_better_one_is_taken(engine, config):
    result = gamble(300, config, engine)
    assert result.action.item() == result.policy_target.argmax().item() == 1
    for found, expected, visits in zip(result.q_values[0].tolist(), EXPECTED, result.visits[0].tolist()):
        # Of n + 1 values one is the model's, and each of three outcomes is at most one visit off its share.
        assert found == pytest.approx(expected, abs=17 / (visits + 1))
    assert result.visits[0, 1] >= 125
    assert result.root_value.item() == pytest.approx(2.1, abs=0.3)


def test_the_better_gamble_is_found_against_the_prior(engine, config):
    assert gamble(200, config, engine, prior=(0.5, 0.0, 1.0)).action.item() == 1


def test_the_worst_outcome_does_not_frighten_nor_the_best_tempt(engine, config):
    """Two moves deep: at the end action 1 (2.1) is the better one by expectation although it pays less than action 0
    in half of all cases and action 2 never pays more than 0.5; so the position before is worth the discounted 2.1."""

    def decide(embedding, action):
        second = embedding[:, 0] > 0
        chances = torch.where(second[:, None], CHANCES[action], torch.tensor([0.5, 0.5, 0.0]))
        where = torch.stack([second.float(), action.float()], dim=1)
        return Afterstate(where, torch.log(chances), torch.full((len(action), 1), 8.0), chances > 0)

    def resolve(embedding, code):
        second = embedding[:, 0] > 0
        reward = torch.where(second, PRIZES[embedding[:, 1].long(), code], 0.0)[:, None]
        zeros = torch.zeros_like(reward)
        discount = torch.where(second, 0.0, 0.5)
        return Step(torch.ones(len(code), 1), reward, discount, torch.zeros(len(code), 3), zeros + 8, 0 * code)

    zeros, seats = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    root = Root(torch.zeros(1, 3), zeros, zeros, torch.tensor([[True, False, False]]), seats, seats)
    arguments = (root, decide, resolve, 300, 3, config)
    result = stochastic_muzero(*arguments, afterstate_shape=(2,), engine=engine)
    assert result.q_values[0].tolist() == pytest.approx([0.5 * 2.1, 0, 0], abs=0.15)


def test_actions_of_each_row_s_game(engine, config):
    """Root.exists holds at every state of the row, and does not touch the outcomes; of outcomes there are C, also where
    no afterstate says which exist and there are more actions."""
    model = tables(8, 5, 4, codes_share=1.0)
    root = model.root(4, 8)
    exists = torch.ones(4, 5, dtype=torch.bool)
    exists[1, [0, 3]] = exists[2, 1:] = False
    root = root._replace(exists=exists, legal=torch.ones_like(exists))
    decide = lambda embedding, action: model.decide(embedding, action)._replace(exists=None)  # noqa: E731
    resolve = lambda embedding, code: model.resolve(embedding, code)._replace(exists=None)  # noqa: E731
    arguments = (root, decide, resolve, 60, 4, config)
    tree = stochastic_muzero(*arguments, afterstate_shape=(1, 3), engine=engine).tree
    tried, kinds = tree.child >= 0, chance_nodes(tree)
    for row in range(4):
        of_states = tried[row, ~kinds[row]].any(dim=0).tolist()
        assert not any(of_states[a] for a in range(5) if not exists[row, a])
        assert tried[row, kinds[row], :4].any(dim=0).all()
        assert not tried[row, kinds[row], 4:].any()


def test_waves_of_simulations_know_their_rows():
    """Root.exists is a row's own; with waves one call holds several simulations of a row, told by `row`."""
    model = tables(10, 6, 4, codes_share=1.0)
    root = model.root(4, 10)
    exists = torch.ones(4, 6, dtype=torch.bool)
    exists[1, :3] = exists[2, 1:5] = False
    root = root._replace(exists=exists, legal=torch.ones_like(exists))
    calls = []

    def decide(embedding, action, row):
        calls.append(len(row))
        assert len(embedding) == len(action) == len(row)
        return model.decide(embedding, action)

    def resolve(embedding, code, row):
        return model.resolve(embedding, code)._replace(exists=None)

    config = GumbelConfig(waves=True)
    arguments = (root, decide, resolve, 60, 4, config)
    tree = stochastic_muzero(*arguments, afterstate_shape=(1, 3), engine=ENGINES["numba"]).tree
    tried, kinds = tree.child >= 0, chance_nodes(tree)
    for row in range(4):
        assert tried[row, ~kinds[row]].any(dim=0).tolist() == exists[row].tolist()
    assert tree.visits[:, 0].tolist() == [61] * 4
    assert max(calls) > 4


def test_bad_answers_are_refused(engine):
    model = tables(9, 4, 3)
    root = model.root(2, 9)

    def run(decide=model.decide, resolve=model.resolve, num_codes=3, shape=(1, 3)):
        return stochastic_muzero(root, decide, resolve, 8, num_codes, afterstate_shape=shape, engine=engine)

    run()
    with pytest.raises(ValueError, match=r"num_codes must be at least 1, found 0"):
        run(num_codes=0)
    with pytest.raises(ValueError, match=r"Afterstate\.code_logits must have shape \[2, 4\], found \[2, 3\]"):
        run(num_codes=4)
    with pytest.raises(ValueError, match=r"Afterstate\.embedding must have shape \[2, 2\].*afterstate_shape"):
        run(shape=None)
    with pytest.raises(ValueError, match=r"Afterstate\.value must have shape \[2, 1\]"):
        run(lambda e, a: model.decide(e, a)._replace(value=torch.zeros(2)))
    with pytest.raises(ValueError, match=r"Step\.prior_logits must have shape \[2, 4\]"):
        run(resolve=lambda e, c: model.resolve(e, c)._replace(prior_logits=torch.zeros(2, 3)))
    with pytest.raises(ValueError, match=r"leave Step\.chance None"):
        run(resolve=lambda e, c: model.resolve(e, c)._replace(chance=torch.zeros(2, dtype=torch.bool)))
    closed = root._replace(legal=torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(ValueError, match=r"row 1 of the root has no legal action"):
        stochastic_muzero(closed, model.decide, model.resolve, 8, 3, engine=engine)


WRONG_CALLS = {
    r"num_simulations must be a whole number, found 2\.5": {"num_simulations": 2.5},
    r"num_codes must be a whole number, found None": {"num_codes": None},
    r"decision_fn must be a function, found NoneType": {"decision_fn": None},
    r"chance_fn must be a function, found NoneType": {"chance_fn": None},
    r"config must be a search\.GumbelConfig or a search\.PUCTConfig, found NoneType": {"config": None},
    r"root must be a search\.Root, found NoneType": {"root": None},
    r"Root\.prior_logits must have at least one row, found \[0, 4\]": {"root": "empty"},
    r"afterstate_shape must be the sizes of one row, such as \(64,\), found 3": {"afterstate_shape": 3},
    r"afterstate_shape must be the sizes of one row, .*, found \(0,\)": {"afterstate_shape": (0,)},
    r"the answer of decision_fn must be a search\.Afterstate, found tuple; return Afterstate\(": {
        "decision_fn": lambda *at: tuple(MODEL.decide(*at))
    },
    r"Afterstate\.embedding must be a torch\.Tensor, found NoneType": {
        "decision_fn": lambda *at: MODEL.decide(*at)._replace(embedding=None)
    },
    r"Afterstate\.value must be a torch\.Tensor, found float": {
        "decision_fn": lambda *at: MODEL.decide(*at)._replace(value=0.0)
    },
    r"the answer of the recurrent function must be a search\.Step, found tuple": {
        "chance_fn": lambda *at: tuple(MODEL.resolve(*at))
    },
}
MODEL = tables(9, 4, 3)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_arguments_are_refused(message, check):
    root = MODEL.root(2, 9)
    arguments = {"root": root, "decision_fn": MODEL.decide, "chance_fn": MODEL.resolve, "num_simulations": 8,
                 "num_codes": 3, "afterstate_shape": (1, 3)}  # fmt: skip
    arguments |= WRONG_CALLS[message]
    if arguments["root"] == "empty":
        arguments["root"] = Root(*(x[:0] for x in root if x is not None))
    with pytest.raises(ValueError, match=message):
        stochastic_muzero(**arguments, check=check)
