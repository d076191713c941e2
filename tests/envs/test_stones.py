"""The family mnk:... against a slow referee in plain Python, hand-played games, and names that are one game or none.

benchmarks/rules_against_openspiel.py holds mnk, hex and the two single boards against OpenSpiel. The recorded run,
10,000 random games of each of 12 games and 1,000 of hex:11 (2,134,546 moves), found no difference.
"""

from __future__ import annotations

import random

import pytest
import torch

from envs import registry
from envs.boards.stones import Settings, num_boards, open_cells
from envs.solver import solve


class Referee:
    """One game, played by the words of the rules: a dict of stones, and rows found by walking from each stone."""

    def __init__(self, settings: Settings, blocked: set[tuple[int, int]]):
        self.s, self.blocked = settings, blocked
        self.stones: dict[tuple[int, int], int] = {}
        self.seat, self.placed_in_turn, self.turn = 0, 0, 0
        self.over, self.winner = False, None

    def is_free(self, row: int, column: int) -> bool:
        return (row, column) not in self.stones and (row, column) not in self.blocked

    def legal(self) -> list[int]:
        s = self.s
        if s.gravity:
            return [column for column in range(s.width) if self.is_free(0, column)]
        return [r * s.width + c for r in range(s.height) for c in range(s.width) if self.is_free(r, c)]

    def play(self, action: int) -> None:
        s = self.s
        row, column = divmod(action, s.width) if not s.gravity else (0, action)
        while s.gravity and row + 1 < s.height and self.is_free(row + 1, column):
            row += 1
        self.stones[row, column] = self.seat
        if self.has_row():
            self.over, self.winner = True, 1 - self.seat if s.misere else self.seat
        elif not self.legal():
            self.over = True
        self.placed_in_turn += 1
        if self.placed_in_turn == (2 if s.two and self.turn > 0 else 1):
            self.seat, self.placed_in_turn, self.turn = 1 - self.seat, 0, self.turn + 1

    def has_row(self) -> bool:
        return any(
            len(self.walk(place, step)) == self.s.row
            for place in self.stones for step in ((0, 1), (1, 0), (1, 1), (1, -1))
        )  # fmt: skip

    def walk(self, place: tuple[int, int], step: tuple[int, int]) -> set[tuple[int, int]]:
        """The stones of the mover that are met when going K - 1 steps on from `place`."""
        s, met = self.s, set()
        row, column = place
        for _ in range(s.row):
            if self.stones.get((row, column)) != self.seat:
                break
            met.add((row, column))
            row, column = row + step[0], column + step[1]
            if s.wrap:
                column %= s.width
                row = row % s.height if not s.gravity else row
        return met


SETTINGS = [
    "mnk:3x3x3",
    "mnk:5x3x3",
    "mnk:3x5x4",
    "mnk:6x4x4:gravity",
    "mnk:4x5x3:misere",
    "mnk:5x4x4:wrap",
    "mnk:4x4x4:wrap",
    "mnk:5x4x4:gravity:wrap",
    "mnk:6x5x5:two",
    "mnk:5x5x3:blocked=6@3",
    "mnk:5x5x3:gravity:blocked=3@4",
    "mnk:4x4x3:misere:two",
    "mnk:5x4x3:gravity:misere:wrap:two:blocked=2@3",
]


@pytest.mark.parametrize("name", SETTINGS)
def test_random_games_are_what_the_referee_says(name):
    num_games = 60
    rules = registry.make(name).native
    s = rules.settings
    blocked = {divmod(cell, s.width) for cell in rules.blocked.nonzero()[:, 0].tolist()}
    assert len(blocked) == s.blocked
    referees = [Referee(s, blocked) for _ in range(num_games)]
    chance, state = random.Random(name), rules.initial(torch.zeros(num_games, dtype=torch.int64))
    live, ends = list(range(num_games)), set()
    while live:
        action = torch.zeros(num_games, dtype=torch.int64)
        shown, legal, mover = rules.observe(state), rules.legal(state), rules.to_play(state)
        for i in live:
            referee = referees[i]
            assert legal[i].nonzero()[:, 0].tolist() == referee.legal()
            assert mover[i] == referee.seat
            expected = torch.zeros_like(shown[i])
            for (row, column), seat in referee.stones.items():
                expected[0 if seat == referee.seat else 1, row, column] = 1
            for row, column in blocked:
                expected[2, row, column] = 1
            if s.two:
                expected[-1] = referee.turn > 0 and referee.placed_in_turn == 0
            assert torch.equal(shown[i], expected)
            action[i] = chance.choice(referee.legal())
            referee.play(int(action[i]))
        played = rules.play(state, action)
        state = played.state
        for i in live:
            assert bool(played.terminated[i]) == referees[i].over
            winner = referees[i].winner
            assert played.reward[i].tolist() == ([0, 0] if winner is None else [1, -1] if winner == 0 else [-1, 1])
            if referees[i].over:
                ends.add(winner)
        live = [i for i in live if not referees[i].over]
    assert {0, 1} <= ends


