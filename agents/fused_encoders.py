"""Encoders of boards and vectors without autograd, reading observations where the replay buffer keeps them.

`agents.encoders` says the same in torch; tests hold the two together. What is not written out here (pixels, texts,
grids with residual convolutions) goes through autograd.

Boards are read cell by cell, and empty cells are passed over: planes of a position are mostly zeros. The cells of a
board lie in the order of the readout's rings, so that the weights of a square board are the first rows of one matrix,
whatever other boards there are.

Shape legend: N rows of one game, T positions in the replay buffer, C channels, P cells of a board, D width, H hidden
width, S symmetries.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.encoders import GridEncoder, PlaceReadout, VectorEncoder, ring_position
from agents.fused import normalise_back_, normalise_rows_, rectify_, mask_
from agents.network import MultiGameNetwork
from search.compile import compiled

_NO_ROWS = torch.zeros(0, dtype=torch.int64)


class Shown(NamedTuple):
    """Observations of one game: rows `index` of `ring`, each turned by the symmetry `pick`."""

    game: str
    ring: Tensor  # [T, *shape]
    index: Tensor  # [N] int64
    cells: np.ndarray | None = None  # [S, H * W] int64 as in `envs.game.Symmetries`; None: nothing is turned
    pick: Tensor | None = None  # [N] int64

    def observation(self) -> Tensor:
        """[N, *shape]."""
        found = self.ring[self.index]
        if self.cells is None or self.pick is None or len(self.cells) == 1:
            return found
        cells = torch.from_numpy(self.cells)[self.pick]
        flat = found.flatten(-2)
        cells = cells.view(len(cells), *[1] * (flat.dim() - 2), -1)
        return flat.gather(-1, cells.expand(flat.shape)).view_as(found)


class Board(NamedTuple):
    """The cells of a board in the order of the rings."""

    order: np.ndarray  # [P] int64: where each cell, row by row, comes in that order
    used: Tensor | None  # [P] int64: rows of the rings in that order; None: they are the first P


class Encoded(NamedTuple):
    """Latents of rows of several games, and what the way back needs."""

    latent: Tensor  # [rows of all games, D], normalised
    spread: Tensor  # [rows] 1 / standard deviation before that
    parts: list[Shown]
    kept: list[Tensor]  # of each game: the layer before the last [N, inputs], or its latent with autograd's graph


def encode(network: MultiGameNetwork, parts: Sequence[Shown], train: bool = False) -> Encoded:
    """Latents of the rows of all `parts`, one after the other. train: `encode_back_` follows."""
    sizes = [len(shown.index) for shown in parts]
    latent = torch.empty(sum(sizes), network.width)
    spread, kept = torch.empty(len(latent)), []
    places: dict[nn.Module, Tensor] = {}
    for shown, raw, part_spread in zip(parts, latent.split(sizes), spread.split(sizes), strict=True):
        encoder = _encoder(network, shown.game)
        number = network.games[shown.game]
        if _written_out(encoder):
            with torch.no_grad():
                if isinstance(encoder, GridEncoder):
                    if encoder not in places:
                        places[encoder] = _places(network, encoder, parts)
                    kept.append(_grid(encoder, number, shown, places[encoder], raw))
                else:
                    assert isinstance(encoder, VectorEncoder)
                    kept.append(_vector(encoder, number, shown, raw))
                normalise_rows_(raw.numpy(), part_spread.numpy())
        else:
            with torch.set_grad_enabled(train):
                found = network.represent(shown.game, shown.observation())[:, 0]
            raw.copy_(found.detach())
            kept.append(found)
    return Encoded(latent, spread, list(parts), kept)


def encode_back_(network: MultiGameNetwork, encoded: Encoded, gradient: Tensor) -> None:
    """Add the encoders' gradients, given that of the latents [rows, D], to their parameters' `grad`."""
    sizes = [len(shown.index) for shown in encoded.parts]
    places: dict[nn.Module, tuple[Tensor, Tensor]] = {}  # the readouts' weights and their gradients
    for shown, kept, latent, spread, by_latent in zip(
        encoded.parts, encoded.kept, encoded.latent.split(sizes), encoded.spread.split(sizes), gradient.split(sizes),
        strict=True,
    ):  # fmt: skip
        encoder, number = _encoder(network, shown.game), network.games[shown.game]
        if not _written_out(encoder):
            torch.autograd.backward([kept], [by_latent])
            continue
        with torch.no_grad():
            by_sum = torch.empty_like(latent)
            normalise_back_(by_latent.numpy(), latent.numpy(), spread.numpy(), by_sum.numpy())
            if isinstance(encoder, GridEncoder):
                if encoder not in places:
                    weights = _places(network, encoder, encoded.parts)
                    places[encoder] = weights, torch.zeros_like(weights)
                _grid_back_(encoder, number, shown, kept, by_sum, *places[encoder])
            else:
                assert isinstance(encoder, VectorEncoder)
                _vector_back_(encoder, number, shown, kept, by_sum)
    for encoder, (_, by_places) in places.items():
        _set_rings(encoder.readout, by_places)  # pyright: ignore[reportArgumentType]


def _encoder(network: MultiGameNetwork, game: str) -> nn.Module:
    return network.encoders.by_kind[network.encoders.slot[network.games[game]]]


def _written_out(encoder: nn.Module) -> bool:
    if isinstance(encoder, GridEncoder):
        return not len(encoder.blocks) and isinstance(encoder.readout, PlaceReadout)
    return isinstance(encoder, VectorEncoder)


def add_gradient_(parameter: Tensor, gradient: Tensor) -> None:
    """What autograd does at a leaf."""
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad.add_(gradient)


# -- boards ------------------------------------------------------------------------------------------------------


@functools.cache
def _board(height: int, width: int) -> Board:
    rings = np.array([ring_position(row, column) for row in range(height) for column in range(width)])
    used = np.sort(rings)
    square = height == width
    return Board(np.searchsorted(used, rings).astype(np.int64), None if square else torch.from_numpy(used))


def _places(network: MultiGameNetwork, encoder: GridEncoder, parts: Sequence[Shown]) -> Tensor:
    """[places, C * D] the readout's weights, ring by ring, as far as the largest board of this encoder goes."""
    shown = [shown for shown in parts if _encoder(network, shown.game) is encoder]
    side = max(max(part.ring.shape[-2:]) for part in shown)
    rings: nn.ParameterDict = encoder.readout.rings  # pyright: ignore[reportAssignmentType]
    return torch.cat([rings[str(ring)].detach().flatten(1) for ring in range(side)])


