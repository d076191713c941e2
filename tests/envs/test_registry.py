"""Names, files, plug-ins and missing packages; and every example of docs/adding-a-game.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from envs import registry
from envs.check import check

GUIDE = (Path(__file__).parents[2] / "docs" / "adding-a-game.md").read_text()
EXAMPLES = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", GUIDE, re.DOTALL))


@pytest.fixture
def example(tmp_path):
    def write(name):
        path = tmp_path / name
        path.write_text(EXAMPLES[name])
        return path

    return write


def test_the_guide_has_its_examples():
    assert set(EXAMPLES) == {"nim.py", "dice.py", "big_lake.py", "small_go.py"}
    rules = EXAMPLES["nim.py"].split("class Nim:")[1]
    assert len([line for line in rules.splitlines() if line.strip()]) <= 25


def test_native_example(example):
    game = registry.make(str(example("nim.py")))
    report = check(game)
    assert report.findings() == []
    rules = game.native
    state = rules.initial(torch.tensor([0, 0]))
    reward = None
    for take in (3, 3, 3, 3, 1):  # seat 0 takes the 13th stick
        played = rules.play(state, torch.tensor([take - 1, 0]))
        state, reward = played.state, played.reward
    assert reward[0].tolist() == [1.0, -1.0]
    assert played.terminated.tolist() == [True, False]


def test_chance_example(example):
    game = registry.make(str(example("dice.py")))
    report = check(game)
    assert report.findings() == []
    assert [result.skipped for result in report.results if result.check == "chance"] == [None]


def test_gymnasium_example(example):
    game = registry.make(str(example("big_lake.py")))
    assert (game.spec.name, game.spec.observation.shape, game.spec.max_length) == ("big_lake", (64,), 100)
    assert check(game, num_moves=80).findings() == []


def test_pettingzoo_example(example):
    pytest.importorskip("pettingzoo")
    game = registry.make(str(example("small_go.py")))
    assert (game.spec.name, game.spec.num_actions, game.spec.zero_sum) == ("small_go", 26, True)
    assert game.environment(1, 0).spec == game.spec
    assert check(game, num_copies=2, num_moves=70).findings() == []


def test_plug_in_example(example, tmp_path, monkeypatch):
    """A package on disk with the guide's own entry point, found by importlib.metadata."""
    package = tmp_path / "site" / "my_games"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "nim.py").write_text(EXAMPLES["nim.py"])
    information = tmp_path / "site" / "my_games-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-games\nVersion: 1.0\n")
    line = re.search(r'```toml\n\[project\.entry-points\."gurgeh\.games"\]\n(.*?)\n```', GUIDE, re.DOTALL).group(1)
    (information / "entry_points.txt").write_text(
        "[gurgeh.games]\n" + line.replace('"', "") + "\nbad = my_games.none:X\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    assert registry.make("nim").spec.name == "nim"
    assert registry.make("nim").name == "nim"
    assert "nim" in registry.names()
    with pytest.raises(ValueError, match=r"bad: the plug-in my_games\.none:X does not load"):
        registry.make("bad")


def test_name_makes_the_game_again(example, monkeypatch, tmp_path):
    monkeypatch.chdir(example("nim.py").parent)
    for name in ("tictactoe", "CartPole-v1", "nim.py", "nim.py:Nim"):
        game = registry.make(name)
        monkeypatch.chdir(tmp_path.parent)
        assert registry.make(game.name).spec == game.spec
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tictactow", "unknown game 'tictactow': did you mean tictactoe"),
        ("cartpole-v1", "did you mean CartPole-v1"),
        ("breakout", "did you mean .*minatar/breakout"),
        ("minatar/pong", "unknown MinAtar game 'pong': one of asterix, breakout"),
        ("minatar/breakout:fast", "unknown preset 'fast' of minatar/breakout: full, paper"),
        ("zzzz", "unknown game 'zzzz': `gurgeh games list` shows every name"),
        ("ale/", "names no game: write ale/NAME"),
        ("", "unknown game ''"),
        ("missing.py", "missing.py: no such file"),
        ("missing.py:Game", "missing.py: no such file"),
        ("no_such_module:Some-v0", "Gymnasium cannot make 'no_such_module:Some-v0'"),
    ],
)
def test_bad_names_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        registry.make(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("x = 1\n", "", "which game. Found none; write GAME = "),
        ("GAME = 3\n", "", "a int is no game"),
        ("import nothing_like_this\n", "", "cannot be imported: ModuleNotFoundError"),
        ("def f(): return 1\n", ":f", "made a int, which is no game"),
        ("def f(): return 1\n", ":g", "has no 'g'; it has f"),
        ("def f(size): return 1\n", ":f", r"called with size; a factory takes \(num_copies, seed\)"),
        ("class A:\n    def initial(self, seed): ...\n", ":A", "missing: legal, to_play, observe, play"),
        (
            "import gymnasium\nSPEC = {'zerosum': 1}\ndef GAME(): return gymnasium.make('CartPole-v1')\n",
            "",
            "'zerosum'",
        ),
    ],
)
def test_bad_files_say_what_to_do(tmp_path, text, attribute, message):
    path = tmp_path / "game.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        registry.make(f"{path}{attribute}")


