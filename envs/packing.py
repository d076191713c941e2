"""Rows of tensors as short keys: equal keys mean equal rows, and a row can be had back from its key.

Shape legend: N rows, W 64-bit words of a key. A key is a numpy uint64 where a row fits into 64 bits, else a numpy void
of 8 W bytes; both sort and compare.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

WIDTHS = (2, 8, 32, 64)  # bits that are tried for an entry of a field of whole numbers
_CHUNK = 1 << 16


class TooNarrowError(Exception):
    """A number needs more bits than its field has; `field` says which."""

    def __init__(self, field: int):
        super().__init__(f"field {field} holds a number that needs more bits")
        self.field = field


class StatePacking:
    """States of one game, NamedTuples of tensors, as keys: a bool takes one bit, a whole number as few as will do."""

    def __init__(self, example: Any, bits: tuple[int, ...] | None = None):
        """example: N >= 1 states. bits: of each field's entries; without it the narrowest that a field may have."""
        self.type, self.shapes = type(example), tuple(part.shape[1:] for part in example)
        self.dtypes = tuple(part.dtype for part in example)
        self.bits = bits or tuple(_narrowest(dtype) for dtype in self.dtypes)
        self.num_bits = sum(math.prod(shape) * width for shape, width in zip(self.shapes, self.bits, strict=True))
        self.words = max(1, -(-self.num_bits // 64))

    def wider(self, field: int) -> StatePacking:
        """The packing with more bits for a field."""
        bits = list(self.bits)
        bits[field] = next(width for width in WIDTHS if width > bits[field])
        empty = self.type(*(torch.zeros(1, *shape, dtype=t) for shape, t in zip(self.shapes, self.dtypes, strict=True)))
        return StatePacking(empty, tuple(bits))

    def pack(self, state: Any) -> np.ndarray:
        """[N] keys of N states (CPU). TooNarrowError when a number does not fit its field."""
        parts = []
        for field, (part, width) in enumerate(zip(state, self.bits, strict=True)):
            flat = part.reshape(len(part), -1)
            if part.dtype is not torch.bool:
                flat = _as_integers(flat)
                if width < 64 and flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= 1 << width):
                    raise TooNarrowError(field)
                flat = ((flat[:, :, None] >> torch.arange(width)) & 1).bool().flatten(1)
            parts.append(flat)
        padding = torch.zeros(len(parts[0]), 64 * self.words - self.num_bits, dtype=torch.bool)
        return pack_bits(torch.cat([*parts, padding], 1).numpy())

    def unpack(self, keys: np.ndarray) -> Any:
        """The N states of [N] keys."""
        raw = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), -1)
        bits = torch.from_numpy(np.unpackbits(raw, axis=1, bitorder="little", count=self.num_bits))
        parts, at = [], 0
        for shape, dtype, width in zip(self.shapes, self.dtypes, self.bits, strict=True):
            size = math.prod(shape) * width
            part, at = bits[:, at : at + size], at + size
            if dtype is torch.bool:
                part = part.bool()
            else:
                part = (part.unflatten(1, (-1, width)).long() << torch.arange(width)).sum(2)
                part = part.to(dtype) if not dtype.is_floating_point else _as_floats(part, dtype)
            parts.append(part.reshape(len(keys), *shape).contiguous())
        return self.type(*parts)


def _narrowest(dtype: torch.dtype) -> int:
    return 1 if dtype is torch.bool else 64 if dtype.is_floating_point else WIDTHS[0]


def _as_integers(part: Tensor) -> Tensor:
    """int64 with one value for each value of `part`; floats by their bits."""
    return part.double().view(torch.int64) if part.dtype.is_floating_point else part.long()


def _as_floats(part: Tensor, dtype: torch.dtype) -> Tensor:
    return part.view(torch.float64).to(dtype)


class RowPacking:
    """Rows of one table of observations as keys: entries that are the same in all rows take no bits.

    Rows that are not in the table may be asked for; `pack` says which of them cannot be in it.
    """

    def __init__(self, table: Tensor):
        """table [M, *shape], M >= 1."""
        flat = table.reshape(len(table), -1)
        if flat.dtype.is_floating_point or bool((flat.amin() < 0).any()):
            self.low = self.high = self.live = None  # whole rows, as they stand
            return
        self.low, self.high = flat.amin(0), flat.amax(0)
        self.live = (self.low != self.high).nonzero()[:, 0]
        self.width = max(1, int(self.high.max()).bit_length())
        self.padding = -len(self.live) * self.width % 64 or (0 if len(self.live) else 64)

    def pack(self, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """rows [N, *shape] -> ([N] keys, [N] bool: whether each entry lies between the table's least and greatest)."""
        flat = rows.reshape(len(rows), -1)
        if self.low is None or self.high is None or self.live is None:
            raw = np.ascontiguousarray(flat.numpy()).view(np.uint8)
            return raw.view(np.dtype((np.void, raw.shape[1]))).ravel(), np.ones(len(rows), bool)
        keys, within = [], []
        for part in flat.split(_CHUNK):
            within.append(((part >= self.low) & (part <= self.high)).all(1).numpy())
            live = part[:, self.live]
            bits = live.bool() if self.width == 1 else (live[:, :, None].long() >> torch.arange(self.width)) & 1 != 0
            padding = torch.zeros(len(part), self.padding, dtype=torch.bool)
            keys.append(pack_bits(torch.cat([bits.flatten(1), padding], 1).numpy()))
        return np.concatenate(keys), np.concatenate(within)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """[N, 64 W] bool -> [N] keys."""
    num_bytes = bits.shape[1] // 8
    raw = np.packbits(np.ascontiguousarray(bits).reshape(-1), bitorder="little").reshape(len(bits), num_bytes)
    return raw.view(np.uint64 if num_bytes == 8 else np.dtype((np.void, num_bytes))).ravel()
