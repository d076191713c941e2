"""Evaluation: seats, seeds, statistics and records, against known odds and other implementations."""

import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from agents.player import Decision, RandomPlayer, SolverPlayer, TacticianPlayer
from envs.batch import NativeEnvironment
from envs.boards.tictactoe import TicTacToe
from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, Playable
from envs.registry import make
from envs.solver import solve
from gurgeh.evaluate import (
    EvaluationConfig,
    built_in,
    evaluate_game,
    opponents_of,
    optimal_share,
    play_episodes,
)
from gurgeh.records import fingerprint
from gurgeh.scores import mean_interval, summarize, wilson


@pytest.fixture(scope="module")
def tictactoe():
    return make("tictactoe")


@pytest.fixture(scope="module")
def solution(tictactoe):
    return solve(tictactoe.native)


class Named(RandomPlayer):
    def __init__(self, spec, name):
        super().__init__(spec)
        self.name = name


class Race(NamedTuple):
    total: Tensor  # [B] int64
    to_play: Tensor
    scores: Tensor  # [B, 3]


class ThreeRace:
    """Three seats in turn add 1 or 2; who reaches 10 gets 2, the next seat 1, the last -1. Truncated at `limit`."""

    def __init__(self, limit=None):
        self.spec = GameSpec(
            name="three", observation=ObservationSpec(ObservationKind.VECTOR, (2,), torch.int64), num_actions=2,
            num_players=3, native=True, max_length=limit,
        )  # fmt: skip

    def initial(self, seed):
        return Race(seed % 3, torch.zeros_like(seed), torch.zeros(len(seed), 3))

    def legal(self, state):
        return torch.ones(len(state.total), 2, dtype=torch.bool)

    def to_play(self, state):
        return state.to_play

    def observe(self, state):
        return torch.stack([state.total, state.to_play], 1)

    def play(self, state, action):
        total = state.total + action + 1
        over = total >= 10
        seats = (torch.arange(3) - state.to_play[:, None]) % 3
        reward = torch.tensor([2.0, 1.0, -1.0])[seats] * over[:, None]
        return Playable(Race(total, (state.to_play + 1) % 3, state.scores), reward, over)


def native(rules) -> Game:
    return Game(rules.spec.name, rules.spec, lambda copies, seed: NativeEnvironment(rules, copies, seed), rules)


def test_random_games_have_the_known_odds(tictactoe):
    episodes = play_episodes(tictactoe, [RandomPlayer(tictactoe.spec)], 3000, seed=1, num_copies=1000)
    outcomes = np.array([episode.outcome[0] for episode in episodes])
    for outcome, odds in ((1, 737 / 1260), (0, 8 / 63), (-1, 121 / 420)):  # of all 255,168 games, weighted by chance
        assert stats.binomtest(int((outcomes == outcome).sum()), 3000, odds).pvalue > 1e-3
    assert all(sum(episode.outcome) == 0 for episode in episodes)
    assert all(5 <= len(episode) <= 9 and episode.terminated for episode in episodes)


def test_perfect_never_loses_and_sits_in_both_seats(tictactoe, solution):
    players = [SolverPlayer(solution), RandomPlayer(tictactoe.spec)]
    episodes = play_episodes(tictactoe, players, 200, seed=3)
    assert [episode.seating for episode in episodes[:4]] == [(0, 1), (1, 0)] * 2
    summary, other = summarize(episodes, 0), summarize(episodes, 1)
    assert summary["loss"]["count"] == 0 == other["win"]["count"]
    assert summary["win"]["count"] + summary["draw"]["count"] == 200
    assert summary["win"]["count"] == other["loss"]["count"] > 150
    assert summary["score"]["mean"] == pytest.approx(1 - other["score"]["mean"])
    seat_1_wins = sum(episode.outcome[1] > 0 for episode in episodes if episode.seating == (1, 0))
    assert seat_1_wins > 60  # the perfect player's wins are counted for it when it moves second, too


def test_two_perfect_players_draw_and_a_tactician_is_between(tictactoe, solution):
    perfect = SolverPlayer(solution)
    assert summarize(play_episodes(tictactoe, [perfect, perfect], 60, seed=0))["draw"]["count"] == 60
    tactician = TacticianPlayer(tictactoe.native, 2)
    against_random = summarize(play_episodes(tictactoe, [tactician, RandomPlayer(tictactoe.spec)], 200, seed=0))
    against_perfect = summarize(play_episodes(tictactoe, [tactician, perfect], 200, seed=0))
    assert against_random["score"]["low"] > 0.75
    assert against_perfect["win"]["count"] == 0 < against_perfect["loss"]["count"]


