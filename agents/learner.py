"""The learner: unroll the model along what was played and make it say what it should have said.

Shape legend: N rows of all games, K unroll steps, A actions of the widest game, R relative seats, V value bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.encoders import label_seed, seeded
from agents.network import MultiGameNetwork, num_values, to_relative
from agents.replay import ReplayBuffer, Window
from agents.selfplay import pad_last
from agents.support import decode, two_hot
from agents.targets import make_targets
from envs.game import GameSpec, Symmetries

MISSING_LOGIT = -1e9  # for actions that a row's game lacks


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """One update."""

    batch: int = 128
    """Positions of each game in an update."""
    updates_per_step: float = 1.0
    """Updates made for one step of all copies; never decided by how fast the machine is."""
    start_steps: int = 1_000
    """Steps of a game (all copies together) that are stored before it is learnt from."""
    reanalyse: int = 0
    """Stored positions of each game that are searched again with the present network before an update."""
    unroll: int = 3
    """K, moves the model is unrolled along."""
    n_step: int = 5
    """Rewards summed before the value target leans on the search's value."""
    search_share: float = 0.0
    """Share of the search's own value of the position in the value target."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0 at the beginning."""
    final_lr_share: float = 0.1
    """The learning rate falls linearly to this share over the last part of the run ..."""
    decay_share: float = 0.3
    """... which is this share of all updates."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 5.0
    """Gradients are scaled down to this norm."""
    ema: float = 0.99
    """Decay of the averaged weights that act, reanalyse and are evaluated."""
    value_loss: float = 0.5
    """Weight of the value loss."""
    reward_loss: float = 1.0
    """Weight of the reward loss."""
    consistency_loss: float = 0.0
    """Weight of the latent consistency loss (Ye et al. 2021, EfficientZero); 0 leaves it out."""
    symmetries: bool = True
    """Use the symmetries that a game declares as data augmentation."""


class Sample(NamedTuple):
    """What an update needs of one game: N windows turned to targets, seen by the movers; A is the game's own."""

    spec: GameSpec
    observation: Tensor  # [N, *shape]
    next_observation: Tensor  # [N, K, *shape], or empty without the consistency loss
    action: Tensor  # [N, K] int64
    policy: Tensor  # [N, K + 1, A] float32
    policy_known: Tensor  # [N, K + 1] bool
    value: Tensor  # [N, K + 1, R] float32, in the game's units
    alive: Tensor  # [N, K + 1] bool
    reward: Tensor  # [N, K, R] float32
    continues: Tensor  # [N, K] bool
    moved: Tensor  # [N, K] bool
    next_mover: Tensor  # [N, K] int64, seats from the mover on
    weight: Tensor  # [N] float32


def make_sample(spec: GameSpec, window: Window, config: LearnerConfig, gamma: float) -> Sample:
    """Targets of a replay window in the movers' view."""
    targets = make_targets(window, config.unroll, config.n_step, gamma, config.search_share)
    count, unroll, players = num_values(spec), config.unroll, spec.num_players
    to_play = window.to_play[:, : unroll + 1]
    return Sample(
        spec=spec,
        observation=window.observation,
        next_observation=window.next_observation[:, :unroll] if len(window.next_observation) else torch.empty(0),
        action=window.action[:, :unroll],
        policy=window.policy[:, : unroll + 1],
        policy_known=targets.alive & window.trainable[:, : unroll + 1],
        value=to_relative(targets.value, to_play, players, count),
        alive=targets.alive,
        reward=to_relative(targets.reward, to_play[:, :-1], players, count),
        continues=targets.continues,
        moved=targets.moved,
        next_mover=(to_play[:, 1:] - to_play[:, :-1]) % players,
        weight=window.weight,
    )


def apply_symmetries(sample: Sample, symmetries: Symmetries, generator: torch.Generator) -> Sample:
    """Show each row under a random symmetry of its game."""
    rows = len(sample.action)
    cells, actions = torch.tensor(symmetries.cells), torch.tensor(symmetries.actions)
    pick = torch.randint(len(cells), (rows,), generator=generator)

    def turn(observation: Tensor) -> Tensor:
        lead = observation.dim() - 2  # dimensions between the rows and the flattened board
        index = cells[pick].reshape(rows, *[1] * (lead - 1), -1)
        flat = observation.flatten(-2)
        return flat.gather(-1, index.expand(*flat.shape[:-1], -1)).view_as(observation)

    old = torch.argsort(actions, 1)[pick]  # [N, A] the old name of each new action
    return sample._replace(
        observation=turn(sample.observation),
        next_observation=turn(sample.next_observation) if len(sample.next_observation) else sample.next_observation,
        action=actions[pick].gather(1, sample.action),
        policy=sample.policy.gather(2, old[:, None].expand_as(sample.policy)),
    )


