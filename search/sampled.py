"""Sampled MuZero (Hubert et al. 2021): continuous actions, of which each node of the tree gets K samples.

The policy's distribution has parameters at every node; a `Proposal` turns them and random numbers into K actions and
the prior over these K. The tree then has K edges a node, and an edge's number means the node's own k-th sample: the
samples travel with the embedding, so that every engine and both policies serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from search import border, memory, noise
from search.config import GumbelConfig, PUCTConfig
from search.policies import Engine, gumbel_muzero, muzero
from search.tree import Root, Step, Tree

# Shape legend: B batch, K samples, D numbers in an action, P players.


class SampledRoot(NamedTuple):
    """The positions to search from, one a row; as `Root`, but with parameters in place of logits and masks."""

    parameters: Tensor  # [B, ...] of the policy's distribution, float
    value: Tensor  # [B, P] float32
    embedding: Tensor  # [B, ...] float
    to_play: Tensor  # [B] int64
    seed: Tensor  # [B] int64: all of a row's randomness, samples included
    value_scale: Tensor | None = None  # [B] float32


class SampledStep(NamedTuple):
    """What the model says of one action a row; as `Step`, but with parameters in place of logits."""

    embedding: Tensor  # [B, ...]
    reward: Tensor  # [B, P]
    discount: Tensor  # [B]
    parameters: Tensor  # [B, ...] of the new node
    value: Tensor  # [B, P]
    to_play: Tensor  # [B] int64


class SampledResult(NamedTuple):
    """What a search decides."""

    action: Tensor  # [B, D] float32, to play: one of the samples
    index: Tensor  # [B] int64: which of them
    samples: Tensor  # [B, K, D] float32: the root's
    policy_target: Tensor  # [B, K] float32, sums to 1: the improved policy over the samples
    root_value: Tensor  # [B, P] float32
    visits: Tensor  # [B, K] int64
    q_values: Tensor  # [B, K] float32: the mover's completed Q of each sample
    tree: Tree  # of the engine; its embeddings are flat, each followed by the node's K samples


class Samples(NamedTuple):
    """K actions of each row's node."""

    action: Tensor  # [B, K, D] float32
    prior_logits: Tensor  # [B, K] float32: log pi(a) - log beta(a), up to a constant a row


class Proposal(Protocol):
    """How actions are drawn from the parameters of a node."""

    @property
    def noise_size(self) -> int:
        """How many random numbers one sample takes."""
        ...

    def sample(self, parameters: Tensor, noise: Tensor) -> Samples:
        """K actions a row from parameters [B, ...] and noise [B, K, noise_size], float32 uniform in (0, 1).

        If beta is the density that the actions are drawn from and pi the policy's, `prior_logits` must be
        log pi - log beta: with each sample counting once (an action drawn twice is two samples), that makes the
        prior over the samples the paper's beta-hat / beta * pi. It is 0 where the policy itself is drawn from.
        """
        ...


