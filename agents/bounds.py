"""Bounds of configuration values, checked in one way everywhere."""

from __future__ import annotations

from typing import Any


def at_least(section: str, config: Any, **bounds: float) -> None:
    """ValueError for the first field of `config` that lies below its bound or is no number."""
    for name, bound in bounds.items():
        value = getattr(config, name)
        if not value >= bound:
            raise ValueError(f"{section}.{name} must be at least {bound}, found {value}")


def at_most(section: str, config: Any, **bounds: float) -> None:
    """ValueError for the first field of `config` that lies above its bound or is no number."""
    for name, bound in bounds.items():
        value = getattr(config, name)
        if not value <= bound:
            raise ValueError(f"{section}.{name} must be at most {bound}, found {value}")
