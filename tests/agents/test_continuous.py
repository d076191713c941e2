"""Continuous actions: the policy's density, what the model is told, searches beside other games, targets, learning."""

from __future__ import annotations

import pytest
import torch
from tiny import shaken, tiny_config

from agents.acting import Query, SearchConfig, ValueScales
from agents.agent import NetworkPlayer
from agents.alphazero import search_games
from agents.continuous import DEVIATIONS, MEAN_LIMIT, BoxActions, to_game, to_unit
from agents.learner import Learner, LearnerConfig
from agents.network import MultiGameNetwork, pad_last
from agents.player import RandomPlayer
from agents.reanalyse import reanalyse_
from agents.replay import ReplayBuffer, ReplayConfig
from agents.sampled import BoxModel, Draws, play_box, search_box
from agents.selfplay import Collector, SelfPlayConfig, collect_step
from agents.transplant import transplant_, undefined_zero_shot
from envs import registry
from gurgeh.config import RunConfig
from gurgeh.state import TrainingState
from search import Gaussian

SEARCH = SearchConfig(simulations=6, samples=5)
SMALL = LearnerConfig(batch=16, unroll=2, n_step=3, start_steps=1, symmetries=False)


def network_of(*names, trunk="mlp"):
    return shaken(MultiGameNetwork(tiny_config(trunk), [registry.make(name).spec for name in names], seed=0), 1.0)


def positions(name, rows, seed=0):
    """Observation, legal and to_play of first positions."""
    now = registry.make(name).environment(rows, seed).reset()
    return now.observation, now.legal, now.to_play


def query(network, legal, to_play, simulations=6, greedy=False, config=SEARCH):
    rows, widest = len(legal), network.tables.exists.shape[1]
    return Query(pad_last(legal, widest), to_play, torch.arange(rows), torch.ones(rows), config, simulations, greedy)


# -- the network ---------------------------------------------------------------------------------------------------


def test_units_of_the_game_and_of_the_unit_box():
    box = registry.make("aim:3").spec.box  # -1 to 1, 3 and 5
    points = torch.tensor([[-1.0, 0.0, 1.0], [0.5, -0.5, 0.0]])
    assert to_game(box, points).tolist() == [[-1, 1, 5], [0.5, 0, 2]]
    assert torch.allclose(to_unit(box, to_game(box, points)), points)


def test_the_loss_is_that_of_a_squashed_normal_distribution():
    """Against torch.distributions: the change of variables of tanh, summed over coordinates and weighted."""
    box, source = BoxActions(tiny_config(), 8, 3, 0), torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 32, generator=source) * 3
    parameters = box.parameters_of(hidden)
    mean, deviation = parameters.chunk(2, 1)
    mean, deviation = mean.detach(), deviation.detach()
    assert float(mean.abs().max()) < MEAN_LIMIT
    assert DEVIATIONS[0] < float(deviation.exp().min()) < float(deviation.exp().max()) < DEVIATIONS[1]
    samples = torch.rand(4, 5, 3, generator=source) * 1.9 - 0.95
    target = torch.rand(4, 5, generator=source).softmax(1)
    normal = torch.distributions.Normal(mean[:, None], deviation.exp()[:, None])
    squashed = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    expected = -(target * squashed.log_prob(samples).sum(2)).sum(1)
    torch.testing.assert_close(box.loss(parameters.detach(), samples, target), expected, rtol=1e-4, atol=1e-4)
    along = box.loss(parameters.detach().view(2, 2, 6), samples.view(2, 2, 5, 3), target.view(2, 2, 5))
    torch.testing.assert_close(along.flatten(), expected, rtol=1e-4, atol=1e-4)