def test_an_episode_is_the_same_in_any_company(tictactoe, solution):
    players = [TacticianPlayer(tictactoe.native, 1), SolverPlayer(solution)]
    together = play_episodes(tictactoe, players, 23, seed=5, num_copies=64)
    assert play_episodes(tictactoe, players, 23, seed=5, num_copies=1) == together
    assert play_episodes(tictactoe, players, 23, seed=5, num_copies=7) == together
    assert play_episodes(tictactoe, players, 9, seed=5) == together[:9]
    assert play_episodes(tictactoe, players, 23, seed=6) != together


def test_a_record_is_what_happened(tictactoe):
    for episode in play_episodes(tictactoe, [RandomPlayer(tictactoe.spec)], 40, seed=8):
        rules = TicTacToe()
        state = rules.initial(torch.tensor([episode.seed]))
        for i, action in enumerate(episode.actions):
            assert episode.observations[i] == fingerprint(rules.observe(state)[0].numpy())
            assert episode.legal[i] == fingerprint(rules.legal(state)[0].numpy())
            assert episode.to_play[i] == rules.to_play(state).item()
            assert sum(episode.policy[i]) == pytest.approx(1, abs=1e-3)
            played = rules.play(state, torch.tensor([action]))
            assert episode.rewards[i] == played.reward[0].tolist()
            assert played.terminated.item() == (i == len(episode) - 1)
            state = played.state
        assert episode.observations[-1] == fingerprint(rules.observe(state)[0].numpy())
        assert episode.outcome == np.sum(episode.rewards, 0).tolist()


def test_one_player_game():
    game = make("CartPole-v1")
    episodes = play_episodes(game, [RandomPlayer(game.spec)], 20, seed=2, num_copies=8)
    assert len({episode.seed for episode in episodes}) == 20
    assert len({episode.observations[0] for episode in episodes}) == 20
    assert all(episode.outcome == [len(episode)] and episode.seating == (0,) for episode in episodes)
    summary = summarize(episodes)
    assert "win" not in summary
    assert 10 < summary["return"]["mean"] < 40  # a random CartPole falls after 22 moves on average
    assert summary["return"]["low"] < summary["return"]["mean"] < summary["return"]["high"]
    assert summary["moves"] == summary["return"]["mean"]


def test_three_players_rotate_with_the_same_luck():
    game = native(ThreeRace())
    players = [Named(game.spec, name) for name in ("a", "b", "c")]
    episodes = play_episodes(game, players, 12, seed=4)
    assert [episode.seating for episode in episodes[:3]] == [(0, 1, 2), (2, 0, 1), (1, 2, 0)]
    assert len({episode.seed for episode in episodes}) == 4
    assert len({episode.seed for episode in episodes[:3]}) == 1
    summaries = [summarize(episodes, player) for player in range(3)]
    assert sum(summary["win"]["count"] for summary in summaries) == 12
    assert sum(summary["return"]["mean"] for summary in summaries) == pytest.approx(2)
    for number in range(3):
        expected = [episode.outcome[episode.seating.index(number)] for episode in episodes]
        assert summaries[number]["return"]["mean"] == pytest.approx(np.mean(expected))


def test_limits():
    truncated = play_episodes(native(ThreeRace(limit=3)), [RandomPlayer(ThreeRace().spec)], 5, seed=0)
    assert all(e.truncated and not e.terminated and not e.cut and len(e) == 3 for e in truncated)
    cut = play_episodes(native(ThreeRace()), [RandomPlayer(ThreeRace().spec)], 5, seed=0, max_moves=2)
    assert all(e.cut and not e.truncated and not e.terminated and len(e) == 2 for e in cut)
    assert summarize(cut)["cut"] == 5


class Careless:
    """Draws from every global source of randomness."""

    name = "careless"

    def act(self, observation, legal, to_play, seed):
        torch.rand(3), np.random.rand(3), random.random()
        return Decision(legal.long().argmax(1))


def test_training_randomness_is_not_touched(tictactoe, solution):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(4), np.random.rand(4), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    play_episodes(tictactoe, [Careless(), RandomPlayer(tictactoe.spec)], 4, seed=0)
    optimal_share(Careless(), solution)
    evaluate_game(tictactoe, RandomPlayer(tictactoe.spec), EvaluationConfig(episodes=4), seed=0)
    assert torch.equal(torch.rand(4), expected[0])
    assert np.array_equal(np.random.rand(4), expected[1])
    assert random.random() == expected[2]


