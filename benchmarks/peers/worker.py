"""The loop of a worker: one process a side, in that side's own environment, told line by line what to do.

A worker reads one JSON object a line from stdin and answers each with one on stdout:

  {"do": "hello"}                                    -> versions and threads
  {"do": "row", "row": {...}, "policy": "gumbel" or "puct", "arrays": FILE.npz, "outputs": FILE.npz}
                                                     -> what each entrant did in its first call (`First`)
  {"do": "time", "entrant": NAME, "at_least": S}     -> {"seconds": a call}

FILE.npz of "arrays" holds weights and roots (gurgeh/bench_problem.py) and the bare network's actions;
into that of "outputs" the worker writes its network's answer at the roots, to be compared with the other sides'.
Standard library and numpy only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> Any:
    """A module of ours by its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


problem = load(ROOT / "gurgeh" / "bench_problem.py")
timing = load(ROOT / "gurgeh" / "timing.py")


@dataclass
class Entrant:
    """Something to be timed: a search, or the bare network."""

    run: Callable[[], object]
    """One whole search, with noise of its own each time, or S calls of the network; returns when it is done."""
    facts: Callable[[], dict[str, Any]] = dict
    """After `run`: what it did: evaluations, visits_agree, depth, calls (of the network, where they can be counted)."""
    compile_seconds: float = 0.0
    """Spent before the first call."""
    memory: Callable[[], int] | None = None
    """After `run`: peak bytes by the device's own count; None: the growth of this process's resident memory."""
    before: Callable[[], None] = field(default=lambda: None)
    """Called once before the first `run`, to reset that count."""


@dataclass
class Side:
    """One worker's program."""

    hello: Callable[[], dict[str, Any]]
    prepare: Callable[[Any, str, dict[str, np.ndarray]], dict[str, Entrant]]
    """(problem.Row, policy, arrays) -> entrants by name."""
    outputs: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
    """(arrays) -> embedding [B, D], logits [B, A], value [B], reward [B] at the roots behind the first actions."""


def restrict(threads: int) -> None:
    """Keeps this process to so many cores; before anything is imported that counts them."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def serve(side: Side) -> None:
    """Answers until stdin ends. Whatever a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    entrants: dict[str, Entrant] = {}
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = _answer(side, entrants, message)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(side: Side, entrants: dict[str, Entrant], message: dict[str, Any]) -> dict[str, Any]:
    if message["do"] == "hello":
        return side.hello()
    if message["do"] == "time":
        return {"seconds": timing.time_calls(entrants[message["entrant"]].run, message["at_least"])}
    if message["do"] == "row":
        entrants.clear()
        with np.load(message["arrays"]) as file:
            arrays = dict(file)
        outputs: dict[str, Any] = side.outputs(arrays)
        np.savez(message["outputs"], **outputs)
        start = time.perf_counter()
        entrants.update(side.prepare(problem.Row(**message["row"]), message["policy"], arrays))
        return {
            "prepare_seconds": time.perf_counter() - start,
            "first": {name: _first(entrant) for name, entrant in entrants.items()},
        }
    raise ValueError(f"unknown message {message['do']!r}")


def _first(entrant: Entrant) -> dict[str, Any]:
    """The first call of an entrant at this size: its time, its memory, what it did."""
    entrant.before()
    seconds, memory = timing.peak_growth(entrant.run)
    if entrant.memory is not None:
        memory = entrant.memory()
    return {"seconds": seconds, "memory": memory, "compile": entrant.compile_seconds, **entrant.facts()}
