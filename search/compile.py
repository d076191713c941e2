"""How the numba kernels are compiled."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import extending
from numba.core import cgutils, sigutils, types
from numba.core.ccallback import CFunc

intrinsic: Any = extending.intrinsic
"""numba's decorator, without its type: a type checker takes the decorated function for one of the same arguments."""


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled on first use and cached on disk; where no folder can be written to, anew each process.

    numba keeps the cache beside the source, or, if that is read-only, in the user's cache folder, or where
    NUMBA_CACHE_DIR points. `nogil`: other threads of a self-play process run on. Division by zero gives inf, as in
    torch.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    _cache_on_disk(dispatcher)
    return dispatcher


def compiled_callback(function: Callable[..., Any], signature: Any) -> Any:
    """`function` as a C function (`.address`), compiled now, or loaded from the same cache as `compiled` keeps."""
    callback = CFunc(function, sigutils.normalize_signature(signature), {}, {"nopython": True, "error_model": "numpy"})
    _cache_on_disk(callback)
    callback.compile()
    return callback


def _cache_on_disk(function: Any) -> None:
    try:
        function.enable_caching()
    except (RuntimeError, AttributeError):  # "no locator available"; NUMBA_DISABLE_JIT
        return
    # numba looks at the function's own file only, but what it calls in other files is compiled into it: without this a
    # kernel would go on with yesterday's layout of what another file changed today.
    stored = function._cache._cache_file
    stored._source_stamp = (stored._source_stamp, _sources())


@functools.cache
def _sources() -> str:
    """A digest of the search's files with code for numba."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"from numba" in text or b"from search.compile" in text:
            digest.update(text)
    return digest.hexdigest()


@intrinsic
def pointer(_context: Any, address: Any) -> Any:
    """In a kernel: an integer address as a pointer, for `numba.carray`. `Tensor.data_ptr()` costs a tenth of
    `Tensor.numpy()`, and a kernel that is told the stride can read a strided tensor without a copy."""

    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), codegen
