"""Frozen validation sets: a game's fixed positions and the moves that follow them.

Self-play targets move, so that a rise of the training loss proves nothing; these never move. Shape legend: N
positions, K moves that follow, A actions, P players.

A solvable game's positions come from its solver, with every optimal move and the exact value; others come from
episodes of uniformly random legal moves and have no policy or value targets, for the returns of a weak policy are
no target. Both are stratified by phase, and so is every prefix: the nested subsets are `first(64)`, `first(256)`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from envs.game import Game, NativeGame
from envs.solver import Solution, solve
from gurgeh.random_positions import NUM_PHASES, random_positions, stratified_order
from gurgeh.rundir import write_text
from monitor.measures import undisturbed

SCHEMA = "gurgeh.frozen_set/1"
_PLAYOUTS = 8  # random games from a position that its moves to the end are the mean of


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenSet:
    """N positions of one game. Position k = 0 is the one shown; k = 1..K are those after each move."""

    observation: Tensor  # [N, *shape] of the spec's dtype, seen by the player to move
    legal: Tensor  # [N, A] bool
    to_play: Tensor  # [N, K + 1] int64: the seat to move; where position k does not exist, the last one repeated
    action: Tensor  # [N, K] int64: the moves played; 0 where none was
    reward: Tensor  # [N, K, P] float32, by seat, for each move; 0 where none was played
    continues: Tensor  # [N, K] bool: the game goes on after that move (by its rules: True where it was cut off)
    valid: Tensor  # [N, K] bool: that move was played; False once the game has ended or was cut off
    policy_mask: Tensor | None  # [N, K + 1, A] bool: all optimal moves; False where position k does not exist
    value: Tensor | None  # [N, K + 1, P] float32, by seat, undiscounted; 0 where position k does not exist
    phase: Tensor  # [N] int64: 0 opening, 1 middle, 2 end
    game: str
    version: int  # of the game
    targets: str  # where policy and value targets come from: "solver" or "none"
    seed: int
    hash: str = ""  # sha256 of all but this, in hex
    plies: Tensor | None = None  # [N] float32: moves to the end in random play; None in sets of version 0.1
    command: Tensor | None = None  # [N, K, T] int16: what each move said, in games whose commands vary
    point: Tensor | None = None  # [N, K, D] float32: the moves, in games with continuous actions; `action` is 0 there

    def __post_init__(self) -> None:
        if not self.hash:
            object.__setattr__(self, "hash", _hash(self))

    def __len__(self) -> int:
        return len(self.phase)

    def some(self, rows: slice | Tensor) -> FrozenSet:
        """Some positions, under the hash of the whole set."""
        tensors = {
            field.name: value[rows]
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **tensors)

    @property
    def exists(self) -> Tensor:
        """[N, K + 1] bool: position k is one in which somebody is to move."""
        return torch.cat([torch.ones_like(self.valid[:, :1]), self.valid & self.continues], 1)

    def first(self, size: int) -> FrozenSet:
        """The nested subset of the first `size` positions (all, if there are fewer); it has its own hash."""
        tensors: dict[str, Any] = {name: value[:size] for name, value in _tensors(self).items()}
        return dataclasses.replace(self, **tensors, hash="")


def build_frozen_set(handle: Game, size: int, unroll: int, seed: int) -> FrozenSet:
    """The frozen set of a game: at most `size` distinct positions, each followed by up to `unroll` random moves.

    Smaller where the game has (or random play shows) fewer positions. The same for the same game, size, unroll and
    seed; global random states are left as they were. Raises ValueError for a size or unroll below 1.
    """
    if size < 1 or unroll < 1:
        raise ValueError(f"a frozen validation set needs size and unroll of at least 1; found {size} and {unroll}")
    with undisturbed():
        if handle.spec.solvable and handle.native is not None:
            return _from_solver(handle, solve(handle.native), size, unroll, seed)
        fields = random_positions(handle, size, unroll, seed)
    spec = handle.spec
    return FrozenSet(
        **fields, policy_mask=None, value=None, game=spec.name, version=spec.version, targets="none", seed=seed
    )


def _from_solver(handle: Game, solution: Solution, size: int, unroll: int, seed: int) -> FrozenSet:
    """Solved positions and `unroll` random legal moves from each, with the solver's answer at each of them."""
    spec, rules = handle.spec, handle.native
    assert rules is not None, "a solvable game has native rules"
    generator = torch.Generator().manual_seed(seed)
    length = spec.max_length or int(solution.ply.max()) + 1
    phases = (solution.ply * NUM_PHASES // length).clamp(max=NUM_PHASES - 1)
    rows = stratified_order(phases, generator)[:size]
    state = type(solution.state)(*(part[rows] for part in solution.state))

    alive = torch.ones(len(rows), dtype=torch.bool)
    found, to_play = rows, solution.to_play[rows]
    steps: dict[str, list[Tensor]] = {name: [] for name in ("action", "reward", "continues", "valid")}
    targets = {"to_play": [to_play], "policy_mask": [], "value": []}
    for step in range(unroll + 1):
        targets["policy_mask"].append(solution.optimal[found] & alive[:, None])
        sign = torch.stack([1 - 2 * to_play, 2 * to_play - 1], 1)
        targets["value"].append(solution.value[found][:, None] * sign * alive[:, None])
        if step == unroll:
            break
        chance = torch.rand(len(rows), spec.num_actions, generator=generator)
        action = torch.where(solution.legal[found], chance, -1.0).argmax(1)
        played = rules.play(state, action)
        state = played.state
        steps["valid"].append(alive)
        steps["action"].append(torch.where(alive, action, 0))
        steps["reward"].append(played.reward * alive[:, None])
        alive = alive & ~played.terminated
        steps["continues"].append(alive)
        # Ended rows keep looking at some position, for shapes' sake; `alive` blanks whatever they show.
        found = torch.where(alive, solution.find(rules.observe(state)), found)
        assert bool((found >= 0).all()), f"{spec.name}: play reached a position that the solver does not have"
        to_play = torch.where(alive, rules.to_play(state), to_play)
        targets["to_play"].append(to_play)
    columns: dict[str, Any] = {name: torch.stack(parts, 1) for name, parts in (steps | targets).items()}
    return FrozenSet(
        observation=solution.observation[rows].clone(),
        legal=solution.legal[rows].clone(),
        phase=phases[rows],
        plies=_random_lengths(rules, type(solution.state)(*(part[rows] for part in solution.state)), length, generator),
        **columns,
        game=spec.name,
        version=spec.version,
        targets="solver",
        seed=seed,
    )


def _random_lengths(rules: NativeGame, state: Any, longest: int, generator: torch.Generator) -> Tensor:
    """[N] float32: how many random moves the game still takes from each position, the mean of `_PLAYOUTS` games."""
    count = len(state[0]) * _PLAYOUTS
    state = type(state)(*(part.repeat_interleave(_PLAYOUTS, 0) for part in state))
    alive, moves = torch.ones(count, dtype=torch.bool), torch.zeros(count)
    for _ in range(longest):
        legal = rules.legal(state)
        after = rules.play(state, torch.where(legal, torch.rand(legal.shape, generator=generator), -1.0).argmax(1))
        state = type(state)(  # games that have ended stay where they are
            *(torch.where(alive.view(-1, *[1] * (old.dim() - 1)), new, old) for new, old in zip(after.state, state))
        )
        moves += alive
        alive = alive & ~after.terminated
        if not bool(alive.any()):
            break
    return moves.view(-1, _PLAYOUTS).mean(1)


def save_frozen_set(frozen: FrozenSet, directory: Path) -> Path:
    """Write GAME.safetensors and GAME.json into `directory` (made if need be); the path of the JSON file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = frozen_path(directory, frozen.game)
    data, aside = path.with_suffix(".safetensors"), path.with_suffix(".new")
    save_file({name: value.contiguous() for name, value in _tensors(frozen).items()}, aside)
    os.replace(aside, data)
    # Last, and at once: where the description is, the whole set is, also after a kill.
    write_text(path, json.dumps({"schema": SCHEMA, "size": len(frozen), **_plain_fields(frozen)}, indent=1) + "\n")
    return path


def frozen_path(directory: Path, game: str) -> Path:
    """Where the frozen set of `game` is described: `directory`/NAME.json, with odd characters of the name replaced."""
    return directory / (re.sub(r"[^A-Za-z0-9_-]+", "_", game).strip("_") + ".json")


def load_frozen_set(path: Path) -> FrozenSet:
    """The set that `save_frozen_set` wrote, given its JSON file.

    Raises FileNotFoundError, or ValueError where the files cannot be read or do not have the hash written with them.
    """
    data = path.with_suffix(".safetensors")
    try:
        description = json.loads(path.read_text())
        if description.pop("schema", None) != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        size, written = description.pop("size"), description.pop("hash")
        tensors: dict[str, Any] = {"policy_mask": None, "value": None} | dict(load_file(data))
        frozen = FrozenSet(**tensors, **description)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{path}: not a frozen validation set: {error}") from error
    if frozen.hash != written or len(frozen) != size:
        raise ValueError(
            f"{data}: the frozen validation set has hash {frozen.hash[:12]} but {path.name} says {written[:12]}; "
            "the file was changed or damaged: restore it, since losses on another set cannot be compared"
        )
    return frozen


def _tensors(frozen: FrozenSet) -> dict[str, Tensor]:
    """The tensor fields that are there, by name."""
    fields = {field.name: getattr(frozen, field.name) for field in dataclasses.fields(frozen)}
    return {name: value for name, value in fields.items() if isinstance(value, Tensor)}


def _plain_fields(frozen: FrozenSet) -> dict[str, Any]:
    return {name: getattr(frozen, name) for name in ("game", "version", "targets", "seed", "hash")}


def _hash(frozen: FrozenSet) -> str:
    """sha256 in hex over what the set is of and each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(f"{frozen.game}|{frozen.version}|{frozen.targets}".encode())
    for name, value in sorted(_tensors(frozen).items()):
        digest.update(f"|{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
