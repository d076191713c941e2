"""Commands that vary: who reads them wins always, and the number of an action says nothing."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

from envs import registry, tokens
from envs.check import check
from envs.game import Game
from envs.words.errand import ACTIONS, Errand, draw

COPIES = 400


def first(copies=COPIES):
    rules = Errand()
    return rules, rules.initial(torch.as_tensor(np.random.default_rng(0).integers(0, 2**31, copies)))


def read(rules, state):
    """(text, command by action) of each copy."""
    spec, shown = rules.spec, rules.observe(state)
    said = spec.commands(shown)
    return [
        (tokens.decode(text), [tokens.decode(command) for command in commands])
        for text, commands in zip(spec.text(shown), said, strict=True)
    ]


def reader(text, commands):
    """The action of someone who reads: the room that is named, then the thing that is named."""
    thing, room, place = re.fullmatch(r"Bring the (.*) from the (.*)\. You are in the (.*)\.", text).groups()
    return commands.index(f"take the {thing}" if place == room else f"go to the {room}")


def test_who_reads_brings_the_thing_in_two_moves():
    rules, state = first()
    for move in range(2):
        action = torch.tensor([reader(*seen) for seen in read(rules, state)])
        assert bool(rules.legal(state).gather(1, action[:, None]).all())
        played = rules.play(state, action)
        state = played.state
        assert bool((played.terminated == (move == 1)).all())
        assert bool((played.reward[:, 0] == (move == 1)).all())


def test_commands_are_those_of_the_legal_actions():
    rules, state = first(60)
    random = np.random.default_rng(1)
    places = set()
    for _ in range(6):
        for (text, commands), legal in zip(read(rules, state), rules.legal(state).tolist(), strict=True):
            assert [bool(command) for command in commands] == legal
            said = [command for command in commands if command]
            assert len(set(said)) == len(said)
            hall = text.endswith("in the hall.")
            assert all(command.startswith("go to the ") for command in said) == hall
            if not hall:
                places.add(commands.index("go back"))
        legal = rules.legal(state).numpy()
        state = rules.play(state, torch.tensor([random.choice(np.flatnonzero(row)) for row in legal])).state
    assert places == set(range(ACTIONS))  # nothing stands always at the same place


def test_no_action_is_right_more_often_than_another():
    rules, state = first(4000)
    actions = [reader(*seen) for seen in read(rules, state)]
    doors = np.bincount(actions, minlength=ACTIONS)
    assert abs(doors[:3] / 4000 - 1 / 3).max() < 0.03
    state = rules.play(state, torch.tensor(actions)).state
    right = np.bincount([reader(*seen) for seen in read(rules, state)], minlength=ACTIONS)
    assert abs(right / 4000 - 1 / ACTIONS).max() < 0.03


def test_two_things_are_like_the_wanted_one_and_none_is_elsewhere():
    found = draw(torch.arange(500))
    for row in range(500):
        door, wanted = int(found.wanted_room[row]), int(found.wanted[row])
        for place, things in enumerate(found.things[row].tolist()):
            assert len(set(things)) == 4
            assert (wanted in things) == (place == door)
            if place == door:
                assert sum(thing // 6 == wanted // 6 or thing % 6 == wanted % 6 for thing in things) == 3


def test_going_back_and_the_wrong_thing():
    rules, state = first(1)
    text, commands = read(rules, state)[0]
    wrong = next(a for a, said in enumerate(commands) if said and a != reader(text, commands))
    played = rules.play(state, torch.tensor([wrong]))
    assert not bool(played.terminated)
    commands = read(rules, played.state)[0][1]
    back = rules.play(played.state, torch.tensor([commands.index("go back")]))
    assert read(rules, back.state)[0] == (text, read(rules, state)[0][1])
    taken = rules.play(played.state, torch.tensor([(commands.index("go back") + 1) % ACTIONS]))
    assert (bool(taken.terminated), float(taken.reward)) == (True, 0.0)


# -- the contract -------------------------------------------------------------------------------------------------


class Silent(Errand):
    """Leaves a legal action without a text."""

    def observe(self, state):
        shown = super().observe(state).clone()
        self.spec.commands(shown)[:, 0] = tokens.PADDING
        return shown


class Twice(Errand):
    """Two actions say the same."""

    def observe(self, state):
        shown = super().observe(state).clone()
        said = self.spec.commands(shown)
        said[:, 1] = said[:, 0]
        return shown


class LeftAligned(Errand):
    """Padding behind what is said, where nobody looks for words."""

    def observe(self, state):
        shown = super().observe(state).clone()
        said = self.spec.commands(shown)
        order = (said == tokens.PADDING).long().argsort(dim=2, stable=True)
        said.copy_(said.gather(2, order))
        return shown


class Strange(Errand):
    """A token that there is not."""

    def observe(self, state):
        shown = super().observe(state).clone()
        shown[:, 0] = tokens.VOCABULARY
        return shown


@pytest.mark.parametrize(
    ("rules", "what", "problem"),
    [
        (Silent, "commands", r"actions \[1, 2\] say something, legal are \[0, 1, 2\]"),
        (Twice, "commands", "two legal actions say the same"),
        (LeftAligned, "commands", "padding stands behind tokens of what action 0 says"),
        (Strange, "shapes and types", "tokens outside 0 to 259"),
    ],
)
def test_the_check_finds(rules, what, problem):
    made = rules()
    from envs.batch import NativeEnvironment

    game = Game("errand", made.spec, lambda copies, seed: NativeEnvironment(made, copies, seed), made)
    found = [str(finding) for name, finding in check(game, 2, 20).findings() if name == what]
    assert any(re.search(problem, text) for text in found), found


def test_specs_that_contradict_themselves():
    spec = Errand.spec
    for changes in ({"action_tokens": 50}, {"action_keys": tuple("abcde")}, {"solvable": True}):
        with pytest.raises(ValueError, match="errand: "):
            dataclasses.replace(spec, **changes)


def test_what_there_is_room_for():
    spec = Errand.spec
    shown = tokens.encode_position("here", ["go", "wait"], spec)
    assert shown.shape == spec.observation.shape
    assert tokens.decode(spec.text(shown)) == "here"
    assert [tokens.decode(said) for said in spec.commands(shown)] == ["go", "wait", "", "", ""]
    with pytest.raises(ValueError, match=r"room for 5 commands of 24 bytes; found 6, the longest of 1"):
        tokens.encode_position("", list("abcdef"), spec)
    with pytest.raises(ValueError, match="the longest of 25"):
        tokens.encode_position("", ["a" * 25], spec)


def test_no_twins():
    for name in ("twin:1:errand", "scrambled:1:errand"):
        with pytest.raises(ValueError, match="commands that vary"):
            registry.make(name)
