"""How the numba kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic


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


@intrinsic
def pointer(_context: Any, address: Any) -> Any:
    """In a kernel: an integer address as a pointer, for `numba.carray`. `Tensor.data_ptr()` costs a tenth of
    `Tensor.numpy()`, and a kernel that is told the stride can read a strided tensor without a copy."""

    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), codegen
