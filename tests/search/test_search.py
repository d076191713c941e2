"""What others fell into (see docs/search.md, "Traps"), one test a trap, on every engine."""

from __future__ import annotations

import math

import pytest
import torch
from engines import ENGINES
from models import NUM_STATES, TableModel, random_model

import search
from search import (
    GumbelConfig,
    NodeRange,
    PUCTConfig,
    Root,
    RowScale,
    Step,
    TreeRange,
    Unscaled,
    Unvisited,
    memory,
    numba_engine,
    reference,
)
from search.halving import considered_visits
from search.plan import plan_puct

RUNS = {"gumbel": (search.gumbel_muzero, GumbelConfig), "puct": (search.muzero, PUCTConfig)}


@pytest.fixture(params=ENGINES)
def engine(request):
    return ENGINES[request.param]


@pytest.fixture(params=RUNS)
def policy(request):
    return RUNS[request.param]


def test_one_call_a_simulation_of_one_shape(engine, policy):
    run, config = policy
    model, calls = random_model(1, 5, 2, 0.5, 1.0), []

    def counted(embedding, action):
        calls.append((tuple(embedding.shape), embedding.dtype, tuple(action.shape), action.dtype))
        return model.step(embedding, action)

    run(model.root(7, 0.5, 1), counted, 23, config(), engine=engine)
    assert calls == [((7, 1), torch.float32, (7,), torch.int64)] * 23


def test_the_model_sees_the_parent_s_embedding(engine, policy):
    """Wide embeddings, rows at different depths: each call gets exactly what the model returned for the parent."""
    run, config = policy
    generator = torch.Generator().manual_seed(0)
    seen = []

    def walk(embedding, action):
        seen.append((embedding.clone(), action.clone()))
        child = embedding * 0.5 + torch.arange(6).view(1, 2, 3) + action.view(-1, 1, 1)
        flat = child.flatten(1)
        return Step(
            child, flat[:, :1].sin(), torch.ones(4), flat[:, :3].cos(), flat[:, 3:4].cos(), torch.zeros_like(action)
        )

    embedding = torch.randn(4, 2, 3, generator=generator)
    zeros = torch.zeros(4, dtype=torch.int64)
    root = Root(torch.zeros(4, 3), torch.zeros(4, 1), embedding, torch.ones(4, 3, dtype=torch.bool), zeros, zeros)
    tree = run(root, walk, 12, config(), engine=engine).tree
    for node in range(1, 13):
        parent = tree.parent[:, node].long()
        assert torch.equal(seen[node - 1][0], tree.embedding[torch.arange(4), parent])
        assert torch.equal(seen[node - 1][1], tree.action[:, node].long())


def test_the_first_visit_of_puct_follows_the_prior(engine):
    # sqrt(sum n) without the node's own evaluation is 0 there and would choose action 0.
    model = random_model(2, 6, 1, 0.0, 1.0)
    root = model.root(16, 1.0, 2)
    result = search.muzero(root, model.step, 1, PUCTConfig(dirichlet_fraction=0.0), engine=engine)
    assert torch.equal(result.visits.argmax(dim=1), root.prior_logits.argmax(dim=1))


