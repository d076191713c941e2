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

from agents.bounds import at_least, at_most
from agents.commands import Commands
from agents.encoders import label_seed, seeded
from agents.fused import can_fuse
from agents.fused_update import FusedUpdate
from agents.network import MultiGameNetwork, num_values, pad_last, to_relative
from agents.replay import ReplayBuffer, Window
from agents.support import decode, two_hot
from agents.targets import make_targets
from envs.game import PICTURES, GameSpec, Symmetries

MISSING_LOGIT = -1e9  # for actions that a row's game lacks


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """One update."""

    batch: int = 128
    """Positions of each game in an update."""
    updates_per_step: float = 2.0
    """Updates made for one step of all copies; never decided by how fast the machine is."""
    start_steps: int = 1_000
    """Steps of a game (all copies together) that are stored before it is learnt from."""
    reanalyse: int = 0
    """Stored positions of each game that are searched again with the present network before an update. Their policies
    are new targets; their values only where fresh_values is off or search_share is not 0."""
    unroll: int = 2
    """K, moves the model is unrolled along. 0 trains policy and value of the sampled positions and no model: for runs
    with search.model=rules whose games all have exact rules."""
    n_step: int = 12
    """Rewards summed before the value target leans on the value of the position reached."""
    stale_after: int = 0
    """Updates' worth of steps after which a stored step sums one reward less, and again after as many, down to 1: what
    was played by an older policy says less of the present one (Ye et al. 2021, off-policy correction). 0: never."""
    fresh_values: bool = True
    """The value target leans on what the averaged network says of the position n steps on, not on what the search said
    when it was played."""
    search_share: float = 0.0
    """Share of the search's own value of the position, as it was when it was played, in the value target."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0 at the beginning."""
    final_lr_share: float = 0.1
    """The learning rate falls linearly to this share over the last part of the run ..."""
    decay_share: float = 0.2
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
    consistency_loss: float = 2.0
    """Weight of the latent consistency loss (Ye et al. 2021, EfficientZero) in games that are shown as grids or pixels:
    what the model imagines against what was then seen. 0 leaves it out, and so does `unroll` 0."""
    symmetries: bool = True
    """Use the symmetries that a game declares as data augmentation."""

    def __post_init__(self) -> None:
        counts = {"batch": 1, "start_steps": 1, "reanalyse": 0, "stale_after": 0, "unroll": 0, "n_step": 1, "warmup": 0}
        amounts = {"updates_per_step": 1e-6, "lr": 0, "decay_share": 0, "max_grad_norm": 0, "ema": 0}
        losses = {"value_loss": 0, "reward_loss": 0, "consistency_loss": 0, "weight_decay": 0}
        shares = {"decay_share": 1, "final_lr_share": 1, "search_share": 1, "ema": 1}
        at_least("learner", self, **counts, **amounts, **losses, search_share=0, final_lr_share=0)
        at_most("learner", self, **shares, weight_decay=10, updates_per_step=1e6, unroll=1000, n_step=100_000)
        at_most("learner", self, **dict.fromkeys(("value_loss", "reward_loss", "consistency_loss"), 1e6))

    def imagines(self, spec: GameSpec) -> bool:
        """Whether there is a consistency loss for this game. Not for vectors, which are states as they are: with it
        CartPole forgets what it had learnt (docs/learning.md)."""
        return self.consistency_loss > 0 and self.unroll > 0 and spec.observation.kind in PICTURES

    def following(self, spec: GameSpec) -> int:
        """How many of the observations behind the first a sample needs: what is seen, or what could then be said."""
        return self.unroll if self.imagines(spec) or spec.action_tokens else 0

    @property
    def window(self) -> int:
        """Consecutive steps that a sample needs."""
        return self.unroll + self.n_step + 1


class Sample(NamedTuple):
    """What an update needs of one game: N windows turned to targets, seen by the movers; A is the game's own."""

    spec: GameSpec
    observation: Tensor  # [N, *shape]
    next_observation: Tensor  # [N, `LearnerConfig.following`, *shape]
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
    shown: Tensor | None = None  # [N, K + 1, *shape]: observations of all positions, where commands vary
    # Where actions are continuous, D numbers each in the unit box; `policy` is then about these S samples.
    point: Tensor | None = None  # [N, K, D] float32: what was played
    samples: Tensor | None = None  # [N, K + 1, S, D] float32


