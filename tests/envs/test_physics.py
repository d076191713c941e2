"""Bodies move as Gymnasium's do; predictions of motion are scored as they should be."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from envs import registry
from envs.physics.bodies import BODIES
from envs.prediction.score import Guess


def gymnasium_step(name, state, control):
    """One step of Gymnasium's own environment from a state."""
    env = gymnasium.make({"pendulum": "Pendulum-v1", "cartpole": "CartPole-v1"}[name]).unwrapped
    env.reset(seed=0)
    env.state = np.array(state)
    seen, reward, *_ = env.step(np.array([control]) if name == "pendulum" else int(control > 0))
    return np.array(env.state), seen, reward


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_bodies_move_as_gymnasiums(name):
    body, random = BODIES[name], np.random.default_rng(0)
    state = random.uniform(-1.5, 1.5, (60, len(body.coordinates))) * np.array(body.start)
    control = random.uniform(-2, 2, 60) if name == "pendulum" else random.choice([-10.0, 10.0], 60)
    moved = body.step(torch.tensor(state), torch.tensor(control)).numpy()
    seen = body.look(torch.tensor(moved)).numpy()
    for row in range(60):
        expected, looks, _ = gymnasium_step(name, state[row], control[row])
        assert np.abs(moved[row] - expected).max() < 1e-6
        assert np.abs(seen[row] - looks).max() < 1e-5


def test_pendulum_pays_what_gymnasium_pays():
    game = registry.make("pendulum:5")
    environment = game.environment(8, 0)
    now, ended = environment.reset(), 0
    assert now.observation[:, :2].norm(dim=1).tolist() == pytest.approx([1.0] * 8)
    random = np.random.default_rng(0)
    for _ in range(40):
        before, action = environment.state.body, torch.tensor(random.integers(0, 5, 8))
        now = environment.step(action)
        for row in range(8):
            torque = [-2.0, -1.0, 0.0, 1.0, 2.0][int(action[row])]
            _, seen, reward = gymnasium_step("pendulum", before[row].numpy(), torque)
            assert float(now.reward[row, 0]) == pytest.approx(reward, rel=1e-5, abs=1e-6)
            assert np.abs(now.observation[row].numpy() - seen).max() < 1e-4
        ended += int((now.terminated | now.truncated).sum())
    assert ended == 0


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_motion_asks_every_coordinate_and_then_moves(name):
    game = registry.make(f"motion:{name}")
    rules, environment = game.native, game.environment(6, 1)
    now = environment.reset()
    size = len(BODIES[name].coordinates)
    for step in range(10):
        for coordinate in range(size):
            state = environment.state
            assert now.observation[:, -size:].argmax(1).tolist() == [coordinate] * 6
            control = rules.control(state)
            after = BODIES[name].step(state.body, control)
            change = (after - state.body)[:, coordinate].numpy()
            widest = BODIES[name].change[coordinate]
            edges = np.linspace(-widest, widest, 22)
            answer = np.clip(np.searchsorted(edges, change, side="right") - 1, 0, 20)
            offset = np.array([0, 0, 1, -1, 2, -3])
            action = np.clip(answer + offset, 0, 20)
            now = environment.step(torch.tensor(action))
            expected = np.array([1.0, 0.5, 0.0])[np.minimum(np.abs(action - answer), 2)]
            assert now.reward[:, 0].tolist() == expected.tolist()
            over = step == 9 and coordinate == size - 1
            assert bool(now.terminated.all()) == over
            if not over and coordinate == size - 1:
                assert torch.equal(environment.state.body, after)


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_changes_of_games_lie_within_the_intervals(name):
    rules = registry.make(f"motion:{name}").native
    state, used = rules.initial(torch.arange(4000)), []
    for _ in range(10 * rules.size):
        used.append(rules.answer(state))
        if len(used) % rules.size == 0:
            change = BODIES[name].step(state.body, rules.control(state)) - state.body
            outside = (change.abs() > rules.widest).double().mean()
            assert float(outside) < 0.02
        state = rules.play(state, torch.zeros_like(state.key)).state
    assert len(torch.cat(used).unique()) == 21  # and all of them occur


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_errors_of_who_knows_and_of_who_says_that_nothing_moves(name):
    def measures(bins, action_of):
        rules = registry.make(f"motion:{name}:bins={bins}").native

        def predict(state):
            action = action_of(rules, state)
            return Guess(action, torch.nn.functional.one_hot(action, bins).double(), None)

        return rules.measure(predict, 4096)

    still = measures(21, lambda rules, state: torch.full_like(state.key, 10))
    assert [still[f"error_{k}"].search for k in (1, 4, 8)] == pytest.approx([1.0] * 3)
    assert still["error_8"].raw is None
    coarse = measures(21, lambda rules, state: rules.answer(state))
    fine = measures(101, lambda rules, state: rules.answer(state))
    assert coarse["right"].search == fine["right"].search == 1.0
    assert coarse["bits_per_coordinate"].search == 0.0
    for horizon in ("error_1", "error_4", "error_8"):
        assert fine[horizon].search < coarse[horizon].search < 0.35
    assert fine["error_1"].search < coarse["error_1"].search / 3  # the intervals are five times narrower


def test_held_out_starts_are_nobodys():
    rules = registry.make("motion:pendulum").native
    seen = []
    rules.measure(lambda state: seen.append(state) or Guess(torch.zeros_like(state.key), None, None), 200)
    trained = rules.initial(torch.arange(1 << 16)).body
    assert not any(bool((trained == row).all(1).any()) for row in seen[0].body)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("motion", "the body is missing; write motion:BODY"),
        ("motion:bicycle", "the body 'bicycle' is not one of pendulum, cartpole"),
        ("motion:pendulum:bins=20", "'bins=20' is not bins=BINS with an odd number"),
        ("pendulum", "the torques are missing"),
        ("pendulum:4", "4 torques are not offered"),
    ],
)
def test_bad_settings_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)
