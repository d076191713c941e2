"""Games whose commands vary: how they are read, searched and learnt, and that they cost the others nothing."""

from __future__ import annotations

import pytest
import torch
from tiny import shaken, tiny_config, tiny_network

from agents.acting import Query, SearchConfig, ValueScales, search_batch
from agents.agent import NetworkPlayer
from agents.alphazero import search_games
from agents.commands import CommandEncoder, Commands
from agents.learner import Learner, LearnerConfig
from agents.model import SearchModel
from agents.network import MultiGameNetwork, NetworkConfig, pad_last
from agents.replay import ReplayBuffer, ReplayConfig
from agents.selfplay import Collector, SelfPlayConfig, collect_step
from envs import registry, tokens
from envs.words.errand import Errand

TEXTS = ("go north", "take the red lamp", "take the red key", "wait", "")


def encoded(texts, length=24):
    return torch.stack([tokens.encode(text, length) for text in texts])


def positions(copies, seed=0):
    """Observation, legal, to_play and state of first positions."""
    rules = Errand()
    state = rules.initial(torch.arange(copies) + 1000 * seed)
    return rules.observe(state), rules.legal(state), rules.to_play(state), state


def query(network, legal, to_play, simulations=8, greedy=True):
    widest = network.tables.exists.shape[1]
    return Query(pad_last(legal, widest), to_play, torch.arange(len(legal)), torch.ones(len(legal)), SearchConfig(),
                 simulations, greedy)  # fmt: skip


def test_every_command_is_read_as_if_it_were_alone():
    encoder = CommandEncoder(tiny_config(), 32, 0)
    together = encoder(encoded([*TEXTS, *TEXTS[::-1]]).view(2, 5, -1))
    assert together.move.shape == (2, 5, 32)
    assert together.there.tolist() == [[True, True, True, True, False], [False, True, True, True, True]]
    for length in (24, 40):  # however much padding stands before it
        for number, text in enumerate(TEXTS):
            alone = encoder(encoded([text], length))
            for row, place in ((0, number), (1, 4 - number)):
                torch.testing.assert_close(together.move[row, place], alone.move[0], rtol=1e-5, atol=1e-6)
                torch.testing.assert_close(together.key[row, place], alone.key[0], rtol=1e-5, atol=1e-6)
    keys = encoder(encoded(TEXTS)).key
    assert float(torch.cdist(keys, keys).fill_diagonal_(9).min().detach()) > 0.1  # no two alike


def test_gradients_go_through_the_reading_of_equal_commands():
    encoder = CommandEncoder(tiny_config(), 8, 0)
    once, twice = encoded(TEXTS), encoded([*TEXTS, *TEXTS])
    (one,) = torch.autograd.grad(encoder(once).move.square().sum(), encoder.embedding)
    (two,) = torch.autograd.grad(encoder(twice).move.square().sum(), encoder.embedding)
    torch.testing.assert_close(two, 2 * one)


