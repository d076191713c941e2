"""One state of the network, in which much is measured and what several measures need is worked out once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from torch import nn

from monitor.measures import undisturbed


class Moment:
    """`with moment():` measures a network without a trace, and keeps what was worked out until it is left."""

    def __init__(self, network: nn.Module):
        self.network = network
        self._open = False
        self._kept: dict[Hashable, Any] = {}

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """`undisturbed`, once for whatever is measured inside: entered again inside itself it costs nothing."""
        if self._open:
            yield
            return
        self._open = True
        try:
            with undisturbed(self.network):
                yield
        finally:
            self._open = False
            self._kept.clear()

    def keep(self, key: Hashable, function: Callable[[], Any]) -> Any:
        """What `function()` returned when it was first asked for `key` in this moment."""
        assert self._open, "weights may change outside a moment, so nothing is kept there"
        if key not in self._kept:
            self._kept[key] = function()
        return self._kept[key]
