"""Noise from a seed per row, by a counter-based hash: entry (row, action) depends on the row's seed and the action's
index only, not on the batch around the row and not on how many actions the batch is padded to.

On the CPU `noise_kernels` computes the same numbers without torch's cost a call; the torch form below serves every
other device and is what the kernels are tested against.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from search import noise_kernels

# SplitMix64 (Steele, Lea, Flood 2014), as signed 64-bit: torch's int64 product wraps as the unsigned one does.
_WEYL = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

GUMBEL, DIRICHLET, ACTION, SAMPLES = 1, 2, 3, 4  # streams: one a use, so that no two uses share numbers
_TRIES = 8  # of Marsaglia and Tsang's rejection; each is refused with probability below 0.05
_STREAMS_PER_USE = 64
_SAMPLES_AT_ONCE = 2**22


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own copies the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _wrap(x: int) -> int:
    """A Python integer as a signed 64-bit one."""
    return (x + 2**63) % 2**64 - 2**63


def uniform(seed: Tensor, num_actions: int, stream: int, first: int = 0) -> Tensor:
    """Uniform numbers strictly between 0 and 1, [B, num_actions] float64, from seed [B] int64: those of the actions
    from `first` on."""
    base = _mix(_mix(seed + _WEYL) ^ _wrap(_WEYL * (stream + 1)))
    counter = torch.arange(first + 1, first + num_actions + 1, device=seed.device) * _WEYL
    bits = _mix(base[:, None] + counter[None, :])
    # 52 bits and a half: the largest is then exactly representable below 1, so no logarithm sees 0 or 1.
    return (_shift_right(bits, 12).double() + 0.5) * 2.0**-52


def gumbel(seed: Tensor, num_actions: int, stream: int = GUMBEL) -> Tensor:
    """Standard Gumbel numbers, [B, num_actions] float32, from seed [B] int64."""
    stream *= _STREAMS_PER_USE
    if seed.device.type == "cpu":
        out = torch.empty(len(seed), num_actions)
        noise_kernels.gumbel_(seed.contiguous().numpy(), stream, out.numpy())
        return out
    return _gumbel(seed, num_actions, stream)


def dirichlet(seed: Tensor, legal: Tensor, alpha: float) -> Tensor:
    """Symmetric Dirichlet numbers over the legal actions of each row: [B, A] float32, 0 on the others, sums to 1.

    seed [B] int64, legal [B, A] bool with at least one True a row. Normalised gamma variates (Marsaglia and Tsang
    2000), in logarithms: at alpha = 0.03 the variates themselves would underflow.
    """
    stream = DIRICHLET * _STREAMS_PER_USE
    if seed.device.type == "cpu":
        out = torch.empty(legal.shape)
        arguments = (seed.contiguous().numpy(), stream, legal.contiguous().numpy(), alpha, _TRIES)
        noise_kernels.dirichlet_(*arguments, out.numpy())
        return out
    return _dirichlet(seed, legal, alpha, stream)


def samples(seed: Tensor, count: int) -> Tensor:
    """Uniform numbers strictly between 0 and 1, [B, count] float32, from seed [B] int64; entry i whatever the count."""
    out = torch.empty(len(seed), count, device=seed.device)
    width = max(1, _SAMPLES_AT_ONCE // max(1, len(seed)))  # the steps on the way take several times as much
    for first in range(0, count, width):
        columns = out[:, first : first + width]
        columns.copy_(uniform(seed, columns.shape[1], SAMPLES * _STREAMS_PER_USE, first))
    return out.clamp_max_(1 - 2.0**-24)  # rounded to float32 the largest would be 1


def mixed_logits(logits: Tensor, legal: Tensor, drawn: Tensor, fraction: float, masked: float) -> Tensor:
    """[B, A] float32: log of the prior softmax(logits) over the legal actions, mixed with `fraction` of drawn [B, A];
    `masked` on the others."""
    if logits.device.type == "cpu":
        # In numba also because torch's softmax and log wake its threads, which then spin beside the search.
        out = torch.empty(logits.shape)
        arrays = (x.detach().contiguous().numpy() for x in (logits, legal, drawn))
        noise_kernels.mix_(*arrays, fraction, masked, out.numpy())
        return out
    prior = torch.softmax(logits.masked_fill(~legal, masked), dim=1)
    mixed = torch.lerp(prior, drawn, fraction)
    return torch.log(mixed.clamp_min(torch.finfo(torch.float32).tiny)).masked_fill(~legal, masked)


def draw(shares: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """[B] int64: an action drawn in proportion to shares ** (1 / temperature), by the Gumbel-max trick; shares
    [B, A] >= 0, noise [B, A] Gumbel numbers."""
    if shares.device.type == "cpu":
        action = torch.empty(len(shares), dtype=torch.int64)
        noise_kernels.draw_(shares.contiguous().numpy(), noise.contiguous().numpy(), temperature, action.numpy())
        return action
    return (torch.log(shares) / temperature + noise).argmax(dim=1)


def _gumbel(seed: Tensor, num_actions: int, stream: int) -> Tensor:
    return -torch.log(-torch.log(uniform(seed, num_actions, stream))).float()


def _dirichlet(seed: Tensor, legal: Tensor, alpha: float, stream: int) -> Tensor:
    num_actions = legal.shape[1]
    d = alpha + 1 - 1 / 3  # sample at alpha + 1, then multiply by u ** (1 / alpha)
    c = 1 / math.sqrt(9 * d)
    log_gamma = torch.full(legal.shape, math.log(d), dtype=torch.float64, device=seed.device)
    pending = torch.ones_like(legal)
    for attempt in range(_TRIES):
        first, second, third = (uniform(seed, num_actions, stream + 1 + 3 * attempt + k) for k in range(3))
        normal = torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)
        cube = (1 + c * normal) ** 3
        log_cube = torch.log(cube.clamp_min(1e-300))
        accepted = (cube > 0) & (torch.log(third) < 0.5 * normal**2 + d - d * cube + d * log_cube)
        log_gamma = torch.where(pending & accepted, math.log(d) + log_cube, log_gamma)
        pending = pending & ~accepted
    log_gamma = log_gamma + torch.log(uniform(seed, num_actions, stream)) / alpha
    return torch.softmax(log_gamma.masked_fill(~legal, -torch.inf), dim=1).float()