def test_growing_changes_nothing_of_the_other_games():
    board = registry.make("tictactoe")
    shown = board.native.observe(board.native.initial(torch.zeros(2, dtype=torch.int64)))
    network = MultiGameNetwork(tiny_config(), [board.spec], seed=0)
    game = torch.zeros(2, dtype=torch.int64)

    def outputs():
        latent = network.represent("tictactoe", shown)
        return [*network.heads(latent, game), network.transition(latent, game, torch.tensor([0, 4]))]

    before, rows = outputs(), dict(network.action_index)
    network.add_game(Errand.spec)
    assert network.action_index == rows  # commands that vary take no rows
    for one, other in zip(before, outputs(), strict=True):
        assert torch.equal(one, other)
    # And the other way round: boards join a network that began with words.
    worded = MultiGameNetwork(tiny_config(), [Errand.spec], seed=0)
    worded.add_game(board.spec)
    for one, other in zip(before, [*worded.heads(worded.represent("tictactoe", shown), game + 1)], strict=False):
        assert torch.equal(one, other)


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
def test_the_search_follows_the_commands_and_not_their_numbers(trunk):
    network = tiny_network(["errand"], trunk=trunk, noise=1.0)
    shown, legal, to_play, _ = positions(6)
    result = search_batch(network, [("errand", shown)], query(network, legal, to_play))
    order = torch.tensor([2, 0, 4, 1, 3])  # action a now says what order[a] said
    said = Errand.spec.commands(shown)[:, order]
    moved = torch.cat([Errand.spec.text(shown), said.flatten(1)], 1)
    other = search_batch(network, [("errand", moved)], query(network, legal[:, order], to_play))
    torch.testing.assert_close(other.policy_target, result.policy_target[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.root_value, result.root_value, rtol=1e-4, atol=1e-5)
    assert torch.equal(order[other.action], result.action)
    # Not because everything is alike.
    assert float(result.policy_target[:, :3].std(1).min()) > 1e-3


def test_a_step_of_the_model_is_told_what_was_said():
    network = tiny_network(["tictactoe", "errand"], noise=1.0)
    shown, legal, to_play, _ = positions(4)
    game = torch.full((4,), 1)
    model = SearchModel(network, game, 0.99)
    root = model.root([("errand", shown)], pad_last(legal, 9), to_play, torch.arange(4), None)
    action = torch.tensor([0, 1, 2, 0])
    step = model.recurrent_fn()(root.embedding, action)
    for row in range(4):  # by hand: one command, one row
        text = Errand.spec.commands(shown)[row, action[row]]
        one = network.command_encoders["shared"](text[None])
        latent = network.represent("errand", shown[row : row + 1])
        condition = one.move + network.game_embedding[1]
        after = network.trunk(latent, condition, None)
        torch.testing.assert_close(step.embedding[row, :-1], after.flatten(), rtol=1e-4, atol=1e-5)
        hidden = torch.relu(network.torso(after.flatten(1)))
        keys = network.command_encoders["shared"](Errand.spec.commands(shown)[row]).key
        expected = keys @ network.query[0](hidden)[0] / 8
        torch.testing.assert_close(step.prior_logits[row, :5], expected, rtol=1e-4, atol=1e-5)
    assert not bool(root.exists[:, 3:].any())  # in the hall three commands can be given, below the root too


def test_other_games_are_searched_as_if_alone():
    network = tiny_network(["tictactoe", "errand"], noise=1.0)
    board = registry.make("tictactoe").native
    state = board.initial(torch.zeros(5, dtype=torch.int64))
    shown, legal, to_play, _ = positions(3)
    alone = query(network, board.legal(state), board.to_play(state), greedy=False)
    together = Query(
        torch.cat([alone.legal, pad_last(legal, 9)]), torch.cat([alone.to_play, to_play]),
        torch.cat([alone.seed, torch.arange(3)]), torch.ones(8), *alone[4:],
    )  # fmt: skip
    one = search_games(network, [("tictactoe", board.observe(state))], {}, alone)
    both = search_games(network, [("tictactoe", board.observe(state)), ("errand", shown)], {}, together)
    for field in one._fields[:-1]:  # but the samples of continuous actions
        assert torch.equal(getattr(both, field)[:5], getattr(one, field)), field
    words = search_games(network, [("errand", shown)], {}, together.of(torch.arange(5, 8)))
    for field in words._fields[:-1]:
        alone_too, among = getattr(words, field), getattr(both, field)[5:]
        assert torch.equal(among[:, : alone_too.shape[1]] if among.dim() > 1 else among, alone_too), field


def experience(names, config, steps=30, network=None, copies=8, updates=0):
    """A learner, its collectors and buffers after some steps."""
    nets = [MultiGameNetwork(network or tiny_config(), seed=3) for _ in range(2)]
    learner = Learner(nets[0], nets[1].requires_grad_(False), config, 3)
    collectors, buffers = {}, {}
    for handle in map(registry.make, names):
        learner.add_game(handle.spec)
        nets[1].requires_grad_(False)
        play = SelfPlayConfig(copies=copies, random_plies=2)
        collectors[handle.spec.name] = Collector(handle.spec, handle.environment(copies, 0), play, 3)
        buffers[handle.spec.name] = ReplayBuffer(handle.spec, copies, ReplayConfig(), config.window)
    scales = ValueScales()
    for _ in range(steps):
        collect_step(nets[1], collectors, buffers, scales, SearchConfig(simulations=4))
    for _ in range(updates):
        learner.update(buffers, 0.99, 100)
    return learner, collectors, buffers


SMALL = LearnerConfig(batch=16, unroll=2, n_step=3, start_steps=1, symmetries=False)


def test_gradients_of_a_mixed_batch():
    """Half of what each game's own autograd pass gives, added up; boards stay with the written-out gradients."""
    learner, _, buffers = experience(["errand", "tictactoe"], SMALL)
    shaken(learner.network)
    samples, indices = learner.sample(buffers, 0.99)
    assert [s.spec.name for s in samples] == ["tictactoe", "errand"]
    for sample, index in zip(samples, indices, strict=True):
        assert torch.equal(buffers[sample.spec.name].observations(index)[0], sample.observation)

    def gradients(backward):
        learner.optimizer.zero_grad(set_to_none=True)
        answer = backward()
        return answer, {name: weight.grad for name, weight in learner.network.named_parameters()}

    (losses, total), found = gradients(lambda: learner._gradients(samples))
    apart = [gradients(lambda sample=sample: learner._backward([sample])) for sample in samples]
    assert total == pytest.approx(sum(answer[1] for answer, _ in apart) / 2, rel=1e-4)
    assert losses.value_error.shape == (32,)
    for name, weight in found.items():
        parts = [grads[name] for _, grads in apart if grads[name] is not None]
        if weight is None:
            assert not parts, name
        elif parts:
            torch.testing.assert_close(weight, sum(parts) / 2, rtol=1e-3, atol=1e-6, msg=name)
        else:
            assert not bool(weight.any()), name
    assert float(found["command_encoders.shared.embedding"].abs().max()) > 1e-5


def test_samples_show_what_could_be_said_along_the_way():
    learner, _, buffers = experience(["errand"], SMALL)
    (sample,), (index,) = learner.sample(buffers, 0.99)
    spec, buffer = Errand.spec, buffers["errand"]
    assert torch.equal(sample.shown[:, 0], sample.observation)
    later = (index + buffer.copies) % (buffer.length * buffer.copies)
    assert torch.equal(sample.shown[:, 1], buffer.observations(later)[0])
    said = spec.commands(sample.shown)
    for k in range(2):  # every move that was made was one that could be said
        chosen = said[torch.arange(16), k, sample.action[:, k]]
        assert bool((chosen[:, -1] != tokens.PADDING).all())
    # What the search wanted was there to be said.
    assert float((sample.policy * (said[..., -1] == tokens.PADDING)).max()) == 0.0


def test_a_policy_is_taught_by_the_words():
    """One position after another, the right command under ever another number: only its text can tell."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = MultiGameNetwork(NetworkConfig(width=48, hidden=96), [Errand.spec], seed=0)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    rules, right = Errand(), []
    for update in range(260):
        state = rules.initial(torch.randint(2**31, (96,), generator=generator))
        shown, found = rules.observe(state), state.wanted_room
        game = torch.zeros(96, dtype=torch.int64)
        said = network.commands("errand", shown)
        logits = network.heads(network.represent("errand", shown), game, said).policy.masked_fill(~said.there, -1e9)
        loss = torch.nn.functional.cross_entropy(logits, found)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update >= 230:
            right.append(float((logits.argmax(1) == found).float().mean()))
    assert sum(right) / len(right) > 0.9  # a third by luck


def test_players_without_search_and_from_the_rules():
    network = tiny_network(["errand"], noise=1.0)
    shown, legal, to_play, _ = positions(5)
    raw = NetworkPlayer(network, Errand.spec, SearchConfig(), 1.0, 0).act(shown, legal, to_play, torch.arange(5))
    said = network.commands("errand", shown)
    latent = network.represent("errand", shown)
    hidden = torch.relu(network.torso(latent.flatten(1)))
    logits = torch.einsum("bq,baq->ba", network.query[0](hidden), said.key) / 8
    torch.testing.assert_close(raw.prior, logits.masked_fill(~legal, -torch.inf).softmax(1).detach())
    assert bool(legal.gather(1, raw.action[:, None]).all())


def test_padded_commands_are_not_there():
    encoder = CommandEncoder(tiny_config(), 8, 0)
    wide = encoder(encoded(TEXTS)[None]).padded(7)
    assert isinstance(wide, Commands)
    assert wide.there.tolist() == [[True] * 4 + [False] * 3]
    assert wide.key.shape == (1, 7, 64)
