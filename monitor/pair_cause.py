"""Cause: what ablating units and stepping along gradients for one game does to another, with the nulls.

Shapes: N positions, U units, G groups of units, M blocks of positions, P parameters, S draws with shuffled targets,
R resamplings. Shuffled targets: the positions' targets are dealt out among them, so that what is left is what the
network knows of a game without looking (how often it ends, who moves next), which any two games may have in common.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from monitor import ablation, gradients
from monitor.pair_geometry import RESAMPLINGS, Finding
from monitor.refusals import Undefined
from monitor.series import plain
from monitor.sharing import Null, resamplings

PERMUTATIONS = 199
RANDOM_SETS = 8  # of as many units as the top ones


@dataclasses.dataclass(frozen=True)
class Ablated:
    """One game's losses in nats with groups of units mean-ablated; NaN where a position has no target."""

    base: np.ndarray  # [N] with none ablated
    losses: np.ndarray  # [G, N]
    shuffled_base: np.ndarray  # [S, N] against shuffled targets
    shuffled: np.ndarray  # [S, G, N]
    variance: np.ndarray  # [units of the network] of each unit's output over the positions

    def known(self) -> Ablated:
        """The same at the positions that have a target. Undefined for fewer than 20."""
        here = ~np.isnan(self.base)
        if here.sum() < 20:
            raise Undefined(
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
    generators: tuple[np.random.Generator, np.random.Generator],
    generator: np.random.Generator,
) -> Finding:
    """`ablation.ablation_overlap` of two games whose groups are the single `units` [U] (numbers in the network).

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
            ablation.rises(part.base, part.losses, resamplings(len(part.base), RESAMPLINGS, source))[:, alive],
            covariates,
        )
        for part, source in zip((a, b), generators)
    ]
    nulls = [
        Null(
            "units permuted within variance",
            ablation.permuted_overlaps(importances[0], importances[1], *variances, PERMUTATIONS, generator),
        )
    ]
    if len(a.shuffled) > 1 and len(b.shuffled) > 1:
        real = [ablation.residual_ranks(part[alive], covariates) for part in importances]
        generic = [
            ablation.residual_ranks(ablation.importance(part.shuffled_base[:, None], part.shuffled)[:, alive], covariates)
            for part in (a, b)
        ]
        drawn = (ablation.correlation(real[0][None], generic[1]) + ablation.correlation(generic[0], real[1][None])) / 2
        nulls.append(Null("shuffled targets", drawn))
    details = {"units": int(alive.sum()), "top_units": len(ablation.top_units(importances[0]))}
    for way, (done, drawn) in damage.items():
        details[way] = {"damage": plain(done), "random": plain(float(np.mean(drawn)))}
        try:
            details[way]["z"] = plain(ablation.relative_damage(done, drawn))
        except Undefined:
            details[way]["z"] = None
    error = float(np.nanstd(ablation.correlation(*again), ddof=1))
    return Finding(value, error, nulls, details)


@dataclasses.dataclass(frozen=True)
class Gradients:
    """One game's gradients with respect to the parameters measured."""

    blocks: np.ndarray  # [M, P]: of the mean loss of each block of positions
    shuffled: np.ndarray  # [S, P]: of the mean loss of all of them against shuffled targets


def gradient_pair(a: Gradients, b: Gradients) -> Finding:
    """`gradients.gradient_agreement`, null: shuffled targets of one game; the error is a jackknife over blocks."""
    grams = a.blocks @ a.blocks.T, b.blocks @ b.blocks.T, a.blocks @ b.blocks.T
    value = gradients.agreement_of(*grams)
    error = gradients.agreement_error(*grams)
    if error is None:
        raise Undefined("too few blocks for an error of the agreement; measure at least three blocks of positions")
    reliabilities = gradients.reliability(a.blocks), gradients.reliability(b.blocks)
    means = a.blocks.mean(0), b.blocks.mean(0)
    ways = [
        [gradients.cosine(mean, row) / np.sqrt(known) for row in other.shuffled]
        for mean, known, other in ((means[0], reliabilities[0], b), (means[1], reliabilities[1], a))
    ]
    details = {
        "cosine": plain(gradients.cosine(*means)),
        "reliability": [plain(part) for part in reliabilities],
        "split_of_the_same_game": [plain(float(np.sqrt(max(part, 0.0)))) for part in reliabilities],
    }
    return Finding(value, error, [Null("shuffled targets", np.mean(ways, 0))], details)


@dataclasses.dataclass(frozen=True)
class Lookahead:
    """Losses of a target game at the same positions before and after a step for a source game, and after steps of the
    same length for the source with shuffled targets; NaN where a position has no target."""

    before: np.ndarray  # [N]
    after: np.ndarray  # [N]
    shuffled: np.ndarray  # [S, N]


def tag_pair(
    forward: Lookahead, backward: Lookahead, generators: tuple[np.random.Generator, np.random.Generator]
) -> Finding:
    """TAG's Z, the mean of A->B and B->A; null: steps for shuffled targets. generators: for B's positions, then A's."""
    values, resampled, drawn = [], [], []
    for way, generator in zip((forward, backward), generators):
        values.append(gradients.tag(way.before, way.after))
        known = ~np.isnan(way.before)
        counts = resamplings(int(known.sum()), RESAMPLINGS, generator)
        resampled.append(gradients.tags(way.before[known], way.after[known], counts))
        drawn.append([gradients.tag(way.before, row) for row in way.shuffled])
    details = {"forward": plain(values[0]), "backward": plain(values[1])}
    error = float(np.std(np.mean(resampled, 0), ddof=1))
    return Finding(float(np.mean(values)), error, [Null("shuffled targets", np.mean(drawn, 0))], details)
