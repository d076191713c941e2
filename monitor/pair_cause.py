"""Cause: what ablating units and stepping along gradients for one game does to another, with the nulls.

Shapes: N positions, U units, G groups of units, M blocks of positions, P parameters, S draws with shuffled targets,
R resamplings. Shuffled targets: the positions' targets are dealt out among them, so that what is left is what the
network knows of a game without looking (how often it ends, who moves next), which any two games may have in common.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monitor import ablation, gradients
from monitor.pair_geometry import Finding
from monitor.refusals import UndefinedError
from monitor.series import plain
from monitor.sharing import Null

PERMUTATIONS = 199
RESAMPLED_RANKS = 60  # resamplings of ranks, which cost more than those of means
RANDOM_SETS = 5  # of as many units as the top ones


@dataclasses.dataclass(frozen=True)
class Ablated:
    """One game's losses in nats with groups of units mean-ablated; NaN where a position has no target."""

    base: np.ndarray  # [N] with none ablated
    losses: np.ndarray  # [G, N]
    shuffled_base: np.ndarray  # [S, N] against shuffled targets
    shuffled: np.ndarray  # [S, G, N]
    variance: np.ndarray  # [units of the network] of each unit's output over the positions

    def known(self) -> Ablated:
        """The same at the positions that have a target. UndefinedError for fewer than 20."""
        here = ~np.isnan(self.base)
        if here.sum() < 20:
            raise UndefinedError(
                f"{int(here.sum())} positions have a target and at least 20 are needed: measure more positions"
            )
        return Ablated(
            self.base[here], self.losses[:, here], self.shuffled_base[:, here], self.shuffled[:, :, here], self.variance
        )


def ablation_pair(
    a: Ablated,
    b: Ablated,
    units: np.ndarray,
    damage: dict[str, tuple[float, np.ndarray]],
    counts: Callable[[int, int], np.ndarray],
    generator: np.random.Generator,
) -> Finding:
    """`ablation.ablation_overlap` of two games whose groups are the single `units` [U] (numbers in the network).

    counts: (side 0 or 1, N) -> resamplings [R, N] of the positions of A or B.
    damage: "forward" (to B from A's top units) and "backward" -> (damage in nats, that of matched random sets).
    Nulls: units permuted within strata of variance; importance for shuffled targets on one side.
    """
    a, b = a.known(), b.known()
    variances = a.variance[units], b.variance[units]
    importances = [ablation.importance(part.base, part.losses) for part in (a, b)]
    value = ablation.ablation_overlap(importances[0], importances[1], *variances)
    alive = ablation.living(*variances)
    covariates = np.stack([part[alive] for part in variances])
    again = [
        ablation.residual_ranks(
            ablation.rises(part.base, part.losses, counts(side, len(part.base))[:RESAMPLED_RANKS])[:, alive], covariates
        )
        for side, part in enumerate((a, b))
    ]
    nulls = [
        Null(
            "units permuted within variance",
            ablation.permuted_overlaps(importances[0], importances[1], *variances, PERMUTATIONS, generator),
        )
    ]
    if len(a.shuffled) > 1 and len(b.shuffled) > 1:
        real = [ablation.residual_ranks(part[alive], covariates) for part in importances]
        costs = [ablation.importance(part.shuffled_base[:, None], part.shuffled)[:, alive] for part in (a, b)]
        generic = [ablation.residual_ranks(cost, covariates) for cost in costs]
        drawn = (ablation.correlation(real[0][None], generic[1]) + ablation.correlation(generic[0], real[1][None])) / 2
        nulls.append(Null("shuffled targets", drawn))
    details: dict[str, Any] = {"units": int(alive.sum()), "top_units": len(ablation.top_units(importances[0]))}
    for way, (done, drawn) in damage.items():
        details[way] = {"damage": plain(done), "random": plain(float(np.mean(drawn)))}
        try:
            details[way]["z"] = plain(ablation.relative_damage(done, drawn))
        except UndefinedError:
            details[way]["z"] = None
    error = float(np.nanstd(ablation.correlation(*again), ddof=1))
    return Finding(value, error, nulls, details)