def test_descending_the_loss_moves_the_policy_to_the_better_samples():
    box, hidden = BoxActions(tiny_config(), 8, 1, 0), torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    samples, target = torch.tensor([[[-0.6], [0.6]]]), torch.tensor([[0.1, 0.9]])
    optimiser = torch.optim.Adam(box.head.parameters(), lr=0.03)
    for _ in range(400):
        optimiser.zero_grad()
        box.loss(box.parameters_of(hidden), samples, target).sum().backward()
        optimiser.step()
    mean, deviation = box.parameters_of(hidden).detach()[0].exp().log().tolist()
    places = torch.atanh(torch.tensor(0.6)) * torch.tensor([-1.0, 1.0])  # the best normal has their moments
    assert mean == pytest.approx(0.8 * float(places[1]), abs=0.02)
    assert deviation == pytest.approx(float(torch.log(0.6 * places[1])), abs=0.05)


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
def test_joining_changes_nothing_of_the_other_games(trunk):
    board = registry.make("tictactoe")
    shown = board.native.observe(board.native.initial(torch.zeros(2, dtype=torch.int64)))
    network = MultiGameNetwork(tiny_config(trunk), [board.spec], seed=0)
    plain, game = MultiGameNetwork(tiny_config(trunk), [board.spec], seed=0), torch.zeros(2, dtype=torch.int64)

    def outputs():
        latent = network.represent("tictactoe", shown)
        return [*network.heads(latent, game), network.transition(latent, game, torch.tensor([0, 4]))]

    before, rows = outputs(), dict(network.action_index)
    network.add_game(registry.make("aim:3").spec)
    assert network.action_index == rows  # points of a box take no rows
    for one, other in zip(before, outputs(), strict=True):
        assert torch.equal(one, other)
    for name, weights in plain.named_parameters():  # and it draws nothing that the others would have drawn
        assert torch.equal(weights, network.get_parameter(name)), name


def test_the_trunk_is_told_the_point_everywhere_in_the_box():
    network = network_of("aim:1")
    points = torch.linspace(-1, 1, 21)[:, None]
    told = network.told("aim:1", points)
    steps = (told[1:] - told[:-1]).norm(dim=1)
    steps = steps.detach()
    assert float(steps.min()) > 0.01  # no two neighbours alike, the middle and the edges included
    assert not torch.allclose(steps, steps.mean().expand(20), rtol=0.01)  # and it is no straight line


def test_nothing_is_taken_over_to_another_game():
    source, target = network_of("aim:1"), MultiGameNetwork(tiny_config(), [registry.make("aim:3").spec], seed=1)
    kept = {name: weights.clone() for name, weights in target.named_parameters() if name.startswith("boxes")}
    assert kept
    transplant_(target, source)
    for name, weights in kept.items():
        assert torch.equal(target.get_parameter(name), weights), name
    assert undefined_zero_shot(source, registry.make("aim:3").spec) is not None


# -- searching and playing -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_search_follows_the_model_along_the_points():
    """Visited edges hold what the network says of that very point, asked without the search."""
    network = network_of("aim:3")
    shown, legal, to_play = positions("aim:3", 4)
    found = search_box(network, "aim:3", shown, query(network, legal, to_play))
    samples = found.samples.clone()  # no longer of inference mode
    assert found.samples.shape == (4, 5, 3)
    assert float(found.samples.abs().max()) <= 1
    torch.testing.assert_close(found.policy_target.sum(1), torch.ones(4))
    latent, game = network.represent("aim:3", shown), torch.zeros(4, dtype=torch.int64)
    for k in range(5):
        after = network.trunk(latent, network.told("aim:3", samples[:, k]), None)
        reward = network.decode_seats(network.heads(after, game).reward, game, to_play, 1)[:, 0]
        visited = found.visits[:, k] > 0
        child = found.tree.child[:, 0, k].long().clamp(min=0)
        edge = found.tree.reward[torch.arange(4), child, 0]
        torch.testing.assert_close(edge[visited], reward[visited], rtol=1e-4, atol=1e-5)
    assert bool((found.visits > 0).any(0).all())


def test_without_noise_the_mean_is_among_the_samples():
    network = network_of("aim:3")
    shown, legal, to_play = positions("aim:3", 6)
    model = BoxModel(network, "aim:3", 6, 1.0)
    ask = query(network, legal, to_play, greedy=True)
    mean = torch.tanh(model.sampled_root(shown, ask).parameters[:, :3])
    found = search_box(network, "aim:3", shown, ask)
    torch.testing.assert_close(found.samples[:, 0], mean)
    noisy = search_box(network, "aim:3", shown, ask._replace(greedy=False))
    assert not torch.allclose(noisy.samples[:, 0], mean)
    assert torch.equal(noisy.samples[:, 1:], found.samples[:, 1:])


