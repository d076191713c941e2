"""What an engine is handed: the root made ready, and the rule by which actions are chosen, noise drawn in advance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from search import noise
from search.config import GumbelConfig, PUCTConfig
from search.halving import considered_visits_table
from search.tree import Root

MASKED = -(2.0**127)  # logit of an action that is illegal or does not exist: finite, excluded from every argmax


class GumbelPlan(NamedTuple):
    """Everything of a Gumbel search that is fixed before its first simulation."""

    config: GumbelConfig
    num_simulations: int
    logits: Tensor  # [B, A] float32, MASKED where not allowed
    exists: Tensor | None  # [B, A] bool, for the nodes below the root
    unit: Tensor  # [B] float32: Root.value_scale or ones
    noise: Tensor  # [B, A] float32: Gumbel numbers times gumbel_scale
    considered: Tensor  # [B, num_simulations] int64: visit count that the root action must have, a simulation


class PUCTPlan(NamedTuple):
    """Everything of a PUCT search that is fixed before its first simulation."""

    config: PUCTConfig
    num_simulations: int
    logits: Tensor  # [B, A] float32, root noise mixed in, MASKED where not allowed
    exists: Tensor | None  # [B, A] bool, for the nodes below the root
    unit: Tensor  # [B] float32: Root.value_scale or ones
    noise: Tensor  # [B, A] float32: Gumbel numbers, to draw the action with

    def draw(self, target: Tensor) -> Tensor:
        """The action [B]: target [B, A], the visits' shares, sharpened by the temperature and drawn from."""
        if self.config.temperature == 0:
            return target.argmax(dim=1)
        return noise.draw(target, self.noise, self.config.temperature)


Plan = GumbelPlan | PUCTPlan


def plan_gumbel(root: Root, num_simulations: int, config: GumbelConfig) -> GumbelPlan:
    """Draws the Gumbel noise and looks up the sequence of sequential halving."""
    allowed = _allowed(root)
    batch, num_actions = allowed.shape
    if config.gumbel_scale == 0:
        gumbel = torch.zeros(batch, num_actions, device=allowed.device)
    else:
        gumbel = noise.gumbel(root.seed, num_actions) * config.gumbel_scale
    most = min(config.max_considered, num_actions)
    table = considered_visits_table(most, num_simulations, allowed.device)
    # Not table[...]: that wakes every thread of torch, which then spins beside the search for milliseconds.
    considered = table.index_select(0, allowed.sum(dim=1).clamp_max(most))
    logits = _logits(root, allowed)
    return GumbelPlan(config, num_simulations, logits, root.exists, _unit(root), gumbel, considered)


def plan_puct(root: Root, num_simulations: int, config: PUCTConfig) -> PUCTPlan:
    """Mixes Dirichlet noise, over the legal actions only, into the root's prior."""
    allowed = _allowed(root)
    if config.dirichlet_fraction > 0:
        drawn = noise.dirichlet(root.seed, allowed, config.dirichlet_alpha)
        logits = noise.mixed_logits(root.prior_logits, allowed, drawn, config.dirichlet_fraction, MASKED)
    else:
        logits = _logits(root, allowed)
    gumbel = noise.gumbel(root.seed, allowed.shape[1], noise.ACTION)
    return PUCTPlan(config, num_simulations, logits, root.exists, _unit(root), gumbel)


def _logits(root: Root, allowed: Tensor) -> Tensor:
    """The prior; legal actions stay above MASKED, also where a caller's own mask has given them the lowest float."""
    return root.prior_logits.clamp_min(-1e30).masked_fill(~allowed, MASKED)


def _allowed(root: Root) -> Tensor:
    return root.legal if root.exists is None else root.legal & root.exists


def _unit(root: Root) -> Tensor:
    return torch.ones_like(root.value[:, 0]) if root.value_scale is None else root.value_scale