SampledFn = Callable[[Tensor, Tensor], SampledStep]  # (embedding [B, ...], action [B, D]) -> SampledStep


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution with independent coordinates, squashed by tanh into a box. Parameters [B, 2 D]: the D
    means before the squashing, then the D logarithms of the standard deviations."""

    num_dimensions: int
    """D."""
    low: float | Tensor = -1.0
    """Lower bound of the action: a number, or [D] on the root's device."""
    high: float | Tensor = 1.0
    """Upper bound, likewise."""
    temperature: float = 1.0
    """Actions are drawn from pi ** (1 / temperature), that is with a standard deviation of sqrt(temperature) times
    the policy's; above 1 the search looks further around, and the prior makes up for it."""

    def __post_init__(self) -> None:
        border.check_count("num_dimensions", self.num_dimensions)
        border.check_number("temperature", self.temperature, 1e-6, 1e6)
        for name in ("low", "high"):
            bound = getattr(self, name)
            if not isinstance(bound, Tensor):
                border.check_number(name, bound, -border.LARGEST)
            elif bound.shape not in ((), (self.num_dimensions,)) or not (bound.abs() <= border.LARGEST).all():
                raise ValueError(f"{name} must be a number or [{self.num_dimensions}] finite numbers, found {bound}")
        if not torch.all(torch.as_tensor(self.high) > torch.as_tensor(self.low)):
            raise ValueError(f"Gaussian needs high > low, found low={self.low}, high={self.high}")

    @property
    def noise_size(self) -> int:
        return self.num_dimensions

    def sample(self, parameters: Tensor, noise: Tensor) -> Samples:
        """As `Proposal.sample`. The squashing is one to one, so pi / beta is that of the normal distributions."""
        mean, log_std = self._split(parameters)
        normal = torch.special.ndtri(noise)
        spread = math.sqrt(self.temperature)
        action = self._squash(mean[:, None] + spread * log_std.exp()[:, None] * normal)
        # log N(x; m, s) - log N(x; m, spread s) at x = m + spread s z
        ratio = 0.5 * (1 - self.temperature) * normal**2 + math.log(spread)
        return Samples(action, ratio.sum(dim=2))

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        """log pi(a) [B, K] of actions [B, K, D] inside the box: what a policy loss
        `-(policy_target * log_prob(parameters, samples)).sum(1)` needs. Within 1e-6 of the box's half width of a
        bound the density is taken there."""
        mean, log_std = self._split(parameters)
        half = (self.high - self.low) / 2
        inside = (action - (self.high + self.low) / 2) / half
        x = torch.atanh(inside.clamp(-1 + 1e-6, 1 - 1e-6))
        z = (x - mean[:, None]) * torch.exp(-log_std[:, None])
        normal = -0.5 * z**2 - log_std[:, None] - 0.5 * math.log(2 * math.pi)
        # log of d tanh(x) / dx = 1 - tanh(x) ** 2, without the cancellation
        slope = 2 * (math.log(2) - x - torch.nn.functional.softplus(-2 * x))
        scale = torch.log(torch.as_tensor(half, dtype=torch.float32, device=action.device))
        return (normal - slope - scale).sum(dim=2)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        if parameters.ndim != 2 or parameters.shape[1] != 2 * self.num_dimensions:
            expected = f"[B, {2 * self.num_dimensions}]"
            raise ValueError(f"Gaussian takes parameters {expected}, means first, found {list(parameters.shape)}")
        mean, log_std = parameters.float().split(self.num_dimensions, dim=1)
        return mean, log_std

    def _squash(self, x: Tensor) -> Tensor:
        return (self.high + self.low) / 2 + (self.high - self.low) / 2 * torch.tanh(x)


@torch.no_grad()
def sampled_muzero(
    root: SampledRoot,
    recurrent_fn: SampledFn,
    proposal: Proposal,
    num_simulations: int,
    num_samples: int,
    config: GumbelConfig | PUCTConfig = GumbelConfig(),  # noqa: B008 - frozen
    *,
    check: bool = True,
    engine: Engine | None = None,
) -> SampledResult:
    """Search over continuous actions from each row of `root`.

    `recurrent_fn(embedding [B, ...], action [B, D]) -> SampledStep` is called once a simulation with B rows.
    num_samples: K, for every node. config chooses the policy; `max_considered`, Dirichlet noise and the visits are of
    the samples. The random numbers of a node's samples depend on the row's seed and the number of the simulation that
    makes the node: not on the batch around the row.

    A node's samples are stored with its embedding, K D numbers: of the embedding's type, float32 at least, or of
    `config.embedding_dtype`, to which the actions handed to `recurrent_fn` are then rounded. The random numbers are
    drawn before the search and take 4 B (S + 1) K noise_size bytes.

    ValueError: as in `gumbel_muzero` and `muzero`; for embeddings of an integer type (convert them), for
    `GumbelConfig.waves`, for a proposal that gives other shapes or, at the root, numbers that are not finite.
    """
    border.check_kind("config", config, (GumbelConfig, PUCTConfig), "it chooses the policy")
    border.check_call(root, SampledRoot, num_simulations, engine, recurrent_fn=recurrent_fn)
    border.check_count("num_samples", num_samples)
    if not callable(getattr(proposal, "sample", None)):
        raise ValueError(f"proposal must have a method `sample`, as search.Gaussian(D) has, found {proposal!r}")
    border.check_count("proposal.noise_size", getattr(proposal, "noise_size", None), 0)
    if check:
        border.check_tensor("SampledRoot.parameters", root.parameters, tuple(getattr(root.parameters, "shape", ())))
        border.check_rows(root, len(root.parameters))
    if not root.embedding.dtype.is_floating_point:
        raise ValueError(
            f"SampledRoot.embedding must be of a floating-point type, found {root.embedding.dtype}: "
            "the samples are stored with it; convert it with .float()"
        )
    if isinstance(config, GumbelConfig) and config.waves:
        raise ValueError("sampled_muzero does not know waves; set GumbelConfig.waves=False")
    _check_memory(root, proposal, num_simulations, num_samples, config)
    recurrent = _Recurrent(root, recurrent_fn, proposal, num_simulations, num_samples)
    samples = recurrent.sample(root.parameters)
    if check:
        _check_samples(samples, root, num_samples)
    batch = len(root.seed)
    search_root = Root(
        prior_logits=samples.prior_logits,
        value=root.value,
        embedding=recurrent.pack(root.embedding, samples.action),
        legal=torch.ones(batch, num_samples, dtype=torch.bool, device=root.embedding.device),
        to_play=root.to_play,
        seed=root.seed,
        value_scale=root.value_scale,
    )
    run = gumbel_muzero if isinstance(config, GumbelConfig) else muzero
    result = run(search_root, recurrent, num_simulations, config, check=check, engine=engine)  # pyright: ignore[reportArgumentType]
    action = samples.action[torch.arange(batch, device=result.action.device), result.action]
    return SampledResult(action, result.action, samples.action, *result[1:])


