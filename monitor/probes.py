"""Does what a linear probe reads from one game's latents read another game? Cross-game probes.

Shapes: N rows (positions), D features, m labels. Conventions: features are centred within their own game and labels
brought to mean 0 and variance 1 within their own game, so a probe is a direction and not an offset or a unit.
"""

from __future__ import annotations

import numpy as np

from monitor.refusals import UndefinedError, matrix, same_columns, vector

MIN_ROWS = 20
RESOLVED = 1e-6  # singular values below this share of the largest are noise
PENALTIES = np.geomspace(1e-6, 1e2, 17)  # of the largest squared singular value


def standard_labels(labels: np.ndarray, name: str = "labels") -> np.ndarray:
    """[N] or [N, m] with mean 0 and variance 1 a column. UndefinedError for a label that does not vary."""
    found = np.asarray(labels, np.float64)
    found = vector(found, name, MIN_ROWS) if found.ndim == 1 else matrix(found, name, MIN_ROWS)
    spread = found.std(0)
    if (spread <= 1e-12 * (1 + np.abs(found).max())).any():
        raise UndefinedError(
            f"{name}: a label is the same for all positions, so there is nothing to probe; leave it out"
        )
    return (found - found.mean(0)) / spread


def thin_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left [N, r], singular values [r] falling, right [r, D]) of [N, D], r = min(N, D).

    From the smaller Gram matrix, twice as fast as from the matrix itself. Singular values below `RESOLVED` of the
    largest are lost in its rounding and given as 0, with left or right vectors of 0: far below what float32 latents
    resolve.
    """
    if matrix.shape[0] < matrix.shape[1]:
        left, singular, right = thin_svd(matrix.T)
        return right.T, singular, left.T
    power, vectors = np.linalg.eigh(matrix.T @ matrix)
    power, vectors = power[::-1], vectors[:, ::-1]
    kept = power > RESOLVED**2 * max(power[0], 0.0)
    singular = np.sqrt(np.where(kept, power, 0.0))
    left = matrix @ (vectors * np.where(kept, 1 / np.where(kept, singular, 1.0), 0.0))
    return left, singular, vectors.T


class Ridge:
    """Ridge regression on centred features [N, D] with the penalty of each label chosen by generalised
    cross-validation (Golub, Heath and Wahba 1979). The decomposition is made once for any number of labels."""

    def __init__(self, features: np.ndarray):
        """features: [N, D], centred by the caller. UndefinedError where they do not vary."""
        self._left, self._singular, self._right = thin_svd(features)
        if self._singular[0] <= 0:
            raise UndefinedError("the features are the same for all positions, so nothing can be read from them")
        power = self._singular**2
        self._shrink = power / (power + PENALTIES[:, None] * power[0])  # [penalties, r]
        # One more degree of freedom is spent on the mean.
        self._free = len(features) - 1 - self._shrink.sum(1)  # [penalties]

    @property
    def rank(self) -> int:
        """In how many directions the features vary."""
        return int((self._singular > RESOLVED * self._singular[0]).sum())

    def directions(self, count: int) -> np.ndarray:
        """[D, k] the leading eigenvectors of the features' covariance."""
        return self._right[:count].T

    def _chosen(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(coordinates of labels [N, m] in the left singular vectors [r, m], the shrinkage chosen for each [r, m])."""
        part = self._left.T @ labels
        rest = (labels**2).sum(0) - (part**2).sum(0)
        residual = rest + ((1 - self._shrink) ** 2) @ part**2  # [penalties, m]
        best = np.argmin(residual / np.maximum(self._free, 1e-9)[:, None] ** 2, 0)
        return part, self._shrink[best].T

    def weights(self, labels: np.ndarray) -> np.ndarray:
        """[D, m] for labels [N, m] of mean 0."""
        part, shrink = self._chosen(labels)
        kept = self._singular > RESOLVED * self._singular[0]
        inverse = np.where(kept, 1 / np.where(kept, self._singular, 1.0), 0.0)
        return self._right.T @ (inverse[:, None] * shrink * part)

    def left_out_errors(self, labels: np.ndarray) -> np.ndarray:
        """[N, m] squared error at each row of the probe fitted without it, labels [N, m] of mean 0, in closed form.

        The penalty is chosen once, on all rows; each fit has a mean of its own (Allen 1974, PRESS).
        """
        part, shrink = self._chosen(labels)
        error = labels - self._left @ (shrink * part)
        leverage = 1 / len(labels) + self._left**2 @ shrink
        return (error / np.maximum(1 - leverage, 1e-9)) ** 2


def r_squared(squared_errors: np.ndarray, labels: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """1 - sum of squared errors / sum of squares about the mean; counts [R, N] give it for R resamplings.

    squared_errors: [N, ...], labels: [N, ...] of the same trailing shape (or one that broadcasts). Returns [...] or
    [R, ...].
    """
    weights = np.ones((1, len(labels))) if counts is None else counts
    total = np.tensordot(weights, labels**2, 1) - np.tensordot(weights, labels, 1) ** 2 / weights.sum(1).reshape(
        -1, *[1] * (labels.ndim - 1)
    )
    found = 1 - np.tensordot(weights, squared_errors, 1) / total
    return found[0] if counts is None else found


def _prepare(features: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    features = matrix(features, f"{name} features", MIN_ROWS)
    labels = standard_labels(labels, f"{name} labels")
    if len(features) != len(labels):
        raise UndefinedError(f"{name}: {len(features)} rows of features and {len(labels)} labels; give one a position")
    return features - features.mean(0), labels.reshape(len(labels), -1)


def probe_within(features: np.ndarray, labels: np.ndarray) -> float:
    """R2 B->B of features [N, D] on labels [N]: each row read by a probe fitted on all others. Raises
    UndefinedError."""
    rows, targets = _prepare(features, labels, "target")
    return float(r_squared(Ridge(rows).left_out_errors(targets), targets)[0])


def probe_across(source: np.ndarray, source_labels: np.ndarray, target: np.ndarray, target_labels: np.ndarray) -> float:
    """R2 A->B: a ridge probe fitted on game A's features [N_A, D] and labels [N_A], applied as it is to game B.

    Below 0 where the probe says less than B's own mean. Linear probes: Alain and Bengio 2016. Raises UndefinedError.
    """
    mine, said = _prepare(source, source_labels, "source")
    theirs, wanted = _prepare(target, target_labels, "target")
    same_columns(mine, theirs, "source and target features")
    return float(r_squared((wanted - theirs @ Ridge(mine).weights(said)) ** 2, wanted)[0])


def probe_transfer(across: float, within: float, null: float) -> float:
    """(R2 A->B - null) / (R2 B->B - null): 1 where A's probe reads B as well as B's own does.

    UndefinedError where B's own probe is no better than the null: the latents then hold nothing to be shared.
    """
    if not within > null:
        raise UndefinedError(
            f"the game's own probe reads R2 = {within:.3g}, no more than the null's {null:.3g}; train longer, or probe "
            "a label that the latents hold"
        )
    return (across - null) / (within - null)


def chance_r_squared(spread: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """R2 of a probe whose predictions have standard deviation `spread` (of a standard label) and `correlation` with
    it: 2 r s - s^2. Both broadcast."""
    return 2 * correlation * spread - spread**2


def correlations(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[..., m] correlation of predictions [..., N, m] with standard labels [N, m]; 0 where a prediction is constant."""
    said = said - said.mean(-2, keepdims=True)
    spread = said.std(-2)
    return np.divide((said * labels).mean(-2), spread, out=np.zeros_like(spread), where=spread > 1e-300)
