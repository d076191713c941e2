"""Native models: their arithmetic against numpy in float64, and whole searches in the kernels against the same model
called once a simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

import search
from search import GumbelConfig, NodeRange, PUCTConfig, Root, RowScale, TreeRange, dense, fastmath, lanes, numba_engine
from search.layers import Chain, Layer
from search.mlp import MLP


@njit
def _apply_(function, x, out):
    for i in range(x.shape[0]):
        out[i] = function(x[i])


@pytest.mark.parametrize(
    ("function", "exact", "low", "high"), [(fastmath.exp, np.exp, -87, 88), (fastmath.tanh, np.tanh, -20, 20)]
)
def test_exp_and_tanh(function, exact, low, high):
    x = np.concatenate([np.linspace(low, high, 20001), [0.0, 1e-30, -1e-4]]).astype(np.float32)
    out = np.empty_like(x)
    _apply_(function, x, out)
    np.testing.assert_allclose(out, exact(x.astype(np.float64)), rtol=5e-7, atol=0)


@pytest.mark.parametrize("function", [fastmath.exp, fastmath.tanh])
def test_nan_stays_nan(function):
    x = np.array([np.nan, 1.0], np.float32)
    out = np.empty_like(x)
    _apply_(function, x, out)
    assert np.isnan(out[0])
    assert np.isfinite(out[1])


def test_exp_beyond_its_range_stays_finite():
    x = np.array([-1e30, -200, 200, 1e30], np.float32)
    out = np.empty_like(x)
    _apply_(fastmath.exp, x, out)
    assert np.isfinite(out).all()
    assert (out[:2] < 1e-37).all()
    assert (out[2:] > 1e38).all()


@njit
def _total(x, count):
    return fastmath.total(x, count)


@pytest.mark.parametrize("count", [0, 1, 5, 7, 8, 9, 17, 100])
def test_total_does_not_see_zeros_behind_the_end(count):
    x = np.random.default_rng(count).normal(size=count).astype(np.float32)
    padded = np.concatenate([x, np.zeros(24, np.float32)])
    np.testing.assert_allclose(_total(padded, count), x.astype(np.float64).sum(), rtol=1e-5, atol=1e-6)
    for more in range(1, 24):
        assert _total(padded, count + more) == _total(padded, count)


@njit
def _passes(logits, noise, child):
    address, count = logits.ctypes.data, logits.shape[0]
    top, total = lanes.log_sum_exp_parts(address, count)
    by_logit = lanes.best_by_logit(address, address, child.ctypes.data, count)
    return top, total, by_logit, lanes.best_by_noise(address, noise.ctypes.data, child.ctypes.data, count)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33, 82, 362])
def test_passes_over_actions(count):
    random = np.random.default_rng(count)
    for masked in (0.0, 0.4):
        for visited in (0.0, 0.3, 1.0):
            logits = np.round(random.normal(size=count), 1).astype(np.float32)  # rounded: with ties
            logits[random.random(count) < masked] = lanes.MASKED
            noise = np.round(random.normal(size=count), 1).astype(np.float32)
            child = np.where(random.random(count) < visited, 3, -1).astype(np.int32)
            top, total, by_logit, by_noise = _passes(logits, noise, child)
            allowed = logits > lanes.MASKED
            free = allowed & (child < 0)
            for found, scores in ((by_logit, logits), (by_noise, logits + noise)):
                expected = (
                    int(np.where(free, scores, -np.inf).argmax()) if free.any() else -1
                )  # the first of equal ones
                assert found == expected
            if allowed.any():
                weights = np.exp(logits[allowed].astype(np.float64))
                np.testing.assert_allclose(top + np.log(total), np.log(weights.sum()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("places", [(3, 19, 35), (19, 20), (40, 8), (24, 8, 9)])
def test_the_first_of_equal_actions_wins_in_whichever_lane(places):
    logits, child = np.zeros(50, np.float32), np.full(50, -1, np.int32)
    logits[list(places)] = 2
    assert _passes(logits, logits, child)[2:] == (min(places), min(places))


def test_masked_actions_behind_the_end_change_no_bit():
    random = np.random.default_rng(0)
    for count in (3, 16, 20):
        logits = random.normal(size=count).astype(np.float32)
        child = np.full(count + 40, -1, np.int32)
        answers = set()
        for more in range(40):
            padded = np.concatenate([logits, np.full(more, lanes.MASKED, np.float32)])
            answers.add(_passes(padded, padded, child[: count + more]))
        assert len(answers) == 1


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 1, 1), (3, 5, 7), (8, 64, 32), (21, 33, 70), (64, 96, 192), (23, 300, 40)]
)
def test_dense(rows, inputs, outputs):
    random = np.random.default_rng(rows)
    x = random.normal(size=(rows, inputs)).astype(np.float32)
    weight = random.normal(size=(outputs, inputs)).astype(np.float32)
    start = random.normal(size=(rows, dense.padded(outputs))).astype(np.float32)
    panels, out = dense.pack(weight), np.full((rows, dense.padded(outputs)), np.nan, np.float32)
    for start_width, floor in ((0, dense.NO_FLOOR), (start.shape[1], np.float32(0))):
        dense.dense_(
            x.ctypes.data, inputs, rows, inputs, panels.ctypes.data, len(panels), start.ctypes.data, start_width,
            out.ctypes.data, out.shape[1], floor,
        )  # fmt: skip
        added = start[:, :outputs] if start_width else start[0, :outputs]
        expected = np.maximum(x.astype(np.float64) @ weight.T.astype(np.float64) + added, floor)
        np.testing.assert_allclose(out[:, :outputs], expected, rtol=1e-4, atol=1e-4)
        alone = np.empty((1, out.shape[1]), np.float32)
        for i in range(rows):  # a row's bits do not depend on the rows beside it
            dense.dense_(
                x[i:].ctypes.data, inputs, 1, inputs, panels.ctypes.data, len(panels),
                start[i * bool(start_width) :].ctypes.data, start_width, alone.ctypes.data, out.shape[1], floor,
            )  # fmt: skip
            assert (alone[0, :outputs] == out[i, :outputs]).all()


BATCH, ACTIONS, WIDTH, HIDDEN = 70, 5, 24, 40  # 70: more than one block of rows


def problem(num_players=1, seed=0):
    """(MLP, the same in torch, root)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    table, inward, outward = normal(ACTIONS, HIDDEN) * 0.5, normal(HIDDEN, WIDTH) * 0.3, normal(WIDTH, HIDDEN) * 0.2
    middle, head = normal(WIDTH, WIDTH) * 0.3, normal(ACTIONS + 2, WIDTH) * 0.5
    bias_in, bias_out, bias_head = normal(HIDDEN), normal(WIDTH), normal(ACTIONS + 2)
    model = MLP(
        [
            Layer(inward, bias_in, "relu", conditioned=True),
            Layer(outward, bias_out, residual=True, normalised=True),
            Layer(middle, None, "tanh", residual=True),
        ],
        [Layer(middle, bias_out, "relu"), Layer(head, bias_head)],
        table,
        discount=0.9,
        num_players=num_players,
    )

    def step(embedding, action):
        token = embedding[:, :WIDTH].double()
        hidden = torch.relu(token @ inward.double().T + bias_in + table[action])
        token = torch.nn.functional.layer_norm(token + hidden @ outward.double().T + bias_out, (WIDTH,))
        token = token + torch.tanh(token @ middle.double().T)
        out = torch.relu(token @ middle.double().T + bias_out) @ head.double().T + bias_head
        return token, out[:, :ACTIONS], out[:, ACTIONS], out[:, ACTIONS + 1]

    to_play = torch.arange(BATCH) % num_players
    embedding = normal(BATCH, WIDTH)
    if num_players == 2:
        embedding = torch.cat([embedding, to_play[:, None].float()], 1)
    value = normal(BATCH, 1)
    legal = torch.rand(BATCH, ACTIONS, generator=generator) < 0.7
    legal[:, 2] = True
    root = Root(
        normal(BATCH, ACTIONS), torch.cat([value, -value], 1)[:, :num_players], embedding, legal, to_play,
        torch.arange(BATCH) + 5, value_scale=torch.rand(BATCH, generator=generator) + 0.5,
    )  # fmt: skip
    return model, step, root


