"""`warm_up`: compiles (or loads from the disk cache) every kernel of the CPU engine before time counts."""

from __future__ import annotations

import torch

from search.config import GumbelConfig, PUCTConfig
from search.layers import Layer
from search.mlp import MLP
from search.policies import gumbel_muzero, muzero
from search.tree import Root, Step


def warm_up() -> None:
    """Runs four tiny searches on the CPU, with a model in Python and with one in the kernels. Some 30 s of one core in
    a fresh install, about a second afterwards.

    Call it before forking workers or starting a clock; without it the first search pays.
    """
    zeros, seats = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    root = Root(zeros, zeros, zeros, torch.ones(1, 1, dtype=torch.bool), seats, seats)
    step = Step(zeros, zeros, torch.ones(1), zeros, zeros, seats)
    layer = Layer(zeros)
    for model in (lambda embedding, action: step, MLP([layer], [Layer(torch.zeros(3, 1))], zeros)):
        gumbel_muzero(root, model, 2, GumbelConfig())
        muzero(root, model, 2, PUCTConfig())
