"""How the monitor compares two games in one network: what it is handed beside losses and latents.

All is measured on a copy of the averaged weights, so that hooks, gradients and trial steps never touch the network that
is trained. Shape legend: N positions, K moves, U units, G groups of units, M blocks, P parameters, S shuffles.

A position's loss is here the sum of all heads that have a target at the position and after one move (as the series
`policy`, `value` and `dynamics_1`), in nats.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.encoders import BOARD_PLANES, label_seed
from agents.fused import can_fuse
from agents.learner import unroll
from agents.network import Heads, MultiGameNetwork
from envs import registry
from envs.game import GameSpec, ObservationKind
from gurgeh.frozen_losses import Targets, head_losses, heads_apart, heads_of_games, stacked_heads, targets_of
from gurgeh.frozen_network import FrozenNetwork
from gurgeh.moment import Moment
from gurgeh.validation import FrozenSet
from monitor.measures import Ablation, collect_activations
from monitor.pair_cause import Ablated, Gradients, Lookahead
from monitor.pairs import OTHER, SCRAMBLED, TWIN, SharingMeasure
from monitor.refusals import UndefinedError

MOVES = 1  # that positions are followed along here
MOST_ROWS = 1024  # in one pass with ablated units: what stays in the cache
MOST_COORDINATES = 50_000  # of a gradient: of larger networks a fixed random sample
MOST_INPUTS = 4096  # entries of an observation that the raw-input probe reads, evenly spaced
STEP_SHARE = 0.01  # of its own loss that a trial step takes away, to first order


class _Batch(NamedTuple):
    """Positions of several games: N of all together."""

    rows: dict[str, FrozenSet]
    latent: Tensor  # [N, L, D]
    game: Tensor  # [N] int64
    action: Tensor  # [N, K] int64
    counts: list[int]  # of each game


class SharingReader:
    """The functions of `SharingMeasure` for one network; sets: game -> its frozen validation set, growing with it.

    moves: how many moves the network's model is trained along; 0: it has none, and only policy and value count.
    """

    def __init__(
        self, network: MultiGameNetwork, sets: Mapping[str, FrozenSet], moves: int | None,
        moment: Moment | None = None,
    ):  # fmt: skip
        """moment: of `network`, where others measure it in the same."""
        self.network, self.sets, self.moment = network, sets, moment or Moment(network)
        self.moves = MOVES if moves is None else min(moves, MOVES)
        self._copy: MultiGameNetwork | None = None
        self._asked: FrozenNetwork | None = None  # of the copy
        self._untrained: list[MultiGameNetwork] = []
        self._widths: list[int] = []
        self._chosen: tuple[int, Tensor] = 0, torch.empty(0)
        self._rows: dict[tuple[str, int], tuple[FrozenSet, FrozenSet]] = {}  # (game, size) -> whole set, first rows
        self._known: dict[tuple[str, int], tuple[FrozenSet, Targets]] = {}

    # -- networks -----------------------------------------------------------------------------------------------

    def fresh(self) -> MultiGameNetwork:
        """The copy, brought up to date once a moment; its parameters can be differentiated."""
        if self._copy is None or len(self._copy.specs) != len(self.network.specs):
            self._copy = copy.deepcopy(self.network).requires_grad_(True).eval()
            self._asked = FrozenNetwork(self._copy)
            self._pairs = _weights(self._copy), _weights(self.network)
        self.moment.keep("fresh", lambda: torch._foreach_copy_(*self._pairs))
        return self._copy

    def untrained_network(self, number: int) -> MultiGameNetwork:
        """Random weights: number 0 those that this network began with, others of other seeds."""
        network = self.network
        if self._untrained and len(self._untrained[0].specs) != len(network.specs):
            self._untrained = []
        while len(self._untrained) <= number:
            place = len(self._untrained)
            seed = label_seed(network.seed, "untrained", str(place)) if place else network.seed
            made = MultiGameNetwork(network.config, network.specs, seed).requires_grad_(False).eval()
            known = dict(network.named_buffers())
            for name, buffer in made.named_buffers():
                buffer.copy_(known[name])  # the spread of a vector's entries, measured when its game joined
            self._untrained.append(made)
        return self._untrained[number]

    def spec(self, game: str) -> GameSpec:
        return self.network.specs[self.network.games[game]]

    # -- what is shown and asked --------------------------------------------------------------------------------

    def relation(self, game: str, other: str) -> str:
        """TWIN for the same game under other names, SCRAMBLED for the looks of the other without its rules."""
        one, two = self.spec(game), self.spec(other)
        if _root(one) == _root(two):
            return TWIN
        shown = {_root(one), one.scrambles} & {_root(two), two.scrambles}
        return SCRAMBLED if shown - {None} else OTHER

    def labels(self, game: str, size: int) -> dict[str, np.ndarray]:
        """What a probe reads: the mover's value where it is known, legal moves, moves to the end."""
        frozen = self.sets[game]
        labels = {"legal_moves": frozen.legal[:size].sum(1).double().numpy()}
        if frozen.plies is not None:
            labels["moves_to_end"] = frozen.plies[:size].double().numpy()
        if frozen.value is not None:
            mover = frozen.value[:size, 0].gather(1, frozen.to_play[:size, :1])[:, 0]
            labels["value"] = mover.double().numpy()
        return labels

    def inputs(self, game: str, size: int) -> np.ndarray:
        """[N, I] observations as the network is shown them; at most 4,096 entries each."""
        rows = self.sets[game].observation[:size].flatten(1)
        if rows.shape[1] > MOST_INPUTS:
            rows = rows[:, torch.linspace(0, rows.shape[1] - 1, MOST_INPUTS).long()]
        return rows.double().numpy()

    def same_inputs(self, game: str, other: str) -> bool:
        """Boards of one size that show nothing but mine and theirs, and texts of one length; the first layer of all
        other games is their own."""
        one, two = self.spec(game), self.spec(other)
        if not self.network.config.shared_encoders or one.observation.shape != two.observation.shape:
            return False
        if one.observation.kind is ObservationKind.TOKENS is two.observation.kind:
            return True
        return one.board_planes and two.board_planes and one.observation.shape[0] == BOARD_PLANES

    def untrained(self, game: str, size: int, number: int) -> np.ndarray:
        """[N, L * D] latents of a network that has learnt nothing."""
        with self.moment():
            return _latents(self.untrained_network(number), game, self.sets[game].observation[:size])

    def paired(self, game: str, twin: str, size: int, number: int | None) -> np.ndarray | None:
        """[N, L * D] latents of `game`'s positions shown as `twin` shows them; None where the two are no twins."""
        if self.relation(game, twin) != TWIN:
            return None
        planes = [_planes(name) for name in (game, twin)]
        shown = self.sets[game].observation[:size]
        if planes[0] is not None:
            shown = shown[:, planes[0].argsort()]  # as the original shows it
        if planes[1] is not None:
            shown = shown[:, planes[1]]
        with self.moment():
            network = self.network if number is None else self.untrained_network(number)
            return _latents(network, twin, shown)

    # -- losses of positions ------------------------------------------------------------------------------------

    def _losses(self, said: Heads, rows: FrozenSet, orders: Tensor | None = None) -> Tensor:
        """[..., N] summed losses of heads [K + 1, ..., N, *]; with orders [S, N] int64 [..., 1 + S, N], also at the
        targets of the positions in each order."""
        targets = self._targets(rows)
        return self._summed(
            rows.game, head_losses(self.spec(rows.game), said, targets if orders is None else targets.dealt(orders))
        )

    def _summed(self, game: str, losses: Mapping[str, Tensor]) -> Tensor:
        """[...] the sum over heads and steps of [k, ...] each, NaN where there is none."""
        if not losses:
            raise UndefinedError(
                f"no loss of {game} is defined here: without a solver there are no policy and value targets, "
                "and a run without a model (learner.unroll=0) predicts nothing else"
            )
        stack = torch.cat(list(losses.values()))
        known = ~stack.isnan()
        # Not nansum of what is not known: its gradient would be 0 * inf where a loss there is infinite.
        return torch.where(known.any(0), torch.where(known, stack, 0.0).sum(0), torch.nan)

    def _targets(self, rows: FrozenSet) -> Targets:
        """Those of some positions that `_first` gave."""
        key = rows.game, len(rows.phase)
        if key not in self._known or self._known[key][0] is not rows:
            self._known[key] = rows, targets_of(self.network, self.spec(rows.game), rows, self.moves)
        return self._known[key][1]

    def num_units(self) -> int:
        """Hidden units that all games share, layer by layer."""
        if not self._widths:
            game = next(iter(self.sets))
            with self.moment():
                network = self.fresh()
                batch = self._batch(network, [game], 2)
                found = collect_activations(network, lambda: self._said(network, batch), (torch.nn.ReLU,))
            self._layers = list(found)
            self._widths = [activity.shape[1] for activity in found.values()]
        return sum(self._widths)

    def ablated(self, game: str, size: int, groups: Sequence[Sequence[int]], shuffles: int, seed: int) -> Ablated:
        """Losses [G, N] with each group of units mean-ablated at once; units are numbered as `num_units` counts."""
        self.num_units()
        rows = self._first(game, size)
        count, parts, variance = len(rows.phase), [], np.empty(0)
        with self.moment():
            self.fresh()
            orders = _orders(count, shuffles, seed)
            most = max(1, MOST_ROWS // count - 1)
            for start in range(0, max(len(groups), 1), most):
                said, variance = self._ablated(game, rows, groups[start : start + most])
                losses = self._losses(said, rows, orders).transpose(0, 1)  # [1 + S, copies, N]
                # By target, so that those without one are the same columns everywhere.
                for shuffled, order in zip(losses[1:], orders, strict=True):
                    shuffled.copy_(shuffled[:, order.argsort()])
                parts.append(losses)
        base = parts[0][:, 0].double().numpy()
        losses = torch.cat([part[:, 1:] for part in parts], 1).double().numpy()
        # A layer of the model is not asked where there is no model; its units do nothing.
        return Ablated(base[0], losses[0], base[1:], losses[1:], np.nan_to_num(variance))

    def _ablated(self, game: str, rows: FrozenSet, groups: Sequence[Sequence[int]]) -> tuple[Heads, np.ndarray]:
        """(heads [K + 1, 1 + G, N, *] of the copy with no unit and with each group ablated, variances [U])."""
        network, asked = self._copy, self._asked
        assert network is not None, "the copy was not asked for"
        assert asked is not None
        latent, action = self._latent(network, game, rows), rows.action[:, : self.moves]
        if can_fuse(network) and self.moves:
            index = torch.full((len(latent),), network.games[game])
            said, variance = asked.ablated(index, latent, action, groups)
            return said, variance.double().numpy()
        modules, copies = dict(network.named_modules()), 1 + len(groups)
        ablation = Ablation([modules[name] for name in self._layers], self._widths)
        with ablation.running(groups):
            said = heads_apart(network, self.spec(game), action.repeat(copies, 1), latent.repeat(copies, 1, 1))
        return Heads(*(part.unflatten(1, (copies, len(latent))) for part in said)), ablation.variance.copy()

    # -- gradients ----------------------------------------------------------------------------------------------

    def lookahead(
        self, game: str, targets: Sequence[str], size: int, blocks: int, shuffles: int, seed: int
    ) -> tuple[Gradients, dict[str, Lookahead]]:
        """Gradients of `game`'s mean loss, and what steps along them do to the targets.

        Of the parameters behind the encoders, which all games share (theta_s of Fifty et al. 2021); the gradients
        handed over are of a fixed sample of them where they are many. The step is so long that it takes away 1 % of the
        loss to first order; the others are as long, down the gradients for shuffled targets.
        """
        with self.moment():
            network = self.fresh()
            parameters, found, loss = self._gradients(network, game, size, blocks, shuffles, seed)
            # Blocks that lack targets weigh less in the mean over all positions than they do here: by little.
            steps = [found[:blocks].mean(0), *found[blocks:]]
            lengths = [float(step.norm()) for step in steps]
            if min(lengths) == 0:
                raise UndefinedError(f"the gradient of {game} is zero, so no step can be made for it")
            reach = STEP_SHARE * loss / lengths[0]  # how far the step goes
            batch = self._batch(network, targets, size)
            before, after = self._now(batch), []
            sizes = [parameter.numel() for parameter in parameters]
            kept = [parameter.clone() for parameter in parameters]
            try:
                for step, length in zip(steps, lengths, strict=True):
                    torch._foreach_copy_(parameters, kept)
                    parts = [part.view_as(to) for to, part in zip(parameters, step.split(sizes), strict=True)]
                    torch._foreach_sub_(parameters, parts, alpha=reach / length)
                    after.append(self._now(batch))
            finally:
                torch._foreach_copy_(parameters, kept)
            shown = self._sampled(found)
        ahead = {}
        for target in targets:
            first, *others = (losses[target] for losses in after)
            ahead[target] = Lookahead(before[target], first, np.stack(others) if others else np.empty((0, len(first))))
        return Gradients(shown[:blocks], shown[blocks:]), ahead

    def gradients(self, game: str, size: int, blocks: int, shuffles: int, seed: int) -> Gradients:
        """Those that `lookahead` hands over with the same numbers, and no steps."""
        with self.moment():
            _, found, _ = self._gradients(self.fresh(), game, size, blocks, shuffles, seed)
            shown = self._sampled(found)
        return Gradients(shown[:blocks], shown[blocks:])

    def _gradients(
        self, network: MultiGameNetwork, game: str, size: int, blocks: int, shuffles: int, seed: int
    ) -> tuple[list[Tensor], Tensor, float]:
        """The parameters behind the encoders; gradients [M + S, P] of the mean losses of blocks of positions and for
        shuffled targets; the mean loss of all positions."""
        parameters: list[Tensor] = [
            weights for name, weights in network.named_parameters() if not name.startswith("encoders.")
        ]
        batch = self._batch(network, [game], size)
        rows = batch.rows[game]
        count, ways = len(rows.phase), 1 + shuffles
        targets = self._targets(rows).dealt(_orders(count, shuffles, seed)).each(lambda part: part.flatten(1, 2))
        with torch.enable_grad():
            said = list(self._said(network, batch)[game])
            # Each row is asked once how its loss hangs on what was said of it; the groups only weigh the rows.
            beside = [part.detach().repeat(1, ways, *[1] * (part.dim() - 2)).requires_grad_() for part in said]
            losses = self._summed(rows.game, head_losses(self.spec(game), Heads(*beside), targets))  # [ways * N]
            known = ~losses.isnan()
            by_row = torch.autograd.grad(torch.where(known, losses, 0.0).sum(), beside, allow_unused=True)
        known = known.view(ways, count)
        groups = [(0, torch.arange(count) % blocks == block) for block in range(blocks)]
        groups += [(way, torch.ones(count, dtype=torch.bool)) for way in range(1, ways)]
        shares = [_share(known[way] & member) for way, member in groups]
        used = [(part, rows) for part, rows in zip(said, by_row, strict=True) if rows is not None]
        tangents = []
        for _, gradient in used:
            apart = gradient.unflatten(1, (ways, count))  # [K + 1, 1 + S, N, *]
            tangents.append(torch.stack([
                apart[:, way] * share.view(-1, *[1] * (apart.dim() - 3))
                for (way, _), share in zip(groups, shares, strict=True)
            ]))  # fmt: skip
        found = _flat([part for part, _ in used], tangents, parameters)
        mean = float(torch.where(known[0], losses.detach()[:count], 0.0).sum() / known[0].sum())
        return parameters, found, mean

    def _sampled(self, gradients: Tensor) -> np.ndarray:
        """The places of gradients [L, P] that are handed over: all of few, a fixed random sample of many."""
        count = gradients.shape[1]
        if count > MOST_COORDINATES:
            if self._chosen[0] != count:
                generator = torch.Generator().manual_seed(label_seed(self.network.seed, "coordinates"))
                self._chosen = count, torch.randperm(count, generator=generator)[:MOST_COORDINATES].sort().values
            gradients = gradients.index_select(1, self._chosen[1])
        return gradients.numpy()

    def _batch(self, network: MultiGameNetwork, games: Sequence[str], size: int) -> _Batch:
        """Positions of several games with their latents, which no gradient goes into."""
        rows = {game: self._first(game, size) for game in games}
        counts = [len(part.phase) for part in rows.values()]
        return _Batch(
            rows,
            torch.cat([self._latent(network, game, part) for game, part in rows.items()]),
            torch.tensor([network.games[game] for game in rows]).repeat_interleave(torch.tensor(counts)),
            torch.cat([part.action[:, : self.moves] for part in rows.values()]),
            counts,
        )

    def _latent(self, network: MultiGameNetwork, game: str, rows: FrozenSet) -> Tensor:
        """[N, L, D], which no gradient goes into: of the copy, whose encoders no step moves."""
        key = "copy", game, len(rows.phase)
        return self.moment.keep(key, lambda: network.represent(game, rows.observation).detach())

    def _said(self, network: MultiGameNetwork, batch: _Batch) -> dict[str, Heads]:
        """game -> heads [K + 1, N, *] at the position and after each move, all games in one pass."""
        said = stacked_heads(network, batch.game, unroll(network, batch.game, batch.latent, batch.action))
        return dict(zip(batch.rows, heads_of_games(said, batch.counts), strict=True))

    def _now(self, batch: _Batch) -> dict[str, np.ndarray]:
        """game -> [N] losses of the copy as it is."""
        assert self._asked is not None, "the copy was not asked for"
        heads = self._asked.heads(batch.game, batch.latent, batch.action)
        said = dict(zip(batch.rows, heads_of_games(heads, batch.counts), strict=True))
        return {game: self._losses(said[game], part).double().numpy() for game, part in batch.rows.items()}

    def _first(self, game: str, size: int) -> FrozenSet:
        """The first positions of a game's set; the same object as long as the set is the same."""
        whole = self.sets[game]
        if (game, size) not in self._rows or self._rows[game, size][0] is not whole:
            self._rows[game, size] = whole, whole.some(slice(size))
        return self._rows[game, size][1]


def sharing_measure(
    network: MultiGameNetwork, sets: Mapping[str, FrozenSet], moves: int | None = None,
    moment: Moment | None = None,
) -> SharingMeasure:  # fmt: skip
    """What the monitor is handed to compare games in `network`."""
    reader = SharingReader(network, sets, moves, moment)
    return SharingMeasure(
        relation=reader.relation, labels=reader.labels, inputs=reader.inputs,
        same_inputs=reader.same_inputs, untrained=reader.untrained,
        paired=reader.paired, num_units=reader.num_units, ablated=reader.ablated, lookahead=reader.lookahead,
        gradients=reader.gradients,
    )  # fmt: skip


def _weights(network: MultiGameNetwork) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _latents(network: MultiGameNetwork, game: str, observation: Tensor) -> np.ndarray:
    return network.represent(game, observation).flatten(1).numpy()


def _root(spec: GameSpec) -> str:
    """The game that this one is under other names, or itself."""
    return spec.twin_of or spec.name


def _planes(game: str) -> Tensor | None:
    """[C] which plane of the original each plane of a twin shows; None for an original."""
    return getattr(registry.make(game).native, "planes", None) if game.startswith(("twin:", "placebo:twin:")) else None


def _orders(count: int, shuffles: int, seed: int) -> Tensor:
    """[S, N] int64: permutations in which each position is shown against another one's targets."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(count, generator=generator) for _ in range(shuffles)]
    return torch.stack(orders) if orders else torch.empty(0, count, dtype=torch.int64)


def _share(counted: Tensor) -> Tensor:
    """[N] what each row weighs in the mean over those that are counted [N] bool."""
    if not bool(counted.any()):
        raise UndefinedError("no position of a block has a target; measure more positions")
    return counted / counted.sum()


def _flat(said: Sequence[Tensor], tangents: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """[L, P] gradients in one batched pass of what hangs on `said` by `tangents`, each [L, *] of one of them; 0 for
    parameters that have no part in it."""
    found = torch.autograd.grad(said, parameters, tangents, allow_unused=True, is_grads_batched=True)
    return torch.cat(
        [
            torch.zeros(len(tangents[0]), p.numel()) if g is None else g.flatten(1)
            for g, p in zip(found, parameters, strict=True)
        ],
        1,
    )
