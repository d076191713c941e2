"""Does a step that helps one game help another? Agreement of gradients, and TAG's lookahead.

Shapes: P shared parameters (or a sample of them), M blocks of positions, N positions.
"""

from __future__ import annotations

import numpy as np

from monitor.refusals import UndefinedError, matrix, same_columns, vector

MIN_RELIABILITY = 0.1


def reliability(blocks: np.ndarray) -> float:
    """Which share of a gradient's squared length is not the noise of its sample: [M, P], one gradient a block.

    The mean inner product of different blocks over the squared length of their mean. For two blocks of equal length
    this is the split-half reliability 2 r / (1 + r) (Spearman 1910, Brown 1910), for more the mean over all splits.
    Raises UndefinedError for fewer than two blocks, NaN, or no gradient at all.
    """
    blocks = matrix(blocks, "gradients", 2)
    return reliability_of(blocks @ blocks.T)


def reliability_of(gram: np.ndarray) -> float:
    """`reliability` from the inner products [M, M] of the blocks."""
    count = len(gram)
    length = gram.mean()
    if not length > 0:
        raise UndefinedError("the gradient is zero: no loss here depends on the parameters measured")
    return float((gram.sum() - np.trace(gram)) / (count * (count - 1)) / length)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two gradients [P]. UndefinedError where one is zero."""
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    if not lengths > 0:
        raise UndefinedError(
            "a gradient is zero, and a direction is needed of both; no loss of that game is defined here"
        )
    return float(one @ other / lengths)


def gradient_agreement(blocks_a: np.ndarray, blocks_b: np.ndarray) -> float:
    """cos(g_A, g_B) / sqrt(rel_A rel_B): the cosine of two games' gradients, made up for the noise of both.

    blocks: [M, P], gradients of M disjoint blocks of a game's positions; g is their mean. The correction for
    attenuation: Spearman 1904. It may leave [-1, 1] by chance. Raises UndefinedError where a reliability is below 0.1:
    the gradient is then mostly noise, and more positions would be needed.
    """
    a, b = matrix(blocks_a, "gradients of A", 2), matrix(blocks_b, "gradients of B", 2)
    same_columns(a, b, "gradients of A and B")
    return agreement_of(a @ a.T, b @ b.T, a @ b.T)


def agreement_of(gram_a: np.ndarray, gram_b: np.ndarray, cross: np.ndarray) -> float:
    """`gradient_agreement` from inner products: within A [M, M], within B [M', M'], between them [M, M']."""
    reliabilities = reliability_of(gram_a), reliability_of(gram_b)
    for name, found in zip("AB", reliabilities):
        if found < MIN_RELIABILITY:
            raise UndefinedError(
                f"the gradient of {name} has reliability {found:.2f}, below {MIN_RELIABILITY}: it is mostly the noise "
                "of its positions; measure more of them"
            )
    corrected = gram_a.mean() * reliabilities[0] * gram_b.mean() * reliabilities[1]
    return float(cross.mean() / np.sqrt(corrected))


def agreement_error(gram_a: np.ndarray, gram_b: np.ndarray, cross: np.ndarray) -> float | None:
    """Standard error of `agreement_of` by leaving out one block of either game at a time (jackknife); None where a
    part of the sample is undefined, or a game has fewer than three blocks."""
    total = 0.0
    for side, count in ((0, len(gram_a)), (1, len(gram_b))):
        if count < 3:
            return None
        found = []
        for out in range(count):
            keep = np.delete(np.arange(count), out)
            a = gram_a[np.ix_(keep, keep)] if side == 0 else gram_a
            b = gram_b[np.ix_(keep, keep)] if side == 1 else gram_b
            between = cross[keep] if side == 0 else cross[:, keep]
            try:
                found.append(agreement_of(a, b, between))
            except UndefinedError:
                return None
        total += (count - 1) * float(np.var(found))
    return float(np.sqrt(total))


def tag(before: np.ndarray, after: np.ndarray) -> float:
    """Z_{A->B} = 1 - L_B(theta - eta grad L_A) / L_B(theta): the share of B's loss that a step for A takes away.

    before, after: [N] losses of B at the same positions, with the weights before and after A's step; NaN: no target.
    Fifty et al. 2021, "Efficiently identifying task groupings for multi-task learning", eq. 1. Raises UndefinedError
    where no position has a target or the loss is not positive.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.shape != after.shape or before.ndim != 1:
        raise UndefinedError(
            f"losses before and after are {before.shape} and {after.shape}; measure the same positions"
        )
    if not np.array_equal(np.isnan(before), np.isnan(after)):
        raise UndefinedError("losses before and after are known at different positions; measure the same positions")
    known = ~np.isnan(before)
    before, after = vector(before[known], "losses before", 2), vector(after[known], "losses after", 2)
    if not before.mean() > 0:
        raise UndefinedError(f"the loss before the step is {before.mean():.3g}; a share of it needs a loss above 0")
    return float(1 - after.mean() / before.mean())


def tags(before: np.ndarray, after: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[R] `tag` under R resamplings counts [R, N] of positions that all have targets."""
    return 1 - (counts @ after) / (counts @ before)