@pytest.mark.parametrize("num_players", [1, 2])
def test_mlp_is_the_network_it_was_made_from(num_players):
    model, step, root = problem(num_players)
    action = torch.arange(BATCH) % ACTIONS
    found, (token, logits, value, reward) = model(root.embedding, action), step(root.embedding, action)
    torch.testing.assert_close(found.embedding[:, :WIDTH].double(), token, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found.prior_logits.double(), logits, atol=2e-5, rtol=1e-5)
    rows, mover = torch.arange(BATCH), root.to_play
    following = (mover + 1) % num_players
    torch.testing.assert_close(found.value[rows, following].double(), value, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found.reward[rows, mover].double(), reward, atol=2e-5, rtol=1e-5)
    assert torch.equal(found.to_play, following)
    assert (found.discount == 0.9).all()
    if num_players == 2:
        assert torch.equal(found.value.sum(1), torch.zeros(BATCH))
        assert torch.equal(found.embedding[:, WIDTH].long(), following)


CONFIGS = {
    "puct": (search.muzero, PUCTConfig()),
    "puct tree range": (search.muzero, PUCTConfig(unit=TreeRange(), max_depth=3)),
    "gumbel": (search.gumbel_muzero, GumbelConfig()),
    "gumbel row scale": (search.gumbel_muzero, GumbelConfig(unit=RowScale(), max_considered=3)),
    "waves": (search.gumbel_muzero, GumbelConfig(unit=NodeRange(), waves=True)),
}


