"""The solver against a memoised minimax in plain Python, and against Nim's theory."""

import functools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from envs import solver
from envs.boards.connect_four import ConnectFour
from envs.boards.tictactoe import TicTacToe
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable
from envs.solver import solve

ROWS = ("012", "345", "678", "036", "147", "258", "048", "246")


def has_won(board: str, stone: str) -> bool:
    return any(all(board[int(cell)] == stone for cell in row) for row in ROWS)


@functools.cache
def minimax(board: str, stone: str) -> tuple[int, frozenset[int]]:
    """(value for the player of `stone`, who is to move; the moves that reach it) by the definition."""
    other = "o" if stone == "x" else "x"
    values = {}
    for cell in range(9):
        if board[cell] == ".":
            after = board[:cell] + stone + board[cell + 1 :]
            if has_won(after, stone):
                values[cell] = 1
            elif "." not in after:
                values[cell] = 0
            else:
                values[cell] = -minimax(after, other)[0]
    best = max(values.values())
    return best, frozenset(cell for cell, value in values.items() if value == best)


def boards_of(observation: Tensor, to_play: Tensor) -> list[str]:
    boards = []
    for (mine, theirs), seat in zip(observation.flatten(2).tolist(), to_play.tolist()):
        me, you = ("x", "o") if seat == 0 else ("o", "x")
        boards.append("".join(me if m else you if t else "." for m, t in zip(mine, theirs)))
    return boards


@pytest.fixture(scope="module")
def solution():
    return solve(TicTacToe())


def test_tictactoe_equals_minimax_in_every_position(solution):
    minimax.cache_clear()
    assert minimax("." * 9, "x")[0] == 0
    assert len(solution) == 4520 == minimax.cache_info().currsize  # every non-terminal position, and no other
    assert solution.num_reachable == 5478
    assert solution.value[0] == 0
    assert bool(solution.optimal[0].all())  # every first move draws
    seen = set()
    for i, board in enumerate(boards_of(solution.observation, solution.to_play)):
        value, moves = minimax(board, "xo"[int(solution.to_play[i])])
        assert value == solution.value[i]
        assert moves == set(solution.optimal[i].nonzero().flatten().tolist())
        assert {cell for cell in range(9) if board[cell] == "."} == set(solution.legal[i].nonzero().flatten().tolist())
        assert solution.ply[i] == 9 - board.count(".")
        seen.add(board)
    assert len(seen) == 4520
    assert minimax.cache_info().currsize == 4520  # the solver visited nothing that minimax had not


def test_lookup_is_the_inverse_and_knows_strangers(solution):
    order = torch.randperm(len(solution), generator=torch.Generator().manual_seed(3))
    assert torch.equal(solution.lookup(solution.observation[order]), order)
    stranger = torch.ones(1, 2, 3, 3, dtype=torch.uint8)
    both = torch.cat([solution.observation[7:8], stranger])
    assert solution.find(both).tolist() == [7, -1]
    with pytest.raises(ValueError, match="row 1 shows no position"):
        solution.lookup(both)
    with pytest.raises(ValueError, match="float32"):
        solution.find(both.float())


def test_states_play_on(solution):
    game = TicTacToe()
    assert torch.equal(game.observe(solution.state), solution.observation)
    assert torch.equal(game.legal(solution.state), solution.legal)


def test_a_game_is_solved_once():
    game = TicTacToe()
    assert solve(game) is solve(game)


class Pile(NamedTuple):
    stones: Tensor  # [B] int64
    to_play: Tensor  # [B] int64


class TakeAway:
    """Take 1, 2 or 3 from a pile; who takes the last stone wins. With `again`, who leaves 5, 10, .. moves again."""

    def __init__(self, stones: int, again: bool = False, loop: bool = False, blind: bool = False):
        self.stones, self.again, self.loop, self.blind = stones, again, loop, blind
        self.spec = GameSpec(
            name="take_away", observation=ObservationSpec(ObservationKind.VECTOR, (1,), torch.int64), num_actions=3,
            num_players=2, zero_sum=True, solvable=True, native=True,
        )  # fmt: skip

    def initial(self, seed):
        return Pile(torch.full_like(seed, self.stones), torch.zeros_like(seed))

    def legal(self, state):
        return torch.arange(1, 4) <= state.stones[:, None].clamp(min=1)

    def to_play(self, state):
        return state.to_play

    def observe(self, state):
        return state.stones[:, None] // (2 if self.blind else 1)

    def play(self, state, action):
        left = state.stones - action - 1
        over = left == 0
        if self.loop:
            left = torch.where(left == 1, self.stones, left)
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1).float()
        mover = torch.where((left % 5 == 0) & self.again, state.to_play, 1 - state.to_play)
        return Playable(Pile(left, mover), over[:, None] * sign, over)


def test_nim():
    solution = solve(TakeAway(21))
    for stones, value, optimal in zip(solution.observation.flatten(), solution.value, solution.optimal):
        remainder = int(stones) % 4
        assert value == (1 if remainder else -1)
        if remainder:
            assert optimal.nonzero().flatten().tolist() == [remainder - 1]


def test_a_player_may_move_twice():
    @functools.cache
    def wins(stones: int) -> set[int]:  # moves that win for the mover
        good = set()
        for take in range(1, min(3, stones) + 1):
            left = stones - take
            if left == 0 or bool(wins(left)) == (left % 5 == 0):
                good.add(take - 1)
        return good

    solution = solve(TakeAway(20, again=True))
    values = set()
    for stones, value, optimal in zip(solution.observation.flatten(), solution.value, solution.optimal):
        good = wins(int(stones))
        assert value == (1 if good else -1)
        if good:
            assert set(optimal.nonzero().flatten().tolist()) == good
        values.add(int(value))
    assert values == {-1, 1}


def test_refusals():
    with pytest.raises(ValueError, match="positions repeat"):
        solve(TakeAway(6, loop=True))
    with pytest.raises(ValueError, match="more than 2000 reachable"):
        solve(ConnectFour(), max_positions=2000)
    blind = solve(TakeAway(9, blind=True))
    with pytest.raises(ValueError, match="look the same but differ"):
        blind.find(blind.observation)
    game = TicTacToe()
    game.spec = GameSpec("dice", game.spec.observation, 9, num_players=2, zero_sum=True, stochastic=True)
    with pytest.raises(ValueError, match="without chance"):
        solve(game)


def test_small_chunks_change_nothing(solution, monkeypatch):
    monkeypatch.setattr(solver, "_CHUNK", 37)
    again = solver.solve(TicTacToe())
    for name in ("observation", "legal", "to_play", "value", "optimal", "ply"):
        assert torch.equal(getattr(again, name), getattr(solution, name))
