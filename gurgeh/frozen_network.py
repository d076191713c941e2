"""A network that is asked about frozen positions again and again: its forward pass in memory that is taken once.

A small network's pass is a dozen matrix products, and through modules and fresh memory it costs three times as much as
those. What is written out here is the mlp trunk with its heads, and the encoders that `agents.fused_encoders` has
compiled; everything else goes through the network itself. Both give the same numbers up to rounding, and either the
same to the bit for the same network and call.

Shape legend: N positions, K moves, D width, H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.fused import can_fuse
from agents.fused_encoders import Encoding, Shown
from agents.learner import unroll
from agents.network import Heads, MultiGameNetwork
from agents.trunks import MLPTrunk

MOST = 256  # positions of one game that the compiled encoders take in one call


class FrozenNetwork:
    """`represent` and `heads` of `network` as it is now; what they return is valid until the next call."""

    def __init__(self, network: MultiGameNetwork):
        self.network = network
        self._encoding: Encoding | None = None
        self._made_for: tuple[int, int] = 0, 0  # how many games, and where a parameter lies
        self._rooms: dict[str, Tensor] = {}

    def represent(self, game: str, observation: Tensor) -> Tensor:
        """[N, L, D] latents of observations [N, *shape] of one game."""
        network = self.network
        if not can_fuse(network) or len(observation) > MOST:
            return network.represent(game, observation)
        now = len(network.specs), network.torso.weight.data_ptr()
        if self._encoding is None or self._made_for != now:
            self._encoding, self._made_for = Encoding(network, network.specs, MOST, None), now
        shown = Shown(game, observation.contiguous(), np.arange(len(observation)))
        return self._encoding.run([shown])[:, None].clone()

    @torch.no_grad()
    def heads(self, game: Tensor, latent: Tensor, action: Tensor) -> Heads:
        """[K + 1, N, *] what is said at latent [N, L, D] and after each of the moves action [N, K] of games [N] whose
        commands do not vary."""
        return self.heads_in_two(game, latent, action, len(game))[0]

    @torch.no_grad()
    def heads_in_two(self, game: Tensor, latent: Tensor, action: Tensor, judged: int) -> tuple[Heads, Heads]:
        """The same of the first `judged` rows and of those behind them, of which policy and value are not asked for,
        nor anything before the first move: what is said there means nothing."""
        network, trunk = self.network, self.network.trunk
        count, steps = action.shape
        if not (can_fuse(network) and isinstance(trunk, MLPTrunk)):
            latents = unroll(network, game, latent, action)
            said = network.heads(latents.flatten(0, 1), game.repeat(steps + 1))
            whole = [part.unflatten(0, latents.shape[:2]) for part in said]
            return Heads(*(part[:, :judged] for part in whole)), Heads(*(part[:, judged:] for part in whole))
        width, core = network.width, network.core
        latents = self._room("latents", (steps + 1) * count, width).view(steps + 1, count, width)
        latents[0] = latent[:, 0]
        condition = network.condition(game[:, None].expand(-1, steps), action)
        hidden, between = self._room("hidden", count, trunk.condition_width), self._room("between", count, width)
        for step in range(steps):
            token = latents[step]
            for inward, outward in zip(trunk.inward, trunk.outward, strict=True):
                _linear_(inward, token, hidden).add_(condition[:, step]).relu_()
                token = F.layer_norm(_linear_(outward, hidden, between).add_(token), (width,))
            latents[step + 1] = token
        whole = self._said(self._read(latents[:, :judged]), game[:judged])
        whole = Heads(*(part.unflatten(0, (steps + 1, judged)) for part in whole))
        behind, first = count - judged, core.sizes[0] + core.num_bins
        # The rest of the rows are reward, continuation and mover; of the position itself they mean nothing either.
        rest = self._room("rest", (steps + 1) * behind, len(core.weight) - first)
        torch.addmm(core.bias[first:], self._read(latents[1:, judged:]), core.weight[first:].T, out=rest[behind:])
        reward, continuation, mover = rest.unflatten(0, (steps + 1, behind)).split([core.num_bins, *core.sizes[2:]], 2)
        reward = reward[:, :, None]
        return whole, Heads(reward, reward, reward, continuation[:, :, 0], mover)

    def _read(self, latents: Tensor) -> Tensor:
        """[R * N, H] what the torso puts out of latents [R, N, D]; valid until the next call."""
        rows = latents.flatten(0, 1)
        return _linear_(self.network.torso, rows, self._room("read", len(rows), self.network.config.hidden)).relu_()

    @torch.no_grad()
    def activity(self, game: Tensor, latent: Tensor, action: Tensor | None) -> dict[str, np.ndarray] | None:
        """Layer -> [N, units] |activation| of the hidden layers after one move action [N] (None: before any) at latent
        [N, L, D]; None for networks that `can_fuse` does not know."""
        network, trunk, found = self.network, self.network.trunk, {}
        if not (can_fuse(network) and isinstance(trunk, MLPTrunk)):
            return None
        token = latent[:, 0]
        if action is not None:
            condition = network.condition(game, action)
            for number, (inward, outward) in enumerate(zip(trunk.inward, trunk.outward, strict=True)):
                hidden = F.relu(inward(token) + condition)
                found[f"trunk.activations.{number}"] = hidden.numpy()  # nothing is below 0
                token = F.layer_norm(token + outward(hidden), (network.width,))
        return found | {"activation": F.relu(network.torso(token)).numpy()}

    def _said(self, read: Tensor, game: Tensor) -> Heads:
        """Heads [R * N, *] of what the torso puts out [R * N, H], the rows of games [N] again and again."""
        network, core = self.network, self.network.core
        output = _linear_(core, read, self._room("output", len(read), len(core.weight)))
        policy, scalars, continuation, mover = output.split(core.sizes, 1)
        if len(network.policy_blocks):
            policy = torch.cat([policy, *(block(read) for block in network.policy_blocks)], 1)
        value, reward = scalars.unflatten(1, (2, core.num_bins)).split(1, 1)
        logits = policy.gather(1, network.tables.action_row[game].repeat(len(read) // max(1, len(game)), 1))
        return Heads(logits, value, reward, continuation[:, 0], mover)

    @torch.no_grad()
    def ablated(
        self, game: Tensor, latent: Tensor, action: Tensor, groups: Sequence[Sequence[int]]
    ) -> tuple[Heads, Tensor]:
        """(heads [K + 1, 1 + G, N, *] with no unit ablated and then with each group of units, variances [U]) for rows
        [N] of one game: what `monitor.measures.Ablation` does with hooks, and only what a group changes worked out.

        Units are numbered through the blocks of the trunk, then the torso. For networks that `can_fuse` knows.
        """
        network, trunk = self.network, self.network.trunk
        assert isinstance(trunk, MLPTrunk), "can_fuse was not asked"
        count, steps = action.shape
        sizes = [trunk.condition_width] * len(trunk.inward) + [network.config.hidden]
        inside = _by_layer(groups, sizes)  # of each layer: group -> its units there
        moved = sorted({group for layer in inside[:-1] for group in layer})
        copy_of = {group: 1 + place for place, group in enumerate(moved)}  # in what the trunk works out
        variance = torch.full((sum(sizes),), torch.nan)
        condition = network.condition(game[:, None].expand(-1, steps), action)
        latents = [latent.transpose(0, 1)]  # [1 or 1 + M, N, D]
        for step in range(steps):
            token = latents[-1]
            for number, (inward, outward) in enumerate(zip(trunk.inward, trunk.outward, strict=True)):
                hidden = F.relu(inward(token) + condition[:, step])
                first = number * trunk.condition_width
                if step == 0:
                    variance[first : first + hidden.shape[-1]] = hidden[0].var(0, correction=0)
                if len(hidden) == 1:  # the copies part here
                    hidden, token = hidden.repeat(1 + len(moved), 1, 1), token.expand(1 + len(moved), -1, -1)
                _replace_(hidden, {copy_of[group]: units for group, units in inside[number].items()})
                token = F.layer_norm(token + outward(hidden), (network.width,))
            latents.append(token)
        parts = []
        for token in latents:
            read = F.relu(network.torso(token))  # [1 or 1 + M, N, H]
            if token is latents[0]:
                variance[-read.shape[-1] :] = read[0].var(0, correction=0)
            reading = inside[-1]
            changed = sorted(reading) if len(read) == 1 else sorted({*moved, *reading})
            sources = [copy_of.get(group, 0) if len(read) > 1 else 0 for group in changed]
            told = read[[0, *sources]]
            at = {group: 1 + place for place, group in enumerate(changed)}
            _replace_(told, {at[group]: units for group, units in reading.items()})
            said = self._said(told.flatten(0, 1), game)
            whole = torch.tensor([0, *(at.get(group, 0) for group in range(len(groups)))])
            parts.append([part.unflatten(0, (-1, count))[whole] for part in said])
        return Heads(*map(torch.stack, zip(*parts, strict=True))), variance

    def _room(self, name: str, rows: int, width: int) -> Tensor:
        """[rows, width] to be written into."""
        room = self._rooms.get(name)
        if room is None or len(room) < rows or room.shape[1] != width:
            room = self._rooms[name] = torch.empty(rows, width)
        return room[:rows]


def _linear_(layer: torch.nn.Module, rows: Tensor, out: Tensor) -> Tensor:
    """`layer` of rows [N, I], written to out [N, O]."""
    assert isinstance(layer.bias, Tensor)
    assert isinstance(layer.weight, Tensor)
    return torch.addmm(layer.bias, rows, layer.weight.T, out=out)


def _by_layer(groups: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[dict[int, list[int]]]:
    """Of each layer, which has sizes[i] units: group -> its units there, counted from the layer's first."""
    found: list[dict[int, list[int]]] = [{} for _ in sizes]
    for group, units in enumerate(groups):
        for unit in units:
            layer = 0
            while unit >= sizes[layer]:
                unit, layer = unit - sizes[layer], layer + 1
            found[layer].setdefault(group, []).append(unit)
    return found


def _replace_(hidden: Tensor, units: Mapping[int, Sequence[int]]) -> None:
    """In hidden [C, N, H]: of copy c the units[c] give their mean over the rows of the first copy."""
    copies = torch.tensor([copy for copy, members in units.items() for _ in members], dtype=torch.int64)
    places = torch.tensor([unit for members in units.values() for unit in members], dtype=torch.int64)
    hidden[copies, :, places] = hidden[0].mean(0)[places, None]
