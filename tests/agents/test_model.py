"""The network as a model for search: who moves, when a game ends, and rows that do not disturb one another."""

import pytest
import torch
from tiny import observations, tiny_network, toy

from agents.acting import Query, SearchConfig, search_batch
from agents.model import END_THRESHOLD, SearchModel

NAMES = ["tictactoe", "CartPole-v1", "wander", "connect_four", "relay"]


def batch(network, names, rows, seed=3):
    """(observations, game, legal, to_play, seeds) of a batch with `rows` rows of each game."""
    generator = torch.Generator().manual_seed(seed)
    pairs, game, legal, to_play = [], [], [], []
    widest = network.tables.exists.shape[1]
    for name in names:
        spec = toy(name).spec
        pairs.append((spec.name, observations(spec, rows, generator)))
        game.append(torch.full((rows,), network.games[spec.name]))
        mask = torch.rand(rows, spec.num_actions, generator=generator) < 0.7
        mask[:, 0] = True
        legal.append(torch.nn.functional.pad(mask, (0, widest - spec.num_actions)))
        to_play.append(torch.randint(spec.num_players, (rows,), generator=generator))
    seeds = torch.randint(2**40, (rows * len(names),), generator=generator)
    return pairs, torch.cat(game), torch.cat(legal), torch.cat(to_play), seeds


@torch.no_grad()
def test_the_embedding_carries_latent_and_seat():
    network = tiny_network(NAMES)
    pairs, game, legal, to_play, seeds = batch(network, NAMES, 4)
    model = SearchModel(network, game, 0.9)
    root = model.root(pairs, legal, to_play, seeds, None)
    latent = torch.cat([network.represent(name, observation) for name, observation in pairs])
    assert torch.equal(root.embedding[:, :-1], latent.flatten(1))
    assert torch.equal(root.embedding[:, -1], to_play.float())
    step = model.step(root.embedding, torch.zeros(20, dtype=torch.int64))
    assert torch.equal(step.embedding[:, -1].long(), step.to_play)
    expected = network.transition(latent, game, torch.zeros(20, dtype=torch.int64))
    assert torch.equal(step.embedding[:, :-1], expected.flatten(1))


@torch.no_grad()
def test_values_and_rewards_take_the_right_view():
    """Reward by whoever moved, value by whoever moves now: read by hand from the heads, row by row."""
    network = tiny_network(NAMES)
    pairs, game, legal, to_play, seeds = batch(network, NAMES, 5)
    model = SearchModel(network, game, 1.0)
    root = model.root(pairs, legal, to_play, seeds, None)
    step = model.step(root.embedding, torch.ones(25, dtype=torch.int64))
    heads = network.heads(step.embedding[:, :-1].unflatten(1, (1, 16)), game)

    def by_hand(logits, row, mover):
        spec = network.specs[game[row]]
        numbers = (torch.softmax(logits[row], -1) * network.bins).sum(-1) * network.tables.scale[game[row]]
        if spec.zero_sum:
            return [float(numbers[0]) if seat == mover else -float(numbers[0]) for seat in range(2)]
        return [float(numbers[(seat - mover) % spec.num_players]) for seat in range(spec.num_players)]

    for row in range(25):
        players = network.specs[game[row]].num_players
        assert step.reward[row, :players].tolist() == pytest.approx(
            by_hand(heads.reward, row, int(to_play[row])), rel=1e-5, abs=1e-5
        )
        value = by_hand(heads.value, row, int(step.to_play[row]))
        assert step.value[row, :players].tolist() == pytest.approx(value, rel=1e-5, abs=1e-5)
        assert not step.reward[row, players:].any()
        assert not step.value[row, players:].any()


@torch.no_grad()
def test_the_next_mover_is_the_likeliest_of_the_rows_own_players(monkeypatch):
    network = tiny_network(NAMES, noise=2.0)
    read = network.read

    def tempting(latent, action_row, num_values, num_players, *_):
        """Rows of two players find a third seat, which their game lacks, far likelier."""
        heads = read(latent, action_row, num_values, num_players)
        shift = (num_players == 2)[:, None] * torch.tensor([-50.0, -50.0, 0.0])
        return heads._replace(next_mover=heads.next_mover + shift)

    monkeypatch.setattr(network, "read", tempting)
    pairs, game, legal, to_play, seeds = batch(network, NAMES, 40)
    model = SearchModel(network, game, 1.0)
    step = model.step(model.root(pairs, legal, to_play, seeds, None).embedding, torch.zeros(200, dtype=torch.int64))
    logits = network.heads(step.embedding[:, :-1].unflatten(1, (1, 16)), game).next_mover
    jumps = set()
    for row in range(200):
        players = network.specs[game[row]].num_players
        jump = int(logits[row, :players].argmax()) if players > 1 else 0
        jumps.add((players, jump))
        assert int(step.to_play[row]) == (int(to_play[row]) + jump) % players
    assert jumps >= {(1, 0), (2, 0), (2, 1), (3, 0), (3, 2)}  # what can happen did


