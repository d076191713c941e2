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
        for inner, flag in flags:
            if flag:  # setting a module's flag is slow, and what is measured often is in eval mode already
                inner.training = False
        with torch.no_grad():
            yield
    finally:
        for inner, flag in flags:
            if inner.training != flag:
                inner.training = flag
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


class Ablation:
    """Mean-ablation of groups of units in one pass: batches hold 1 + G copies of N rows, the first left as it is.

    `layers` are modules (activations) whose output is [rows, units], [rows, tokens, units] or [rows, units, H, W];
    units are numbered through all layers in their order, `widths` units each. Inside `running`, unit u of copy g + 1
    gives its mean over the rows (tokens, places) of the first copy, at every call of the layer, for all u in groups[g].
    `variance` [units] is that of the first copy at a layer's first call.
    """

    def __init__(self, layers: Sequence[nn.Module], widths: Sequence[int]):
        self.layers, self.widths = list(layers), list(widths)
        self.variance = np.full(sum(widths), np.nan)

    @contextlib.contextmanager
    def running(self, groups: Sequence[Sequence[int]]) -> Iterator[None]:
        """The hooks are there only inside."""
        self.variance[:] = np.nan
        handles, first = [], 0
        for layer, width in zip(self.layers, self.widths, strict=True):
            places = [(copy + 1, unit - first) for copy, group in enumerate(groups) for unit in group
                      if first <= unit < first + width]  # fmt: skip
            handles.append(layer.register_forward_hook(self._hook(first, width, len(groups), places)))
            first += width
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, first: int, width: int, groups: int, places: Sequence[tuple[int, int]]):
        copies = torch.tensor([copy for copy, _ in places], dtype=torch.int64)
        units = torch.tensor([unit for _, unit in places], dtype=torch.int64)

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            shown = output.unflatten(0, (1 + groups, -1))  # [1 + G, N, ...]
            if output.dim() == 3:
                shown = shown.movedim(3, 2)
            assert shown.shape[2] == width, f"a layer of {width} units put out {tuple(output.shape)}"
            flat = shown[0].transpose(0, 1).reshape(width, -1)
            if np.isnan(self.variance[first]):
                self.variance[first : first + width] = flat.var(1, correction=0).double().cpu().numpy()
            changed = shown.clone()
            mean = flat.mean(1)[units]
            changed[copies, :, units] = mean.view(-1, *[1] * (changed.dim() - 2))
            if output.dim() == 3:
                changed = changed.movedim(2, 3)
            return changed.flatten(0, 1)

        return hook


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
