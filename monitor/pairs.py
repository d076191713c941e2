"""Sharing between the games of a run: which pairs are measured, with what, and the record of each measure.

Shapes: N positions, D units of the latent, U ablated units, M blocks, P parameters, S draws.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor import ablation, pair_cause, pair_geometry
from monitor.config import MonitorConfig
from monitor.pair_cause import Ablated, Gradients, Lookahead
from monitor.pair_geometry import RESAMPLINGS, Finding, View
from monitor.refusals import UndefinedError
from monitor.series import plain
from monitor.sharing import Z95, Null, excess, resamplings, sharing_index

TWIN, SCRAMBLED, OTHER = "twin", "scrambled", "none"
"""How two games are related: isomorphic under other names; the same looks without the rules; neither."""

PILLARS = {
    "probe": "geometry", "subspace": "geometry", "cka": None, "ablation": "cause", "gradient": None, "tag": "cause",
    "transfer": "behaviour",
}  # fmt: skip
"""Measure -> the pillar that it holds up. CKA and the agreement of gradients are recorded and decide nothing."""

UNPAIRED = (
    "the rows are not matched: CKA compares two representations of the same positions, and these games have none in "
    "common; add an isomorphic twin (twin:SEED:GAME)"
)
RAW_INPUT = "raw input"
UNTRAINED = 3  # networks with random weights: the run's own before its first update, and two of other seeds
BLOCKS = 4  # of positions, for the reliability of a gradient
SHUFFLES = 3  # of the targets


@dataclasses.dataclass(frozen=True)
class SharingMeasure:
    """How the monitor reaches two games in one network; all on the first `size` frozen positions, leaving no trace."""

    relation: Callable[[str, str], str]  # (game, other) -> TWIN, SCRAMBLED or OTHER
    labels: Callable[[str, int], Mapping[str, np.ndarray]]  # (game, size) -> what a probe reads, name -> [N]
    inputs: Callable[[str, int], np.ndarray]  # (game, size) -> [N, I] what the network is shown
    same_inputs: Callable[[str, str], bool]
    """(game, other) -> whether the inputs of both go into the network by the same weights, entry by entry: only then
    can what a probe carries over between raw inputs be handed on by a network that does nothing."""
    untrained: Callable[[str, int, int], np.ndarray]  # (game, size, number) -> [N, D] latents before any training
    paired: Callable[[str, str, int, int | None], np.ndarray | None]
    """(game, twin, size, number) -> [N, D] latents of the game's positions shown as the twin's, number: of an untrained
    network, None: the trained one. None where the two are no twins."""
    num_units: Callable[[], int]  # units that can be ablated
    ablated: Callable[[str, int, Sequence[Sequence[int]], int, int], Ablated]  # (game, size, groups, shuffles, seed)
    lookahead: Callable[[str, Sequence[str], int, int, int, int], tuple[Gradients, Mapping[str, Lookahead]]]
    """(game, targets, size, blocks, shuffles, seed) -> gradients of `game`, and target -> its losses before and after
    steps along them."""
    gradients: Callable[[str, int, int, int, int], Gradients]  # (game, size, blocks, shuffles, seed), without steps


def stream(*labels: Any) -> np.random.Generator:
    """A generator of its own for everything that is drawn, the same for the same labels."""
    digest = hashlib.blake2b("/".join(map(str, labels)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def chosen_pairs(
    games: Sequence[str], relation: Callable[[str, str], str], most: int, seed: int
) -> list[tuple[str, str]]:
    """At most `most` pairs of games (earlier, later): first those with a twin or a scrambled twin, then those of the
    newest game, then others by lot. The same as long as no game joins."""
    pairs = [(a, b) for place, a in enumerate(games) for b in games[place + 1 :]]
    if len(pairs) <= most:
        return pairs
    lot = {pair: value for pair, value in zip(pairs, stream(seed, "pairs", *games).random(len(pairs)))}
    order = sorted(pairs, key=lambda pair: (relation(*pair) == OTHER, pair[1] != games[-1], lot[pair]))
    return [pair for pair in pairs if pair in set(order[:most])]


@dataclasses.dataclass(frozen=True)
class _Round:
    """One checkpoint."""

    update: int
    games: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    latents: Callable[[str, int], np.ndarray]
    sharing: SharingMeasure


class PairMeasures:
    """Measures all pairs at a checkpoint. What an untrained network and the raw inputs show is worked out once a pair;
    it follows from the run's seed and frozen sets, so that a resumed run has the same without saving it."""

    def __init__(self, config: MonitorConfig, seed: int):
        self.config, self.seed = config, seed
        self._fixed: dict[tuple[str, ...], Any] = {}  # (game, other) or ("cka", game, other)

    def measure(
        self,
        update: int,
        games: Sequence[str],
        latents: Callable[[str, int], np.ndarray],
        sharing: SharingMeasure,
        geometry: bool,
        cause: bool,
    ) -> list[dict[str, Any]]:
        """The bodies of the records of this checkpoint: of geometry and gradients, of the causes, or both."""
        pairs = chosen_pairs(games, sharing.relation, self.config.sharing_pairs, self.seed)
        now = _Round(update, list(games), pairs, latents, sharing)
        found: list[tuple[str, tuple[str, str], Finding | str]] = []
        if geometry:
            found += self._geometry(now)
        if cause:
            found += self._similarity(now) + self._ablations(now)
        found += self._steps(now, geometry, cause)
        return self._bodies(now, found)

    # -- geometry -----------------------------------------------------------------------------------------------

    def _views(self, now: _Round, latents: Callable[[str], np.ndarray], what: str) -> dict[str, View | str]:
        """Game -> its latents decomposed, or why they cannot be."""
        views: dict[str, View | str] = {}
        for game in dict.fromkeys(game for pair in now.pairs for game in pair):
            labels = now.sharing.labels(game, self.config.sharing_size)
            views[game] = _tried(lambda game=game, labels=labels: View(latents(game), labels, f"{game}{what}"))
        return views

    def _geometry(self, now: _Round) -> list[tuple[str, tuple[str, str], Finding | str]]:
        size, found = self.config.sharing_size, []
        views = self._views(now, lambda game: now.latents(game, size), "")
        self._fix_nulls(now, views)
        for pair in now.pairs:
            a, b = (views[game] for game in pair)
            if isinstance(a, str) or isinstance(b, str):
                reason = a if isinstance(a, str) else str(b)
                found += [("probe", pair, reason), ("subspace", pair, reason)]
                continue
            found += self._geometry_of(now, pair, a, b)
        return found

    def _geometry_of(
        self, now: _Round, pair: tuple[str, str], a: View, b: View
    ) -> list[tuple[str, tuple[str, str], Finding | str]]:
        if a.rows.shape[1] != b.rows.shape[1]:
            reason = _tried(lambda: pair_geometry.overlap_parts(a, b))
            return [("probe", pair, reason), ("subspace", pair, reason)]
        fixed, counts = self._fixed[pair], (self._counts(pair[0], len(a.rows)), self._counts(pair[1], len(b.rows)))
        source = stream(self.seed, now.update, "geometry", *pair)
        turns = pair_geometry.rotations(a, b, source)
        return [
            ("probe", pair, _tried(lambda: pair_geometry.probe(a, b, counts, fixed["probe"], turns, source))),
            ("subspace", pair, _tried(lambda: pair_geometry.subspace(a, b, counts, fixed["subspace"], turns))),
        ]

    def _counts(self, game: str, count: int) -> np.ndarray:
        """[R, count] how often each of a game's positions is drawn: the same throughout a run, so that what changes
        from checkpoint to checkpoint is the network."""
        key = ("counts", game, str(count))
        if key not in self._fixed:
            self._fixed[key] = resamplings(count, RESAMPLINGS, stream(self.seed, "positions", game, count))
        return self._fixed[key]

    def _fix_nulls(self, now: _Round, views: Mapping[str, View | str]) -> None:
        """For pairs that are new: null -> what untrained networks and raw inputs show, "probe" and "subspace" apart."""
        size, sharing = self.config.sharing_size, now.sharing
        new = [
            pair for pair in now.pairs
            if pair not in self._fixed and not any(isinstance(views[game], str) for game in pair)
        ]  # fmt: skip
        names: dict[tuple[str, str], list[str] | str] = {}
        for a, b in new:
            self._fixed[a, b] = {"probe": {}, "subspace": {}}
            names[a, b] = _tried(lambda a=a, b=b: pair_geometry.common_labels(views[a], views[b]))  # type: ignore[arg-type]
        sources: list[tuple[str, Callable[[str], np.ndarray]]] = [
            (_random_network(number), lambda game, number=number: sharing.untrained(game, size, number))
            for number in range(UNTRAINED)
        ]
        sources.append((RAW_INPUT, lambda game: sharing.inputs(game, size)))
        for label, rows in sources if new else ():
            shown = self._views(now, rows, f", {label}")
            for pair in new:
                a, b = (shown[game] for game in pair)
                if isinstance(a, str) or isinstance(b, str) or a.rows.shape[1] != b.rows.shape[1]:
                    continue
                if label == RAW_INPUT and not sharing.same_inputs(*pair):
                    continue
                common, counts = names[pair], (self._counts(pair[0], len(a.rows)), self._counts(pair[1], len(b.rows)))
                if not isinstance(common, str):
                    self._fixed[pair]["probe"][label] = pair_geometry.fixed_probe(a, b, counts, common)
                found = _tried(lambda a=a, b=b, c=counts: pair_geometry.fixed_subspace(a, b, c))
                if label != RAW_INPUT and not isinstance(found, str):
                    self._fixed[pair]["subspace"][label] = found

    def _similarity(self, now: _Round) -> list[tuple[str, tuple[str, str], Finding | str]]:
        """Debiased CKA of a game and its twin; of other pairs the refusal."""
        size, found = self.config.sharing_size, []
        for game, other in now.pairs:
            shown = now.sharing.paired(game, other, size, None)
            if shown is None:
                found.append(("cka", (game, other), UNPAIRED))
                continue
            key = ("cka", game, other)
            if key not in self._fixed:
                self._fixed[key] = self._untrained_cka(now, game, other)
            fixed, rows = self._fixed[key], now.latents(game, size)
            source = stream(self.seed, now.update, "cka", game, other)
            found.append((
                "cka", (game, other),
                _tried(lambda a=rows, b=shown, f=fixed, s=source: pair_geometry.paired_similarity(a, b, f, s)),
            ))  # fmt: skip
        return found

    def _untrained_cka(self, now: _Round, game: str, other: str) -> dict[str, float]:
        size, found = self.config.sharing_size, {}
        for number in range(UNTRAINED):
            shown = now.sharing.paired(game, other, size, number)
            assert shown is not None, "the trained network's positions were paired"
            rows = now.sharing.untrained(game, size, number)
            names = np.arange(len(rows))
            value = _tried(lambda a=rows, b=shown, n=names: pair_geometry.similarity.debiased_cka(a, b, n, n))
            if not isinstance(value, str):
                found[_random_network(number)] = value
        return found

    # -- cause --------------------------------------------------------------------------------------------------

    def _units(self, sharing: SharingMeasure) -> np.ndarray:
        """The units that are ablated, the same throughout a run: numbers [U], rising."""
        count = sharing.num_units()
        return np.sort(stream(self.seed, "units").permutation(count)[: self.config.ablation_units])

    def _ablations(self, now: _Round) -> list[tuple[str, tuple[str, str], Finding | str]]:
        size, units, sharing = self.config.cause_size, self._units(now.sharing), now.sharing
        games = list(dict.fromkeys(game for pair in now.pairs for game in pair))
        single: dict[str, Ablated | str] = {}
        for game in games:
            seed = _seed(self.seed, now.update, "ablation", game)
            groups = [[int(unit)] for unit in units]
            single[game] = _tried(lambda g=game, s=seed, u=groups: sharing.ablated(g, size, u, SHUFFLES, s).known())
        damage = self._damage(now, single, units)
        found = []
        for pair in now.pairs:
            a, b = (single[game] for game in pair)
            if isinstance(a, str) or isinstance(b, str):
                found.append(("ablation", pair, a if isinstance(a, str) else str(b)))
                continue
            done = {"forward": damage[pair], "backward": damage[pair[1], pair[0]]}
            source = stream(self.seed, now.update, "ablation", *pair)
            found.append((
                "ablation", pair,
                _tried(lambda a=a, b=b, d=done, p=pair, s=source: pair_cause.ablation_pair(
                    a, b, units, d, lambda side, count: self._counts(p[side], count), s
                )),
            ))  # fmt: skip
        return found

    def _damage(
        self, now: _Round, single: Mapping[str, Ablated | str], units: np.ndarray
    ) -> dict[tuple[str, str], tuple[float, np.ndarray]]:
        """(source, target) -> rise of the target's loss without the source's top units, and without matched random
        sets of units, each set ablated at once."""
        damage = {}
        for target, part in single.items():
            sources = [a if b == target else b for a, b in now.pairs if target in (a, b)]
            usable = [source for source in sources if not isinstance(single[source], str)]
            if isinstance(part, str) or not usable:
                continue
            variance, groups = part.variance[units], []
            for source in usable:
                other = single[source]
                assert not isinstance(other, str)
                top = ablation.top_units(ablation.importance(other.base, other.losses))
                drawn = stream(self.seed, now.update, "random sets", source, target)
                groups += [top, *ablation.matched_units(top, variance, pair_cause.RANDOM_SETS, drawn)]
            numbers = [units[group].tolist() for group in groups]
            seed = _seed(self.seed, now.update, "damage", target)
            together = now.sharing.ablated(target, self.config.cause_size, numbers, 0, seed).known()
            rise = ablation.importance(together.base, together.losses).reshape(len(usable), -1)
            for source, row in zip(usable, rise):
                damage[source, target] = float(row[0]), row[1:]
        return damage

    def _steps(self, now: _Round, agreement: bool, ahead: bool) -> list[tuple[str, tuple[str, str], Finding | str]]:
        """Agreement of gradients, TAG, or both: one batch of gradients a game serves both."""
        size, found = self.config.cause_size, []
        gradients: dict[str, Gradients | str] = {}
        looked: dict[str, Mapping[str, Lookahead] | str] = {}
        for game in dict.fromkeys(game for pair in now.pairs for game in pair):
            targets = [a if b == game else b for a, b in now.pairs if game in (a, b)]
            numbers = size, BLOCKS, SHUFFLES, _seed(self.seed, now.update, "lookahead", game)
            if ahead:
                both = _tried(lambda g=game, t=targets, n=numbers: now.sharing.lookahead(g, t, *n))
                gradients[game], looked[game] = (both, both) if isinstance(both, str) else both
            else:
                gradients[game] = _tried(lambda g=game, n=numbers: now.sharing.gradients(g, *n))
        if agreement:
            found += self._agreements(now, gradients)
        for pair in now.pairs if ahead else ():
            a, b = (looked[game] for game in pair)
            if isinstance(a, str) or isinstance(b, str):
                found.append(("tag", pair, a if isinstance(a, str) else str(b)))
                continue
            forward, backward = a[pair[1]], b[pair[0]]
            found.append((
                "tag", pair,
                _tried(lambda f=forward, b=backward, p=pair: pair_cause.tag_pair(
                    f, b, lambda side, count: self._counts(p[side], count)
                )),
            ))  # fmt: skip
        return found

    def _agreements(
        self, now: _Round, gradients: Mapping[str, Gradients | str]
    ) -> list[tuple[str, tuple[str, str], Finding | str]]:
        known = {game: part for game, part in gradients.items() if not isinstance(part, str)}
        products = pair_cause.inner_products(known) if known else {}
        found = []
        for pair in now.pairs:
            reasons = [part for part in (gradients[game] for game in pair) if isinstance(part, str)]
            if reasons:
                found.append(("gradient", pair, reasons[0]))
                continue
            within = products[pair[0], pair[0]], products[pair[1], pair[1]]
            found.append((
                "gradient", pair,
                _tried(lambda w=within, p=pair: pair_cause.gradient_pair(w, products[p], BLOCKS)),
            ))  # fmt: skip
        return found

    # -- records ------------------------------------------------------------------------------------------------

    def _bodies(self, now: _Round, found: Sequence[tuple[str, tuple[str, str], Finding | str]]) -> list[dict[str, Any]]:
        """One body a measure and pair; ceilings from the same checkpoint."""
        twins = {
            (measure, pair): finding.value
            for measure, pair, finding in found
            if isinstance(finding, Finding) and now.sharing.relation(*pair) == TWIN
        }
        bodies = []
        for measure, pair, finding in found:
            ceilings = [value for (name, twin), value in twins.items() if name == measure and set(twin) & set(pair)]
            if (measure, pair) in twins:
                ceilings = [twins[measure, pair]]
            bodies.append({
                "game": pair[0], "other_game": pair[1], "relation": now.sharing.relation(*pair), "measure": measure,
                "pillar": PILLARS[measure], **_numbers(finding, float(np.mean(ceilings)) if ceilings else None),
            })  # fmt: skip
        return bodies


