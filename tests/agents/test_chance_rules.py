"""Searching with rules of explicit chance: probabilities, values by expectation, and no look into the future."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from agents.chance import ChanceRulesModel, ChanceRulesPlayer
from agents.rules import RulesModel, no_opinion
from envs import registry
from envs.chance import Chance, draw, next_key, word
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable
from gurgeh.evaluate import built_in, refusal


class State(NamedTuple):
    money: torch.Tensor  # [B] int64
    key: torch.Tensor  # [B] int64


class Bets(Chance):
    """One move: take 2 for sure (action 0), or 9 with a chance of a fifth and else nothing (action 1)."""

    spec = GameSpec(
        "bets", ObservationSpec(ObservationKind.VECTOR, (1,)), num_actions=2, stochastic=True, num_outcomes=2,
        reward_range=(0.0, 9.0), max_length=1, native=True,
    )  # fmt: skip

    def initial(self, seed):
        return State(torch.zeros_like(seed), seed)

    def legal(self, state):
        return torch.ones(len(state.key), 2, dtype=torch.bool)

    def to_play(self, state):
        return torch.zeros_like(state.key)

    def observe(self, state):
        return state.money[:, None].float()

    def decide(self, state, action):
        return State(action, state.key)

    def chances(self, after):
        risky = after.money == 1
        return torch.where(risky[:, None], torch.tensor([0.8, 0.2]), torch.tensor([1.0, 0.0]))

    def resolve(self, after, outcome):
        won = torch.where(after.money == 1, 9 * outcome, 2)
        return Playable(State(won, next_key(after.key)), won[:, None].float(), torch.ones_like(won, dtype=torch.bool))


def test_the_search_weighs_outcomes_by_their_probabilities():
    """9 with a fifth is worth 1.8, less than 2; a search that saw the draw would take it whenever it wins."""
    rules, num = Bets(), 80
    state, seed = rules.initial(torch.arange(num)), torch.arange(num) + 1000
    lucky = rules.play(state, torch.ones(num, dtype=torch.int64)).reward[:, 0] == 9
    assert 5 < int(lucky.sum()) < 30
    player = ChanceRulesPlayer(rules, 120)
    decision = player.act_on_state(state, seed)
    assert (decision.action == 0).double().mean() > 0.95
    assert (decision.action[lucky] == 0).double().mean() > 0.9
    # A plain search of `play` would have seen it: what the model is there to prevent.
    with pytest.raises(ValueError, match="game bets has chance"):
        RulesModel(rules, lambda at: no_opinion(at, 1))


def test_afterstates_and_outcomes_are_those_of_the_rules():
    rules = registry.make("2048").native
    model = ChanceRulesModel(rules, lambda at: no_opinion(at, 1))
    state, seed = rules.initial(torch.arange(20)), torch.arange(20)
    root = model.root(state, seed)
    action = root.legal.int().argmax(1)
    after = model.decision(root.embedding, action)
    own = rules.decide(state, action)
    assert torch.allclose(after.code_logits.softmax(1), rules.chances(own), atol=1e-6)
    assert torch.equal(after.exists, rules.chances(own) > 0)
    outcome = after.exists.int().argmax(1)
    step = model.outcome(after.embedding, outcome)
    played = rules.resolve(own, outcome)
    assert torch.equal(step.reward, played.reward)
    assert torch.equal(step.exists, rules.legal(played.state))
    again = model.root(played.state, seed)  # the same board, whatever its key
    boards = [model._states.unpack(rows.embedding)[0] for rows in (step, again)]
    assert torch.equal(*boards)


def test_the_position_s_own_randomness_is_not_used():
    """The same board with two keys is searched alike, also by rollouts."""
    rules = registry.make("pig:3:target=20").native
    state, seed = rules.initial(torch.arange(30)), torch.arange(30) + 7
    player = ChanceRulesPlayer(rules, 12)
    one, other = player.act_on_state(state, seed), player.act_on_state(state._replace(key=state.key + 999), seed)
    for left, right in zip(one, other, strict=True):
        assert left is right is None or torch.equal(left, right)


def test_mcts_goes_on_rolling_when_it_must_and_sees_what_merges_bring():
    pig = registry.make("pig:2:target=20")
    state = pig.native.initial(torch.arange(40))
    state = state._replace(score=torch.tensor([[3, 18]]).expand(40, -1), turn=torch.full((40,), 16))
    action = built_in("mcts:150", pig).act_on_state(state, torch.arange(40)).action
    assert (action == 0).double().mean() > 0.9  # 19 would not be enough: the other wins with its next roll
    tiles = registry.make("2048")
    assert refusal("mcts:10", tiles) is None
    assert refusal("openspiel-mcts:10", tiles) is not None
    board = tiles.native.initial(torch.arange(4))._replace(tile=torch.tensor([[9, 9] + [0] * 14]).expand(4, -1))
    found = built_in("mcts:16", tiles).act_on_state(board, torch.arange(4)).value
    assert (found > 1000).all()  # the two tiles make 1024 sooner or later


def test_draws_have_the_probabilities_asked_for():
    chances = torch.tensor([[0.5, 0.0, 0.2, 0.3]]).expand(40_000, -1)
    counts = draw(chances, torch.arange(40_000)).bincount(minlength=4)
    assert counts[1] == 0
    for count, p in zip(counts.tolist(), (0.5, 0.0, 0.2, 0.3)):
        assert abs(count - 40_000 * p) <= 5 * (40_000 * p * (1 - p)) ** 0.5
    assert len(word(torch.arange(10_000)).unique()) == 10_000
    # SplitMix64 as its authors give it: the first numbers from the seed 0 (the key is the state after the step).
    first, keys = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F], [torch.zeros(1, dtype=torch.int64)]
    for _ in first:
        keys.append(next_key(keys[-1]))
    assert [int(word(key)) % 2**64 for key in keys[1:]] == first


def test_rules_without_explicit_chance_are_refused():
    with pytest.raises(ValueError, match="tictactoe has no explicit chance: write decide, chances and resolve"):
        ChanceRulesModel(registry.make("tictactoe").native, lambda at: no_opinion(at, 2))
