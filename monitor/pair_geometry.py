"""Geometry of two games in one layer, with its nulls: cross-game probe, subspace overlap, CKA of a game and its twin.

Shapes: N rows (positions), D units, m labels, R resamplings of the positions, S draws of a null, k directions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor import probes, similarity, subspaces
from monitor.refusals import UndefinedError, matrix, same_columns
from monitor.series import plain
from monitor.sharing import Null

DIRECTIONS = 10  # k, of subspaces
DRAWS = 40  # of each null that is drawn
RESAMPLINGS = 200
Counts = tuple[np.ndarray, np.ndarray]  # [R, N_A] and [R, N_B] of `resamplings`


@dataclasses.dataclass(frozen=True)
class Finding:
    """A measure of two games at one checkpoint, with its nulls; `details` is a JSON object."""

    value: float
    error: float  # standard error over positions
    nulls: list[Null]
    details: dict[str, Any]


class View:
    """One game's latents in one network, decomposed once for all of its pairs."""

    def __init__(self, latents: np.ndarray, labels: Mapping[str, np.ndarray], name: str):
        """latents: [N, D]; labels: name -> [N], those that do not vary or are not known everywhere are left out."""
        rows = matrix(latents, f"latents of {name}", max(probes.MIN_ROWS, subspaces.MIN_ROWS_PER_DIRECTION))
        self.name, self.rows = name, rows - rows.mean(0)
        self.ridge = probes.Ridge(self.rows)
        self.labels: dict[str, np.ndarray] = {}
        for label, values in labels.items():
            try:
                self.labels[label] = probes.standard_labels(values, f"{label} of {name}")
            except UndefinedError:
                continue
        self._known: dict[tuple[str, ...], Any] = {}  # what several pairs ask for

    def targets(self, names: Sequence[str]) -> np.ndarray:
        """[N, m] standard labels."""
        return self._once("targets", names, lambda: np.stack([self.labels[name] for name in names], 1))

    def weights(self, names: Sequence[str]) -> np.ndarray:
        """[D, m] the game's own probes of its labels."""
        return self._once("weights", names, lambda: self.ridge.weights(self.targets(names)))

    def within(self, names: Sequence[str]) -> np.ndarray:
        """[m] R2 of the game's own probes at rows left out."""
        return self._once(
            "within",
            names,
            lambda: probes.r_squared(self.ridge.left_out_errors(self.targets(names)), self.targets(names)),
        )

    def _once(self, what: str, names: Sequence[str], function: Callable[[], np.ndarray]) -> np.ndarray:
        key = (what, *names)
        if key not in self._known:
            self._known[key] = function()
        return self._known[key]


def common_labels(a: View, b: View) -> list[str]:
    """Labels that vary in both games. UndefinedError where there is none."""
    names = [name for name in a.labels if name in b.labels]
    if not names:
        raise UndefinedError(
            f"{a.name} and {b.name} have no label in common that varies in both; record the value, the number of legal "
            "moves or the moves to the end for both"
        )
    return names


def _both(a: View, b: View) -> tuple[tuple[View, View], tuple[View, View]]:
    return (a, b), (b, a)


def probe_errors(a: View, b: View, names: Sequence[str]) -> list[np.ndarray]:
    """[N, m] squared errors of each game's probe on the other: A on B's rows, then B on A's."""
    same_columns(a.rows, b.rows, f"latents of {a.name} and {b.name}")
    return [(target.targets(names) - target.rows @ source.weights(names)) ** 2 for source, target in _both(a, b)]