def test_samples_lie_one_in_every_quantile_and_each_is_drawn_as_the_policy_says():
    draws, source = Draws(Gaussian(2)), torch.Generator().manual_seed(0)
    parameters = torch.tensor([[0.3, -0.5, -1.0, 0.2]]).expand(4000, 4)
    noise = torch.rand(4000, 8, 4, generator=source)
    found = draws.sample(parameters, noise)
    assert not bool(found.prior_logits.any())
    x = torch.atanh(found.action) - parameters[:, None, :2]
    normal = torch.distributions.Normal(0.0, parameters[0, 2:].exp())
    places = normal.cdf(x)  # [4000, 8, 2] in 0..1
    assert torch.equal((places * 8).long().sort(1).values, torch.arange(8)[:, None].expand(4000, 8, 2))
    for k in (0, 5):  # a sample by itself
        assert places[:, k].mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
        assert places[:, k].std(0).tolist() == pytest.approx([12**-0.5] * 2, abs=0.01)
    both = torch.stack([places[:, 3, 0], places[:, 3, 1]])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.06  # one coordinate says nothing of the other
    extremes = draws.sample(parameters[:2], torch.tensor([1e-9, 1 - 1e-7]).view(2, 1, 1).expand(2, 8, 4))
    assert bool(torch.isfinite(extremes.prior_logits).all())


def test_games_beside_each_other_are_searched_as_if_alone():
    names = ("tictactoe", "aim:3", "errand", "pendulum:continuous")
    network = network_of(*names)
    shown = {name: positions(name, rows) for name, rows in zip(names, (3, 5, 2, 4), strict=True)}
    together = query(
        network,
        torch.cat([pad_last(legal, 9) for _, legal, _ in shown.values()]),
        torch.cat([to_play for _, _, to_play in shown.values()]),
    )
    both = search_games(network, [(name, seen) for name, (seen, _, _) in shown.items()], {}, together)
    assert set(both.samples) == {"aim:3", "pendulum:continuous"}
    first = 0
    for name, (seen, _, _) in shown.items():
        rows = torch.arange(first, first + len(seen))
        first += len(seen)
        alone = search_games(network, [(name, seen)], {}, together.of(rows))
        for field in alone._fields[:-1]:
            mine, among = getattr(alone, field), getattr(both, field)[rows]
            assert torch.equal(among[:, : mine.shape[1]] if mine.dim() > 1 else among, mine), (name, field)
        if name in both.samples:
            assert torch.equal(alone.samples[name], both.samples[name])
            one = search_box(network, name, seen, together.of(rows))
            assert torch.equal(one.index, alone.action)


@pytest.mark.parametrize("policy", ["gumbel", "puct"])
def test_players_answer_in_the_games_units(policy):
    network, spec = network_of("aim:3"), registry.make("aim:3").spec
    shown, legal, to_play = positions("aim:3", 50)
    seed = torch.arange(50)
    config = SearchConfig(simulations=6, samples=5, policy=policy)
    ask = query(network, legal, to_play, greedy=True, config=config)
    found = search_box(network, "aim:3", shown, ask)
    chosen = NetworkPlayer(network, spec, config, 1.0, 6).act(shown, legal, to_play, seed)
    assert torch.equal(chosen.action, to_game(spec.box, found.action))
    assert bool(spec.box.contains(chosen.action).all())
    assert float(chosen.action[:, 2].max()) > 1.0  # the third coordinate goes to 5
    raw = NetworkPlayer(network, spec, config, 1.0, 0).act(shown, legal, to_play, seed)
    assert torch.equal(raw.action, to_game(spec.box, search_box(network, "aim:3", shown, ask).samples[:, 0]))
    drawn = NetworkPlayer(network, spec, config, 1.0, 0, greedy=False).act(shown, legal, to_play, seed)
    assert not torch.allclose(drawn.action, raw.action)
    again = play_box(network, spec, shown[7:8], query(network, legal[7:8], to_play[7:8], 0)._replace(seed=seed[7:8]))
    torch.testing.assert_close(again.action[0], drawn.action[7])


