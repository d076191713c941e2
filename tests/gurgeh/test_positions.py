"""Judged positions: the file says what a solver says, known players get known marks, damage is refused."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from agents.player import RandomPlayer, TacticianPlayer
from envs.registry import make
from gurgeh.evaluate import Chosen, chosen_moves
from gurgeh.positions import ILLEGAL, judge, load_positions, play_out, save_positions

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "positions" / "connect_four-1.json"
QUIET = FILE.with_name("connect_four-quiet-1.json")
SHA256_QUIET = "d6baa5fe97d9e2e03e30014bb43067fad5fd5bb37ea52d11841a7d920e7fbde9"
SHA256 = "60d870fb4c77cd6015b107c9e2620991cf9c99347c7341428473f05f18536a4b"
GAME = make("connect_four")


@pytest.fixture(scope="module")
def positions():
    return load_positions(FILE, GAME)


@pytest.fixture(scope="module")
def quiet():
    return load_positions(QUIET, GAME)


def winner(stones):
    """Whether a set of (row, column) holds four in a row; written apart from the rules."""
    ways = ((0, 1), (1, 0), (1, 1), (1, -1))
    return any(all((r + k * dr, c + k * dc) in stones for k in range(4)) for r, c in stones for dr, dc in ways)


def score(mine, theirs, column):
    """Of dropping a stone, by trying everything: mine, theirs are sets of (row, column), row 0 the lowest."""
    row = sum((r, column) in mine or (r, column) in theirs for r in range(6))
    after, left = mine | {(row, column)}, 42 - len(mine) - len(theirs)
    if winner(after):
        return (left + 1) // 2
    if left == 1:
        return 0
    return -max(score(theirs, after, c) for c in range(7) if (5, c) not in after | theirs)


def test_the_files_are_those_that_were_fixed(positions, quiet):
    """Results name this hash; another set of positions is another file."""
    assert positions.sha256 == SHA256
    assert quiet.sha256 == SHA256_QUIET


@pytest.mark.parametrize("which", ["positions", "quiet"])
def test_no_position_is_there_twice_or_mirrored(which, request):
    positions = request.getfixturevalue(which)
    boards = [tuple(map(tuple, view.flatten(0, 1).tolist())) for view in positions.observation]
    names = {(min(board, tuple(row[::-1] for row in board)), ply) for board, ply in zip(boards, positions.ply.tolist())}
    assert len(names) == len(positions)


def test_what_the_file_holds(positions):
    assert int(positions.decisive.sum()) == 1000
    assert len(positions.openings) == 100
    counts = positions.ply[positions.decisive].bincount(minlength=37).tolist()
    assert counts == [0] * 3 + [30] * 14 + [29] * 20


def test_quiet_positions_are_not_settled_by_tactics(quiet):
    """The 2-ply tactician sees no difference between moves of which some are right and some wrong."""
    assert len(quiet) == 1000
    assert bool(quiet.decisive.all())
    alike = TacticianPlayer(GAME.native).act_on_state(quiet.state, torch.arange(1000)).policy > 0
    assert bool((alike & quiet.optimal).any(1).all())
    assert bool((alike & ~quiet.optimal).any(1).all())
    found = judge(chosen_moves(TacticianPlayer(GAME.native), quiet), quiet, [])["decisive"]
    assert found["optimal"] < 0.6


def test_late_scores_equal_an_exhaustive_search(positions):
    """The solver's scores of 24 positions with at most seven empty cells, by trying everything."""
    late = (positions.ply >= 35).nonzero()[:, 0]
    chosen = late[torch.linspace(0, len(late) - 1, 24).long()].tolist()
    for i in chosen:
        mine, theirs = (
            {(5 - r, c) for r, c in plane.nonzero().tolist()} for plane in positions.observation[i]
        )  # fmt: skip
        found = [score(mine, theirs, c) if (5, c) not in mine | theirs else ILLEGAL for c in range(7)]
        assert positions.score[i].tolist() == found


@pytest.mark.parametrize("which", ["positions", "quiet"])
def test_scores_equal_bitbullys(which, request):
    pytest.importorskip("bitbully", reason="needs pip install 'gurgeh[solvers]'")
    pytest.importorskip("bitbully_databases", reason="needs pip install 'gurgeh[solvers]'")
    from gurgeh.bitbully_player import BitbullySolver

    positions = request.getfixturevalue(which)
    rows = torch.randperm(len(positions), generator=torch.Generator().manual_seed(1))[:50]
    solver = BitbullySolver()
    state = type(positions.state)(*(part[rows] for part in positions.state))
    assert torch.equal(solver.scores(state), positions.score[rows])


def test_openings_are_drawn(positions):
    pytest.importorskip("bitbully", reason="needs pip install 'gurgeh[solvers]'")
    pytest.importorskip("bitbully_databases", reason="needs pip install 'gurgeh[solvers]'")
    from gurgeh.bitbully_player import BitbullySolver

    scores = BitbullySolver().scores(play_out(GAME.native, positions.openings))
    assert (scores.amax(1) == 0).all()
    assert ((scores < 0) & (scores != ILLEGAL)).any(1).all()


