"""The health of a representation: effective rank, dormant units, latent norm. Shapes: N positions, D features."""

from __future__ import annotations

import numpy as np


def dormant_units(activity: np.ndarray, tau: float) -> np.ndarray:
    """[units] bool: dormant ones in the sense of Sokar et al. 2023, "The Dormant Neuron Phenomenon", eq. 1.

    Unit i is dormant if its mean |activation| over the positions is at most tau times the mean of that over the
    layer's units. activity: [N, units]. A layer that is silent altogether is dormant altogether.
    """
    scores = np.abs(np.asarray(activity, np.float64)).mean(0)
    return scores <= tau * scores.mean()


def dormant_ratio(layers: dict[str, np.ndarray], tau: float) -> tuple[float | None, dict[str, float]]:
    """Share of dormant units among all units of all layers, and the share in each layer; None without layers."""
    masks = {name: dormant_units(activity, tau) for name, activity in layers.items()}
    total = float(np.concatenate(list(masks.values())).mean()) if masks else None
    return total, {name: float(mask.mean()) for name, mask in masks.items()}


def effective_rank(matrix: np.ndarray) -> float:
    """exp of the entropy of the singular values, normalised to sum to one (Roy & Vetterli 2007).

    Of the matrix [N, D] as it is, not centred: where all latents fall together it goes to 1, whereas the rank of a
    centred matrix would then be that of its noise. Between 1 and min(N, D); 0 for a matrix of zeros.
    Raises ValueError for a matrix that is not two-dimensional or not finite.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"effective rank needs a finite matrix [N, D]; found the shape {matrix.shape}, finite: "
                         f"{bool(np.isfinite(matrix).all())}")  # fmt: skip
    # From the smaller Gram matrix, several times faster; what lies under its rounding error counts as nothing.
    matrix = matrix / max(np.abs(matrix).max(initial=0.0), np.finfo(np.float64).tiny)
    power = np.linalg.eigvalsh(matrix.T @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.T)
    least = 8 * len(power) * np.finfo(np.float64).eps * power[-1:].sum()
    singular = np.sqrt(np.where(power > least, power, 0.0))
    if singular.sum() == 0:
        return 0.0
    share = singular / singular.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def latent_norm(matrix: np.ndarray) -> float:
    """Mean Euclidean norm of the rows of [N, D]."""
    return float(np.linalg.norm(np.asarray(matrix, np.float64), axis=1).mean())
