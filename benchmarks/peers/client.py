"""The environments of the peers, and the workers that run in them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VERSIONS = {"jax": "0.10.2", "mctx": "0.0.71", "lightzero": "0.2.0"}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class WorkerError(Exception):
    """A worker gave no answer: it died, took too long, or met an error."""


def default_environments() -> Path:
    """Where the peers' environments are unless told otherwise."""
    return Path.home() / ".cache" / "gurgeh-bench"


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment; ours runs in this one."""
    return Path(sys.executable) if peer == "ours" else folder / peer / "bin" / "python"


def set_up(peers: Sequence[str], folder: Path, device: str, pip_flags: Sequence[str]) -> None:
    """Makes an environment for each peer. LightZero's gets the torch of this one and none of LightZero's own
    requirements: only its compiled trees are used, which need nothing but Python."""
    import torch

    torch_version = str(torch.__version__)  # "2.13.0+cpu" is on no public index; its number is
    jax = f"jax[cuda12]=={VERSIONS['jax']}" if device == "cuda" else f"jax=={VERSIONS['jax']}"
    steps = {
        "mctx": [[jax, f"mctx=={VERSIONS['mctx']}"]],
        "lightzero": [
            [f"torch=={torch_version.partition('+')[0]}", "numpy"],
            ["--no-deps", f"LightZero=={VERSIONS['lightzero']}"],
        ],
    }
    for peer in peers:
        where = folder / peer
        print(f"{peer}: {where}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
        for packages in steps[peer]:
            command = [str(python_of(peer, folder)), "-m", "pip", "install", "--quiet", *pip_flags, *packages]
            subprocess.run(command, check=True)


class Worker:
    """A process that answers one message at a time. benchmarks/peers/worker.py has the messages."""

    def __init__(self, peer: str, python: Path, threads: int, device: str):
        self.peer = peer
        self._log = tempfile.NamedTemporaryFile("w+", suffix=f"-{peer}.log", delete=False)  # noqa: SIM115
        environment = {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [str(python), str(HERE / f"run_{peer}.py"), str(threads), device],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment, text=True, bufsize=1,
        )  # fmt: skip

    def send(self, message: dict[str, Any]) -> None:
        """Hands over a message; `receive` takes the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: `receive` says so
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def receive(self, timeout: float) -> dict[str, Any]:
        """The answer. Raises WorkerError, after `timeout` seconds too; the worker is then gone."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.close()
                raise WorkerError(f"no answer within {timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            last = [text for text in self._log.read().splitlines() if text.strip()]
            raise WorkerError(f"ended with exit code {code}: {last[-1].strip() if last else 'no message'}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        """`send` and `receive`."""
        self.send(message)
        return self.receive(timeout)

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        with contextlib.suppress(OSError):
            os.unlink(self._log.name)
