"""Self-play: what is stored is what happened, whoever shares the batch, with a fixed number of network calls."""

import pytest
import torch
from tiny import tiny_network, toy

import agents.acting
import agents.model
from agents.acting import Query, SearchConfig, ValueScales, search_batch
from agents.replay import ReplayBuffer, ReplayConfig
from agents.selfplay import Collector, SelfPlayConfig, collect_step, final_values
from envs.game import episode_seed

COPIES = 5


def players(names, network, random_plies=2, copies=COPIES, seed=7, **settings):
    collectors, buffers = {}, {}
    for name in names:
        spec = toy(name).spec
        environment = toy(name).environment(copies, 1234)
        config = SelfPlayConfig(copies, random_plies=random_plies, **settings)
        collectors[spec.name] = Collector(spec, environment, config, seed)
        buffers[spec.name] = ReplayBuffer(spec, copies, ReplayConfig(max_steps=100 * copies), 2)
    return collectors, buffers


def play(names, network, steps, random_plies=2, simulations=3, copies=COPIES, **settings):
    collectors, buffers = players(names, network, random_plies, copies, **settings)
    scales, ended = ValueScales(), []
    for _ in range(steps):
        ended.append(collect_step(network, collectors, buffers, scales, SearchConfig(simulations=simulations)))
    return collectors, buffers, scales, ended


def stored(buffer, steps):
    """The first `steps` stored time steps as a window: [steps, C, ...]."""
    flat = torch.arange(steps * buffer.copies)
    window = buffer._window(flat, torch.ones(len(flat)))

    def fold(value):
        return value.unflatten(0, (steps, buffer.copies))

    names = (
        "to_play",
        "action",
        "reward",
        "terminated",
        "truncated",
        "policy",
        "root_value",
        "final_value",
        "trainable",
        "explored",
    )
    return {name: fold(getattr(window, name)[:, 0]) for name in names} | {
        "observation": fold(window.observation), "legal": fold(window.legal)
    }  # fmt: skip


@pytest.mark.parametrize("name", ["wander", "tictactoe", "relay"])
def test_the_store_is_what_the_rules_say_of_the_stored_actions(name):
    """Every copy is played again, alone and by the bare rules, from the seeds of its episodes."""
    network = tiny_network(["wander", "tictactoe", "relay"])
    steps = 26
    _, buffers, _, ended = play([name], network, steps)
    game = toy(name)
    rules, spec = game.native, game.spec
    data = stored(buffers[spec.name], steps)
    scores = {step: [] for step in range(steps)}
    cut = 0
    for copy in range(COPIES):
        episode, length, score = 0, 0, torch.zeros(spec.num_players)
        state = rules.initial(torch.as_tensor(episode_seed(1234, copy, [episode])))
        for t in range(steps):
            row = {key: value[t, copy] for key, value in data.items()}
            assert torch.equal(row["observation"], rules.observe(state)[0])
            assert torch.equal(row["legal"], rules.legal(state)[0])
            assert int(row["to_play"]) == int(rules.to_play(state))
            assert bool(row["legal"][row["action"]]), "an illegal move"
            played = rules.play(state, row["action"][None])
            length += 1
            assert torch.equal(row["reward"], played.reward[0])
            assert bool(row["terminated"]) == bool(played.terminated)
            truncated = length >= spec.max_length and not bool(played.terminated)
            assert bool(row["truncated"]) == truncated
            expected = torch.zeros(spec.num_players)
            if truncated:
                cut += 1
                index = torch.tensor([network.games[spec.name]])
                with torch.no_grad():
                    heads = network.heads(network.represent(spec.name, rules.observe(played.state)), index)
                    mover = rules.to_play(played.state)
                    expected = network.decode_seats(heads.value, index, mover, spec.num_players)[0]
            assert torch.allclose(row["final_value"], expected, rtol=1e-4, atol=1e-5)
            score += played.reward[0]
            state = played.state
            if bool(played.terminated) or truncated:
                scores[t].append((copy, score.tolist(), length))
                episode, length, score = episode + 1, 0, torch.zeros(spec.num_players)
                state = rules.initial(torch.as_tensor(episode_seed(1234, copy, [episode])))
    for t in range(steps):
        found = ended[t][spec.name]
        assert found.score.tolist() == [pytest.approx(score) for _, score, _ in sorted(scores[t])]
        assert found.length.tolist() == [length for _, _, length in sorted(scores[t])]
    assert sum(map(len, scores.values())) > COPIES  # episodes ended and began anew
    assert (cut > 0) == (name == "wander")


