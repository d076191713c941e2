"""Curiosity: how new what a game shows is, and which moves lead to what is new. An option of self-play, off at first.

The bonus of an observation is 1 / sqrt(visits of its cell), the mean over several tilings (Strehl and Littman 2008;
Tang et al. 2017). A tiling cuts the space of observations by random hyperplanes: few cells where observations have few
dimensions, at most 2 ** PLANES in any game. A small network of its own (Q) says how much bonus each move leads to, by
double Q-learning from the replay buffer (van Hasselt et al. 2016), with bonuses counted anew at every update. The bonus
never enters a reward, a value, a policy target or a search: it tilts which move is played, in a share of the copies.

Shape legend: N observations, C copies, F features, T tilings, A actions of the game.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.bounds import at_least, at_most
from agents.encoders import label_seed, seeded
from agents.replay import ReplayBuffer
from envs.game import GameSpec, ObservationKind

TILINGS, PLANES = 8, 16  # a cell is PLANES bits
REACH = 3.0  # hyperplanes lie at most so far from the centre, in features: 19 times the spread of random play
PIXEL_SIDE = 16  # frames are shrunk to this square
STRAY = 0.5  # a move with less of the best move's probability ends the sums of value targets
LEAST = 1e-3  # a legal move's probability before the bonus: the shares of visits of PUCT hold zeros


@dataclasses.dataclass(frozen=True)
class IntrinsicConfig:
    """Curiosity: moves that lead to what was seldom seen are played more often in self-play."""

    weight: dict[str, float] = dataclasses.field(default_factory=dict)
    """Game -> how many nats a move gains for one unit of bonus that it leads to (a position never seen has 1, one seen
    n times 1 / sqrt(n)). Games that are not named have no curiosity."""
    copies: float = 0.5
    """Share of a curious game's copies that follow the bonus; the others play as without. They are the last ones; the
    first are those of selfplay.greedy_share."""
    gamma: float = 0.99
    """Discount of the bonus; it goes on over the end of an episode (Burda et al. 2018)."""
    n_step: int = 5
    """Bonuses summed before the estimate leans on what follows."""
    batch: int = 256
    """Positions in an update of the estimate; it is made once with each update of the learner."""
    lr: float = 1e-3
    """Adam's learning rate."""

    def __post_init__(self) -> None:
        at_least("intrinsic", self, copies=0, gamma=0, n_step=1, batch=1, lr=0)
        at_most("intrinsic", self, copies=1, gamma=0.9999, n_step=1000, batch=10**6, lr=1)
        for game, weight in self.weight.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1e6:
                raise ValueError(f"intrinsic.weight.{game} must lie in 0 to 1e6, found {weight!r}")


