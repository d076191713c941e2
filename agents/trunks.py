"""Shared trunks: how a latent changes when a move is made. One class a kind, one entry in `TRUNKS` each.

A trunk has `num_tokens` (L), `condition_width` (the width of the move's embedding), `uses_places`, and
`forward(latent [B, L, D], condition [B, condition_width], place [B] int64 or None) -> latent [B, L, D]`.
The seam for transformer, recurrent and moe trunks is this file: write the class, add it to `TRUNKS`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.encoders import board_cells, seeded

if TYPE_CHECKING:
    from agents.network import NetworkConfig


EVERY_ROW = 256  # the row of moves that are a whole column; a grid has at most 256


class MLPTrunk(nn.Module):
    """One latent token of D numbers; residual blocks of two layers, the move added inside the first."""

    uses_places = False
    num_tokens = 1

    def __init__(self, config: NetworkConfig, seed: int):
        super().__init__()
        self.condition_width = config.hidden
        self.inward = nn.ModuleList(
            seeded(nn.Linear(config.width, config.hidden), seed, f"trunk in {i}") for i in range(config.blocks)
        )
        self.activations = nn.ModuleList(nn.ReLU() for _ in range(config.blocks))  # seen by the monitor
        self.outward = nn.ModuleList(
            seeded(nn.Linear(config.hidden, config.width), seed, f"trunk out {i}") for i in range(config.blocks)
        )

    def forward(self, latent: Tensor, condition: Tensor, place: Tensor | None) -> Tensor:
        """latent [B, 1, D], condition [B, H] -> [B, 1, D], each token normalised."""
        token = latent[:, 0]
        for inward, activation, outward in zip(self.inward, self.activations, self.outward, strict=True):
            hidden = activation(inward(token) + condition)
            token = F.layer_norm(token + outward(hidden), token.shape[-1:])
        return token[:, None]


class ResNetTrunk(nn.Module):
    """A grid of tokens, D channels each; convolutions, the move broadcast and marked on its cell or column."""

    uses_places = True

    def __init__(self, config: NetworkConfig, seed: int):
        super().__init__()
        self.side, width = config.latent_grid, config.width
        self.num_tokens, self.condition_width = self.side**2, width
        self.marker = nn.Parameter(torch.randn(width, generator=torch.Generator().manual_seed(seed)) * 0.5)
        self.inward = nn.ModuleList(
            seeded(nn.Conv2d(width, width, 3, padding=1), seed, f"trunk in {i}") for i in range(config.blocks)
        )
        self.activations = nn.ModuleList(nn.ReLU() for _ in range(config.blocks))
        self.outward = nn.ModuleList(
            seeded(nn.Conv2d(width, width, 3, padding=1), seed, f"trunk out {i}") for i in range(config.blocks)
        )

    def forward(self, latent: Tensor, condition: Tensor, place: Tensor | None) -> Tensor:
        """latent [B, L, D], condition [B, D], place [B] (row * 256 + column, -1: none; row
        `EVERY_ROW`: the whole column) -> [B, L, D]."""
        assert place is not None, "the resnet trunk is told where a move is"
        row, column = (place // 256)[:, None, None], (place % 256)[:, None, None]
        cells = torch.arange(self.side, device=place.device)
        marks = ((row == cells[:, None]) | (row == EVERY_ROW)) & (column == cells)  # [B, side, side]
        moved = latent + condition[:, None] + marks.flatten(1)[..., None] * self.marker
        grid = moved.transpose(1, 2).unflatten(2, (self.side, self.side))
        for inward, activation, outward in zip(self.inward, self.activations, self.outward, strict=True):
            grid = grid + outward(activation(inward(F.relu(grid))))
        return F.layer_norm(board_cells(grid), (latent.shape[-1],))


TRUNKS = {"mlp": MLPTrunk, "resnet": ResNetTrunk}


def known_trunk(name: str) -> str:
    """`name`, or ValueError where no trunk is called so."""
    if name not in TRUNKS:
        close = difflib.get_close_matches(name, TRUNKS, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"network.trunk={name!r} is not one of {', '.join(TRUNKS)}{hint}")
    return name


def make_trunk(config: NetworkConfig, seed: int) -> MLPTrunk | ResNetTrunk:
    """The trunk that `config.trunk` names."""
    return TRUNKS[known_trunk(config.trunk)](config, seed)
