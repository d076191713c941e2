"""`gurgeh evaluate` and `gurgeh replay` as a person uses them, on a run that was hardly trained."""

import gzip
import io
import json
import random
import shlex

import numpy as np
import pytest
import torch

from gurgeh.cli import main
from gurgeh.records import read_records


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four updates on two games."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ["schedule.updates=4", "network.width=16", "learner.batch=16", "logging.evaluate_every_updates=0",
                "logging.tensorboard=false", "monitor.enabled=false", "threads=1", "evaluation.episodes=4",
                "evaluation.simulations=2"]  # fmt: skip
    code = main(["train", "--games", "tictactoe,CartPole-v1", "--runs", str(folder), "--name", "small",
                 "--no-evaluation", *settings])  # fmt: skip
    assert code == 0
    return folder / "small"


def report(capsys, *arguments):
    code = main(["evaluate", *map(str, arguments), "--json"])
    output = capsys.readouterr()
    assert code == 0, output.err
    return json.loads(output.out)


def test_evaluate_prints_saves_and_verifies(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    text = capsys.readouterr().out
    for expected in ("tictactoe", "CartPole-v1", "perfect", "raw policy", "4520", "2 simulations, greedy", "seed 0"):
        assert expected in text
    commands = [line for line in text.splitlines() if line.startswith("gurgeh replay ")]
    assert len(commands) == 3  # tictactoe against two, CartPole
    for command in commands:
        assert main([*shlex.split(command)[1:], "--verify"]) == 0
        header, episodes = read_records(shlex.split(command)[2])
        count = sum(len(episode) + 1 for episode in episodes)
        assert capsys.readouterr().out == f"verified: 4 episodes, {count} observations\n"
        assert len(header.checkpoint) == 64
        assert header.settings["simulations"] == 2
        mine = [i for i, seat in enumerate(episodes[0].to_play[:-1]) if episodes[0].seating[seat] == 0]
        assert all(sum(episodes[0].visits[i]) == 2 for i in mine)
        assert all(episodes[0].prior[i] is not None for i in mine)


def test_the_same_command_gives_the_same_games(run, capsys):
    first = report(capsys, run, "--game", "tictactoe", "--seed", "3", "--opponent", "tactician2")
    second = report(capsys, run, "--game", "tictactoe", "--seed", "3", "--opponent", "tactician2")
    assert first == second  # the same file, too
    third = report(capsys, run, "--game", "tictactoe", "--seed", "3", "--opponent", "tactician2", "--simulations", "0")
    assert third["games"][0]["records"].endswith("-2.jsonl.gz")  # another evaluation, the old one is kept
    summary = third["games"][0]["summary"]
    assert summary["optimal"] == summary["optimal_raw"]  # no search: the raw policy itself


def test_settings_come_from_the_run_and_the_command_line(run, capsys):
    found = report(capsys, run, "--game", "CartPole-v1")
    assert found["settings"]["episodes"] == found["games"][0]["summary"]["episodes"] == 4
    assert found["step"] == 4
    found = report(capsys, run, "--game", "CartPole-v1", "--episodes", "2", "--sample", "--simulations", "3")
    assert (found["settings"]["episodes"], found["settings"]["greedy"], found["settings"]["simulations"]) == (
        2,
        False,
        3,
    )


def test_opponents(run, capsys):
    found = report(capsys, run, "--opponent", "perfect", "--opponent", run, "--episodes", "2")
    assert [entry["players"][1:] for entry in found["games"]] == [["perfect"], ["small@4"], []]
    found = report(capsys, run, "--opponent", "perfect", "--episodes", "2")
    assert [entry["game"] for entry in found["games"]] == ["tictactoe", "CartPole-v1"]


def test_training_would_not_notice(run, tmp_path):
    from gurgeh.commands.evaluate import evaluate_players
    from gurgeh.evaluate import EvaluationConfig
    from gurgeh.load import LoadedRun

    loaded = LoadedRun(run)
    players = [(game, loaded.player(name, 2, greedy=False)) for name, game in loaded.games.items()]
    weights = {name: value.clone() for name, value in loaded.network.state_dict().items()}
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(2), np.random.rand(2), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    config = EvaluationConfig(episodes=3, opponents=("random", str(run)))
    assert len(evaluate_players("run", players, config, 0, directory=tmp_path)["games"]) == 3
    assert torch.equal(torch.rand(2), expected[0])
    assert np.array_equal(np.random.rand(2), expected[1])
    assert random.random() == expected[2]
    assert all(torch.equal(value, weights[name]) for name, value in loaded.network.state_dict().items())


def test_a_network_decides_alike_in_any_company(run):
    from envs.registry import make
    from envs.solver import solve
    from gurgeh.load import LoadedRun

    player, solution = LoadedRun(run).player("tictactoe", 4, greedy=False), solve(make("tictactoe").native)
    rows, seed = torch.arange(0, 4000, 100), torch.arange(40) + 7

    def act(part):
        at = rows[part]
        return player.act(solution.observation[at], solution.legal[at], solution.to_play[at], seed[part])

    together, alone = act(torch.arange(40)), [act(torch.tensor([i])) for i in range(40)]
    assert torch.allclose(together.prior, torch.cat([decision.prior for decision in alone]), atol=1e-5)
    same = together.action == torch.cat([decision.action for decision in alone])
    assert int(same.sum()) >= 38  # two values that differ by rounding may change places


def test_rules_instead_of_the_learned_model(run, capsys, tmp_path):
    """The player says so, the records lie apart, and games without rules are left out or refused."""
    before = set((run / "evaluations").glob("*"))
    found = report(capsys, run, "--rules", "--opponent", "mcts:3", "--opponent", str(run), "--simulations", "6")
    assert found["rules"]
    assert [entry["players"] for entry in found["games"]] == [["small@4+rules", who] for who in ("mcts:3", "small@4")]
    assert [entry["game"] for entry in found["games"]] == ["tictactoe"] * 2
    record = run / "evaluations" / "rules" / "000000004-tictactoe-mcts-3-s0.jsonl.gz"
    assert record.exists()
    assert {path for path in (run / "evaluations").glob("*") if path.is_file()} == {p for p in before if p.is_file()}
    header, episodes = read_records(record)
    assert header.players == ("small@4+rules", "mcts:3")
    assert sum(sum(visits) == 6 for episode in episodes for visits in episode.visits) >= 4
    assert main(["replay", str(record), "--verify"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--rules", "--game", "tictactoe", "--save", str(tmp_path)]) == 0
    assert "2 simulations with the game's rules, greedy" in capsys.readouterr().out
    for arguments, message in (
        ([str(run), "--rules", "--game", "CartPole-v1"], "game CartPole-v1 has no exact rules here"),
        ([str(run), "--rules", "--simulations", "0"], "needs at least 1 simulation, found 0"),
        (["mcts:3", "--rules", "--game", "tictactoe"], "mcts:3 has no learned model; leave --rules and --no-rules out"),
        (["mcts:3", "--game", "CartPole-v1"], "game CartPole-v1 has no exact rules here"),
        (["mcts:0", "--game", "tictactoe"], "write mcts:N"),
    ):
        assert main(["evaluate", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_built_in_players(capsys, tmp_path):
    found = report(capsys, "perfect", "--game", "tictactoe", "--episodes", "6", "--save", tmp_path / "here")
    assert found["games"][0]["summary"]["optimal"] == 1.0
    assert found["games"][1]["summary"]["draw"]["count"] == 6
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "perfect-tictactoe-perfect-s0.json", "perfect-tictactoe-perfect-s0.jsonl.gz",
        "perfect-tictactoe-random-s0.json", "perfect-tictactoe-random-s0.jsonl.gz",
    ]  # fmt: skip
    saved = json.loads((tmp_path / "here" / "perfect-tictactoe-random-s0.json").read_text())
    assert saved["summary"] == found["games"][0]["summary"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "RUN", "--game", "connect_four"],
            "does not play 'connect_four'; it plays tictactoe, CartPole-v1",
        ),
        (["evaluate", "RUN", "--checkpoint", "77"], "has no checkpoint of step 77; it has"),
        (["evaluate", "RUN", "--episodes", "0"], "episodes must be at least 1, found 0"),
        (["evaluate", "RUN", "--simulations", "-1"], "simulations must be at least 0, found -1"),
        (["evaluate", "RUN", "--game", "tictactoe", "--opponent", "god"], "unknown player 'god'"),
        (["evaluate", "no/such/run"], "no/such/run does not exist"),
        (["evaluate", "random"], "name one with --game"),
        (["evaluate", "perfect", "--game", "connect_four"], "connect_four has no perfect player"),
        (["evaluate", "random", "--game", "nogame"], "unknown game 'nogame'"),
        (["replay", "no-such-file"], "no-such-file: no such file"),
    ],
)
def test_bad_input_is_one_line_and_code_2(run, capsys, arguments, message):
    before = sorted(run.rglob("*"))
    assert main([str(run) if argument == "RUN" else argument for argument in arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert sorted(run.rglob("*")) == before


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    assert main(["evaluate", "perfect", "--game", "tictactoe", "--episodes", "5", "--save", str(folder)]) == 0
    return folder / "perfect-tictactoe-random-s0.jsonl.gz"


def test_replay_shows_every_position(record, capsys):
    capsys.readouterr()
    assert main(["replay", str(record), "--episode", "1"]) == 0
    text = capsys.readouterr().out
    _, episodes = read_records(record)
    assert text.count("episode 1, move ") == len(episodes[1]) + 1
    assert text.count("▶") == len(episodes[1])
    assert text.count("X (random) to move") >= 3
    assert "O (perfect) wins" in text
    assert "value X" in text
    for number, section in enumerate(text.split("episode 1, move ")[1:]):
        newest = [mark for mark in ("[X]", "[O]") if mark in section]
        assert newest == ([] if number == 0 else ["[O]" if number % 2 == 0 else "[X]"])
    assert "\x1b" not in text  # no terminal: no colours


@pytest.mark.parametrize("suffix", ["gif", "json", "txt", "html", "svg"])
def test_export(record, tmp_path, capsys, suffix):
    path = tmp_path / f"game.{suffix}"
    assert main(["replay", str(record), "--export", str(path)]) == 0
    episode = read_records(record)[1][0]
    if suffix == "gif":
        from PIL import Image

        with Image.open(path) as picture:
            assert picture.n_frames == len(episode) + 1
    elif suffix == "json":
        content = json.loads(path.read_text())
        assert [frame["action"] for frame in content["frames"][:-1]] == episode.actions
        stones = [np.sum(frame["observation"]) for frame in content["frames"]]
        assert stones == list(range(len(episode) + 1))
    else:
        assert len(path.read_text()) > 1000
    content = path.read_bytes()
    assert main(["replay", str(record), "--export", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_replay_names_the_first_difference(record, tmp_path, capsys):
    header, *lines = gzip.decompress(record.read_bytes()).splitlines(keepends=True)
    path = tmp_path / "changed.jsonl"
    path.write_bytes(b"".join([header, *lines]).replace(b'"rewards":[[0.0', b'"rewards":[[0.5', 1))
    assert main(["replay", str(path), "--verify"]) == 2
    assert "its sha256 differs" in capsys.readouterr().err
    path.write_bytes(record.read_bytes()[:-40])
    assert main(["replay", str(path)]) == 2
    assert "damaged or cut off" in capsys.readouterr().err
    assert main(["replay", str(record), "--episode", "99"]) == 2
    assert "has no episode 99; its last one is 4" in capsys.readouterr().err
    assert main(["replay", str(record), "--export", str(tmp_path / "a.png")]) == 2
    assert "expected a name that ends in .gif" in capsys.readouterr().err


@pytest.mark.parametrize("game", ["CartPole-v1", "connect_four", "minatar/breakout", "ale/Pong:100k", "FrozenLake-v1"])
def test_every_kind_of_observation_is_shown(game, tmp_path, capsys):
    pytest.importorskip({"m": "minatar", "a": "ale_py"}.get(game[0], "gymnasium"))
    from agents.player import RandomPlayer
    from envs.registry import make
    from gurgeh.drawing import Drawer
    from gurgeh.episodes import play_episodes
    from gurgeh.export import export
    from gurgeh.records import Header
    from gurgeh.replay import frames, verify

    handle = make(game)
    episodes = play_episodes(handle, [RandomPlayer(handle.spec)], 2, seed=0, max_moves=8)
    assert verify(handle, episodes).episodes == 2
    header = Header(game, handle.spec.version, ("random",), 0)
    from rich.console import Console

    shown = {}
    for color in (True, False):
        console = Console(width=110, record=True, file=io.StringIO(), color_system="truecolor")
        drawer = Drawer(handle.spec, header, episodes[0], color)
        for frame in frames(handle, episodes[0]):
            console.print(drawer.draw(frame))
        shown[color] = console.export_text()
        assert shown[color].count("move") > len(episodes[0])
    assert max(map(len, shown[True].splitlines())) <= 110
    export(handle, header, episodes[0], tmp_path / "a.gif")
    assert (tmp_path / "a.gif").stat().st_size > 500