def test_positions_of_connect_four_as_oeis_counts_them():
    """OEIS A212693: legal positions of the 7 x 6 board after n plies, ends included."""
    rules = registry.make("mnk:7x6x4:gravity").native
    state = rules.initial(torch.zeros(1, dtype=torch.int64))
    for expected in (7, 49, 238, 1120, 4263, 16422, 54859):
        row, action = rules.legal(state).nonzero(as_tuple=True)
        played = rules.play(type(state)(*(part[row] for part in state)), action)
        weights = 2 ** torch.arange(42)
        key = (played.state.stones * weights).sum(2)
        _, which = torch.unique(key, dim=0, return_inverse=True)
        first = torch.full((int(which.max()) + 1,), -1).scatter(0, which, torch.arange(len(which)))
        assert len(first) == expected
        first = first[~played.terminated[first]]
        state = type(state)(*(part[first] for part in played.state))


@pytest.mark.parametrize("name", ["mnk:3x3x3:wrap", "mnk:3x3x3:misere:two", "mnk:4x3x3:gravity:blocked=1@3"])
def test_solved_as_a_minimax_with_the_referee_says(name):
    """Every position's value and optimal moves; the minimax replays each game from its moves."""
    rules = registry.make(name).native
    blocked = {divmod(cell, rules.settings.width) for cell in rules.blocked.nonzero()[:, 0].tolist()}
    known: dict = {}

    def view(referee: Referee) -> tuple:
        return frozenset(referee.stones.items()), referee.seat, referee.placed_in_turn

    def best(moves: list[int]) -> float:
        """Seat 0's result from here on."""
        referee = Referee(rules.settings, blocked)
        for move in moves:
            referee.play(move)
        if referee.over:
            return {None: 0, 0: 1, 1: -1}[referee.winner]
        if view(referee) not in known:
            values = {move: best([*moves, move]) for move in referee.legal()}
            value = (max if referee.seat == 0 else min)(values.values())
            known[view(referee)] = value, {move for move, found in values.items() if found == value}
        return known[view(referee)][0]

    best([])
    solution = solve(rules)
    assert len(solution) == len(known)
    for planes, seat, left, value, optimal in zip(
        solution.observation, solution.to_play.tolist(), solution.state.left.tolist(), solution.value, solution.optimal
    ):
        stones = {tuple(place): seat if plane == 0 else 1 - seat for plane, *place in planes[:2].nonzero().tolist()}
        turn = len(stones) > 0 and rules.settings.two
        expected, moves = known[frozenset(stones.items()), seat, 1 if turn and left == 1 else 0]
        assert value == (expected if seat == 0 else -expected)
        assert set(optimal.nonzero()[:, 0].tolist()) == moves


def test_same_as_the_games_of_their_own_files():
    """tictactoe and connect_four are settings of the family: the same positions, moves and results."""
    for ours, own in (("mnk:3x3x3", "tictactoe"), ("mnk:7x6x4:gravity", "connect_four")):
        one, other = registry.make(ours), registry.make(own)
        assert one.spec.observation == other.spec.observation
        assert one.spec.action_keys == other.spec.action_keys
        assert set(one.spec.symmetries.cells) == set(other.spec.symmetries.cells)
        left, right = one.environment(16, 4), other.environment(16, 4)
        now, same = left.reset(), right.reset()
        chance = torch.Generator().manual_seed(0)
        for _ in range(60):
            for field in now._fields:
                assert torch.equal(getattr(now, field), getattr(same, field)), field
            action = torch.where(now.legal, torch.rand(now.legal.shape, generator=chance), -1.0).argmax(1)
            now, same = left.step(action), right.step(action)


def test_two_stones_a_turn_but_one_at_first():
    rules = registry.make("mnk:4x4x4:two").native
    state, seats, second = rules.initial(torch.zeros(1, dtype=torch.int64)), [], []
    for cell in range(7):
        seats.append(int(rules.to_play(state)))
        second.append(int(rules.observe(state)[0, -1, 0, 0]))
        state = rules.play(state, torch.tensor([cell])).state
    assert seats == [0, 1, 1, 0, 0, 1, 1]
    assert second == [0, 1, 0, 1, 0, 1, 0]


