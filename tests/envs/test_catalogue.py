"""The catalogue of small solved games: at least 200, different, none won at once, and solved as it says."""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest
import torch

from envs import catalogue, registry
from envs.boards import stones
from envs.solver import solve

ENTRIES = catalogue.load().entries


def test_at_least_two_hundred_games_that_differ():
    assert len(ENTRIES) >= 200
    assert len({entry.name for entry in ENTRIES}) == len({entry.fingerprint for entry in ENTRIES}) == len(ENTRIES)
    assert catalogue.load().game_version == 1 == registry.make(ENTRIES[0].name).spec.version
    assert min(entry.positions for entry in ENTRIES) >= 200
    assert min(entry.mistakes for entry in ENTRIES) >= 0.1
    for option in ("gravity", "misere", "wrap", "two", "blocked"):
        assert sum(option in entry.name for entry in ENTRIES) > 20, option
    assert {entry.value for entry in ENTRIES} == {1, 0, -1}


@pytest.mark.parametrize("entry", ENTRIES[3::29], ids=lambda entry: entry.name)
def test_a_sample_is_solved_as_it_says(entry):
    game = registry.make(entry.name)
    assert game.name == entry.name
    assert game.spec.solvable
    assert catalogue.describe(game.native, solve(game.native)) == entry
    assert not catalogue.won_at_once(game.native, entry.value)


def test_values_against_plain_minimax():
    """A game with most of the options, by recursion over single positions."""
    entry = next(entry for entry in ENTRIES if entry.positions < 1500 and ":two" in entry.name and "wrap" in entry.name)
    rules = registry.make(entry.name).native
    count = 0

    @functools.cache
    def best(key):
        nonlocal count
        count += 1
        own, other, mover, left = key
        state = stones.State(torch.tensor([[own, other]]), torch.tensor([mover]), torch.tensor([left]))
        values = []
        for action in rules.legal(state)[0].nonzero()[:, 0].tolist():
            played = rules.play(state, torch.tensor([action]))
            reward = float(played.reward[0, mover])
            if not played.terminated:
                after = played.state
                boards = tuple(tuple(plane) for plane in after.stones[0].tolist())
                follow = best((*boards, int(after.to_play), int(after.left)))
                reward += follow if int(after.to_play) == mover else -follow
            values.append(reward)
        return max(values)

    empty = (False,) * len(rules.blocked)
    assert best((empty, empty, 0, 1)) == entry.value
    assert count == entry.positions


def test_the_same_game_turned_has_the_same_fingerprint_and_another_has_not():
    def fingerprint(name):
        return catalogue.fingerprint(solve(registry.make(name).native))

    assert fingerprint("mnk:4x3x3") == fingerprint("mnk:3x4x3")
    assert fingerprint("mnk:3x3x3") == fingerprint("twin:1:mnk:3x3x3")
    assert fingerprint("mnk:3x3x3") != fingerprint("mnk:3x3x3:misere") != fingerprint("mnk:3x3x3:wrap")


def test_what_is_won_at_once():
    # Two in a row with the second stone, whatever the other does; three in a row on 3 x 3 is a draw.
    assert catalogue.won_at_once(registry.make("mnk:3x3x2").native, 1)
    assert not catalogue.won_at_once(registry.make("mnk:3x3x3").native, 0)
    assert not catalogue.won_at_once(registry.make("mnk:4x3x3").native, 1)  # needs a fork


@pytest.mark.parametrize("damage", ["value", "schema", "text"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    found = json.loads(catalogue.PATH.read_text())
    if damage == "value":
        found["entries"][0]["value"] = 1 - found["entries"][0]["value"]
    if damage == "schema":
        found["schema"] = "catalogue/0"
    file = tmp_path / "catalogue.json"
    file.write_text("{" if damage == "text" else json.dumps(found))
    with pytest.raises(ValueError, match=str(file)):
        catalogue.load(file)


def test_written_and_read_back(tmp_path):
    file = tmp_path / "one.json"
    catalogue.write(ENTRIES[:3], file)
    assert catalogue.load(file).entries == ENTRIES[:3]
    assert dataclasses.asdict(ENTRIES[0])["name"] in file.read_text()
