"""The compiled step of the model against the same step in torch."""

import pytest
import torch
from test_model import batch
from tiny import tiny_network

import search
from agents.acting import SearchConfig, gumbel_config
from agents.model import END_THRESHOLD, SearchModel
from agents.native import native_step

ONE_PLAYER, TWO_PLAYERS = ["CartPole-v1", "identity"], ["tictactoe", "relay"]


def made(names, rows=5, seed=3, **changes):
    network = tiny_network(names, **changes)
    pairs, game, legal, to_play, seeds = batch(network, names, rows, seed)
    model = SearchModel(network, game, 0.9)
    return network, model, model.root(pairs, legal, to_play, seeds, torch.rand(len(game)) + 0.5)


@pytest.mark.parametrize("names", [ONE_PLAYER, TWO_PLAYERS, ONE_PLAYER + TWO_PLAYERS])
@pytest.mark.parametrize("changes", [{}, {"blocks": 3}, {"width": 24, "hidden": 40, "value_bins": 51}])
@torch.no_grad()
def test_the_compiled_step_is_the_step(names, changes):
    _, model, root = made(names, rows=37, **changes)
    native = native_step(model, END_THRESHOLD)
    assert native is not None
    generator = torch.Generator().manual_seed(1)
    embedding, seen = root.embedding, set()
    for _ in range(4):  # along a path, so that later embeddings are the model's own
        action = torch.randint(root.legal.shape[1], (len(embedding),), generator=generator)
        expected, found = model.step(embedding, action), native(embedding, action)
        for name in ("embedding", "reward", "discount", "prior_logits", "value"):
            loose = 3e-4 if name in ("reward", "value") else 3e-5  # the outermost bins lie at 1,096
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=loose, rtol=3e-5)
        assert torch.equal(found.to_play, expected.to_play)
        seen |= set(expected.to_play.tolist()) | {f"end {bool(x)}" for x in expected.discount == 0}
        embedding = expected.embedding
    assert {"end True", "end False"} <= seen  # both ways of the threshold
    assert seen >= ({0, 1} if "tictactoe" in names else {0})


@torch.no_grad()
def test_the_search_grows_the_same_trees():
    _, model, root = made(ONE_PLAYER + TWO_PLAYERS, rows=8)
    config = gumbel_config(SearchConfig(), greedy=False)
    fast = search.gumbel_muzero(root, model.recurrent_fn(), 16, config)
    slow = search.gumbel_muzero(root, model.step, 16, config)
    same = (fast.tree.visits == slow.tree.visits).all(1)
    assert same.float().mean() > 0.9  # a near tie may fall either way
    torch.testing.assert_close(fast.policy_target[same], slow.policy_target[same], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(fast.root_value[same], slow.root_value[same], atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_row_does_not_depend_on_the_others_or_on_the_threads():
    """To the bit: alone, in another place, in a batch beyond one block of rows, with two threads."""
    _, model, root = made(TWO_PLAYERS, rows=70)
    native = native_step(model, END_THRESHOLD)
    action = torch.arange(140) % 9
    whole = native(root.embedding, action)
    for row in (0, 63, 64, 101, 139):
        alone = native(root.embedding[row : row + 1], action[row : row + 1], torch.tensor([row]))
        for name in ("embedding", "reward", "discount", "prior_logits", "value", "to_play"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[row])
    config = gumbel_config(SearchConfig(), greedy=False)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(search.gumbel_muzero(root, native, 32, config))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(results[0][:5], results[1][:5], strict=True):
        assert torch.equal(one, two)


def test_what_it_is_not_for_is_left_to_torch():
    _, model, _ = made(["wander"])  # three players
    assert native_step(model, END_THRESHOLD) is None
    assert model.recurrent_fn() == model.step
    _, model, _ = made(TWO_PLAYERS, trunk="resnet")
    assert native_step(model, END_THRESHOLD) is None


@torch.no_grad()
def test_weights_are_read_when_it_is_made():
    network, model, root = made(ONE_PLAYER)
    action = torch.zeros(10, dtype=torch.int64)
    before = native_step(model, END_THRESHOLD)
    old = before(root.embedding, action).value
    network.core.weight += 0.3
    assert torch.equal(before(root.embedding, action).value, old)
    assert not torch.equal(native_step(model, END_THRESHOLD)(root.embedding, action).value, old)