def test_openings_are_random_uniform_and_no_targets():
    network = tiny_network(["tictactoe"])
    steps, copies, plies = 40, 64, 3
    _, buffers, _, _ = play(["tictactoe"], network, steps, plies, simulations=1, copies=copies)
    buffer = buffers["tictactoe"]
    data = stored(buffer, steps)
    ended = data["terminated"] | data["truncated"]
    lengths = []
    for copy in range(copies):
        begin = 0
        for t in range(steps):
            if ended[t, copy]:
                trainable = data["trainable"][begin : t + 1, copy]
                opening = int((~trainable).sum())
                assert trainable[opening:].all(), "an opening is a stretch at the beginning"
                lengths.append(opening)
                begin = t + 1
    counts = torch.bincount(torch.tensor(lengths), minlength=plies + 1).float()
    assert len(counts) == plies + 1
    expected = counts.sum() / (plies + 1)
    assert float(((counts - expected) ** 2 / expected).sum()) < 20  # chi-square, 3 degrees of freedom: p = 0.0002
    first = data["action"][0][~data["trainable"][0]]
    assert len(first.unique()) == 9  # all cells are opened with
    # Moves of an opening are random, the others are the search's.
    chosen = data["policy"].gather(2, data["action"][..., None])[..., 0]
    assert not data["policy"][~data["legal"]].any()
    assert torch.allclose(data["policy"].sum(2), torch.ones(steps, copies), atol=1e-5)
    assert float(chosen[data["trainable"]].mean()) > float(chosen[~data["trainable"]].mean())


def test_explored_moves_are_uniform_come_as_often_as_asked_and_keep_the_searchs_policy():
    network = tiny_network(["tictactoe"])
    steps, copies = 60, 64
    _, buffers, _, _ = play(
        ["tictactoe"], network, steps, 2, simulations=1, copies=copies, explore=0.2, explore_share=1.0
    )
    data = stored(buffers["tictactoe"], steps)
    explored, later = data["explored"], data["trainable"]
    assert not explored[~later].any(), "moves of an opening are marked as such"
    share, count = float(explored[later].float().mean()), int(later.sum())
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / count) ** 0.5
    # Uniform over the legal moves: their mean rank among those is one half.
    legal, action = data["legal"][explored], data["action"][explored]
    rank = (legal.long().cumsum(1) - 0.5).gather(1, action[:, None])[:, 0] / legal.sum(1)
    assert abs(float(rank.mean()) - 0.5) < 4 * (1 / 12 / len(rank)) ** 0.5
    assert torch.allclose(data["policy"][explored].sum(1), torch.ones(len(rank)), atol=1e-5)
    # A uniform move hits one part in `legal` of the policy's mass, a move of the search more.
    excess = data["policy"].gather(2, data["action"][..., None])[..., 0] - 1 / data["legal"].sum(2)
    assert abs(float(excess[explored].mean())) < 4 * float(excess[explored].std()) / len(rank) ** 0.5
    assert float(excess[later & ~explored].mean()) > 0.03


def test_a_share_of_the_copies_explores():
    _, buffers, _, _ = play(["tictactoe"], tiny_network(["tictactoe"]), 30, 2, simulations=1, copies=8, explore=0.5)
    explored = stored(buffers["tictactoe"], 30)["explored"]
    assert explored.any(0).tolist() == [False] * 6 + [True] * 2  # the last quarter


def test_greedy_copies_play_the_best_move_of_the_policy_and_the_others_do_not_always():
    network = tiny_network(["tictactoe"])
    steps, copies = 30, 16
    _, buffers, _, _ = play(["tictactoe"], network, steps, 2, simulations=4, copies=copies, greedy_share=0.25)
    data = stored(buffers["tictactoe"], steps)
    best = data["action"] == data["policy"].argmax(2)
    played = data["trainable"]
    assert best[:, :4][played[:, :4]].all()
    assert not best[:, 4:][played[:, 4:]].all()
    assert not best[:, :4].all(), "moves of an opening are random all the same"