def test_random_play_fills_the_box():
    spec = registry.make("aim:3").spec
    action = RandomPlayer(spec).act(torch.zeros(4000, 3), torch.ones(4000, 1), torch.zeros(4000), torch.arange(4000))
    assert bool(spec.box.contains(action.action).all())
    middle, spread = action.action.mean(0), action.action.std(0)
    assert middle.tolist() == pytest.approx([0, 1, 2], abs=0.1)
    assert spread.tolist() == pytest.approx([2 / 12**0.5, 4 / 12**0.5, 6 / 12**0.5], rel=0.05)


# -- experience and learning ---------------------------------------------------------------------------------------


def experience(names, config=SMALL, steps=30, copies=8, random_plies=2):
    """A learner, its buffers and scales after some steps."""
    nets = [MultiGameNetwork(tiny_config(), seed=3) for _ in range(2)]
    learner = Learner(nets[0], nets[1].requires_grad_(False), config, 3)
    collectors, buffers, scales = {}, {}, ValueScales()
    for handle in map(registry.make, names):
        learner.add_game(handle.spec)
        nets[1].requires_grad_(False)
        play = SelfPlayConfig(copies=copies, random_plies=random_plies, explore=0.0)
        collectors[handle.spec.name] = Collector(handle.spec, handle.environment(copies, 0), play, 3)
        buffers[handle.spec.name] = ReplayBuffer(
            handle.spec, copies, ReplayConfig(), config.window, num_samples=SEARCH.samples
        )
    for _ in range(steps):
        collect_step(nets[1], collectors, buffers, scales, SEARCH)
    return learner, buffers, scales


def test_what_is_stored_is_what_was_played():
    """The rewards of aim tell the points; those of the search's choice are among the samples, openings are not."""
    _, buffers, _ = experience(["aim:3"])
    buffer = buffers["aim:3"]
    window = buffer.sample(200, torch.Generator().manual_seed(0))
    target = window.observation
    told = -((window.point[:, 0] - target) ** 2).mean(1)
    torch.testing.assert_close(told, window.reward[:, 0, 0], rtol=1e-4, atol=1e-5)
    assert window.samples.shape == (200, buffer.window, 5, 3)
    among = (window.samples == window.point[:, :, None]).all(3).any(2)
    assert torch.equal(among, window.trainable)
    assert not bool(window.action.any())
    torch.testing.assert_close(window.policy.sum(2), torch.ones(200, buffer.window))
    again = ReplayBuffer(buffer.spec, buffer.copies, buffer.config, buffer.window, num_samples=5)
    again.load_state_dict(buffer.state_dict())
    assert torch.equal(again.sample(200, torch.Generator().manual_seed(0)).samples, window.samples)
    other = ReplayBuffer(buffer.spec, buffer.copies, buffer.config, buffer.window, num_samples=6)
    with pytest.raises(ValueError, match="resume with the run's own configuration"):
        other.load_state_dict(buffer.state_dict())


def test_half_the_copies_play_the_best_sample():
    _, buffers, _ = experience(["pendulum:continuous"], steps=20, random_plies=0)
    buffer = buffers["pendulum:continuous"]
    window = buffer._window(torch.arange(8), torch.ones(8))  # the first time step of every copy
    best = window.samples[:, 0][torch.arange(8), window.policy[:, 0].argmax(1)]
    assert torch.equal(window.point[:4, 0], best[:4])
    among = (window.samples[:, 0] == window.point[:, :1]).all(2).any(1)
    assert bool(among.all())


def test_reanalysis_gives_new_samples_with_their_targets():
    learner, buffers, scales = experience(["aim:3", "tictactoe"])
    buffer = buffers["aim:3"]
    before = buffer.rows.clone()
    shaken(learner.averaged).requires_grad_(False)
    reanalyse_(learner.averaged, buffers, scales, SEARCH, 32, torch.Generator().manual_seed(1))
    changed = (buffer.rows != before).any(0).any(0)
    for name, place in buffer.fields.items():
        assert bool(changed[place].any()) == (name in ("policy", "samples", "root_value")), name
    rows = (buffer.rows != before).any(2)
    policies = buffer.rows[rows][:, buffer.fields["policy"]]
    torch.testing.assert_close(policies.sum(1), torch.ones(len(policies)))


