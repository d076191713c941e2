"""Encoders of boards and vectors without autograd, reading observations where the replay buffer keeps them.

`agents.encoders` says the same in torch; tests hold the two together. What is not written out here (pixels, texts,
grids with residual convolutions) goes through autograd.

Boards are read cell by cell, and empty cells are passed over: planes of a position are mostly zeros.

Shape legend: N rows of one game, T positions in the replay buffer, C channels, P cells of a board, D width, H hidden
width, S symmetries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.encoders import GridEncoder, PlaceReadout, VectorEncoder, ring_position
from agents.fused import Dense, Gradients, Held, mask_, normalise_back_, normalise_rows_, rectify_, room_for
from agents.network import MultiGameNetwork
from envs.game import GameSpec
from search.compile import compiled
from search.layers import floats


class Shown(NamedTuple):
    """Observations of one game: rows `index` of `ring`, each turned by the symmetry `pick`."""

    game: str
    ring: Tensor  # [T, *shape]
    index: np.ndarray  # [N] int64
    cells: np.ndarray | None = None  # [S, H * W] int64 as in `envs.game.Symmetries`; None: nothing is turned
    pick: np.ndarray | None = None  # [N] int64

    def observation(self) -> Tensor:
        """[N, *shape]."""
        found = self.ring[torch.from_numpy(self.index)]
        if self.cells is None or self.pick is None or len(self.cells) == 1:
            return found
        cells = torch.from_numpy(self.cells[self.pick])
        flat = found.flatten(-2)
        cells = cells.view(len(cells), *[1] * (flat.dim() - 2), -1)
        return flat.gather(-1, cells.expand(flat.shape)).view_as(found)


class Encoding:
    """The encoders of one network for rows of some games, in memory of its own that is used again and again.

    `fixed`: no part goes through autograd, which writes its gradients elsewhere every time.
    """

    def __init__(self, network: MultiGameNetwork, specs: Sequence[GameSpec], most: int, gradients: Gradients | None):
        """most: rows of one game at a time. gradients: takes in where they will lie; None: nothing is trained."""
        self.network, self.train = network, gradients is not None
        mine: Gradients = {} if gradients is None else gradients
        self.readouts: dict[nn.Module, _Places] = {}
        self.readers: dict[str, _Grid | _Vector | None] = {}  # None: through autograd
        for spec in specs:
            number = network.games[spec.name]
            encoder = network.encoders.by_kind[network.encoders.slot[number]]
            if isinstance(encoder, VectorEncoder):
                self.readers[spec.name] = _Vector(encoder, number, most, mine)
            elif (
                isinstance(encoder, GridEncoder)
                and not len(encoder.blocks)
                and isinstance(encoder.readout, PlaceReadout)
            ):
                if encoder not in self.readouts:
                    slots = network.encoders.slot
                    sharing = [s for s in specs if slots[network.games[s.name]] == slots[number]]
                    side = max(max(s.observation.shape[-2:]) for s in sharing)
                    self.readouts[encoder] = _Places(encoder.readout, side, mine)
                places = self.readouts[encoder]
                self.readers[spec.name] = _Grid(encoder, number, spec.observation.shape, most, places, mine)
            else:
                self.readers[spec.name] = None
        self.fixed = all(reader is not None for reader in self.readers.values())
        rows = most * len(specs)
        self.latent, self.by_sum = (Held.of(torch.zeros(rows, network.width)) for _ in range(2))
        self.spread = np.zeros(rows, np.float32)  # 1 / standard deviation, of layer_norm
        self.graphs: list[tuple[Tensor, slice]] = []  # latents with autograd's graph, and their rows

    def run(self, parts: Sequence[Shown]) -> Tensor:
        """Latents [rows, D] of the rows of all `parts`, one after the other; valid until the next call."""
        done, self.graphs = 0, []
        with torch.no_grad():
            for shown in parts:
                rows = slice(done, done + len(shown.index))
                done, reader, latent = rows.stop, self.readers[shown.game], self.latent.tensor[rows]
                if reader is not None:
                    reader.run(shown, latent)
                    normalise_rows_(self.latent.array[rows], self.spread[rows])
                    continue
                with torch.set_grad_enabled(self.train):
                    found = self.network.represent(shown.game, shown.observation())[:, 0]
                latent.copy_(found.detach())
                self.graphs.append((found, rows))
        return self.latent.tensor[:done]

    def back_(self, parts: Sequence[Shown], gradient: Tensor) -> None:
        """Write the gradients of the encoders for the `parts` of the last `run` [rows, D]; autograd's are added to the
        parameters' `grad`."""
        with torch.no_grad():
            for shared in (*self.readouts.values(), *self.readers.values()):
                if shared is not None:
                    shared.clear_()
            by_latent, done = gradient.numpy(), 0
            for shown in parts:
                rows = slice(done, done + len(shown.index))
                done, reader = rows.stop, self.readers[shown.game]
                if reader is not None:
                    normalise_back_(by_latent[rows], self.latent.array[rows], self.spread[rows],
                                    self.by_sum.array[rows], reader.by_bias, False)  # fmt: skip
                    reader.back_(shown, self.by_sum.tensor[rows])
        for found, rows in self.graphs:
            torch.autograd.backward([found], [gradient[rows]])


