"""Refusing what is not defined, with the reason and what would be needed. Shapes: N rows, D columns."""

from __future__ import annotations

import numpy as np


class UndefinedError(ValueError):
    """A measure has no meaning on what it was given; the text says why and what would be needed."""


def matrix(values: np.ndarray, name: str, rows: int, columns: int = 1) -> np.ndarray:
    """`values` as float64 [N, D]; UndefinedError unless it is finite with N >= rows and D >= columns."""
    found = np.asarray(values, np.float64)
    if found.ndim != 2:
        raise UndefinedError(f"{name} must be a matrix [rows, columns]; found the shape {found.shape}")
    _enough(found, name, rows)
    if found.shape[1] < columns:
        raise UndefinedError(f"{name} has {found.shape[1]} columns and at least {columns} are needed")
    return found


def vector(values: np.ndarray, name: str, rows: int) -> np.ndarray:
    """`values` as float64 [N]; UndefinedError unless it is finite with N >= rows."""
    found = np.asarray(values, np.float64)
    if found.ndim != 1:
        raise UndefinedError(f"{name} must be one number a row, [rows]; found the shape {found.shape}")
    _enough(found, name, rows)
    return found


def _enough(found: np.ndarray, name: str, rows: int) -> None:
    if len(found) < rows:
        raise UndefinedError(f"{name} has {len(found)} rows and at least {rows} are needed: measure more positions")
    bad = int((~np.isfinite(found)).sum())
    if bad:
        raise UndefinedError(
            f"{name} holds {bad} numbers that are NaN or infinite; leave those rows out, or look at why the network's "
            "outputs diverged"
        )


def same_columns(one: np.ndarray, other: np.ndarray, names: str) -> None:
    """UndefinedError unless both matrices have the same number of columns."""
    if one.shape[1] != other.shape[1]:
        raise UndefinedError(
            f"{names} have {one.shape[1]} and {other.shape[1]} columns; units are shared coordinates only within one "
            "network, so both must be read from the same layer of it"
        )
