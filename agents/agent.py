"""The agent as a player of one game: the averaged network, a search, a decision."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.acting import Query, SearchConfig, search_batch
from agents.network import MultiGameNetwork, pad_last
from agents.player import Decision
from agents.sampled import play_box
from envs.game import GameSpec


class NetworkPlayer:
    """A `Player` that searches with a network; 0 simulations play the raw policy (continuous: `play_box`)."""

    def __init__(
        self,
        network: MultiGameNetwork,
        spec: GameSpec,
        config: SearchConfig,
        value_scale: float,
        simulations: int,
        greedy: bool = True,
        name: str = "agent",
    ):
        """value_scale: the game's unit of Q (`agents.acting.ValueScales`), kept with the network's checkpoint."""
        if spec.name not in network.games:
            raise ValueError(
                f"this network does not play {spec.name}; it plays {', '.join(network.games) or 'nothing'}"
            )
        self.network, self.spec, self.config, self.value_scale = network, spec, config, value_scale
        self.simulations, self.greedy, self.name = simulations, greedy, name

    @torch.inference_mode()
    def act(self, observation: Tensor, legal: Tensor, to_play: Tensor, seed: Tensor) -> Decision:
        """See `agents.player.Player.act`."""
        actions = self.spec.num_actions
        widest = self.network.tables.exists.shape[1]
        scale = torch.full((len(to_play),), self.value_scale)
        query = Query(pad_last(legal, widest), to_play, seed, scale, self.config, self.simulations, self.greedy)
        if self.spec.box is not None:
            return play_box(self.network, self.spec, observation, query)
        if self.simulations == 0:
            game = torch.full((len(to_play),), self.network.games[self.spec.name])
            return self._raw(observation, legal, to_play, seed, game)
        result = search_batch(self.network, [(self.spec.name, observation)], query)
        prior = result.tree.prior_logits[:, 0, :actions].masked_fill(~legal, -torch.inf).softmax(1)
        return Decision(
            result.action, result.policy_target[:, :actions], prior, result.root_value[:, : self.spec.num_players],
            result.visits[:, :actions],
        )  # fmt: skip

    def _raw(self, observation: Tensor, legal: Tensor, to_play: Tensor, seed: Tensor, game: Tensor) -> Decision:
        name, network = self.spec.name, self.network
        heads = network.heads(network.represent(name, observation), game, network.commands(name, observation))
        prior = heads.policy[:, : self.spec.num_actions].masked_fill(~legal, -torch.inf).softmax(1)
        value = self.network.decode_seats(heads.value, game, to_play, self.spec.num_players)
        if self.greedy:
            return Decision(prior.argmax(1), None, prior, value)
        # Inverse transform with one number a row, from the row's own seed.
        draw = torch.tensor([torch.rand((), generator=torch.Generator().manual_seed(int(row))).item() for row in seed])
        choice = (prior.cumsum(1) < draw[:, None]).sum(1).clamp(max=prior.shape[1] - 1)
        choice = torch.where(legal.gather(1, choice[:, None])[:, 0], choice, prior.argmax(1))
        return Decision(choice, None, prior, value)
