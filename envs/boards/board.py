"""What board games have in common: legal moves after the end, symmetries and lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.game import Symmetries


def never_empty(legal: Tensor) -> Tensor:
    """legal [B, A] bool, and every move in rows that have none: the end of a game must show some, too."""
    return legal | ~legal.any(1, keepdim=True)


def square_symmetries(size: int) -> Symmetries:
    """The eight rotations and reflections of a size x size board whose moves are its cells."""
    return board_symmetries(size, size)


def board_symmetries(height: int, width: int) -> Symmetries:
    """The rotations and reflections that keep the shape of a board whose moves are its cells: eight of a square, four
    of another rectangle."""
    board = np.arange(height * width).reshape(height, width)
    turned = [np.rot90(side, turn) for side in (board, board.T) for turn in range(4)]
    cells = [side.ravel() for side in turned if side.shape == board.shape]
    return Symmetries(
        cells=tuple(tuple(map(int, cell)) for cell in cells),
        actions=tuple(tuple(map(int, np.argsort(cell))) for cell in cells),
    )


def rotation_symmetries(size: int) -> Symmetries:
    """The identity and the half turn of a size x size board whose moves are its cells."""
    cells = tuple(range(size * size)), tuple(reversed(range(size * size)))
    return Symmetries(cells=cells, actions=cells)  # a half turn is its own inverse


def mirror_symmetries(height: int, width: int) -> Symmetries:
    """The identity and the left-right reflection of a board whose moves are its columns."""
    board = np.arange(height * width).reshape(height, width)
    cells = [board.ravel(), board[:, ::-1].ravel()]
    actions = [range(width), reversed(range(width))]
    return Symmetries(
        cells=tuple(tuple(map(int, cell)) for cell in cells), actions=tuple(tuple(action) for action in actions)
    )


def line_table(
    height: int, width: int, length: int, wrap_rows: bool = False, wrap_columns: bool = False
) -> list[list[int]]:
    """All straight lines of `length` cells, as flat cell numbers row by row: [lines, length].

    wrap_rows: the bottom row is followed by the top one; wrap_columns: the rightmost column by the leftmost. Lines that
    come back to a cell are left out, and of several with the same cells all but the first.
    """
    lines: dict[frozenset[int], list[int]] = {}
    for row in range(height):
        for column in range(width):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                places = [(row + down * i, column + right * i) for i in range(length)]
                if all((wrap_rows or r < height) and (wrap_columns or 0 <= c < width) for r, c in places):
                    line = [r % height * width + c % width for r, c in places]
                    if len(set(line)) == length:
                        lines.setdefault(frozenset(line), line)
    return list(lines.values())


def line_matrix(lines: Sequence[Sequence[int]], num_cells: int) -> Tensor:
    """[num_cells, lines] float32: 1 where a cell lies on a line. What `has_line` takes."""
    matrix = torch.zeros(num_cells, len(lines))
    for index, line in enumerate(lines):
        matrix[list(line), index] = 1
    return matrix


def has_line(stones: Tensor, matrix: Tensor, length: int) -> Tensor:
    """[B] bool: whether `length` of the stones [B, num_cells] bool lie on one line. A matrix product of small whole
    numbers is exact, and a third of the time of looking every line's cells up."""
    return (stones.float() @ matrix.to(stones.device)).amax(1) > length - 0.5
