"""Players from outside: bitbully against an exhaustive search, OpenSpiel, and which games they play."""

import pytest
import torch

from agents.player import StatePlayer
from envs.game import MissingExtraError
from envs.registry import make
from envs.solver import solve
from gurgeh.bitbully_player import shared_solver
from gurgeh.episodes import play_episodes
from gurgeh.evaluate import built_in, is_built_in, mcts_simulations, named_player, optimal_share, refusal
from gurgeh.openspiel_player import drop_order, placement_order
from gurgeh.positions import play_out

GAME, TICTACTOE = make("connect_four"), make("tictactoe")


@pytest.fixture(scope="module")
def bitbully():
    pytest.importorskip("bitbully", reason="needs pip install 'gurgeh[solvers]'")
    pytest.importorskip("bitbully_databases", reason="needs pip install 'gurgeh[solvers]'")
    return built_in("bitbully", GAME)


@pytest.fixture(scope="module")
def openspiel():
    return pytest.importorskip("pyspiel", reason="needs pip install 'gurgeh[openspiel]'")


def random_games(number, plies, seed):
    """Move lists of `plies` random moves after which the game goes on."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    while len(found) < number:
        moves = []
        board = Board()
        for _ in range(plies):
            open_columns = [c for c in range(7) if board.height[c] < 6]
            column = open_columns[int(torch.randint(len(open_columns), (1,), generator=generator))]
            moves.append(column)
            if board.drop(column):
                break
        else:
            found.append(moves)
    return found


class Board:
    """Connect Four once more, written apart from the rules under test: sets of (column, height)."""

    def __init__(self):
        self.stones, self.height, self.turn = (set(), set()), [0] * 7, 0

    def drop(self, column):
        """True if this wins."""
        cell = (column, self.height[column])
        mine = self.stones[self.turn]
        mine.add(cell)
        self.height[column] += 1
        self.turn = 1 - self.turn
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            run = 1
            for way in (1, -1):
                x, y = cell[0] + way * dx, cell[1] + way * dy
                while (x, y) in mine:
                    run, x, y = run + 1, x + way * dx, y + way * dy
            if run >= 4:
                return True
        return False

    def undo(self, column):
        self.turn = 1 - self.turn
        self.height[column] -= 1
        self.stones[self.turn].remove((column, self.height[column]))

    def score(self, column):
        """Of a move: the sooner won, the larger; counted in moves of the winner still in hand at the end."""
        left = 42 - sum(self.height)
        try:
            if self.drop(column):
                return (left + 1) // 2
            if left == 1:
                return 0
            return -max(self.score(reply) for reply in range(7) if self.height[reply] < 6)
        finally:
            self.undo(column)


def exhaustive(moves):
    board = Board()
    for move in moves:
        assert not board.drop(move)
    return [board.score(column) if board.height[column] < 6 else None for column in range(7)]


def test_bitbully_scores_equal_an_exhaustive_search(bitbully):
    games = random_games(12, 33, 1) + random_games(12, 34, 2)
    found = bitbully.solver.scores(play_out(GAME.native, games)).tolist()
    for moves, row in zip(games, found):
        assert [None if score < -100 else score for score in row] == exhaustive(moves), moves


def test_bitbully_knows_the_known_opening(bitbully):
    """The first player wins from the middle column alone, draws beside it, loses from the edges (Allis 1988)."""
    empty = GAME.native.initial(torch.zeros(1, dtype=torch.int64))
    assert bitbully.solver.scores(empty).sign().tolist() == [[-1, -1, 0, 1, 0, -1, -1]]
    assert bitbully.act_on_state(empty, torch.tensor([5])).action.tolist() == [3]


def test_bitbully_draws_equal_moves_by_the_seed(bitbully):
    """After 2, 4 (0-based): mirror images are equally good; the choice is the row's alone."""
    states = play_out(GAME.native, [[3, 3, 3, 3, 3]] * 64)
    seeds = torch.arange(64)
    scores = bitbully.solver.scores(states)[0]
    best = {column for column in range(7) if scores[column] == scores.max()}
    assert len(best) > 1
    action = bitbully.act_on_state(states, seeds).action
    assert set(action.tolist()) == best
    assert torch.equal(bitbully.act_on_state(play_out(GAME.native, [[3] * 5]), seeds[7:8]).action, action[7:8])


