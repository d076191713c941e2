"""The run directory `runs/NAME/`: configuration, logs, checkpoints; safe against a kill at any moment.

    config.yaml              the resolved configuration
    versions.json            package versions that began the run
    metrics.jsonl ...        log streams, one JSON record a line, each with its schema and version
    checkpoints/step-*/      complete checkpoints (see gurgeh/checkpoint.py), the newest few
    snapshots/step-*/        the weights alone at earlier steps, in the same format: to play with, not to resume from
    lock                     held by the one process that writes

Whoever writes holds the lock; readers (`open`, `records`, `load_checkpoint`) need none.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gurgeh import checkpoint
from gurgeh.checkpoint import sync
from gurgeh.configure import dump_yaml, parse_yaml

CONFIG = "config.yaml"
VERSIONS = "versions.json"
PACKAGES = (
    "gurgeh", "torch", "numpy", "scipy", "numba", "gymnasium", "safetensors", "ale-py", "minatar", "pettingzoo",
    "open-spiel", "minigrid", "ray",
)  # fmt: skip


class RunDirectory:
    """One run on the disk. `path` is its folder, `config` the resolved configuration as plain values."""

    def __init__(self, path: Path):
        """Use `create` or `open`."""
        self.path = path
        self._streams: dict[str, IO[bytes]] = {}
        self._lock: IO[bytes] | None = None

    @classmethod
    def create(cls, path: str | Path, config: dict[str, Any]) -> RunDirectory:
        """A new run at `path`, locked. FileExistsError if anything is there already."""
        path = Path(path)
        taken = FileExistsError(
            f"{path} exists already and is not overwritten; continue it with --resume, or choose a new --name"
        )
        if os.path.lexists(path):
            raise taken
        fresh = path.parent / f".creating-{path.name}-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "checkpoints").mkdir(parents=True)
        try:
            write_text(fresh / CONFIG, dump_yaml(config))
            write_text(fresh / VERSIONS, json.dumps(versions(), indent=1) + "\n")
            sync(fresh)
            os.rename(fresh, path)  # fails if another process has made a run here meanwhile
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise (taken if path.exists() else error) from error
        sync(path.parent)
        run = cls(path)
        run.lock()
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The run at `path`, for reading; writing takes the lock. FileNotFoundError if there is no run."""
        path = Path(path)
        if not (path / CONFIG).is_file():
            what = "is not a run directory (it has no config.yaml)" if path.exists() else "does not exist"
            raise FileNotFoundError(f"{path} {what}; give the folder of a run, such as runs/NAME")
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as plain values; ValueError if config.yaml is damaged."""
        try:
            config = parse_yaml((self.path / CONFIG).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.path / CONFIG} cannot be read ({error})") from error
        if not isinstance(config, dict):
            raise ValueError(f"{self.path / CONFIG} must be a mapping, found {type(config).__name__}")
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace config.yaml as a whole (a game was added to a run that exists)."""
        self.lock()
        write_text(self.path / CONFIG, dump_yaml(config))

    # Writers

    def lock(self) -> None:
        """Become the one writer until `close` or the end of the process; ValueError if another one is."""
        if self._lock is not None:
            return
        handle = (self.path / "lock").open("a+b")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            owner = handle.read().decode(errors="replace").strip() or "unknown"
            handle.close()
            raise ValueError(
                f"{self.path} is being written by another process ({owner}); stop it first, or choose a new --name"
            ) from error
        handle.truncate(0)
        handle.write(f"process {os.getpid()}\n".encode())
        handle.flush()
        self._lock = handle
        for folder in (self._checkpoints, self._snapshots):
            for leftover in (*folder.glob(".writing-*"), *folder.glob(".removing-*")):
                shutil.rmtree(leftover)

    def close(self) -> None:
        """Close the streams and give the lock back."""
        for handle in self._streams.values():
            handle.close()
        self._streams.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Log streams

    def append(self, stream: str, record: dict[str, Any], version: int = 1) -> None:
        """Add one line to `<stream>.jsonl`, with `schema` "<stream>/<version>" unless the record has its own.

        Streams belong to the writer of the run and are cut back on resume; what another command records goes into
        files of its own. Numbers are real: NaN and infinity are a ValueError that names the field; leave the field
        out, or give None.
        """
        self.lock()
        full = {"schema": f"{stream}/{version}", **record}
        if not re.fullmatch(r"[a-z0-9_.]+/[0-9]+", str(full["schema"])):
            raise ValueError(f"the schema of a record must look like metrics/1, found {full['schema']!r}")
        try:
            line = json.dumps(full, allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=_plain)
        except ValueError as error:
            where = _not_finite(full, "")
            raise ValueError(
                f"{stream}: the field {where or 'somewhere'} cannot be recorded ({error}); leave it out or give None"
            ) from error
        self._stream(stream).write(line.encode() + b"\n")  # unbuffered: one write call a line

    def records(self, stream: str) -> Iterator[dict[str, Any]]:
        """The records of a stream in order; a last line that is still being written is left out."""
        path = self.path / f"{stream}.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: not a JSON record ({error})") from error

    def _stream(self, name: str) -> IO[bytes]:
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(f"a stream's name must be lower-case letters, digits and _, found {name!r}")
        if name not in self._streams:
            self._streams[name] = (self.path / f"{name}.jsonl").open("ab", buffering=0)
        return self._streams[name]

    # Checkpoints

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoints(self) -> list[Path]:
        """Folders of the complete checkpoints, oldest first.

        A folder gets its name `step-STEP` (or `step-STEP.N`, the N-th further one at that step) by a rename when it
        is complete and loses it by a rename before it is removed, so every such name is a whole checkpoint.
        """
        return _complete(self._checkpoints)

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None before the first one."""
        steps = [_position(path)[0] for path in self.checkpoints()]
        return steps[-1] if steps else None

    def save_checkpoint(self, step: int, state: dict[str, Any], keep: int = 2) -> Path:
        """Save `state` (see gurgeh/checkpoint.py) as the newest checkpoint; keep the `keep` newest steps.

        The logs are on the disk before it, and it is complete before an older one goes. ValueError if a newer step
        exists: `cut_back` to where the run continues first.
        """
        if step < 0 or keep < 1:
            raise ValueError(f"save_checkpoint needs step >= 0 and keep >= 1, found step={step}, keep={keep}")
        self.lock()
        existing = self.checkpoints()
        newest, number = _position(existing[-1]) if existing else (-1, 0)
        if step < newest:
            raise ValueError(f"{self.path} has a checkpoint of step {newest}, newer than {step}; cut it back first")
        for handle in self._streams.values():
            os.fsync(handle.fileno())
        sync(self.path)
        logs = {path.stem: path.stat().st_size for path in sorted(self.path.glob("*.jsonl"))}
        name = f"step-{step:09d}" + (f".{number + 1}" if step == newest else "")
        final = self._write(self._checkpoints / name, step, state, logs)
        steps = sorted({_position(path)[0] for path in (*existing, final)})[-keep:]
        self._remove([path for path in existing if _position(path)[0] not in steps or _position(path)[0] == step])
        return final

    def _write(self, final: Path, step: int, state: dict[str, Any], logs: dict[str, int]) -> Path:
        """Write a folder in the checkpoints' format aside, and give it its name when it is complete."""
        fresh = final.with_name(f".writing-{final.name}")
        fresh.mkdir()
        try:
            checkpoint.write(fresh, step, state, logs)
            os.rename(fresh, final)
        except BaseException:  # also Ctrl-C: leave nothing half-written behind
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        sync(final.parent)
        return final

    def load_checkpoint(self, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """(step, state) of the checkpoint at `step`, or of the newest one, after every hash was compared.

        FileNotFoundError if there is none; ValueError if it is damaged, naming the file and what to do. It never
        falls back by itself.
        """
        folder = self._find(step)
        try:
            manifest, state = checkpoint.read(folder)
        except ValueError as error:
            raise ValueError(f"{error}; {self._advice(folder)}") from error
        return manifest["step"], state

    def cut_back(self, step: int | None = None) -> int:
        """Return the logs to what they were at the checkpoint of `step` (default: newest); returns its step.

        Newer checkpoints are removed, lines written after it are cut off, streams that began after it are removed.
        Call it after `load_checkpoint` has shown that the checkpoint is whole, before the run continues. A log that
        has lost lines from before the checkpoint is a ValueError, and nothing is changed.
        """
        self.lock()
        folder = self._find(step)
        try:
            manifest = checkpoint.read_manifest(folder)
        except ValueError as error:
            raise ValueError(f"{error}; {self._advice(folder)}") from error
        for name, size in manifest["logs"].items():
            path = self.path / f"{name}.jsonl"
            found = path.stat().st_size if path.exists() else 0
            if found < size:
                raise ValueError(f"{path} has lost records: expected at least {size} bytes, found {found}; restore it")
        newer = [path for path in self.checkpoints() if _position(path) > _position(folder)]
        newer += [path for path in self.snapshots() if _position(path)[0] > manifest["step"]]
        self._remove(newer)
        for handle in self._streams.values():
            handle.close()
        self._streams.clear()
        for path in self.path.glob("*.jsonl"):
            if path.stem in manifest["logs"]:
                with path.open("r+b") as file:
                    file.truncate(manifest["logs"][path.stem])
                    os.fsync(file.fileno())
            else:
                path.unlink()
        sync(self.path)
        return manifest["step"]

    # Snapshots: what a player needs, of steps whose checkpoints have gone

    @property
    def _snapshots(self) -> Path:
        return self.path / "snapshots"

    def snapshots(self) -> list[Path]:
        """Folders of the complete snapshots, oldest first."""
        return _complete(self._snapshots)

    def save_snapshot(self, step: int, state: dict[str, Any]) -> Path:
        """Keep the weights of a checkpoint's `state` (`checkpoint.weights_of`) for good; an equal step is replaced.

        Save it before the checkpoint of the same step: after a kill between the two, `cut_back` removes it.
        """
        if step < 0:
            raise ValueError(f"save_snapshot needs step >= 0, found {step}")
        self.lock()
        self._snapshots.mkdir(exist_ok=True)
        final = self._snapshots / f"step-{step:09d}"
        if final.exists():
            self._remove([final])
        return self._write(final, step, checkpoint.weights_of(state), {})

    def steps(self) -> list[int]:
        """Steps whose weights are on the disk, in order: checkpoints and snapshots."""
        return sorted({_position(path)[0] for path in (*self.checkpoints(), *self.snapshots())})

    def load_weights(self, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """(step, state) to play with: of the checkpoint at `step` (None: the newest), or else of the snapshot.

        Of a snapshot, state is what `checkpoint.weights_of` leaves. FileNotFoundError if there is neither; ValueError
        if it is damaged.
        """
        kept = [path for path in self.snapshots() if _position(path)[0] == step]
        if not kept or any(_position(path)[0] == step for path in self.checkpoints()):
            if step is not None and step not in self.steps() and self.steps():
                steps = ", ".join(map(str, self.steps()))
                raise FileNotFoundError(f"{self.path} has no checkpoint of step {step}; it has {steps}")
            return self.load_checkpoint(step)
        manifest, state = checkpoint.read(kept[-1])
        return manifest["step"], state

    def _find(self, step: int | None) -> Path:
        """The newest checkpoint folder at `step`, or of all."""
        folders = self.checkpoints()
        if not folders:
            raise FileNotFoundError(f"{self.path} has no checkpoint yet; start it anew under a new --name")
        if step is None:
            return folders[-1]
        chosen = [path for path in folders if _position(path)[0] == step]
        if not chosen:
            steps = ", ".join(str(_position(path)[0]) for path in folders)
            raise FileNotFoundError(f"{self.path} has no checkpoint of step {step}; it has {steps}")
        return chosen[-1]

    def _advice(self, folder: Path) -> str:
        """What to do about a damaged checkpoint."""
        older = [_position(path)[0] for path in self.checkpoints() if _position(path) < _position(folder)]
        if older:
            return f"use the previous checkpoint: --checkpoint {older[-1]}"
        return "there is no earlier checkpoint: restore the file from a copy, or start anew under a new --name"

    def _remove(self, folders: list[Path]) -> None:
        """Remove whole checkpoints, newest first; each loses its name before its first file."""
        for folder in reversed(folders):
            doomed = folder.with_name(f".removing-{folder.name}")
            os.rename(folder, doomed)
            shutil.rmtree(doomed)


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that matter. Never the environment variables."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    return found


def write_text(path: Path, text: str) -> None:
    """Write a small file as a whole: aside, to the disk, renamed."""
    aside = path.with_name(f".writing-{path.name}")
    aside.write_text(text, encoding="utf-8")
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def _complete(folder: Path) -> list[Path]:
    """The folders of one step each that have their final name, oldest first."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+(\.\d+)?", path.name)]
    return sorted(found, key=_position)


def _position(folder: Path) -> tuple[int, int]:
    """(step, number) of a checkpoint folder's name."""
    step, _, number = folder.name.removeprefix("step-").partition(".")
    return int(step), int(number or 0)


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays as JSON values; tensors are refused, for reading one may wait for the GPU."""
    if type(value).__module__ == "numpy":
        return value.tolist()
    raise ValueError(f"found a {type(value).__name__}, expected a JSON value")


def _not_finite(value: Any, where: str) -> str | None:
    """The path of the first number that is NaN or infinite."""
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, entry in entries:
        found = _not_finite(entry, f"{where}.{key}" if where else str(key))
        if found:
            return found
    return None
