"""The learner: every loss against a slow loop, gradients where they belong, balance, averages, growth, restoring."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_network, toy

from agents.acting import SearchConfig, ValueScales
from agents.learner import Learner, LearnerConfig, Sample, make_sample, summed_steps
from agents.network import num_values
from agents.reanalyse import reanalyse_
from agents.replay import ReplayBuffer, ReplayConfig
from agents.selfplay import Collector, SelfPlayConfig, collect_step

CONFIG = LearnerConfig(batch=16, unroll=3, n_step=2, warmup=1, consistency_loss=0.0)
MIXED = ["tictactoe", "wander", "CartPole-v1", "relay"]


def experience(names, steps=40, network=None, copies=4, window=6):
    """Buffers of the named games filled by self-play."""
    network = network or tiny_network(names)
    collectors, buffers = {}, {}
    for name in names:
        spec = toy(name).spec
        environment = toy(name).environment(copies, 5)
        collectors[spec.name] = Collector(spec, environment, SelfPlayConfig(copies, random_plies=2, explore=0.0), 3)
        buffers[spec.name] = ReplayBuffer(spec, copies, ReplayConfig(max_steps=1000 * copies), window)
    for _ in range(steps):
        collect_step(network, collectors, buffers, ValueScales(), SearchConfig(simulations=2))
    return buffers


def learner(names, config=CONFIG, **changes):
    network = tiny_network(names, **changes)
    averaged = copy.deepcopy(network).requires_grad_(False)
    return Learner(network, averaged, config, seed=1)


def total(losses):
    return sum(part.sum() for part in losses[:6] if part is not None)


def slow_losses(network, sample: Sample):
    """The losses of a sample, one row and position at a time, summed: policy, value, reward, continuation, mover."""
    index, spec = network.games[sample.spec.name], sample.spec
    scale, bins = float(network.tables.scale[index]), network.bins

    def scalar(logits, targets):
        """Cross-entropy of the two bins around each target, weighted by nearness."""
        found = 0.0
        for seat in range(num_values(spec)):
            value = min(max(float(targets[seat]) / scale, float(bins[0])), float(bins[-1]))
            high = next((i for i in range(1, len(bins)) if float(bins[i]) >= value), len(bins) - 1)
            low = high - 1
            share = (value - float(bins[low])) / (float(bins[high]) - float(bins[low]))
            log = torch.log_softmax(logits[seat].double(), 0)
            found -= float(share * log[high] + (1 - share) * log[low])
        return found

    sums = [0.0] * 5
    for row in range(len(sample.action)):
        latent = network.represent(spec.name, sample.observation[row : row + 1])
        reached = True
        for k in range(sample.action.shape[1] + 1):
            heads = network.heads(latent, torch.tensor([index]))
            if k > 0 and reached:  # the move before this position was made in the episode
                sums[2] += scalar(heads.reward[0], sample.reward[row, k - 1])
                chance = torch.sigmoid(heads.continuation[0].double())
                sums[3] -= math.log(float(chance if sample.continues[row, k - 1] else 1 - chance))
            reached = reached and bool(sample.alive[row, k])
            if reached:
                if k > 0 and spec.num_players > 1:
                    log = torch.log_softmax(heads.next_mover[0, : spec.num_players].double(), 0)
                    sums[4] -= float(log[sample.next_mover[row, k - 1]])
                if sample.policy_known[row, k]:
                    log = torch.log_softmax(heads.policy[0, : spec.num_actions].double(), 0)
                    sums[0] -= float((sample.policy[row, k].double() * log).sum())
                sums[1] += scalar(heads.value[0], sample.value[row, k])
            if k < sample.action.shape[1]:
                latent = network.transition(latent, torch.tensor([index]), sample.action[row, k : k + 1])
    return sums


@torch.no_grad()
def test_losses_of_a_mixed_batch_equal_a_slow_loop():
    buffers = experience(MIXED)
    mine = learner(MIXED)
    samples, _ = mine.sample(buffers, 0.9)
    samples = [
        type(s)(*(v if f == "spec" or v is None or not len(v) else v[:6] for f, v in s._asdict().items()))
        for s in samples
    ]
    assert any(not s.alive.all() for s in samples)
    assert any(not s.policy_known.all() for s in samples)
    losses = mine.losses(samples)
    expected = [sum(parts) for parts in zip(*(slow_losses(mine.network, sample) for sample in samples), strict=True)]
    for field, number in zip(("policy", "value", "reward", "continuation", "next_mover"), expected, strict=True):
        assert float(getattr(losses, field).sum()) == pytest.approx(number, rel=1e-4), field


def test_what_lies_after_the_end_does_not_count():
    buffers = experience(MIXED)
    mine = learner(MIXED)
    samples, _ = mine.sample(buffers, 0.9)
    changed = []
    generator = torch.Generator().manual_seed(0)
    for s in samples:
        dead, never = ~s.alive, ~s.moved
        assert never.any() or s.spec.name == "CartPole-v1"
        changed.append(
            s._replace(
                policy=torch.where(dead[..., None], 0.77, s.policy),
                policy_known=s.policy_known & s.alive,
                value=torch.where(dead[..., None], 55.0, s.value),
                reward=torch.where(never[..., None], -44.0, s.reward),
                continues=torch.where(never, ~s.continues, s.continues),
                next_mover=torch.where(
                    dead[:, 1:], torch.randint(s.spec.num_players, never.shape, generator=generator), s.next_mover
                ),
            )
        )
    one, other = mine.losses(samples), mine.losses(changed)
    for field in ("policy", "value", "reward", "continuation", "next_mover"):
        assert torch.equal(getattr(one, field), getattr(other, field)), field
    # And what lies before the end does count.
    moved = [s._replace(value=torch.where(s.alive[..., None], 0.4, s.value)) for s in samples]
    assert float(mine.losses(moved).value.detach().sum()) != float(one.value.detach().sum())


def test_gradients_reach_only_what_a_row_has(monkeypatch):
    buffers = experience(MIXED)
    mine = learner(MIXED)
    samples, _ = mine.sample(buffers, 0.9)
    seen = []
    heads = mine.network.heads

    def watch(latent, game, *more):
        found = heads(latent, game, *more)
        for logits in found:
            logits.retain_grad()
        seen.append((found, game))
        return found

    monkeypatch.setattr(mine.network, "heads", watch)
    total(mine.losses(samples)).backward()
    ((found, game),) = seen
    tables = mine.network.tables
    missing = ~tables.exists[game]
    assert missing.any()
    assert not found.policy.grad[missing].any(), "the policy of actions that the row's game lacks"
    assert found.policy.grad[~missing].any()
    seats = torch.arange(found.value.shape[1]) >= tables.num_values[game][:, None]
    assert not found.value.grad[seats].any()
    assert not found.reward.grad[seats].any()
    absent = torch.arange(found.next_mover.shape[1]) >= tables.num_players[game][:, None]
    assert not found.next_mover.grad[absent].any()
    rows = len(game) // 4
    alive = torch.cat([s.alive for s in samples]).T.flatten()  # rows of the call: step by step
    assert not found.value.grad[~alive].any()
    assert not found.policy.grad[~alive].any()
    assert found.value.grad[alive].flatten(1).any(1).all()
    assert not found.reward.grad[:rows].any(), "nothing was paid on the way to the sampled position"
    assert not found.continuation.grad[:rows].any()
    assert found.reward.grad[rows:].any()


def test_a_game_trains_neither_the_own_moves_nor_the_heads_of_others():
    buffers = experience(["tictactoe"], network=tiny_network(["tictactoe"]))
    mine = learner(["tictactoe", "identity", "wander", "CartPole-v1"])
    samples, _ = mine.sample(buffers, 0.9)
    total(mine.losses(samples)).backward()
    network = mine.network
    own = network.tables.action_row[0]
    others = torch.ones(len(network.action_blocks[0]), dtype=torch.bool)
    others[own[:9]] = False
    assert not network.action_blocks[0].grad[others].any()
    assert network.action_blocks[0].grad[own[:9]].flatten(1).any(1).sum() >= 5
    for name, parameter in network.named_parameters():
        private = "value_heads" in name or "reward_heads" in name or "mover_heads" in name or "first" in name
        if private or name == "game_embedding.1":
            assert parameter.grad is None or not parameter.grad.any(), name
    assert network.game_embedding[0].grad.any()


def test_gradients_into_every_earlier_latent_are_halved():
    """MuZero, appendix G: each move back along the unrolled model halves the gradient; a head's own is whole."""
    from agents.learner import unroll

    network = tiny_network(["tictactoe"])
    game, action = torch.zeros(1, dtype=torch.int64), torch.tensor([[0, 4, 8]])
    start = network.represent("tictactoe", torch.zeros(1, 2, 3, 3)).detach()
    weights = torch.randn(4, *start.shape[1:], generator=torch.Generator().manual_seed(0))
    for depth in (1, 2, 3):
        latent = start.clone().requires_grad_()
        (unroll(network, game, latent, action)[depth] * weights[depth]).sum().backward()
        plain = start.clone().requires_grad_()
        now = plain
        for k in range(depth):
            now = network.transition(now, game, action[:, k])
        (now * weights[depth]).sum().backward()
        assert torch.allclose(latent.grad, plain.grad * 0.5**depth, atol=1e-6)