def test_bitbully_wins_all_games_that_it_begins(bitbully):
    episodes = play_episodes(GAME, [bitbully, built_in("tactician1", GAME)], 6, seed=3)
    assert all(episode.outcome[0] == 1 for episode in episodes if episode.seating[0] == 0)


def test_orders_of_moves_lead_to_the_board():
    for moves in random_games(40, 20, 4):
        state = play_out(GAME.native, [moves])
        mine, theirs = state.stones[0].tolist()
        seats = [0 if m else 1 if t else -1 for m, t in zip(mine, theirs)]  # after 20 plies seat 0 is to move
        again = play_out(GAME.native, [drop_order(seats, 7)])
        assert all(torch.equal(a, b) for a, b in zip(state, again))
    with pytest.raises(ValueError, match="no order"):
        placement_order([0, 0, 0, -1])
    with pytest.raises(ValueError, match="no order"):
        drop_order([0, -1, 1, -1], 2)  # the second player cannot have been first


def test_openspiel_search_plays_the_same_game(openspiel):
    """All tic-tac-toe positions: enough simulations, with proven results, find optimal moves."""
    player = built_in("openspiel-mcts:2000", TICTACTOE)
    solution = solve(TICTACTOE.native)
    few = torch.arange(0, len(solution), 40)
    sample = type("Few", (), {
        "state": type(solution.state)(*(part[few] for part in solution.state)),
        "optimal": solution.optimal[few], "legal": solution.legal[few], "__len__": lambda self: len(few),
    })()  # fmt: skip
    assert optimal_share(player, sample).share == 1.0


def test_openspiel_search_is_the_rows_own(openspiel):
    player = built_in("openspiel-mcts:60", GAME)
    state = play_out(GAME.native, [[3, 3, 2]] * 12 + [[0]] * 4)
    seeds = torch.arange(16) + 2**31
    action = player.act_on_state(state, seeds).action
    assert len(set(action[:12].tolist())) > 1
    back = type(state)(*(part.flip(0) for part in state))
    assert torch.equal(player.act_on_state(back, seeds.flip(0)).action.flip(0), action)


def test_openspiel_search_takes_a_win_and_stops_one(openspiel):
    player = built_in("openspiel-mcts:200", GAME)
    state = play_out(GAME.native, [[0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [6, 0, 6, 0, 6, 1]])
    assert player.act_on_state(state, torch.arange(3)).action.tolist() == [0, 0, 6]


def test_openspiel_more_simulations_are_stronger(openspiel):
    players = [built_in("openspiel-mcts:200", GAME), built_in("openspiel-mcts:5", GAME)]
    episodes = play_episodes(GAME, players, 20, seed=1)
    assert sum(episode.outcome[episode.seating.index(0)] for episode in episodes) > 10


@pytest.mark.parametrize("name", ["bitbully", "openspiel-mcts:7"])
def test_names(name):
    assert is_built_in(name)
    assert refusal(name, GAME) is None
    assert refusal(name, make("CartPole-v1"))
    assert mcts_simulations(name) == (7 if ":" in name else None)
    with pytest.raises(ValueError, match="CartPole"):
        built_in(name, make("CartPole-v1"))


def test_games_that_they_do_not_know():
    assert refusal("openspiel-mcts:7", TICTACTOE) is None
    with pytest.raises(ValueError, match="bitbully solves connect_four only, not tictactoe"):
        built_in("bitbully", TICTACTOE)
    with pytest.raises(ValueError, match="write openspiel-mcts:N"):
        is_built_in("openspiel-mcts")


@pytest.mark.parametrize(("name", "package", "extra"), [
    ("bitbully", "bitbully", "solvers"), ("openspiel-mcts:5", "pyspiel", "openspiel"),
])  # fmt: skip
def test_a_missing_extra_is_one_line(monkeypatch, name, package, extra):
    shared_solver.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted, *_: None if wanted == package else object())
    with pytest.raises(MissingExtraError, match=rf"is not installed: pip install 'gurgeh\[{extra}\]'") as caught:
        named_player(name, GAME, None)
    assert "\n" not in str(caught.value)


def test_they_choose_from_states(bitbully, openspiel):
    assert isinstance(bitbully, StatePlayer)
    assert isinstance(built_in("openspiel-mcts:5", TICTACTOE), StatePlayer)