def _set_rings(readout: PlaceReadout, gradient: Tensor) -> None:
    """Split the gradient of `_places` into those of the rings."""
    side = round(len(gradient) ** 0.5)
    for ring in range(side):
        weight = readout.rings[str(ring)]
        weight.grad = gradient[ring**2 : (ring + 1) ** 2].view_as(weight)


def _first_layer(encoder: GridEncoder, number: int, planes: int) -> tuple[Tensor, int]:
    """(weight [C, planes, 3, 3], how many of the planes are shared by all board games)."""
    own = [encoder.own_weight[str(number)]] if str(number) in encoder.own_weight else []
    shared = planes - (own[0].shape[1] if own else 0)
    return torch.cat([encoder.board_weight, *own], 1).detach() if shared else own[0].detach(), shared


def _taps(weight: Tensor) -> Tensor:
    """[C, planes, 3, 3] -> [planes, 3, 3 C]: what one cell adds to three cells side by side, left to right."""
    return weight.flip(3).permute(1, 2, 3, 0).flatten(2).contiguous()


def _readout_rows(places: Tensor, board: Board, channels: int) -> Tensor:
    """[P * C, D] the weights of a board's cells."""
    rows = places[: len(board.order)] if board.used is None else places.index_select(0, board.used)
    return rows.view(len(board.order) * channels, -1)


