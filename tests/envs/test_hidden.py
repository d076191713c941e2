"""Hidden commitments and hidden cards: what each seat sees, against OpenSpiel and against game theory."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
import torch

from envs import registry
from envs.hidden.matrix import TABLES, Matrix
from gurgeh.evaluate import refusal


def walk(rules, state, history=()):
    """(history, state) of every position to move in, from B = 1 positions."""
    yield history, state
    for action in rules.legal(state)[0].nonzero()[:, 0].tolist():
        played = rules.play(state, torch.tensor([action]))
        if not bool(played.terminated):
            yield from walk(rules, played.state, (*history, action))


def look(rules, state):
    return tuple(rules.observe(state)[0].tolist()), int(rules.to_play(state))


def gain_from_looking(rules):
    """What seat 1 wins in the first round by its best answer to each thing that it may see; seat 0 is even-handed."""
    start = rules.initial(torch.zeros(1, dtype=torch.int64))
    returns = defaultdict(lambda: torch.zeros(rules.num_moves))
    for first in range(rules.num_moves):
        state = rules.play(start, torch.tensor([first])).state
        for second in range(rules.num_moves):
            returns[look(rules, state)][second] += float(rules.play(state, torch.tensor([second])).reward[0, 1])
    return sum(float(value.max()) for value in returns.values()) / rules.num_moves


class Leaky(Matrix):
    """The same game if what is hidden were ignored."""

    def observe(self, state):
        seen = super().observe(state)
        return torch.cat([seen[:, :-1], state.committed[:, None].float()], 1)


def test_the_second_player_gains_nothing_from_looking():
    for name in ("rps", "pennies"):
        assert gain_from_looking(Matrix(name, 1)) == 0.0
        assert gain_from_looking(Leaky(name, 1)) == 1.0  # the test can fail


def test_each_seat_sees_all_earlier_rounds_and_nothing_of_this_one():
    rules = registry.make("matrix:rps:3").native
    start = rules.initial(torch.zeros(1, dtype=torch.int64))
    behind = defaultdict(set)  # what a seat sees -> earlier rounds
    positions = 0
    for history, state in walk(rules, start):
        assert int(rules.to_play(state)) == len(history) % 2
        behind[look(rules, state)].add(history[: len(history) // 2 * 2])
        positions += 1
    assert positions == sum(3**n for n in range(6))
    assert all(len(earlier) == 1 for earlier in behind.values())  # nothing is forgotten
    assert len(behind) == 2 * (1 + 9 + 81)  # and nothing of the running round is seen


@pytest.mark.parametrize(
    ("name", "theirs"), [("rps", "matrix_rps"), ("pennies", "matrix_mp"), ("dilemma", "matrix_pd")]
)
def test_payoffs_are_openspiels(name, theirs):
    pyspiel = pytest.importorskip("pyspiel")
    game, rules = pyspiel.load_matrix_game(theirs), registry.make(f"matrix:{name}:1").native
    assert (game.num_rows(), game.num_cols()) == (rules.num_moves, rules.num_moves)
    for row, column in itertools.product(range(rules.num_moves), repeat=2):
        state = rules.initial(torch.zeros(1, dtype=torch.int64))
        kept = rules.play(state, torch.tensor([row]))
        assert not kept.reward.any()
        played = rules.play(kept.state, torch.tensor([column]))
        assert played.reward.tolist() == [[game.row_utility(row, column), game.col_utility(row, column)]]
        assert bool(played.terminated)


def test_the_last_round_is_shown_to_both_in_their_own_view():
    rules = registry.make("matrix:dilemma:10").native
    state = rules.initial(torch.zeros(1, dtype=torch.int64))
    for action in (0, 1):  # seat 0 cooperates, seat 1 defects
        state = rules.play(state, torch.tensor([action])).state
    assert rules.observe(state)[0, :4].tolist() == [1, 0, 0, 1]
    state = rules.play(state, torch.tensor([1])).state
    assert rules.observe(state)[0, :4].tolist() == [0, 1, 1, 0]


def deals(rules):
    """One position of every deal of Kuhn's poker."""
    state = rules.initial(torch.arange(200))
    return {tuple(cards): rules.initial(torch.tensor([seed])) for seed, cards in enumerate(state.cards.tolist())}


