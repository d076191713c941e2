"""Agents that act in turn or at once: rewards of every seat, what is hidden, who is gone, spaces that differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs import registry
from envs.aec import shrunk
from envs.check import check
from envs.game import Box, MissingExtraError, ObservationKind

pytest.importorskip("pettingzoo")

# Three agents name a number at once; those that named the highest gain it, the others lose one. Who names 2 is gone
# after the round. What an agent sees is what was named in the round before, and its own number.
PARALLEL = """
import numpy as np
from gymnasium import spaces

class Numbers:
    metadata = {"name": "numbers", "is_parallelizable": True}
    render_mode = None
    possible_agents = ["a", "b", "c"]
    def observation_space(self, agent): return spaces.Box(-1, 9, (4 if agent != "c" else 5,), np.float32)
    def action_space(self, agent): return spaces.Discrete(3 if agent != "b" else 2)
    @property
    def unwrapped(self): return self
    def _look(self, agents):
        seen = {agent: np.array([*self.named, "abc".index(agent)], np.float32) for agent in agents}
        if "c" in seen: seen["c"] = np.append(seen["c"], np.float32(9))
        return seen
    def reset(self, seed=None, options=None):
        self.agents, self.named, self.rounds = list("abc"), [-1, -1, -1], 0
        return self._look(self.agents), {agent: {} for agent in self.agents}
    def step(self, actions):
        self.rounds += 1
        self.named = [actions.get(agent, -1) for agent in "abc"]
        best = max(actions.values())
        players = list(self.agents)
        rewards = {agent: float(best if actions[agent] == best else -1) for agent in players}
        gone = {agent: actions[agent] == 2 for agent in players}
        cut = {agent: self.rounds == 6 for agent in players}
        self.agents = [agent for agent in players if not gone[agent] and not cut[agent]]
        return self._look(players), rewards, gone, cut, {agent: {} for agent in players}
    def close(self): pass

