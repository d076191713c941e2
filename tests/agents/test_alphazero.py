"""AlphaZero mode: the tree against the plain-Python search on plain-Python rules, mixed batches, the two kinds side by
side, states in the replay buffer, training without a model."""

import dataclasses

import pytest
import torch
from test_rules import PLAIN, Plain, PlainRules, played_at_random, states_of
from tiny import tiny_network, toy
from torch import Tensor

import agents.alphazero
from agents.acting import Query, SearchConfig, ValueScales, gumbel_config, search_batch
from agents.alphazero import ExactRules, RulesSearchModel, States, check_search, rules_of, search_games, search_rules
from agents.learner import Learner, LearnerConfig
from agents.network import MultiGameNetwork
from agents.reanalyse import reanalyse_
from agents.replay import ReplayBuffer, ReplayConfig, ring_length
from agents.rules import network_player
from agents.selfplay import Collector, SelfPlayConfig, collect_step, pad_last
from envs.boards import tictactoe
from envs.game import Game
from envs.registry import make
from search import Unscaled, gumbel_muzero, reference

CONFIG = SearchConfig(simulations=6, gamma=0.95, max_considered=4, model="rules")


def rows_of(network: MultiGameNetwork, name: str, state) -> tuple:
    """A game's rows of a search: observation pair, states, legal [C, A], to_play [C]."""
    rules = ExactRules(toy(name).native)
    game, widest = rules.game, network.tables.exists.shape[1]
    return (name, game.observe(state)), States(rules, rules.pack(state)), pad_last(game.legal(state), widest), \
        game.to_play(state)  # fmt: skip


def batch_of(network: MultiGameNetwork, positions: dict, seed: int = 0):
    """What `search_games` takes: pairs, states of all games, and the tensors of the rows."""
    parts = {name: rows_of(network, name, state) for name, state in positions.items()}
    legal, to_play = torch.cat([part[2] for part in parts.values()]), torch.cat([part[3] for part in parts.values()])
    rows = torch.arange(len(legal))
    given = legal, to_play, rows + seed, 0.3 + 0.1 * (rows % 5)
    return [part[0] for part in parts.values()], {name: part[1] for name, part in parts.items()}, given


# -- the tree ----------------------------------------------------------------------------------------------------------


def oracle(network: MultiGameNetwork, name: str, plain: PlainRules, gamma: float):
    """(predict, step) for search/reference.py: rules in plain Python, the network asked about one position at a time
    through its heads' own decoding."""
    game, index = make(name).native, torch.tensor([network.games[name]])

    def predict(s: Plain, reward=(), discount=1.0) -> reference.Prediction:
        with torch.no_grad():
            heads = network.heads(network.represent(name, game.observe(states_of(name, [s]))), index)
            value = network.decode_seats(heads.value, index, torch.tensor([s.mover]), 2)[0].tolist()
        legal = plain.legal(s)
        return reference.Prediction(s, heads.policy[0, : len(legal)].tolist(), value, s.mover, legal, reward, discount)

    def step(s: Plain, action: int) -> reference.Prediction:
        after, won, over = plain.play(s, action)
        return predict(after, [won, -won] if s.mover == 0 else [-won, won], 0.0 if over else gamma)

    return predict, step


def test_the_search_equals_the_oracle_on_the_exact_tree():
    """Rows of two games in one batch, searched with their rules: every one as the plain search finds it."""
    simulations, names = 24, ["connect_four", "tictactoe"]
    network = tiny_network([*names, "three"], noise=1.0)
    positions = {name: PLAIN[name].random_positions(6, seed=3) for name in names}
    pairs, states, given = batch_of(network, {name: states_of(name, at) for name, at in positions.items()})
    model = RulesSearchModel(network, [(name, states[name]) for name, _ in pairs], 0.95)
    config = dataclasses.replace(gumbel_config(CONFIG, greedy=True), unit=Unscaled(), value_scale=0.1)
    with torch.no_grad():
        root = model.root_of([(name, states[name]) for name, _ in pairs], *given)
        result = gumbel_muzero(root, model.recurrent_fn(), simulations, config)
    compared = ends = 0
    for row, (name, position) in enumerate((which, at) for which in names for at in positions[which]):
        actions = make(name).spec.num_actions
        predict, step = oracle(network, name, PLAIN[name], 0.95)
        expected = reference.gumbel_muzero(predict(position), step, simulations, config)
        if expected.smallest_gap < 1e-4:  # closer than float32 tells apart
            continue
        compared += 1
        assert result.action[row] == expected.action
        target = result.policy_target[row]
        torch.testing.assert_close(target[:actions], torch.tensor(expected.policy), atol=1e-4, rtol=1e-3)
        assert not target[actions:].any()
        torch.testing.assert_close(result.root_value[row], torch.tensor(expected.root_value), atol=1e-4, rtol=1e-3)
        for node in expected.nodes:
            ends += node.terminal
            children = result.tree.child[row, node.index]
            found = {a: int(child) for a, child in enumerate(children.tolist()) if child >= 0}
            assert found == {a: child.index for a, child in node.children.items()}
            rules = states[name].rules
            held = rules.unpack(result.tree.embedding[row, node.index, : rules.width][None])
            for mine, theirs in zip(held, states_of(name, [node.prediction.state]), strict=True):
                assert torch.equal(mine, theirs)
    assert compared >= 8
    assert ends >= 4