def summed_steps(window: Window, config: LearnerConfig) -> Tensor:
    """[N, K + 1] int64: how many rewards the value target of each position sums. A move that was drawn at random says
    nothing of the policy's value, so the sum ends before it."""
    steps = torch.full_like(window.age, config.n_step)
    if config.stale_after:
        updates = (window.age * config.updates_per_step).long()
        steps = (steps - updates // config.stale_after).clamp(min=1)
    steps = steps[:, None].expand(-1, config.unroll + 1)
    if not bool(window.explored.any()):
        return steps
    place = torch.arange(window.explored.shape[1])
    explored = torch.where(window.explored, place, len(place)).flip(1).cummin(1).values.flip(1)
    return torch.minimum(steps, (explored - place)[:, : config.unroll + 1])


def make_sample(
    spec: GameSpec, window: Window, config: LearnerConfig, gamma: float, searched: Tensor | None = None
) -> Sample:
    """Targets of a replay window in the movers' view. searched: the window's root values as search gave them, where
    `window` has others."""
    searched = window.root_value if searched is None else searched
    targets = make_targets(window, config.unroll, summed_steps(window, config), gamma, config.search_share, searched)
    count, unroll, players = num_values(spec), config.unroll, spec.num_players
    to_play = window.to_play[:, : unroll + 1]
    shown = None
    if spec.action_tokens:
        shown = torch.cat([window.observation[:, None], window.next_observation], 1)
    return Sample(
        spec=spec,
        observation=window.observation,
        next_observation=window.next_observation,
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
        shown=shown,
        point=None if window.point is None else window.point[:, :unroll],
        samples=None if window.samples is None else window.samples[:, : unroll + 1],
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
        next_observation=turn(sample.next_observation),
        action=actions[pick].gather(1, sample.action),
        policy=sample.policy.gather(2, old[:, None].expand_as(sample.policy)),
    )


class Losses(NamedTuple):
    """Per step and row, unweighted; positions that do not count are 0."""

    policy: Tensor  # [K + 1, N] cross-entropy in nats; of a density where actions are continuous, so perhaps negative
    value: Tensor  # [K + 1, N]
    reward: Tensor  # [K, N]
    continuation: Tensor  # [K, N]
    next_mover: Tensor  # [K, N]
    consistency: Tensor | None  # [K, N] 1 - cosine; None where it has no weight
    value_error: Tensor  # [N] |decoded value - target| of the first position, in units of the game's scale

    def beside(self, other: Losses) -> Losses:
        """The rows of both, these first."""
        steps = {head: torch.cat([getattr(self, head), getattr(other, head)], 1) for head in self._fields[:5]}
        a, b = self.consistency, other.consistency
        consistency = None if a is None or b is None else torch.cat([a, b], 1)
        return Losses(**steps, consistency=consistency, value_error=torch.cat([self.value_error, other.value_error]))


def unroll(
    network: MultiGameNetwork, game: Tensor, latent: Tensor, action: Tensor, commands: Commands | None = None,
    told: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """[K + 1, N, L, D] latents along action [N, K]; gradients into each earlier latent are halved (MuZero app. G).

    commands: [N, K, A, *], what could be said before each move, in games where that varies (see `condition`). told:
    [N, K, condition width], what the trunk is told of the moves, if it is not what `condition` says."""
    steps = action.shape[1]
    # Embeddings of all moves in one look-up.
    if told is None:
        told = network.condition(game[:, None].expand(-1, steps), action, commands)
    conditions = told.unbind(1)
    places = network.tables.place[game[:, None], action].unbind(1) if network.trunk.uses_places else [None] * steps
    latents = [latent]
    for condition, place in zip(conditions, places, strict=True):
        if latent.requires_grad:
            latent = latent.view_as(latent)  # the hook must not halve what the heads send back
            latent.register_hook(lambda gradient: gradient * 0.5)
        latent = network.trunk(latent, condition, place)
        latents.append(latent)
    return torch.stack(latents)


def _pass_of(sample: Sample) -> int:
    """0: games that share one pass through the network; 1: those whose commands vary share another; 2: continuous
    actions, each game has its own."""
    return 2 if sample.samples is not None else int(sample.shown is not None)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """[...] -sum target log softmax(logits) over the last dimension."""
    return -(target * torch.log_softmax(logits, -1)).sum(-1)


class Learner:
    """Network, averaged network, optimiser; `update` is one step."""

    def __init__(self, network: MultiGameNetwork, averaged: MultiGameNetwork, config: LearnerConfig, seed: int):
        self.network, self.averaged, self.config, self.seed = network, averaged, config, seed
        self.generator = torch.Generator().manual_seed(label_seed(seed, "learner"))
        self.num_updates = 0
        self.value_errors: dict[str, float] = {}  # of the last update: the median of a game's rows, in its units
        self._trained: list[nn.Parameter] | None = None
        self._fused: FusedUpdate | None = None
        self._averages: list[tuple[nn.Parameter, nn.Parameter]] = []
        latent, hidden = network.num_tokens * network.width, network.config.hidden
        self.predictor = (
            nn.Sequential(  # of the consistency loss; the averaged network is the target (Grill et al. 2020)
                seeded(nn.Linear(latent, hidden), seed, "predictor 1"),
                nn.ReLU(),
                seeded(nn.Linear(hidden, latent), seed, "predictor 2"),
            )
        )
        self.optimizer = torch.optim.AdamW(
            self._parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
        )

    def _named_parameters(self) -> dict[str, nn.Parameter]:
        named = {f"network.{name}": parameter for name, parameter in self.network.named_parameters()}
        if self._imagining():
            named |= {f"predictor.{name}": parameter for name, parameter in self.predictor.named_parameters()}
        return named

    def _parameters(self) -> list[nn.Parameter]:
        """All that is trained; walking the modules takes a millisecond, so the list is kept until a game is added."""
        if self._trained is None:
            self._trained = list(self._named_parameters().values())
            self._averages = list(zip(self.network.parameters(), self.averaged.parameters(), strict=True))
        return self._trained

    def add_game(self, spec: GameSpec) -> None:
        """Grow both networks; the optimiser takes the new parameters in and keeps the moments of the old."""
        self.network.add_game(spec)
        self.averaged.add_game(spec)
        self._trained = self._fused = None
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
        windows = found = {
            name: buffer.sample(self.config.batch, self.generator, self.config.following(buffer.spec))
            for name, buffer in buffers.items()
        }
        if self.config.fresh_values:
            windows = self._refresh(buffers, found)
        for name, buffer in buffers.items():
            window = windows[name]
            sample = make_sample(buffer.spec, window, self.config, gamma, found[name].root_value)
            if self.config.symmetries and buffer.spec.symmetries is not None:
                sample = apply_symmetries(sample, buffer.spec.symmetries, self.generator)
            samples.append(sample)
            indices.append(window.index)
        order = sorted(range(len(samples)), key=lambda place: _pass_of(samples[place]))  # see `_gradients`
        return [samples[place] for place in order], [indices[place] for place in order]

    @torch.no_grad()
    def _refresh(self, buffers: dict[str, ReplayBuffer], windows: dict[str, Window]) -> dict[str, Window]:
        """The windows with the averaged network's present values where value targets lean on them: n steps on, in
        the same episode."""
        config, network = self.config, self.averaged
        shown, places, games = {}, {}, []
        for name, window in windows.items():
            ended = (window.terminated | window.truncated).long().cumsum(1)
            before = F.pad(ended, (1, 0))[:, :-1]  # [N, W] ends before each step
            ahead = summed_steps(window, config) + torch.arange(config.unroll + 1)
            row, k = (before.gather(1, ahead) == before[:, : config.unroll + 1]).nonzero(as_tuple=True)
            places[name] = row, ahead[row, k]
            shown[name] = buffers[name].observations(window.index_of[places[name]])
            games.append(torch.full((len(row),), network.games[name]))
        game = torch.cat(games)
        if not len(game):
            return windows
        latent = torch.cat([network.represent(name, seen) for name, (seen, _) in shown.items() if len(seen)])
        seats = torch.cat([seat for _, seat in shown.values()])
        most = max(buffers[name].spec.num_players for name in windows)
        values = network.decode_seats(network.value_logits(latent, game), game, seats, most)
        fresh = {}
        for (name, window), part in zip(
            windows.items(), values.split([len(row) for row, _ in places.values()]), strict=True
        ):
            root_value = window.root_value.clone()
            root_value[places[name]] = part[:, : root_value.shape[2]]
            fresh[name] = window._replace(root_value=root_value)
        return fresh

    def losses(self, samples: Sequence[Sample]) -> Losses:
        """Losses of every row, games in the order of `samples`; in all of them commands vary, or in none. A game with
        continuous actions is the only one."""
        network, tables = self.network, self.network.tables
        sizes = torch.tensor([len(s.action) for s in samples])
        game = torch.tensor([network.games[s.spec.name] for s in samples]).repeat_interleave(sizes)
        latent = torch.cat([network.represent(s.spec.name, s.observation) for s in samples])
        said = self._commands(samples)
        moves = None if said is None else Commands(*(part[:, :-1] for part in said))
        box, points = None, [s.point for s in samples if s.point is not None]
        if points:
            assert len(samples) == 1, "games with continuous actions have passes of their own"
            box = network.box(samples[0].spec.name)
        told = network.told(samples[0].spec.name, points[0]) if points else None
        latents = unroll(network, game, latent, torch.cat([s.action for s in samples]), moves, told)
        depth, rows = latents.shape[:2]
        exists, at_heads = tables.exists[game], None
        if said is not None:
            at_heads = Commands(*(part.transpose(0, 1).flatten(0, 1) for part in said))
            exists = said.there.transpose(0, 1)
        heads = network.heads(latents.flatten(0, 1), game.repeat(depth), at_heads, box)

        def fold(per_row: Tensor) -> Tensor:
            """[(K + 1) N, ...] -> [K + 1, N, ...]."""
            return per_row.unflatten(0, (depth, rows))

        def gather(field: str, size: int) -> Tensor:
            """One field of all samples, step first and padded behind: [steps, N, size]."""
            return torch.cat([pad_last(getattr(s, field), size) for s in samples]).transpose(0, 1)

        alive = torch.cat([s.alive for s in samples]).T
        moved = torch.cat([s.moved for s in samples]).T
        known = torch.cat([s.policy_known for s in samples]).T
        widest = tables.exists.shape[1]
        if box is not None and samples[0].samples is not None:
            wanted = samples[0].policy.transpose(0, 1)
            policy = box.loss(fold(heads.policy), samples[0].samples.transpose(0, 1), wanted) * known
        else:
            policy = fold(heads.policy).masked_fill(~exists, MISSING_LOGIT)
            policy = cross_entropy(policy, gather("policy", widest)) * known

        # Value and reward in one go; the first position has no reward and its target there is masked below.
        seats = heads.value.shape[1]
        scale = tables.scale[game][:, None]
        value_target = gather("value", seats) / scale
        reward_target = F.pad(gather("reward", seats) / scale, (0, 0, 0, 0, 1, 0))
        scalars = fold(torch.cat([heads.value, heads.reward], 1))  # [K + 1, N, 2 R, V]
        scalar = cross_entropy(scalars, two_hot(torch.cat([value_target, reward_target], 2), network.bins))
        if seats > 1:
            scalar = scalar * (tables.num_values[game][:, None] > torch.arange(seats)).repeat(1, 2)
        value, reward = scalar.unflatten(2, (2, seats)).sum(3).unbind(2)

        goes_on = torch.cat([s.continues for s in samples]).T.float()
        continuation = F.binary_cross_entropy_with_logits(fold(heads.continuation)[1:], goes_on, reduction="none")
        both = moved & alive[1:]  # after the end of a game nobody moves next
        if any(s.spec.num_players > 1 for s in samples):
            taken = torch.arange(heads.next_mover.shape[1]) < tables.num_players[game][:, None]
            logits = fold(heads.next_mover)[1:].masked_fill(~taken, MISSING_LOGIT)
            distance = torch.cat([s.next_mover for s in samples]).T
            mover = -torch.log_softmax(logits, -1).gather(-1, distance[..., None])[..., 0] * both
        else:
            mover = torch.zeros_like(goes_on)
        consistency = self._consistency(latents, samples) * both if self._imagining() else None
        with torch.no_grad():
            error = (decode(scalars[0, :, 0], network.bins) - value_target[0, :, 0]).abs()
        return Losses(policy, value * alive, reward[1:] * moved, continuation * moved, mover, consistency, error)

    def _imagining(self) -> bool:
        return any(self.config.imagines(spec) for spec in self.network.specs)

    def _commands(self, samples: Sequence[Sample]) -> Commands | None:
        """[N, K + 1, A, *] what could be said in the positions, A of the widest game; None where nothing varies."""
        widest, parts = self.network.tables.exists.shape[1], []
        for sample in samples:
            if sample.shown is not None:
                found = self.network.commands(sample.spec.name, sample.shown)
                assert found is not None, f"{sample.spec.name} says nothing"
                parts.append(found.padded(widest))
        assert len(parts) in (0, len(samples)), "games whose commands vary have a pass of their own"
        return Commands(*(torch.cat(column) for column in zip(*parts, strict=True))) if parts else None

    def _consistency(self, latents: Tensor, samples: Sequence[Sample]) -> Tensor:
        """[K, N] 1 - cosine of predicted and encoded next latents, the encoded side without gradient; 0 in rows of
        games that have no such loss."""
        steps, parts = len(latents) - 1, []
        for sample, imagined in zip(samples, latents[1:].split([len(s.action) for s in samples], 1), strict=True):
            if not self.config.imagines(sample.spec):
                parts.append(imagined.new_zeros(imagined.shape[:2]))
                continue
            with torch.no_grad():
                shown = self.averaged.represent(sample.spec.name, sample.next_observation.flatten(0, 1))
            seen = shown.unflatten(0, (-1, steps)).flatten(2).transpose(0, 1)
            parts.append(1.0 - F.cosine_similarity(self.predictor(imagined.flatten(2)), seen, dim=-1))
        return torch.cat(parts, 1)

    def update(self, buffers: dict[str, ReplayBuffer], gamma: float, total_updates: int) -> dict[str, dict[str, float]]:
        """One step on a balanced batch; returns game -> head -> mean loss, and "all games"."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(total_updates)
        return (self._compiled_update if self._can_fuse(buffers) else self._torch_update)(buffers, gamma)

    def _torch_update(self, buffers: dict[str, ReplayBuffer], gamma: float) -> dict[str, dict[str, float]]:
        """An update of any network."""
        samples, indices = self.sample(buffers, gamma)
        self.optimizer.zero_grad(set_to_none=True)
        losses, total = self._gradients(samples)
        norm = self.descend()
        self.num_updates += 1
        sizes = [len(s.action) for s in samples]
        for sample, index, error in zip(samples, indices, losses.value_error.split(sizes), strict=True):
            buffers[sample.spec.name].set_priority_(index, error)
            unit = float(self.network.tables.scale[self.network.games[sample.spec.name]])
            self.value_errors[sample.spec.name] = float(error.median()) * unit
        return self._report(samples, losses, total, norm)

    def _compiled_update(self, buffers: dict[str, ReplayBuffer], gamma: float) -> dict[str, dict[str, float]]:
        """The same for the networks of `_can_fuse`, in compiled passes between the matrix products."""
        fused = self.fused(buffers)
        batch = fused.draw(list(buffers.values()), gamma, self.generator)
        answer = fused.backward(batch, [buffer.copies for buffer in buffers.values()])
        norm = fused.descend(self.optimizer, self._decay())
        self.num_updates += 1
        for part in batch.parts:
            error = torch.from_numpy(answer.value_error[part.rows])
            buffers[part.spec.name].set_priority_(torch.from_numpy(part.shown.index), error)
        self.value_errors |= fused.value_errors(batch, answer)
        return {**fused.report(batch, answer), "all games": {"loss": answer.total, "gradient_norm": norm}}

    def fused(self, buffers: dict[str, ReplayBuffer]) -> FusedUpdate:
        """The compiled update for these games, which is kept."""
        self._parameters()
        if self._fused is None or not self._fused.fits(list(buffers), self._averages):
            specs = [buffer.spec for buffer in buffers.values()]
            predictor = self.predictor if self._imagining() else None
            self._fused = FusedUpdate(self.config, self.network, self.averaged, specs, self._averages, predictor)
        return self._fused

    def _gradients(self, samples: Sequence[Sample]) -> tuple[Losses, float]:
        """Losses and their weighted total; the gradients are left in the parameters. Games whose commands vary have a
        pass of their own, and so has each game with continuous actions: they cost the others nothing. `samples` are in
        the order of the passes (`sample`)."""
        kinds = [_pass_of(sample) for sample in samples]
        assert kinds == sorted(kinds), "sample() puts these games last"
        plain, worded, boxes = ([s for s, kind in zip(samples, kinds) if kind == wanted] for wanted in range(3))
        losses, total = None, 0.0
        for part in (plain, worded, *([sample] for sample in boxes)):
            if part:
                found, more = self._backward(part, len(part) / len(samples))
                losses = found if losses is None else losses.beside(found)
                total += more
        assert losses is not None, "no games"
        return losses, total

    def _can_fuse(self, buffers: dict[str, ReplayBuffer]) -> bool:
        """Whether compiled passes know this network and these games."""
        known = not any(buffer.spec.action_tokens or buffer.spec.box for buffer in buffers.values())
        return self.config.unroll > 0 and known and can_fuse(self.network)

    def _row_weights(self, samples: Sequence[Sample], share: float = 1.0) -> Tensor:
        """[N] of each row's loss in the total: every game counts the same, however many rows it has. share: of these
        games among all of the update."""
        weights = torch.cat([s.weight / (len(s.weight) * len(samples)) for s in samples])
        return weights if share == 1 else weights * share

    def _backward(self, samples: Sequence[Sample], share: float = 1.0) -> tuple[Losses, float]:
        """Losses and their weighted total; the gradients are added to those in the parameters."""
        config, losses = self.config, self.losses(samples)
        unrolled = 1.0 / max(1, config.unroll)
        weights = torch.full((config.unroll + 1, 1), unrolled)
        weights[0] = 1.0
        moves = config.reward_loss * losses.reward + losses.continuation + losses.next_mover
        if losses.consistency is not None:
            moves = moves + config.consistency_loss * losses.consistency
        per_row = ((losses.policy + config.value_loss * losses.value) * weights).sum(0) + unrolled * moves.sum(0)
        total = (per_row * self._row_weights(samples, share)).sum()
        total.backward()
        return losses, float(total.detach())

    def _report(
        self, samples: Sequence[Sample], losses: Losses, total: float, norm: float
    ) -> dict[str, dict[str, float]]:
        """Mean losses by game and head: policy and value of the sampled positions, the others over the moves."""
        heads = ("policy", "value", *(("reward", "continuation", "next_mover") if self.config.unroll else ()))
        with torch.no_grad():
            means = torch.stack(
                [losses.policy[0], losses.value[0], *(getattr(losses, head).mean(0) for head in heads[2:])]
            )
            by_game = torch.stack([part.mean(1) for part in means.split([len(s.action) for s in samples], 1)]).tolist()
        report: dict[str, dict[str, float]] = {
            s.spec.name: dict(zip(heads, numbers, strict=True)) for s, numbers in zip(samples, by_game, strict=True)
        }
        return {**report, "all games": {"loss": total, "gradient_norm": norm}}

    def descend(self) -> float:
        """Clip the gradients, step, move the averages; returns the gradients' norm before."""
        norm = nn.utils.clip_grad_norm_(self._parameters(), self.config.max_grad_norm, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                [mine for _, mine in self._averages], [theirs for theirs, _ in self._averages], 1.0 - self._decay()
            )
        return float(norm)

    def _decay(self) -> float:
        """Of the averaged weights; they follow faster at the beginning of a run."""
        return min(self.config.ema, (1 + self.num_updates) / (10 + self.num_updates))

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
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.predictor.load_state_dict(state["predictor"])
        except RuntimeError as error:  # torch lists every tensor that does not fit
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"the checkpoint's weights do not fit this configuration's network: {reason}") from error
        parameters = self._named_parameters()
        for name, moments in state["optimizer"].items():
            if name not in parameters:
                raise ValueError(
                    f"the checkpoint trained {name}, which this configuration does not; resume with its own"
                )
            self.optimizer.state[parameters[name]] = dict(moments)
        self._fused = None  # the moments lie elsewhere now
        self.generator.set_state(state["generator"])
        self.num_updates = state["num_updates"]