def gradients(mine, buffers, state):
    """Gradients that one update would take, without taking it."""
    mine.generator.set_state(state)
    before = {name: buffer.state_dict() for name, buffer in buffers.items()}
    before = copy.deepcopy(before)
    mine.config = dataclasses.replace(mine.config, lr=0.0)
    report = mine.update(buffers, 0.9, 1000)
    for name, buffer in buffers.items():
        buffer.load_state_dict(before[name])
    named = mine.network.named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named}, report


def test_every_game_counts_the_same():
    names = ["CartPole-v1", "tictactoe"]
    buffers = experience(names)
    mine = learner(names, dataclasses.replace(CONFIG, max_grad_norm=1e9, ema=0.0))
    first, second = ({name: buffers[name]} for name in names)
    begin = mine.generator.get_state()
    mine.sample(first, 0.9)
    middle = mine.generator.get_state()
    one, report_one = gradients(mine, first, begin)
    other, report_other = gradients(mine, second, middle)
    both, report_both = gradients(mine, {**first, **second}, begin)
    for name, gradient in both.items():
        assert torch.allclose(gradient, (one[name] + other[name]) / 2, rtol=1e-3, atol=1e-5), name
    losses = [float(report["all games"]["loss"]) for report in (report_one, report_other, report_both)]
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2, rel=1e-5)
    assert report_both["tictactoe"] == pytest.approx(report_other["tictactoe"], rel=1e-4)