def _numbers(finding: Finding | str, ceiling: float | None) -> dict[str, Any]:
    """The fields of a record that say what was found, or why nothing was."""
    empty = dict.fromkeys(("value", "ci95", "excess", "ceiling", "index"))
    if isinstance(finding, str):
        return empty | {"nulls": {}, "refused": finding, "details": {}}
    try:
        over = excess(finding.value, finding.error, finding.nulls)
    except UndefinedError as error:
        return empty | {"nulls": {}, "refused": str(error), "details": finding.details}
    half, index = Z95 * finding.error, None
    if ceiling is not None:
        try:
            index = dict(zip(("value", "low", "high"), map(plain, sharing_index(over, ceiling))))
        except UndefinedError:
            index = None
    return {
        "value": plain(finding.value),
        "ci95": [plain(finding.value - half), plain(finding.value + half)],
        "nulls": {null.name: _null(null) for null in finding.nulls},
        "excess": {"value": plain(over.value), "low": plain(over.low), "high": plain(over.high), "null": over.null},
        "ceiling": None if ceiling is None else plain(ceiling),
        "index": index,
        "refused": None,
        "details": finding.details,
    }


def _null(null: Null) -> dict[str, Any]:
    return {"mean": plain(null.mean), "reach": plain(null.reach), "draws": len(null.draws)}


def _tried(function: Callable[[], Any]) -> Any:
    """What it returns, or why it is undefined, in words."""
    try:
        return function()
    except UndefinedError as error:
        return str(error)


def _random_network(number: int) -> str:
    return "random network" if number == 0 else f"random network {number + 1}"


def _seed(*labels: Any) -> int:
    """A 31-bit seed for what is drawn outside the monitor."""
    return int(stream(*labels).integers(2**31))