def _score(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over both ways and over labels (the last axis) of R2, counted as 0 where it is below."""
    return np.mean([np.maximum(part, 0).mean(-1) for part in parts], 0)


@dataclasses.dataclass(frozen=True)
class Resampled:
    """A null that stays as it is throughout a run: its value, and that under each resampling of the positions [R]."""

    value: float
    again: np.ndarray

    def null(self, name: str, resampled: np.ndarray) -> Null:
        """With the error of its difference from what was observed, which is `resampled` [R]."""
        return Null(name, np.atleast_1d(self.value), float(np.std(resampled - self.again, ddof=1)))


def fixed_probe(a: View, b: View, counts: Counts, names: Sequence[str]) -> Resampled:
    """What `probe` finds, without its nulls."""
    targets = [target.targets(names) for _, target in _both(a, b)]
    errors, by_target = probe_errors(a, b, names), (counts[1], counts[0])
    value = _score([probes.r_squared(e, t) for e, t in zip(errors, targets)])
    again = _score([probes.r_squared(e, t, c) for e, t, c in zip(errors, targets, by_target)])
    return Resampled(float(value), again)


def fixed_subspace(a: View, b: View, counts: Counts) -> Resampled:
    """What `subspace` finds, without its nulls."""
    parts = overlap_parts(a, b)
    return Resampled(float(_ratio(parts)), _ratio(parts, counts))


def probe(
    a: View,
    b: View,
    counts: Counts,
    fixed: Mapping[str, Resampled],
    turns: subspaces.ChanceRotations,
    generator: np.random.Generator,
) -> Finding:
    """The cross-game probe: mean R2 of A's probes on B and of B's on A over the labels of both games.

    R2 below 0 counts as 0 (a probe that says less than the mean carries nothing over). fixed: null -> `fixed_probe` of
    a network that is not trained, or of the raw inputs. Drawn nulls: probes of shuffled labels, and the real probes
    with the games turned against each other at random (`subspaces.ChanceRotations`), for two directions of few may fit
    by chance.
    """
    names = common_labels(a, b)
    targets = [target.targets(names) for _, target in _both(a, b)]
    errors = probe_errors(a, b, names)
    across = [probes.r_squared(e, t) for e, t in zip(errors, targets)]
    by_target = (counts[1], counts[0])
    resampled = _score([probes.r_squared(e, t, c) for e, t, c in zip(errors, targets, by_target)])
    within = [view.within(names) for view in (b, a)]
    nulls = [other.null(name, resampled) for name, other in fixed.items()]
    nulls.append(Null("shuffled labels", _shuffled(a, b, names, generator)))
    nulls.append(Null("chance rotations", _chance(a, b, names, turns)))
    worst = max(null.mean for null in nulls)
    details: dict[str, Any] = {}
    for place, name in enumerate(names):
        numbers = {"forward": across[0][place], "backward": across[1][place], "within_source": within[1][place],
                   "within_target": within[0][place]}  # fmt: skip
        details[name] = {key: plain(float(value)) for key, value in numbers.items()}
        for way, (over, own) in {"forward": (across[0], within[0]), "backward": (across[1], within[1])}.items():
            try:
                details[name][f"transfer_{way}"] = plain(probes.probe_transfer(over[place], own[place], worst))
            except UndefinedError:
                details[name][f"transfer_{way}"] = None
    return Finding(float(_score(across)), float(np.std(resampled, ddof=1)), nulls, details)


def _shuffled(a: View, b: View, names: Sequence[str], generator: np.random.Generator) -> np.ndarray:
    """[S] scores of probes fitted on labels that were dealt out anew."""
    parts = []
    for source, target in _both(a, b):
        labels = source.targets(names)
        dealt = np.stack([labels[generator.permutation(len(labels))] for _ in range(DRAWS)], 1)  # [N, S, m]
        said = target.rows @ source.ridge.weights(dealt.reshape(len(labels), -1))
        wanted = target.targets(names)[:, None]
        errors = (wanted - said.reshape(len(target.rows), DRAWS, -1)) ** 2
        parts.append(probes.r_squared(errors, np.broadcast_to(wanted, errors.shape)))
    return _score(parts)


def _chance(a: View, b: View, names: Sequence[str], turns: subspaces.ChanceRotations) -> np.ndarray:
    """[S] scores of the real probes after the games' directions were turned against each other at random, their
    predictions as wide as they are."""
    parts = []
    for (source, target), read in zip(_both(a, b), (turns.read_target, turns.read_source)):
        weights = source.weights(names)
        found = probes.correlations(read(weights), target.targets(names))
        parts.append(probes.chance_r_squared((target.rows @ weights).std(0), found))
    return _score(parts)


def overlap_parts(a: View, b: View) -> list[tuple[np.ndarray, np.ndarray]]:
    """(squared length of each target row inside the source's subspace [N], inside its own [N]): A on B, then B on A."""
    same_columns(a.rows, b.rows, f"latents of {a.name} and {b.name}")
    for view in (a, b):
        rank = view.ridge.rank
        if rank < DIRECTIONS or len(view.rows) < subspaces.MIN_ROWS_PER_DIRECTION * DIRECTIONS:
            raise UndefinedError(
                f"latents of {view.name} vary in {rank} directions at {len(view.rows)} positions; {DIRECTIONS} "
                f"directions and {subspaces.MIN_ROWS_PER_DIRECTION * DIRECTIONS} positions are needed: measure more"
            )
    return [
        (subspaces.captured(target.rows, source.ridge.directions(DIRECTIONS)),
         subspaces.captured(target.rows, target.ridge.directions(DIRECTIONS)))
        for source, target in _both(a, b)
    ]  # fmt: skip


def _ratio(parts: Sequence[tuple[np.ndarray, np.ndarray]], counts: Counts | None = None) -> np.ndarray:
    """Mean overlap of both ways: one number, or [R] of them."""
    if counts is None:
        return np.mean([inside.sum() / own.sum() for inside, own in parts], 0)
    return np.mean([(c @ inside) / (c @ own) for (inside, own), c in zip(parts, (counts[1], counts[0]))], 0)


def subspace(
    a: View,
    b: View,
    counts: Counts,
    fixed: Mapping[str, Resampled],
    turns: subspaces.ChanceRotations,
) -> Finding:
    """`subspaces.subspace_overlap`, the mean of both ways, with principal angles beside it.

    fixed: null -> `fixed_subspace` of a network that is not trained. Drawn null: subspaces drawn with the covariance of
    both games (within its leading axes, which overlap rather more than less). Under resampling the subspaces stay as
    they are.
    """
    parts = overlap_parts(a, b)
    resampled = _ratio(parts, counts)
    nulls = [other.null(name, resampled) for name, other in fixed.items()]
    bases = turns.drawn[:, :, :DIRECTIONS]  # [S, q, k]
    if bases.shape[2] == DIRECTIONS:
        drawn = [
            (bases * ((rows.T @ rows) @ bases)).sum((1, 2)) / own.sum()
            for rows, (_, own) in zip((turns.target, turns.source), parts)
        ]
        nulls.append(Null("covariance-matched", np.mean(drawn, 0)))
    angles = np.degrees(subspaces.angles_between(a.ridge.directions(DIRECTIONS), b.ridge.directions(DIRECTIONS)))
    details = {
        "forward": plain(parts[0][0].sum() / parts[0][1].sum()),
        "backward": plain(parts[1][0].sum() / parts[1][1].sum()),
        "directions": DIRECTIONS,
        "angles_degrees": [plain(float(angle)) for angle in angles],
    }
    return Finding(float(_ratio(parts)), float(np.std(resampled, ddof=1)), nulls, details)


def paired_similarity(
    one: np.ndarray, other: np.ndarray, untrained: Mapping[str, float], generator: np.random.Generator
) -> Finding:
    """Debiased CKA of the same positions, read as a game and as its twin: one [N, D], other [N, E], rows matched.

    untrained: null -> the same in a network that is not trained. The error is a jackknife's.
    """
    names = np.arange(len(one))
    value, error = similarity.debiased_cka(one, other, names, names), similarity.cka_error(one, other)
    nulls = [Null(name, np.atleast_1d(number)) for name, number in untrained.items()]
    nulls.append(Null("permuted rows", similarity.permuted_cka(one, other, DRAWS, generator)))
    try:
        procrustes = plain(similarity.procrustes_similarity(one, other, names, names))
    except UndefinedError:
        procrustes = None
    return Finding(value, error, nulls, {"procrustes": procrustes})


def rotations(a: View, b: View, generator: np.random.Generator) -> subspaces.ChanceRotations:
    """What alignment comes about by chance, for both measures."""
    return subspaces.ChanceRotations(a.rows, b.rows, DRAWS, generator)