def test_the_loss_is_the_weighted_sum_that_the_config_says():
    buffers = experience(["tictactoe"])
    config = dataclasses.replace(CONFIG, value_loss=0.3, reward_loss=0.7)
    mine = learner(["tictactoe"], config)
    index = buffers["tictactoe"].sample(60, torch.Generator().manual_seed(0)).index
    buffers["tictactoe"].set_priority_(index, torch.linspace(0.01, 9, 60))  # unequal importance weights
    state = mine.generator.get_state()
    (sample,), _ = mine.sample(buffers, 0.9)
    assert sample.weight.std() > 0.01
    with torch.no_grad():
        rows = []
        for row in range(16):
            one = type(sample)(
                *(
                    v if f == "spec" or v is None or not len(v) else v[row : row + 1]
                    for f, v in sample._asdict().items()
                )
            )
            losses = mine.losses([one])
            first = losses.policy.flatten()[0] + 0.3 * losses.value.flatten()[0]
            later = losses.policy.flatten()[1:].sum() + 0.3 * losses.value.flatten()[1:].sum()
            moves = 0.7 * losses.reward.sum() + losses.continuation.sum() + losses.next_mover.sum()
            rows.append(float(sample.weight[row] * (first + (later + moves) / 3)))
    _, report = gradients(mine, buffers, state)
    assert float(report["all games"]["loss"]) == pytest.approx(sum(rows) / 16, rel=1e-4)


