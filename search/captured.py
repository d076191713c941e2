"""`CapturedSearch`: a whole search as one CUDA graph, for one shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from search import border
from search.config import GumbelConfig, PUCTConfig
from search.halving import considered_visits_table
from search.plan import plan_gumbel, plan_puct
from search.policies import engine_of
from search.tree import RecurrentFn, Result, Root

_WARM_UPS = 2  # compiles the kernels, fills caches, lets libraries choose their algorithms


class CapturedSearch:
    """`gumbel_muzero` or `muzero` (the config says which), captured once, replayed for every further root.

        searched = CapturedSearch(root, recurrent_fn, 32, GumbelConfig())
        result = searched(root)

    A replay costs the GPU's time alone: no Python runs and nothing is allocated. It is for roots of the shapes, types
    and device of the first, with the same fields None. The tensors of the result, its tree too, are the graph's own:
    the next call overwrites them, so clone what must stay.

    `recurrent_fn` runs in Python only while the search is captured, so it must do the same work for all numbers: no
    host copies, no shapes that depend on data. Weights that change in place count in the next call; weights put
    elsewhere (a new module, `.to`) are not seen.

    check: refuse bad input in every call, and NaN from the network after it, as the plain functions do; this reads
    from the GPU, so pass False in hot loops. ValueError: if the root is not on a CUDA device or does not fit.
    """

    def __init__(
        self,
        root: Root,
        recurrent_fn: RecurrentFn,
        num_simulations: int,
        config: GumbelConfig | PUCTConfig,
        *,
        check: bool = True,
    ) -> None:
        border.check_kind("config", config, (GumbelConfig, PUCTConfig), "it chooses the policy")
        border.check_call(root, Root, num_simulations, None, recurrent_fn=recurrent_fn)
        border.check_root(root)
        device = root.prior_logits.device
        if device.type != "cuda":
            raise ValueError(
                f"CapturedSearch needs a CUDA device, the root is on {device}; "
                "use search.gumbel_muzero or search.muzero there"
            )
        self._check = check
        self._root = root._replace(**{name: x.clone() for name, x in root._asdict().items() if x is not None})
        # The graph reads the cached table by its address: it must outlive the cache's own hold on it.
        self._table = table_of(root, num_simulations, config)
        search = prepare(self._root, recurrent_fn, num_simulations, config)
        with torch.no_grad(), torch.cuda.device(device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    search()
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._result = search()

    def __call__(self, root: Root) -> Result:
        """The search from each row of `root`. The tensors of the result are overwritten by the next call."""
        border.check_kind("root", root, Root, "as when the search was captured")
        load_(self._root, root)
        if self._check:
            border.check_root(self._root)
        self._graph.replay()
        if self._check:
            border.check_tree(self._result.tree)
        return self._result


def prepare(
    root: Root, recurrent_fn: RecurrentFn, num_simulations: int, config: GumbelConfig | PUCTConfig
) -> Callable[[], Result]:
    """The search without its checks: everything in it stays on the device."""
    engine = engine_of(root, config)

    def search() -> Result:
        if isinstance(config, GumbelConfig):
            plan = plan_gumbel(root, num_simulations, config)
        else:
            plan = plan_puct(root, num_simulations, config)
        return engine(plan, root, recurrent_fn)

    return search


def table_of(root: Root, num_simulations: int, config: GumbelConfig | PUCTConfig) -> Tensor | None:
    """The table of sequential halving that `plan_gumbel` looks up."""
    if not isinstance(config, GumbelConfig):
        return None
    most = min(config.max_considered, root.prior_logits.shape[1])
    return considered_visits_table(most, num_simulations, root.prior_logits.device)


def load_(static: Root, root: Root) -> None:
    """Copies a root into another of the same shapes; ValueError where they differ."""
    for name, target, source in zip(Root._fields, static, root):
        if target is None and source is None:
            continue
        found = None if source is None else (list(source.shape), source.dtype, source.device)
        wanted = None if target is None else (list(target.shape), target.dtype, target.device)
        if found != wanted:
            raise ValueError(
                f"Root.{name} was {_says(wanted)} when the search was captured, found {_says(found)}; "
                "capture another search for it"
            )
    for target, source in zip(static, root):
        if target is not None and source is not None:
            target.copy_(source)


def _says(kind: tuple | None) -> str:
    return "None" if kind is None else f"{kind[0]} {kind[1]} on {kind[2]}"
