"""A game of words: the text says what is there and what can be done, and nothing more."""

from __future__ import annotations

import dataclasses
import itertools
import re

import torch

from agents.network import MultiGameNetwork, NetworkConfig
from envs import registry, tokens
from envs.words.cottage import COMMANDS, HIDING, LENGTH


def texts(rules, state):
    return [tokens.decode(row) for row in rules.observe(state)]


def hidden_places(rules):
    """One first position for every place of lamp and key."""
    state = rules.initial(torch.arange(500))
    places = list(zip(state.lamp.tolist(), state.key.tolist()))
    assert set(places) == set(itertools.product(HIDING, HIDING))
    return [rules.initial(torch.tensor([places.index(place)])) for place in dict.fromkeys(places)]


def command(text):
    return torch.tensor([COMMANDS.index(text)])


def reachable(rules, starts):
    """All positions that can be reached, as rows of numbers, and what each move from them leads to."""
    todo, seen = list(starts), {}
    while todo:
        state = todo.pop()
        at = tuple(int(part) for part in state)
        if at in seen:
            continue
        seen[at] = {}
        for action in rules.legal(state)[0].nonzero()[:, 0].tolist():
            played = rules.play(state, torch.tensor([action]))
            seen[at][action] = (tuple(int(p) for p in played.state), float(played.reward), bool(played.terminated))
            if not bool(played.terminated):
                todo.append(played.state)
    return seen


def test_the_text_lists_the_admissible_commands():
    rules = registry.make("cottage").native
    positions = reachable(rules, hidden_places(rules))
    assert len(positions) > 80
    sizes = set()
    for at, moves in positions.items():
        state = type(rules.initial(torch.tensor([0])))(*(torch.tensor([number]) for number in at))
        (text,) = texts(rules, state)
        said = re.search(r"You can (.*)\.$", text)[1].split(", ")
        assert said == [COMMANDS[action] for action in moves]
        assert len(text) < LENGTH
        sizes.add(len(said))
    assert len(sizes) >= 4  # their number varies from state to state


def test_every_game_can_be_won_and_pays_one():
    rules = registry.make("cottage").native
    for start in hidden_places(rules):
        positions = reachable(rules, [start])
        best = {at: 0.0 for at in positions}
        for _ in range(40):  # value iteration over a graph of a few hundred positions
            best = {
                at: max(reward + (0.0 if over else best[after]) for after, reward, over in moves.values())
                for at, moves in positions.items()
            }
        assert best[tuple(int(part) for part in start)] == 1.0


def test_a_walk_through():
    rules = registry.make("cottage").native
    state = next(state for state in hidden_places(rules) if (int(state.lamp), int(state.key)) == (1, 2))
    assert texts(rules, state) == ["You are in the hall.\nYou carry nothing.\nYou can go north, go east, go up, wait."]
    total = 0.0
    for said in ("go north", "go down"):  # the cellar without a lamp
        state = rules.play(state, command(said)).state
    assert texts(rules, state) == ["It is dark here.\nYou carry nothing.\nYou can go up, wait."]
    for said in ("go up", "take lamp", "go south", "go east", "take key", "go west", "go north", "go down"):
        assert bool(rules.legal(state)[0, COMMANDS.index(said)]), said
        played = rules.play(state, command(said))
        state, total = played.state, total + float(played.reward)
    assert total == 0.5
    assert texts(rules, state)[0].startswith(
        "You are in the cellar. You see a locked chest.\nYou carry a lamp and a key."
    )
    assert not bool(rules.legal(state)[0, COMMANDS.index("take coin")])
    state = rules.play(state, command("open chest with key")).state
    played = rules.play(state, command("take coin"))
    assert (float(played.reward), bool(played.terminated)) == (0.5, True)


def test_what_is_hidden_is_not_told():
    rules = registry.make("cottage").native
    assert len({text for state in hidden_places(rules) for text in texts(rules, state)}) == 1


def test_commands_are_shared_by_their_words():
    spec = registry.make("cottage").spec
    other = dataclasses.replace(spec, name="other", num_actions=2, action_keys=("command take key", "command sing"))
    network = MultiGameNetwork(NetworkConfig(width=16, hidden=32), [spec, other], seed=0)
    rows = network.tables.action_row
    assert int(rows[1, 0]) == int(rows[0, COMMANDS.index("take key")])
    assert int(rows[1, 1]) not in rows[0].tolist()


def test_commands_with_words_in_common_begin_alike_and_change_nothing_else():
    board, spec = registry.make("tictactoe"), registry.make("cottage").spec
    network = MultiGameNetwork(NetworkConfig(width=16, hidden=32), [board.spec], seed=0)
    shown = board.native.observe(board.native.initial(torch.zeros(2, dtype=torch.int64)))
    game = torch.zeros(2, dtype=torch.int64)

    def outputs():
        latent = network.represent("tictactoe", shown)
        return [*network.heads(latent, game), network.transition(latent, game, torch.tensor([0, 4]))]

    before = outputs()
    network.add_game(spec)
    for one, other in zip(before, outputs()):
        assert torch.equal(one[:, :9], other[:, :9]) if one.dim() == 2 else torch.equal(one, other)
    rows = {text: int(network.tables.action_row[1, number]) for number, text in enumerate(COMMANDS)}
    for table in (network.action_table(), network.core.weight):
        likeness = torch.nn.functional.cosine_similarity
        lamp, key, wait = (table[rows[text]].detach() for text in ("take lamp", "take key", "wait"))
        assert float(likeness(lamp, key, dim=0)) > 0.25 > abs(float(likeness(lamp, wait, dim=0))) - 0.25
        assert float(likeness(lamp, key, dim=0)) < 0.9
