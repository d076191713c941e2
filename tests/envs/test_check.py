"""The checker catches broken games: each toy has one fault, and the report must name that one."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from envs import registry
from envs.batch import NativeEnvironment
from envs.boards.tictactoe import State, TicTacToe
from envs.chance import draw
from envs.check import check
from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries
from envs.wrapped import CopiesEnvironment


def broken(game, name, moves=60):
    """The text of the findings of check `name`; the game must fail it."""
    report = check(game, num_moves=moves)
    found = [finding for check_name, finding in report.findings() if check_name == name]
    assert found, f"not caught; other findings: {[(n, str(f)) for n, f in report.findings()]}"
    assert not report.ok
    with pytest.raises(ValueError, match="breaks the contract of games"):
        report.require()
    return str(found[0])


def native(rules, environment=NativeEnvironment):
    return Game(rules.spec.name, rules.spec, functools.partial(environment, rules), rules)


def with_spec(**changes):
    class Changed(TicTacToe):
        spec = dataclasses.replace(TicTacToe.spec, **changes)

    return Changed()


def test_wrong_sign_of_the_reward():
    class Toy(TicTacToe):
        def play(self, state, action):
            played = super().play(state, action)
            return played._replace(reward=-played.reward)

    text = broken(native(Toy()), "reward goes to seats")
    assert "the seat that made the last move lost in all" in text
    assert "change the sign of the reward" in text
    assert text.startswith("copy ")


def test_reward_of_the_mover_given_to_seat_0():
    class Toy(TicTacToe):
        def play(self, state, action):
            played = super().play(state, action)
            won = played.reward.abs()[:, :1]
            return played._replace(reward=torch.cat([won, -won], 1))

    text = broken(native(Toy()), "reward goes to seats")
    assert "seat 0 got the win in all" in text
    assert "reward[b, p] is what seat p received" in text


def test_reward_that_does_not_sum_to_zero_and_one_out_of_range():
    class Toy(TicTacToe):
        scale = torch.tensor([1.0, 0.5])

        def play(self, state, action):
            played = super().play(state, action)
            return played._replace(reward=played.reward * self.scale)

    class Large(Toy):
        scale = torch.tensor([3.0, 3.0])

    assert "does not sum to zero in a zero_sum game" in broken(native(Toy()), "reward range and sum")
    assert "outside spec.reward_range (-1.0, 1.0)" in broken(native(Large()), "reward range and sum")


def test_mask_that_lies():
    class Toy(TicTacToe):
        def legal(self, state):
            return torch.ones_like(state.stones[:, 0])

    text = broken(native(Toy()), "legal moves")
    assert "is legal, but its place is taken" in text
    assert "Correct `legal`" in text


def test_mask_that_allows_a_move_which_raises():
    class Toy(TicTacToe):
        def play(self, state, action):
            if bool((state.stones[:, :, 4].any(1) & (action == 0)).any()):
                raise IndexError("corner after centre")
            return super().play(state, action)

    text = broken(native(Toy()), "shapes and types")
    assert "raised IndexError: corner after centre" in text
    assert "correct the rules or the mask" in text


def test_mask_that_is_empty():
    class Toy(TicTacToe):
        def legal(self, state):
            return super().legal(state) & ~state.stones[:, :, 4].any(1, keepdim=True)

    text = broken(native(Toy()), "shapes and types")
    assert "no legal action at all" in text
    assert "no row may be all False" in text


def test_observation_from_a_fixed_seat():
    class Toy(TicTacToe):
        def observe(self, state):
            seat_0 = torch.where((state.to_play == 0)[:, None, None], state.stones, state.stones.flip(1))
            return seat_0.reshape(-1, 2, 3, 3).to(torch.uint8)

    text = broken(native(Toy()), "mine and theirs")
    assert "keep their owners though the turn passed" in text
    assert "Plane 0 is the stones of the seat in to_play" in text


def test_lost_final_observation():
    class Lost(NativeEnvironment):
        def step(self, action):
            now = super().step(action)
            return now._replace(final_observation=now.observation, final_to_play=now.to_play)

    text = broken(native(TicTacToe(), Lost), "final observation")
    assert "final_observation was the next episode's first observation in all" in text
    assert "Keep the last observation before the copy begins anew" in text


def test_final_observation_of_the_move_before():
    class Late(NativeEnvironment):
        def step(self, action):
            before = self.game.observe(self._state), self.game.to_play(self._state)
            now = super().step(action)
            ended = now.terminated
            return now._replace(
                final_observation=torch.where(ended[:, None, None, None], before[0], now.final_observation),
                final_to_play=torch.where(ended, before[1], now.final_to_play),
            )

    assert "final_observation shows no new stone" in broken(native(TicTacToe(), Late), "moves on the board")


def test_wrong_shape_type_and_value():
    for changes, problem in (
        ({"num_actions": 10, "action_keys": None}, r"legal is [4, 9] of bool, the spec says [4, 10] of bool"),
        ({"observation": ObservationSpec(ObservationKind.GRID, (2, 3, 3))}, "observation is [4, 2, 3, 3] of uint8"),
    ):
        assert problem in broken(native(with_spec(symmetries=None, **changes)), "shapes and types")

    class Toy(TicTacToe):
        def to_play(self, state):
            return super().to_play(state) + 1

    assert "to_play is 2 in a game of 2 player(s)" in broken(native(Toy()), "shapes and types")


def test_spec_with_a_key_twice_and_symmetries_that_are_none():
    keys = ("cell 0 0", *TicTacToe.spec.keys()[:8])
    assert "gives 'cell 0 0' to more than one action" in broken(native(with_spec(action_keys=keys)), "spec")
    good = TicTacToe.spec.symmetries
    turned = Symmetries(
        good.cells, (*good.actions[:1], good.actions[3], good.actions[2], good.actions[1], *good.actions[4:])
    )
    text = broken(native(with_spec(symmetries=turned)), "symmetries")
    assert "symmetry 1 does not hold" in text
    short = Symmetries(good.cells, ((0,) * 9, *good.actions[1:]))
    assert "symmetries.actions[0] is no permutation" in broken(native(with_spec(symmetries=short)), "spec")


def test_rules_that_write_into_their_argument():
    class Toy(TicTacToe):
        def play(self, state, action):
            state.stones[:, 0].scatter_(1, action[:, None], True)
            return super().play(state, action)

    assert "changed the state they were given" in broken(native(Toy()), "pure rules")


SPEC = GameSpec(name="toy", observation=ObservationSpec(ObservationKind.VECTOR, (2,)), num_actions=2, max_length=7)


class Walk(CopiesEnvironment):
    """A sound toy: a walk of steps as long as the seed says, over after 5 moves."""

    shared: list = []  # noqa: RUF012 - some of the broken ones use it

    def __init__(self, num_copies, seed):
        super().__init__(SPEC, num_copies, seed)
        self.place, self.moves = [0.0] * num_copies, [0] * num_copies
        self.stride = [0.0] * num_copies

    def begin_copy(self, copy, seed):
        self.place[copy], self.moves[copy], self.stride[copy] = 0.0, 0, 1 + seed % 1000 / 1000
        self.show(copy)

    def play_copy(self, copy, action):
        self.place[copy] += self.stride[copy] * (1 if action else -1)
        self.moves[copy] += 1
        self.show(copy)
        return self.place[copy], self.moves[copy] == 5, False

    def show(self, copy):
        self.observation[copy] = self.place[copy], self.moves[copy]


def wrapped(environment):
    return Game("toy", SPEC, environment)


def test_the_sound_toy_passes():
    assert check(wrapped(Walk)).findings() == []
    assert check(native(TicTacToe())).findings() == []


def test_chance_that_is_not_the_seeds():
    class Toy(Walk):
        def play_copy(self, copy, action):
            self.place[copy] += np.random.default_rng().random()
            return super().play_copy(copy, action)

    text = broken(wrapped(Toy), "determinism")
    assert "differs when the same moves are played again under the same seed" in text
    assert "Take all chance from the episode's seed" in text


def test_chance_that_is_not_what_was_announced():
    rules = registry.make("pig:2:target=20").native

    class Loaded(type(rules)):
        def chances(self, after):
            honest = super().chances(after)
            return torch.where(after.rolling[:, None], torch.tensor([0.1] * 5 + [0.5]), honest)

        def play(self, state, action):
            after = self.decide(state, action)
            return self.resolve(after, draw(super().chances(after), after.key))

    assert "outcome 0 was drawn" in broken(native(Loaded(2, 20)), "chance")

    class Short(type(rules)):
        def chances(self, after):
            return super().chances(after) * 0.9

    assert "rows that sum to 0.9" in broken(native(Short(2, 20)), "chance")

    class Elsewhere(type(rules)):
        def play(self, state, action):
            played = super().play(state, action)
            return played._replace(state=played.state._replace(score=played.state.score + 1))

    assert "play led to what no possible outcome leads to" in broken(native(Elsewhere(2, 20)), "chance")


def test_copies_that_share_state():
    class Toy(Walk):
        def play_copy(self, copy, action):
            self.place[0] += 0.25  # as one board object for all copies would
            return super().play_copy(copy, action)

    text = broken(wrapped(Toy), "independent copies")
    assert "differs when its moves are played alone" in text
    assert "Copies must not share state" in text


def test_environments_that_share_state():
    class Toy(Walk):
        board = [0.0] * 16

        def __init__(self, num_copies, seed):
            super().__init__(num_copies, seed)
            self.place = Toy.board

    text = broken(wrapped(Toy), "determinism")
    assert "when another environment is played in between" in text
    assert "none in the class or the module" in text


def test_a_past_that_shows_in_the_next_episode():
    class Toy(Walk):
        def begin_copy(self, copy, seed):
            place = self.place[copy]
            super().begin_copy(copy, seed)
            self.place[copy] = place / 2
            self.show(copy)

    text = broken(wrapped(Toy), "next episode")
    assert "is not that of a reset with the next episode's seed" in text


def test_state_that_is_not_restored():
    class Toy(Walk):
        def state_dict(self):
            return {**super().state_dict(), "actions": torch.zeros_like(super().state_dict()["actions"])}

    text = broken(wrapped(Toy), "save and restore")
    assert "after load_state_dict() into a fresh environment is not what was saved" in text
    assert "Save all that the next steps depend on" in text


def test_state_that_a_checkpoint_cannot_hold_and_one_that_moves_on():
    class Foreign(Walk):
        def state_dict(self):
            return {**super().state_dict(), "walkers": np.zeros(3)}

    class Live(Walk):
        def state_dict(self):
            return {**super().state_dict(), "episode": torch.from_numpy(self._episode)}

    assert "state_dict() holds a ndarray at ['walkers']" in broken(wrapped(Foreign), "save and restore")
    assert "state_dict() changed while the game went on" in broken(wrapped(Live), "save and restore")


def test_episodes_longer_than_stated_and_two_ends_at_once():
    class Endless(Walk):
        def step(self, action):
            now = super().step(action)
            return now._replace(terminated=now.terminated & False, truncated=now.truncated & False)

    class Both(Walk):
        def step(self, action):
            now = super().step(action)
            return now._replace(truncated=now.truncated | now.terminated)

    assert "an episode goes on after 7 moves, spec.max_length is 7" in broken(wrapped(Endless), "ends and length")
    assert "terminated and truncated at once" in broken(wrapped(Both), "ends and length")


def test_values_that_are_not_finite():
    class Toy(Walk):
        def play_copy(self, copy, action):
            _, terminated, truncated = super().play_copy(copy, action)
            return float("nan"), terminated, truncated

    assert "reward has a value that is not finite" in broken(wrapped(Toy), "shapes and types")


def test_rules_whose_state_is_not_batched():
    class Toy(TicTacToe):
        def initial(self, seed):
            state = super().initial(seed)
            return State(state.stones[:1].expand(len(seed), -1, -1), state.to_play)

        def play(self, state, action):
            played = super().play(state, action)
            stones = played.state.stones.clone()
            stones[1:] = stones[:1]  # every row gets the first one's stones
            return Playable(State(stones, played.state.to_play), played.reward, played.terminated)

    report = check(native(Toy()), num_moves=60)
    assert not report.ok
    assert any(name == "independent copies" for name, _ in report.findings())
