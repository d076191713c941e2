"""The contract that every game must pass, and what to do where one does not.

`check(game)` plays random legal moves in a few copies, several times over, and looks at what came back. Each check
is a function `(Trial) -> iterator of Finding`, in envs/contract.py or envs/contract_boards.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from envs import contract, contract_boards
from envs.game import Game
from envs.trial import Finding, Skip, Trial, Unplayable

CHECKS: dict[str, Callable[[Trial], Iterator[Finding]]] = {
    "spec": contract.spec,
    "shapes and types": contract.shapes,
    "legal moves": contract_boards.masks,
    "commands": contract.commands,
    "box of actions": contract.box,
    "ends and length": contract.ends,
    "reward range and sum": contract.rewards,
    "reward goes to seats": contract_boards.reward_seats,
    "mine and theirs": contract_boards.board,
    "moves on the board": contract_boards.placements,
    "final observation": contract.final,
    "next episode": contract.next_episode,
    "determinism": contract.determinism,
    "independent copies": contract.copies,
    "save and restore": contract.restore,
    "symmetries": contract_boards.symmetries,
    "pure rules": contract.purity,
    "chance": contract.chance,
    "golden playthrough": contract.golden,
}


@dataclasses.dataclass(frozen=True)
class Result:
    """One check: passed when there are no findings and it was not skipped."""

    check: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None  # why it could not be done


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check` found out about one game."""

    game: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """No finding that breaks the contract."""
        return not any(finding.broken for _, finding in self.findings())

    def findings(self) -> list[tuple[str, Finding]]:
        """(check, finding) pairs."""
        return [(result.check, finding) for result in self.results for finding in result.findings]

    def require(self) -> None:
        """ValueError with the first finding when the game breaks the contract."""
        for name, finding in self.findings():
            if finding.broken:
                raise ValueError(f"{self.game} breaks the contract of games ({name}): {finding}")


def check(game: Game, num_copies: int = 4, num_moves: int = 200, seed: int = 0) -> Report:
    """Hold `game` to the contract by B = `num_copies` copies of `num_moves` random legal moves each."""
    trial = Trial(game, num_copies, num_moves, seed)
    results = []
    for name, examine in CHECKS.items():
        try:
            results.append(Result(name, tuple(examine(trial))))
        except Unplayable as stop:
            results.append(Result(name, (stop.finding,)))
            break  # the rest would only say it again
        except Skip as skip:
            results.append(Result(name, skipped=str(skip)))
    done = {result.check for result in results}
    left = tuple(Result(name, skipped="the game cannot be played so far") for name in CHECKS if name not in done)
    return Report(game.name, (*results, *left))
