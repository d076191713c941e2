"""The noise of `noise.py` in numba, for the CPU: same seeds and streams, same numbers."""

from __future__ import annotations

import math

import numpy as np

from search.compile import compiled

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TINY = np.finfo(np.float32).tiny


@compiled
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@compiled
def _base(seed, stream):
    return _mix(_mix(np.uint64(seed) + _WEYL) ^ (_WEYL * np.uint64(stream + 1)))


@compiled
def _uniform(base, action):
    bits = _mix(base + np.uint64(action + 1) * _WEYL)
    return (np.float64(np.int64(bits >> np.uint64(12))) + 0.5) * 2.0**-52


@compiled
def gumbel_(seed, stream, out):
    """Fills out [B, A] float32 with Gumbel numbers from seed [B] int64."""
    for b in range(out.shape[0]):
        base = _base(seed[b], stream)
        for a in range(out.shape[1]):
            out[b, a] = -math.log(-math.log(_uniform(base, a)))


@compiled
def _log_gamma(seed, stream, action, alpha, tries):
    """The logarithm of a gamma variate of shape `alpha`."""
    d = alpha + 1 - 1 / 3
    c = 1 / math.sqrt(9 * d)
    log_cube = 0.0
    for attempt in range(tries):
        first = _uniform(_base(seed, stream + 1 + 3 * attempt), action)
        second = _uniform(_base(seed, stream + 2 + 3 * attempt), action)
        third = _uniform(_base(seed, stream + 3 + 3 * attempt), action)
        normal = math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
        cube = (1 + c * normal) ** 3
        if cube > 0 and math.log(third) < 0.5 * normal**2 + d - d * cube + d * math.log(cube):
            log_cube = math.log(cube)
            break
    return math.log(d) + log_cube + math.log(_uniform(_base(seed, stream), action)) / alpha


@compiled
def dirichlet_(seed, stream, legal, alpha, tries, out):
    """Fills out [B, A] float32 with Dirichlet numbers over legal [B, A], from seed [B] int64."""
    log_gamma = np.empty(out.shape[1])
    for b in range(out.shape[0]):
        top, total = -np.inf, 0.0
        for a in range(out.shape[1]):
            if legal[b, a]:
                log_gamma[a] = _log_gamma(seed[b], stream, a, alpha, tries)
                top = max(top, log_gamma[a])
        for a in range(out.shape[1]):
            if legal[b, a]:
                log_gamma[a] = math.exp(log_gamma[a] - top)
                total += log_gamma[a]
        for a in range(out.shape[1]):
            out[b, a] = log_gamma[a] / total if legal[b, a] else 0.0


@compiled
def mix_(logits, legal, drawn, fraction, masked, out):
    """Fills out [B, A]: log of the prior softmax(logits) mixed with `fraction` of drawn [B, A], `masked` elsewhere."""
    for b in range(out.shape[0]):
        top, total = -np.inf, 0.0
        for a in range(out.shape[1]):
            if legal[b, a]:
                top = max(top, logits[b, a])
        for a in range(out.shape[1]):
            if legal[b, a]:
                out[b, a] = math.exp(logits[b, a] - top)
                total += out[b, a]
        for a in range(out.shape[1]):
            if legal[b, a]:
                prior = out[b, a] / total
                out[b, a] = math.log(max(prior + fraction * (drawn[b, a] - prior), _TINY))
            else:
                out[b, a] = masked


@compiled
def draw_(shares, noise, temperature, action):
    """Fills action [B]: argmax of log(shares) / temperature + noise over the shares [B, A] above 0."""
    for b in range(action.shape[0]):
        best, best_score = 0, -np.inf
        for a in range(shares.shape[1]):
            if shares[b, a] > 0:
                score = math.log(shares[b, a]) / temperature + noise[b, a]
                if score > best_score:
                    best, best_score = a, score
        action[b] = best
