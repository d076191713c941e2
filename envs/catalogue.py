"""The catalogue: small solved games of the family `mnk`, no two of them the same.

    python -m envs.catalogue           solve every candidate anew and write envs/data/mnk_catalogue.json (minutes)

Each entry is a game by name, its size and its value: targets that cannot drift, and enough games to let their number
grow. What is in it:

  * not won at once: the side that can complete a row first cannot be forced to (or, with `misere`, be made to) with the
    fewest stones that a row takes, whatever the other does;
  * not trivial: at least 200 positions to move in, in a tenth or more of which some move loses value;
  * not the same as another: an entry's fingerprint counts its positions by ply, value, number of moves and number of
    optimal moves. Games that are one another's image under any renaming of cells have the same fingerprint, so
    different fingerprints prove that games differ, and of several games with one fingerprint the first is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.boards import stones
from envs.game import NativeGame, Playable
from envs.solver import Solution, solve

PATH = Path(__file__).parent / "data" / "mnk_catalogue.json"
SCHEMA = "catalogue/1"
MOST_BOARDS = 60_000  # see `stones.num_boards`: bounds the time to solve one game by some seconds
FEWEST_POSITIONS = 200
LEAST_MISTAKES = 0.1
SHAPES = ((3, 3), (4, 3), (5, 2), (5, 3), (6, 2), (7, 2), (4, 4), (5, 4), (6, 3), (3, 4), (3, 5), (4, 5))
BLOCKED = ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0))  # (cells, seed)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One game."""

    name: str
    positions: int  # to move in
    reachable: int  # ends included
    value: int  # for seat 0 under perfect play: 1, 0 or -1
    plies: int  # moves of the longest game
    mistakes: float  # share of the positions in which some move loses value, to three places
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The entries by size, and what they were made with."""

    game_version: int  # of every game in it
    hash: str  # sha256 of the entries
    entries: tuple[Entry, ...]


@functools.cache
def load(path: Path = PATH) -> Catalogue:
    """The catalogue that ships with the package. ValueError where the file is damaged or of another schema."""
    try:
        found = json.loads(path.read_text())
        entries = tuple(Entry(**entry) for entry in found["entries"])
        schema, version, written = found["schema"], found["game_version"], found["hash"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a catalogue of games: {error}") from error
    if schema != SCHEMA or _hash(entries) != written:
        wrong = (
            f"its schema is {schema!r}, not {SCHEMA!r}" if schema != SCHEMA else "its hash is not that of its entries"
        )
        raise ValueError(f"{path}: {wrong}; write it anew: python -m envs.catalogue")
    return Catalogue(version, written, entries)


def candidates() -> list[stones.Stones]:
    """Games that are small enough to be looked at, smallest first."""
    found = {}
    flags = list(itertools.product((False, True), repeat=4))
    for (width, height), row, (gravity, misere, wrap, two), (blocked, seed) in itertools.product(
        SHAPES, (2, 3, 4, 5), flags, BLOCKED
    ):
        if width < height and not gravity:
            continue  # the transposed board
        if row > max(width, height) or (row == 2 and not misere) or blocked > width * height // 3:
            continue
        settings = stones.Settings(width, height, row, gravity, misere, wrap, two, blocked, seed)
        try:
            game = stones.Stones(settings)
        except ValueError:  # no row fits
            continue
        size = stones.num_boards(settings, game.open)
        if size <= MOST_BOARDS:
            found[settings.name] = (size, game)
    order = sorted(found, key=lambda name: (found[name][0], len(name), name))
    return [found[name][1] for name in order]


def describe(game: stones.Stones, solution: Solution) -> Entry:
    """What the catalogue says of a solved game."""
    lost = (solution.legal & ~solution.optimal).any(1).double().mean()
    return Entry(
        name=game.spec.name,
        positions=len(solution),
        reachable=solution.num_reachable,
        value=int(solution.value[0]),
        plies=int(solution.ply.max()) + 1,
        mistakes=round(float(lost), 3),
        fingerprint=fingerprint(solution),
    )


def fingerprint(solution: Solution) -> str:
    """16 hexadecimal digits of the positions counted by (ply, value, moves, optimal moves)."""
    rows = torch.stack([solution.ply, solution.value.long(), solution.legal.sum(1), solution.optimal.sum(1)], 1)
    kinds, counts = np.unique(rows.numpy(), axis=0, return_counts=True)
    return hashlib.sha256(json.dumps([kinds.tolist(), counts.tolist()]).encode()).hexdigest()[:16]


class Limited:
    """A game of the family that ends drawn after some moves."""

    def __init__(self, game: stones.Stones, limit: int):
        self.game, self.limit, self.spec = game, limit, game.spec
        self.initial, self.legal, self.to_play, self.observe = game.initial, game.legal, game.to_play, game.observe

    def play(self, state: Any, action: Tensor) -> Playable:
        """The game's, over at the limit."""
        played = self.game.play(state, action)
        return played._replace(terminated=played.terminated | (played.state.stones.flatten(1).sum(1) >= self.limit))


def won_at_once(game: stones.Stones, value: int) -> bool:
    """Whether the first row that there can be decides the game, whatever the other side does."""
    if value == 0:
        return False
    completes = (0 if value > 0 else 1) ^ game.settings.misere
    limit = 0
    while True:
        limit += 1
        second = stones.second_seat(limit, game.settings.two)
        if (second if completes else limit - second) >= game.settings.row:
            return int(solve(as_native(Limited(game, limit))).value[0]) != 0


def as_native(game: Any) -> NativeGame:
    """The same object, for the type checker."""
    return game


def build(say: Any = print) -> tuple[Entry, ...]:
    """Solve every candidate and keep those that the catalogue is for."""
    entries: dict[str, Entry] = {}
    dropped = {"trivial": 0, "won at once": 0, "the same as another": 0}
    games, begin = candidates(), time.perf_counter()
    for number, game in enumerate(games):
        solution = solve(game)
        entry = describe(game, solution)
        if entry.positions < FEWEST_POSITIONS or entry.mistakes < LEAST_MISTAKES:
            dropped["trivial"] += 1
        elif entry.fingerprint in entries:
            dropped["the same as another"] += 1
        elif won_at_once(game, entry.value):
            dropped["won at once"] += 1
        else:
            entries[entry.fingerprint] = entry
        if number % 50 == 49 or number == len(games) - 1:
            say(f"{number + 1} of {len(games)}: {len(entries)} kept, {dropped}, {time.perf_counter() - begin:.0f} s")
    return tuple(sorted(entries.values(), key=lambda entry: (entry.positions, entry.name)))


def _hash(entries: tuple[Entry, ...]) -> str:
    return hashlib.sha256(json.dumps([dataclasses.asdict(entry) for entry in entries]).encode()).hexdigest()


def write(entries: tuple[Entry, ...], path: Path) -> None:
    """One entry a line."""
    head = {"schema": SCHEMA, "game_version": 1, "hash": _hash(entries)}
    lines = ",\n".join(json.dumps(dataclasses.asdict(entry)) for entry in entries)
    path.write_text(json.dumps(head)[:-1] + ', "entries": [\n' + lines + "\n]}\n")


def main() -> int:
    """Build and write."""
    parser = argparse.ArgumentParser(description="Solve the small games of the family mnk and list them.")
    parser.add_argument("--out", type=Path, default=PATH, help="where to write (default: where the package reads it)")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write(build(lambda line: print(line, flush=True)), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
