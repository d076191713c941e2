"""How a network is measured, and the guard that makes measuring change nothing.

The only file of the monitor that knows torch; what is computed from the arrays is in health.py. Shapes: N positions.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn


@contextlib.contextmanager
def undisturbed(*modules: nn.Module) -> Iterator[None]:
    """Measure inside: no gradients, eval mode, and afterwards modes and all global random states as they were.

    Each submodule's own train/eval flag is put back, for some may be frozen in eval while the rest trains. Random
    states are those of Python, numpy, torch and every CUDA device that has been used. Weights and buffers are safe
    because eval mode updates none and gradients are off; the monitor never calls an optimiser.
    """
    flags = [(inner, inner.training) for module in modules for inner in module.modules()]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for inner, flag in flags:
            inner.training = flag
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def unit_activity(activation: Tensor) -> np.ndarray:
    """[N, units] float32: the mean |activation| of each unit over whatever it is spread over.

    A unit is a column of [N, units], a feature of [N, tokens, units], a channel of [N, units, H, W].
    Raises ValueError for another number of dimensions.
    """
    magnitude = activation.detach().abs().float()
    if magnitude.dim() == 3:
        magnitude = magnitude.mean(1)
    elif magnitude.dim() == 4:
        magnitude = magnitude.mean((2, 3))
    elif magnitude.dim() != 2:
        raise ValueError(f"activations must be [N, units], [N, tokens, units] or [N, units, H, W]; found "
                         f"{tuple(activation.shape)}")  # fmt: skip
    return magnitude.cpu().numpy()


def collect_activations(
    module: nn.Module,
    forward: Callable[[], object],
    kinds: Sequence[type[nn.Module]] = (nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Mish, nn.Tanh),
) -> dict[str, np.ndarray]:
    """Layer name -> [N, units] activity of every submodule of the given kinds while `forward()` runs.

    A layer that runs more than once (an unrolled model) has its calls' rows one after another. Functional
    activations (torch.nn.functional.relu) are not modules and are not seen. The module is left `undisturbed`.
    """
    seen: dict[str, list[np.ndarray]] = {}

    def watch(name: str):
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen.setdefault(name, []).append(unit_activity(output))

        return hook

    handles = [
        inner.register_forward_hook(watch(name))
        for name, inner in module.named_modules()
        if isinstance(inner, tuple(kinds))
    ]
    try:
        with undisturbed(module):
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return {name: np.concatenate(parts) for name, parts in seen.items()}