@dataclasses.dataclass(frozen=True)
class Gradients:
    """One game's gradients with respect to the parameters measured."""

    blocks: np.ndarray  # [M, P]: of the mean loss of each block of positions
    shuffled: np.ndarray  # [S, P]: of the mean loss of all of them against shuffled targets


def inner_products(games: Mapping[str, Gradients]) -> dict[tuple[str, str], np.ndarray]:
    """(game, other) -> [M + S, M + S] inner products of the blocks and shuffled gradients of both."""
    rows = [np.concatenate([part.blocks, part.shuffled]) for part in games.values()]
    whole = np.concatenate(rows).astype(np.float32, copy=False)
    products = (whole @ whole.T).astype(np.float64)
    ends = np.cumsum([0, *map(len, rows)])
    return {
        (one, other): products[ends[i] : ends[i + 1], ends[j] : ends[j + 1]]
        for i, one in enumerate(games)
        for j, other in enumerate(games)
    }


def gradient_pair(within: tuple[np.ndarray, np.ndarray], between: np.ndarray, blocks: int) -> Finding:
    """`gradients.gradient_agreement`, null: shuffled targets of one game; the error is a jackknife over blocks.

    within: inner products [M + S, M + S] of each game with itself, between: [M + S, M + S] of the first with the
    second; the first M = `blocks` rows are blocks of positions, the others gradients for shuffled targets.
    """
    if not all(np.isfinite(part).all() for part in (*within, between)):
        raise UndefinedError("a gradient is not finite; the network has diverged")
    own = [part[:blocks, :blocks] for part in within]
    value = gradients.agreement_of(own[0], own[1], between[:blocks, :blocks])
    error = gradients.agreement_error(own[0], own[1], between[:blocks, :blocks])
    if error is None:
        raise UndefinedError("the agreement is not defined without each of the blocks; measure more positions")
    reliabilities = [gradients.reliability_of(part) for part in own]
    lengths = [np.sqrt(part.mean()) for part in own]
    drawn = [
        crossed[:blocks, blocks:].mean(0) / np.sqrt(np.diag(other)[blocks:] * reliabilities[side]) / lengths[side]
        for side, crossed, other in ((0, between, within[1]), (1, between.T, within[0]))
    ]
    details = {
        "cosine": plain(between[:blocks, :blocks].mean() / np.prod(lengths)),
        "reliability": [plain(part) for part in reliabilities],
        "split_of_the_same_game": [plain(float(np.sqrt(max(part, 0.0)))) for part in reliabilities],
    }
    return Finding(value, error, [Null("shuffled targets", np.mean(drawn, 0))], details)


@dataclasses.dataclass(frozen=True)
class Lookahead:
    """Losses of a target game at the same positions before and after a step for a source game, and after steps of the
    same length for the source with shuffled targets; NaN where a position has no target."""

    before: np.ndarray  # [N]
    after: np.ndarray  # [N]
    shuffled: np.ndarray  # [S, N]


def tag_pair(forward: Lookahead, backward: Lookahead, counts: Callable[[int, int], np.ndarray]) -> Finding:
    """TAG's Z, the mean of A->B and B->A; null: steps for shuffled targets.

    counts: (side 0 or 1, N) -> resamplings [R, N] of the positions of A or B.
    """
    values, resampled, drawn = [], [], []
    for side, way in ((1, forward), (0, backward)):
        values.append(gradients.tag(way.before, way.after))
        known = ~np.isnan(way.before)
        resampled.append(gradients.tags(way.before[known], way.after[known], counts(side, int(known.sum()))))
        drawn.append([gradients.tag(way.before, row) for row in way.shuffled])
    details = {"forward": plain(values[0]), "backward": plain(values[1])}
    error = float(np.std(np.mean(resampled, 0), ddof=1))
    return Finding(float(np.mean(values)), error, [Null("shuffled targets", np.mean(drawn, 0))], details)