class Planted:
    """Optimal but for some positions; its prior is wrong in others."""

    name = "planted"

    def __init__(self, solution, wrong, prior_wrong):
        self.solution, self.wrong, self.prior_wrong = solution, wrong, prior_wrong

    def _choose(self, index, wrong):
        bad = torch.isin(index, wrong)[:, None]
        legal, optimal = self.solution.legal[index], self.solution.optimal[index]
        return torch.where(bad, legal & ~optimal, optimal).long().argmax(1)

    def act(self, observation, legal, to_play, seed):
        index = self.solution.lookup(observation)
        prior = torch.full(legal.shape, 0.05)
        prior.scatter_(1, self._choose(index, self.prior_wrong)[:, None], 0.6)
        prior[~legal] = 0.9  # what a network says of illegal moves does not count
        return Decision(self._choose(index, self.wrong), prior=prior)


def test_optimal_share(tictactoe, solution):
    assert optimal_share(SolverPlayer(solution), solution)[:1] == (1.0,)
    can_err = (solution.legal & ~solution.optimal).any(1).nonzero()[:, 0]
    wrong, prior_wrong = can_err[5:400:3], can_err[1000:1017]
    found = optimal_share(Planted(solution, wrong, prior_wrong), solution, batch=500)
    assert torch.equal(found.wrong, wrong)
    assert torch.equal(found.prior_wrong, prior_wrong)
    assert found.share == 1 - len(wrong) / 4520
    assert found.prior_share == 1 - 17 / 4520
    by_chance = float((solution.optimal.sum(1) / solution.legal.sum(1)).mean())
    assert optimal_share(RandomPlayer(tictactoe.spec), solution).share == pytest.approx(by_chance, abs=0.02)
    assert optimal_share(RandomPlayer(tictactoe.spec), solution).prior_share is None
    tactician = optimal_share(TacticianPlayer(tictactoe.native, 2), solution).share
    assert by_chance < optimal_share(TacticianPlayer(tictactoe.native, 1), solution).share < tactician < 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (95, 100), (100, 100), (1, 1)])
def test_wilson_equals_scipy(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    share, low, high = wilson(successes, trials)
    assert (share, low, high) == pytest.approx((successes / trials, expected.low, expected.high))


def test_mean_interval_equals_scipy_and_covers():
    values = [3.0, 5.0, 8.0, 9.5]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values)[1:] == pytest.approx((expected.low, expected.high))
    assert np.isnan(mean_interval([3.0]).low)
    generator = np.random.default_rng(0)
    intervals = [mean_interval(generator.normal(2.0, 3.0, 12)) for _ in range(1000)]
    assert 0.93 < np.mean([low < 2.0 < high for _, low, high in intervals]) < 0.97


def test_evaluate_game(tictactoe, solution):
    config = EvaluationConfig(episodes=30)
    first, second = evaluate_game(tictactoe, SolverPlayer(solution), config, seed=0)
    assert first.players == ("perfect", "random")
    assert second.players == ("perfect", "perfect")
    assert first.summary["optimal"] == 1.0
    assert first.summary["positions"] == 4520
    assert "optimal" not in second.summary
    assert second.summary["draw"]["count"] == 30
    cartpole = make("CartPole-v1")
    (alone,) = evaluate_game(cartpole, RandomPlayer(cartpole.spec), config, seed=0)
    assert alone.players == ("random",)
    assert opponents_of(make("connect_four"), ("perfect", "tactician2")) == ["tactician2"]
    assert opponents_of(make("connect_four"), ("perfect",)) == ["random"]
    assert opponents_of(cartpole, ("random",)) == []
    named = EvaluationConfig(episodes=4, opponents=("tactician1",))
    assert evaluate_game(tictactoe, SolverPlayer(solution), named, seed=0)[0].players == ("perfect", "tactician1")


def test_refusals(tictactoe):
    cartpole = make("CartPole-v1")
    with pytest.raises(ValueError, match="tictactoe has 2 players: give 1 or 2 of them, found 3"):
        play_episodes(tictactoe, [RandomPlayer(tictactoe.spec)] * 3, 2, seed=0)
    with pytest.raises(ValueError, match="no native rules"):
        play_episodes(cartpole, [TacticianPlayer(tictactoe.native)], 2, seed=0)
    with pytest.raises(ValueError, match="no perfect player"):
        built_in("perfect", make("connect_four"))
    with pytest.raises(ValueError, match="unknown player 'god': expected random, perfect"):
        built_in("god", tictactoe)
    with pytest.raises(ValueError, match=r"evaluation\.episodes must be at least 1, found 0"):
        EvaluationConfig(episodes=0)

    class Cheat(Careless):
        def act(self, observation, legal, to_play, seed):
            return Decision(torch.zeros(len(legal), dtype=torch.int64))

    with pytest.raises(AssertionError, match="careless chose a move that is not legal"):
        play_episodes(tictactoe, [Cheat()], 1, seed=0)
