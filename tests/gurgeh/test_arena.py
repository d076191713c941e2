"""`gurgeh arena`: fair openings, exact counts, records that verify, and the same result after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from agents.player import RandomPlayer
from envs.registry import make
from envs.solver import solve
from gurgeh.arena import ArenaConfig, play_arena, points_of
from gurgeh.cli import main
from gurgeh.entrants import Contestant, Entrant, load_contestants, parse_entrant
from gurgeh.episodes import Opening, play_episodes
from gurgeh.evaluate import EvaluationConfig, named_player
from gurgeh.openings import draw_openings
from gurgeh.records import read_records
from gurgeh.replay import open_records, verify

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tictactoe():
    return make("tictactoe")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four updates."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ["schedule.updates=4", "network.width=16", "learner.batch=16", "logging.evaluate_every_updates=0",
                "logging.tensorboard=false", "monitor.enabled=false", "threads=1", "evaluation.simulations=2",
                "selfplay.copies=8"]  # fmt: skip
    code = main(["train", "--games", "tictactoe", "--runs", str(folder), "--name", "small", "--no-evaluation",
                 *settings])  # fmt: skip
    assert code == 0
    return folder / "small"


def contestants(game, *names):
    return [Contestant(name, named_player(name, game, EvaluationConfig()), {}) for name in names]


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Openings


def test_openings_are_all_there_are(tictactoe):
    for plies, positions in ((0, 1), (1, 9), (2, 72), (3, 252)):
        openings = draw_openings(tictactoe, plies, 400, seed=1)
        distinct = list(dict.fromkeys(openings))
        assert len(distinct) == positions
        assert openings == [distinct[i % positions] for i in range(400)]  # then again in the same order
        stones = {(frozenset(o.actions[::2]), frozenset(o.actions[1::2])) for o in distinct}
        assert len(stones) == positions


def test_openings_do_not_end_the_game_and_do_not_depend_on_their_number(tictactoe):
    openings = draw_openings(tictactoe, 6, 300, seed=2)
    assert draw_openings(tictactoe, 6, 20, seed=2) == openings[:20] != draw_openings(tictactoe, 6, 20, seed=3)
    solution = solve(tictactoe.native)
    state = tictactoe.native.initial(torch.zeros(300, dtype=torch.int64))
    for ply in range(6):
        state = tictactoe.native.play(state, torch.tensor([o.actions[ply] for o in openings])).state
    assert (solution.ply[solution.find(tictactoe.native.observe(state))] == 6).all()  # positions with a move to make
    with pytest.raises(ValueError, match="every opening of 9 random moves ends the game"):
        draw_openings(tictactoe, 9, 2, seed=0)


def test_openings_of_a_game_with_many(tictactoe):
    game = make("connect_four")
    openings = draw_openings(game, 6, 200, seed=0)
    assert len(set(openings)) == 200


# Games


def test_episodes_from_openings(tictactoe):
    """Both sides get each opening; players have no part in it; nothing else changes."""
    openings = [Opening(5, (0, 4)), Opening(6, (8,)), Opening(7)]
    perfect, random = (named_player(name, tictactoe, EvaluationConfig()) for name in ("perfect", "random"))
    tactician = named_player("tactician2", tictactoe, EvaluationConfig())
    for players in ([perfect, random], [tactician, random]):
        episodes = play_episodes(tictactoe, players, 6, seed=1, openings=openings)
        for episode in episodes:
            opening = openings[episode.index // 2]
            assert tuple(episode.actions[: episode.opening]) == opening.actions
            assert (episode.seed, episode.opening) == (opening.seed, len(opening.actions))
            assert episode.policy[: episode.opening] == [None] * episode.opening
            assert all(entry is not None for entry in episode.policy[episode.opening :])
        assert [episode.seating for episode in episodes[:2]] == [(0, 1), (1, 0)]
        verify(tictactoe, episodes)
        later = play_episodes(tictactoe, players, 4, seed=1, openings=openings, first=2, num_copies=2)
        assert later == episodes[2:]


@pytest.mark.parametrize(
    ("opening", "message"),
    [
        ((0, 0), "move 0 of an opening is not legal"),
        ((12,), "move 12 of an opening is not legal"),
        ((0, 3, 1, 4, 2), "leaves no move to the players"),
    ],
)
def test_openings_that_cannot_be_played(tictactoe, opening, message):
    player = RandomPlayer(tictactoe.spec)
    with pytest.raises(ValueError, match=message):
        play_episodes(tictactoe, [player, player], 2, seed=0, openings=[Opening(0, opening)])
    with pytest.raises(ValueError, match="need 2 openings, found 1"):
        play_episodes(tictactoe, [player, player], 4, seed=0, openings=[Opening(0)])


def test_an_episode_without_an_opening_is_recorded_as_before(tictactoe, tmp_path):
    from gurgeh.records import Header, write_records

    player = RandomPlayer(tictactoe.spec)
    for openings in (None, [Opening(3, (4,))]):
        episodes = play_episodes(tictactoe, [player, player], 2, seed=0, openings=openings)
        path = write_records(tmp_path / f"{openings is None}.jsonl", Header("tictactoe", 1, ("a", "b"), 0), episodes)
        assert ("opening" in path.read_text()) == (openings is not None)
        found = read_records(path)[1]
        assert [(e.opening, e.seed, e.actions) for e in found] == [(e.opening, e.seed, e.actions) for e in episodes]


# Arenas


def test_the_report_counts_what_the_records_hold(tictactoe, tmp_path):
    players = contestants(tictactoe, "random", "tactician2", "perfect")
    config = ArenaConfig(games_per_pair=40, copies=16)
    result = play_arena(tictactoe, players, config, tmp_path / "a", anchor=("random", 100.0))
    report = result.report
    assert json.loads(result.path.read_text()) == report
    assert report["schema"] == "arena/1"
    assert len(report["pairings"]) == 3
    won = dict.fromkeys(("random", "tactician2", "perfect"), 0)
    for entry in report["pairings"]:
        assert len(entry["records"]) == 3  # 16, 16 and 8 games
        points = []
        for name in entry["records"]:
            game, header, episodes = open_records(tmp_path / "a" / name)
            verify(game, episodes)
            first = header.players.index(entry["players"][0])
            for episode in episodes:
                points.append(points_of(episode) if first == 0 else 1 - points_of(episode))
                won[header.players[0]] += points_of(episode) == 1
                won[header.players[1]] += points_of(episode) == 0
            assert {(e.seed, tuple(e.actions[:2])) for e in episodes[::2]} == {
                (e.seed, tuple(e.actions[:2])) for e in episodes[1::2]
            }
        assert [points.count(p) for p in (1.0, 0.5, 0.0)] == [entry[n] for n in ("win", "draw", "loss")]
        assert sum(entry["openings"].values()) == 20
        assert sum(float(p) * n for p, n in entry["openings"].items()) == sum(points)
    table = {player["name"]: player for player in report["players"]}
    assert {name: player["win"] for name, player in table.items()} == won
    assert [table["random"][name] for name in ("elo", "low", "high")] == [100, 100, 100]
    assert table["perfect"]["low"] > 150
    assert [p["elo"] for p in report["players"]] == sorted((p["elo"] for p in report["players"]), reverse=True)


def test_equal_players_are_equal(tictactoe, tmp_path):
    """Two random players: the intervals of their difference hold 0, though whoever begins wins more."""
    random = RandomPlayer(tictactoe.spec)
    players = [Contestant("a", random, {}), Contestant("b", random, {})]
    report = play_arena(tictactoe, players, ArenaConfig(400, 0), tmp_path / "a", anchor=("a", 0.0)).report
    other = next(player for player in report["players"] if player["name"] == "b")
    assert report["distinct_openings"] == 1  # one unit: no interval
    assert (other["low"], other["high"], other["open_above"]) == (None, None, False)
    inside = 0
    for seed in range(6):
        config = ArenaConfig(200, 2, seed=seed)
        report = play_arena(tictactoe, players, config, tmp_path / str(seed), anchor=("a", 0.0), resamples=200).report
        other = next(player for player in report["players"] if player["name"] == "b")
        inside += other["low"] < 0 < other["high"]
    assert inside >= 4  # fewer with a probability of 0.2 %


def test_the_order_of_players_changes_no_game(tictactoe, tmp_path):
    players = contestants(tictactoe, "random", "tactician1", "perfect")
    one = play_arena(tictactoe, players, ArenaConfig(20), tmp_path / "a").report
    other = play_arena(tictactoe, players[::-1], ArenaConfig(20), tmp_path / "b").report
    assert files(tmp_path / "a" / "games") == files(tmp_path / "b" / "games")
    assert [p["name"] for p in one["players"]] == [p["name"] for p in other["players"]]
    assert [p["elo"] for p in one["players"]] == pytest.approx([p["elo"] for p in other["players"]])
    assert [p["low"] for p in one["players"]] == pytest.approx([p["low"] for p in other["players"]])


def test_players_and_games_can_be_added(tictactoe, tmp_path):
    players = contestants(tictactoe, "random", "tactician1", "perfect")
    play_arena(tictactoe, players[:2], ArenaConfig(16, copies=8), tmp_path / "a")
    before = files(tmp_path / "a" / "games")
    times = {name: (tmp_path / "a" / "games" / name).stat().st_mtime_ns for name in before}
    grown = play_arena(tictactoe, players, ArenaConfig(24, copies=8), tmp_path / "a").report
    assert grown == play_arena(tictactoe, players, ArenaConfig(24, copies=8), tmp_path / "b").report
    assert times == {name: (tmp_path / "a" / "games" / name).stat().st_mtime_ns for name in before}  # not played again


def test_neighbours(tictactoe, tmp_path):
    players = contestants(tictactoe, "random", "tactician1", "tactician2", "perfect")
    report = play_arena(tictactoe, players, ArenaConfig(4), tmp_path / "a", neighbours=1).report
    assert [entry["players"] for entry in report["pairings"]] == [
        ["random", "tactician1"], ["tactician1", "tactician2"], ["perfect", "tactician2"],
    ]  # fmt: skip


def test_an_arena_refuses(tictactoe, tmp_path):
    players = contestants(tictactoe, "random", "perfect")
    play_arena(tictactoe, players, ArenaConfig(4), tmp_path / "a")
    with pytest.raises(ValueError, match="played with opening_plies 2, now it is 3"):
        play_arena(tictactoe, players, ArenaConfig(4, 3), tmp_path / "a")
    with pytest.raises(ValueError, match="at least 2 players, found 1"):
        play_arena(tictactoe, players[:1], ArenaConfig(4), tmp_path / "b")
    with pytest.raises(ValueError, match="does not play"):
        play_arena(tictactoe, players, ArenaConfig(4), tmp_path / "b", anchor=("mcts:1", 0))
    with pytest.raises(ValueError, match="games for two"):
        play_arena(make("CartPole-v1"), players, ArenaConfig(4), tmp_path / "b")
    other = [players[0], players[1]._replace(about={"checkpoint": "another"})]
    with pytest.raises(ValueError, match="another checkpoint"):
        play_arena(tictactoe, other, ArenaConfig(4), tmp_path / "a")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="something else"):
        play_arena(tictactoe, players, ArenaConfig(4), tmp_path / "c")
    record = next((tmp_path / "a" / "games").iterdir())
    record.write_bytes(record.read_bytes()[:-20])
    with pytest.raises(ValueError, match="remove the file to have its games played again"):
        play_arena(tictactoe, players, ArenaConfig(4), tmp_path / "a")
    for wrong in ({"games_per_pair": 5}, {"copies": 3}, {"opening_plies": -1}, {"simulations": -1}):
        with pytest.raises(ValueError, match="must be"):
            ArenaConfig(**wrong)


# Players


def test_what_players_are_called(tmp_path):
    (tmp_path / "x:y@3").mkdir()
    assert parse_entrant("mcts:50") == Entrant("mcts:50")
    assert parse_entrant("runs/a") == Entrant("runs/a", "runs/a")
    text = "runs/a@70:simulations=4,rules,sample"
    assert parse_entrant(text) == Entrant(text, "runs/a", 70, 4, True, False)
    assert parse_entrant(f"{tmp_path}/x:y@3").run == f"{tmp_path}/x:y@3"
    for wrong, message in (
        ("runs/a:sims=3", "'sims=3' is no option"),
        ("runs/a:simulations=x", "is no option"),
        ("runs/a:rules,rules", "names rules twice"),
        ("mcts:few", "write mcts:N"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_entrant(wrong)


def test_runs_as_players(run, tictactoe):
    texts = [str(run), f"{run}@4:simulations=0", f"{run}:rules", f"{run}:simulations=3,sample", "random"]
    found = load_contestants([parse_entrant(text) for text in texts], tictactoe)
    assert [contestant.name for contestant in found] == [
        "small@4:simulations=2", "small@4:simulations=0", "small@4:simulations=2,rules",
        "small@4:simulations=3,sample", "random",
    ]  # fmt: skip
    assert len(found[0].about["checkpoint"]) == 64
    assert [contestant.player.name for contestant in found[:3]] == ["small@4", "small@4", "small@4+rules"]
    assert load_contestants([parse_entrant(str(run))], tictactoe, 7)[0].name == "small@4:simulations=7"
    for texts, message in (
        ([str(run), f"{run}@4"], "plays already"),
        (["nobody"], "unknown player 'nobody'"),
        ([f"{run}:rules,simulations=0"], "at least 1 simulation"),
    ):
        with pytest.raises(ValueError, match=message):
            load_contestants([parse_entrant(text) for text in texts], tictactoe)
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 3"):
        load_contestants([parse_entrant(f"{run}@3")], tictactoe)
    with pytest.raises(ValueError, match="does not play connect_four"):
        load_contestants([parse_entrant(str(run))], make("connect_four"))


def test_runs_of_one_name_are_told_apart(run, tictactoe, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "second" / "small")
    texts = [str(run), str(tmp_path / "second" / "small")]
    found = load_contestants([parse_entrant(text) for text in texts], tictactoe)
    assert [contestant.name for contestant in found] == [
        f"{run.parent.name}/small@4:simulations=2", "second/small@4:simulations=2"
    ]  # fmt: skip


# The command


def test_the_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["arena", "random", "perfect", f"{run}:simulations=3", f"{run}:rules", "--game", "tictactoe",
             "--games-per-pair", "8", "--anchor", f"{run}:rules=50", "--resamples", "50"]  # fmt: skip
    assert main(words) == 0
    text = capsys.readouterr().out
    for expected in ("small@4:simulations=2,rules is 50", "won / drawn / lost", "bootstrap over 4 openings"):
        assert expected in text
    record = text.split("gurgeh replay ")[1].strip()
    assert record.startswith("arenas/tictactoe-s0/games/")
    assert main(["replay", record, "--verify"]) == 0
    assert "verified: 8 episodes" in capsys.readouterr().out
    assert main(["replay", record, "--episode", "1"]) == 0
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(Path("arenas/tictactoe-s0/arena.json").read_text())
    assert report["ratings"]["anchor"] == {"player": "small@4:simulations=2,rules", "elo": 50}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["random", "--game", "tictactoe"], "at least 2 players"),
        (["random", "perfect", "--game", "connect_four"], "no perfect player"),
        (["random", "random", "--game", "tictactoe"], "plays already"),
        (["random", "perfect", "--game", "tictactoe", "--anchor", "random"], "write PLAYER=ELO"),
        (["random", "perfect", "--game", "tictactoe", "--anchor", "mcts:2=0"], "does not play"),
        (["random", "perfect", "--game", "tictactoe", "--games-per-pair", "3"], "must be even"),
        (["random", "mcts:5", "--game", "CartPole-v1"], "games for two"),
        (["random", "perfect", "--game", "tictactoe", "--prior", "-1"], "prior must be"),
        (["random", "perfect", "--game", "tictactoe", "--resamples", "0"], "--resamples must be"),
    ],
)
def test_one_line_for_an_error(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["arena", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_who_wins_all_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["arena", "tactician2", "random", "--game", "connect_four", "--games-per-pair", "8"]) == 0
    text = capsys.readouterr().out
    assert "100.0 %" in text
    assert "Prior: 1 virtual draw" in text
    assert ".. open" in text
    assert "open .." in text


def test_results_that_never_differ_are_no_certainty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["arena", "perfect", "mcts:150", "--game", "tictactoe", "--games-per-pair", "2", "--opening-plies", "0"]
    assert main(words) == 0
    assert "? .. ?" in capsys.readouterr().out
    report = {"ratings": {"model": "", "anchor": None, "prior_draws": 0, "resamples_with_prior": 0},
              "settings": {"games_per_pair": 4}, "distinct_openings": 2, "pairings": [],
              "players": [{"name": "a", "low": 3.0, "high": 3.0}, {"name": "b", "low": -4.0, "high": -3}]}  # fmt: skip
    from gurgeh.commands.arena import notes

    assert any("no certainty" in line for line in notes(report))
    report["ratings"]["anchor"] = {"player": "a", "elo": 3.0}
    assert not any("no certainty" in line for line in notes(report))


def test_killed_and_started_again(run, tmp_path):
    """SIGKILL in the middle, then the same command: the same files to the byte, and no pair is played twice."""
    command = [sys.executable, "-m", "gurgeh", "arena", str(run), "mcts:60", "tactician2", "--game", "tictactoe",
               "--games-per-pair", "12", "--copies", "2", "--out"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    games = tmp_path / "killed" / "games"
    deadline = time.monotonic() + 200
    while len(list(games.glob("*.gz"))) < 3:
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "killed" / "arena.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in games.glob("*.gz")}
    assert 3 <= len(kept) < 18
    for name in ("killed", "whole"):
        assert main([*command[3:], str(tmp_path / name)]) == 0
    for leftover in games.glob(".*.new"):  # what was being written when it was killed
        leftover.unlink()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
