"""One checkpoint: a folder of safetensors files, the plain values as JSON, and a manifest with every hash.

A state is a nested dict with string keys whose leaves are torch tensors or JSON values (None, bool, int, float,
str, lists of them). Nothing here is ever unpickled. Tuples come back as lists, tensors on the CPU.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = "gurgeh-checkpoint/1"
MANIFEST = "manifest.json"
STATE = "state.json"
_TENSOR, _FLOAT = "$tensor", "$float"  # markers in state.json: [file, tensor name] and a float that JSON lacks


def write(folder: Path, step: int, state: dict[str, Any], logs: dict[str, int]) -> None:
    """Write `state` into the existing empty `folder` and bring all of it to the disk.

    Tensors under the top-level key K go to K.safetensors, in their own layout and without a copy where they are
    contiguous CPU tensors that share no storage. `logs`: bytes of every log stream at this moment.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    plain = {}
    for key, value in state.items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_]+", key):
            raise ValueError(f"checkpoint: top-level key {key!r} must be letters, digits and _: it names a file")
        plain[key] = _encode(value, key, f"{key}.safetensors", (), tensors)
    for name, group in tensors.items():
        save_file(_unshared(group), folder / name)
    (folder / STATE).write_text(json.dumps(plain, allow_nan=False, separators=(",", ":")))
    for name in tensors:
        shutil.copymode(folder / STATE, folder / name)  # safetensors lets nobody else read its files
    files = {name: _measure(folder / name) for name in [*sorted(tensors), STATE]}
    manifest = {"format": FORMAT, "step": step, "files": files, "logs": logs}
    manifest["sha256"] = _digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for name in [*files, MANIFEST]:
        sync(folder / name)
    sync(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; ValueError if it is missing, damaged or of another format."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise ValueError(f"{path}: expected format {FORMAT}, found {found!r}; another version of Gurgeh wrote it")
    if _digest({key: value for key, value in manifest.items() if key != "sha256"}) != manifest.get("sha256"):
        raise ValueError(f"{path} is damaged: its contents do not match its own hash")
    return manifest


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(manifest, state) after every file's size and hash were compared; ValueError names the file that differs."""
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        found = _measure(path)
        for what in ("bytes", "sha256"):
            if found[what] != expected[what]:
                raise ValueError(f"{path} is damaged: expected {what} {expected[what]}, found {found[what]}")
    try:
        groups = {name: load_file(folder / name) for name in manifest["files"] if name != STATE}
    except SafetensorError as error:  # hashes match, so this is a file that another program replaced as a whole
        raise ValueError(f"{folder} cannot be read ({error})") from error
    return manifest, _decode(json.loads((folder / STATE).read_text()), groups)


def weights_of(state: dict[str, Any]) -> dict[str, Any]:
    """The part of a run's state that playing needs: the averaged weights, the games' names and the scales of value."""
    return {
        "learner": {"averaged": state["learner"]["averaged"]},
        "games": {
            name: {"made_from": game["made_from"], "version": game["version"]} for name, game in state["games"].items()
        },
        "scales": state["scales"],
    }


def sync(path: Path) -> None:
    """Bring a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(value: Any, where: str, file: str, names: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> Any:
    """`value` as JSON, its tensors put aside under `file` and their path inside the file."""
    if isinstance(value, Tensor):
        name = "/".join(names) or "value"
        group = tensors.setdefault(file, {})
        if name in group:
            raise ValueError(f"checkpoint: two tensors are called {name!r} in {file}; rename the key at {where}")
        group[name] = value
        return {_TENSOR: [file, name]}
    if isinstance(value, dict):
        encoded = {}
        for key, entry in value.items():
            if not isinstance(key, str) or key in (_TENSOR, _FLOAT):
                raise ValueError(f"checkpoint: the key {key!r} at {where} must be a string other than a marker")
            encoded[key] = _encode(entry, f"{where}.{key}", file, (*names, key), tensors)
        return encoded
    if isinstance(value, list | tuple):
        return [_encode(entry, f"{where}[{i}]", file, (*names, str(i)), tensors) for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"checkpoint: {where} is a {type(value).__name__}; give a torch tensor (torch.as_tensor) or a JSON value"
    )


def _decode(value: Any, groups: dict[str, dict[str, Tensor]]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(value, list):
        return [_decode(entry, groups) for entry in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        file, name = value[_TENSOR]
        return groups[file][name]
    if _FLOAT in value:
        return float(value[_FLOAT])
    return {key: _decode(entry, groups) for key, entry in value.items()}


def _unshared(group: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, no two of them in one storage (safetensors refuses those)."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in group.items():
        dense = tensor.detach().cpu().contiguous()
        pointer = dense.untyped_storage().data_ptr()
        separate[name] = dense.clone() if pointer in seen else dense
        seen.add(pointer)
    return separate


def _measure(path: Path) -> dict[str, Any]:
    """Byte size and sha256 of a file, read once."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def _digest(manifest: dict[str, Any]) -> str:
    """sha256 of a manifest without its own hash."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def optimizer_to_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state_dict with string keys, as a checkpoint wants it."""
    saved = optimizer.state_dict()
    return {
        "state": {str(index): values for index, values in saved["state"].items()},
        "param_groups": saved["param_groups"],
    }


def optimizer_from_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what `optimizer_to_state` gave; the parameter groups must be the same."""
    optimizer.load_state_dict(
        {
            "state": {int(index): values for index, values in state["state"].items()},
            "param_groups": state["param_groups"],
        }
    )
