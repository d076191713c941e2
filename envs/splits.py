"""Held-out splits by family: which games a run may train on, and on which it says something of unseen games.

A split is a YAML file of envs/data/splits, or one of the user's:

    name: boards-connection      # of the file too
    version: 1                   # raised whenever the families change
    description: ...
    train: ["m,n,k", ...]        # families; a game of any other is on neither side
    held_out: ["connection"]

Sides are families, never single games: a game's isomorphic twins and its other sizes are on its own side. Scrambled
twins have a family of their own, `scrambled`, and are on neither.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from envs.game import GameSpec

FOLDER = Path(__file__).parent / "data" / "splits"
TRAIN, HELD_OUT = "train", "held_out"
_KEYS = {"name", "version", "description", TRAIN, HELD_OUT}


@dataclasses.dataclass(frozen=True)
class Split:
    """Families to train on and families held out."""

    name: str
    version: int
    description: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of the families, for records; the description does not count."""
        content = json.dumps([self.name, self.version, sorted(self.train), sorted(self.held_out)])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def side(self, spec: GameSpec) -> str | None:
        """`train`, `held_out`, or None for a game on neither side."""
        return TRAIN if spec.family in self.train else HELD_OUT if spec.family in self.held_out else None

    def check(self, trained: Iterable[GameSpec], held_out: Iterable[GameSpec] = ()) -> None:
        """ValueError for a game that would make the claim about unseen games false: trained on though it is not on the
        training side, or called unseen though it is not held out."""
        for specs, side, other in ((trained, TRAIN, "trained on"), (held_out, HELD_OUT, "called unseen")):
            for spec in specs:
                found = self.side(spec)
                if found != side:
                    where = f"on the {found.replace('_', '-')} side" if found else "on neither side"
                    raise ValueError(
                        f"{spec.name} (family {spec.family!r}) is {where} of the split {self.name} version "
                        f"{self.version}, so it cannot be {other}; `gurgeh games splits {self.name}` shows the sides"
                    )


def names() -> list[str]:
    """The splits that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Split:
    """The split called `name`, or that of a file `PATH.yaml`. ValueError saying what is wrong with it."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"unknown split {name!r}; there are {', '.join(names())}, or name a file PATH.yaml")
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    if not isinstance(found, dict) or set(found) != _KEYS:
        keys = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{path}: a split has the keys {', '.join(sorted(_KEYS))}; found {keys}")
    for side in (TRAIN, HELD_OUT):
        families = found[side]
        if not isinstance(families, list) or not families or not all(isinstance(family, str) for family in families):
            raise ValueError(f"{path}: {side} is {families!r}; write a list of one or more families")
        if len(set(families)) < len(families):
            raise ValueError(f"{path}: {side} names a family twice")
    both = sorted(set(found[TRAIN]) & set(found[HELD_OUT]))
    if both:
        raise ValueError(f"{path}: the family {both[0]!r} is on both sides")
    if not isinstance(found["version"], int) or found["version"] < 1:
        raise ValueError(f"{path}: version is {found['version']!r}; write a whole number from 1 on")
    if found["name"] != path.stem:
        raise ValueError(f"{path}: its name is {found['name']!r}; the file must be called {found['name']}.yaml")
    return Split(
        found["name"], found["version"], str(found["description"]), tuple(found[TRAIN]), tuple(found[HELD_OUT])
    )
