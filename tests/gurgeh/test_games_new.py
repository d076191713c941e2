"""`gurgeh games new` writes games that pass at once; `check` holds them to what was recorded."""

from __future__ import annotations

import json

import pytest

from gurgeh.cli import main


@pytest.mark.parametrize("kind", ["native", "gymnasium"])
def test_a_new_game_passes_the_check_at_once(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["games", "new", "my_game", "--kind", kind]) == 0
    shown = capsys.readouterr().out
    assert "gurgeh games check my_game.py" in shown
    assert main(["games", "check", "my_game.py"]) == 0
    shown = capsys.readouterr().out
    assert "my_game.py keeps the contract" in shown
    assert "✗" not in shown
    lines = [line for line in shown.splitlines() if line.startswith(("✓", "–"))]
    assert len(lines) == 19  # one line a check
    if kind == "native":  # nothing is left out but what the game has not
        assert sorted(line.split(":")[0][3:] for line in lines if line.startswith("–")) == [
            "box of actions", "chance", "commands", "golden playthrough", "symmetries",
        ]  # fmt: skip
    assert main(["games", "info", "my_game.py"]) == 0
    assert main(["games", "play", "my_game.py", "--moves", "0,1", "--seed", "1"]) == 0


def test_recorded_games_must_stay_as_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["games", "new", "my_game"])
    assert main(["games", "check", "my_game.py", "--record", "--moves", "60"]) == 0
    shown = capsys.readouterr().out
    assert "✓  golden playthrough" in shown
    golden = tmp_path / "my_game.playthrough.json"
    recorded = json.loads(golden.read_text())
    assert len(recorded["games"]) == 3
    file = tmp_path / "my_game.py"
    before = file.read_text()
    file.write_text(before.replace("won = (mine[:, 1:] & mine[:, :-1])", "won = (mine[:, 2:] & mine[:, :-2])"))
    assert main(["games", "check", "my_game.py", "--moves", "60"]) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert "✗ golden playthrough" in shown
    assert "Raise `version` and record anew (--record)" in shown
    file.write_text(file.read_text().replace("version=1", "version=2"))
    assert main(["games", "check", "my_game.py", "--moves", "60"]) == 2
    assert "is of version 1, the game is version 2" in capsys.readouterr().out
    assert main(["games", "check", "my_game.py", "--record", "--moves", "60"]) == 0
    assert json.loads(golden.read_text())["version"] == 2
    golden.write_text("[]")
    assert main(["games", "check", "my_game.py", "--moves", "60"]) == 2
    assert "is no playthrough" in capsys.readouterr().out


def test_recording_again_leaves_games_of_the_same_version_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["games", "new", "my_game"])
    main(["games", "check", "my_game.py", "--record", "--moves", "30"])
    file = tmp_path / "my_game.py"
    file.write_text(file.read_text().replace("won[:, None] * seats.float()", "0.0 * seats.float()"))
    assert main(["games", "check", "my_game.py", "--record", "--moves", "30"]) == 2


def test_a_wrapped_game_is_recorded_too(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["games", "new", "walk", "--kind", "gymnasium"])
    assert main(["games", "check", "walk.py", "--record", "--moves", "60"]) == 0
    assert "✓  golden playthrough" in capsys.readouterr().out
    file = tmp_path / "walk.py"
    file.write_text(file.read_text().replace("self.place / 10, False", "self.place / 20, False"))
    assert main(["games", "check", "walk.py", "--moves", "60"]) == 2
    assert "reward is not what game 0 of walk.playthrough.json recorded" in capsys.readouterr().out


def test_check_without_a_name_looks_at_every_native_game(capsys, monkeypatch):
    from envs import registry

    few = [("native", ["tictactoe", "kuhn"], None), ("minatar", ["minatar/breakout"], None)]
    monkeypatch.setattr(registry, "groups", lambda: few)
    assert main(["games", "check", "--moves", "30"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in shown] == ["✓  tictactoe", "✓  kuhn"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["new", "My Game"],
            "'My Game' cannot be the name of a game's file: use small letters, digits and _",
        ),
        (["new", "class"], "'class' cannot be the name"),
        (["new", "tictactoe"], "there is a game called tictactoe already"),
        (["new", "there"], "exists already and is not overwritten"),
        (["check", "--record"], "--record is for one game"),
        (["check", "CartPole-v1", "--record"], "--record is for a file of yours"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").touch()
    assert main(["games", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