def test_self_play_searches_as_the_player_of_evaluation_does():
    """Two pieces of code for one thing: `network_player`, which judges play, on the same rows and seeds."""
    network, state = tiny_network(["tictactoe", "three"]), played_at_random(make("tictactoe").native, 9, 3)
    _, states, (legal, to_play, seed, _) = batch_of(network, {"tictactoe": state})
    scale = torch.full((9,), 0.4)
    for greedy in (True, False):
        found = search_rules(network, [*states.items()], Query(legal, to_play, seed, scale, CONFIG, 16, greedy))
        decision = network_player(network, states["tictactoe"].rules.game, CONFIG, 0.4, 16, greedy)
        decision = decision.act_on_state(state, seed)
        assert torch.equal(found.action, decision.action)
        assert torch.equal(found.visits[:, :9], decision.visits)
        torch.testing.assert_close(found.policy_target[:, :9], decision.policy, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.root_value[:, :2], decision.value, atol=1e-5, rtol=1e-4)


NAMES = ("connect_four", "three", "tictactoe", "two_each")


def test_a_row_is_the_same_in_a_mixed_batch_and_alone():
    network = tiny_network([*NAMES])
    positions = {name: played_at_random(toy(name).native, 4, 2) for name in NAMES}
    pairs, states, given = batch_of(network, positions)
    together = search_games(network, pairs, states, Query(*given, CONFIG, 12, False))
    first = 0
    for pair in pairs:
        rows = slice(first, first + 4)
        first += 4
        alone = search_games(network, [pair], states, Query(*given, CONFIG, 12, False).of(rows))
        seats = alone.root_value.shape[1]
        assert torch.equal(together.action[rows], alone.action)
        assert torch.equal(together.visits[rows], alone.visits)
        torch.testing.assert_close(together.policy_target[rows], alone.policy_target, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.root_value[rows, :seats], alone.root_value, atol=1e-5, rtol=1e-4)
        assert not together.root_value[rows, seats:].any()
        assert not (together.visits[rows] > 0)[~given[0][rows]].any()


def test_one_call_of_the_network_a_simulation_always_of_the_same_shape(monkeypatch):
    network = tiny_network([*NAMES])
    pairs, states, given = batch_of(network, {name: played_at_random(toy(name).native, 4, 2) for name in NAMES})
    shapes, read = [], MultiGameNetwork.read

    def counted(self, latent: Tensor, *rest):
        shapes.append(tuple(latent.shape))
        return read(self, latent, *rest)

    monkeypatch.setattr(MultiGameNetwork, "read", counted)
    search_games(network, pairs, states, Query(*given, CONFIG, 11, False))
    assert shapes == [(16, 1, 16)] * 12  # the root's and eleven


def test_games_without_rules_are_searched_with_the_model_beside_the_others():
    """The halves of a mixed batch are what each kind of search alone says, each row in its place."""
    network = tiny_network(["tictactoe", "CartPole-v1", "connect_four"])
    boards = {name: played_at_random(make(name).native, 4, 2) for name in ("tictactoe", "connect_four")}
    pairs, states, (legal, to_play, seed, scale) = batch_of(network, boards)
    generator = torch.Generator().manual_seed(0)
    pole = "CartPole-v1", torch.randn(3, 4, generator=generator)
    two = torch.zeros(3, legal.shape[1], dtype=torch.bool)
    two[:, :2] = True

    def between(part: Tensor, new: Tensor) -> Tensor:
        return torch.cat([part[:4], new, part[4:]])

    mine = two, torch.zeros(3).long(), torch.arange(50, 53), torch.ones(3)
    given = [between(part, new) for part, new in zip((legal, to_play, seed, scale), mine, strict=True)]
    found = search_games(network, [pairs[0], pole, pairs[1]], states, Query(*given, CONFIG, 8, False))
    exact = search_rules(network, [*states.items()], Query(legal, to_play, seed, scale, CONFIG, 8, False))
    learned = search_batch(network, [pole], Query(*mine, CONFIG, 8, False))
    board_rows = torch.tensor([0, 1, 2, 3, 7, 8, 9, 10])
    for name in ("action", "policy_target", "visits", "q_values"):
        assert torch.equal(getattr(found, name)[board_rows], getattr(exact, name)), name
        assert torch.equal(getattr(found, name)[4:7], getattr(learned, name)), name
    assert torch.equal(found.root_value[board_rows], exact.root_value)
    assert torch.equal(found.root_value[4:7, :1], learned.root_value)
    assert not found.root_value[4:7, 1:].any()