class Losses(NamedTuple):
    """Per row and unrolled step, unweighted; positions that do not count are 0."""

    policy: Tensor  # [N, K + 1] cross-entropy in nats
    value: Tensor  # [N, K + 1]
    reward: Tensor  # [N, K]
    continuation: Tensor  # [N, K]
    next_mover: Tensor  # [N, K]
    consistency: Tensor  # [N, K] 1 - cosine, or zeros
    value_error: Tensor  # [N] |decoded value - target| of the first position, in the game's units


def unroll(network: MultiGameNetwork, game: Tensor, latent: Tensor, action: Tensor) -> Tensor:
    """[K + 1, N, L, D] latents along action [N, K]; gradients into each earlier latent are halved (MuZero app. G)."""
    latents = [latent]
    for k in range(action.shape[1]):
        latent = network.transition(latent, game, action[:, k])
        latents.append(latent)
        latent = latent * 0.5 + latent.detach() * 0.5
    return torch.stack(latents)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """[...] -sum target log softmax(logits) over the last dimension."""
    return -(target * torch.log_softmax(logits, -1)).sum(-1)


class Learner:
    """Network, averaged network, optimiser; `update` is one step."""

    def __init__(self, network: MultiGameNetwork, averaged: MultiGameNetwork, config: LearnerConfig, seed: int):
        self.network, self.averaged, self.config, self.seed = network, averaged, config, seed
        self.generator = torch.Generator().manual_seed(label_seed(seed, "learner"))
        self.num_updates = 0
        latent, hidden = network.num_tokens * network.width, network.config.hidden
        self.predictor = nn.Sequential(  # of the consistency loss; the averaged network is the target (Grill et al. 2020)
            seeded(nn.Linear(latent, hidden), seed, "predictor 1"),
            nn.ReLU(),
            seeded(nn.Linear(hidden, latent), seed, "predictor 2"),
        )
        self.optimizer = torch.optim.AdamW(
            self._parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
        )

    def _named_parameters(self) -> dict[str, nn.Parameter]:
        named = {f"network.{name}": parameter for name, parameter in self.network.named_parameters()}
        if self.config.consistency_loss:
            named |= {f"predictor.{name}": parameter for name, parameter in self.predictor.named_parameters()}
        return named

    def _parameters(self) -> list[nn.Parameter]:
        return list(self._named_parameters().values())

    def add_game(self, spec: GameSpec) -> None:
        """Grow both networks; the optimiser takes the new parameters in and keeps the moments of the old."""
        self.network.add_game(spec)
        self.averaged.add_game(spec)
        known = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        new = [parameter for parameter in self._parameters() if id(parameter) not in known]
        self.optimizer.param_groups[0]["params"].extend(new)

    def learning_rate(self, total_updates: int) -> float:
        """Linear rise, constant, linear fall over the last `decay_share` of the run."""
        config, done = self.config, self.num_updates
        rise = min(1.0, (done + 1) / max(1, config.warmup))
        left = max(0.0, (total_updates - done) / max(1.0, config.decay_share * total_updates))
        return config.lr * rise * (config.final_lr_share + (1 - config.final_lr_share) * min(1.0, left))

    def sample(self, buffers: dict[str, ReplayBuffer], gamma: float) -> tuple[list[Sample], list[Tensor]]:
        """One batch of every game and the replay positions it came from."""
        samples, indices = [], []
        for buffer in buffers.values():
            window = buffer.sample(self.config.batch, self.generator)
            sample = make_sample(buffer.spec, window, self.config, gamma)
            if self.config.symmetries and buffer.spec.symmetries is not None:
                sample = apply_symmetries(sample, buffer.spec.symmetries, self.generator)
            samples.append(sample)
            indices.append(window.index)
        return samples, indices

    def losses(self, samples: Sequence[Sample]) -> Losses:
        """Losses of every row, games in the order of `samples`."""
        network = self.network
        game = torch.cat([torch.full((len(s.action),), network.games[s.spec.name]) for s in samples])
        latent = torch.cat([network.represent(s.spec.name, s.observation) for s in samples])
        latents = unroll(network, game, latent, torch.cat([s.action for s in samples]))
        depth = len(latents)
        heads = network.heads(latents.flatten(0, 1), game.repeat(depth))
        steps = depth - 1

        def fold(rows: Tensor) -> Tensor:
            """[(K + 1) N, ...] -> [N, K + 1, ...]."""
            return rows.unflatten(0, (depth, -1)).transpose(0, 1)

        widest = network.tables.exists.shape[1]
        policy_logits = fold(heads.policy).masked_fill(~network.tables.exists[game][:, None], MISSING_LOGIT)
        policy = cross_entropy(policy_logits, torch.cat([pad_last(s.policy, widest) for s in samples]))
        policy = policy * torch.cat([s.policy_known for s in samples])

        alive = torch.cat([s.alive for s in samples])
        moved = torch.cat([s.moved for s in samples])
        seats = heads.value.shape[1]
        stored = network.tables.num_values[game][:, None] > torch.arange(seats)  # [N, R]
        scale = network.tables.scale[game][:, None, None]
        value_target = torch.cat([pad_last(s.value, seats) for s in samples]) / scale
        value_logits = fold(heads.value)
        value = cross_entropy(value_logits, two_hot(value_target, network.bins)) * stored[:, None]
        reward_target = torch.cat([pad_last(s.reward, seats) for s in samples]) / scale
        reward = cross_entropy(fold(heads.reward)[:, 1:], two_hot(reward_target, network.bins)) * stored[:, None]
        continues = torch.cat([s.continues for s in samples]).float()
        continuation = F.binary_cross_entropy_with_logits(
            fold(heads.continuation)[:, 1:], continues, reduction="none"
        )
        mover_logits = fold(heads.next_mover)[:, 1:]
        taken = torch.arange(mover_logits.shape[-1]) < network.tables.num_players[game][:, None]
        mover_logits = mover_logits.masked_fill(~taken[:, None], MISSING_LOGIT)
        next_mover = torch.cat([s.next_mover for s in samples])
        mover = F.cross_entropy(mover_logits.flatten(0, 1), next_mover.flatten(), reduction="none").view_as(continues)
        consistency = self._consistency(latents, samples) if self.config.consistency_loss else torch.zeros_like(continues)
        with torch.no_grad():
            error = (decode(value_logits[:, 0, 0], network.bins) - value_target[:, 0, 0]).abs()
        return Losses(
            policy=policy,
            value=value.sum(-1) * alive,
            reward=reward.sum(-1) * moved,
            continuation=continuation * moved,
            # After the end of a game nobody moves next.
            next_mover=mover * (moved & alive[:, 1:]),
            consistency=consistency * (moved & alive[:, 1:]),
            value_error=error,
        )

    def _consistency(self, latents: Tensor, samples: Sequence[Sample]) -> Tensor:
        """[N, K] 1 - cosine of predicted and encoded next latents, the encoded side without gradient."""
        steps = len(latents) - 1
        with torch.no_grad():
            seen = torch.cat(
                [
                    self.averaged.represent(s.spec.name, s.next_observation.flatten(0, 1)).unflatten(0, (-1, steps))
                    for s in samples
                ]
            ).flatten(2)
        predicted = latents[1:].transpose(0, 1).flatten(2)
        return 1.0 - F.cosine_similarity(self.predictor(predicted), seen, dim=-1)

    def update(self, buffers: dict[str, ReplayBuffer], gamma: float, total_updates: int) -> dict[str, dict[str, Tensor]]:
        """One step on a balanced batch; returns game -> head -> mean loss (tensors, no host sync)."""
        samples, indices = self.sample(buffers, gamma)
        losses = self.losses(samples)
        config = self.config
        sizes = [len(s.action) for s in samples]
        weight = torch.cat([s.weight for s in samples])
        unrolled = 1.0 / config.unroll
        per_row = (
            losses.policy[:, 0] + unrolled * losses.policy[:, 1:].sum(1)
            + config.value_loss * (losses.value[:, 0] + unrolled * losses.value[:, 1:].sum(1))
            + config.reward_loss * unrolled * losses.reward.sum(1)
            + unrolled * (losses.continuation.sum(1) + losses.next_mover.sum(1))
            + config.consistency_loss * unrolled * losses.consistency.sum(1)
        )  # fmt: skip
        # Every game counts the same, however many rows it has.
        total = torch.stack([part.mean() for part in (per_row * weight).split(sizes)]).mean()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters(), config.max_grad_norm, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(total_updates)
        self.optimizer.step()
        self._average()
        self.num_updates += 1
        first = 0
        report: dict[str, dict[str, Tensor]] = {}
        for sample, index, size in zip(samples, indices, sizes, strict=True):
            rows = slice(first, first + size)
            first += size
            buffers[sample.spec.name].set_priority_(index, losses.value_error[rows])
            report[sample.spec.name] = {
                "policy": losses.policy[rows, 0].mean().detach(),
                "value": losses.value[rows, 0].mean().detach(),
                "reward": losses.reward[rows].mean().detach(),
                "continuation": losses.continuation[rows].mean().detach(),
                "next_mover": losses.next_mover[rows].mean().detach(),
            }
        report["all games"] = {"loss": total.detach(), "gradient_norm": norm.detach()}
        return report

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the network's; faster at the beginning of a run."""
        decay = min(self.config.ema, (1 + self.num_updates) / (10 + self.num_updates))
        mine, theirs = list(self.averaged.parameters()), list(self.network.parameters())
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "predictor": self.predictor.state_dict(),
            "optimizer": {
                name: self.optimizer.state[parameter]
                for name, parameter in self._named_parameters().items()
                if parameter in self.optimizer.state
            },
            "generator": self.generator.get_state(),
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.predictor.load_state_dict(state["predictor"])
        parameters = self._named_parameters()
        for name, moments in state["optimizer"].items():
            self.optimizer.state[parameters[name]] = dict(moments)
        self.generator.set_state(state["generator"])
        self.num_updates = state["num_updates"]