def assert_same(first, second):
    for name in ("action", "policy_target", "root_value", "visits", "q_values"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    for one, other in zip(first.tree, second.tree, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("num_players", [1, 2])
def test_a_search_in_the_kernels_is_the_search_by_calls(name, num_players):
    """To the bit, the whole tree; also with masks of the game's own and with embeddings as bf16, where the model is
    called once a simulation."""
    run, config = CONFIGS[name]
    model, _, root = problem(num_players)
    waves = getattr(config, "waves", False)
    calls = []

    def by_calls(embedding, action, row=None):
        calls.append(len(action))
        return model(embedding, action, row)

    for exists in (None, root.legal | (torch.arange(ACTIONS) == 1)):
        rooted = root._replace(exists=exists)
        calls.clear()
        inside, outside = run(rooted, model, 20, config), run(rooted, by_calls, 20, config)
        assert_same(inside, outside)
        assert sum(calls) == 20 * BATCH
        assert waves or calls == [BATCH] * 20


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_do_not_depend_on_batch_or_threads(name):
    run, config = CONFIGS[name]
    model, _, root = problem(2)
    whole = run(root, model, 40, config)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert_same(run(root, model, 40, config), whole)
    finally:
        torch.set_num_threads(threads)
    for row in (0, 31, 32, 69):
        alone = run(Root(*(None if x is None else x[row : row + 1] for x in root)), model, 40, config)
        for field in ("action", "policy_target", "root_value", "visits", "q_values"):
            assert torch.equal(getattr(alone, field)[0], getattr(whole, field)[row])


def test_embeddings_in_bf16_go_through_the_same_model():
    model, _, root = problem()
    result = search.muzero(root, model, 10, PUCTConfig(embedding_dtype=torch.bfloat16))
    assert result.tree.embedding.dtype == torch.bfloat16
    assert (result.visits.sum(1) == 10).all()


def test_errors_say_what_does_not_fit():
    model, _, root = problem()
    with pytest.raises(ValueError, match="embeddings of 24 numbers, 5 actions and 1 players, the root 24, 5 and 2"):
        search.muzero(root._replace(value=root.value.expand(-1, 2).contiguous()), model, 4)
    with pytest.raises(ValueError, match=r"takes embeddings \[2, 24\] on the CPU, found \[2, 3\]"):
        model(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    square = torch.zeros(4, 4)
    with pytest.raises(ValueError, match="activation 'gelu' of layer 0 is not one of none, relu, tanh"):
        Chain([Layer(square, activation="gelu")])
    with pytest.raises(ValueError, match="layer 1 takes 3 numbers, what comes before it has 4"):
        Chain([Layer(square), Layer(torch.zeros(4, 3))])
    with pytest.raises(ValueError, match="layer 0 is residual: it must have the token's 4 outputs, found 6"):
        Chain([Layer(torch.zeros(6, 4), residual=True)])
    with pytest.raises(ValueError, match=r"heads must end in 3 logits .*, value and reward, found 4 outputs"):
        MLP([Layer(square)], [Layer(square)], torch.zeros(3, 4))
    with pytest.raises(ValueError, match="from D numbers to D and heads begin there"):
        MLP([Layer(torch.zeros(6, 4))], [Layer(torch.zeros(5, 6))], torch.zeros(3, 4))
    with pytest.raises(ValueError, match="action_table has rows of 3, the conditioned layer 0 4 outputs"):
        MLP([Layer(square, conditioned=True)], [Layer(torch.zeros(4, 4))], torch.zeros(2, 3))
    with pytest.raises(ValueError, match="one or two players, found num_players=3"):
        MLP([Layer(square)], [Layer(torch.zeros(4, 4))], torch.zeros(2, 3), num_players=3)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "waves"])
def test_the_kernels_between_calls_share_rows_among_threads(name, monkeypatch):
    """A model in Python, its trees in parts of 20 rows and more: to the bit what one thread grows."""
    run, config = CONFIGS[name]
    model, _, root = problem(2)
    seen = []

    def by_calls(embedding, action):
        step = model(embedding, action)
        seen.append(action.clone())
        exists = torch.arange(ACTIONS) != action[:, None]  # of the nodes, not of the rows
        return step._replace(exists=exists, chance=action == 1)

    whole = run(root, by_calls, 12, config)
    monkeypatch.setattr(numba_engine, "_ROWS_A_THREAD", 20)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert_same(run(root, by_calls, 12, config), whole)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(seen[:12], seen[12:], strict=True))