class Novelty:
    """What is new in one game, and where it is."""

    def __init__(self, spec: GameSpec, shown: Tensor, config: IntrinsicConfig, seed: int):
        """shown [M, *shape]: observations of random play, whose centre and spread are the units of the features."""
        self.spec, self.config = spec, config
        self.generator = torch.Generator().manual_seed(label_seed(seed, "novelty", spec.name))
        flat = self._flatten(shown)
        self.center, spread = flat.mean(0), flat.std(0)
        self.spread = torch.where(spread > 1e-6, spread, 1.0)
        size, of_planes = flat.shape[1], torch.Generator().manual_seed(label_seed(seed, "tilings", spec.name))
        planes = torch.randn(size, TILINGS * PLANES, generator=of_planes)
        self.planes = planes / planes.norm(dim=0)
        self.offsets = (2 * torch.rand(TILINGS * PLANES, generator=of_planes) - 1) * REACH
        self.counts = torch.zeros(TILINGS, 2**PLANES, dtype=torch.int32)
        self.network, self.target = (self._make(size, seed) for _ in range(2))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.lr, fused=True)
        self.target.requires_grad_(False)
        self.recent = 1.0  # mean bonus of the newest step

    def _make(self, size: int, seed: int) -> nn.Sequential:
        sizes, layers = (size, 128, 128, self.spec.num_actions), []
        for number in range(3):
            layer = nn.Linear(sizes[number], sizes[number + 1])
            layers += [
                seeded(layer, seed, f"novelty {number} {self.spec.name}", 0.0 if number == 2 else 1.0),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers[:-1])

    def _flatten(self, observation: Tensor) -> Tensor:
        """[N, *shape] of the game's type -> [N, F] float32; frames are shrunk."""
        values = observation.float()
        if self.spec.observation.kind == ObservationKind.PIXELS:
            values = F.adaptive_avg_pool2d(values, (PIXEL_SIDE, PIXEL_SIDE)) / 255.0
        return values.flatten(1)

    def features(self, observation: Tensor) -> Tensor:
        """[N, *shape] -> [N, F] float32, each entry in units of its spread under random play, then symlog."""
        values = (self._flatten(observation) - self.center) / self.spread
        return torch.sign(values) * torch.log1p(values.abs())

    def cells(self, features: Tensor) -> Tensor:
        """[N, F] -> [N, T] int64: the cell of each tiling."""
        sides = (features @ self.planes > self.offsets).unflatten(1, (TILINGS, PLANES))
        return (sides * 2 ** torch.arange(PLANES)).sum(2)

    def bonus(self, features: Tensor) -> Tensor:
        """[N, F] -> [N] float32 in 0..1: 1 where nothing like it was seen yet."""
        visits = self.counts.gather(1, self.cells(features).T)  # [T, N]
        return visits.clamp(min=1).float().rsqrt().mean(0)

    @torch.no_grad()
    def see_(self, features: Tensor) -> None:
        """Count features [C, F] as seen once more."""
        cells = self.cells(features).T
        self.counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=torch.int32))
        self.recent = float(self.bonus(features).mean())

    @torch.no_grad()
    def play(self, observation: Tensor, legal: Tensor, action: Tensor, policy: Tensor) -> tuple[Tensor, Tensor]:
        """What is played, [C] int64, where otherwise `action` [C] would be and the search has improved the policy to
        `policy` [C, A]: in the copies that follow the bonus, the last ones, a draw from softmax(log policy + weight *
        Q) over the legal moves. And [C] bool, that the move is not what the policy would do: it gives it less than
        STRAY of what it gives its best. The observations [C, *shape] count as seen."""
        features = self.features(observation)
        self.see_(features)
        weight = self.config.weight[self.spec.name]
        logits = policy.clamp(min=LEAST).log() + weight * self.network(features)
        uniform = torch.rand(logits.shape, generator=self.generator).clamp(min=1e-9)  # Gumbel-max: a draw from softmax
        drawn = (logits - torch.log((-torch.log(uniform)).clamp(min=1e-9))).masked_fill(~legal, -torch.inf).argmax(1)
        follows = torch.arange(len(action)) >= len(action) - round(self.config.copies * len(action))
        strayed = policy.gather(1, drawn[:, None])[:, 0] < STRAY * policy.max(1).values
        return torch.where(follows, drawn, action), follows & strayed

    def update(self, buffer: ReplayBuffer) -> float:
        """One step of double Q-learning on positions drawn evenly; returns the mean bonus of what followed them."""
        config, n = self.config, min(self.config.n_step, buffer.window)
        flat = buffer.draw_positions(config.batch, self.generator)
        time, copy = flat // buffer.copies, flat % buffer.copies
        index = (time[:, None] + torch.arange(n + 1)) % buffer.length * buffer.copies + copy[:, None]  # [N, n + 1]
        seen = self.features(buffer.observations(index)[0].flatten(0, 1)).unflatten(0, index.shape)
        action = buffer.rows.view(-1, buffer.rows.shape[2])[flat][:, buffer.fields["action"]].long()
        legal = buffer.read(index[:, -1])[1]
        with torch.no_grad():
            bonus = self.bonus(seen[:, 1:].flatten(0, 1)).unflatten(0, (-1, n))
            best = self.network(seen[:, -1]).masked_fill(~legal, -torch.inf).argmax(1, keepdim=True)
            later = self.target(seen[:, -1]).gather(1, best)[:, 0]
            goal = (bonus * config.gamma ** torch.arange(n)).sum(1) + config.gamma**n * later
        loss = F.smooth_l1_loss(self.network(seen[:, 0]).gather(1, action)[:, 0], goal)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                list(self.target.parameters()), list(self.network.parameters()), 0.01
            )
        return float(bonus.mean())

    def state_dict(self) -> dict[str, Any]:
        """Tensors and JSON values; the tilings come from the seed."""
        return {
            "counts": self.counts,
            "center": self.center,
            "spread": self.spread,
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": {
                name: self.optimizer.state[parameter]
                for name, parameter in self.network.named_parameters()
                if parameter in self.optimizer.state
            },
            "generator": self.generator.get_state(),
            "recent": self.recent,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; ValueError where it belongs to other observations or actions."""
        try:
            self.network.load_state_dict(state["network"])
            self.target.load_state_dict(state["target"])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{self.spec.name}: the saved curiosity does not fit this version: {reason}") from error
        self.counts, self.center, self.spread = state["counts"], state["center"], state["spread"]
        parameters = dict(self.network.named_parameters())
        for name, moments in state["optimizer"].items():
            self.optimizer.state[parameters[name]] = dict(moments)
        self.generator.set_state(state["generator"])
        self.recent = state["recent"]
