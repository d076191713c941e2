"""Episode records: what was played, seen and thought, enough to play every episode again exactly.

A file is JSON lines, gzip when its name ends in .gz: a header, one line an episode, and a footer with the number of
episodes and the sha256 of all lines before it, so that a damaged or cut-off file is noticed. Nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

SCHEMA = "episode/1"
STATISTICS = ("value", "policy", "prior", "visits")  # what a player thought, per move; may be missing


_JSON_TYPES = {"tuple": list, "list": list, "dict": dict, "int": int, "str": str, "bool": bool}
Kind = TypeVar("Kind")


class RecordError(ValueError):
    """A record that cannot be read, or that is not what happened."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What is the same for all episodes of a file."""

    game: str  # for `envs.registry.make`
    version: int  # of the game's spec
    players: tuple[str, ...]  # one name a player, as `Episode.seating` counts them
    seed: int  # the evaluation's; every episode has its own
    run: str | None = None  # the evaluated run's directory
    step: int | None = None  # of its checkpoint
    checkpoint: str | None = None  # sha256 of that checkpoint's manifest
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)  # simulations, greedy ...
    code: dict[str, str] = dataclasses.field(default_factory=dict)  # versions of gurgeh and what it stands on


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode of T moves with P seats. Values are per seat; probabilities are over all A actions."""

    index: int
    seed: int  # of the environment's episode
    seating: tuple[int, ...]  # [P]: which player sat where
    actions: list[Any]  # [T] ints; of D floats each where actions are continuous
    to_play: list[int]  # [T + 1]: the seat that sees each observation
    observations: list[str]  # [T + 1] fingerprints, the final observation included
    legal: list[str]  # [T] fingerprints of the masks
    rewards: list[list[float]]  # [T][P], exact
    outcome: list[float]  # [P]: sum of the rewards
    terminated: bool  # ended by the rules
    truncated: bool  # cut off by the game's own limit
    cut: bool = False  # still going: evaluation stopped it
    opening: int = 0  # how many of the first moves were given: no player chose them
    value: list[list[float] | None] = dataclasses.field(default_factory=list)  # [T][P], rounded
    policy: list[list[float] | None] = dataclasses.field(default_factory=list)  # [T][A], rounded, after search
    prior: list[list[float] | None] = dataclasses.field(default_factory=list)  # [T][A], rounded, the network's own
    visits: list[list[int] | None] = dataclasses.field(default_factory=list)  # [T][A]

    def __len__(self) -> int:
        return len(self.actions)


def fingerprint(array: np.ndarray) -> str:
    """16 hexadecimal digits of BLAKE2b over an array's type, shape and bytes."""
    digest = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_records(path: Path, header: Header, episodes: list[Episode]) -> Path:
    """Write a whole file at once or not at all, and return where it lies.

    An existing file is never overwritten: the same bytes stay as they are, others go to NAME-2, NAME-3 ...
    """
    first = {"schema": SCHEMA, **dataclasses.asdict(header)}
    body = b"".join(_line(line) for line in (first, *map(_plain, episodes)))
    footer = {"end": SCHEMA, "episodes": len(episodes), "sha256": hashlib.sha256(body).hexdigest()}
    content = body + _line(footer)
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=6, mtime=0)  # no time of writing: same episodes, same file
    return write_new(path, content)


def write_new(path: Path, content: bytes) -> Path:
    """Write `content` aside, then give it the first free name of `path`, NAME-2, NAME-3 ...; atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    stem, suffixes = path.name.partition(".")[::2]
    number, target = 1, path
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        while True:
            try:
                os.link(aside, target)  # unlike a rename, fails when the name is taken
                return target
            except FileExistsError:
                if target.read_bytes() == content:
                    return target
                number += 1
                target = path.with_name(f"{stem}-{number}" + (f".{suffixes}" if suffixes else ""))
    finally:
        aside.unlink(missing_ok=True)


def read_records(path: str | Path) -> tuple[Header, list[Episode]]:
    """The header and all episodes of a file, after its length and hash were checked.

    RecordError says what is damaged and where; FileNotFoundError when there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `gurgeh evaluate` prints where it saved its records")
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise RecordError(f"{path}: damaged or cut off: {error}") from error
    lines = raw.splitlines(keepends=True)
    first = _parse(path, 1, lines[0]) if lines else {}
    if first.get("schema") != SCHEMA:
        found = first.get("schema", "none")
        raise RecordError(f"{path}: not an episode record: expected schema {SCHEMA!r}, found {found!r}")
    last = _parse(path, len(lines), lines[-1])
    if last.get("end") != SCHEMA or last.get("episodes") != len(lines) - 2:
        raise RecordError(f"{path}: cut off: it has {len(lines)} lines and does not end with its footer")
    if hashlib.sha256(b"".join(lines[:-1])).hexdigest() != last.get("sha256"):
        raise RecordError(f"{path}: changed since it was written: its sha256 differs from the one in its footer")
    header = _build(Header, path, 1, {key: value for key, value in first.items() if key != "schema"})
    return header, [_episode(path, number, line) for number, line in enumerate(lines[1:-1], 2)]


def _episode(path: Path, number: int, line: bytes) -> Episode:
    """The episode on one line, its lists of the right lengths."""
    episode = _build(Episode, path, number, _parse(path, number, line))
    moves = len(episode)
    lengths = {"observations": moves + 1, "to_play": moves + 1, "legal": moves, "rewards": moves}
    lengths |= {name: moves for name in STATISTICS if getattr(episode, name)}
    for name, expected in lengths.items():
        found = len(getattr(episode, name))
        if found != expected:
            raise RecordError(f"{path}, line {number}: {moves} moves need {expected} entries of {name}, found {found}")
    if not 0 <= episode.opening <= moves:
        raise RecordError(f"{path}, line {number}: an opening of {episode.opening} moves in a game of {moves}")
    return episode


def _plain(episode: Episode) -> dict[str, Any]:
    """The fields of an episode, without lists that say nothing."""
    fields = {field.name: getattr(episode, field.name) for field in dataclasses.fields(episode)}
    for name in STATISTICS:
        if all(entry is None for entry in fields[name]):
            del fields[name]
    if not episode.opening:
        del fields["opening"]
    return fields


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise RecordError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}, line {number}: expected an object, found {type(content).__name__}")
    return content


def _build(kind: type[Kind], path: Path, number: int, content: dict[str, Any]) -> Kind:
    """A dataclass from a line, names and JSON types checked; tuples come back as tuples."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    required = {
        name for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }  # fmt: skip
    wrong = sorted((required - content.keys()) | (content.keys() - fields.keys()))
    if wrong:
        raise RecordError(f"{path}, line {number}: fields missing or unknown: {', '.join(wrong)}")
    built = {}
    for name, value in content.items():
        annotation = str(fields[name].type)  # a string, for annotations are postponed here
        expected = _JSON_TYPES[annotation.partition("[")[0].partition(" ")[0]]
        if type(value) is not expected and not (value is None and annotation.endswith("| None")):
            found = type(value).__name__
            raise RecordError(f"{path}, line {number}: {name} must be a {expected.__name__}, found a {found}")
        built[name] = tuple(value) if type(value) is list and annotation.startswith("tuple") else value
    return kind(**built)
