"""`gurgeh games check`: what is printed of the contract, and recording games that must stay as they are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from envs import playthrough, registry
from envs.check import Report, check
from envs.game import Game

GOLDEN = "golden playthrough"  # the check that holds a game to what was recorded


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long a game is played."""

    copies: int
    moves: int
    seed: int

    def __post_init__(self) -> None:
        if self.copies < 1 or self.moves < 1:
            raise ValueError(f"--copies and --moves must be at least 1, found {self.copies} and {self.moves}")

    def check(self, game: Game) -> Report:
        """Hold a game to the contract."""
        return check(game, self.copies, self.moves, self.seed)


def check_one(console: Console, name: str, effort: Effort, record: bool) -> int:
    """A line for each check, and what is wrong; 2 where the contract is broken. record: write the recorded games where
    there are none, or those of another version, if nothing else is wrong."""
    game = registry.make(name)
    if record:
        _may_record(name, game)
    report = effort.check(game)
    path = playthrough.path_of(game)
    if record and not _recorded_version(path, game.spec.version) and not _broken_besides_golden(report):
        playthrough.write(game, path)
        console.print(f"recorded {path}", markup=False)
        report = effort.check(game)
    _print(console, report)
    broken = sum(finding.broken for _, finding in report.findings())
    if broken:
        console.print(f"[red]{escape(name)} breaks the contract: {broken} finding{'s' * (broken > 1)}[/red]")
        return 2
    console.print(f"[green]{escape(name)} keeps the contract[/green]")
    return 0


def check_all(console: Console, effort: Effort) -> int:
    """Every native game and plug-in, a line each; 2 where one breaks the contract."""
    broken = 0
    for origin, names, _ in registry.groups():
        for name in names if origin in ("native", "plug-ins") else ():
            try:
                report = effort.check(registry.make(name))
            except registry.MissingExtraError as error:
                console.print(f"[dim]–  {escape(name)}: {escape(str(error))}[/dim]")
                continue
            first = next((f"{check}: {finding}" for check, finding in report.findings() if finding.broken), None)
            broken += first is not None
            passed = sum(result.skipped is None and not result.findings for result in report.results)
            if first:
                console.print(f"[red]✗[/red]  {escape(name)}: {escape(first)}")
            else:
                console.print(f"[green]✓[/green]  {escape(name)}: {passed} of {len(report.results)} checks apply")
    if broken:
        console.print(f"[red]{broken} break{'s' * (broken == 1)} the contract[/red]")
    return 2 if broken else 0


def _print(console: Console, report: Report) -> None:
    for result in report.results:
        broken = any(finding.broken for finding in result.findings)
        if result.skipped is not None:
            console.print(f"[dim]–  {result.check}: {escape(result.skipped)}[/dim]")
        elif not result.findings:
            console.print(f"[green]✓[/green]  {result.check}")
        else:
            console.print(f"[red]✗[/red]  {result.check}" if broken else f"[yellow]?[/yellow]  {result.check}")
        for finding in result.findings:
            console.print(f"   {escape(str(finding))}")


def _may_record(name: str, game: Game) -> None:
    """ValueError for games whose recorded games have no place: those of packages."""
    path = playthrough.path_of(game)
    of_a_file = path.name.endswith(playthrough.SUFFIX)
    if not of_a_file and (game.native is None or registry.is_foreign(game.name)):
        raise ValueError(f"{name} is a package's: --record is for a file of yours")
    if not path.parent.is_dir():
        raise ValueError(f"{name} is a game of the installation: there is no {path.parent} to record it in")


def _broken_besides_golden(report: Report) -> bool:
    return any(finding.broken for check, finding in report.findings() if check != GOLDEN)


def _recorded_version(path: Path, version: int) -> bool:
    """Whether there are recorded games of this version."""
    try:
        return json.loads(path.read_text())["version"] == version
    except (OSError, ValueError, KeyError, TypeError):
        return False
