"""How much a network computes, in floating-point operations (a multiplication and an addition are two).

Counted by torch's own counter while the layers run on one position, so that every trunk and encoder is covered; tests
compare with counts by hand. Element-wise operations, normalisation and look-ups are not counted, as usual.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from agents.learner import LearnerConfig
from agents.network import MultiGameNetwork
from envs.game import GameSpec


@dataclasses.dataclass(frozen=True)
class Flops:
    """Of one position of one game, forward."""

    represent: int
    transition: int
    heads: int

    def unrolled(self, moves: int) -> int:
        """Of a position and the `moves` that are imagined from it."""
        return self.represent + moves * self.transition + (moves + 1) * self.heads


@torch.no_grad()
def position_flops(network: MultiGameNetwork, spec: GameSpec) -> Flops:
    """Forward FLOPs of one position of a game that the network has; where commands vary, one of them is read."""
    observation = torch.zeros((1, *spec.observation.shape), dtype=spec.observation.dtype)
    game, action = torch.tensor([network.games[spec.name]]), torch.zeros(1, dtype=torch.int64)
    found = []
    latent, commands = network.represent(spec.name, observation), network.commands(spec.name, observation)
    for step in (
        lambda: (network.represent(spec.name, observation), network.commands(spec.name, observation)),
        lambda: _transition(network, spec, latent, game, action),
        lambda: network.heads(latent, game, commands, None if spec.box is None else network.box(spec.name)),
    ):
        with FlopCounterMode(display=False) as counter:
            step()
        found.append(int(counter.get_total_flops()))
    return Flops(*found)


def _transition(network: MultiGameNetwork, spec: GameSpec, latent: Tensor, game: Tensor, action: Tensor) -> None:
    if spec.box is None:
        network.transition(latent, game, action)
    else:
        told = network.told(spec.name, torch.zeros(1, spec.box.num_dimensions))
        network.trunk(latent, told, torch.full_like(action, -1))


def update_flops(network: MultiGameNetwork, config: LearnerConfig) -> float:
    """FLOPs of one update on all games of the network: each batch forward and back, where the way back costs twice the
    way there. Searches of self-play and the target network's look at later positions are left out."""
    return float(
        sum(3 * config.batch * position_flops(network, spec).unrolled(config.unroll) for spec in network.specs)
    )


def num_parameters(network: MultiGameNetwork) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in network.parameters())