@torch.no_grad()
def test_the_discount_is_gamma_times_continuation_and_nothing_below_the_threshold():
    network = tiny_network(NAMES, noise=2.0)
    pairs, game, legal, to_play, seeds = batch(network, NAMES, 40)
    model = SearchModel(network, game, 0.9)
    step = model.step(model.root(pairs, legal, to_play, seeds, None).embedding, torch.zeros(200, dtype=torch.int64))
    goes_on = torch.sigmoid(network.heads(step.embedding[:, :-1].unflatten(1, (1, 16)), game).continuation)
    above = goes_on >= END_THRESHOLD
    assert 20 < int(above.sum()) < 180
    assert not step.discount[~above].any()
    assert torch.allclose(step.discount[above], 0.9 * goes_on[above])


@torch.no_grad()
def test_one_game_alone_is_searched_in_a_network_that_plays_games_of_three():
    """Batches of one kind take a shorter way through the model; it must be the same way."""
    network = tiny_network(NAMES)
    for name in NAMES:
        pairs, game, legal, to_play, seeds = batch(network, [name], 5)
        spec = network.specs[int(game[0])]
        model = SearchModel(network, game, 0.9)
        root = model.root(pairs, legal, to_play, seeds, None)
        heads = network.heads(network.represent(*pairs[0]), game)
        expected = network.decode_seats(heads.value, game, to_play, spec.num_players)
        assert root.value.shape == (5, spec.num_players)
        assert torch.allclose(root.value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@torch.no_grad()
def test_a_mixed_batch_equals_batches_of_one_game_each(trunk):
    network = tiny_network(NAMES, trunk=trunk)
    rows = 7
    pairs, game, legal, to_play, seeds = batch(network, NAMES, rows)
    action = torch.arange(len(game)) % 2
    mixed = SearchModel(network, game, 0.9)
    root = mixed.root(pairs, legal, to_play, seeds, None)
    step = mixed.step(root.embedding, action)
    for number, (name, observation) in enumerate(pairs):
        here = slice(number * rows, (number + 1) * rows)
        model = SearchModel(network, game[here], 0.9)
        own = model.root([(name, observation)], legal[here], to_play[here], seeds[here], None)
        exists = network.tables.exists[game[here]][0]
        assert torch.equal(root.exists[here], own.exists)
        for field in ("embedding", "value", "to_play"):
            mine, theirs = getattr(root, field)[here], getattr(own, field)
            assert torch.allclose(
                mine[:, : theirs.shape[1]] if mine.dim() > 1 else mine, theirs, rtol=1e-5, atol=1e-5
            ), field
        assert torch.allclose(root.prior_logits[here][:, exists], own.prior_logits[:, exists], atol=1e-5)
        alone = model.step(own.embedding, action[here])
        assert torch.equal(step.to_play[here], alone.to_play)
        players = network.specs[network.games[name]].num_players
        for field, last in (("embedding", None), ("discount", None), ("value", players), ("reward", players)):
            mine, theirs = getattr(step, field)[here], getattr(alone, field)
            if last is not None:
                mine, theirs = mine[:, :last], theirs[:, :last]
            assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5), field
        assert torch.allclose(step.prior_logits[here][:, exists], alone.prior_logits[:, exists], atol=1e-5)


@torch.no_grad()
def test_a_search_of_a_mixed_batch_equals_searches_of_one_game_each():
    network = tiny_network(NAMES)
    config = SearchConfig(simulations=6)
    rows = 6
    pairs, _, legal, to_play, seeds = batch(network, NAMES, rows)
    scale = torch.rand(rows * len(NAMES), generator=torch.Generator().manual_seed(0)) + 0.5
    query = Query(legal, to_play, seeds, scale, config, 6, greedy=False)
    mixed = search_batch(network, pairs, query)
    for number, pair in enumerate(pairs):
        here = slice(number * rows, (number + 1) * rows)
        own = search_batch(network, [pair], query.of(torch.arange(len(to_play))[here]))
        assert torch.equal(mixed.action[here], own.action)
        assert torch.equal(mixed.visits[here], own.visits)
        assert torch.allclose(mixed.policy_target[here], own.policy_target, atol=1e-4)
        seats = own.root_value.shape[1]
        assert torch.allclose(mixed.root_value[here][:, :seats], own.root_value, atol=1e-4)
        assert not mixed.policy_target[here][~legal[here]].any()
