"""Runs the source of Triton kernels on numpy, some hundred times faster than Triton's own interpreter, and stricter:

- every access must lie inside its tensor;
- no program may read what it has written, nor write a place twice: threads of one program see each other's stores in
  no fixed order;
- what a program has read it may overwrite only behind a `tl.debug_barrier()`: another warp may still have to read it.

Only what the kernels of `search/triton_kernels.py` use is here.
"""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import torch


class Block(np.ndarray):
    """A numpy array (0-d: a scalar) with Triton's `to`."""

    def to(self, dtype):
        return self if dtype == "bf16" else self.astype(dtype)

    def __iadd__(self, other):  # names are bound anew in Triton; numpy would change the array
        return self + other

    def __isub__(self, other):
        return self - other


def _block(x, dtype=None) -> Block:
    return np.asarray(x, dtype).view(Block)


class Memory:
    """The whole storage of one tensor, and who has touched what during one launch."""

    def __init__(self, tensor: torch.Tensor) -> None:
        flat = tensor.new_empty(0).set_(tensor.untyped_storage())
        self.half = flat.dtype == torch.bfloat16
        self.data = (flat.view(torch.int16) if self.half else flat).numpy()
        self.read_in, self.written_by = np.zeros(flat.shape, np.int32), np.zeros(flat.shape, np.int32)


class Pointer:
    program, epoch, index = 0, 0, 0  # numbers of the running program, of the stretch between two barriers, of the tree

    def __init__(self, memory: Memory, offset) -> None:
        self.memory, self.offset = memory, offset  # offset: int, or a Block of them

    @property
    def dtype(self):
        return types.SimpleNamespace(element_ty="bf16" if self.memory.half else self.memory.data.dtype)

    def __add__(self, offset):
        return Pointer(self.memory, self.offset + (offset if np.ndim(offset) else int(offset)))

    def __sub__(self, offset):
        return self + -offset

    def places(self, mask):
        """The offsets where the mask is True, checked: [n] or, of a scalar, a slice of length 1 or 0."""
        if isinstance(self.offset, int):
            if mask is not None and not mask:
                return slice(0)
            low = high = self.offset
            touched = slice(low, low + 1)
        else:
            touched = np.asarray(self.offset if mask is None else self.offset[mask])
            if not touched.size:
                return touched
            low, high = touched.min(), touched.max()
        if low < 0 or high >= self.memory.data.size:
            raise IndexError(f"access at {low} .. {high} of {self.memory.data.size}")
        return touched


class Language:
    """`triton.language`."""

    int32, int64, float32, uint8 = np.int32, np.int64, np.float32, np.uint8
    exp, log, sqrt = np.exp, np.log, np.sqrt

    @staticmethod
    def constexpr(x):
        return x

    @staticmethod
    def program_id(_axis):
        return _block(Pointer.index, np.int32)

    @staticmethod
    def arange(low, high):
        return _block(np.arange(low, high, dtype=np.int32))

    @staticmethod
    def full(shape, value, dtype):
        return _block(np.full(shape, value, dtype))

    @staticmethod
    def zeros(shape, dtype):
        return _block(np.zeros(shape, dtype))

    @staticmethod
    def where(condition, x, y):
        if not isinstance(x, np.ndarray):
            x = np.asarray(x, np.asarray(y).dtype if isinstance(y, np.ndarray) else None)
        if not isinstance(y, np.ndarray):
            y = np.asarray(y, x.dtype)
        return _block(np.where(condition, x, y))

    maximum, minimum = staticmethod(np.maximum), staticmethod(np.minimum)

    @staticmethod
    def sum(x, axis):
        return _block(x.sum(axis=axis, dtype=x.dtype))

    @staticmethod
    def max(x, axis):
        return _block(np.fmax.reduce(np.asarray(x), axis=axis))

    @staticmethod
    def min(x, axis):
        return _block(np.fmin.reduce(np.asarray(x), axis=axis))

    @staticmethod
    def range(*arguments):
        return range(*(int(x) for x in arguments))

    static_range = range

    @staticmethod
    def associative_scan(inputs, _axis, combine):
        """As a GPU does it, doubling the stride: summation order matters as little here as there."""
        columns, stride = inputs, 1
        while stride < len(columns[0]):
            combined = combine(*(x[:-stride] for x in columns), *(x[stride:] for x in columns))
            columns = tuple(_block(np.concatenate([x[:stride], y])) for x, y in zip(columns, combined))
            stride *= 2
        return columns

    @staticmethod
    def debug_barrier():
        Pointer.epoch += 1

    @staticmethod
    def load(pointer, mask=None, other=0):
        touched, memory = pointer.places(mask), pointer.memory
        if (memory.written_by[touched] == Pointer.program).any():
            raise RuntimeError("a program reads what it has written")
        memory.read_in[touched] = Pointer.epoch
        found = memory.data[touched]
        if memory.half:
            found = (found.astype(np.uint32) << 16).view(np.float32)
        if isinstance(pointer.offset, int):
            return _block(found[0] if found.size else other, found.dtype)
        if mask is None:
            return _block(found)
        values = np.full(pointer.offset.shape, other, found.dtype)
        values[mask] = found
        return _block(values)

    @staticmethod
    def store(pointer, value, mask=None):
        touched, memory = pointer.places(mask), pointer.memory
        if (memory.read_in[touched] == Pointer.epoch).any():
            raise RuntimeError("a program overwrites, without a barrier, what it has read")
        twice = isinstance(touched, np.ndarray) and len(set(touched.tolist())) != touched.size
        if twice or (memory.written_by[touched] == Pointer.program).any():
            raise RuntimeError("a program writes one place twice")
        memory.written_by[touched] = Pointer.program
        if mask is not None and np.ndim(mask):
            value = np.broadcast_to(value, mask.shape)[mask]
        if memory.half:
            value = torch.as_tensor(np.asarray(value, np.float32)).bfloat16().view(torch.int16).numpy()
        memory.data[touched] = value


class Kernel:
    """`@triton.jit`: called from another kernel, or launched as `kernel[grid](...)`."""

    def __init__(self, function) -> None:
        self.function = function
        self.names = function.__code__.co_varnames[: function.__code__.co_argcount]

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __getitem__(self, grid):
        def launch(*arguments, num_warps, **named):
            values = dict(zip(self.names, arguments)) | named
            memories: dict[int, Memory] = {}
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    address = value.untyped_storage().data_ptr()
                    # Two types in one storage (bool as uint8) would need two views; no kernel has that.
                    memory = memories[address] = memories.get(address) or Memory(value)
                    values[name] = Pointer(memory, value.storage_offset())
                elif self.function.__annotations__.get(name) is Language.constexpr:
                    pass
                elif isinstance(value, float):
                    values[name] = _block(value, np.float32)
                else:
                    values[name] = _block(value, np.int32)
            with np.errstate(all="ignore"):
                for Pointer.index in range(grid[0]):
                    Pointer.program += 1
                    Pointer.epoch += 1
                    self.function(**values)

        return launch


def load_kernels(path: Path) -> types.SimpleNamespace:
    """The names of a file of Triton kernels, its kernels as above."""
    source = path.read_text().replace("import triton.language as tl", "").replace("import triton\n", "")

    def jit(function=None, **_options):
        return Kernel(function) if function is not None else Kernel

    names = {"triton": types.SimpleNamespace(jit=jit), "tl": Language, "range": Language.range}
    exec(compile(source, str(path), "exec", dont_inherit=True), names)
    return types.SimpleNamespace(**names)