def test_kuhn_is_openspiels_in_every_history():
    pyspiel = pytest.importorskip("pyspiel")
    game, rules = pyspiel.load_game("kuhn_poker"), registry.make("kuhn").native
    ours, theirs, ends = defaultdict(set), defaultdict(set), 0

    def compare(state, reference):
        nonlocal ends
        seat = reference.current_player()
        assert int(rules.to_play(state)) == seat
        assert rules.legal(state)[0].nonzero()[:, 0].tolist() == reference.legal_actions()
        told = reference.information_state_string(seat)
        ours[look(rules, state)].add((seat, told))
        theirs[seat, told].add(look(rules, state))
        for action in (0, 1):
            played, child = rules.play(state, torch.tensor([action])), reference.child(action)
            assert bool(played.terminated) == child.is_terminal()
            if child.is_terminal():
                assert played.reward[0].tolist() == child.returns()
                ends += 1
            else:
                assert not played.reward.any()
                compare(played.state, child)

    for cards, state in deals(rules).items():
        reference = game.new_initial_state()
        for card in cards:
            reference.apply_action(card)
        compare(state, reference)
    assert ends == 6 * 5
    assert len(ours) == len(theirs) == 12  # a seat sees exactly what it knows: no more, no less
    assert all(len(told) == 1 for told in (*ours.values(), *theirs.values()))


def value(rules, strategies):
    """What seat 0 wins on average: strategies give seat -> (what it sees -> probability of a bet)."""

    def play(state):
        seen, seat = look(rules, state)
        bet, total = strategies[seat](seen), 0.0
        for action, chance in enumerate((1 - bet, bet)):
            if chance:
                played = rules.play(state, torch.tensor([action]))
                won = float(played.reward[0, 0])
                total += chance * (won if bool(played.terminated) else won + play(played.state))
        return total

    return sum(map(play, deals(rules).values())) / 6


def test_kuhn_has_its_value_and_nobody_can_do_better():
    rules = registry.make("kuhn").native

    def first(seen):  # Kuhn 1950, with the bluff of the lowest card at 1/6
        card, bets = seen[:3].index(1.0), seen[3:7]
        return (1 / 6, 0.0, 1 / 2)[card] if not any(bets) else (0.0, 1 / 2, 1.0)[card]

    def second(seen):
        card, bet = seen[:3].index(1.0), seen[4] == 1.0
        return (0.0, 1 / 3, 1.0)[card] if bet else (1 / 3, 0.0, 1.0)[card]

    assert value(rules, (first, second)) == pytest.approx(-1 / 18)
    seen = [sorted({look(rules, s)[0] for state in deals(rules).values() for _, s in walk(rules, state)
                    if int(rules.to_play(s)) == seat}) for seat in (0, 1)]  # fmt: skip
    assert [len(some) for some in seen] == [6, 6]
    pure = list(itertools.product((0.0, 1.0), repeat=6))
    best = [
        max(value(rules, (dict(zip(seen[0], chosen)).__getitem__, second)) for chosen in pure),
        min(value(rules, (first, dict(zip(seen[1], chosen)).__getitem__)) for chosen in pure),
    ]
    assert best == pytest.approx([-1 / 18] * 2)


def test_players_that_would_look_under_the_cards_are_refused():
    for name in ("kuhn", "matrix:rps:3"):
        game = registry.make(name)
        assert "hidden information" in refusal("mcts:10", game)
        assert "would see what is hidden" in refusal("tactician1", game)
        assert refusal("random", game) is None


def test_zero_sum_where_the_payoffs_are():
    assert {name: Matrix(name, 1).spec.zero_sum for name in TABLES} == {"rps": True, "pennies": True, "dilemma": False}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("matrix", "the game is missing; write matrix:GAME:ROUNDS"),
        ("matrix:chess:3", "the game 'chess' is not one of rps, pennies, dilemma"),
        ("matrix:rps:21", "the rounds '21' are no number from 1 to 20"),
        ("matrix:rps:x", "the rounds 'x' are no number"),
    ],
)
def test_bad_settings_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)
