"""The network as a model for search: a root for a mixed batch, and one step of it.

Shape legend: B rows of any games, A actions of the widest game, P most players. The embedding of a node is one row
[L * D + 1]: the latent and, last, the seat to move, so that the tree carries nothing else.

Commands that vary (`GameSpec.action_tokens`) are read once, at the root. What could be said in a position that the
model imagines nobody has shown it; below the root the tree therefore holds the commands of the root's own position,
which each node's latent judges anew (docs/adding-a-game.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.commands import Commands
from agents.continuous import BoxActions
from agents.native import native_step
from agents.network import Heads, MultiGameNetwork, spoken, to_absolute
from agents.support import decode
from search import RecurrentFn, Root, Step

END_THRESHOLD = 0.5  # continuation below this ends the game on the edge (SEARCH.md)


class SearchModel:
    """`network` seen by the search for rows of fixed games; game [B] int64 are the rows' game indices.

    Whatever depends on the rows' games alone is looked up once here, not in every simulation.
    """

    def __init__(self, network: MultiGameNetwork, game: Tensor, gamma: float):
        self.network, self.game, self.gamma = network, game, gamma
        tables = network.tables
        self.exists = tables.exists[game]
        self.num_players, self.num_values = tables.num_players[game], tables.num_values[game]
        self.num_seats = int(self.num_players.max())
        self.two_players = self.num_seats <= 2 and bool((self.num_values == 1).all())
        self.any_players = self.num_seats > 1
        self.action_row, self.place = tables.action_row[game], tables.place[game]
        self.zero_sum, self.scale = tables.zero_sum[game], tables.scale[game]
        self.action_table = network.action_table()
        self.game_condition = torch.stack(list(network.game_embedding))[game]
        # All rows or none: `agents.alphazero.prepare_games` searches games whose commands vary by themselves.
        self.varies = len(network.query) > 0 and bool(tables.varies[game].any())
        assert not self.varies or bool(tables.varies[game].all()), "commands that vary are searched by themselves"
        self.commands: Commands | None = None  # [B, A, *] of the root's positions
        self.box: BoxActions | None = None  # see `agents.sampled.BoxModel`
        self._seat = torch.arange(max(2, int(tables.num_players.max())), device=game.device)
        # For rows that store one number: what it means to seats 0 and 1 when seat 0 moves.
        other = torch.where(self.zero_sum, -self.scale, torch.zeros_like(self.scale))
        self.seat_values = torch.stack([self.scale, other], 1)[:, : self.num_seats]

    def root(self, observations: Sequence[tuple[str, Tensor]], legal: Tensor, to_play: Tensor, seed: Tensor,
             value_scale: Tensor | None) -> Root:  # fmt: skip
        """One root a row. observations: (game, [rows, *shape]) in the order of the rows; legal [B, A] bool."""
        latent = torch.cat([self.network.represent(game, observation) for game, observation in observations])
        exists = self.exists
        if self.varies:
            self.commands = self.read_commands(observations)
            exists = self.commands.there & legal
        heads = self.network.read(
            latent, self.action_row, self.num_values, self.num_players, self.commands, self.box
        )  # fmt: skip
        return Root(
            prior_logits=heads.policy,
            value=self._seats(decode(heads.value, self.network.bins), to_play),
            embedding=torch.cat([latent.flatten(1), to_play[:, None].to(latent.dtype)], 1),
            legal=legal,
            to_play=to_play,
            seed=seed,
            exists=exists,
            value_scale=value_scale,
        )

    def read_commands(self, observations: Sequence[tuple[str, Tensor]]) -> Commands:
        """What can be said in the rows' positions, [B, A, *]; (game, [rows, *shape]) in the order of the rows."""
        parts = []
        for game, observation in observations:
            found = self.network.commands(game, observation)
            assert found is not None, f"{game} says nothing"
            parts.append(found.padded(self.exists.shape[1]))
        return parts[0] if len(parts) == 1 else Commands(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def step(self, embedding: Tensor, action: Tensor) -> Step:
        """embedding [B, L * D + 1], action [B] -> the model's `Step`."""
        if self.commands is None:
            move = F.embedding(self.action_row.gather(1, action[:, None])[:, 0], self.action_table)
        else:
            move = spoken(self.commands.move, action)
        place = self.place.gather(1, action[:, None])[:, 0] if self.network.trunk.uses_places else None
        return self.follow(embedding, move, place)

    def follow(self, embedding: Tensor, move: Tensor, place: Tensor | None) -> Step:
        """`step` along moves of which the trunk is told move [B, condition width], place [B]."""
        network = self.network
        mover = embedding[:, -1].long()
        latent = embedding[:, :-1].unflatten(1, (network.num_tokens, network.width))
        latent = network.trunk(latent, move + self.game_condition, place)
        heads = network.read(latent, self.action_row, self.num_values, self.num_players, self.commands, self.box)
        to_play = self._next_mover(heads, mover)
        goes_on = torch.sigmoid(heads.continuation)
        seats = heads.value.shape[1]
        scalars = decode(torch.cat([heads.value, heads.reward], 1), network.bins)
        return Step(
            embedding=torch.cat([latent.flatten(1), to_play[:, None].to(latent.dtype)], 1),
            reward=self._seats(scalars[:, seats:], mover),
            discount=F.threshold(goes_on, END_THRESHOLD, 0.0) * self.gamma,
            prior_logits=heads.policy,
            value=self._seats(scalars[:, :seats], to_play),
            to_play=to_play,
        )

    def recurrent_fn(self) -> RecurrentFn:
        """What to search with: the step as compiled code where there is one, else `step`."""
        return native_step(self, END_THRESHOLD) or self.step

    def _seats(self, relative: Tensor, to_play: Tensor) -> Tensor:
        """[B, P] per seat, in the game's units, from [B, R] seen by seat `to_play` [B]."""
        if self.two_players:
            return relative[:, :1] * (1 - 2 * to_play)[:, None] * self.seat_values
        relative = relative * self.scale[:, None]
        return to_absolute(relative, to_play, self.num_players, self.zero_sum, self.num_seats)

    def _next_mover(self, heads: Heads, mover: Tensor) -> Tensor:
        """[B] the seat that moves next: the likeliest distance from the mover among the row's own players."""
        if not self.any_players:
            return mover
        logits = heads.next_mover.masked_fill(
            self._seat[: heads.next_mover.shape[1]] >= self.num_players[:, None], -1e9
        )
        return (mover + logits.argmax(1)) % self.num_players