def test_a_torus_has_rows_across_its_edges_and_a_cylinder_only_sideways():
    def wins(name, moves):
        rules = registry.make(name).native
        state = rules.initial(torch.zeros(1, dtype=torch.int64))
        for move in moves:
            played = rules.play(state, torch.tensor([move]))
            state = played.state
        return bool(played.terminated[0])

    across = [3, 5, 4 * 1 + 0, 6, 4 * 2 + 1]  # (0, 3), (1, 0), (2, 1): a diagonal over the right edge
    assert wins("mnk:4x4x3:wrap", across)
    assert not wins("mnk:4x4x3", across)
    assert wins("mnk:4x4x3:gravity:wrap", [3, 3, 0, 0, 1])  # the bottom row: 3, 0, 1
    assert not wins("mnk:4x4x3:gravity", [3, 3, 0, 0, 1])


def test_symmetries_keep_the_blocked_cells():
    assert len(registry.make("mnk:4x4x3").spec.symmetries.cells) == 8
    assert len(registry.make("mnk:5x4x3").spec.symmetries.cells) == 4
    assert len(registry.make("mnk:5x4x3:gravity").spec.symmetries.cells) == 2
    kept = set()
    for seed in range(12):
        game = registry.make(f"mnk:3x3x2:blocked=1@{seed}")
        blocked = game.native.blocked
        for cells in game.spec.symmetries.cells:
            assert torch.equal(blocked[torch.tensor(cells)], blocked)
        kept.add(len(game.spec.symmetries.cells))
    assert kept <= {2, 8}  # a corner or the middle of a side, or the centre
    assert 2 in kept


def test_blocked_cells_are_the_same_for_ever():
    drawn = registry.make("mnk:5x5x4:blocked=4@7").native.blocked.nonzero()[:, 0].tolist()
    assert drawn == [0, 8, 9, 21]  # as first recorded; other cells would be another game under the same name


@pytest.mark.parametrize("name", ["mnk:3x3x3", "mnk:4x3x3:gravity", "mnk:3x3x3:two", "mnk:3x3x3:blocked=2@1"])
def test_the_bound_on_positions_holds_and_counts_boards(name):
    rules = registry.make(name).native
    bound = num_boards(rules.settings, open_cells(rules.settings, rules.blocked))
    assert solve(rules).num_reachable <= bound < 3 ** len(rules.blocked)


def test_the_bound_by_hand():
    s = Settings(2, 1, 2)  # two cells: nothing; one of two; both
    assert num_boards(s, torch.ones(2, dtype=torch.bool)) == 1 + 2 + 2
    stack = Settings(1, 2, 2, gravity=True)  # one column of two cells
    assert num_boards(stack, torch.ones(2, dtype=torch.bool)) == 1 + 1 + 2


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("mnk:03x3x3", "mnk:3x3x3"),
        ("mnk:5x4x3:wrap:two:misere:gravity", "mnk:5x4x3:gravity:misere:wrap:two"),
        ("mnk:4x4x3:blocked=2:wrap", "mnk:4x4x3:wrap:blocked=2@0"),
        ("mnk:4x4x3:blocked=02@00", "mnk:4x4x3:blocked=2@0"),
    ],
)
def test_one_game_has_one_name(written, canonical):
    game = registry.make(written)
    assert game.name == game.spec.name == canonical
    assert registry.make(game.name).spec == game.spec


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnk", "the size of the board is missing; write mnk:WIDTHxHEIGHTxROW"),
        ("mnk:3x3", "'3x3' is not three numbers"),
        ("mnk:3x3x4", "a row of 4 is not between 2 and the longer side, 3"),
        ("mnk:3x3x1", "a row of 1 is not"),
        ("mnk:20x3x3", "width 20 and height 3 is not offered"),
        ("mnk:0x3x3", "width 0"),
        ("mnk:3x3x3:graviti", "'graviti' is not one of gravity, misere, wrap, two, blocked=COUNT@SEED; write mnk:"),
        ("mnk:3x3x3:two=2", "'two=2' is not one of"),
        ("mnk:3x3x3:blocked", "'blocked' is not one of"),
        ("mnk:3x3x3:blocked=1@", "'blocked=1@' is not one of"),
        ("mnk:3x3x3:", "'' is not one of"),
        ("mnk:3x3x3:two:two", "two is given twice"),
        ("mnk:3x3x3:blocked=9", "9 blocked cells on a board of 9"),
        ("mnk:3x3x3:blocked=0", "0 blocked cells on a board of 9"),
        ("mnk:3x3x3:blocked=6@1", "no row of 3 fits, so nobody could win"),
        ("mnk:3x3x3:blocked=1@2147483648", "not below 2\\*\\*31"),
    ],
)
def test_bad_settings_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        registry.make(name)
    assert "\n" not in str(caught.value)
