"""How much memory a search needs, and the refusal of one that cannot fit."""

from __future__ import annotations

import os
from pathlib import Path

import torch

NODE_BYTES = 160  # of one node: 64 of links and statistics, 96 of blocks of visited children
_LOOK_FROM = 2**28  # a search below 256 MiB is not worth asking the system


def tree_bytes(batch: int, num_actions: int, num_players: int, num_simulations: int, embedding_bytes: int) -> int:
    """Bytes of the trees of one search: B (S + 1) (160 + 8 A + 12 P + E), E = embedding_bytes of one position.

    8 A: the child's index (int32) and the logit (float32) of every edge; 12 P: mean value, network value and reward.
    """
    return batch * (num_simulations + 1) * (NODE_BYTES + 8 * num_actions + 12 * num_players + embedding_bytes)


def check_memory(needed: int, batch: int, num_simulations: int, device: torch.device) -> None:
    """Raises ValueError if `needed` bytes are more than `device` has left."""
    if needed < _LOOK_FROM:
        return
    available = available_bytes(device)
    if available is not None and needed > available:
        raise ValueError(
            f"the search needs {needed / 2**30:.1f} GiB for its trees (batch {batch}, {num_simulations} simulations), "
            f"{device} has {available / 2**30:.1f} GiB left; lower the batch or the simulations, "
            "or store embeddings as torch.bfloat16 (embedding_dtype)"
        )


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on `device`; None where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "cpu":
        known = [amount for amount in (_machine_bytes(), _container_bytes()) if amount is not None]
        return min(known, default=None)
    return None


def _machine_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except OSError:  # not Linux: all of the memory, which at least refuses the absurd
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None


def _container_bytes() -> int | None:
    """What a container (cgroup v2) may still take. Its file cache counts as taken, so this errs on the safe side
    only by what could be reclaimed; that part is added back."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((folder / "memory.current").read_text())
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(limit) - used + int(fields.get("inactive_file", 0)) + int(fields.get("active_file", 0))
    except (OSError, ValueError):
        return None