def test_a_wrong_mover_is_named_with_its_row_whichever_thread_finds_it(monkeypatch):
    model, _, root = problem(2)

    def wrong(embedding, action):
        step = model(embedding, action)
        return step._replace(to_play=torch.where(torch.arange(BATCH) == 61, 2, step.to_play))

    for rows in (256, 20):
        monkeypatch.setattr(numba_engine, "_ROWS_A_THREAD", rows)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            with pytest.raises(ValueError, match="to_play of row 61 is 2 in simulation 1: not a seat of 2 players"):
                search.muzero(root, wrong, 4)
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_found_afterwards_and_touch_no_memory(name, bad):
    """A network that has overflowed: at the root, which only `check` sees before, and in every answer."""
    run, config = CONFIGS[name]
    model, _, root = problem(2)
    for rooted in (
        root._replace(prior_logits=torch.full_like(root.prior_logits, bad)),
        root._replace(value=torch.full_like(root.value, bad)),
        root._replace(embedding=torch.full_like(root.embedding, bad)),
    ):
        for recurrent_fn in (model, lambda embedding, action, row=None: model(embedding, action, row)):
            result = run(rooted, recurrent_fn, 20, config, check=False)
            assert ((result.action >= 0) & (result.action < ACTIONS)).all()
            assert (result.visits >= 0).all()
            assert ((result.tree.child >= -1) & (result.tree.child <= 20)).all()
    with pytest.raises(ValueError, match="NaN"):
        run(root._replace(embedding=torch.full_like(root.embedding, float("nan"))), model, 20, config)


def test_calls_by_hand_are_checked():
    model, _, root = problem()
    embedding, action = root.embedding[:3], torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=r"action must be \[3\] torch.int64 on the CPU, found \[3\] torch.int32"):
        model(embedding, action.int())
    with pytest.raises(ValueError, match=r"row must be \[3\]"):
        model(embedding, action, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"actions must lie in 0 \.\. 4"):
        model(embedding, action + 3)
    square = torch.zeros(4, 4)
    with pytest.raises(ValueError, match="heads cannot be conditioned"):
        MLP([Layer(square)], [Layer(square, conditioned=True)], torch.zeros(2, 4))


@pytest.mark.parametrize("name", CONFIGS)
def test_legal_actions_with_the_lowest_float_as_logit_are_legal(name):
    run, config = CONFIGS[name]
    model, _, root = problem()
    lowest = torch.full_like(root.prior_logits, torch.finfo(torch.float32).min)
    lowest[:, 1] = 0
    result = run(root._replace(prior_logits=lowest, legal=torch.ones_like(root.legal)), model, 16, config)
    assert (result.visits.sum(1) == 16).all()
    assert torch.equal(result.tree.visits[:, 0], torch.full((BATCH,), 17, dtype=torch.int32))


@pytest.mark.parametrize("field", ["chance", "embedding", "value"])
def test_later_steps_of_another_shape_are_refused(field):
    model, _, root = problem()
    seen = []

    def late(embedding, action):
        step, wrong = model(embedding, action), len(seen) == 2
        seen.append(1)
        chance = torch.zeros(1 if wrong and field == "chance" else BATCH, dtype=torch.bool)
        if wrong and field != "chance":
            step = step._replace(**{field: getattr(step, field)[:1]})
        return step._replace(chance=chance)

    with pytest.raises(ValueError, match=rf"Step.{field} must have shape \[70.*found \[1"):
        search.muzero(root, late, 5)
