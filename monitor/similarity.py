"""Similarity of two representations of the *same* positions: debiased CKA and Procrustes.

Rows must be matched: row i of both is the same position, read by two networks, or by one network from a game and from
its isomorphic twin. For two games that share no positions both are undefined and refused; subspaces, probes, ablations
and gradients are defined there. Shapes: N rows, D and E units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.refusals import UndefinedError, matrix

MIN_ROWS = 20


def _paired(
    one: np.ndarray, other: np.ndarray, rows_one: Sequence | np.ndarray, rows_other: Sequence | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite matrices; UndefinedError unless their rows are the same things in the same order."""
    one, other = matrix(one, "first rows", MIN_ROWS), matrix(other, "second rows", MIN_ROWS)
    names = np.asarray(rows_one), np.asarray(rows_other)
    if names[0].shape != (len(one),) or names[1].shape != (len(other),):
        raise UndefinedError(
            f"{len(one)} and {len(other)} rows with {names[0].shape} and {names[1].shape} names: give one name a row, "
            "so that it is known which rows belong together"
        )
    if not np.array_equal(*names):
        raise UndefinedError(
            "the rows are not matched: CKA and Procrustes compare two representations of the same positions. For two "
            "games without common positions use subspace overlap, probes, ablations or gradients, or an isomorphic "
            "twin (twin:SEED:GAME), whose positions are pairs"
        )
    if len(np.unique(names[0])) < len(names[0]):
        raise UndefinedError(
            "a row's name appears twice, so its pair is not known; give every position a name of its own"
        )
    return one, other


def kernel(rows: np.ndarray) -> np.ndarray:
    """[N, N] linear kernel of rows [N, D] with its diagonal set to 0."""
    found = rows @ rows.T
    np.fill_diagonal(found, 0.0)
    return found


def unbiased_hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """HSIC_1 of two kernels [N, N] with zero diagonals, N >= 4; zero in expectation for independent rows.

    (tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K L1) / (n (n - 3)) (Song et al. 2012, eq. 5).
    """
    count, sums = len(k), (k.sum(0), l.sum(0))
    whole = np.vdot(k, l) + sums[0].sum() * sums[1].sum() / ((count - 1) * (count - 2))
    return float((whole - 2 / (count - 2) * (sums[0] @ sums[1])) / (count * (count - 3)))


def _kernels(one: np.ndarray, other: np.ndarray, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels of both in each batch of rows."""
    scales = [np.linalg.norm(rows - rows.mean(0)) for rows in (one, other)]
    if min(scales) == 0:
        raise UndefinedError("one representation is the same for all rows, so there is nothing to compare")
    # Centred and scaled first: the kernel needs neither, but large offsets would cost digits.
    one, other = (one - one.mean(0)) / scales[0], (other - other.mean(0)) / scales[1]
    batches = max(1, len(one) // batch)
    return [(kernel(one[start::batches]), kernel(other[start::batches])) for start in range(batches)]


def _cka(kernels: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The ratio of means over batches."""
    cross, mine, theirs = (
        np.mean([unbiased_hsic(pair[i], pair[j]) for pair in kernels]) for i, j in ((0, 1), (0, 0), (1, 1))
    )
    if not (mine > 0 and theirs > 0):
        raise UndefinedError("the rows vary too little for an unbiased estimate; measure more positions")
    return float(cross / np.sqrt(mine * theirs))


def debiased_cka(
    one: np.ndarray,
    other: np.ndarray,
    rows_one: Sequence | np.ndarray,
    rows_other: Sequence | np.ndarray,
    batch: int = 256,
) -> float:
    """Linear CKA with unbiased HSIC, each of the three averaged over batches of rows, the ratio last.

    HSIC_1(X, Y) / sqrt(HSIC_1(X, X) HSIC_1(Y, Y)): Kornblith et al. 2019, unbiased as in Nguyen et al. 2021, appendix
    A. one: [N, D], other: [N, E]; rows_one, rows_other: [N] names of the rows, which must be equal. 1 for the same
    representation up to rotation and scale, about 0 for independent ones (it may be below). It says nothing of what the
    representations are for, and leading directions dominate it (Davari et al. 2022). Raises UndefinedError for
    unmatched rows, fewer than 20, NaN, or rows that do not vary.
    """
    one, other = _paired(one, other, rows_one, rows_other)
    return _cka(_kernels(one, other, batch))


def permuted_cka(
    one: np.ndarray, other: np.ndarray, draws: int, generator: np.random.Generator, batch: int = 256
) -> np.ndarray:
    """[draws] `debiased_cka` with the second representation's rows permuted (within batches): the null of unrelated
    rows. Raises UndefinedError."""
    names = np.arange(len(one))
    kernels, found = _kernels(*_paired(one, other, names, names), batch), []
    scale = np.sqrt(np.prod([np.mean([unbiased_hsic(pair[i], pair[i]) for pair in kernels]) for i in (0, 1)]))
    for _ in range(draws):
        orders = [generator.permutation(len(k)) for k, _ in kernels]
        crossed = [unbiased_hsic(k, l[order][:, order]) for (k, l), order in zip(kernels, orders)]  # noqa: E741
        found.append(np.mean(crossed) / scale)
    return np.array(found)


def cka_error(one: np.ndarray, other: np.ndarray, groups: int = 10) -> float:
    """Standard error of `debiased_cka` over positions: a jackknife that leaves out one group of rows at a time."""
    names = np.arange(len(one))
    ((k, l),) = _kernels(*_paired(one, other, names, names), len(one))  # noqa: E741
    left = []
    for group in range(groups):
        kept = names[names % groups != group]
        left.append(_cka([(k[kept][:, kept], l[kept][:, kept])]))
    return float(np.sqrt((groups - 1) * np.var(left)))


def procrustes_similarity(
    one: np.ndarray, other: np.ndarray, rows_one: Sequence | np.ndarray, rows_other: Sequence | np.ndarray
) -> float:
    """||X' Y||_* / (||X||_F ||Y||_F) of centred rows: how well the best rotation brings one onto the other (Schonemann
    1966; Ding et al. 2021). 1: the same up to rotation and scale. Biased upwards when D is not small against N.
    one: [N, D], other: [N, E]. Raises UndefinedError as `debiased_cka`.
    """
    one, other = _paired(one, other, rows_one, rows_other)
    one, other = one - one.mean(0), other - other.mean(0)
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    if not lengths > 0:
        raise UndefinedError("one representation is the same for all rows, so there is nothing to compare")
    return float(np.linalg.svd(one.T @ other, compute_uv=False).sum() / lengths)