class _Recurrent:
    """The user's function over packed embeddings: a row's embedding, flat, and behind it the node's samples."""

    def __init__(
        self, root: SampledRoot, recurrent_fn: SampledFn, proposal: Proposal, num_simulations: int, num_samples: int
    ) -> None:
        self.states, self.recurrent_fn, self.proposal, self.num_samples = root, recurrent_fn, proposal, num_samples
        self.shape, self.dtype = root.embedding.shape[1:], root.embedding.dtype
        self.packed_dtype = torch.promote_types(self.dtype, torch.float32)
        self.rows = torch.arange(len(root.seed), device=root.seed.device)
        # Before the search, as all noise; node i of every row takes column i.
        drawn = noise.samples(root.seed, (num_simulations + 1) * num_samples * proposal.noise_size)
        self.noise = drawn.view(len(root.seed), num_simulations + 1, num_samples, proposal.noise_size)
        self.nodes = 0

    def sample(self, parameters: Tensor) -> Samples:
        """The next node's samples."""
        self.nodes += 1
        return self.proposal.sample(parameters, self.noise[:, self.nodes - 1])

    def pack(self, embedding: Tensor, action: Tensor) -> Tensor:
        parts = (x.reshape(len(x), -1).to(self.packed_dtype) for x in (embedding, action))
        return torch.cat([*parts], dim=1)

    def __call__(self, packed: Tensor, index: Tensor) -> Step:
        size = math.prod(self.shape)
        embedding = packed[:, :size].reshape(-1, *self.shape).to(self.dtype)
        samples = packed[:, size:].view(len(packed), self.num_samples, -1)
        step = self.recurrent_fn(embedding, samples[self.rows, index].float())
        if self.nodes == 1:
            border.check_kind(
                "the answer of the recurrent function", step, SampledStep,
                "return SampledStep(embedding, reward, discount, parameters, value, to_play)",
            )  # fmt: skip
            shapes = {
                "embedding": ((len(packed), *self.shape), self.dtype),
                "parameters": ((len(packed), *self.states.parameters.shape[1:]), None),
            }
            border.check_answer(step, shapes, packed.device)
        drawn = self.sample(step.parameters)
        embedding = self.pack(step.embedding, drawn.action)
        return Step(embedding, step.reward, step.discount, drawn.prior_logits, step.value, step.to_play)


def _check_memory(
    root: SampledRoot,
    proposal: Proposal,
    num_simulations: int,
    num_samples: int,
    config: GumbelConfig | PUCTConfig,
) -> None:
    """Before the random numbers are drawn; an action is taken to have as many numbers as its noise."""
    batch, num_players = root.value.shape
    numbers = num_samples * proposal.noise_size
    item = (config.embedding_dtype or torch.promote_types(root.embedding.dtype, torch.float32)).itemsize
    node_bytes = (root.embedding.numel() // batch + numbers) * item + 4 * numbers
    needed = memory.tree_bytes(batch, num_samples, num_players, num_simulations, node_bytes)
    memory.check_memory(needed, batch, num_simulations, root.embedding.device)


def _check_samples(samples: Samples, root: SampledRoot, num_samples: int) -> None:
    border.check_kind("the answer of proposal.sample", samples, Samples, "return Samples(action, prior_logits)")
    batch = len(root.seed)
    border.check_tensor("Samples.prior_logits", samples.prior_logits, (batch, num_samples), torch.float32)
    # The numbers of an action are the proposal's to choose.
    shape = (batch, num_samples, *tuple(getattr(samples.action, "shape", ()))[2:3])
    border.check_tensor("Samples.action", samples.action, shape, torch.float32)
    if samples.action.ndim != 3:
        raise ValueError(f"Samples.action must be [B, K, D], found {list(samples.action.shape)}")
    border.refuse(
        ~torch.isfinite(samples.action).flatten(1).all(dim=1),
        "row {row} of SampledRoot.parameters gives actions that are NaN or infinite; check them",
    )
