"""Solutions as files: safetensors with a hash, read back and held against the game's own rules. Nothing is unpickled.

A file has each position's state as a key of envs.packing, its value, its optimal moves and its ply; the rest of a
Solution follows from the states by the rules.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from envs.game import NativeGame
from envs.packing import StatePacking, TooNarrowError
from envs.solver import MAX_BYTES, Solution, assemble, take

SCHEMA = "solution/1"
NUM_CHECKED = 1000  # positions whose value is derived anew from the rules when a file is read


def write_solution(solution: Solution, path: Path) -> str:
    """Write a whole solution, aside and renamed; returns its sha256, which depends on the content alone."""
    packing = StatePacking(take(solution.state, torch.arange(1)))
    while True:
        try:
            keys = packing.pack(solution.state)
            break
        except TooNarrowError as error:
            packing = packing.wider(error.field)
    tensors = {
        "state": torch.from_numpy(keys.view(np.uint8).reshape(len(keys), -1).copy()),
        "value": solution.value,
        "optimal": torch.from_numpy(np.packbits(solution.optimal.numpy(), axis=1)),
        "ply": solution.ply.to(torch.int16),
    }
    meta = {
        "schema": SCHEMA, "game": solution.game, "version": solution.version, "bits": list(packing.bits),
        "num_reachable": solution.num_reachable,
    }  # fmt: skip
    found = _hash(meta, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    save_file(tensors, aside, {"solution": json.dumps(meta | {"hash": found})})
    os.replace(aside, path)
    return found


def read_solution(path: Path, game: NativeGame, max_bytes: int = MAX_BYTES) -> Solution:
    """The solution of `game` that `write_solution` wrote.

    FileNotFoundError, or ValueError where the file is no solution, is not this game's in this version, was changed, or
    contradicts the rules in any of 1,000 positions.
    """
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["solution"])
            tensors = {name: file.get_tensor(name) for name in ("state", "value", "optimal", "ply")}
        written = meta.pop("hash")
        known = (meta["schema"], meta["game"], meta["version"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a solution of a game: {error}") from error
    if known != (SCHEMA, game.spec.name, game.spec.version):
        raise ValueError(
            f"{path} is {known[0]} of {known[1]} version {known[2]}; needed is {SCHEMA} of {game.spec.name} version "
            f"{game.spec.version}: solve it anew"
        )
    if _hash(meta, tensors) != written:
        raise ValueError(f"{path}: its content does not have the hash written with it; it was damaged: solve it anew")
    packing = StatePacking(game.initial(torch.zeros(1, dtype=torch.int64)), tuple(meta["bits"]))
    raw = tensors["state"].numpy()
    keys = raw.view(np.uint64 if raw.shape[1] == 8 else np.dtype((np.void, raw.shape[1]))).ravel()
    solution = assemble(
        game, packing, keys, tensors["ply"].long(), tensors["value"], tensors["optimal"].numpy(), meta["num_reachable"],
        max_bytes,
    )  # fmt: skip
    if not _holds(game, solution):
        raise ValueError(f"{path}: its values contradict the rules of {game.spec.name} as they are now: solve it anew")
    return solution


def _hash(meta: dict, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _holds(game: NativeGame, solution: Solution) -> bool:
    """Whether value and optimal moves of a sample follow from the values of the next positions."""
    some = solution.sample(NUM_CHECKED)
    row, action = some.legal.nonzero(as_tuple=True)
    played = game.play(take(some.state, row), action)
    after = solution.find(game.observe(played.state))
    if bool(((after < 0) & ~played.terminated).any()):
        return False
    seat = some.to_play[row]
    same = torch.where(game.to_play(played.state) == seat, 1, -1)
    follow = torch.where(played.terminated, 0.0, solution.value[after] * same)
    q = torch.full(some.legal.shape, -torch.inf)
    q[row, action] = played.reward.gather(1, seat[:, None])[:, 0] + follow
    best = q.amax(1)
    return bool(torch.isclose(best, some.value).all()) and torch.equal(q >= best[:, None] - 1e-6, some.optimal)
