"""Do two games use the same directions of a layer? Overlap of their principal subspaces, and the angles between them.

Rows need not be matched: the units of one layer are the coordinates that both games share. Shapes: N rows (positions),
D units, k directions. Everything is centred within its own game, so that a constant offset between games counts for
nothing.
"""

from __future__ import annotations

import numpy as np

from monitor.refusals import UndefinedError, matrix, same_columns

MIN_ROWS_PER_DIRECTION = 3  # below, the leading directions of a sample are mostly noise


def centred(rows: np.ndarray, directions: int, name: str) -> np.ndarray:
    """[N, D] less its mean. UndefinedError with too few rows or units for `directions`, or fewer directions that
    vary."""
    rows = matrix(rows, name, MIN_ROWS_PER_DIRECTION * directions, directions)
    rows = rows - rows.mean(0)
    rank = int(np.linalg.matrix_rank(rows)) if rows.any() else 0
    if rank < directions:
        raise UndefinedError(
            f"{name} vary in {rank} directions and {directions} are asked for: take fewer directions, or measure "
            "positions that differ more"
        )
    return rows


def leading_directions(rows: np.ndarray, directions: int) -> np.ndarray:
    """U [D, k], orthonormal: the k leading eigenvectors of the covariance of centred rows [N, D]."""
    return np.linalg.svd(rows, full_matrices=False)[2][:directions].T


def captured(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """[N] squared length of each row [D] inside the subspace spanned by the orthonormal basis [D, k]."""
    return ((rows @ basis) ** 2).sum(1)


def subspace_overlap(source: np.ndarray, target: np.ndarray, directions: int = 10) -> float:
    """Share of the most variance that k directions of the target can hold which the source's k directions do hold.

    ||X_B U_A||_F^2 / sum of the k largest eigenvalues of X_B' X_B, with U_A [D, k] the leading eigenvectors of the
    source's covariance: the alignment index of Elsayed et al. 2016, "Reorganization between preparatory and movement
    population responses in motor cortex". 1: the same subspace, but also any subspace of data that are equally wide in
    all directions; k / D for a random one if the target fills k directions only. It is not symmetric. source: X_A
    [N_A, D], target: X_B [N_B, D], centred here. Raises UndefinedError.
    """
    mine, theirs = centred(source, directions, "source rows"), centred(target, directions, "target rows")
    same_columns(mine, theirs, "source and target")
    own = captured(theirs, leading_directions(theirs, directions)).sum()
    return float(captured(theirs, leading_directions(mine, directions)).sum() / own)


def principal_angles(source: np.ndarray, target: np.ndarray, directions: int = 10) -> np.ndarray:
    """[k] radians, rising: the angles between the leading subspaces of X_A [N_A, D] and X_B [N_B, D].

    The arc cosines of the singular values of U_A' U_B (Bjorck and Golub 1973); they know nothing of how much variance
    lies in each direction. Raises UndefinedError.
    """
    mine, theirs = centred(source, directions, "source rows"), centred(target, directions, "target rows")
    same_columns(mine, theirs, "source and target")
    return angles_between(leading_directions(mine, directions), leading_directions(theirs, directions))


def angles_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[k] radians, rising, between the spans of two orthonormal bases [D, k]."""
    cosines = np.linalg.svd(one.T @ other, compute_uv=False)
    return np.arccos(np.clip(cosines, 0.0, 1.0))


def matched_directions(
    source: np.ndarray, target: np.ndarray, draws: int, directions: int, generator: np.random.Generator
) -> np.ndarray:
    """[draws, D, k] orthonormal bases drawn with the covariance that both games together have.

    The null of Elsayed et al. 2016: directions are not drawn evenly in all of the layer, but as likely as its variance
    has them, for a network that uses few directions makes any two subspaces overlap. source, target: centred rows;
    each game counts the same, whatever its variance. A row drawn as X' z has the covariance X' X.
    """
    pooled = np.concatenate([source / np.linalg.norm(source), target / np.linalg.norm(target)])
    drawn = generator.normal(size=(draws * directions, len(pooled))) @ pooled
    return np.linalg.qr(drawn.reshape(draws, directions, -1).transpose(0, 2, 1))[0]


def matched_overlaps(
    source: np.ndarray, target: np.ndarray, draws: int, directions: int, generator: np.random.Generator
) -> np.ndarray:
    """[draws] `subspace_overlap` of the target with subspaces drawn by `matched_directions`. Raises UndefinedError."""
    mine, theirs = centred(source, directions, "source rows"), centred(target, directions, "target rows")
    same_columns(mine, theirs, "source and target")
    own = captured(theirs, leading_directions(theirs, directions)).sum()
    drawn = matched_directions(mine, theirs, draws, directions, generator)
    return np.array([captured(theirs, basis).sum() for basis in drawn]) / own


class ChanceRotations:
    """What alignment of two games comes about by chance: the source's principal axes put in directions drawn with the
    covariance of both games.

    Unlike single drawn directions a rotation keeps what hangs together: all labels and both ways of reading move with
    it. Worked out in the leading axes of the pooled covariance, at most `axes` of them. Shapes: q axes, S draws.
    """

    def __init__(
        self, source: np.ndarray, target: np.ndarray, draws: int, generator: np.random.Generator, axes: int = 32
    ):
        """source [N_A, D], target [N_B, D]: centred rows."""
        rows = [source / np.linalg.norm(source), target / np.linalg.norm(target)]
        if source.shape[1] <= len(source) + len(target):
            power, basis = np.linalg.eigh(rows[0].T @ rows[0] + rows[1].T @ rows[1])
        else:
            both = np.concatenate(rows)
            power, left = np.linalg.eigh(both @ both.T)
            basis = both.T @ (left / np.sqrt(np.maximum(power, 1e-12 * power[-1])))
        count = min(axes, int((power > 1e-9 * power[-1]).sum()))
        self.basis, power = basis[:, ::-1][:, :count], power[::-1][:count]  # [D, q]
        self.source, self.target = source @ self.basis, target @ self.basis
        own = np.linalg.eigh(self.source.T @ self.source)[1][:, ::-1]  # the source's principal axes, the widest first
        drawn = generator.normal(size=(draws, count, count)) * np.sqrt(power)  # one direction a row
        self.drawn = np.linalg.qr(drawn.transpose(0, 2, 1))[0]  # [S, q, q]: one direction a column, the first as drawn
        self.turns = own @ self.drawn.transpose(0, 2, 1)  # [S, q, q]: x -> x @ turn

    def read_target(self, weights: np.ndarray) -> np.ndarray:
        """[S, N_B, m] what the source's probes [D, m] say of the target after each turn."""
        return self.target @ (self.turns.transpose(0, 2, 1) @ (self.basis.T @ weights))

    def read_source(self, weights: np.ndarray) -> np.ndarray:
        """[S, N_A, m] what the target's probes [D, m] say of the source after each turn."""
        return self.source @ (self.turns @ (self.basis.T @ weights))
