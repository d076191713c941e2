"""`warm_up`: compiles (or loads from the disk cache) every kernel of the CPU engine before time counts."""

from __future__ import annotations

import torch

from search.config import GumbelConfig, PUCTConfig
from search.policies import gumbel_muzero, muzero
from search.tree import Root, Step


def warm_up() -> None:
    """Runs two tiny searches on the CPU. Some 20 s of one core in a fresh install, well below a second afterwards.

    Call it before forking workers or starting a clock; without it the first search pays.
    """
    zeros, seats = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    root = Root(zeros, zeros, zeros, torch.ones(1, 1, dtype=torch.bool), seats, seats)
    step = Step(zeros, zeros, torch.ones(1), zeros, zeros, seats)
    gumbel_muzero(root, lambda embedding, action: step, 2, GumbelConfig())
    muzero(root, lambda embedding, action: step, 2, PUCTConfig())
