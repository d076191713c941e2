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
from agents.learner import unroll
from agents.network import Heads, MultiGameNetwork
from envs import registry
from envs.game import GameSpec, ObservationKind
from gurgeh.frozen_losses import Targets, head_losses, heads_apart, stacked_heads, targets_of
from gurgeh.validation import FrozenSet
from monitor.measures import Ablation, collect_activations, undisturbed
from monitor.pair_cause import Ablated, Gradients, Lookahead
from monitor.pairs import OTHER, SCRAMBLED, TWIN, SharingMeasure
from monitor.refusals import UndefinedError

MOVES = 1  # that positions are followed along here
MOST_ROWS = 4096  # in one pass with ablated units
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

    def __init__(self, network: MultiGameNetwork, sets: Mapping[str, FrozenSet], moves: int | None):
        self.network, self.sets = network, sets
        self.moves = MOVES if moves is None else min(moves, MOVES)
        self._copy: MultiGameNetwork | None = None
        self._untrained: list[MultiGameNetwork] = []
        self._widths: list[int] = []
        self._chosen: tuple[int, Tensor] = 0, torch.empty(0)
        self._rows: dict[tuple[str, int], tuple[FrozenSet, FrozenSet]] = {}  # (game, size) -> whole set, first rows
        self._known: dict[tuple[str, int], tuple[FrozenSet, Targets]] = {}

    # -- networks -----------------------------------------------------------------------------------------------

    def fresh(self) -> MultiGameNetwork:
        """The copy, brought up to date; its parameters can be differentiated."""
        if self._copy is None or len(self._copy.specs) != len(self.network.specs):
            self._copy = copy.deepcopy(self.network).requires_grad_(True).eval()
            self._pairs = list(zip(_weights(self._copy), _weights(self.network), strict=True))
        with torch.no_grad():
            for mine, theirs in self._pairs:
                mine.copy_(theirs)
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
        with undisturbed(self.network):
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
        with undisturbed(self.network):
            network = self.network if number is None else self.untrained_network(number)
            return _latents(network, twin, shown)

    # -- losses of positions ------------------------------------------------------------------------------------

    def _losses(self, said: Heads, rows: FrozenSet, orders: Sequence[Tensor]) -> list[Tensor]:
        """[..., N] summed losses of heads [K + 1, ..., N, *], as they are and with rows dealt out by each order [N]:
        1 + S."""
        spec, found = self.spec(rows.game), []
        for losses in head_losses(spec, said, self._targets(rows), orders):
            if not losses:
                raise UndefinedError(
                    f"no loss of {rows.game} is defined here: without a solver there are no policy and value targets, "
                    "and a run without a model (learner.unroll=0) predicts nothing else"
                )
            stack = torch.cat(list(losses.values()))
            known = ~stack.isnan()
            # Not nansum of what is not known: its gradient would be 0 * inf where a loss there is infinite.
            found.append(torch.where(known.any(0), torch.where(known, stack, 0.0).sum(0), torch.nan))
        return found

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
            with undisturbed(self.network):
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
        with undisturbed(self.network):
            network = self.fresh()
            modules = dict(network.named_modules())
            ablation = Ablation([modules[name] for name in self._layers], self._widths)
            latent = network.represent(game, rows.observation)
            orders = _orders(count, shuffles, seed)
            most = max(1, MOST_ROWS // count - 1)
            for start in range(0, max(len(groups), 1), most):
                chunk = groups[start : start + most]
                copies = 1 + len(chunk)
                action = rows.action[:, : self.moves].repeat(copies, 1)
                with ablation.running(chunk):
                    said = heads_apart(network, self.spec(game), action, latent.repeat(copies, 1, 1))
                apart = Heads(*(part.unflatten(1, (copies, count)) for part in said))
                parts.append(torch.stack(self._losses(apart, rows, orders)))  # [1 + S, copies, N]
                variance = ablation.variance.copy()
        base = parts[0][:, 0].double().numpy()
        losses = torch.cat([part[:, 1:] for part in parts], 1).double().numpy()
        # A layer of the model is not asked where there is no model; its units do nothing.
        return Ablated(base[0], losses[0], base[1:], losses[1:], np.nan_to_num(variance))

    # -- gradients ----------------------------------------------------------------------------------------------

    def lookahead(
        self, game: str, targets: Sequence[str], size: int, blocks: int, shuffles: int, seed: int
    ) -> tuple[Gradients, dict[str, Lookahead]]:
        """Gradients of `game`'s mean loss, and what steps along them do to the targets.

        Of the parameters behind the encoders, which all games share (theta_s of Fifty et al. 2021); the gradients
        handed over are of a fixed sample of them where they are many. The step is so long that it takes away 1 % of the
        loss to first order; the others are as long, down the gradients for shuffled targets.
        """
        with undisturbed(self.network):
            network = self.fresh()
            parameters = [weights for name, weights in network.named_parameters() if not name.startswith("encoders.")]
            batch = self._batch(network, [game], size)
            with torch.enable_grad():
                orders = _orders(len(batch.rows[game].phase), shuffles, seed)
                losses = self._losses(self._said(network, batch)[game], batch.rows[game], orders)
                means = [_mean(losses[0][block::blocks]) for block in range(blocks)] + [_mean(x) for x in losses[1:]]
                found = _flat(torch.stack(means), parameters)  # [M + S, P]
            # Blocks that lack targets weigh less in the mean over all positions than they do here: by little.
            steps = [found[:blocks].mean(0), *found[blocks:]]
            lengths = [float(step.norm()) for step in steps]
            if min(lengths) == 0:
                raise UndefinedError(f"the gradient of {game} is zero, so no step can be made for it")
            reach = STEP_SHARE * float(_mean(losses[0].detach())) / lengths[0]  # how far the step goes
            batch = self._batch(network, targets, size)
            before, after = self._now(network, batch), []
            sizes = [parameter.numel() for parameter in parameters]
            for step, length in zip(steps, lengths, strict=True):
                self.fresh()
                for parameter, part in zip(parameters, step.split(sizes), strict=True):
                    parameter.sub_(part.view_as(parameter), alpha=reach / length)
                after.append(self._now(network, batch))
            self.fresh()
            shown = found[:, self._sample(found.shape[1])].numpy()
        ahead = {}
        for target in targets:
            first, *others = (losses[target] for losses in after)
            ahead[target] = Lookahead(before[target], first, np.stack(others) if others else np.empty((0, len(first))))
        return Gradients(shown[:blocks], shown[blocks:]), ahead

    def _sample(self, count: int) -> Tensor | slice:
        """Places in a gradient of `count` numbers: all of few, a fixed random sample of many."""
        if count <= MOST_COORDINATES:
            return slice(None)
        if self._chosen[0] != count:
            generator = torch.Generator().manual_seed(label_seed(self.network.seed, "coordinates"))
            self._chosen = count, torch.randperm(count, generator=generator)[:MOST_COORDINATES].sort().values
        return self._chosen[1]

    def _batch(self, network: MultiGameNetwork, games: Sequence[str], size: int) -> _Batch:
        """Positions of several games with their latents, which no gradient goes into."""
        rows = {game: self._first(game, size) for game in games}
        counts = [len(part.phase) for part in rows.values()]
        return _Batch(
            rows,
            torch.cat([network.represent(game, part.observation).detach() for game, part in rows.items()]),
            torch.tensor([network.games[game] for game in rows]).repeat_interleave(torch.tensor(counts)),
            torch.cat([part.action[:, : self.moves] for part in rows.values()]),
            counts,
        )

    def _said(self, network: MultiGameNetwork, batch: _Batch) -> dict[str, Heads]:
        """game -> heads [K + 1, N, *] at the position and after each move, all games in one pass."""
        said = stacked_heads(network, batch.game, unroll(network, batch.game, batch.latent, batch.action))
        apart = [part.split(batch.counts, 1) for part in said]  # [field][game]
        return {game: Heads(*(field[i] for field in apart)) for i, game in enumerate(batch.rows)}

    def _now(self, network: MultiGameNetwork, batch: _Batch) -> dict[str, np.ndarray]:
        """game -> [N] losses."""
        said = self._said(network, batch)
        return {game: self._losses(said[game], part, ())[0].double().numpy() for game, part in batch.rows.items()}

    def _first(self, game: str, size: int) -> FrozenSet:
        """The first positions of a game's set; the same object as long as the set is the same."""
        whole = self.sets[game]
        if (game, size) not in self._rows or self._rows[game, size][0] is not whole:
            self._rows[game, size] = whole, whole.some(slice(size))
        return self._rows[game, size][1]


def sharing_measure(
    network: MultiGameNetwork, sets: Mapping[str, FrozenSet], moves: int | None = None
) -> SharingMeasure:
    """What the monitor is handed to compare games in `network`."""
    reader = SharingReader(network, sets, moves)
    return SharingMeasure(
        relation=reader.relation, labels=reader.labels, inputs=reader.inputs,
        same_inputs=reader.same_inputs, untrained=reader.untrained,
        paired=reader.paired, num_units=reader.num_units, ablated=reader.ablated, lookahead=reader.lookahead,
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
    return getattr(registry.make(game).native, "planes", None) if game.startswith("twin:") else None


def _orders(count: int, shuffles: int, seed: int) -> list[Tensor]:
    """S permutations [N] int64 in which each position is shown against another one's targets."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(count, generator=generator) for _ in range(shuffles)]


def _mean(losses: Tensor) -> Tensor:
    """Of what is known of [N]."""
    known = ~losses.isnan()
    if not bool(known.any()):
        raise UndefinedError("no position of a block has a target; measure more positions")
    return torch.where(known, losses, 0.0).sum() / known.sum()


def _flat(losses: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """[L, P] gradients of `losses` [L], 0 for parameters that they do not depend on, in one batched pass."""
    found = torch.autograd.grad(losses, parameters, torch.eye(len(losses)), allow_unused=True, is_grads_batched=True)
    return torch.cat(
        [
            torch.zeros(len(losses), p.numel()) if g is None else g.flatten(1)
            for g, p in zip(found, parameters, strict=True)
        ],
        1,
    )
