"""How the numba kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled on first use and cached on disk; where no folder can be written to, anew each process.

    numba keeps the cache beside the source, or, if that is read-only, in the user's cache folder, or where
    NUMBA_CACHE_DIR points. `nogil`: other threads of a self-play process run on. Division by zero gives inf, as in
    torch.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(**options)(function)
