"""Bounds of configuration values, checked in one way everywhere. NaN and infinity lie in none."""

from __future__ import annotations

import math
from typing import Any

_LARGEST = 1e15  # of any number: beyond it is a slip of the pen


def at_least(section: str, config: Any, **bounds: float) -> None:
    """ValueError for the first field of `config` that lies below its bound or is no finite number up to 1e15."""
    for name, bound in bounds.items():
        value = _number(section, name, config)
        if not value >= bound:
            raise ValueError(f"{section}.{name} must be at least {bound}, found {value}")


def at_most(section: str, config: Any, **bounds: float) -> None:
    """ValueError for the first field of `config` that lies above its bound or is no finite number."""
    for name, bound in bounds.items():
        value = _number(section, name, config)
        if not value <= bound:
            raise ValueError(f"{section}.{name} must be at most {bound}, found {value}")


def _number(section: str, name: str, config: Any) -> float:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{section}.{name} must be a finite number, found {value!r}")
    if abs(value) > _LARGEST:
        raise ValueError(f"{section}.{name} must be at most {_LARGEST:g}, found {value}")
    return value
