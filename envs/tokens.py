"""The vocabulary of all games with text: bytes, and four tokens more. Fixed for ever; a change raises VERSION.

A text of at most N tokens is shown right-aligned, with padding in front, so that what was said last stands always at
the same place; of a longer one the last N tokens are left. In games whose commands vary (`GameSpec.action_tokens`) the
commands follow the text, each right-aligned in a place of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from envs.game import GameSpec

VERSION = 1
BYTES = 256  # tokens 0 to 255 are bytes, text is UTF-8
PADDING = 256  # nothing is here
COMMAND = 257  # what follows was said by the player who looks
OTHER = 258  # what follows was said by another player
RESERVED = 259
VOCABULARY = 260
DTYPE = torch.int16  # of observations
_MARKS = {COMMAND: "\n> ", OTHER: "\n< "}


def encode(text: str | bytes, length: int) -> Tensor:
    """[length] int16: the last `length` bytes of a text, padding in front."""
    data = (text.encode() if isinstance(text, str) else text)[-length:]
    return torch.tensor([PADDING] * (length - len(data)) + list(data), dtype=DTYPE)


def encode_position(text: str | bytes, commands: Sequence[str], spec: GameSpec) -> Tensor:
    """[N] int16, an observation of a game whose commands vary: the text, then what actions 0, 1, ... say here.

    ValueError for more commands than the game has actions, and for one that is longer than `spec.action_tokens`.
    """
    longest = max((len(command.encode()) for command in commands), default=0)
    if len(commands) > spec.num_actions or longest > spec.action_tokens:
        raise ValueError(
            f"{spec.name} has room for {spec.num_actions} commands of {spec.action_tokens} bytes; found "
            f"{len(commands)}, the longest of {longest}"
        )
    size = spec.observation.shape[0] - spec.num_actions * spec.action_tokens
    nothing = torch.full(((spec.num_actions - len(commands)) * spec.action_tokens,), PADDING, dtype=DTYPE)
    return torch.cat([encode(text, size), *(encode(command, spec.action_tokens) for command in commands), nothing])


def decode(tokens: Tensor) -> str:
    """The text of tokens [N], for people: marks become line breaks, bytes that are no UTF-8 a replacement character."""
    pieces, run = [], bytearray()
    for token in tokens.tolist():
        if token < BYTES:
            run.append(token)
            continue
        pieces += [run.decode(errors="replace"), _MARKS.get(token, "")]
        run = bytearray()
    return "".join(pieces) + run.decode(errors="replace")
