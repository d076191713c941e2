"""Players without a network: fair, perfect, or as sharp as they say; rows never influence each other."""

import numpy as np
import pytest
import torch
from scipy import stats

from agents.player import Player, RandomPlayer, SolverPlayer, StatePlayer, TacticianPlayer, choose_uniformly
from envs.boards.connect_four import ConnectFour
from envs.boards.tictactoe import TicTacToe
from envs.game import GameSpec
from envs.solver import solve

GAME = TicTacToe()


@pytest.fixture(scope="module")
def solution():
    return solve(GAME)


def after(game, moves: list[int]):
    """The state of one game after `moves`, which must not end it."""
    state = game.initial(torch.zeros(1, dtype=torch.int64))
    for move in moves:
        played = game.play(state, torch.tensor([move]))
        assert not played.terminated.item()
        state = played.state
    return state


def many(state, count: int):
    return type(state)(*(part.repeat(count, *[1] * (part.dim() - 1)) for part in state))


def choices(player, state, count: int = 200) -> set[int]:
    return set(player.act_on_state(many(state, count), torch.arange(count)).action.tolist())


def test_uniform_choice_is_uniform_and_by_seed():
    mask = torch.tensor([[False, True, True, False, True, True, False]]).repeat(40_000, 1)
    seed = torch.arange(40_000)
    picked = choose_uniformly(mask, seed)
    counts = np.bincount(picked.numpy(), minlength=7)
    assert counts[[0, 3, 6]].sum() == 0
    assert stats.chisquare(counts[[1, 2, 4, 5]]).pvalue > 1e-3
    other = choose_uniformly(mask, seed, stream=1)  # independent of the first draw
    table = np.histogram2d(picked.numpy(), other.numpy(), bins=np.arange(8))[0][np.ix_([1, 2, 4, 5], [1, 2, 4, 5])]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    part = torch.tensor([17, 3, 39_999])
    assert torch.equal(choose_uniformly(mask[part], seed[part]), picked[part])
    mask[5] = False
    with pytest.raises(ValueError, match="row 5 has nothing to choose from"):
        choose_uniformly(mask, seed)


def test_all_are_players(solution):
    assert isinstance(RandomPlayer(GAME.spec), Player)
    assert isinstance(SolverPlayer(solution), Player)
    assert isinstance(TacticianPlayer(GAME), StatePlayer)
    assert not isinstance(TacticianPlayer(GAME), Player)


def test_random_player_plays_legal_moves_only(solution):
    decision = RandomPlayer(GAME.spec).act(
        solution.observation, solution.legal, solution.to_play, torch.arange(len(solution))
    )
    assert bool(solution.legal.gather(1, decision.action[:, None]).all())
    assert torch.allclose(decision.policy.sum(1), torch.ones(len(solution)))


def test_solver_player_keeps_the_value_and_speaks_in_seats(solution):
    seed = torch.arange(len(solution)) * 7 + 1
    decision = SolverPlayer(solution).act(solution.observation, solution.legal, solution.to_play, seed)
    assert bool(solution.optimal.gather(1, decision.action[:, None]).all())
    played = GAME.play(solution.state, decision.action)  # value kept, checked one move later by the solution itself
    going = ~played.terminated
    after_value = torch.where(going, 0.0, played.reward[:, 0])
    after_value[going] = (
        solution.value[solution.lookup(GAME.observe(played.state)[going])]
        * (1 - 2 * GAME.to_play(played.state)[going])
    )  # fmt: skip
    assert torch.equal(after_value, decision.value[:, 0])
    assert torch.equal(decision.value[:, 0], -decision.value[:, 1])
    with pytest.raises(ValueError, match="no position"):
        SolverPlayer(solution).act(
            torch.ones(1, 2, 3, 3, dtype=torch.uint8), solution.legal[:1], torch.zeros(1).long(), seed[:1]
        )


def test_tactician_wins_and_blocks_in_tictactoe():
    win_and_threat = after(GAME, [0, 3, 1, 4])  # x may win at 2; o threatens 5
    assert choices(TacticianPlayer(GAME, 1), win_and_threat) == {2}
    assert choices(TacticianPlayer(GAME, 2), win_and_threat) == {2}
    threat = after(GAME, [0, 4, 8, 2])  # o threatens 6; x has nothing to win at once
    assert choices(TacticianPlayer(GAME, 1), threat) == {1, 3, 5, 6, 7}
    assert choices(TacticianPlayer(GAME, 2), threat) == {6}
    lost = after(GAME, [0, 1, 4])  # x threatens 8: o must take it
    assert choices(TacticianPlayer(GAME, 2), lost) == {8}


def test_tactician_in_connect_four():
    game = ConnectFour()
    threat = after(game, [3, 0, 3, 0, 3])  # three on column 3: block
    assert choices(TacticianPlayer(game, 2), threat) == {3}
    assert choices(TacticianPlayer(game, 1), threat) == set(range(7))
    win = after(game, [3, 0, 3, 0, 3, 1])
    assert choices(TacticianPlayer(game, 1), win) == {3}
    double = after(game, [2, 2, 3, 3, 4])  # 1 and 5 both win for x: nothing helps, so anything goes
    assert choices(TacticianPlayer(game, 2), double) == set(range(7))


def test_tactician_rows_are_their_own(solution):
    player = TacticianPlayer(GAME, 2)
    seed = torch.arange(len(solution))
    together = player.act_on_state(solution.state, seed).action
    some = torch.tensor([4000, 5, 77, 1234])
    alone = [
        player.act_on_state(type(solution.state)(*(part[i : i + 1] for part in solution.state)), seed[i : i + 1]).action
        for i in some.tolist()
    ]
    assert torch.equal(torch.cat(alone), together[some])


def test_tactician_refuses():
    with pytest.raises(ValueError, match="plies must be 1 or 2, found 3"):
        TacticianPlayer(GAME, 3)

    class Alone(TicTacToe):
        spec = GameSpec("alone", TicTacToe.spec.observation, 9)

    with pytest.raises(ValueError, match="needs a game for two"):
        TacticianPlayer(Alone())
