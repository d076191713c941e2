"""Scalars as categories: two-hot targets over symexp-spaced bins (Hafner et al. 2023, DreamerV3, section 3).

Bins lie at symexp(linspace(-limit, limit)), fine around zero and coarse far away, so one head serves games whose
returns differ by orders of magnitude. Two-hot weights are linear in the value itself, therefore the decoded mean is
unbiased.
"""

from __future__ import annotations

import torch
from torch import Tensor


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp|x| - 1), elementwise."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def contract(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, elementwise: the other usual way to bring returns of unlike
    sizes near each other (Pohlen et al. 2018, proposition A.2; MuZero uses it). `expand` undoes it."""
    size = torch.abs(x)
    # |x| / (sqrt(|x| + 1) + 1) is the same without the cancellation near 0.
    return x / (torch.sqrt(size + 1) + 1) + epsilon * x


def expand(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """The inverse of `contract`, elementwise; epsilon >= 0 as there."""
    size = torch.abs(x)
    # The published form, ((sqrt(1 + 4 e (|x| + 1 + e)) - 1) / (2 e)) ** 2 - 1, loses all digits near 0. With root the
    # square root in it, the base less 1 is |x| * slope, and base ** 2 - 1 = (base - 1) (base + 1).
    root = torch.sqrt(1 + 4 * epsilon * (size + 1 + epsilon))
    slope = (2 - 4 * epsilon / (root + 1 + 2 * epsilon)) / (root + 1)
    return x * slope * (2 + size * slope)


def bin_values(num_bins: int, limit: float) -> Tensor:
    """[num_bins] float32 increasing bin positions; num_bins odd so that one bin is exactly zero."""
    if num_bins < 3 or num_bins % 2 == 0:
        raise ValueError(f"network.value_bins must be odd and at least 3, found {num_bins}")
    half = symexp(torch.linspace(0.0, limit, num_bins // 2 + 1, dtype=torch.float64))
    return torch.cat([-half.flip(0), half[1:]]).float()


def two_hot(value: Tensor, bins: Tensor) -> Tensor:
    """[..., num_bins] weights over the two bins around each `value` [...]; values beyond the bins are clamped."""
    value = value.clamp(bins[0], bins[-1])
    upper = torch.searchsorted(bins, value.contiguous()).clamp(1, len(bins) - 1)
    low, high = bins[upper - 1], bins[upper]
    weight = ((value - low) / (high - low))[..., None]
    target = torch.zeros(*value.shape, len(bins), device=value.device)
    target.scatter_(-1, upper[..., None], weight)
    return target.scatter_(-1, upper[..., None] - 1, 1.0 - weight)


def decode(logits: Tensor, bins: Tensor) -> Tensor:
    """[...] the mean of the distribution over bins; logits [..., num_bins]."""
    # Not a matrix-vector product: its last bit would depend on how many rows there are.
    return (torch.softmax(logits, -1) * bins).sum(-1)