def _seen(shown: Shown) -> tuple:
    """What the kernels are told of the boards: ring [T, planes, P], (height, width), index, cells, pick."""
    size, ring, index = tuple(shown.ring.shape[-2:]), shown.ring.flatten(2).numpy(), shown.index.numpy()
    if shown.cells is None or shown.pick is None:
        return ring, size, index, np.arange(ring.shape[2])[None], np.zeros(len(index), np.int64)
    return ring, size, index, shown.cells, shown.pick.numpy()


def _grid(encoder: GridEncoder, number: int, shown: Shown, places: Tensor, out: Tensor) -> Tensor:
    """out [N, D] before the norm; returns the rectified grid [N, P * C]."""
    board = _board(*shown.ring.shape[-2:])
    weight, _ = _first_layer(encoder, number, shown.ring.shape[1])
    grid = torch.empty(len(shown.index), len(board.order) * encoder.channels)
    _convolve_(*_seen(shown), _taps(weight).numpy(),
               encoder.bias.detach().numpy(), board.order, grid.numpy())  # fmt: skip
    torch.addmm(encoder.readout.bias, grid, _readout_rows(places, board, encoder.channels), out=out)  # pyright: ignore
    return grid


def _grid_back_(
    encoder: GridEncoder, number: int, shown: Shown, grid: Tensor, by_sum: Tensor, places: Tensor, by_places: Tensor
) -> None:
    """Adds to by_places [places, C * D] and to the gradients of the other parameters; by_sum [N, D]: before the norm."""
    board, channels, planes = _board(*shown.ring.shape[-2:]), encoder.channels, shown.ring.shape[1]
    add_gradient_(encoder.readout.bias, by_sum.sum(0))  # pyright: ignore[reportArgumentType]
    by_grid = torch.mm(by_sum, _readout_rows(places, board, channels).T)
    if board.used is None:
        by_places[: len(board.order)].view(len(board.order) * channels, -1).addmm_(grid.T, by_sum)
    else:
        by_places.index_add_(0, board.used, torch.mm(grid.T, by_sum).view(len(board.order), -1))
    by_taps, by_bias = torch.zeros(planes, 3, 3 * channels), torch.zeros(channels)
    _convolve_back_(*_seen(shown), grid.numpy(), board.order, by_grid.numpy(), by_taps.numpy(), by_bias.numpy())  # fmt: skip
    by_weight = by_taps.view(planes, 3, 3, channels).permute(3, 0, 1, 2).flip(3)
    _, shared = _first_layer(encoder, number, planes)
    if shared:
        add_gradient_(encoder.board_weight, by_weight[:, :shared].contiguous())
    if shared < planes:
        add_gradient_(encoder.own_weight[str(number)], by_weight[:, shared:].contiguous())
    add_gradient_(encoder.bias, by_bias)


@compiled
def _convolve_(ring, size, index, cells, pick, taps, bias, order, out):
    """out [N, P * C]: the rectified 3x3 convolution of rows `index` [N] of ring [T, planes, P], turned by cells
    [S, P] of symmetry pick [N], zeros around. size: (height, width); taps [planes, 3, 3 C] of `_taps`, bias [C]; order
    [P]: where a cell lies in a row of out."""
    planes, (height, width), channels = ring.shape[1], size, bias.shape[0]
    stride = (width + 2) * channels
    wide = np.empty((height + 2) * stride, np.float32)  # the sums, with a border of one cell
    for i in range(index.shape[0]):
        names = cells[pick[i]]
        wide[:] = 0
        for p in range(planes):
            plane = ring[index[i], p]
            for row in range(height):
                for column in range(width):
                    x = np.float32(plane[names[row * width + column]])
                    if x != 0:
                        for k in range(3):  # the cell is seen from the row below first
                            start = (row + 2 - k) * stride + column * channels
                            tap = taps[p, k]
                            for j in range(3 * channels):
                                wide[start + j] += x * tap[j]
        for row in range(height):
            for column in range(width):
                source = (row + 1) * stride + (column + 1) * channels
                target = order[row * width + column] * channels
                for c in range(channels):
                    y = wide[source + c] + bias[c]
                    out[i, target + c] = np.float32(0) if y < 0 else y