# -- self-play and reanalysis ------------------------------------------------------------------------------------------


def play(network: MultiGameNetwork, names: list[str], steps: int, copies: int = 4, window: int = 2):
    collectors, buffers = {}, {}
    for name in names:
        game = toy(name)
        rules, environment = rules_of(game, CONFIG), game.environment(copies, 77)
        collectors[name] = Collector(game.spec, environment, SelfPlayConfig(copies, random_plies=2), 5, rules)
        buffers[name] = ReplayBuffer(game.spec, copies, ReplayConfig(max_steps=12 * copies), window, rules=rules)
    for _ in range(steps):
        collect_step(network, collectors, buffers, ValueScales(), CONFIG)
    return collectors, buffers


def test_the_buffer_keeps_the_states_that_the_observations_show():
    network = tiny_network(["tictactoe", "CartPole-v1", "connect_four"])
    collectors, buffers = play(network, ["tictactoe", "CartPole-v1", "connect_four"], 30)  # round the ring
    assert collectors["CartPole-v1"].rules is None
    assert "state" not in buffers["CartPole-v1"].state_dict()
    for name in ("tictactoe", "connect_four"):
        buffer, index = buffers[name], torch.arange(len(buffers[name]))
        observation, legal, to_play = buffer.read(index)
        state = buffer.rules.unpack(buffer.states(index))
        game = make(name).native
        assert torch.equal(game.observe(state), observation)
        assert torch.equal(game.legal(state), legal)
        assert torch.equal(game.to_play(state), to_play)
        assert len(torch.unique(to_play)) == 2
        saved = buffer.state_dict()
        again = ReplayBuffer(buffer.spec, buffer.copies, buffer.config, 2, rules=buffer.rules)
        again.load_state_dict(saved)
        assert torch.equal(again.state, buffer.state)
        longer = ReplayBuffer(buffer.spec, buffer.copies, ReplayConfig(max_steps=80), 2, rules=buffer.rules)
        longer.load_state_dict(saved)  # another ring: oldest first
        index = torch.arange(len(longer))
        assert torch.equal(game.observe(longer.rules.unpack(longer.states(index))), longer.read(index)[0])
    plain = ReplayBuffer(make("tictactoe").spec, 4, ReplayConfig(max_steps=48), 2)
    plain.load_state_dict(buffers["tictactoe"].state_dict())  # which needs no states and takes none
    with pytest.raises(ValueError, match="keeps no states, which reanalysis with the rules needs; resume with learner"):
        buffers["tictactoe"].load_state_dict(plain.state_dict())


def test_states_count_in_the_memory_of_the_buffer():
    spec, config = make("tictactoe").spec, ReplayConfig(max_bytes=10_000)
    width = ExactRules(make("tictactoe").native).width
    assert width == 32  # 18 stones, 8 bytes for the seat, up to a whole 16
    per_step = 10_000 // ring_length(spec, 1, config, 2)
    assert 10_000 // ring_length(spec, 1, config, 2, width) - per_step == pytest.approx(width, abs=2)


def test_reanalysis_searches_the_stored_states_with_the_rules(monkeypatch):
    network = tiny_network(["tictactoe", "CartPole-v1"])
    _, buffers = play(network, ["tictactoe", "CartPole-v1"], 10)
    asked, search = [], agents.alphazero.search_rules

    def watched(network, states, *rest):
        asked.append((states, search(network, states, *rest)))
        return asked[-1][1]

    monkeypatch.setattr(agents.alphazero, "search_rules", watched)
    generator = torch.Generator().manual_seed(3)
    reanalyse_(network, buffers, ValueScales(), CONFIG, 5, generator)
    ((states, result),) = asked
    index = buffers["tictactoe"].draw_positions(5, torch.Generator().manual_seed(3))
    assert [name for name, _ in states] == ["tictactoe"]
    assert torch.equal(states[0][1].packed, buffers["tictactoe"].states(index))
    rows = buffers["tictactoe"].rows.view(-1, buffers["tictactoe"].rows.shape[2])[index]
    last = {int(place): row for row, place in enumerate(index)}  # of equal positions the later one counts
    for row, place in enumerate(index.tolist()):
        stored = rows[row, buffers["tictactoe"].fields["policy"]]
        assert torch.equal(stored, result.policy_target[last[place], :9])


