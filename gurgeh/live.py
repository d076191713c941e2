"""What a person sees while a run trains: a live table on a terminal, plain lines elsewhere.

Showing changes nothing: no thread, no random numbers, no tensors; the caller hands over plain numbers.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


@dataclasses.dataclass(frozen=True)
class GameRow:
    """One game, newest numbers; None is shown as a dash."""

    name: str
    introduced: int  # update at which it entered the run
    env_steps: int
    score: float | None = None
    score_name: str = "score"  # what the score is: "return", "wins against random" ...
    loss: float | None = None
    status: str = ""  # "learning", "settled" ...


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A moment of a run. Times in seconds, rates per second."""

    update: int
    total_updates: int
    elapsed: float
    remaining: float | None
    env_steps: int
    env_steps_rate: float | None
    update_rate: float | None
    games: tuple[GameRow, ...] = ()


class Progress:
    """Shows snapshots until its `with` block ends; the last one stays on the screen.

    title: the run's name. stream: where to (default: stdout). every: seconds between two plain lines; a terminal is
    redrawn at most four times a second. clock: seconds, for tests.
    """

    def __init__(
        self,
        title: str,
        stream: TextIO | None = None,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.title = title
        self._console = Console(file=stream or sys.stdout)
        self._interval = 0.25 if self._console.is_terminal else every
        self._clock = clock
        self._shown_at = -float("inf")
        self._live: Live | None = None
        self._last: Snapshot | None = None
        self._pending = False

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None and self._pending:
            self._show(self._last)
        if self._live is not None:
            self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Show a snapshot, unless the last one was shown a moment ago."""
        self._last, self._pending = snapshot, True
        if self.due():
            self._show(snapshot)

    def due(self) -> bool:
        """Whether the next `update` is shown; ask before gathering numbers that cost something."""
        return self._clock() - self._shown_at >= self._interval

    def say(self, message: str) -> None:
        """A line that stays: a game was added, a checkpoint was saved."""
        if self._live is not None:
            self._live.console.print(Text(message))
        else:
            self._line(message)

    def _show(self, snapshot: Snapshot) -> None:
        if self._live is not None:
            self._live.update(table(self.title, snapshot), refresh=True)
        else:
            self._line(line(snapshot))
        self._shown_at, self._pending = self._clock(), False

    def _line(self, text: str) -> None:
        self._console.file.write(text + "\n")
        self._console.file.flush()


def line(snapshot: Snapshot) -> str:
    """A snapshot as one line of `key=value` fields: aligned for the eye, split at white space by a script.

    Times are in seconds; a dash stands for a number that is not known yet; blanks in names become `_`.
    """
    width = len(str(snapshot.total_updates))
    fields = [
        f"update={snapshot.update}/{snapshot.total_updates}".ljust(8 + 2 * width),
        f"elapsed={snapshot.elapsed:.0f}".ljust(13),
        f"left={_number(snapshot.remaining, '.0f')}".ljust(10),
        f"env_steps={snapshot.env_steps}".ljust(19),
        f"env_steps/s={_number(snapshot.env_steps_rate, '.0f')}".ljust(18),
        f"updates/s={_number(snapshot.update_rate, '.1f')}".ljust(16),
    ]
    for game in snapshot.games:
        name, score_name = game.name.replace(" ", "_"), game.score_name.replace(" ", "_")
        fields.append(f"{name}.{score_name}={_short(game.score)}")
        fields.append(f"{name}.loss={_short(game.loss)}")
    return " ".join(fields).rstrip()


def table(title: str, snapshot: Snapshot) -> Group:
    """A snapshot as a table for a terminal."""
    share = snapshot.update / max(1, snapshot.total_updates)
    head = Table.grid(padding=(0, 2), expand=False)
    head.add_row(
        Text(title, style="bold"),
        f"update {snapshot.update:,} of {snapshot.total_updates:,} ({share:.0%})",
        ProgressBar(total=max(1, snapshot.total_updates), completed=snapshot.update, width=24),
        f"{clock_time(snapshot.elapsed)} gone, {clock_time(snapshot.remaining)} left",
    )
    speed = Text(
        f"{snapshot.env_steps:,} environment steps, {_number(snapshot.env_steps_rate, ',.0f')}/s; "
        f"{_number(snapshot.update_rate, ',.1f')} updates/s",
        style="dim",
    )
    games = Table("game", "since update", "steps", "score", "loss", "", header_style="bold", box=box.SIMPLE_HEAD)
    for column in games.columns[1:5]:
        column.justify = "right"
    for game in snapshot.games:
        games.add_row(
            Text(game.name),
            f"{game.introduced:,}",
            f"{game.env_steps:,}",
            Text(f"{_short(game.score)} {game.score_name}" if game.score is not None else "–"),
            _short(game.loss, "–"),
            Text(game.status),
        )
    return Group(head, speed, games)


def clock_time(seconds: float | None) -> str:
    """Seconds as `h:mm:ss`; a dash for None."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _number(value: float | None, form: str, unknown: str = "-") -> str:
    return unknown if value is None else format(value, form)


def _short(value: float | None, unknown: str = "-") -> str:
    """Three digits that count, whole numbers from 1,000 on."""
    return _number(value, ".0f" if value is not None and abs(value) >= 1000 else ".3g", unknown)