@compiled
def _convolve_back_(ring, size, index, cells, pick, out, order, gradient, by_taps, by_bias):
    """Adds to by_taps [planes, 3, 3 C] and by_bias [C] what gradient [N, P * C] at `_convolve_`'s output says."""
    planes, (height, width), channels = ring.shape[1], size, by_bias.shape[0]
    stride = (width + 2) * channels
    wide = np.zeros((height + 2) * stride, np.float32)  # the gradient before the rectifier; its border stays 0
    for i in range(index.shape[0]):
        names = cells[pick[i]]
        for row in range(height):
            for column in range(width):
                target = (row + 1) * stride + (column + 1) * channels
                source = order[row * width + column] * channels
                for c in range(channels):
                    g = np.float32(0) if out[i, source + c] == 0 else gradient[i, source + c]
                    wide[target + c] = g
                    by_bias[c] += g
        for p in range(planes):
            plane = ring[index[i], p]
            for row in range(height):
                for column in range(width):
                    x = np.float32(plane[names[row * width + column]])
                    if x != 0:
                        for k in range(3):
                            start = (row + 2 - k) * stride + column * channels
                            tap = by_taps[p, k]
                            for j in range(3 * channels):
                                tap[j] += x * wide[start + j]


# -- vectors -----------------------------------------------------------------------------------------------------


def _squashed(encoder: VectorEncoder, number: int, shown: Shown) -> Tensor:
    """[N, entries] in units of their spread, then symlog."""
    found = torch.empty(len(shown.index), shown.ring.shape[1])
    _squash_(shown.ring.numpy(), shown.index.numpy(), encoder.get_buffer(f"center_{number}").numpy(),
             encoder.get_buffer(f"spread_{number}").numpy(), found.numpy())  # fmt: skip
    return found


def _vector(encoder: VectorEncoder, number: int, shown: Shown, out: Tensor) -> Tensor:
    """out [N, D] before the norm; returns the hidden layer [N, H]."""
    first: nn.Linear = encoder.first[str(number)]  # pyright: ignore[reportAssignmentType]
    hidden = torch.mm(_squashed(encoder, number, shown), first.weight.T)
    rectify_(hidden.numpy(), first.bias.detach().numpy())
    torch.addmm(encoder.out.bias, hidden, encoder.out.weight.T, out=out)
    return hidden


def _vector_back_(encoder: VectorEncoder, number: int, shown: Shown, hidden: Tensor, by_sum: Tensor) -> None:
    """by_sum [N, D]: before the norm; hidden [N, H]."""
    first: nn.Linear = encoder.first[str(number)]  # pyright: ignore[reportAssignmentType]
    add_gradient_(encoder.out.weight, torch.mm(by_sum.T, hidden))
    add_gradient_(encoder.out.bias, by_sum.sum(0))
    by_hidden = torch.mm(by_sum, encoder.out.weight)
    mask_(by_hidden.numpy(), hidden.numpy())
    add_gradient_(first.weight, torch.mm(by_hidden.T, _squashed(encoder, number, shown)))
    add_gradient_(first.bias, by_hidden.sum(0))


@compiled
def _squash_(ring, index, center, spread, out):
    """out [N, entries] = symlog((ring[index] - center) / spread); ring [T, entries], any number type."""
    for i in range(index.shape[0]):
        row = ring[index[i]]
        for j in range(row.shape[0]):
            x = (np.float32(row[j]) - center[j]) / spread[j]
            size = np.log1p(abs(x))
            out[i, j] = -size if x < 0 else size
