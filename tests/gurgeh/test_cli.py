"""The command line: commands are found, errors are one line with exit code 2, help is light."""

import subprocess
import sys
import textwrap

import pytest

import gurgeh.commands
from gurgeh import cli

COMMAND = '''
"""A command of the test."""
import argparse
import numpy as np

def add_parser(subparsers):
    parser = subparsers.add_parser("probe", help="try something")
    parser.add_argument("what")
    parser.add_argument("--level", choices=["low", "high"], default="low")
    parser.settings = "probe_settings:Settings"

def run(args):
    raising = {
        "value": ValueError("seed: expected int,\\n  found 'x'"),
        "missing": FileNotFoundError("runs/a does not exist"),
        "exists": FileExistsError("runs/a exists already"),
        "extra": ImportError("ale-py is not installed: pip install 'gurgeh[atari]'"),
        "nan": FloatingPointError("the loss of pong is NaN"),
        "fault": RuntimeError("a fault of ours"),
        "stop": KeyboardInterrupt(),
    }
    if args.what in raising:
        raise raising[args.what]
    if args.what == "system":
        open("/nonexistent/file")
    if args.what == "library":
        np.zeros(3).reshape(2, 2)
    if args.what == "exit":
        raise SystemExit("own words")
    print("did", args.what, args.level)
    return 7 if args.what == "seven" else None
'''
SETTINGS = '''
import dataclasses

@dataclasses.dataclass(frozen=True)
class Settings:
    lr: float = 0.1
    """How fast it learns."""
'''


@pytest.fixture
def command(tmp_path, monkeypatch):
    """gurgeh with one more command file, as another author would add it."""
    (tmp_path / "probe.py").write_text(COMMAND)
    (tmp_path / "_hidden.py").write_text("raise RuntimeError('not a command')")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "probe_settings.py").write_text(SETTINGS)
    monkeypatch.syspath_prepend(tmp_path / "settings")
    monkeypatch.setattr(gurgeh.commands, "__path__", [*gurgeh.commands.__path__, str(tmp_path)])
    monkeypatch.delenv("GURGEH_TRACEBACK", raising=False)
    yield cli.main
    for name in ("gurgeh.commands.probe", "probe_settings"):
        sys.modules.pop(name, None)


def test_commands_are_found_by_their_file(command, capsys):
    assert command(["probe", "x", "--level", "high"]) == 0
    assert capsys.readouterr().out == "did x high\n"
    assert command(["probe", "seven"]) == 7
    assert command(["--help"]) == 0
    assert "try something" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("value", "seed: expected int, found 'x'"),
        ("missing", "runs/a does not exist"),
        ("exists", "runs/a exists already"),
        ("extra", "ale-py is not installed: pip install 'gurgeh[atari]'"),
        ("nan", "the loss of pong is NaN"),
        ("system", "No such file or directory: /nonexistent/file"),
        ("library", "cannot reshape array of size 3 into shape (2,2)"),
    ],
)
def test_an_expected_error_is_one_line_and_code_2(command, capsys, what, line):
    assert command(["probe", what]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"gurgeh: error: {line}")


def test_traceback_on_request(command, capsys, monkeypatch):
    assert command(["probe", "value", "--traceback"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setenv("GURGEH_TRACEBACK", "1")
    assert command(["probe", "value"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setenv("GURGEH_TRACEBACK", "0")
    assert command(["probe", "value"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_our_own_lines_need_no_hint_and_others_get_one(command, capsys):
    from gurgeh.rundir import RunDirectory

    with pytest.raises(FileNotFoundError) as error:
        RunDirectory.open("/nonexistent")
    assert cli._is_ours(error.value.__traceback__)
    assert command(["probe", "library"]) == 2
    assert capsys.readouterr().err.endswith(" (--traceback shows where)\n")


def test_a_fault_of_ours_is_not_hidden(command):
    with pytest.raises(RuntimeError, match="a fault of ours"):
        command(["probe", "fault"])


def test_ctrl_c(command, capsys):
    assert command(["probe", "stop"]) == 130
    assert capsys.readouterr().err == "gurgeh: interrupted\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["prob"], "unknown 'prob'; did you mean 'probe'?"),
        (["probe", "x", "--level", "hihg"], "did you mean 'high'?"),
        (["probe", "x", "--level", "7"], "choose from low, high"),
        (["probe", "x", "--lev", "low"], "unrecognized arguments: --lev low; did you mean --level? (see gurgeh probe"),
        (["probe", "x", "y", "--zzz"], "unrecognized arguments: y --zzz (see gurgeh probe --help)"),
        (["probe"], "the following arguments are required: what"),
    ],
)
def test_wrong_usage_is_one_line(command, capsys, argv, message):
    assert command(argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("gurgeh: error: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["games", "play", "tictactoe"], ["games", "check", "tictactoe"], ["evaluate", "random"], ["arena"]]
)
@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5"])
def test_a_seed_that_is_none_is_one_line(command, seed, capsys):
    assert cli.main([*command, f"--seed={seed}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument --seed: must be a whole number from 0 to 4294967295, found '{seed}'" in line


def test_no_command_shows_help(command, capsys):
    assert command([]) == 2
    assert "usage: gurgeh" in capsys.readouterr().err


def test_help_lists_the_settings(command, capsys):
    assert command(["probe", "--help"]) == 0
    assert "  lr  float, default 0.1\n      How fast it learns.\n" in capsys.readouterr().out


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_are_light(argument):
    """No torch, numba, matplotlib or tensorboard for help; asked of a fresh interpreter."""
    result = python(
        """
        import sys
        from gurgeh.cli import main
        code = main(sys.argv[1:])
        heavy = {"torch", "numba", "matplotlib", "tensorboard", "scipy", "gymnasium", "ray", "rich", "pandas"}
        assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
        sys.exit(code)
        """,
        argument,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("gurgeh " if argument == "--version" else "usage: gurgeh")


def test_a_reader_that_leaves_is_no_error():
    result = subprocess.run(
        f"{sys.executable} -m gurgeh --help | true", shell=True, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0
    assert result.stderr == ""
