"""The command line: one subcommand a file in gurgeh/commands, one clear line for an error.

A command module has `add_parser(subparsers)`, which imports nothing heavy, and `run(args) -> int`, the exit code.
It may set `parser.settings = "module:ConfigDataclass"`, whose settings its `--help` then lists.

Exit codes: 0 done, 1 a command's own "no" or a fault of ours (with its traceback), 2 bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.metadata
import os
import pkgutil
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import gurgeh.commands

# What a person can put right: bad values, files and names, a missing extra, a loss that is no number.
EXPECTED = (ValueError, OSError, ImportError, FloatingPointError)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, suggestions, and the settings of a config class in its help."""

    settings: str | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        self.exit(2, f"gurgeh: error: {_one_line(message)} (see {self.prog} --help)\n")

    def format_help(self) -> str:
        """The usual help, then every setting of `settings`; only here is that class imported."""
        text = super().format_help()
        if self.settings is None:
            return text
        from gurgeh.settings import format_settings

        module, name = self.settings.split(":")
        width = max(40, shutil.get_terminal_size((110, 24)).columns - 2)
        return f"{text}\n{format_settings(getattr(importlib.import_module(module), name), width)}\n"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse's check of `choices`, with a suggestion."""
        choices = [str(choice) for choice in action.choices or ()]
        if action.choices is None or value in action.choices:
            return
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}"
        raise argparse.ArgumentError(action, f"unknown {str(value)!r}; {hint}")


def build_parser() -> Parser:
    """The whole command line, from the modules in gurgeh/commands."""
    parser = Parser(
        prog="gurgeh",
        description="One MuZero-style agent on a growing set of games, and a monitor of when transfer begins.",
        epilog="gurgeh COMMAND --help describes a command. --traceback (or GURGEH_TRACEBACK=1) shows where an error "
        "arose.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for found in sorted(pkgutil.iter_modules(gurgeh.commands.__path__), key=lambda module: module.name):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"gurgeh.commands.{found.name}")
        before = set(subparsers.choices)
        module.add_parser(subparsers)
        for name in set(subparsers.choices) - before:
            own = subparsers.choices[name]
            own.set_defaults(run_command=module.run, own_parser=own)
    return parser


def _refuse(parser: argparse.ArgumentParser, words: Sequence[str]) -> NoReturn:
    """Say that a command has no such arguments, and which option was perhaps meant."""
    options = [option for action in parser._actions for option in action.option_strings]
    near = [match for word in words if word.startswith("-") for match in difflib.get_close_matches(word, options, n=1)]
    parser.error(f"unrecognized arguments: {' '.join(words)}" + (f"; did you mean {near[0]}?" if near else ""))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # Before torch is imported. OpenMP's threads otherwise wait for one another in a busy loop: with two more busy
    # processes on two cores, training took 358 s instead of 45 (and the same without them).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in arguments or os.environ.get("GURGEH_TRACEBACK", "") not in ("", "0")
    try:
        parser = build_parser()
        args, rest = parser.parse_known_args([argument for argument in arguments if argument != "--traceback"])
        # argparse takes a list of words in one stretch only; settings may stand anywhere among the options.
        settings = [word for word in rest if "=" in word and not word.startswith("-") and "arguments" in args]
        if len(settings) < len(rest):
            _refuse(args.own_parser if args.command else parser, [word for word in rest if word not in settings])
        if settings:
            args.arguments = [*args.arguments, *settings]
        if args.version:
            print(f"gurgeh {importlib.metadata.version('gurgeh')}")
            return 0
        if args.command is None:
            parser.print_help(sys.stderr)
            return 2
        return int(args.run_command(args) or 0)
    except SystemExit as error:  # argparse has printed its line
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except KeyboardInterrupt:
        print("gurgeh: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `gurgeh games list | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EXPECTED as error:
        if show_traceback:
            traceback.print_exc()
        hint = "" if show_traceback or _is_ours(error.__traceback__) else " (--traceback shows where)"
        print(f"gurgeh: error: {_describe(error)}{hint}", file=sys.stderr)
        return 2


def _describe(error: BaseException) -> str:
    """The message of an error on one line; the system's own errors with the file they are about."""
    if isinstance(error, OSError) and error.strerror:
        about = f": {error.filename}" if error.filename is not None else ""
        return _one_line(f"{error.strerror}{about}")
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_ours(frame: TracebackType | None) -> bool:
    """Whether the error was raised by this program's own code, whose messages say what to do."""
    if frame is None:
        return True
    while frame.tb_next is not None:
        frame = frame.tb_next
    path = Path(frame.tb_frame.f_code.co_filename).resolve()
    root = Path(__file__).resolve().parents[1]
    return any(path.is_relative_to(root / package) for package in ("agents", "envs", "search", "monitor", "gurgeh"))


if __name__ == "__main__":
    sys.exit(main())