def test_puct_by_hand(engine):
    """Two actions, priors 0.6 and 0.4, rewards 0 and 1, both ends of the game: every choice on paper."""
    root = Root(
        torch.log(torch.tensor([[0.6, 0.4]])),
        torch.tensor([[0.5]]),
        torch.zeros(1, 1),
        torch.ones(1, 2, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )

    def bandit(embedding, action):
        # The value 7 lies behind the end of the game and must count nowhere.
        return Step(
            embedding, action[:, None].float(), torch.zeros(1), torch.zeros(1, 2), torch.full((1, 1), 7.0), 0 * action
        )

    q, n = [0.0, 1.0], [0, 0]
    total = [0.5]
    for _ in range(9):
        mean = sum(total) / len(total)
        visited = [q[a] for a in (0, 1) if n[a]] + [mean]
        low, span = min(visited), max(max(visited) - min(visited), 1e-4)
        c = math.sqrt(len(total)) * (1.25 + math.log((len(total) + 19652 + 1) / 19652))
        score = [((q[a] if n[a] else low) - low) / span + c * p / (1 + n[a]) for a, p in ((0, 0.6), (1, 0.4))]
        a = int(score[1] > score[0])
        n[a] += 1
        total.append(q[a])
    assert 0 < n[0] < 9
    result = search.muzero(root, bandit, 9, PUCTConfig(dirichlet_fraction=0.0), engine=engine)
    assert result.visits.tolist() == [n]
    assert result.root_value.item() == pytest.approx(sum(total) / 10, abs=1e-6)
    assert result.q_values.tolist() == [q]


def test_nothing_counts_or_grows_behind_the_end(engine, policy):
    run, config = policy
    model = random_model(4, 4, 2, 1.0, 1.0)  # every edge ends the game
    root = model.root(5, 1.0, 4)
    result = run(root, model.step, 20, config(), engine=engine)
    tree = result.tree
    assert (tree.parent[:, 1:] <= 0).all()
    assert result.visits.sum(dim=1).tolist() == [20] * 5
    child = tree.child[:, 0].long()
    row = torch.arange(5)[:, None]
    reward = tree.reward[row, child.clamp_min(0), root.to_play[:, None]]
    assert torch.equal(result.q_values[child >= 0], reward[child >= 0])
    # The root's mean: its own value and the rewards, as often as each was tried.
    returns = (result.visits[..., None] * tree.reward[row, child.clamp_min(0)]).sum(dim=1)
    torch.testing.assert_close(tree.value[:, 0], (root.value + returns) / 21)


def test_what_lies_behind_the_end_changes_nothing(engine, policy):
    """Value, prior and mover behind a terminal edge are arbitrary."""
    run, config = policy
    model = random_model(5, 4, 2, 0.4, 1.0)
    ends = model.discount == 0
    other = TableModel(
        model.next_state,
        model.reward,
        model.discount,
        torch.where(ends[:, None], -model.logits, model.logits),
        torch.where(ends[:, None], 1e4, model.value),
        torch.where(ends, 1 - model.to_play, model.to_play),
        model.exists,
        False,
    )
    root = model.root(6, 1.0, 5)
    root = root._replace(
        value=torch.zeros(6, 2), prior_logits=torch.zeros(6, 4), to_play=torch.zeros_like(root.to_play)
    )
    first, second = (run(root, m.step, 24, config(), engine=engine) for m in (model, other))
    assert torch.equal(first.visits, second.visits)
    assert torch.equal(first.root_value, second.root_value)
    assert torch.equal(first.policy_target, second.policy_target)


@pytest.mark.parametrize("unvisited", list(Unvisited))
def test_actions_that_do_not_exist_are_never_tried(engine, policy, unvisited):
    """Not even with the best logit, and with values so low that any unvisited action looks better."""
    run, config = policy
    model = random_model(6, 6, 1, 0.0, 1.0)
    exists = torch.tensor([True, True, False, True, False, False])
    model = TableModel(
        model.next_state,
        model.reward - 5,
        model.discount,
        torch.where(exists, -20 + model.logits, 30.0),
        model.value - 5,
        model.to_play,
        model.exists,
        False,
    )
    root = model.root(4, 1.0, 6)._replace(exists=exists.expand(4, 6))
    settings = config() if config is GumbelConfig else config(unvisited=unvisited)
    result = run(root, model.step, 40, settings, engine=engine)
    tried = result.tree.child >= 0
    assert tried[:, :, exists].any(dim=1).all()
    assert not tried[:, :, ~exists].any()
    assert not result.policy_target[:, ~exists].any()
    assert exists[result.action].all()


def test_padding_with_actions_that_do_not_exist_changes_nothing(engine, policy):
    run, config = policy
    model = random_model(7, 4, 2, 0.2, 1.0)
    root = model.root(5, 0.7, 7)
    narrow = run(root, model.step, 20, config(), engine=engine)

    def pad(tensor, value):
        return torch.nn.functional.pad(tensor, (0, 5), value=value)

    def wide_step(embedding, action):
        step = model.step(embedding, action)
        return step._replace(prior_logits=pad(step.prior_logits, 50.0))

    wide_root = root._replace(
        prior_logits=pad(root.prior_logits, 50.0),
        legal=pad(root.legal, True),
        exists=pad(torch.ones_like(root.legal), False),
    )
    wide = run(wide_root, wide_step, 20, config(), engine=engine)
    assert torch.equal(wide.visits[:, :4], narrow.visits)
    assert torch.equal(wide.action, narrow.action)
    torch.testing.assert_close(wide.policy_target[:, :4], narrow.policy_target)
    torch.testing.assert_close(wide.root_value, narrow.root_value)


def test_a_row_does_not_depend_on_its_batch(engine, policy):
    """Alone or among others, in any order, to the bit."""
    run, config = policy
    model = random_model(8, 5, 2, 0.2, 0.8)
    root = model.root(6, 0.7, 8)
    together = run(root, model.step, 16, config(), engine=engine)
    for row in range(6):
        alone = run(
            Root(*(x if x is None else x[row : row + 1] for x in root)), model.step, 16, config(), engine=engine
        )
        for name in ("action", "policy_target", "root_value", "visits", "q_values"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[row]), name
        assert torch.equal(alone.tree.child[0], together.tree.child[row])


def test_the_seed_alone_decides_the_noise(engine, policy):
    run, config = policy
    model = random_model(9, 8, 1, 0.0, 1.0)
    root = model.root(1, 1.0, 9)
    many = Root(*(x if x is None else x.expand(64, *x.shape[1:]) for x in root))._replace(seed=torch.arange(64))
    result = run(many, model.step, 8, config(), engine=engine)
    assert len(result.action.unique()) > 1  # seeds differ, actions differ
    again = run(many._replace(seed=torch.full((64,), 3)), model.step, 8, config(), engine=engine)
    assert (again.action == result.action[3]).all()
    assert torch.equal(again.visits, result.visits[3].expand(64, -1))


def test_greedy_gumbel_ignores_the_seed(engine):
    model = random_model(10, 8, 2, 0.1, 1.0)
    root = model.root(8, 1.0, 10)
    config = GumbelConfig(gumbel_scale=0.0)
    first = search.gumbel_muzero(root, model.step, 12, config, engine=engine)
    second = search.gumbel_muzero(root._replace(seed=root.seed + 1), model.step, 12, config, engine=engine)
    assert torch.equal(first.action, second.action)
    for row in range(8):  # the best by logits + sigma, that is by the improved policy, among the most visited
        most = first.visits[row] == first.visits[row].max()
        assert first.policy_target[row, first.action[row]] == first.policy_target[row][most].max()


def test_zero_sum_values_stay_zero_sum(engine, policy):
    run, config = policy
    model = random_model(11, 5, 2, 0.2, 1.0)
    value, reward = model.value.clone(), model.reward.clone()
    value[:, 1], reward[:, 1] = -value[:, 0], -reward[:, 0]
    model = TableModel(
        model.next_state, reward, model.discount, model.logits, value, model.to_play, model.exists, False
    )
    result = run(model.root(8, 1.0, 11), model.step, 20, config(), engine=engine)
    torch.testing.assert_close(result.root_value.sum(dim=1), torch.zeros(8), atol=1e-5, rtol=0)
    assert result.root_value.abs().max() > 0.1


@pytest.mark.parametrize("unit", [RowScale(), NodeRange(), TreeRange()])
def test_rewards_in_other_units_grow_the_same_tree(engine, policy, unit):
    """Times 8, an exact factor: with the row's scale times 8 too, or with a range, nothing else changes."""
    run, config = policy
    model = random_model(12, 5, 2, 0.2, 1.0)
    big = TableModel(
        model.next_state,
        model.reward * 8,
        model.discount,
        model.logits,
        model.value * 8,
        model.to_play,
        model.exists,
        False,
    )
    root = model.root(6, 1.0, 12)
    big_root = root._replace(value=root.value * 8, value_scale=root.value_scale * 8)
    small = run(root, model.step, 20, config(unit=unit), engine=engine)
    large = run(big_root, big.step, 20, config(unit=unit), engine=engine)
    assert torch.equal(small.tree.child, large.tree.child)
    torch.testing.assert_close(small.policy_target, large.policy_target)
    torch.testing.assert_close(small.root_value * 8, large.root_value)


def test_the_row_s_scale_counts_in_that_row_only(engine, policy):
    run, config = policy
    model = random_model(13, 5, 2, 0.0, 1.0)
    root = model.root(3, 1.0, 13)
    changed = root._replace(value_scale=root.value_scale * torch.tensor([1.0, 20.0, 1.0]))
    first, second = (run(r, model.step, 24, config(unit=RowScale()), engine=engine) for r in (root, changed))
    same = [torch.equal(first.policy_target[row], second.policy_target[row]) for row in range(3)]
    assert same == [True, False, True]


def test_unscaled_is_a_row_scale_of_one(engine, policy):
    run, config = policy
    model = random_model(14, 5, 2, 0.0, 1.0)
    root = model.root(3, 1.0, 14)._replace(value_scale=None)
    first, second = (run(root, model.step, 16, config(unit=u), engine=engine) for u in (RowScale(), Unscaled()))
    assert torch.equal(first.tree.child, second.tree.child)


def test_the_depth_limit_holds(engine, policy):
    run, config = policy
    model = random_model(15, 3, 1, 0.0, 1.0)
    tree = run(model.root(4, 1.0, 15), model.step, 60, config(max_depth=3), engine=engine).tree
    depth = torch.zeros(4, 61, dtype=torch.int64)
    for node in range(1, 61):
        parent = tree.parent[:, node].long()
        depth[:, node] = torch.where(parent >= 0, depth[torch.arange(4), parent.clamp_min(0)] + 1, 0)
    assert depth.max() == 3
    assert tree.visits[:, 0].tolist() == [61] * 4


@pytest.mark.parametrize("num_actions", [1, 2, 5, 8])
def test_exact_ties_go_to_the_lowest_index(engine, policy, num_actions):
    """All logits, rewards and values equal: the oracle's choices are exact ties, and the trees still agree."""
    run, config = policy
    model = random_model(16, num_actions, 1, 0.0, 1.0)
    zero = torch.zeros_like
    model = TableModel(
        model.next_state,
        zero(model.reward),
        torch.ones(NUM_STATES),
        zero(model.logits),
        zero(model.value),
        model.to_play,
        model.exists,
        False,
    )
    settings = config(gumbel_scale=0.0) if config is GumbelConfig else config(dirichlet_fraction=0.0, temperature=0.0)
    root = model.root(2, 1.0, 16)
    result = run(root, model.step, 30, settings, engine=engine)
    oracle_run = reference.gumbel_muzero if config is GumbelConfig else reference.muzero
    oracle = oracle_run(model.prediction(int(root.embedding[0, 0])), model.oracle_step, 30, settings)
    assert num_actions == 1 or oracle.smallest_gap == 0
    for node in oracle.nodes:
        expected = [node.children[a].index if a in node.children else -1 for a in range(num_actions)]
        assert result.tree.child[0, node.index].tolist() == expected
    assert result.action[0] == oracle.action == 0


def test_reduced_precision_of_the_network_is_taken_as_float32(engine, policy):
    run, config = policy
    model = random_model(17, 5, 2, 0.0, 1.0)

    def low(embedding, action):
        step = model.step(embedding, action)
        return step._replace(
            prior_logits=step.prior_logits.bfloat16(),
            value=step.value.bfloat16(),
            reward=step.reward.bfloat16(),
            discount=step.discount.bfloat16(),
        )

    def rounded(embedding, action):
        step = low(embedding, action)
        return step._replace(
            prior_logits=step.prior_logits.float(),
            value=step.value.float(),
            reward=step.reward.float(),
            discount=step.discount.float(),
        )

    root = model.root(4, 1.0, 17)
    first, second = (run(root, f, 16, config(), engine=engine) for f in (low, rounded))
    assert torch.equal(first.tree.child, second.tree.child)
    assert first.tree.value.dtype == torch.float32
    assert torch.equal(first.policy_target, second.policy_target)


def test_strided_answers_are_read_right(engine, policy):
    """Heads split from one wide output, a broadcast discount, and a transposed one."""
    run, config = policy
    model = random_model(24, 5, 2, 0.0, 1.0)

    def strided(embedding, action):
        step = model.step(embedding, action)
        wide = torch.cat([step.value, step.prior_logits, step.reward], dim=1)
        value, logits, reward = wide.split([2, 5, 2], dim=1)
        transposed = reward.T.contiguous().T
        assert not value.is_contiguous()
        assert transposed.stride(1) != 1
        seats = torch.stack([step.to_play, step.to_play], dim=1)[:, 1]
        return step._replace(
            value=value, prior_logits=logits, reward=transposed, discount=torch.tensor(0.9).expand(4), to_play=seats
        )

    def dense(embedding, action):
        return model.step(embedding, action)._replace(discount=torch.full((4,), 0.9))

    root = model.root(4, 1.0, 24)
    first, second = (run(root, f, 16, config(), engine=engine) for f in (strided, dense))
    assert torch.equal(first.tree.child, second.tree.child)
    assert torch.equal(first.tree.raw_value, second.tree.raw_value)
    assert torch.equal(first.tree.reward, second.tree.reward)
    assert torch.equal(first.policy_target, second.policy_target)


def test_steps_are_copied(engine, policy):
    """A model may reuse its output buffers from call to call, and the root's tensors stay as they were."""
    run, config = policy
    model = random_model(18, 5, 2, 0.2, 1.0)
    root = model.root(4, 1.0, 18)
    before = [x if x is None else x.clone() for x in root]
    buffers: list[torch.Tensor] = []

    def reusing(embedding, action):
        step = model.step(embedding, action)
        if not buffers:
            buffers.extend(x.clone() for x in step[:6])
        for buffer, x in zip(buffers, step[:6]):
            buffer.copy_(x)
        return Step(*buffers)

    first, second = (run(root, f, 16, config(), engine=engine) for f in (reusing, model.step))
    assert torch.equal(first.tree.child, second.tree.child)
    assert torch.equal(first.root_value, second.root_value)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(before, root))


