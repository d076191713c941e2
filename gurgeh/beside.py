"""Self-play beside learning: the trees of one step grow in a thread of their own while the network is trained.

A step's search reads the weights of the moment it was begun, and its moves are played and stored when the updates are
done, with one thread as with several. With the mlp trunk and the learned model, learning itself has one thread, and the
rows of a search do not meet: the number of threads changes no result. With other trunks, or exact rules, torch has all
threads, and searches wait for their turn.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from agents.alphazero import Found, PreparedGames
from gurgeh.config import RunConfig


class Beside:
    """Runs searches in another thread where there is one to spare and the search reads no weights (`detached`)."""

    def __init__(self, config: RunConfig):
        """Sets the number of torch's threads for the calling thread, which learns: one, where searches run beside it,
        else all of the configuration's. Games of three players and more, whose searches are not compiled, have one
        thread in such a run."""
        self.threads = config.threads
        compiled = config.network.trunk == "mlp" and config.search.model == "learned"  # searches without torch
        torch.set_num_threads(1 if compiled else self.threads)
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, search: PreparedGames) -> Callable[[], Found]:
        """Begin `search`; what is returned waits for its end and gives what it found."""
        if not search.detached:
            found = search.run()
            return lambda: found
        if self.threads == 1:
            return search.run
        if self._pool is None:
            own = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(1, "self-play", torch.set_num_threads, (self.threads - 1,))
            self._pool.submit(int).result()
            torch.set_num_threads(own)  # of this thread, and of those that begin later
        return self._pool.submit(search.run).result

    def close(self) -> None:
        """End the thread; torch has all threads again."""
        torch.set_num_threads(self.threads)
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