def test_gradients_are_clipped_to_the_norm_and_the_norm_is_reported_before():
    buffers = experience(["tictactoe"])
    state = torch.Generator().manual_seed(0).get_state()
    free = learner(["tictactoe"], dataclasses.replace(CONFIG, max_grad_norm=1e9))
    grads, report = gradients(free, buffers, state)
    norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads.values()))
    assert float(report["all games"]["gradient_norm"]) == pytest.approx(norm, rel=1e-4)
    clipped, report = gradients(
        learner(["tictactoe"], dataclasses.replace(CONFIG, max_grad_norm=norm / 8)), buffers, state
    )
    assert float(report["all games"]["gradient_norm"]) == pytest.approx(norm, rel=1e-4)
    for name, gradient in clipped.items():
        assert torch.allclose(gradient, grads[name] / 8, rtol=1e-3, atol=1e-7), name


def test_the_average_follows_fast_at_first_and_slowly_later():
    buffers = experience(["tictactoe"])
    mine = learner(["tictactoe"], dataclasses.replace(CONFIG, ema=0.6))
    for number in range(30):
        before = [p.clone() for p in mine.averaged.parameters()]
        mine.update(buffers, 0.9, 1000)
        decay = min(0.6, (1 + number) / (10 + number))
        for old, new, now in zip(before, mine.averaged.parameters(), mine.network.parameters(), strict=True):
            assert torch.allclose(new, decay * old + (1 - decay) * now, atol=1e-6)
    assert all(not p.requires_grad and p.grad is None for p in mine.averaged.parameters())


