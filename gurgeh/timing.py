"""How long a call takes and how much memory it touches. Standard library only: the workers of benchmarks/peers load
this file by its path, in environments where nothing of ours is installed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import time
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")


def time_calls(function: Callable[[], object], at_least: float) -> float:
    """Seconds a call, over as many calls as take `at_least` seconds together; a first call warms the caches again and
    counts only where it alone takes that long."""
    first = _seconds(function)
    if first >= at_least:
        return first
    calls = math.ceil(at_least / max(first, 1e-6))
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def peak_growth(function: Callable[[], object]) -> tuple[float, int | None]:
    """Seconds of one call, and by how many bytes the resident memory of this process grew at its highest.

    The heap is given back to the system first, so that memory kept from earlier calls counts again. Exact to some
    0.5 MiB; None where the system does not tell (it takes Linux).
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library: what the heap has kept stays resident
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
        before = _resident("VmRSS")
    except OSError:
        return _seconds(function), None
    return _seconds(function), max(0, _resident("VmHWM") - before)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _resident(field: str) -> int:
    """VmRSS (now) or VmHWM (the peak) of this process, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no field {field}")
