"""Searches of games with continuous actions: Sampled MuZero (Hubert et al. 2021) with the network.

Each node has K actions drawn from the policy, and an action's number means the node's own k-th sample. Every such game
is searched by itself, beside the mixed batch of the others: its actions have their own D.

Shape legend: B rows of one game, K samples of a node, D numbers of an action.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from agents.acting import Query, policy_config
from agents.continuous import to_game
from agents.model import SearchModel
from agents.network import MultiGameNetwork
from agents.player import Decision
from envs.game import GameSpec
from search import Gaussian, SampledResult, SampledRoot, SampledStep, Samples, noise, sampled_muzero


@dataclasses.dataclass(frozen=True)
class Draws:
    """Samples of a policy that cover each coordinate evenly: one in each of its K quantiles, in a random order (Latin
    hypercube; McKay et al. 1979). Each is distributed as the policy says, and their mean and spread are nearly exact,
    so that a target which says nothing of the samples pulls the policy nowhere."""

    policy: Gaussian
    mean_first: bool = False
    """The first sample is the policy's mean: for searches without noise. Not for targets: the mean among the samples
    would make the policy narrower whatever the values are."""

    @property
    def noise_size(self) -> int:
        return 2 * self.policy.noise_size

    def sample(self, parameters: Tensor, noise: Tensor) -> Samples:
        """As `search.Proposal.sample`."""
        order, place = noise.chunk(2, 2)
        even = ((order.argsort(1).argsort(1) + place) / noise.shape[1]).clamp(1e-6, 1 - 1e-6)
        if self.mean_first:
            even[:, 0] = 0.5
        return self.policy.sample(parameters, even)


class BoxModel(SearchModel):
    """`network` seen by the search of B rows of one game with continuous actions."""

    def __init__(self, network: MultiGameNetwork, name: str, num_rows: int, gamma: float):
        super().__init__(network, torch.full((num_rows,), network.games[name]), gamma)
        self.name, self.box = name, network.box(name)
        self.varies = False  # of commands, in other games of the network

    def sampled_root(self, observation: Tensor, query: Query) -> SampledRoot:
        """observation [B, *shape] of the query's rows."""
        root = self.root([(self.name, observation)], query.legal, query.to_play, query.seed, query.value_scale)
        return SampledRoot(root.prior_logits, root.value, root.embedding, root.to_play, root.seed, root.value_scale)

    def sampled_step(self, embedding: Tensor, action: Tensor) -> SampledStep:
        """embedding [B, L * D + 1], action [B, D] of the unit box -> the model's step."""
        assert self.box is not None, "set when the model was made"
        step = self.follow(embedding, self.box.tell(action), self.place[:, 0])
        return SampledStep(step.embedding, step.reward, step.discount, step.prior_logits, step.value, step.to_play)


def search_box(network: MultiGameNetwork, name: str, observation: Tensor, query: Query) -> SampledResult:
    """Search B rows of one game, observation [B, *shape]; samples and action are points of the unit box."""
    return prepare_box(network, name, observation, query)()


@torch.inference_mode()
def prepare_box(network: MultiGameNetwork, name: str, observation: Tensor, query: Query) -> Callable[[], SampledResult]:
    """`search_box` up to where the tree begins to grow. What is returned does the rest."""
    model = BoxModel(network, name, len(observation), query.config.gamma)
    root, config = model.sampled_root(observation, query), query.config
    proposal = Draws(network.box(name).policy, query.greedy)

    @torch.inference_mode()
    def run() -> SampledResult:
        rules = policy_config(config, query.greedy)
        step, count = model.sampled_step, query.num_simulations
        return sampled_muzero(root, step, proposal, count, config.samples, rules, check=False)

    return run


def play_box(network: MultiGameNetwork, spec: GameSpec, observation: Tensor, query: Query) -> Decision:
    """What a player does in B positions: the search's best sample (greedy: the policy's mean is one of them), in the
    game's units; without simulations the mean, or one sample of the policy. No policy is told, for probabilities mean
    nothing without the samples."""
    assert spec.box is not None, f"{spec.name} has no continuous actions"
    players = spec.num_players
    if query.num_simulations:
        result = search_box(network, spec.name, observation, query)
        return Decision(to_game(spec.box, result.action), value=result.root_value[:, :players])
    model = BoxModel(network, spec.name, len(observation), query.config.gamma)
    root, proposal = model.sampled_root(observation, query), Draws(network.box(spec.name).policy, query.greedy)
    drawn = noise.samples(query.seed, proposal.noise_size)[:, None]
    action = proposal.sample(root.parameters, drawn).action[:, 0]
    return Decision(to_game(spec.box, action), value=root.value[:, :players])