def test_perfect_play_is_perfect(positions):
    best = positions.score.argmax(1)
    found = judge(Chosen(best, positions.optimal.long().argmax(1)), positions, [(3, 36)])
    for part in (found["all"], found["decisive"], *found["bands"]):
        assert (part["optimal"], part["strongest"], part["regret"]) == (1.0, 1.0, 0.0)
        assert (part["raw"]["optimal"], part["raw"]["regret"]) == (1.0, 0.0)
    assert found["decisive"]["raw"]["strongest"] < 1  # keeping the outcome is not yet the shortest way


def test_random_play_gets_what_the_counts_predict(positions):
    """Mean of 20 seeds against the exact expectation, within four standard errors."""
    shares = [
        judge(chosen_moves(RandomPlayer(GAME.spec), positions, seed), positions, [])["decisive"]["optimal"]
        for seed in range(20)
    ]
    rows = positions.decisive
    chance = (positions.optimal.sum(1) / positions.legal.sum(1))[rows].double()
    error = float((chance * (1 - chance)).sum().sqrt()) / len(chance) / 20**0.5
    assert abs(sum(shares) / 20 - float(chance.mean())) < 4 * error
    found = judge(chosen_moves(RandomPlayer(GAME.spec), positions), positions, [])
    assert found["decisive"]["random"] == pytest.approx(float(chance.mean()), abs=1e-5)


def test_a_tactician_is_between(positions):
    found = judge(chosen_moves(TacticianPlayer(GAME.native), positions), positions, [(3, 8), (27, 36)])
    part = found["decisive"]
    assert part["random"] + 0.1 < part["optimal"] < 0.95
    assert part["strongest"] <= part["optimal"]
    assert sum(entry["positions"] for entry in found["plies"]) == 1000
    assert [entry["positions"] for entry in found["bands"]] == [180, 290]


def test_regret_by_hand():
    """Two positions: a win given away as a draw (1) and a draw as a loss (1), of three (the third right): 2/3."""
    state = play_out(GAME.native, [[3], [3, 3], [3, 3, 3]])
    score = torch.tensor([[2, 0, -1, 3, 0, 0, 0], [0, -4, 0, 0, 0, 0, 0], [-5, -5, -2, -5, -5, -5, -5]])
    small = dataclasses.replace(
        load_positions(FILE, GAME), state=state, observation=GAME.native.observe(state),
        legal=GAME.native.legal(state), to_play=state.to_play, ply=torch.tensor([1, 2, 3]), score=score,
    )  # fmt: skip
    assert small.value.tolist() == [1, 0, -1]
    assert small.decisive.tolist() == [True, True, False]
    found = judge(Chosen(torch.tensor([1, 1, 0]), None), small, [(1, 1)])
    assert found["all"]["regret"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["all"]["optimal"] == pytest.approx(1 / 3, abs=1e-5)
    assert found["all"]["strongest"] == 0.0
    assert found["decisive"]["optimal"] == 0.0
    assert found["bands"][0]["regret"] == 1.0
    assert "raw" not in found["all"]


def test_save_and_load(tmp_path):
    path = tmp_path / "few.json"
    save_positions(path, GAME, "by hand", "a test", [([3, 3], [0] * 7), ([0] * 6, [None, *[1] * 6])], [[3, 2]])
    loaded = load_positions(path, GAME)
    assert loaded.ply.tolist() == [2, 6]
    assert loaded.legal[1].tolist() == [False] + [True] * 6
    assert loaded.openings == ((3, 2),)
    assert not loaded.decisive.any()


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c["positions"][0][1].__setitem__(0, 5), "is damaged: expected sha256"),
    (lambda c: c.update(schema="other/1"), "no file of judged positions"),
    (lambda c: c.update(game="tictactoe"), "positions of tictactoe version 1, expected connect_four"),
])  # fmt: skip
def test_damage_is_refused(tmp_path, change, message):
    path = tmp_path / "few.json"
    save_positions(path, GAME, "by hand", "a test", [([3, 3], [0] * 7)], [])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_positions(path, GAME)


@pytest.mark.parametrize(("moves", "scores", "message"), [
    ([0] * 7, [0] * 7, "move 6 of .* is not legal"),
    ([0, 1, 0, 1, 0, 1, 0], [0] * 7, "move 6 of .* not legal or ends the game"),
    ([7], [0] * 7, "moves must be 0 to 6, found 7"),
    ([0] * 6, [0] * 7, "scores for other moves than the legal ones"),
])  # fmt: skip
def test_impossible_positions_are_refused(tmp_path, moves, scores, message):
    path = tmp_path / "few.json"
    save_positions(path, GAME, "by hand", "a test", [(moves, scores)], [])
    with pytest.raises(ValueError, match=message):
        load_positions(path, GAME)