# -- boards ------------------------------------------------------------------------------------------------------


_BLOCK = 32  # numbers that a loop takes at a time; what is left over is slow


class _Places:
    """The gradients of a readout, which the boards of one encoder share, and where its weights lie."""

    def __init__(self, readout: PlaceReadout, side: int, gradients: Gradients):
        """side: of the largest board."""
        rings = [readout.rings[str(ring)] for ring in range(side)]
        self.lies = np.array([ring.data_ptr() for ring in rings], np.int64)
        self.by_places = Held.of(torch.zeros(side**2, readout.channels * readout.width))
        self.bias, self.by_bias = readout.bias.detach(), Held.of(room_for(readout.bias, gradients))
        for number, ring in enumerate(rings):
            gradients[ring] = self.by_places.tensor[number**2 : (number + 1) ** 2].view_as(ring)

    def clear_(self) -> None:
        """Begin with no gradients; the games' are added."""
        self.by_places.tensor.zero_()


class _Grid:
    """`GridEncoder` without residual convolutions, for boards of one game."""

    def __init__(self, encoder: GridEncoder, number: int, shape: tuple[int, ...], most: int, places: _Places,
                 gradients: Gradients):  # fmt: skip
        planes, height, width = shape
        channels, own = encoder.channels, encoder.own_weight
        self.size, self.places = (height, width), places
        self.by_bias = places.by_bias.array  # of the layer before the norm
        shared = planes - (own[str(number)].shape[1] if str(number) in own else 0)
        weights = ([encoder.board_weight] if shared else []) + ([own[str(number)]] if shared < planes else [])
        self.weights = [Held.of(weight).array for weight in weights]
        self.by_weights = [room_for(weight, gradients).numpy() for weight in weights]
        self.bias, self.by_first_bias = Held.of(encoder.bias).array, room_for(encoder.bias, gradients).numpy()
        wide = -(-3 * channels // _BLOCK) * _BLOCK  # zeros behind
        self.taps, self.by_taps = (np.zeros((planes, 3, wide), np.float32) for _ in range(2))
        cells = height * width
        self.cells = np.array([ring_position(row, column) for row in range(height) for column in range(width)])
        self.rows, self.by_rows = (Held.of(torch.zeros(cells, places.by_places.array.shape[1])) for _ in range(2))
        self.readout, self.by_readout = (held.tensor.view(cells * channels, -1) for held in (self.rows, self.by_rows))
        self.grid, self.by_grid = (Held.of(torch.zeros(most, cells * channels)) for _ in range(2))
        self.untouched = np.arange(cells)[None], np.zeros(most, np.int64)  # cells and pick of no symmetry

    def _seen(self, shown: Shown) -> tuple:
        """What the kernels are told of the boards: ring [T, planes, P], (height, width), index, cells, pick."""
        cells, pick = self.untouched if shown.cells is None or shown.pick is None else (shown.cells, shown.pick)
        return shown.ring.flatten(2).numpy(), self.size, shown.index, cells, pick

    def run(self, shown: Shown, out: Tensor) -> None:
        """out [N, D] before the norm."""
        done, count = 0, len(out)
        for weight in self.weights:
            _take_taps_(weight, self.taps[done : done + weight.shape[1]])
            done += weight.shape[1]
        _take_rows_(self.places.lies, self.cells, self.rows.array)
        _convolve_(*self._seen(shown), self.taps, self.bias, self.grid.array[:count])
        torch.addmm(self.places.bias, self.grid.tensor[:count], self.readout, out=out)

    def clear_(self) -> None:
        """Begin with no gradients, also where games share them."""
        for by in (self.by_bias, self.by_first_bias, *self.by_weights):
            by[...] = 0

    def back_(self, shown: Shown, by_sum: Tensor) -> None:
        """Add to the gradients; by_sum [N, D]: that before the norm."""
        count = len(by_sum)
        grid, by_grid = self.grid.tensor[:count], self.by_grid.tensor[:count]
        torch.mm(by_sum, self.readout.T, out=by_grid)
        torch.mm(grid.T, by_sum, out=self.by_readout)
        _add_rows_(self.by_rows.array, self.cells, self.places.by_places.array)
        _convolve_back_(*self._seen(shown), self.grid.array[:count], self.by_grid.array[:count], self.by_taps,
                        self.by_first_bias)  # fmt: skip
        done = 0
        for by_weight in self.by_weights:
            _give_taps_(self.by_taps[done : done + by_weight.shape[1]], by_weight)
            done += by_weight.shape[1]


@compiled
def _take_taps_(weight, taps):
    """weight [C, planes, 3, 3] -> taps [planes, 3, 3 C and more]: what one cell adds to three cells side by side, left
    to right, by row of the filter."""
    channels = weight.shape[0]
    for p in range(weight.shape[1]):
        for k in range(3):
            for j in range(3):
                for c in range(channels):
                    taps[p, k, (2 - j) * channels + c] = weight[c, p, k, j]


@compiled
def _give_taps_(taps, weight):
    """The way back of `_take_taps_`, for gradients, which are added."""
    channels = weight.shape[0]
    for p in range(weight.shape[1]):
        for k in range(3):
            for j in range(3):
                for c in range(channels):
                    weight[c, p, k, j] += taps[p, k, (2 - j) * channels + c]


@compiled
def _take_rows_(lies, cells, rows):
    """rows [P, C * D]: the readout's weights of a board's cells; lies: addresses of its rings, cells [P]: positions in
    the order of the rings."""
    size = rows.shape[1]
    for i in range(cells.shape[0]):
        ring = np.int64(np.sqrt(cells[i]))
        source, target = floats(lies[ring] + 4 * size * (cells[i] - ring * ring), size), rows[i]
        for j in range(size):
            target[j] = source[j]


@compiled
def _add_rows_(rows, cells, places):
    """places[cells] += rows; rows [P, C * D], cells [P]."""
    for i in range(cells.shape[0]):
        source, target = rows[i], places[cells[i]]
        for j in range(rows.shape[1]):
            target[j] += source[j]


@compiled
def _convolve_(ring, size, index, cells, pick, taps, bias, out):
    """out [N, P * C]: the rectified 3x3 convolution of rows `index` [N] of ring [T, planes, P], turned by cells
    [S, P] of symmetry pick [N], zeros around. size: (height, width); taps of `_take_taps_`, bias [C]."""
    planes, (height, width), channels = ring.shape[1], size, bias.shape[0]
    length, more = width * channels, taps.shape[2]
    # The sums, with a border of one cell, and room for what lies behind the last tap.
    wide = np.empty((height + 2, length + 2 * channels + more), np.float32)
    flat = wide.reshape(-1)
    bias_row = np.empty(length, np.float32)
    for column in range(width):
        bias_row[column * channels : (column + 1) * channels] = bias
    for i in range(index.shape[0]):
        names, board = cells[pick[i]], out[i]
        for j in range(flat.shape[0]):
            flat[j] = 0
        for p in range(planes):
            plane = ring[index[i], p]
            for row in range(height):
                for column in range(width):
                    x = np.float32(plane[names[row * width + column]])
                    if x != 0:
                        for k in range(3):  # the cell is seen from the row below first
                            near, tap = wide[row + 2 - k, column * channels : column * channels + more], taps[p, k]
                            for j in range(tap.shape[0]):
                                near[j] += x * tap[j]
        for row in range(height):
            sums, made = wide[row + 1, channels : channels + length], board[row * length : (row + 1) * length]
            for j in range(bias_row.shape[0]):
                y = sums[j] + bias_row[j]
                made[j] = np.float32(0) if y < 0 else y


@compiled
def _convolve_back_(ring, size, index, cells, pick, out, gradient, by_taps, by_bias):
    """Adds to by_bias [C] what gradient [N, P * C] at `_convolve_`'s output says, and sets by_taps, whose numbers
    behind the taps mean nothing."""
    planes, (height, width), channels = ring.shape[1], size, by_bias.shape[0]
    length, more = width * channels, by_taps.shape[2]
    wide = np.zeros((height + 2, length + 2 * channels + more), np.float32)  # before the rectifier; a border of 0
    bias_row = np.zeros(length, np.float32)
    by_taps[:] = 0
    for i in range(index.shape[0]):
        names, board, by_board = cells[pick[i]], out[i], gradient[i]
        for row in range(height):
            made, by_made = board[row * length : (row + 1) * length], by_board[row * length : (row + 1) * length]
            sums = wide[row + 1, channels : channels + length]
            for j in range(bias_row.shape[0]):
                g = by_made[j]
                g = np.float32(0) if made[j] == 0 else g
                sums[j] = g
                bias_row[j] += g
        for p in range(planes):
            plane = ring[index[i], p]
            for row in range(height):
                for column in range(width):
                    x = np.float32(plane[names[row * width + column]])
                    if x != 0:
                        for k in range(3):
                            near, tap = wide[row + 2 - k, column * channels : column * channels + more], by_taps[p, k]
                            for j in range(tap.shape[0]):
                                tap[j] += x * near[j]
    for column in range(width):
        by_bias += bias_row[column * channels : (column + 1) * channels]


# -- vectors -----------------------------------------------------------------------------------------------------


class _Vector:
    """`VectorEncoder`, for vectors of one game."""

    def __init__(self, encoder: VectorEncoder, number: int, most: int, gradients: Gradients):
        first: nn.Linear = encoder.first[str(number)]  # pyright: ignore[reportAssignmentType]
        self.first, self.out = Dense(first, gradients), Dense(encoder.out, gradients)
        self.by_bias = room_for(encoder.out.bias, gradients).numpy()  # of the layer before the norm
        self.center, self.spread = (encoder.get_buffer(f"{n}_{number}").numpy() for n in ("center", "spread"))
        self.squashed = Held.of(torch.zeros(most, len(self.center)))
        self.hidden, self.by_hidden = (Held.of(torch.zeros(most, len(first.bias))) for _ in range(2))

    def run(self, shown: Shown, out: Tensor) -> None:
        """out [N, D] before the norm."""
        count = len(out)
        _squash_(shown.ring.numpy(), shown.index, self.center, self.spread, self.squashed.array)
        torch.mm(self.squashed.tensor[:count], self.first.turned, out=self.hidden.tensor[:count])
        rectify_(self.hidden.array[:count], self.first.bias.array)
        torch.addmm(self.out.bias.tensor, self.hidden.tensor[:count], self.out.turned, out=out)

    def clear_(self) -> None:
        """Begin with no gradients in what games share."""
        self.by_bias[:] = 0
        self.out.by_weight.zero_()

    def back_(self, shown: Shown, by_sum: Tensor) -> None:
        """Add to the gradients; by_sum [N, D]: that before the norm."""
        count = len(by_sum)
        hidden, by_hidden = self.hidden.tensor[:count], self.by_hidden.tensor[:count]
        self.out.by_weight.addmm_(by_sum.T, hidden)
        torch.mm(by_sum, self.out.weight, out=by_hidden)
        mask_(self.by_hidden.array[:count], self.hidden.array[:count], self.first.by_bias.array, True)
        torch.mm(by_hidden.T, self.squashed.tensor[:count], out=self.first.by_weight)


@compiled
def _squash_(ring, index, center, spread, out):
    """out [N, entries] = symlog((ring[index] - center) / spread); ring [T, entries], any number type."""
    for i in range(index.shape[0]):
        row = ring[index[i]]
        for j in range(row.shape[0]):
            x = (np.float32(row[j]) - center[j]) / spread[j]
            size = np.log1p(abs(x))
            out[i, j] = -size if x < 0 else size