def test_searches_do_not_share_results(engine, policy):
    """The tensors of one result stay as they are while the next search runs."""
    run, config = policy
    model = random_model(19, 5, 2, 0.2, 1.0)
    first = run(model.root(4, 1.0, 19), model.step, 16, config(), engine=engine)
    kept = [x.clone() for x in (*first[:5], *first.tree)]
    run(model.root(4, 1.0, 20), model.step, 16, config(), engine=engine)
    assert all(torch.equal(a, b) for a, b in zip(kept, (*first[:5], *first.tree)))


def test_temperature(engine):
    """Drawn in proportion to visits ** (1 / temperature); 0: the most visited."""
    model = random_model(20, 3, 1, 0.0, 1.0)
    root = model.root(1, 1.0, 20)._replace(prior_logits=torch.zeros(1, 3), value=torch.zeros(1, 1))
    rows = 4000
    many = Root(*(x if x is None else x.expand(rows, *x.shape[1:]) for x in root))._replace(seed=torch.arange(rows))
    for temperature in (0.0, 0.5, 1.0):
        config = PUCTConfig(dirichlet_fraction=0.0, temperature=temperature)
        result = search.muzero(many, model.step, 10, config, engine=engine)
        visits = result.visits[0].double()
        assert visits.max() < 10
        weights = (visits == visits.max()).double() if temperature == 0 else visits ** (1 / temperature)
        found = torch.bincount(result.action, minlength=3) / rows
        torch.testing.assert_close(found.double(), weights / weights.sum(), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("considered", "simulations", "expected"),
    [
        (1, 4, [0, 1, 2, 3]),
        (2, 5, [0, 0, 1, 1, 2]),
        (3, 8, [0, 0, 0, 1, 1, 2, 2, 3]),
        (4, 16, [0] * 4 + [1] * 4 + [2] * 2 + [3] * 2 + [4] * 2 + [5] * 2),
        (16, 4, [0] * 4),
        (5, 12, [0] * 5 + [1] * 2 + [2] * 2 + [3] * 2 + [4]),
    ],
)
def test_sequential_halving_by_hand(considered, simulations, expected):
    assert list(considered_visits(considered, simulations)) == expected


