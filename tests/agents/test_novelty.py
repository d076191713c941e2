"""Curiosity: bonuses counted by hand, moves' worth against value iteration, nothing leaks into what is learnt."""

import collections
import math

import pytest
import torch
from tiny import tiny_network, toy, vector

from agents.acting import SearchConfig, ValueScales
from agents.novelty import PLANES, TILINGS, IntrinsicConfig, Novelty
from agents.replay import ReplayBuffer, ReplayConfig
from agents.selfplay import Collector, SelfPlayConfig, collect_step
from gurgeh import checkpoint

STATES = 5


def curious(spec, shown, **changes):
    return Novelty(spec, shown, IntrinsicConfig(**{"weight": {spec.name: 4.0}, "copies": 1.0, **changes}), seed=3)


def test_the_bonus_is_one_over_the_root_of_the_visits():
    """Cells by hand: the signs of the planes, as text; visits in a Counter."""
    generator = torch.Generator().manual_seed(1)
    shown = torch.randn(500, 3, generator=generator) * torch.tensor([0.01, 1.0, 50.0]) + 7
    novelty = curious(vector("v", 3, 2), shown)
    seen = shown[torch.randint(40, (300,), generator=generator)]
    novelty.see_(novelty.features(seen))

    def cells(row):
        scaled = [(float(x) - float(shown[:, i].mean())) / float(shown[:, i].std()) for i, x in enumerate(row)]
        squashed = [math.copysign(math.log1p(abs(x)), x) for x in scaled]
        sides = [
            sum(x * float(p) for x, p in zip(squashed, novelty.planes[:, k], strict=True)) > float(novelty.offsets[k])
            for k in range(TILINGS * PLANES)
        ]
        return [(t, tuple(sides[t * PLANES : (t + 1) * PLANES])) for t in range(TILINGS)]

    visits = collections.Counter(cell for row in seen for cell in cells(row))
    asked = shown[:60]
    wanted = [sum(max(1, visits[cell]) ** -0.5 for cell in cells(row)) / TILINGS for row in asked]
    assert novelty.bonus(novelty.features(asked)).tolist() == pytest.approx(wanted, abs=1e-6)
    assert len(set(wanted)) > 10


def test_what_was_never_seen_has_the_largest_bonus():
    novelty = curious(vector("v", 2, 2), torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))
    near, far = torch.zeros(1, 2), torch.tensor([[9.0, -9.0]])
    for _ in range(400):
        novelty.see_(novelty.features(near))
    assert float(novelty.bonus(novelty.features(near))) == pytest.approx(0.05)
    assert float(novelty.bonus(novelty.features(far))) > 0.5


def ring_buffer(steps, copies, generator):
    """Random walks on a line of 5 places (1 right, 0 left, walls hold); an episode ends at times, which changes
    nothing for the bonus: the walk begins anew at place 0."""
    spec = vector("line", STATES, 2)
    buffer = ReplayBuffer(spec, copies, ReplayConfig(max_steps=steps * copies), 3)
    place = torch.zeros(copies, dtype=torch.int64)
    for _ in range(steps):
        action = torch.randint(2, (copies,), generator=generator)
        following = (place + 2 * action - 1).clamp(0, STATES - 1)
        ones, zeros = torch.ones(copies, 1), torch.zeros(copies, 1)
        buffer.add(
            observation=torch.eye(STATES)[place], legal=torch.ones(copies, 2, dtype=torch.bool), to_play=zeros[:, 0],
            action=action, reward=-ones, terminated=zeros[:, 0], truncated=zeros[:, 0], policy=torch.zeros(copies, 2),
            root_value=zeros, final_value=zeros, trainable=torch.ones(copies, dtype=torch.bool), explored=zeros[:, 0],
        )  # fmt: skip
        place = following
    return spec, buffer


@pytest.mark.parametrize(("n_step", "tolerance"), [(1, 0.1), (3, 0.5)])
def test_the_worth_of_moves_is_that_of_value_iteration(n_step, tolerance):
    """Q of fixed bonuses on a line: with one step exact, with three the walk's own detours cost some of it."""
    torch.set_num_threads(1)
    spec, buffer = ring_buffer(200, 8, torch.Generator().manual_seed(5))
    gamma, rewards = 0.8, torch.tensor([0.1, 0.0, 0.0, 0.0, 1.0])
    novelty = curious(spec, torch.eye(STATES), gamma=gamma, n_step=n_step, lr=3e-3)
    of_feature = novelty.features(torch.eye(STATES))
    novelty.bonus = lambda features: rewards[torch.cdist(features, of_feature).argmin(1)]
    for _ in range(1200):
        novelty.update(buffer)
    exact = torch.zeros(STATES, 2)
    following = torch.tensor([[max(0, s - 1), min(STATES - 1, s + 1)] for s in range(STATES)])
    for _ in range(200):
        exact = rewards[following] + gamma * exact.max(1).values[following]
    found = novelty.network(of_feature).detach()
    assert float((found - exact).abs().max()) < tolerance * float(exact.max())
    assert torch.equal(found.argmax(1)[1:], exact.argmax(1)[1:])