def test_a_saved_number_of_copies_that_is_not_the_present_one_names_the_setting():
    (few,), (many,) = (players(["tictactoe"], None, copies=copies)[0].values() for copies in (4, 6))
    said = r"tictactoe: saved with 4 copies, now there are 6; go on with selfplay\.copies=4"
    with pytest.raises(ValueError, match=said):
        many.load_state_dict(few.state_dict())


def test_no_openings_when_none_are_asked_for():
    network = tiny_network(["tictactoe"])
    _, buffers, _, _ = play(["tictactoe"], network, 12, random_plies=0, simulations=1, explore=0.0)
    data = stored(buffers["tictactoe"], 12)
    assert data["trainable"].all()
    assert not data["explored"].any()


def test_a_games_experience_does_not_depend_on_who_shares_the_batch():
    names = ["tictactoe", "wander", "CartPole-v1"]
    network = tiny_network(names)
    _, mixed, scales, _ = play(names, network, 10)
    for name in names:
        _, alone, own, _ = play([name], network, 10)
        key = toy(name).spec.name
        one, other = stored(alone[key], 10), stored(mixed[key], 10)
        for field in ("observation", "legal", "to_play", "action", "reward", "terminated", "truncated", "trainable"):
            assert torch.equal(one[field], other[field]), f"{name}: {field}"
        for field in ("policy", "root_value", "final_value"):
            assert torch.allclose(one[field], other[field], rtol=1e-3, atol=1e-4), f"{name}: {field}"
        assert own[key] == pytest.approx(scales[key], rel=1e-3)


def test_network_calls_of_a_step(monkeypatch):
    """One representation a game; then every simulation is one call for the whole mixed batch, of a fixed shape. (The
    compiled step runs inside the search, where nobody can count; tests/search/test_native_models.py compares it.)"""
    monkeypatch.setattr(agents.model, "native_step", lambda model, threshold: None)
    names = ["tictactoe", "identity", "relay"]
    network = tiny_network(names)
    collectors, buffers = players(names, network)
    represented, stepped = [], []
    represent, step = network.represent, agents.model.SearchModel.step

    def watch_represent(game, observation):
        represented.append((game, len(observation)))
        return represent(game, observation)

    def watch_step(self, embedding, action):
        stepped.append((tuple(embedding.shape), tuple(action.shape)))
        return step(self, embedding, action)

    monkeypatch.setattr(network, "represent", watch_represent)
    monkeypatch.setattr(agents.model.SearchModel, "step", watch_step)
    for _ in range(3):
        represented.clear()
        stepped.clear()
        collect_step(network, collectors, buffers, ValueScales(), SearchConfig(simulations=6))
        assert represented == [("tictactoe", COPIES), ("identity", COPIES), ("relay", COPIES)]
        assert stepped == [((3 * COPIES, 17), (3 * COPIES,))] * 6


def test_search_seeds_never_repeat():
    network = tiny_network(["tictactoe"])
    collectors, buffers = players(["tictactoe"], network)
    seen = set()
    for _ in range(20):
        seen.update(collectors["tictactoe"].search_seeds().tolist())
        collect_step(network, collectors, buffers, ValueScales(), SearchConfig(simulations=1))
    assert len(seen) == 20 * COPIES


@pytest.mark.parametrize("name", ["tictactoe", "wander", "CartPole-v1"])
def test_a_collector_goes_on_where_it_was(name):
    network = tiny_network(["tictactoe", "wander", "CartPole-v1"])
    key = toy(name).spec.name
    collectors, buffers, scales, _ = play([name], network, 11)

    def frozen(value):
        if isinstance(value, dict):
            return {key: frozen(entry) for key, entry in value.items()}
        return value.clone() if isinstance(value, torch.Tensor) else value

    saved = [frozen(each.state_dict()) for each in (collectors[key], buffers[key], scales)]
    others, other_buffers = players([name], network)
    other_scales = ValueScales()
    for each, state in zip((others[key], other_buffers[key], other_scales), saved, strict=True):
        each.load_state_dict(state)
    config = SearchConfig(simulations=3)
    for _ in range(9):
        mine = collect_step(network, collectors, buffers, scales, config)
        theirs = collect_step(network, others, other_buffers, other_scales, config)
        assert torch.equal(mine[key].score, theirs[key].score)
    one, other = stored(buffers[key], 20), stored(other_buffers[key], 20)
    for field, value in one.items():
        assert torch.equal(value, other[field]), field
    assert scales[key] == other_scales[key]


