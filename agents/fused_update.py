"""The parts of a compiled update together: batches, encoders, losses and gradients, descent, and what is reported.

`Learner.sample`, `_backward` and `descend` are the same in torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from agents.adamw import Pairs, descend_, table_of
from agents.batches import Batch, Sampler
from agents.consistency import Consistency
from agents.fused import Answer, Gradients, Step
from agents.fused_encoders import Encoding
from agents.network import MultiGameNetwork
from agents.replay import ReplayBuffer
from envs.game import GameSpec
from search.compile import compiled

if TYPE_CHECKING:
    from agents.learner import LearnerConfig

HEADS = ("policy", "value", "reward", "continuation", "next_mover")


class FusedUpdate:
    """Updates on some games, in memory that is taken once. It holds where weights and moments lie: `fits` says whether
    they still do."""

    def __init__(
        self,
        config: LearnerConfig,
        network: MultiGameNetwork,
        averaged: MultiGameNetwork,
        specs: Sequence[GameSpec],
        pairs: Pairs,
        predictor: nn.Sequential | None = None,
    ):
        """specs: the games of the batches, in their order; pairs: all parameters and their averages; predictor: of the
        consistency loss, None without it."""
        self.config, self.pairs, self.names = config, pairs, [spec.name for spec in specs]
        self.scales = [float(network.tables.scale[network.games[name]]) for name in self.names]
        self.gradients: Gradients = {}
        self.sampler = Sampler(config, averaged, specs)
        self.encoding = Encoding(network, specs, config.batch, self.gradients)
        self.step = Step(network, config.batch * len(specs), config.unroll, self.gradients)
        self.trained, self.consistency = pairs, None
        if predictor is not None:
            self.consistency = Consistency(
                predictor, averaged, {spec: config.imagines(spec) for spec in specs}, config.batch, config.unroll,
                config.consistency_loss, self.gradients,
            )  # fmt: skip
            self.trained = [*pairs, *((parameter, None) for parameter in predictor.parameters())]
        self.table: np.ndarray | None = None
        self._lies = self._addresses()

    def _addresses(self) -> list[int]:
        """Of one parameter and its average: what moves one (`Module.to`) moves all."""
        return [tensor.data_ptr() for tensor in self.pairs[0] if tensor is not None]

    def fits(self, names: Sequence[str], pairs: Pairs) -> bool:
        """Whether this is made for these games and parameters, and they lie where they lay."""
        return self.names == list(names) and self.pairs is pairs and self._lies == self._addresses()

    def draw(self, buffers: Sequence[ReplayBuffer], gamma: float, generator: torch.Generator) -> Batch:
        """See `Sampler.draw`."""
        return self.sampler.draw(buffers, gamma, generator)

    def backward(self, batch: Batch, copies: Sequence[int]) -> Answer:
        """Losses; copies: of each game's replay buffer. The gradients lie in the parameters' `grad` then, None where a
        parameter had no part in them."""
        for parameter, _ in self.trained:
            parameter.grad = self.gradients.get(parameter)
        parts = [part.shown for part in batch.parts]
        latent = self.encoding.run(parts)
        beside = None
        if self.consistency is not None:
            beside = functools.partial(self.consistency.run, batch.parts, copies, batch.aims)
        answer = self.step.run(latent, batch.aims, self.config.value_loss, self.config.reward_loss, beside)
        self.encoding.back_(parts, answer.latent_gradient)
        return answer

    def descend(self, optimizer: torch.optim.AdamW, decay: float) -> float:
        """Clip, step, move the averages; returns the gradients' norm before."""
        if self.table is None or not self.encoding.fixed:
            self.table = table_of(optimizer, self.trained)
        return descend_(optimizer, self.table, self.config.max_grad_norm, decay)

    def report(self, batch: Batch, answer: Answer) -> dict[str, dict[str, float]]:
        """game -> head -> mean loss: policy and value of the sampled positions, the others over the moves."""
        return {
            part.spec.name: dict(zip(HEADS, _means(answer.losses, part.rows.start, part.rows.stop), strict=True))
            for part in batch.parts
        }

    def value_errors(self, batch: Batch, answer: Answer) -> dict[str, float]:
        """game -> the (lower) median of its rows' errors, in its units; NaN if one is."""
        found = {}
        for part, scale in zip(batch.parts, self.scales, strict=True):
            errors = np.sort(answer.value_error[part.rows])  # NaN comes last
            middle = errors[-1] if errors[-1] != errors[-1] else errors[(len(errors) - 1) // 2]
            found[part.spec.name] = float(middle) * scale
        return found


@compiled
def _means(losses, first, last):
    """Means over rows first..last of losses [5, K + 1, N]: of the first position, and of the moves."""
    steps, rows = losses.shape[1] - 1, last - first
    policy, value, reward, continuation, mover = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(first, last):
        policy += losses[0, 0, i]
        value += losses[1, 0, i]
        for k in range(1, steps + 1):
            reward += losses[2, k, i]
            continuation += losses[3, k, i]
            mover += losses[4, k, i]
    moves = rows * steps
    return policy / rows, value / rows, reward / moves, continuation / moves, mover / moves
