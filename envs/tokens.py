"""The vocabulary of all games with text: bytes, and four tokens more. Fixed for ever; a change raises VERSION.

A text of at most N tokens is shown right-aligned, with padding in front, so that what was said last stands always at
the same place; of a longer one the last N tokens are left.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