# -- training without a model ------------------------------------------------------------------------------------------


def test_without_unrolling_only_policy_and_value_learn():
    network = tiny_network(["tictactoe", "connect_four"])
    _, buffers = play(network, ["tictactoe", "connect_four"], 12, window=3)
    config = LearnerConfig(unroll=0, n_step=2, batch=8, warmup=0)
    assert config.window == 3
    learner = Learner(network, tiny_network(["tictactoe", "connect_four"]).requires_grad_(False), config, seed=1)
    before = network.torso.weight.clone()
    report = learner.update(buffers, 0.95, 10)
    assert set(report["tictactoe"]) == set(report["connect_four"]) == {"policy", "value"}
    for group in report.values():
        assert all(torch.tensor(number).isfinite() for number in group.values())
    assert not any(weight.grad is not None and weight.grad.any() for weight in network.trunk.parameters())
    assert not torch.equal(before, network.torso.weight)
    state, fused = learner.generator.get_state(), learner.fused(buffers)
    gradients = []
    for compiled in (False, True):
        learner.generator.set_state(state)
        learner.optimizer.zero_grad(set_to_none=True)
        if compiled:
            batch = fused.draw(list(buffers.values()), 0.95, learner.generator)
            total = fused.backward(batch, [buffer.copies for buffer in buffers.values()]).total
        else:
            _, total = learner._backward(learner.sample(buffers, 0.95)[0])
        assert network.torso.weight.grad is not None
        gradients.append((total, network.torso.weight.grad.clone()))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], atol=1e-6, rtol=1e-4)
    # The loss is that of a learner that unrolls, at the position itself.
    longer = Learner(network, learner.averaged, dataclasses.replace(config, unroll=2, consistency_loss=0.0), seed=1)
    for buffer in buffers.values():
        buffer.window = 5
    samples, _ = longer.sample(buffers, 0.95)
    short = [
        s._replace(action=s.action[:, :0], reward=s.reward[:, :0], continues=s.continues[:, :0], moved=s.moved[:, :0],
                   next_mover=s.next_mover[:, :0],
                   **{name: getattr(s, name)[:, :1] for name in ("policy", "policy_known", "value", "alive")})
        for s in samples
    ]  # fmt: skip
    one, other = learner.losses(short), longer.losses(samples)
    torch.testing.assert_close(one.policy[0], other.policy[0])
    torch.testing.assert_close(one.value[0], other.value[0])
    assert one.reward.shape == one.continuation.shape == one.next_mover.shape == (0, 16)


# -- what is refused ---------------------------------------------------------------------------------------------------


def dice() -> Game:
    class Dice(tictactoe.TicTacToe):
        spec = dataclasses.replace(tictactoe.TicTacToe.spec, name="dice", stochastic=True, solvable=False)

    return Game("dice", Dice.spec, make("tictactoe").build, Dice())


def test_refusals():
    board, pole = make("tictactoe"), make("CartPole-v1")
    learned = SearchConfig()
    assert isinstance(rules_of(board, CONFIG), ExactRules)
    assert rules_of(board, learned) is rules_of(pole, CONFIG) is rules_of(dice(), CONFIG) is None
    check_search([board, pole], CONFIG, unroll=2)
    check_search([board], CONFIG, unroll=0)
    check_search([pole], learned, unroll=1)
    with pytest.raises(ValueError, match="no game of the run has exact rules to search with: game CartPole-v1 has no"):
        check_search([pole], CONFIG, unroll=2)
    with pytest.raises(ValueError, match="no game of the run has exact rules to search with: game dice has chance"):
        check_search([dice(), pole], CONFIG, unroll=2)
    with pytest.raises(ValueError, match=r"CartPole-v1 is searched with the learned one \(it has no exact rules\)"):
        check_search([board, pole], CONFIG, unroll=0)
    with pytest.raises(ValueError, match=r"tictactoe is searched .* set learner.unroll to 1 or more, or search.model="):
        check_search([board], learned, unroll=0)
    assert not LearnerConfig(unroll=0, consistency_loss=0.5).imagines(board.spec)
    with pytest.raises(ValueError, match="game dice has chance"):
        ExactRules(dice().native)
