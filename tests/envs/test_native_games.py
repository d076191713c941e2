"""The native games against OpenSpiel's rules on some games each, and against what a person knows of them.

benchmarks/rules_against_openspiel.py plays 10,000 of each."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from envs import registry
from envs.game import has_explicit_chance
from envs.solver import solve

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks" / "results" / "2026-11-22-rules-against-openspiel.json"


def script():
    """benchmarks/rules_against_openspiel.py as a module."""
    found = importlib.util.spec_from_file_location(
        "rules_against_openspiel", ROOT / "benchmarks/rules_against_openspiel.py"
    )
    module = importlib.util.module_from_spec(found)
    sys.modules["rules_against_openspiel"] = module  # where its dataclasses look for their names
    found.loader.exec_module(module)
    return module


SHORT = {
    "othello:8": 60, "breakthrough:4x5": 100, "breakthrough:5x6": 60, "go:3": 400, "go:5": 60, "2048:64": 12,
    "catch:5x10": 100, "catch:6x4": 100, "pig:3:target=20": 60, "pig:2:target=30": 40, "hex:4": 60, "mnk:4x4x3": 60,
}  # fmt: skip


@pytest.mark.parametrize(("name", "num_games"), SHORT.items())
def test_same_game_as_openspiel(name, num_games):
    pytest.importorskip("pyspiel")
    comparison = script()
    found = comparison.compare(name, comparison.PAIRS[name], num_games, seed=5)
    assert found["games"] == num_games
    if name == "go:3":
        assert found["drawn"] > 0, "no game ended by superko"
    elif "won_by_0" in found:
        assert min(found["won_by_0"], found["won_by_1"]) > 0


def test_a_difference_is_found(monkeypatch):
    """The comparison can fail: other rules under the same name."""
    pytest.importorskip("pyspiel")
    comparison = script()
    for ours, theirs in (
        ("go:5", "go(board_size=5,komi=9.5)"),
        ("2048:64", "2048(max_tile=128)"),
        ("pig:3", "pig(players=3,winscore=90)"),
    ):
        pair = comparison.PAIRS[ours]
        with pytest.raises(AssertionError, match=f"{ours}, game"):
            comparison.compare(ours, type(pair)(theirs, pair.action, pair.begin, pair.legal), 60, seed=1)


def test_ten_thousand_games_of_every_kind_are_recorded():
    """The recorded run has every pair of the script, each on 10,000 games (hex:11 on 1,000)."""
    games = json.loads(RECORD.read_text())["games"]
    assert set(games) == set(script().PAIRS)
    assert {name: found["games"] for name, found in games.items() if found["games"] < 10_000} == {"hex:11": 1000}
    kinds = {name.partition(":")[0] for name in games}
    assert kinds >= {"othello", "breakthrough", "go", "2048", "catch", "pig", "hex", "mnk", "tictactoe", "connect_four"}


def play(name, *actions):
    """The last of B = 1 games after `actions`, and what the last of them returned."""
    rules = registry.make(name).native
    state, played = rules.initial(torch.zeros(1, dtype=torch.int64)), None
    for action in actions:
        assert bool(rules.legal(state)[0, action]), f"{action} is not legal"
        played = rules.play(state, torch.tensor([action]))
        state = played.state
    return rules, state, played


def picture(rules, state):
    """Rows of text: the mover's stones are x, the other's o."""
    mine, theirs = rules.observe(state)[0, :2].tolist()
    return ["".join("x" if a else "o" if b else "." for a, b in zip(*rows)) for rows in zip(mine, theirs)]


def test_othello_4_is_won_by_white():
    """Known since long: on 4 x 4 white, who moves second, wins 11 to 3."""
    solution = solve(registry.make("othello:4").native)
    assert float(solution.value[0]) == -1.0


def test_othello_turns_in_several_directions_and_passes():
    rules, state, _ = play("othello:8", 19)
    assert picture(rules, state)[2:5] == ["...o....", "...oo...", "...ox..."]
    # The shortest game in which a seat has nothing left: nine moves, black takes all.
    moves = [37, 43, 34, 29, 52, 45, 38, 44, 20]
    rules, state, played = play("othello:8", *moves)
    assert bool(played.terminated) == (not rules.observe(state)[0, 0].any())


def test_go_ko_capture_suicide_and_area():
    #   . x o .      black a1.. builds a ko mouth around (1, 1) and (1, 2) on 5 x 5
    black, white = [1, 5, 11], [2, 8, 12]
    moves = [move for pair in zip(black, white) for move in pair]
    rules, state, _ = play("go:5", *moves, 24, 6)  # white fills the mouth (1, 1) ...
    assert picture(rules, state)[0:3] == [".xo..", "xo.o.", ".xo.."]
    rules, state, played = play("go:5", *moves, 24, 6, 7)  # ... black takes the stone from (1, 2)
    assert picture(rules, state)[0:3] == [".ox..", "o.ox.", ".ox.."]
    assert not bool(rules.legal(state)[0, 6])  # white may not take back at once
    rules, state, _ = play("go:5", *moves, 24, 6, 7, 23, 22)  # after a threat and an answer it may
    assert bool(rules.legal(state)[0, 6])
    # A single point surrounded by the opponent is suicide.
    rules, state, _ = play("go:5", 1, 24, 5)
    assert not bool(rules.legal(state)[0, 0])
    # One black stone and two passes: all 25 points are black's, komi 7.5 does not save white.
    rules, state, played = play("go:5", 12, 25, 25)
    assert bool(played.terminated)
    assert played.reward.tolist() == [[1.0, -1.0]]
    assert play("go:5", 25, 25)[2].reward.tolist() == [[-1.0, 1.0]]  # an empty board: white has the komi


def test_breakthrough_pieces_capture_diagonally_only():
    rules, state, _ = play("breakthrough:2x3", 1)  # (0, 0) straight to (1, 0)
    assert picture(rules, state) == [".o", "o.", "xx"]
    forward = [rules.spec.keys()[action] for action in rules.legal(state)[0].nonzero()[:, 0].tolist()]
    assert forward == ["forward 2 0 right", "forward 2 1 left", "forward 2 1 straight"]
    _, _, played = play("breakthrough:2x3", 1, 3 * 4 + 2, 3 * 2 + 2)  # (1, 0) goes on to (2, 1): the last row
    assert bool(played.terminated)
    assert played.reward.tolist() == [[1.0, -1.0]]


def test_2048_merges_once_and_towards_the_side():
    rules = registry.make("2048").native
    board = torch.tensor([[1, 1, 1, 1, 0, 2, 2, 3, 1, 1, 2, 0, 3, 0, 0, 3]])
    state = rules.initial(torch.zeros(1, dtype=torch.int64))._replace(tile=board)
    left = rules.decide(state, torch.tensor([3]))
    assert left.tile.tolist() == [[2, 2, 0, 0, 3, 3, 0, 0, 2, 2, 0, 0, 4, 0, 0, 0]]
    assert left.made.tolist() == [4 + 4 + 8 + 4 + 16]
    right = rules.decide(state, torch.tensor([1]))
    assert right.tile.tolist() == [[0, 0, 2, 2, 0, 0, 3, 3, 0, 0, 2, 2, 0, 0, 0, 4]]
    full = state._replace(tile=torch.tensor([[1, 2, 1, 2, 2, 1, 2, 1, 1, 2, 1, 2, 2, 1, 2, 1]]))
    assert rules.legal(full).all()  # after the end: no row may be empty
    assert not rules.legal(state._replace(tile=torch.tensor([[1, 2] + [0] * 14])))[0, 0]  # up changes nothing


def test_2048_symmetries_turn_the_slides():
    rules = registry.make("2048").native
    generator = torch.Generator().manual_seed(0)
    board = torch.randint(0, 4, (50, 16), generator=generator)
    state = rules.initial(torch.arange(50))._replace(tile=board)
    for cells, actions in zip(rules.spec.symmetries.cells, rules.spec.symmetries.actions, strict=True):
        turned = state._replace(tile=board[:, list(cells)])
        for action in range(4):
            one, other = (
                rules.decide(at, torch.full((50,), act)) for at, act in ((state, action), (turned, actions[action]))
            )
            assert torch.equal(one.tile[:, list(cells)], other.tile)
            assert torch.equal(rules.legal(state)[:, action], rules.legal(turned)[:, actions[action]])


def test_first_positions_are_drawn_evenly():
    num = 20_000
    catch = registry.make("catch:5x10").native
    counts = catch.initial(torch.arange(num)).ball.bincount(minlength=5).double()
    assert ((counts - num / 5) ** 2 / (num / 5)).sum() < 23.5  # chi-square, 4 degrees of freedom: p = 1e-4
    tiles = registry.make("2048").native.initial(torch.arange(num)).tile
    assert ((tiles > 0).sum(1) == 2).all()
    cells = (tiles > 0).sum(0).double()
    assert ((cells - num / 8) ** 2 / (num / 8)).sum() < 44.3  # 15 degrees of freedom
    fours = float((tiles == 2).sum() / (2 * num))
    assert abs(fours - 0.1) < 5 * (0.1 * 0.9 / (2 * num)) ** 0.5


def test_catch_is_the_same_in_the_mirror():
    rules = registry.make("catch:5x5").native
    mirror, turned = rules.spec.symmetries.cells[1], rules.spec.symmetries.actions[1]
    state = rules.initial(torch.arange(64))
    mirrored = state._replace(ball=4 - state.ball)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        action = torch.randint(0, 3, (64,), generator=generator)
        one, other = rules.play(state, action), rules.play(mirrored, torch.tensor(turned)[action])
        assert torch.equal(
            rules.observe(one.state).flatten(2)[:, :, list(mirror)], rules.observe(other.state).flatten(2)
        )
        assert torch.equal(one.reward, other.reward)
        state, mirrored = one.state, other.state
    assert one.terminated.all()


def test_three_players_of_pig_share_the_loss_and_move_several_times_in_a_row():
    rules = registry.make("pig:3:target=20").native
    state = rules.initial(torch.arange(500))
    generator, again, ended = torch.Generator().manual_seed(1), 0, 0
    for _ in range(60):
        action = torch.where(rules.legal(state)[:, 0], torch.randint(0, 2, (500,), generator=generator), 1)
        played = rules.play(state, action)
        for seat in range(3):
            won = played.terminated & (state.to_play == seat)
            expected = [1.0 if other == seat else -0.5 for other in range(3)]
            assert all(row == expected for row in played.reward[won].tolist())
            ended += int(won.sum())
        assert not played.reward[~played.terminated].any()
        again += int((played.state.to_play == state.to_play).sum())
        state = type(state)(*(part[~played.terminated] for part in played.state))
        state = type(state)(
            *(torch.cat([part, new])[:500] for part, new in zip(state, rules.initial(torch.arange(500))))
        )
    assert ended > 100
    assert again > 1000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("othello:5", "5 x 5 is not offered; write othello:N"),
        ("othello:x", "the size 'x' is no whole number"),
        ("breakthrough:9x9", "width 9 and height 9 is not offered"),
        ("breakthrough:5", "'5' is not two numbers joined by x"),
        ("go", "the size is missing; write go:N"),
        ("go:2", "2 x 2 is not offered"),
        ("go:5:komi=0.3", "'komi=0.3' is not komi=K"),
        ("go:5:komi=1:komi=2", "'komi=2' is one too many"),
        ("2048:100", "'100' is no power of two from 8 to 131072"),
        ("catch:1x5", "width 1 and height 5 is not offered"),
        ("pig", "the players are missing; write pig:PLAYERS"),
        ("pig:1", "1 players are not between 2 and 10"),
        ("pig:3:target=1", "the target 1 is not between 2 and 1000"),
    ],
)
def test_bad_settings_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)


def test_one_game_has_one_name():
    for given, name in {
        "othello": "othello:8", "breakthrough": "breakthrough:8x8", "catch": "catch:5x10", "go:05": "go:5",
        "go:5:komi=7.5": "go:5", "go:5:komi=0.50": "go:5:komi=0.5", "pig:3:target=100": "pig:3",
    }.items():  # fmt: skip
        assert registry.make(given).name == name == registry.make(name).spec.name


def test_which_games_say_what_chance_can_do():
    names = ("2048", "pig:3", "twin:1:2048", "catch:5x5", "go:5", "scrambled:1:pig:3")
    assert [has_explicit_chance(registry.make(name).native) for name in names] == [True] * 3 + [False] * 3
