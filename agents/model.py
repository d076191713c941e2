"""The network as a model for search: a root for a mixed batch, and one step of it.

Shape legend: B rows of any games, A actions of the widest game, P most players. The embedding of a node is one row
[L * D + 1]: the latent and, last, the seat to move, so that the tree carries nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.network import Heads, MultiGameNetwork
from search import Root, Step

END_THRESHOLD = 0.5  # continuation below this ends the game on the edge (SEARCH.md)


class SearchModel:
    """`network` seen by the search for rows of fixed games; game [B] int64 are the rows' game indices."""

    def __init__(self, network: MultiGameNetwork, game: Tensor, gamma: float):
        self.network, self.game, self.gamma = network, game, gamma
        tables = network.tables
        self.num_seats = int(tables.num_players[game].max())
        self.exists = tables.exists[game]
        self.num_players, self.zero_sum = tables.num_players[game], tables.zero_sum[game]
        self._seat = torch.arange(int(tables.num_players.max()), device=game.device)

    def root(self, observations: Sequence[tuple[str, Tensor]], legal: Tensor, to_play: Tensor, seed: Tensor,
             value_scale: Tensor | None) -> Root:  # fmt: skip
        """One root a row. observations: (game, [rows, *shape]) in the order of the rows; legal [B, A] bool."""
        latent = torch.cat([self.network.represent(game, observation) for game, observation in observations])
        heads = self.network.heads(latent, self.game)
        return Root(
            prior_logits=heads.policy,
            value=self._seats(heads.value, to_play),
            embedding=torch.cat([latent.flatten(1), to_play[:, None].to(latent.dtype)], 1),
            legal=legal,
            to_play=to_play,
            seed=seed,
            exists=self.exists,
            value_scale=value_scale,
        )

    def step(self, embedding: Tensor, action: Tensor) -> Step:
        """embedding [B, L * D + 1], action [B] -> the model's `Step`."""
        network = self.network
        mover = embedding[:, -1].long()
        latent = embedding[:, :-1].unflatten(1, (network.num_tokens, network.width))
        latent = network.transition(latent, self.game, action)
        heads = network.heads(latent, self.game)
        to_play = self._next_mover(heads, mover)
        goes_on = torch.sigmoid(heads.continuation)
        return Step(
            embedding=torch.cat([latent.flatten(1), to_play[:, None].to(latent.dtype)], 1),
            reward=self._seats(heads.reward, mover),
            discount=self.gamma * goes_on * (goes_on >= END_THRESHOLD),
            prior_logits=heads.policy,
            value=self._seats(heads.value, to_play),
            to_play=to_play,
        )

    def _seats(self, logits: Tensor, to_play: Tensor) -> Tensor:
        return self.network.decode_seats(logits, self.game, to_play, self.num_seats)

    def _next_mover(self, heads: Heads, mover: Tensor) -> Tensor:
        """[B] the seat that moves next: the likeliest distance from the mover among the row's own players."""
        logits = heads.next_mover.masked_fill(self._seat[: heads.next_mover.shape[1]] >= self.num_players[:, None], -1e9)
        return (mover + logits.argmax(1)) % self.num_players
