"""Runs the source of Triton kernels on numpy: all programs in step, some hundred times faster than Triton's own
interpreter, and stricter.

- Every access must lie inside its tensor.
- No program may read what it or another program of the launch has written, nor write a place twice: threads see each
  other's stores in no fixed order.
- What a program has read it may overwrite only behind a `tl.debug_barrier()`: another warp may still have to read it.

A scalar is [programs, 1] here, a block [programs, size]. A `while` goes round as long as any program wants to, so in
a loop the kernels must leave what a finished program has found as it is. Only what the kernels of
`search/triton_kernels.py` use is here.
"""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import torch


class Block(np.ndarray):
    """A numpy array that behaves as Triton's tensors do."""

    def to(self, dtype):
        return self if dtype == "bf16" else self.astype(dtype)

    def __bool__(self):  # of a `while`
        return bool(np.asarray(self).any())

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
        self.read_in = np.full(flat.shape, -1)  # the stretch between two barriers in which it was read last
        self.writer = np.full(flat.shape, -1)  # number of the access that wrote it


class Pointer:
    """Places in one memory."""

    stretch = 0  # how many barriers there have been

    def __init__(self, memory: Memory, offset) -> None:
        self.memory, self.offset = memory, offset
        self.dtype = types.SimpleNamespace(element_ty="bf16" if memory.half else memory.data.dtype)

    def __add__(self, offset):
        return Pointer(self.memory, self.offset + offset)

    def __sub__(self, offset):
        return Pointer(self.memory, self.offset - offset)

    def places(self, mask):
        """(mask, or None where that is True, and the offsets [n] where it is), checked."""
        offset = np.asarray(self.offset)
        if mask is not None:
            shape = np.broadcast_shapes(offset.shape, np.shape(mask))
            offset, mask = np.broadcast_to(offset, shape), np.broadcast_to(np.asarray(mask), shape)
        touched = offset.ravel() if mask is None else offset[mask]
        if touched.size and (touched.min() < 0 or touched.max() >= self.memory.data.size):
            raise IndexError(f"access at {touched.min()} .. {touched.max()} of {self.memory.data.size}")
        return mask, touched


class Language:
    """`triton.language`."""

    int32, int64, float32 = np.int32, np.int64, np.float32
    exp, log, sqrt, maximum, minimum = np.exp, np.log, np.sqrt, np.maximum, np.minimum
    programs = 0

    @staticmethod
    def constexpr(x):
        return x

    @staticmethod
    def program_id(_axis):
        return _block(np.arange(Language.programs, dtype=np.int32)[:, None])

    @staticmethod
    def arange(low, high):
        return _block(np.arange(low, high, dtype=np.int32)[None])

    @staticmethod
    def full(shape, value, dtype):
        return _block(np.full((1, *shape), value, dtype))

    @staticmethod
    def zeros(shape, dtype):
        return _block(np.zeros((1, *shape), dtype))

    @staticmethod
    def where(condition, x, y):
        x = x if isinstance(x, np.ndarray) else np.asarray(x, y.dtype if isinstance(y, np.ndarray) else None)
        y = y if isinstance(y, np.ndarray) else np.asarray(y, x.dtype)
        return _block(np.where(condition, x, y))

    @staticmethod
    def sum(x, axis):
        return _block(x.sum(axis=axis + 1, dtype=x.dtype, keepdims=True))

    @staticmethod
    def max(x, axis):
        return _block(np.fmax.reduce(np.asarray(x), axis=axis + 1, keepdims=True))

    @staticmethod
    def min(x, axis):
        return _block(np.fmin.reduce(np.asarray(x), axis=axis + 1, keepdims=True))

    @staticmethod
    def range(*arguments):
        return range(*(int(np.max(x)) for x in arguments))

    static_range = range

    @staticmethod
    def associative_scan(inputs, _axis, combine):
        """With doubled strides, as a warp does it."""
        columns, stride = np.broadcast_arrays(*inputs), 1
        while stride < columns[0].shape[1]:
            combined = combine(*(x[:, :-stride] for x in columns), *(x[:, stride:] for x in columns))
            columns = [np.concatenate([x[:, :stride], y], axis=1) for x, y in zip(columns, combined)]
            stride *= 2
        return tuple(_block(x) for x in columns)

    @staticmethod
    def debug_barrier():
        Pointer.stretch += 1

    @staticmethod
    def load(pointer, mask=None, other=0):
        (mask, touched), memory = pointer.places(mask), pointer.memory
        if (memory.writer[touched] >= 0).any():
            raise RuntimeError("a program reads what has been written in this launch")
        memory.read_in[touched] = Pointer.stretch
        found = memory.data[touched]
        if memory.half:
            found = (found.astype(np.uint32) << 16).view(np.float32)
        if mask is None:
            return _block(found.reshape(np.shape(pointer.offset)))
        values = np.full(mask.shape, other, found.dtype)
        values[mask] = found
        return _block(values)

    @staticmethod
    def store(pointer, value, mask=None):
        (mask, touched), memory = pointer.places(mask), pointer.memory
        if (memory.read_in[touched] == Pointer.stretch).any():
            raise RuntimeError("a program overwrites, without a barrier, what it has read")
        if (memory.writer[touched] >= 0).any():
            raise RuntimeError("a place is written twice in one launch")
        accesses = np.arange(touched.size)
        memory.writer[touched] = accesses
        if (memory.writer[touched] != accesses).any():
            raise RuntimeError("a place is written twice at once")
        shape = np.shape(pointer.offset) if mask is None else mask.shape
        value = np.broadcast_to(np.asarray(value), shape)
        value = value.ravel() if mask is None else value[mask]
        if memory.half:
            value = torch.from_numpy(value.astype(np.float32)).bfloat16().view(torch.int16).numpy()
        memory.data[touched] = value


class Kernel:
    """`@triton.jit`: called from another kernel, or launched as `kernel[grid](...)`."""

    def __init__(self, function) -> None:
        self.function = function
        self.names = function.__code__.co_varnames[: function.__code__.co_argcount]

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __getitem__(self, grid):
        def launch(*arguments, **named):
            values = dict(zip(self.names, arguments))
            values |= {name: value for name, value in named.items() if name in self.names}  # the rest: how to compile
            memories: dict[int, Memory] = {}
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    address = value.untyped_storage().data_ptr()
                    if address not in memories:  # no kernel gets one storage as two types
                        memories[address] = Memory(value)
                    values[name] = Pointer(memories[address], _block([[value.storage_offset()]], np.int64))
                elif self.function.__annotations__.get(name) is Language.constexpr:
                    pass
                else:
                    values[name] = _block([[value]], np.float32 if isinstance(value, float) else np.int32)
            Language.programs = grid[0]
            Pointer.stretch += 1
            with np.errstate(all="ignore"):
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
