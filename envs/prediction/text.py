"""A text as a game, `text:CORPUS`: what is seen is the last bytes, the move is the next one, 1 for the right one.

    text:zen               the Zen of Python, 856 bytes, which every Python brings (the module `this`)
    text:tz                the time-zone rules of the world, 110 kB, which the package tzdata or the system brings
    text:PATH              any file of yours
    text:zen:context=64:length=16

The last tenth of the bytes is held out: episodes are windows of `length` bytes (16) of the rest, and a policy is
measured on the held-out bytes, in bits per byte, with as much text before each as `context` (32) allows. Legal are the
bytes that occur anywhere in the text; an even policy therefore has log2 of their number. A model over all 256 bytes is
comparable if what it gives to the other bytes counts as lost.

Both texts that come with packages are in the public domain: the Zen of Python by PEP 20, the time zones by their first
lines. Nothing is stored here. `version` is made from the bytes, so that another edition is another version.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import importlib.util
import io
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from envs import tokens
from envs.chance import uniform
from envs.game import GameSpec, MissingExtraError, ObservationKind, ObservationSpec, Playable
from envs.prediction.score import Measure, Predict, log_scores, spread

FAMILY = "text"
CONTEXT, LENGTH = 32, 16
SHORTEST = 256  # bytes of a text
HELD_OUT = 0.1  # share of the bytes
SYNTAX = "text:zen, text:tz or text:PATH of a file, and any of :context=BYTES :length=BYTES"
EXAMPLES = ("text:zen", "text:zen:context=8:length=4")


class State(NamedTuple):
    position: Tensor  # [B] int64: of the byte that is asked
    left: Tensor  # [B] int64: moves until the end of the window


class Text:
    """Native rules; action a is the byte a."""

    def __init__(self, name: str, data: bytes, context: int = CONTEXT, length: int = LENGTH):
        if len(data) < SHORTEST:
            raise ValueError(f"the text has {len(data)} bytes; {SHORTEST} are needed")
        self.data = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # [N]
        self.context, self.length = context, length
        self.train = len(data) - int(HELD_OUT * len(data))  # bytes to train on
        if length > self.train:
            raise ValueError(f"a window of {length} bytes does not fit into the {self.train} bytes to train on")
        self.alphabet = torch.zeros(tokens.BYTES, dtype=torch.bool)
        self.alphabet[self.data.long()] = True
        changes = f":context={context}" * (context != CONTEXT) + f":length={length}" * (length != LENGTH)
        self.spec = GameSpec(
            name=f"{FAMILY}:{name}{changes}",
            version=1 + int(hashlib.sha256(data).hexdigest()[:6], 16),
            observation=ObservationSpec(ObservationKind.TOKENS, (context,), tokens.DTYPE),
            num_actions=tokens.BYTES,
            perfect_information=False,  # the rules know what comes next: no search may ask them
            reward_range=(0.0, 1.0),
            max_length=length,
            family="text prediction",
            action_keys=tuple(f"byte {byte}" for byte in range(tokens.BYTES)),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """The first byte of a window of the training text, drawn from seed [B] int64."""
        first = (uniform(seed) * (self.train - self.length + 1)).long()
        return State(first, torch.full_like(seed, self.length))

    def legal(self, state: State) -> Tensor:
        """[B, 256] bool: bytes that occur in the text."""
        return self.alphabet.to(state.position.device).expand(len(state.position), -1)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.position)

    def observe(self, state: State) -> Tensor:
        """[B, context] int16: the bytes before the one that is asked, padding before the first."""
        seen = self.symbols(state, self.context)
        return seen.to(tokens.DTYPE)  # `symbols` says 256 before the beginning, which is the padding

    def play(self, state: State, action: Tensor) -> Playable:
        """1 for the right byte; the text goes on with the right one in any case."""
        right = action == self._at(state.position)
        left = state.left - 1
        after = State((state.position + 1).clamp(max=len(self.data) - 1), left)
        return Playable(after, right[:, None].float(), left <= 0)

    def symbols(self, state: State, count: int) -> Tensor:
        """See `SequenceGame`."""
        place = state.position[:, None] - torch.arange(count, 0, -1, device=state.position.device)
        return torch.where(place < 0, tokens.PADDING, self._at(place.clamp(min=0)))

    def lessons(self) -> tuple[State, Tensor]:
        """See `SequenceGame`."""
        return self._states(torch.arange(self.train)), self.data[: self.train].long()

    def measure(self, predict: Predict, limit: int) -> dict[str, Measure]:
        """`bits_per_byte` and `right` on the held-out text."""
        place = self.train + spread(len(self.data) - self.train, limit)
        return log_scores("byte", predict(self._states(place)), self._at(place), int(self.alphabet.sum()))

    def _states(self, position: Tensor) -> State:
        return State(position, torch.full_like(position, self.length))

    def _at(self, place: Tensor) -> Tensor:
        """int64 bytes at places of the text."""
        return self.data.to(place.device)[place].long()


def zen() -> bytes:
    """The Zen of Python by Tim Peters (public domain, PEP 20), from the standard library, without printing it."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13").encode()


def time_zones() -> bytes:
    """The tz database's rules as one text (public domain), from the package tzdata, else from the system."""
    found = importlib.util.find_spec("tzdata")
    folders = [Path(found.origin).parent / "zoneinfo"] if found and found.origin else []
    for path in (folder / "tzdata.zi" for folder in [*folders, Path("/usr/share/zoneinfo")]):
        if path.is_file():
            return path.read_bytes()
    raise MissingExtraError("tzdata is not installed: pip install 'gurgeh[text]'")


CORPORA = {"zen": zen, "tz": time_zones}


def make(settings: str) -> Text:
    """`text:CORPUS...`. ValueError for a file that cannot be read or options that are not understood."""
    name, *options = settings.split(":")
    if not name:
        raise ValueError("the text is missing")
    chosen: dict[str, int] = {}
    while options and not re.fullmatch(r"(context|length)=.*", options[0]):
        name += ":" + options.pop(0)  # a path may have a colon
    for option in options:
        found = re.fullmatch(r"(context|length)=([0-9]+)", option)
        if not found or not 1 <= int(found[2]) <= 4096:
            raise ValueError(f"the option {option!r} is not context=BYTES or length=BYTES with 1 to 4096 bytes")
        if found[1] in chosen:
            raise ValueError(f"the option {found[1]} is given twice")
        chosen[found[1]] = int(found[2])
    if name in CORPORA:
        return Text(name, CORPORA[name](), **chosen)
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name!r} is neither a file nor one of {', '.join(CORPORA)}")
    return Text(str(path.resolve()), path.read_bytes(), **chosen)
