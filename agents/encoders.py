"""Encoders: from an observation to the latent [B, L, D]. One shared encoder for each kind of observation.

Grid games of any size share the convolutions and the weights of each place of the board, counted from the top left;
board games also share the filters that read "mine" and "theirs".
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envs.game import GameSpec, ObservationKind
from envs.tokens import PADDING, VOCABULARY

if TYPE_CHECKING:
    from agents.network import NetworkConfig

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)

BOARD_PLANES = 2  # mine, theirs
PIXEL_SIDE = 84  # pixel observations are resized to this square
TOKEN_WIDTH, LAST_TOKENS, WORD = 32, 16, 5  # of the encoder of texts: embedding, last tokens read by place, filter


def label_seed(seed: int, *labels: str) -> int:
    """A 62-bit seed from the run's seed and the name of what it initialises."""
    digest = hashlib.blake2b("/".join((str(seed), *labels)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2


def seeded(layer: Layer, seed: int, label: str, gain: float = 1.0) -> Layer:
    """`layer` with weights from a generator of its own (He et al. 2015, times `gain`) and zero biases."""
    fan_in = layer.weight[0].numel()
    noise = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(label_seed(seed, label)))
    with torch.no_grad():
        layer.weight.copy_(noise * (gain * (2.0 / fan_in) ** 0.5))
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def board_cells(grid: Tensor) -> Tensor:
    """[B, D, H, W] -> [B, H * W, D], row by row."""
    return grid.flatten(2).transpose(1, 2)


class GridEncoder(nn.Module):
    """Planes [B, C, H, W] -> [B, L, D]: convolutions, then a readout to the latent's tokens."""

    def __init__(self, config: NetworkConfig, num_tokens: int, seed: int):
        super().__init__()
        self.channels, self.seed = config.channels, seed
        board = seeded(nn.Conv2d(BOARD_PLANES, config.channels, 3, padding=1), seed, "board planes")
        self.board_weight, self.bias = nn.Parameter(board.weight.detach()), nn.Parameter(torch.zeros(config.channels))
        self.own_weight = nn.ParameterDict()  # game index -> [channels, planes of its own, 3, 3]
        self.blocks = nn.ModuleList(
            seeded(nn.Conv2d(config.channels, config.channels, 3, padding=1), seed, f"grid {i}")
            for i in range(config.encoder_blocks)
        )
        self.readout = PlaceReadout(config, seed) if num_tokens == 1 else MapReadout(config, seed)

    def add_game(self, spec: GameSpec, index: int) -> None:
        planes, height, width = spec.observation.shape
        own = planes - BOARD_PLANES if spec.board_planes else planes
        if own < 0:
            raise ValueError(f"{spec.name}: board_planes needs at least {BOARD_PLANES} planes, found {planes}")
        if own:
            layer = seeded(nn.Conv2d(own, self.channels, 3, padding=1), self.seed, f"planes of {spec.name}")
            self.own_weight[str(index)] = nn.Parameter(layer.weight.detach())
        self.readout.add_board(height, width)

    def forward(self, index: int, planes: Tensor) -> Tensor:
        """planes [B, C, H, W] of game `index`, any number type -> latent [B, L, D]."""
        own = [self.own_weight[str(index)]] if str(index) in self.own_weight else []
        shared = planes.shape[1] - (own[0].shape[1] if own else 0)
        weight = torch.cat([self.board_weight, *own], 1) if shared else own[0]
        grid = F.relu(F.conv2d(planes.float(), weight, self.bias, padding=1))
        for block in self.blocks:
            grid = grid + F.relu(block(grid))
        return self.readout(grid)


class PlaceReadout(nn.Module):
    """[B, channels, H, W] -> one token [B, 1, D]: a linear map whose weights belong to places, from the top left on.

    Boards of different sizes share the weights of the places that they have in common. The weights are kept in square
    rings, so that a larger board adds parameters and changes none.
    """

    def __init__(self, config: NetworkConfig, seed: int):
        super().__init__()
        self.channels, self.width, self.seed = config.channels, config.width, seed
        self.rings = nn.ParameterDict()  # ring r holds cells with max(row, column) == r: [2r + 1, channels, D]
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.orders: dict[tuple[int, int], Tensor] = {}  # (H, W) -> where each cell of the board lies in the rings

    def add_board(self, height: int, width: int) -> None:
        gain = (2.0 / (self.channels * height * width)) ** 0.5
        for ring in range(len(self.rings), max(height, width)):
            source = torch.Generator().manual_seed(label_seed(self.seed, f"ring {ring}"))
            self.rings[str(ring)] = nn.Parameter(
                torch.randn(2 * ring + 1, self.channels, self.width, generator=source) * gain
            )
        places = [ring_position(row, column) for row in range(height) for column in range(width)]
        self.orders[height, width] = torch.tensor(places)

    def forward(self, grid: Tensor) -> Tensor:
        """grid [B, channels, H, W] of a size that was added -> [B, 1, D]."""
        size = grid.shape[2], grid.shape[3]
        rings = torch.cat([self.rings[str(ring)] for ring in range(max(size))])
        places = F.embedding(self.orders[size].to(rings.device), rings.flatten(1))  # [H * W, channels * D]
        return (board_cells(grid).flatten(1) @ places.view(-1, self.width) + self.bias)[:, None]


class MapReadout(nn.Module):
    """[B, channels, H, W] -> a grid of tokens [B, L, D]: each cell keeps its place; larger boards are averaged down."""

    def __init__(self, config: NetworkConfig, seed: int):
        super().__init__()
        self.side = config.latent_grid
        self.lift = seeded(nn.Conv2d(config.channels, config.width, 1), seed, "lift")

    def add_board(self, height: int, width: int) -> None:
        """Every size fits."""

    def forward(self, grid: Tensor) -> Tensor:
        """grid [B, channels, H, W] -> [B, side * side, D]."""
        height, width = grid.shape[2:]
        if max(height, width) > self.side:
            grid = F.adaptive_avg_pool2d(grid, (min(height, self.side), min(width, self.side)))
            height, width = grid.shape[2:]
        return board_cells(F.pad(self.lift(grid), (0, self.side - width, 0, self.side - height)))


def ring_position(row: int, column: int) -> int:
    """Where cell (row, column) lies when cells are listed ring by ring from the top left corner."""
    ring = max(row, column)
    return ring**2 + (column if row == ring else 2 * ring - row)


class VectorEncoder(nn.Module):
    """Vectors [B, N] -> [B, L, D]: a first layer of the game's own, then shared layers.

    Entries of vectors have no common meaning, so the first layer cannot be shared. Each entry is measured in units of
    its own spread under random play (`calibrate_`, once, when the game joins), then passes through symlog.
    """

    def __init__(self, config: NetworkConfig, num_tokens: int, seed: int):
        super().__init__()
        self.num_tokens, self.width, self.hidden, self.seed = num_tokens, config.width, config.hidden, seed
        self.first = nn.ModuleDict()
        self.out = seeded(nn.Linear(config.hidden, num_tokens * config.width), seed, "vector out")

    def add_game(self, spec: GameSpec, index: int) -> None:
        (size,) = spec.observation.shape
        self.first[str(index)] = seeded(nn.Linear(size, self.hidden), self.seed, f"vector {spec.name}")
        self.register_buffer(f"center_{index}", torch.zeros(size))
        self.register_buffer(f"spread_{index}", torch.ones(size))

    def calibrate_(self, index: int, vectors: Tensor) -> None:
        """Take the centre and spread of each entry from vectors [M, N] of random play; entries that rest keep 1."""
        spread = vectors.float().std(0)
        self.get_buffer(f"center_{index}").copy_(vectors.float().mean(0))
        self.get_buffer(f"spread_{index}").copy_(torch.where(spread > 1e-6, spread, 1.0))

    def forward(self, index: int, vector: Tensor) -> Tensor:
        """vector [B, N] of game `index` -> latent [B, L, D]."""
        vector = (vector.float() - self.get_buffer(f"center_{index}")) / self.get_buffer(f"spread_{index}")
        squashed = torch.sign(vector) * torch.log1p(vector.abs())
        return self.out(F.relu(self.first[str(index)](squashed))).unflatten(1, (self.num_tokens, self.width))


class PixelEncoder(nn.Module):
    """Frames [B, C, H, W] of uint8 -> [B, L, D]: strided convolutions (Mnih et al. 2015), a first layer a game."""

    def __init__(self, config: NetworkConfig, num_tokens: int, seed: int):
        super().__init__()
        self.num_tokens, self.width, self.channels, self.seed = num_tokens, config.width, config.channels, seed
        self.first = nn.ModuleDict()
        wide = 2 * config.channels
        self.second = seeded(nn.Conv2d(config.channels, wide, 4, stride=2), seed, "pixels 2")
        self.third = seeded(nn.Conv2d(wide, wide, 3), seed, "pixels 3")
        self.out = seeded(nn.Linear(wide * 7 * 7, num_tokens * config.width), seed, "pixels out")

    def add_game(self, spec: GameSpec, index: int) -> None:
        layer = nn.Conv2d(spec.observation.shape[0], self.channels, 8, stride=4)
        self.first[str(index)] = seeded(layer, self.seed, f"pixels {spec.name}")

    def forward(self, index: int, frames: Tensor) -> Tensor:
        """frames [B, C, H, W] of game `index` -> latent [B, L, D]."""
        frames = frames.float() / 255.0
        if frames.shape[-2:] != (PIXEL_SIDE, PIXEL_SIDE):
            frames = F.interpolate(frames, (PIXEL_SIDE, PIXEL_SIDE), mode="area")
        image = F.relu(self.third(F.relu(self.second(F.relu(self.first[str(index)](frames))))))
        return self.out(image.flatten(1)).unflatten(1, (self.num_tokens, self.width))


class TokenEncoder(nn.Module):
    """Texts [B, N] of tokens (envs.tokens) -> [B, L, D]; nothing of it belongs to one game.

    Two readings of the embedded tokens are added: the last `LAST_TOKENS`, each place with weights of its own (Bengio et
    al. 2003), which says what comes next; and for every filter of `WORD` neighbours its strongest answer anywhere (Kim
    2014), which says what the text speaks of. Padding is nothing.
    """

    def __init__(self, config: NetworkConfig, num_tokens: int, seed: int):
        super().__init__()
        self.num_tokens, self.width = num_tokens, config.width
        noise = torch.randn(VOCABULARY, TOKEN_WIDTH, generator=torch.Generator().manual_seed(label_seed(seed, "bytes")))
        self.embedding = nn.Parameter(noise)
        self.last = seeded(nn.Linear(LAST_TOKENS * TOKEN_WIDTH, config.hidden), seed, "last tokens")
        self.words = seeded(nn.Linear(WORD * TOKEN_WIDTH, 2 * TOKEN_WIDTH), seed, "words")
        self.speaks = seeded(nn.Linear(2 * TOKEN_WIDTH, config.hidden), seed, "speaks")
        self.out = seeded(nn.Linear(config.hidden, num_tokens * config.width), seed, "tokens out")

    def add_game(self, spec: GameSpec, index: int) -> None:
        """Texts of all lengths are read alike."""

    def forward(self, index: int, text: Tensor) -> Tensor:
        """text [B, N], any integer type -> latent [B, L, D]."""
        text = text.long()
        read = F.embedding(text, self.embedding) * (text != PADDING)[:, :, None]  # [B, N, E]
        read = F.pad(read, (0, 0, max(0, LAST_TOKENS - text.shape[1]), 0))  # in front
        found = F.relu(self.words(read.unfold(1, WORD, 1).flatten(2))).amax(1)  # [B, 2 E]
        hidden = F.relu(self.last(read[:, -LAST_TOKENS:].flatten(1)) + self.speaks(found))
        return self.out(hidden).unflatten(1, (self.num_tokens, self.width))


KINDS = {
    ObservationKind.GRID: GridEncoder,
    ObservationKind.VECTOR: VectorEncoder,
    ObservationKind.PIXELS: PixelEncoder,
    ObservationKind.TOKENS: TokenEncoder,
}


class Encoders(nn.Module):
    """All encoders; an encoder comes into being with the first game of its kind."""

    def __init__(self, config: NetworkConfig, num_tokens: int, seed: int):
        super().__init__()
        self.config, self.num_tokens, self.seed = config, num_tokens, seed
        self.by_kind = nn.ModuleDict()
        self.slot: dict[int, str] = {}  # game index -> entry of by_kind

    def add_game(self, spec: GameSpec, index: int) -> None:
        kind = spec.observation.kind
        if kind not in KINDS:
            raise ValueError(
                f"{spec.name}: no encoder reads observations of kind {kind}; there are encoders for {', '.join(KINDS)}"
            )
        slot = str(kind) if self.config.shared_encoders else f"{kind}-{index}"
        if slot not in self.by_kind:
            self.by_kind[slot] = KINDS[kind](self.config, self.num_tokens, self.seed)
        encoder = self.by_kind[slot]
        assert isinstance(encoder, GridEncoder | VectorEncoder | PixelEncoder | TokenEncoder)
        encoder.add_game(spec, index)
        self.slot[index] = slot

    def calibrate_(self, index: int, observations: Tensor) -> None:
        """Show observations [M, *shape] of random play to an encoder that measures its inputs by them."""
        encoder = self.by_kind[self.slot[index]]
        if isinstance(encoder, VectorEncoder):
            encoder.calibrate_(index, observations)

    def forward(self, index: int, observation: Tensor) -> Tensor:
        """observation [B, *shape] of game `index` -> latent [B, L, D], each token normalised."""
        latent = self.by_kind[self.slot[index]](index, observation)
        return F.layer_norm(latent, latent.shape[-1:])