def test_only_its_share_of_the_copies_follows_the_bonus():
    spec = vector("v", 2, 3)
    novelty = curious(spec, torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), copies=0.25,
                      weight={"v": 1000.0})  # fmt: skip
    with torch.no_grad():
        novelty.network[-1].bias.copy_(torch.tensor([0.0, 2.0, 5.0]))
    observation, policy = torch.zeros(40, 2), torch.full((40, 3), 1 / 3)
    legal = torch.tensor([True, True, False]).expand(40, 3)
    played, strayed = novelty.play(observation, legal, torch.zeros(40, dtype=torch.int64), policy)
    assert played.tolist() == [0] * 30 + [1] * 10  # the best move is not legal
    assert not bool(strayed.any())  # the policy likes it as much as any other
    policy = torch.tensor([0.7, 0.3, 0.0]).expand(40, 3)
    played, strayed = novelty.play(observation, legal, torch.zeros(40, dtype=torch.int64), policy)
    assert played.tolist() == [0] * 30 + [1] * 10
    assert strayed.tolist() == [False] * 30 + [True] * 10
    assert int(novelty.counts.sum()) == 80 * TILINGS  # all are seen, twice


def test_without_knowledge_the_draw_is_the_searchs_policy():
    spec = vector("v", 2, 3)
    novelty = curious(spec, torch.randn(200, 2, generator=torch.Generator().manual_seed(0)))
    policy = torch.tensor([0.1, 0.3, 0.6]).expand(6000, 3)
    legal = torch.ones(6000, 3, dtype=torch.bool)
    played, _ = novelty.play(torch.zeros(6000, 2), legal, torch.zeros(6000, dtype=torch.int64), policy)
    assert (torch.bincount(played, minlength=3) / 6000).tolist() == pytest.approx([0.1, 0.3, 0.6], abs=0.03)


def play(name, steps, curiosity):
    """A buffer after so many steps of self-play; the bonus's estimate is updated after each from the tenth on."""
    torch.set_num_threads(1)
    network, spec, copies = tiny_network([name]), toy(name).spec, 6
    novelty = None
    if curiosity:
        shown = torch.randn(100, *spec.observation.shape, generator=torch.Generator().manual_seed(2))
        novelty = curious(spec, shown, batch=16)
    config = SelfPlayConfig(copies, random_plies=2)
    collector = Collector(spec, toy(name).environment(copies, 99), config, 7, None, novelty)
    buffer = ReplayBuffer(spec, copies, ReplayConfig(max_steps=600), 3)
    for step in range(steps):
        how = SearchConfig(simulations=3)
        collect_step(network, {spec.name: collector}, {spec.name: buffer}, ValueScales(), how)
        if novelty is not None and step >= 10:
            novelty.update(buffer)
    return buffer


@pytest.mark.parametrize("name", ["wander", "tictactoe"])
def test_the_bonus_is_in_nothing_that_is_stored(name):
    """Rewards are the rules' own for the moves stored, and the search's policy and value are its own: the first step,
    which knows no bonus yet, stores the same with curiosity as without."""
    buffer = play(name, 40, True)
    rewards = buffer.rows[:40, :, buffer.fields["reward"]]
    low, high = toy(name).spec.reward_range
    assert float(rewards.min()) >= low
    assert float(rewards.max()) <= high
    plain = play(name, 1, False)
    for field in ("policy", "root_value", "legal", "to_play"):
        assert torch.equal(plain.rows[0, :, plain.fields[field]], buffer.rows[0, :, buffer.fields[field]]), field
    legal = buffer.rows[:40, :, buffer.fields["legal"]]
    played = buffer.rows[:40, :, buffer.fields["action"]].long()
    assert bool((legal.gather(2, played) > 0).all())


def test_it_goes_on_to_the_bit_from_a_checkpoint(tmp_path):
    spec, buffer = ring_buffer(60, 4, torch.Generator().manual_seed(5))
    one = curious(spec, torch.eye(STATES), batch=8)

    def on(novelty, steps):
        actions = []
        for step in range(steps):
            novelty.update(buffer)
            seen = torch.eye(STATES)[torch.arange(4) + step % 2]
            legal, policy = torch.ones(4, 2, dtype=torch.bool), torch.full((4, 2), 0.5)
            actions.append(novelty.play(seen, legal, torch.zeros(4, dtype=torch.int64), policy)[0])
        return torch.stack(actions)

    on(one, 7)
    checkpoint.write(tmp_path, 7, {"novelty": one.state_dict()}, {})
    # Another network's numbers and another calibration: all must come from the checkpoint.
    other = Novelty(spec, torch.rand(50, STATES), one.config, seed=3)
    other.load_state_dict(checkpoint.read(tmp_path)[1]["novelty"])
    assert torch.equal(on(one, 9), on(other, 9))
    for key in ("counts", "center", "spread", "generator"):
        assert torch.equal(one.state_dict()[key], other.state_dict()[key]), key
    assert one.recent == other.recent
    for mine, theirs in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_state_of_another_game_is_refused():
    one, other = curious(vector("v", 3, 2), torch.randn(9, 3)), curious(vector("w", 3, 5), torch.randn(9, 3))
    with pytest.raises(ValueError, match="w: the saved curiosity"):
        other.load_state_dict(one.state_dict())


def test_frames_are_shrunk():
    from tiny import observations, pixels

    spec = pixels("p", 2, 84, 3)
    shown = observations(spec, 20, torch.Generator().manual_seed(0))
    novelty = curious(spec, shown)
    assert novelty.features(shown).shape == (20, 2 * 16 * 16)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, 1e9, True])
def test_meaningless_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"intrinsic\.weight\.CartPole-v1"):
        IntrinsicConfig(weight={"CartPole-v1": weight})
