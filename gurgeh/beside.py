"""Self-play beside learning: the trees of one step grow in a thread of their own while the network is trained.

A step's search reads a copy of the weights as they were when it was begun, and its moves are played and stored when the
updates are done, with one thread as with several. With the mlp trunk and the learned model, learning itself has one
thread, and the rows of a search do not meet: the number of threads changes no result. With other trunks, or exact
rules, learning and searching share the threads; there one and two give the same results, more may round otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from agents.alphazero import Found
from agents.network import MultiGameNetwork
from gurgeh.config import RunConfig


class Beside:
    """Runs searches in another thread where there is one to spare."""

    def __init__(self, config: RunConfig):
        """Sets the number of torch's threads for the calling thread, which learns: one where searches are compiled,
        else half of the configuration's. Games of three players and more, whose searches are not compiled, have one
        thread in a run of the first kind."""
        self.threads = config.threads
        compiled = config.network.trunk == "mlp" and config.search.model == "learned"  # searches without torch
        self._learning = 1 if compiled else max(1, self.threads // 2)
        torch.set_num_threads(self._learning)
        self._pool: ThreadPoolExecutor | None = None
        self._twin: MultiGameNetwork | None = None

    @torch.no_grad()
    def twin(self, network: MultiGameNetwork) -> MultiGameNetwork:
        """A copy of `network` for one step's search. It stays as it is until the next step asks for one."""
        if self._twin is None or len(self._twin.specs) != len(network.specs):
            self._twin = copy.deepcopy(network).requires_grad_(False)
            self._copied = list(zip(_weights(self._twin), _weights(network), strict=True))
        for mine, theirs in self._copied:
            mine.copy_(theirs)
        return self._twin

    def submit(self, search: Callable[[], Found]) -> Callable[[], Found]:
        """Begin `search`, which reads no weights but the twin's; what is returned waits for its end and gives what it
        found."""
        if self.threads == 1:
            return search
        if self._pool is None:
            own = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(1, "self-play", torch.set_num_threads, (self.threads - self._learning,))
            self._pool.submit(int).result()
            torch.set_num_threads(own)  # of this thread, and of those that begin later
        return self._pool.submit(search).result

    def close(self) -> None:
        """End the thread; torch has all threads again."""
        torch.set_num_threads(self.threads)
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _weights(network: MultiGameNetwork) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