def test_gradients_of_a_mixed_batch():
    """A third of what each game's own pass gives, added up."""
    learner, buffers, _ = experience(["aim:3", "errand", "tictactoe"])
    shaken(learner.network)
    samples, _ = learner.sample(buffers, 0.99)
    assert [s.spec.name for s in samples] == ["tictactoe", "errand", "aim:3"]

    def gradients(backward):
        learner.optimizer.zero_grad(set_to_none=True)
        answer = backward()
        return answer, {name: weight.grad for name, weight in learner.network.named_parameters()}

    (losses, total), found = gradients(lambda: learner._gradients(samples))
    apart = [gradients(lambda sample=sample: learner._backward([sample])) for sample in samples]
    assert total == pytest.approx(sum(answer[1] for answer, _ in apart) / 3, rel=1e-4)
    assert losses.value_error.shape == (48,)
    for name, weight in found.items():
        parts = [grads[name] for _, grads in apart if grads[name] is not None]
        if weight is not None and parts:
            torch.testing.assert_close(weight, sum(parts) / 3, rtol=1e-3, atol=1e-6, msg=name)
    for layer in ("head", "speaks", "move"):
        assert float(found[f"boxes.0.{layer}.weight"].abs().max()) > 1e-6, layer


def test_updates_without_a_box_are_what_they_were():
    """tictactoe learns the same to the bit, whether or not a game with a box joined the network and is not learnt."""
    alone, buffers, _ = experience(["tictactoe"])
    with_box, more, _ = experience(["tictactoe"])
    with_box.add_game(registry.make("aim:1").spec)
    for _ in range(3):
        assert alone._torch_update(buffers, 0.99)["tictactoe"] == with_box._torch_update(more, 0.99)["tictactoe"]
    assert not alone._can_fuse({**buffers, "aim:1": experience(["aim:1"], steps=1)[1]["aim:1"]})
    assert alone._can_fuse(buffers)


def test_the_model_is_unrolled_along_the_points():
    learner, buffers, _ = experience(["pendulum:continuous"])
    shaken(learner.network)
    (sample,), _ = learner.sample(buffers, 0.99)
    before = learner.losses([sample])
    other = learner.losses([sample._replace(point=-sample.point)])
    assert torch.equal(before.policy[0], other.policy[0])
    assert not torch.allclose(before.reward, other.reward)
    assert not torch.allclose(before.policy[1], other.policy[1])


def learnt(name, updates, **learner):
    """A state after `updates` updates on one game, one collecting step of 16 copies before each."""
    torch.set_num_threads(1)
    config = RunConfig(
        games=[name], seed=3, threads=1, network=tiny_config(width=32, hidden=64, value_bins=41, value_limit=3.0),
        search=SearchConfig(simulations=8, samples=8, gamma=1.0),
        selfplay=SelfPlayConfig(copies=16, random_plies=0, greedy_share=0),  # a game of one move is over after them
        learner=LearnerConfig(**{"batch": 64, "unroll": 2, "n_step": 2, "start_steps": 320, "warmup": 20, **learner}),
    )  # fmt: skip
    state = TrainingState(config)
    state.add_game(name)
    buffers = {key: game.buffer for key, game in state.games.items()}
    collectors = {key: game.collector for key, game in state.games.items()}
    while state.updates < updates:
        collect_step(state.network, collectors, buffers, state.scales, config.search)
        if state.ready_buffers():
            state.learner.update(buffers, config.search.gamma, updates)
    return state


def test_aiming_is_learnt_in_seconds():
    """The middle, and the corners, lose a third; who ignores the action or knows its extremes alone fails. The raw
    policy comes after: its targets are those of all searches that the replay holds."""
    state = learnt("aim:1", 400)
    environment = registry.make("aim:1").environment(500, 77)
    now = environment.reset()
    for simulations, most in ((8, 0.03), (0, 0.12)):
        player = state.player("aim:1", simulations)
        chosen = player.act(now.observation, now.legal, now.to_play, torch.arange(500))
        lost = ((chosen.action - now.observation) ** 2).mean()
        assert float(lost) < most, f"{simulations} simulations"