def test_a_file_that_changes_is_read_again(example):
    path = example("nim.py")
    assert registry.make(str(path)).spec.max_length == 13
    path.write_text(EXAMPLES["nim.py"].replace("max_length=13", "max_length=12"))
    assert registry.make(str(path)).spec.max_length == 12


def test_factory_of_environments(tmp_path):
    path = tmp_path / "factory.py"
    path.write_text(
        "from envs.batch import NativeEnvironment\nfrom envs.boards.tictactoe import TicTacToe\n"
        "def GAME(num_copies, seed): return NativeEnvironment(TicTacToe(), num_copies, seed)\n"
    )
    game = registry.make(str(path))
    assert (game.native, game.environment(3, 0).num_copies) == (None, 3)
    with pytest.raises(ValueError, match="num_copies must be at least 1, found 0"):
        game.environment(0, 0)


def test_missing_extra_is_one_line():
    """In a process of its own, where the packages cannot be found: nothing is cached there."""
    script = """
import importlib.util
find = importlib.util.find_spec
missing = ("ale_py", "Box2D", "envpool", "minatar", "minigrid", "mpe2", "mujoco", "pettingzoo", "pyspiel")
importlib.util.find_spec = lambda name, *rest: None if name.startswith(missing) else find(name, *rest)
from envs import registry
for name in (
    "ale/Pong", "LunarLander-v3", "envpool/Chess-v1", "minatar/breakout", "minigrid/Empty-5x5-v0", "mpe2/simple_v3",
    "Hopper-v5:bins=3", "pettingzoo/tictactoe_v3", "openspiel/hex",
):
    try:
        registry.make(name)
    except registry.MissingExtraError as error:
        print(error)
wrapped = ("ale/", "envpool/", "minigrid/", "mpe2/", "openspiel/", "pettingzoo/")
print([name for name in registry.names() if name.startswith(wrapped)])
print(registry.make("tictactoe").name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "ale-py is not installed: pip install 'gurgeh[atari]'",
        "Box2D is not installed: pip install 'gurgeh[box2d]'",
        "envpool is not installed: pip install 'gurgeh[envpool]'",
        "MinAtar is not installed: pip install 'gurgeh[minatar]'",
        "minigrid is not installed: pip install 'gurgeh[minigrid]'",
        "mpe2 is not installed: pip install 'gurgeh[mpe]'",
        "mujoco is not installed: pip install 'gurgeh[mujoco]'",
        "pettingzoo is not installed: pip install 'gurgeh[pettingzoo]'",
        "open-spiel is not installed: pip install 'gurgeh[openspiel]'",
        "[]",
        "tictactoe",
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tictactoe:3", "'tictactoe:3': tictactoe has no settings; write tictactoe"),
        ("errand:easy", "errand has no settings"),
        ("HEX:3", "unknown game 'HEX:3': did you mean hex:3"),
        ("otello:6", "did you mean othello:6"),
    ],
)
def test_settings_and_spelling_of_native_games(name, problem):
    with pytest.raises(ValueError, match=problem):
        registry.make(name)
