"""How the monitor reaches a network: frozen losses, latents and activations, without leaving a trace.

Shape legend: N positions, K moves that follow, A actions, P players. The averaged (EMA) weights are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.network import Heads, MultiGameNetwork
from envs.game import GameSpec
from gurgeh.frozen_losses import Targets, frozen_losses, losses_of_games, targets_of
from gurgeh.frozen_network import FrozenNetwork
from gurgeh.moment import Moment
from gurgeh.sharing import sharing_measure
from gurgeh.validation import FrozenSet
from monitor import Measure
from monitor.measures import collect_activations

CHUNK = 256  # positions in one call at most
KEPT = 256  # positions of a game whose targets are kept: those that are measured again and again


class Chunk(NamedTuple):
    """Some positions of a frozen set, with their targets."""

    start: int  # where they begin in the set
    rows: FrozenSet
    targets: Targets


def measure(network: MultiGameNetwork, sets: dict[str, FrozenSet], moves: int | None = None) -> Measure:
    """The functions that the monitor is given; sets: game -> its frozen validation set.

    moves: how many moves positions are followed along; None: all that the sets hold. 0 for a network whose model is
    not trained: neither its losses nor what its trunk puts out is then looked at.
    """

    cut: dict[str, tuple[FrozenSet, dict[tuple[int, int], Chunk]]] = {}  # game -> its set, (start, stop) -> chunk
    moment, asked = Moment(network), FrozenNetwork(network)

    def chunk(game: str, start: int, stop: int) -> Chunk:
        whole = sets[game]
        if game not in cut or cut[game][0] is not whole:
            cut[game] = whole, {}
        chunks = cut[game][1]
        if (start, stop) in chunks:
            return chunks[start, stop]
        rows = whole.some(slice(start, stop))
        made = Chunk(start, rows, targets_of(network, spec(game), rows, moves))
        if stop <= KEPT:
            chunks[start, stop] = made
        return made

    def in_chunks(game: str, size: int, function: Callable[[Chunk], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        size, parts = min(size, len(sets[game])), []
        with moment():
            for start in range(0, size, CHUNK):
                parts.append(function(chunk(game, start, min(start + CHUNK, size))))
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def spec(game: str) -> GameSpec:
        return network.specs[network.games[game]]

    def latent(part: Chunk) -> Tensor:
        game, rows = part.rows.game, part.rows
        return moment.keep((game, part.start, len(rows.phase)), lambda: asked.represent(game, rows.observation))

    def losses_of(part: Chunk) -> dict[str, np.ndarray]:
        if not _from_a_table(part.rows):
            return frozen_losses(network, spec(part.rows.game), part.rows, moves, part.targets, latent(part))
        return losses_of_games(asked, [(part.rows, part.targets, latent(part))], moves)[0]

    def losses(game: str, size: int) -> dict[str, np.ndarray]:
        return in_chunks(game, size, losses_of)

    def losses_together(games: Sequence[str], size: int) -> dict[str, dict[str, np.ndarray]]:
        """The games that can go into one pass do so, in groups of those with equally many moves."""
        groups: dict[int, list[str]] = {}
        for game in games:
            if size <= CHUNK and _from_a_table(sets[game]):
                groups.setdefault(sets[game].action.shape[1], []).append(game)
        found = {}
        with moment():
            for group in groups.values():
                parts = [chunk(game, 0, min(size, len(sets[game]))) for game in group]
                shown = [(part.rows, part.targets, latent(part)) for part in parts]
                found |= zip(group, losses_of_games(asked, shown, moves), strict=True)
            return {game: found[game] if game in found else losses(game, size) for game in games}

    def active(part: Chunk) -> dict[str, np.ndarray]:
        game, rows = part.rows.game, part.rows
        index = torch.full((len(rows.phase),), network.games[game])
        found = asked.activity(index, latent(part), rows.action[:, 0] if moves != 0 else None)
        return activations(network, game, rows, moves != 0, latent(part)) if found is None else found

    return Measure(
        losses=losses,
        phase=lambda game, size: sets[game].phase[:size].numpy(),
        latents=lambda game, size: in_chunks(game, size, lambda part: {"": latent(part).flatten(1).numpy()})[""],
        activations=lambda game, size: in_chunks(game, size, active),
        sharing=sharing_measure(network, sets, moves, moment),
        moment=moment,
        losses_together=losses_together,
    )


def activations(
    network: MultiGameNetwork, game: str, rows: FrozenSet, move: bool = True, latent: Tensor | None = None
) -> dict[str, np.ndarray]:
    """layer -> [N, units] mean |activation| of the hidden layers that all games share, after one move of the learned
    model; without `move` at the position itself. latent: [N, L, D] of `rows`, if it is at hand."""
    index = torch.full((len(rows.phase),), network.games[game])
    shown = network.represent(game, rows.observation) if latent is None else latent

    def look() -> Heads:
        return network.heads(network.transition(shown, index, rows.action[:, 0]) if move else shown, index)

    return collect_activations(network, look, (torch.nn.ReLU,))


def _from_a_table(frozen: FrozenSet) -> bool:
    """Whether its moves are entries of the network's table: no commands that vary, no points of a box."""
    return frozen.command is None and frozen.point is None