def test_sequential_halving_equals_the_oracle():
    for considered in range(1, 40):
        for simulations in (1, 2, 3, 7, 16, 50, 200):
            assert list(considered_visits(considered, simulations)) == reference.sequential_halving(
                considered, simulations
            )


def test_embeddings_in_half_the_memory(engine, policy):
    """The table models' states are small integers, exact in bfloat16: the same tree, handed on in float32."""
    run, config = policy
    model, dtypes = random_model(21, 5, 2, 0.2, 1.0), set()

    def watched(embedding, action):
        dtypes.add(embedding.dtype)
        return model.step(embedding, action)

    root = model.root(4, 1.0, 21)
    full = run(root, model.step, 16, config(), engine=engine)
    half = run(root, watched, 16, config(embedding_dtype=torch.bfloat16), engine=engine)
    assert half.tree.embedding.dtype == torch.bfloat16
    assert dtypes == {torch.float32}
    assert torch.equal(full.tree.child, half.tree.child)
    assert torch.equal(full.policy_target, half.policy_target)
    assert half.tree.value.dtype == half.tree.prior_logits.dtype == torch.float32


@pytest.mark.parametrize(("actions", "players", "simulations"), [(3, 1, 5), (18, 4, 30)])
def test_the_memory_formula_is_what_the_cpu_engine_allocates(actions, players, simulations):
    model = random_model(22, actions, players, 0.0, 1.0)
    root = model.root(7, 1.0, 22)
    plan = plan_puct(root, simulations, PUCTConfig())
    store = numba_engine._allocate(plan, root)
    found = sum(x.nbytes for x in store if x is not store.rows)  # rows: once a tree, not once a node
    assert found == memory.tree_bytes(7, actions, players, simulations, 4)


def test_a_search_that_cannot_fit_is_refused_with_the_number(policy):
    run, config = policy
    model = random_model(23, 4, 1, 0.0, 1.0)
    root = model.root(1, 1.0, 23)
    wide = root._replace(embedding=torch.zeros(1, 1).expand(1, 2**21))  # 8 MiB a node, none of it allocated here
    with pytest.raises(
        ValueError, match=r"needs 8192\.\d GiB .*1048576 simulations.* lower the batch or the simulations"
    ):
        run(wide, model.step, 2**20, config())
