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
from envs.registry import make
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


# -- larger games ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reachable", "value"),
    [("mnk:4x4x4:gravity", 161_029, 0), ("mnk:4x3x3", None, 1), ("mnk:4x4x3:gravity", 41_750, 1)],
)
def test_known_values(name, reachable, value):
    """Connect Four on 4 x 4 is a draw and three in a row on 4 x 3 a win; positions counted once more, one by one."""
    solution = solve(make(name).native)
    assert solution.value[0] == value
    if reachable is not None:
        assert solution.num_reachable == reachable == count_drops(make(name).native.settings)


def count_drops(settings) -> int:
    """Positions of a game with gravity, by sets of boards: a column is a string of stones from the bottom up."""
    width, height, length = settings.width, settings.height, settings.row
    now, found, stone = {("",) * width}, 1, "x"
    while now:
        after, going_on = set(), set()
        for board in now:
            for column in range(width):
                if len(board[column]) == height:
                    continue
                new = (*board[:column], board[column] + stone, *board[column + 1 :])
                if new not in after:
                    after.add(new)
                    row = len(board[column])
                    lined = any(
                        sum(1 for _ in run(new, column, row, right, up, stone))
                        + sum(1 for _ in run(new, column, row, -right, -up, stone)) + 1 >= length
                        for right, up in ((0, 1), (1, 0), (1, 1), (1, -1))
                    )  # fmt: skip
                    if not lined:
                        going_on.add(new)
        found, now, stone = found + len(after), going_on, "o" if stone == "x" else "x"
    return found


def run(board, column, row, right, up, stone):
    """The stones next to a place that are `stone`, one way."""
    while True:
        column, row = column + right, row + up
        if not (0 <= column < len(board) and 0 <= row < len(board[column]) and board[column][row] == stone):
            return
        yield column, row


def test_every_value_follows_from_the_next_ones():
    """Bellman's equation, by the rules and `find` alone, in a sample of positions of a game with all options."""
    game = make("mnk:4x3x3:gravity:misere:wrap:two:blocked=1@3").native
    whole = solve(game)
    assert set(whole.value.unique().tolist()) == {-1, 0, 1}
    some = whole.sample(500, seed=1)
    assert len(some) == 500
    assert len(whole.find(some.observation).unique()) == 500
    assert torch.equal(some.ply, some.ply.sort().values)
    best = torch.full((len(some),), -2.0)
    kept = torch.zeros_like(some.legal)
    for _ in range(2):  # the second time `best` is known, and the moves that reach it are marked
        for action in range(some.legal.shape[1]):
            rows = some.legal[:, action].nonzero()[:, 0]
            played = game.play(solver.take(some.state, rows), torch.full_like(rows, action))
            after = whole.find(game.observe(played.state))
            assert torch.equal(after < 0, played.terminated)
            mine = game.to_play(played.state) == some.to_play[rows]
            gain = played.reward.gather(1, some.to_play[rows, None])[:, 0]
            follow = torch.where(after < 0, 0.0, whole.value[after] * torch.where(mine, 1, -1))
            kept[rows, action] = gain + follow == best[rows]
            best[rows] = torch.maximum(best[rows], gain + follow)
    assert torch.equal(best, some.value)
    assert torch.equal(kept, some.optimal)


def test_a_sample_is_a_smaller_solution(solution):
    assert solution.sample(10_000) is solution
    few = solution.sample(300, seed=2)
    assert torch.equal(few.observation, solution.sample(300, seed=2).observation)
    assert not torch.equal(few.observation, solution.sample(300, seed=3).observation)
    rows = solution.find(few.observation)
    for name in ("legal", "to_play", "value", "optimal", "ply"):
        assert torch.equal(getattr(few, name), getattr(solution, name)[rows])
    assert torch.equal(few.lookup(few.observation), torch.arange(300))
    assert few.find(solution.observation[:300]).lt(0).any()


def test_limits_name_themselves():
    with pytest.raises(ValueError, match="mnk:4x4x3:gravity: more than 9000 reachable positions; raise max_positions"):
        solve(make("mnk:4x4x3:gravity").native, max_positions=9000)
    with pytest.raises(ValueError, match=r"already take more than 0\.0001 GiB; raise max_bytes"):
        solve(make("mnk:4x4x3:gravity").native, max_bytes=107_374)
    with pytest.raises(ValueError, match=r"4520 positions take 0\.000\d+ GiB as tensors, more than 0\.0003"):
        solve(TicTacToe(), max_bytes=322_123)