def GAME(): return Numbers()
"""


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "numbers_game.py"
    path.write_text(PARALLEL)
    return registry.make(str(path))


def play(environment, *actions):
    return [environment.step(torch.tensor([action])) for action in actions]


def installed_game(name):
    try:
        return registry.make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def test_a_parallel_environment_keeps_the_contract(numbers):
    assert (numbers.spec.num_players, numbers.spec.num_actions) == (3, 3)
    assert not numbers.spec.perfect_information
    assert check(numbers, num_copies=3, num_moves=60).findings() == []


def test_commitments_are_hidden_and_pay_when_the_round_is_played(numbers):
    one, other = numbers.environment(1, 0), numbers.environment(1, 0)
    one.reset()
    other.reset()
    (left,), (right,) = play(one, 0), play(other, 1)  # seat 0 commits
    assert torch.equal(left.observation, right.observation)
    assert left.to_play.tolist() == [1]
    assert left.reward.tolist() == [[0, 0, 0]]
    play(one, 1)
    play(other, 1)
    (left,), (right,) = play(one, 0), play(other, 0)  # seat 2 commits, the round is played
    assert left.reward.tolist() == [[-1, 1, -1]]
    assert right.reward.tolist() == [[1, 1, -1]]
    assert left.observation[0, :3].tolist() == [0, 1, 0]
    assert left.to_play.tolist() == [0]


def test_spaces_that_differ_are_filled_up_and_the_seat_is_shown(numbers):
    environment = numbers.environment(1, 0)
    first = environment.reset()
    assert numbers.spec.observation.shape == (5 + 3,)
    assert first.observation[0].tolist() == [-1, -1, -1, 0, 0, 1, 0, 0]
    second, third = play(environment, 1, 1)
    assert second.legal[0].tolist() == [True, True, False]  # agent b has two actions
    assert third.observation[0].tolist() == [-1, -1, -1, 2, 9, 0, 0, 1]


def test_agents_that_are_gone_move_no_more(numbers):
    environment = numbers.environment(1, 0)
    environment.reset()
    shown = play(environment, 2, 0, 0)  # seat 0 names 2 and is gone
    assert shown[-1].reward.tolist() == [[2, -1, -1]]
    assert shown[-1].to_play.tolist() == [1]
    assert not bool(shown[-1].terminated[0])
    shown = play(environment, 0, 2)
    assert shown[-1].reward.tolist() == [[0, -1, 2]]
    shown = play(environment, 1, 1, 1, 1)
    assert [int(now.to_play[0]) for now in shown[:-1]] == [1, 1, 1]
    assert shown[-1].truncated.tolist() == [True]
    assert shown[-1].reward.tolist() == [[0, 1, 0]]


# Moves that show an end, or all that 20 s for the whole file allow.
GAMES = {
    "pettingzoo/rps_v2": 40,
    "pettingzoo/leduc_holdem_v4": 20,
    "pettingzoo/texas_holdem_v4": 20,
    "pettingzoo/butterfly/knights_archers_zombies_v11": 30,
    "pettingzoo/butterfly/cooperative_pong_v6": 10,
    "pettingzoo/butterfly/pistonball_v6": 10,
    "pettingzoo/sisl/pursuit_v5": 16,
    "mpe2/simple_v3": 60,
    "mpe2/simple_tag_v3": 120,
    "mpe2/simple_speaker_listener_v4": 60,
}


@pytest.mark.parametrize(("name", "moves"), GAMES.items())
def test_games_of_several_agents_keep_the_contract(name, moves):
    report = check(installed_game(name), num_copies=2, num_moves=moves)
    # Whoever folds has lost and has moved last; that is asked about, and is no breach.
    assert {check for check, _ in report.findings()} <= ({"reward goes to seats"} if "holdem" in name else set())
    assert report.ok


@pytest.mark.parametrize("name", list(GAMES))
def test_rewards_are_what_the_agents_collect_with_last(name):
    """PettingZoo's own loop, `last()` and `step`, collects the same sums by the end as the seats' rewards add up to."""
    game = installed_game(name)
    environment = game.environment(1, 4)
    env = environment._envs[0]
    now, random = environment.reset(np.array([11])), np.random.default_rng(0)
    total, actions = np.zeros(game.spec.num_players), []
    for _ in range(40):
        action = int(random.choice(np.flatnonzero(now.legal[0].numpy())))
        actions.append(action)
        now = environment.step(torch.tensor([action]))
        total += now.reward[0].numpy()
        if bool(now.terminated[0] | now.truncated[0]):
            break
    first = environment._view.first_action
    env.reset(seed=11)
    collected = dict.fromkeys(env.possible_agents, 0.0)
    for agent in env.agent_iter():
        _, reward, over, cut, _ = env.last()
        collected[agent] += reward
        if over or cut:
            env.step(None)
            continue
        if not actions:
            for other in env.agents:
                if other != agent:
                    collected[other] += env._cumulative_rewards[other]
            break
        env.step(actions.pop(0) + int(first[env.possible_agents.index(agent)]))
    assert np.allclose(total, [collected[agent] for agent in env.possible_agents], atol=1e-4)


def test_atari_for_two_hides_the_first_move_and_shows_the_seat():
    """Loading a ROM takes long; the contract over this game is in test_every_game.py."""
    game = installed_game("pettingzoo/atari/pong_v3")
    assert (game.spec.observation.shape, game.spec.num_players) == ((4 + 2, 84, 84), 2)
    environment = game.environment(2, 0)
    first = environment.reset(np.array([3, 3]))
    now = environment.step(torch.tensor([0, 2]))  # seat 0 commits
    assert now.to_play.tolist() == [1, 1]
    assert torch.equal(now.observation[0], now.observation[1])
    assert torch.equal(now.observation[:, :4], first.observation[:, :4])  # nothing has moved yet
    assert [int(now.observation[0, 4 + seat].max()) for seat in (0, 1)] == [0, 255]
    for _ in range(3):
        now = environment.step(torch.tensor([0, 0]))
    assert not torch.equal(now.observation[:, :4], first.observation[:, :4])
    assert now.to_play.tolist() == [0, 0]


def test_rock_paper_scissors_hides_the_first_move():
    game = installed_game("pettingzoo/rps_v2")
    one, other = game.environment(1, 0), game.environment(1, 0)
    one.reset()
    other.reset()
    (left,), (right,) = play(one, 0), play(other, 2)
    assert torch.equal(left.observation, right.observation)
    assert not game.spec.perfect_information


def test_pictures_are_shrunk_by_areas():
    screen = np.zeros((1, 168, 168), np.uint8)
    screen[0, :2, :2] = [[255, 255], [0, 0]]
    small = shrunk(screen, (84, 84))
    assert small.shape == (1, 84, 84)
    assert int(small[0, 0, 0]) == 128
    assert int(small.sum()) == 128
    assert installed_game("pettingzoo/butterfly/pistonball_v6").spec.observation.kind is ObservationKind.PIXELS


CHOICE = 'return spaces.Discrete(3 if agent != "b" else 2)'


def changed(tmp_path, actions):
    """The game of PARALLEL with other spaces of actions."""
    path = tmp_path / "changed_game.py"
    text = PARALLEL.replace(CHOICE, f"return {actions}")
    path.write_text(
        text.replace("self.rounds += 1", "self.rounds += 1; actions = {a: np.ravel(v)[0] for a, v in actions.items()}")
    )
    return registry.make(str(path))


def test_agents_name_real_numbers(tmp_path):
    game = changed(tmp_path, "spaces.Box(0, 2, (1,), np.float32)")
    assert game.spec.box == Box((0.0,), (2.0,))
    environment = game.environment(1, 0)
    environment.reset()
    for number in (0.5, 1.5, 0.25):
        now = environment.step(torch.tensor([[number]]))
    assert now.reward.tolist() == [[-1, 1.5, -1]]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ("spaces.Box(0, 2, (1 if agent != 'b' else 2,), np.float32)", "must be the same for all agents"),
        ("spaces.Box(0, 2, (1,), np.float32) if agent == 'a' else spaces.Discrete(2)", "must be the same"),
        ("spaces.MultiDiscrete([2, 2])", "Discrete actions and a bounded Box of real numbers can be played"),
    ],
)
def test_agents_whose_actions_cannot_be_played_are_refused(tmp_path, actions, message):
    with pytest.raises(ValueError, match=message):
        changed(tmp_path, actions)
