"""The action encoder: commands in words, for games whose actions vary from position to position.

Such a game shows what each action says (`GameSpec.action_tokens`). A command becomes two vectors: what the trunk is
told of the move, in place of the row of a table; and a key, with which the latent's query is compared, in place of a
row of the policy head (He et al. 2016, "Deep Reinforcement Learning with a Natural Language Action Space": both sides
have networks of their own, and a dot product joins them). Nothing of it belongs to one game, so that a command that no
game has named before is read by its letters.

Shape legend: B positions, A actions, T tokens of a command, Q width of a key, U distinct commands.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.encoders import TOKEN_WIDTH, WORD, label_seed, seeded
from envs.tokens import PADDING, VOCABULARY

if TYPE_CHECKING:
    from agents.network import NetworkConfig

KEY_WIDTH = 64  # Q
_GAIN = 0.35  # of what leaves the encoder: a move is told about as loudly as by a row of a table


class Commands(NamedTuple):
    """What A commands are to the network."""

    move: Tensor  # [..., A, condition width]: what the trunk is told
    key: Tensor  # [..., A, Q]
    there: Tensor  # [..., A] bool: the action says something here

    def padded(self, num_actions: int) -> Commands:
        """The same with `num_actions` actions, those behind not there."""
        more = num_actions - self.there.shape[-1]
        return Commands(
            F.pad(self.move, (0, 0, 0, more)), F.pad(self.key, (0, 0, 0, more)), F.pad(self.there, (0, more))
        )


class CommandEncoder(nn.Module):
    """Commands [..., A, T] of tokens (envs.tokens) -> `Commands`: filters of `WORD` neighbours, their strongest and
    their mean answer, and a layer. Each distinct command is read once."""

    def __init__(self, config: NetworkConfig, condition_width: int, seed: int):
        super().__init__()
        source = torch.Generator().manual_seed(label_seed(seed, "bytes of commands"))
        self.embedding = nn.Parameter(torch.randn(VOCABULARY, TOKEN_WIDTH, generator=source))
        self.words = seeded(nn.Linear(WORD * TOKEN_WIDTH, 2 * TOKEN_WIDTH), seed, "words of commands")
        self.speaks = seeded(nn.Linear(4 * TOKEN_WIDTH, config.hidden), seed, "commands speak")
        self.move = seeded(nn.Linear(config.hidden, condition_width), seed, "commands move", _GAIN)
        self.key = seeded(nn.Linear(config.hidden, KEY_WIDTH), seed, "commands key", _GAIN)

    def forward(self, commands: Tensor) -> Commands:
        """commands [..., A, T], any integer type; T may differ from call to call."""
        rows = commands.reshape(-1, commands.shape[-1]).long()
        # A number for each text: equal texts only have equal ones (64 random bits a place, sums that wrap around).
        number = (rows * _places(rows.shape[1]).to(rows.device)).sum(1)
        _, which = torch.unique(number, return_inverse=True)
        first = which.new_zeros(int(which.max()) + 1).scatter_(0, which, torch.arange(len(rows), device=rows.device))
        spoken = self._read(rows[first])
        move, key = (F.embedding(which, part).view(*commands.shape[:-1], -1) for part in spoken)
        return Commands(move, key, commands[..., -1] != PADDING)

    def _read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """text [U, T] int64 -> move [U, condition width] and key [U, Q]."""
        there = (text != PADDING)[:, :, None]
        read = F.pad(F.embedding(text, self.embedding) * there, (0, 0, WORD - 1, 0))  # [U, T + 4, E]: nothing in front
        found = F.relu(self.words(read.unfold(1, WORD, 1).flatten(2))) * there  # [U, T, 2 E], whatever T is
        both = torch.cat([found.amax(1), found.sum(1) / there.sum(1).clamp(min=1)], 1)
        hidden = F.relu(self.speaks(F.layer_norm(both, both.shape[-1:])))
        return self.move(hidden), self.key(hidden)


@functools.cache
def _places(length: int) -> Tensor:
    """[T] int64: an odd random number for each place of a text."""
    source = torch.Generator().manual_seed(length)
    return torch.randint(-(2**62), 2**62, (length,), generator=source) * 2 + 1


def compare(query: Tensor, key: Tensor) -> Tensor:
    """Policy logits [B, A]: query [B, Q], key [B, A, Q]."""
    return torch.bmm(key, query[:, :, None])[:, :, 0] * KEY_WIDTH**-0.5
