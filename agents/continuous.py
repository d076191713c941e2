"""Continuous actions (`GameSpec.box`): what the network has for them. Their searches are in agents/sampled.py.

Inside agents an action is a point of the unit box, D numbers from -1 to 1, whatever the game's own units are; `to_game`
turns it into what the game is told. The policy is a normal distribution with independent coordinates, squashed by tanh
(`search.Gaussian`, which has the density).

Shape legend: B rows, D numbers of an action, W width of what the trunk is told, H hidden width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.encoders import seeded
from envs.game import Box
from search import Gaussian

if TYPE_CHECKING:
    from agents.network import NetworkConfig

_GAIN = 0.35  # of what leaves the encoder: a move is told about as loudly as by a row of a table
MEAN_LIMIT = 3.0  # of the mean before the squashing: tanh(3) is 0.995, and beyond it float32 keeps little
DEVIATIONS = 0.1, 2.0  # least and largest standard deviation before the squashing
_WIDE = 1.0  # of the logit between the two with which a game begins: a deviation of 0.9, most of the box


def to_game(box: Box, action: Tensor) -> Tensor:
    """Actions [..., D] of the unit box in the game's units."""
    return box.at((action + 1) / 2)


def to_unit(box: Box, action: Tensor) -> Tensor:
    """Actions [..., D] in the game's units as points of the unit box."""
    low, high = box.bounds()
    return ((2 * action - low - high) / (high - low)).clamp(-1, 1)


class BoxActions(nn.Module):
    """The actions of one game: the head of its policy, and what the trunk is told of a move."""

    def __init__(self, config: NetworkConfig, condition_width: int, num_dimensions: int, seed: int):
        super().__init__()
        self.policy = Gaussian(num_dimensions)
        self.head = seeded(nn.Linear(config.hidden, 2 * num_dimensions), seed, "policy of a box", 0.1)
        self.speaks = seeded(nn.Linear(num_dimensions, config.hidden), seed, "actions of a box speak")
        with torch.no_grad():  # the kinks of the ReLUs lie all over the box, not all in its middle
            where = torch.rand(config.hidden, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            self.speaks.bias.copy_(where * self.speaks.weight.norm(dim=1))
        self.move = seeded(nn.Linear(config.hidden, condition_width), seed, "actions of a box move", _GAIN)

    def parameters_of(self, hidden: Tensor) -> Tensor:
        """hidden [B, H] -> [B, 2 D], as `search.Gaussian` takes them."""
        mean, spread = self.head(hidden).chunk(2, 1)
        low, high = (math.log(bound) for bound in DEVIATIONS)
        deviation = low + (high - low) * torch.sigmoid(spread + _WIDE)
        return torch.cat([MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT), deviation], 1)

    def tell(self, action: Tensor) -> Tensor:
        """action [..., D] of the unit box -> [..., W]."""
        return self.move(F.relu(self.speaks(action)))

    def loss(self, parameters: Tensor, samples: Tensor, target: Tensor) -> Tensor:
        """[...]: -sum_k target log pi(sample), the cross-entropy of the improved policy over the samples, in nats of a
        density over the unit box; it may be negative. parameters [..., 2 D], samples [..., K, D], target [..., K]."""
        shape, (count, size) = target.shape[:-1], samples.shape[-2:]
        logarithm = self.policy.log_prob(parameters.reshape(-1, 2 * size), samples.reshape(-1, count, size))
        return -(target * logarithm.view(target.shape)).sum(-1).view(shape)
