"""Hex against a slow referee in plain Python, hand-made chains, and what is known of small boards.

benchmarks/rules_against_openspiel.py holds boards of 2 to 11 against OpenSpiel; see test_stones.py for what it found.
"""

from __future__ import annotations

import functools
import random

import pytest
import torch

from envs import registry
from envs.boards.hex import joins_first_to_last, packing
from envs.solver import solve

NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0), (-1, 1), (1, -1))


def joined(stones: frozenset, size: int, seat: int) -> bool:
    """Whether a seat's (row, column) stones join its sides: depth first, one cell at a time."""
    axis = 0 if seat == 0 else 1
    stack, seen = [cell for cell in stones if cell[axis] == 0], set()
    while stack:
        row, column = cell = stack.pop()
        if cell in seen or cell not in stones:
            continue
        if cell[axis] == size - 1:
            return True
        seen.add(cell)
        stack += [(row + down, column + right) for down, right in NEIGHBOURS]
    return False


@pytest.mark.parametrize("size", [2, 3, 6, 11])
def test_random_games_are_what_the_referee_says(size):
    num_games = 20
    rules = registry.make(f"hex:{size}").native
    state, chance = rules.initial(torch.zeros(num_games, dtype=torch.int64)), random.Random(size)
    stones = [[set(), set()] for _ in range(num_games)]
    live, move, wins = list(range(num_games)), 0, [0, 0]
    while live:
        seat = move % 2
        action = torch.zeros(num_games, dtype=torch.int64)
        shown, legal = rules.observe(state), rules.legal(state)
        for i in live:
            free = [a for a in range(size**2) if divmod(a, size) not in stones[i][0] | stones[i][1]]
            assert legal[i].nonzero()[:, 0].tolist() == free
            for plane, owner in ((0, seat), (1, 1 - seat)):
                assert {tuple(cell) for cell in shown[i, plane].nonzero().tolist()} == stones[i][owner]
            assert shown[i, 2].unique().tolist() == [1 - seat]
            action[i] = chance.choice(free)
            stones[i][seat].add(divmod(int(action[i]), size))
        assert rules.to_play(state)[live].unique().tolist() == [seat]
        played = rules.play(state, action)
        state, move = played.state, move + 1
        for i in live:
            won = joined(frozenset(stones[i][seat]), size, seat)
            assert bool(played.terminated[i]) == won
            assert played.reward[i].tolist() == ([0, 0] if not won else [1, -1] if seat == 0 else [-1, 1])
            wins[seat] += won
        live = [i for i in live if not played.terminated[i]]
    assert min(wins) > 0
    assert sum(wins) == num_games  # no draws


def rows_of(board: torch.Tensor) -> torch.Tensor:
    """Boards [B, N, N] bool as rows of bits [B, N]."""
    return (board.flatten(1).float() @ packing(board.shape[1])).int()[:, : board.shape[1]]


def test_chains_with_detours():
    """A snake that goes up and down the whole board, the same with one gap, and neighbours that are none."""
    size = 19
    snake = torch.zeros(3, size, size, dtype=torch.bool)
    for column in range(0, size, 2):
        snake[0, 1 : size - 1, column] = True
        if column + 2 < size:
            end = size - 2 if column // 2 % 2 == 0 else 1
            snake[0, end, column : column + 3] = True
    snake[0, 0, 0] = snake[0, size - 1, size - 1] = True
    snake[1] = snake[0]
    snake[1, size // 2, size // 2 + size // 2 % 2] = False
    snake[2, torch.arange(size), torch.arange(size)] = True  # (r, c) does not touch (r + 1, c + 1)
    cells = [frozenset((r, c) for r, c in board.nonzero().tolist()) for board in snake]
    assert [joined(board, size, 0) for board in cells] == [True, False, False]
    assert joins_first_to_last(rows_of(snake)).tolist() == [True, False, False]
    assert joins_first_to_last(rows_of(snake.flip(2)))[2]  # the other diagonal does


def test_dense_random_boards():
    """Near the threshold half of all boards are joined, and the chains wind."""
    chance = torch.Generator().manual_seed(5)
    boards = torch.rand(300, 13, 13, generator=chance) < 0.5
    expected = [joined(frozenset((r, c) for r, c in board.nonzero().tolist()), 13, 0) for board in boards]
    assert joins_first_to_last(rows_of(boards)).tolist() == expected
    assert 60 < sum(expected) < 240


def test_hex_3_is_solved_as_minimax_says():
    size = 3

    @functools.cache
    def best(first: frozenset, second: frozenset) -> tuple[int, frozenset[int]]:
        """(value for the mover, moves that keep it); `first` are seat 0's stones."""
        seat = len(first) - len(second)
        values = {}
        for action in range(size * size):
            cell = divmod(action, size)
            if cell in first | second:
                continue
            after = (first | {cell}, second) if seat == 0 else (first, second | {cell})
            values[action] = 1 if joined(after[seat], size, seat) else -best(*after)[0]
        value = max(values.values())
        return value, frozenset(action for action, found in values.items() if found == value)

    solution = solve(registry.make("hex:3").native)
    assert best(frozenset(), frozenset())[0] == 1
    assert len(solution) == best.cache_info().currsize
    for i, (planes, seat) in enumerate(zip(solution.observation, solution.to_play.tolist())):
        mine, theirs = (frozenset(map(tuple, plane.nonzero().tolist())) for plane in planes[:2])
        value, moves = best(*((mine, theirs) if seat == 0 else (theirs, mine)))
        assert solution.value[i] == value
        assert set(solution.optimal[i].nonzero()[:, 0].tolist()) == moves


def test_a_solver_is_offered_where_it_can_work():
    assert registry.make("hex:4").spec.solvable
    assert not registry.make("hex:5").spec.solvable


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hex", "'hex': the size is missing; write hex:N"),
        ("hex:1", "1 x 1 is not offered; write hex:N for a board of N x N cells, N from 2 to 19"),
        ("hex:20", "20 x 20 is not offered"),
        ("hex:five", "the size 'five' is no whole number"),
        ("hex:5:swap", "the size '5:swap' is no whole number"),
    ],
)
def test_bad_sizes_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)


def test_one_game_has_one_name():
    assert registry.make("hex:05").name == "hex:5" == registry.make("hex:5").spec.name