def test_the_learning_rate_rises_stays_and_falls():
    mine = learner(["tictactoe"], dataclasses.replace(CONFIG, lr=1.0, warmup=10, final_lr_share=0.2, decay_share=0.5))

    def at(update):
        mine.num_updates = update
        return mine.learning_rate(1000)

    assert [at(0), at(4), at(9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [at(10), at(499), at(500)] == pytest.approx([1, 1, 1])
    assert at(750) == pytest.approx(0.2 + 0.8 * 0.5)
    assert at(999) == pytest.approx(0.2 + 0.8 * 1 / 500)
    assert at(1000) == at(5000) == pytest.approx(0.2)
    buffers = experience(["tictactoe"])
    mine.num_updates = 4
    mine.update(buffers, 0.9, 1000)
    assert mine.optimizer.param_groups[0]["lr"] == pytest.approx(0.5)


def moments(mine):
    """name -> copies of the optimiser's moments."""
    return copy.deepcopy(mine.state_dict()["optimizer"])


def test_adding_a_game_keeps_the_optimisers_moments_and_trains_the_new():
    buffers = experience(["tictactoe"])
    mine = learner(["tictactoe"])
    for _ in range(4):
        mine.update(buffers, 0.9, 1000)
    before = moments(mine)
    weights = {name: p.clone() for name, p in mine.network.named_parameters()}
    mine.add_game(toy("wander").spec)
    after = moments(mine)
    assert before.keys() == after.keys()
    for name, state in before.items():
        for key, value in state.items():
            assert torch.equal(value, after[name][key]), (name, key)
    for name, p in mine.network.named_parameters():
        assert name not in weights or torch.equal(p, weights[name])
    trained = [id(p) for group in mine.optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in mine.network.parameters())  # each once
    buffers |= experience(["wander"])
    fresh = {name: p.clone() for name, p in mine.network.named_parameters() if name not in weights}
    averaged = {name: p.clone() for name, p in mine.averaged.named_parameters() if name not in weights}
    assert fresh
    assert all(torch.equal(fresh[name], averaged[name]) for name in fresh)  # both networks begin alike
    for _ in range(2):
        mine.update(buffers, 0.9, 1000)
    named = dict(mine.network.named_parameters()), dict(mine.averaged.named_parameters())
    for name in fresh:
        assert not torch.equal(named[0][name], fresh[name]), name
        assert not torch.equal(named[1][name], averaged[name]), name
    old = next(name for name in before if name.startswith("network.torso"))
    assert int(moments(mine)[old]["step"]) == 6


@pytest.mark.parametrize("consistency", [0.0, 0.5])
def test_a_restored_learner_goes_on_to_the_bit(consistency):
    config = dataclasses.replace(CONFIG, consistency_loss=consistency)
    names = ["tictactoe", "CartPole-v1"]
    buffers = experience(names)
    mine = learner(["tictactoe"], config)
    mine.update({"tictactoe": buffers["tictactoe"]}, 0.9, 100)
    mine.add_game(toy("CartPole-v1").spec)
    for _ in range(3):
        mine.update(buffers, 0.9, 100)
    saved, stored = copy.deepcopy(mine.state_dict()), {n: copy.deepcopy(b.state_dict()) for n, b in buffers.items()}
    reports = [mine.update(buffers, 0.9, 100) for _ in range(3)]
    other = learner(["tictactoe"], config)
    other.add_game(toy("CartPole-v1").spec)
    other.load_state_dict(saved)
    for name, buffer in buffers.items():
        buffer.load_state_dict(stored[name])
    again = [other.update(buffers, 0.9, 100) for _ in range(3)]
    assert again == reports
    one, two = mine.state_dict(), other.state_dict()
    for part in ("network", "averaged", "predictor"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name
    for name, state in one["optimizer"].items():
        assert all(torch.equal(value, two["optimizer"][name][key]) for key, value in state.items()), name


def test_consistency_pulls_predicted_latents_and_leaves_the_average_alone():
    buffers = experience(MIXED)
    mine = learner(MIXED, dataclasses.replace(CONFIG, consistency_loss=1.0))
    samples, _ = mine.sample(buffers, 0.9)
    losses = mine.losses(samples)
    pictures = {"tictactoe"}
    assert {s.spec.name for s in samples if s.spec.observation.kind == "grid"} == pictures
    both = torch.cat([s.moved & s.alive[:, 1:] & (s.spec.name in pictures) for s in samples]).T
    assert not losses.consistency[~both].any(), "none in vectors, and none behind the end"
    assert (losses.consistency[both] > 0).all()
    assert float(losses.consistency.detach().max()) <= 2
    losses.consistency.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in mine.predictor.parameters())
    assert all(p.grad is None for p in mine.averaged.parameters())
    # By hand for one position: row 0, second move.
    sample = samples[0]
    row = int((sample.alive.all(1)).nonzero()[0])
    network = mine.network
    with torch.no_grad():
        game = torch.zeros(1, dtype=torch.int64)
        latent = network.represent(sample.spec.name, sample.observation[row : row + 1])
        for k in range(2):
            latent = network.transition(latent, game, sample.action[row : row + 1, k])
        seen = mine.averaged.represent(sample.spec.name, sample.next_observation[row, 1][None])
        guess = mine.predictor(latent.flatten(1))
        cosine = (guess * seen.flatten(1)).sum() / (guess.norm() * seen.norm())
    assert float(losses.consistency[1, row].detach()) == pytest.approx(1 - float(cosine), abs=1e-4)


def test_samples_are_seen_by_whoever_moves():
    buffers = experience(["wander", "relay", "tictactoe"])
    generator = torch.Generator().manual_seed(0)
    for name, buffer in buffers.items():
        window = buffer.sample(32, generator)
        sample = make_sample(buffer.spec, window, CONFIG, 1.0)
        players = buffer.spec.num_players
        for row in range(32):
            for k in range(3):
                mover = int(window.to_play[row, k])
                seats = [float(window.reward[row, k, (mover + d) % players]) for d in range(num_values(buffer.spec))]
                assert sample.reward[row, k].tolist() == seats, name
                assert int(sample.next_mover[row, k]) == (int(window.to_play[row, k + 1]) - mover) % players
        assert torch.equal(sample.policy_known, sample.alive & window.trainable[:, :4])


def test_priorities_become_the_error_of_the_value():
    buffers = experience(["CartPole-v1"])
    mine = learner(["CartPole-v1"])
    buffer = buffers["CartPole-v1"]
    noted = {}
    mine_set = buffer.set_priority_
    buffer.set_priority_ = lambda index, priority: (
        noted.update(index=index, priority=priority),
        mine_set(index, priority),
    )
    state = mine.generator.get_state()
    (sample,), (index,) = mine.sample(buffers, 0.9)
    with torch.no_grad():
        heads = mine.network.heads(mine.network.represent("CartPole-v1", sample.observation), torch.zeros(16).long())
        said = (torch.softmax(heads.value[:, 0], -1) * mine.network.bins).sum(-1)
    mine.generator.set_state(state)
    mine.update(buffers, 0.9, 100)
    assert torch.equal(noted["index"], index)
    assert torch.allclose(noted["priority"], (said - sample.value[:, 0, 0]).abs(), rtol=1e-3, atol=1e-3)


def test_reanalysis_stores_what_the_present_network_finds():
    names = ["tictactoe", "wander"]
    buffers = experience(names)
    network = tiny_network(names, seed=5)
    before = {name: buffer.rows.clone() for name, buffer in buffers.items()}
    reanalyse_(network, buffers, ValueScales(), SearchConfig(simulations=4), 12, torch.Generator().manual_seed(3))
    for name, buffer in buffers.items():
        spec = buffer.spec
        changed = (buffer.rows != before[name]).any(2)
        assert 0 < int(changed.sum()) <= 12
        flat = changed.flatten().nonzero()[:, 0]
        for field, place in buffer.fields.items():
            same = torch.equal(buffer.rows[..., place], before[name][..., place])
            assert same == (field not in ("policy", "root_value")), field
        _, legal, _ = buffer.read(flat)
        policy = buffer.rows.flatten(0, 1)[flat][:, buffer.fields["policy"]]
        assert torch.allclose(policy.sum(1), torch.ones(len(flat)), atol=1e-5)
        assert not policy[~legal].any()
        value = buffer.rows.flatten(0, 1)[flat][:, buffer.fields["root_value"]]
        assert value.shape[1] == spec.num_players
        if spec.zero_sum:
            assert torch.allclose(value.sum(1), torch.zeros(len(flat)), atol=1e-4)


def test_fresh_values_are_the_averaged_networks_and_touch_only_the_positions_leant_on():
    made = learner(MIXED)
    buffers = experience(MIXED)
    windows = {name: buffer.sample(8, torch.Generator().manual_seed(3)) for name, buffer in buffers.items()}
    fresh = made._refresh(buffers, windows)
    for name, window in windows.items():
        buffer, ahead = buffers[name], range(CONFIG.n_step, CONFIG.n_step + CONFIG.unroll + 1)
        for row in range(8):
            for step in range(window.root_value.shape[1]):
                k = step - CONFIG.n_step
                ended = (window.terminated | window.truncated)[row]
                if step not in ahead or bool(ended[k:step].any()):  # a target leans on its own episode only
                    expected = window.root_value[row, step]
                else:
                    # One position at a time, read straight from the ring.
                    time, copy_ = divmod(int(window.index[row]), buffer.copies)
                    seen = buffer.observation[(time + step) % buffer.length, copy_][None]
                    game, seat = torch.tensor([made.averaged.games[name]]), window.to_play[row, step][None]
                    heads = made.averaged.heads(made.averaged.represent(name, seen), game)
                    expected = made.averaged.decode_seats(heads.value, game, seat, buffer.spec.num_players)[0]
                assert torch.allclose(fresh[name].root_value[row, step], expected, atol=1e-4)


def test_old_steps_sum_fewer_rewards():
    config = dataclasses.replace(CONFIG, n_step=5, stale_after=10, updates_per_step=2.0, unroll=1)
    explored = torch.zeros(7, 7, dtype=torch.bool)
    window = SimpleNamespace(age=torch.tensor([0, 4, 5, 9, 10, 24, 1000]), explored=explored)
    # Two updates a step: after 5 steps one reward less, after 10 two, down to one.
    assert summed_steps(window, config).tolist() == [[n, n] for n in (5, 5, 4, 4, 3, 1, 1)]
    assert summed_steps(window, CONFIG).tolist() == [[CONFIG.n_step] * (CONFIG.unroll + 1)] * 7


def test_no_sum_crosses_a_move_drawn_at_random():
    config = dataclasses.replace(CONFIG, n_step=3, unroll=2)
    explored = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()
    window = SimpleNamespace(age=torch.zeros(4, dtype=torch.int64), explored=explored)
    assert summed_steps(window, config).tolist() == [[3, 3, 3], [2, 1, 0], [0, 3, 2], [3, 3, 3]]


def test_the_age_of_a_step_is_counted_in_steps_added_since():
    buffer = next(iter(experience(MIXED).values()))
    window = buffer.sample(64, torch.Generator().manual_seed(0))
    for index, age in zip(window.index.tolist(), window.age.tolist(), strict=True):
        assert (buffer.num_added - 1 - age) % buffer.length == index // buffer.copies
        assert 0 <= age < buffer.length


def test_search_share_takes_what_search_said_not_what_the_network_says_now():
    """n_step 1 and unroll 2: fresh values stand where the stored ones of later positions are mixed in."""
    made = learner(["tictactoe"], dataclasses.replace(CONFIG, n_step=1, unroll=2, search_share=1.0, fresh_values=True))
    buffers = {"tictactoe": experience(["tictactoe"])["tictactoe"]}
    (sample,), (index,) = made.sample(buffers, 0.99)
    buffer = buffers["tictactoe"]
    for row in range(len(index)):
        time, copy_ = divmod(int(index[row]), buffer.copies)
        for k in range(3):
            slot = (time + k) % buffer.length
            stored = buffer.rows[slot, copy_][buffer.fields["root_value"]]
            seat = int(buffer.rows[slot, copy_][buffer.fields["to_play"]])
            assert float(sample.value[row, k, 0]) == pytest.approx(float(stored[seat]), abs=1e-6)


def test_a_game_of_three_that_leans_on_no_value_learns_beside_a_game_of_two():
    """wander ends within 6 moves, so that with 12 steps only connect_four has positions to refresh."""
    names = ["wander", "connect_four"]
    made = learner(names, dataclasses.replace(CONFIG, n_step=12))
    buffers = experience(names, window=16)
    windows = {name: buffer.sample(8, torch.Generator().manual_seed(3)) for name, buffer in buffers.items()}
    fresh = made._refresh(buffers, windows)
    assert torch.equal(fresh["wander"].root_value, windows["wander"].root_value)
    assert not torch.equal(fresh["connect_four"].root_value, windows["connect_four"].root_value)
    assert math.isfinite(made.update(buffers, 0.99, 10)["all games"]["loss"])