def test_final_values_only_where_an_episode_was_cut_off():
    network = tiny_network(["wander"])
    environment = toy("wander").environment(40, 3)
    step = environment.reset()
    cut = 0
    for _ in range(30):
        step = environment.step(step.legal.float().argmax(1))
        value = final_values(network, environment.spec, step)
        assert not value[~step.truncated].any()
        assert value[step.truncated].ne(0).all()
        cut += int(step.truncated.sum())
    assert cut


def test_value_scale_is_the_median_spread_of_visited_actions():
    scales = ValueScales(decay=0.5)
    assert scales["x"] == 1.0
    q = torch.tensor([[1.0, 3.0, 100.0], [0.0, 4.0, -4.0], [-2.0, 2.0, 0.0], [7.0, 9.0, 9.0]])
    visits = torch.tensor([[1, 2, 0], [1, 1, 1], [3, 2, 0], [5, 0, 0]])
    # Variances among visited actions: 1, 32/3, 4; the last row has one visited action and says nothing.
    scales.update("x", q, visits)
    assert scales["x"] == pytest.approx(2.0)
    scales.update("x", torch.tensor([[0.0, 2.0]]), torch.tensor([[1, 1]]))
    assert scales["x"] == pytest.approx(((0.25 * 4 + 0.5 * 1.0) / 0.75) ** 0.5)
    before = scales.state_dict()
    scales.update("x", q[3:], visits[3:])
    assert scales.state_dict() == before
    scaled = ValueScales(decay=0.5)
    scaled.update("x", q * 1000, visits)
    assert scaled["x"] == pytest.approx(2000)
    assert scaled["y"] == 1.0


def test_values_count_in_the_games_own_unit():
    """Ten times the values with ten times the scale: the same improved policy."""
    network = tiny_network(["CartPole-v1"])
    observation = toy("CartPole-v1").environment(6, 0).reset().observation
    args = dict(legal=torch.ones(6, 2, dtype=torch.bool), to_play=torch.zeros(6, dtype=torch.int64),
                seed=torch.arange(6), config=SearchConfig(simulations=4), num_simulations=4, greedy=False)  # fmt: skip
    one = search_batch(network, [("CartPole-v1", observation)], Query(value_scale=torch.full((6,), 0.7), **args))
    network.tables = network.tables._replace(scale=network.tables.scale * 10)
    ten = search_batch(network, [("CartPole-v1", observation)], Query(value_scale=torch.full((6,), 7.0), **args))
    assert torch.allclose(one.policy_target, ten.policy_target, atol=1e-4)
    assert torch.allclose(one.root_value * 10, ten.root_value, rtol=1e-3)


def test_noise_of_the_values_widens_the_unit():
    scales = ValueScales(decay=0.5, noise_weight=2.0)
    scales.update("x", torch.tensor([[0.0, 6.0]]), torch.tensor([[1, 1]]))
    assert scales["x"] == pytest.approx(3.0)
    scales.note_error("x", 2.0)
    assert scales["x"] == pytest.approx(5.0)  # 3 and 2 * 2 at right angles
    scales.note_error("x", 4.0)
    assert scales["x"] == pytest.approx((9 + 36) ** 0.5)
    other = ValueScales(decay=0.5, noise_weight=2.0)
    other.load_state_dict(scales.state_dict())
    assert other["x"] == scales["x"]
    assert ValueScales(decay=0.5)["x"] == 1.0


def test_puct_spends_its_simulations_and_its_target_are_the_visits():
    network, step = tiny_network(["tictactoe"]), toy("tictactoe").environment(4, 0).reset()
    given = (step.legal, step.to_play, torch.arange(4), torch.ones(4))
    pairs = [("tictactoe", step.observation)]
    result = search_batch(network, pairs, Query(*given, SearchConfig(policy="puct"), 12, greedy=True))
    assert result.visits.sum(1).tolist() == [12] * 4
    torch.testing.assert_close(result.policy_target, result.visits / 12)
    assert torch.equal(result.action, result.visits.argmax(1))  # greedy: no noise
    explored = search_batch(network, pairs, Query(*given, SearchConfig(policy="puct"), 12, greedy=False))
    assert not torch.equal(explored.visits, result.visits)