class Heap(NamedTuple):
    """A state of many types: more than 64 bits, negative numbers and fractions."""

    left: Tensor  # [B, 2] int16
    to_play: Tensor  # [B] int64
    score: Tensor  # [B] float32: seat 0's, of halves
    padding: Tensor  # [B, 70] bool


class TwoHeaps(TakeAway):
    """Take 1 to 3 from one of two heaps; each stick of the second is worth half a point; who empties both gains 1.

    The first heap counts down from 0 to negative numbers; the score is paid at the end.
    """

    def __init__(self):
        super().__init__(5)
        self.spec = GameSpec(
            name="two_heaps", observation=ObservationSpec(ObservationKind.VECTOR, (4,)), num_actions=6, num_players=2,
            zero_sum=True, solvable=True, native=True,
        )  # fmt: skip

    def initial(self, seed):
        left = torch.tensor([[0, 5]], dtype=torch.int16).repeat(len(seed), 1)
        return Heap(left, torch.zeros_like(seed), torch.zeros(len(seed)), torch.zeros(len(seed), 70, dtype=torch.bool))

    def heaps(self, state):
        return torch.stack([state.left[:, 0] + 4, state.left[:, 1]], 1).long()

    def legal(self, state):
        return (torch.arange(1, 4) <= self.heaps(state)[:, :, None]).flatten(1) | (self.heaps(state).sum(1) == 0)[
            :, None
        ]

    def observe(self, state):
        return torch.cat([state.left.float(), state.score[:, None], state.to_play[:, None].float()], 1)

    def play(self, state, action):
        heap, count = action // 3, action % 3 + 1
        left = state.left - (torch.nn.functional.one_hot(heap, 2) * count[:, None]).short()
        sign = (1 - 2 * state.to_play).float()
        score = state.score + torch.where(heap == 1, 0.5 * count, 0.0) * sign
        over = (left[:, 0] == -4) & (left[:, 1] == 0)
        reward = torch.where(over, score + sign, 0.0)
        after = Heap(left, 1 - state.to_play, score, state.padding | (left[:, 1:] == 2))
        return Playable(after, torch.stack([reward, -reward], 1), over)


def test_states_of_any_type_are_told_apart():
    @functools.cache
    def best(first: int, second: int) -> float:
        """What the mover gains from here on."""
        return max(
            0.5 * take * heap
            + (1.0 if first + second == take else -best(first - take * (1 - heap), second - take * heap))
            for heap, size in enumerate((first, second))
            for take in range(1, min(3, size) + 1)
        )

    game = TwoHeaps()
    solution = solve(game)
    assert solution.value[0] == best(4, 5)
    assert len(solution.value.unique()) > 5
    for (first, second), score, seat, value in zip(
        game.heaps(solution.state).tolist(), solution.state.score.tolist(), solution.to_play.tolist(), solution.value
    ):
        assert value == best(first, second) + (score if seat == 0 else -score)
    assert solution.state.left.dtype == torch.int16
    assert torch.equal(solution.observation[solution.find(solution.observation)], solution.observation)
    distinct = len(solution.observation.unique(dim=0))
    assert distinct < len(solution)  # `padding` remembers what cannot be seen, and does not matter


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "value"),
    [("hex:4", 1), ("mnk:4x4x3", 1), ("mnk:5x4x4:gravity", 0)],  # Nash: who begins wins Hex on every board
)
def test_known_values_of_millions_of_positions(name, value):
    assert solve(make(name).native).value[0] == value


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_four_in_a_row_on_4_x_4_has_as_many_won_positions_as_oeis_says():
    """OEIS A317573 and A317574, row 4: positions up to rotation and reflection that X, or O, wins after k plies.

    They count ended games too, so only positions where the winner is to move are compared: X's at even k, O's at odd.
    """
    game = make("mnk:4x4x4")
    solution = solve(game.native)
    assert solution.value[0] == 0
    expected = {6: 1100, 7: 2476, 8: 26771, 9: 31841, 10: 91567, 11: 66364, 12: 78138, 13: 29258, 14: 12900, 15: 1335}
    won = solution.value > 0
    power = 3 ** torch.arange(16)
    for ply in range(16):
        boards = solution.observation[won & (solution.ply == ply)].flatten(2).long()
        board = boards[:, 0] + 2 * boards[:, 1]
        turned = torch.stack([board[:, torch.tensor(cells)] @ power for cells in game.spec.symmetries.cells])
        assert len(turned.amin(0).unique()) == expected.get(ply, 0), f"after {ply} plies"
