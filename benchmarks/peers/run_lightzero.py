"""LightZero's side of benchmarks/search.py: its compiled trees, driven as its own policies drive them (lzero.mcts,
MuZeroMCTSCtree.search and GumbelMuZeroMCTSCtree.search, version 0.2.0), with our traced network.

Only the compiled modules are imported: `import lzero.mcts` would want DI-engine, gym and more. Left out in LightZero's
favour: its transform of categorical values, and its choice of actions row by row behind the search. One player, so
to_play is -1. Arguments: threads, device.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import worker

THREADS, DEVICE = int(sys.argv[1]), sys.argv[2]
worker.restrict(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from worker import problem  # noqa: E402

package = importlib.util.find_spec("lzero")
if package is None or not package.submodule_search_locations:
    raise ImportError("LightZero is not installed in this environment")
sys.path.append(str(Path(package.submodule_search_locations[0]) / "mcts" / "ctree"))
from ctree_gumbel_muzero import gmz_tree  # noqa: E402
from ctree_muzero import mz_tree  # noqa: E402

device = torch.device(DEVICE)
torch.set_num_threads(THREADS)
ALPHA, VALUE_DELTA_MAX, PB_C_BASE, PB_C_INIT = 0.3, 0.01, 19652, 1.25  # its defaults


def hello() -> dict[str, Any]:
    return {
        "versions": f"LightZero {version('lightzero')}, torch {torch.__version__}",
        "threads": f"torch {torch.get_num_threads()}, tree 1",
        "network": str(device),
    }


class Network(torch.nn.Module):
    """The network of gurgeh/search_bench.py, operation by operation; that file cannot be imported here, for it needs
    our search."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__()
        self.weights = [torch.from_numpy(arrays[name]).to(device) for name in problem.WEIGHTS]

    def forward(
        self, embedding: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        w1, table, w2, b2, w3, b3 = self.weights
        hidden = table.index_select(0, action).addmm_(embedding, w1).relu_()
        after = torch.addmm(b2, hidden, w2).tanh_()
        head = torch.addmm(b3, after, w3)
        return after, head[:, :-2], head[:, -2], head[:, -1]


def traced(arrays: dict[str, np.ndarray]) -> Any:
    """The network traced and frozen, run often enough to have settled."""
    embedding = torch.from_numpy(arrays["embedding"]).to(device)
    action = torch.zeros(len(embedding), dtype=torch.int64, device=device)
    with torch.no_grad():
        network = torch.jit.freeze(torch.jit.trace(Network(arrays).eval(), (embedding, action)))
        for _ in range(4):  # TorchScript optimises in its first calls
            network(embedding, action)
    return network


class Search:
    """One search a call, with noise of its own."""

    def __init__(self, row: Any, policy: str, arrays: dict[str, np.ndarray]):
        if policy not in ("gumbel", "puct"):
            raise ValueError(f"unknown policy {policy!r}")
        self.row, self.gumbel, self.network = row, policy == "gumbel", traced(arrays)
        self.module = gmz_tree if self.gumbel else mz_tree
        self.embedding, self.value = arrays["embedding"], arrays["value"]
        self.logits = arrays["prior_logits"].tolist()
        self.legal = [list(range(row.actions))] * row.batch
        self.random = np.random.default_rng(0)
        self.calls = 0
        self.lengths: list[list[int]] = []
        self.distributions: Any = None

    @torch.no_grad()
    def __call__(self) -> None:
        row, module = self.row, self.module
        self.calls, first = 0, not self.lengths
        noise = self.random.dirichlet([ALPHA] * row.actions, row.batch).astype(np.float32).tolist()
        to_play, rewards = [-1] * row.batch, [0.0] * row.batch
        roots = module.Roots(row.batch, self.legal)
        if self.gumbel:
            roots.prepare(problem.DIRICHLET_FRACTION, noise, rewards, self.value.tolist(), self.logits, to_play)
        else:
            roots.prepare(problem.DIRICHLET_FRACTION, noise, rewards, self.logits, to_play)
        ranges = module.MinMaxStatsList(row.batch)
        ranges.set_delta(VALUE_DELTA_MAX)
        latents = [self.embedding]
        for simulation in range(row.simulations):
            results = module.ResultsWrapper(num=row.batch)
            if self.gumbel:
                layer, place, action, mover = module.batch_traverse(
                    roots, row.simulations, problem.MAX_CONSIDERED, problem.DISCOUNT, results, to_play
                )
            else:
                layer, place, action, mover = module.batch_traverse(
                    roots, PB_C_BASE, PB_C_INIT, problem.DISCOUNT, ranges, results, to_play
                )
            parents = torch.from_numpy(np.asarray([latents[x][y] for x, y in zip(layer, place)])).to(device)
            actions = torch.from_numpy(np.asarray(action)).to(device).long()
            after, logits, value, reward = self.network(parents, actions)
            self.calls += 1
            latents.append(after.cpu().numpy())
            backward = module.batch_back_propagate if self.gumbel else module.batch_backpropagate
            backward(
                simulation + 1, problem.DISCOUNT, reward.cpu().numpy().tolist(), value.cpu().numpy().tolist(),
                logits.cpu().numpy().tolist(), ranges, results, mover,
            )  # fmt: skip
            if first:
                self.lengths.append(results.get_search_len())
        self.distributions = roots.get_distributions()
        roots.get_values()
        if self.gumbel:
            roots.get_policies(problem.DISCOUNT, row.actions)

    def facts(self) -> dict[str, Any]:
        visits = np.asarray(self.distributions)
        return {
            "calls": self.calls,
            "evaluations": self.calls,
            "visits_agree": bool((visits.sum(1) == self.row.simulations).all()),
            "depth": float(np.mean(self.lengths)),
        }


def prepare(row: Any, policy: str, arrays: dict[str, np.ndarray]) -> dict[str, worker.Entrant]:
    search = Search(row, policy, arrays)
    return {"search": worker.Entrant(search, search.facts)}


def outputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    embedding = torch.from_numpy(arrays["embedding"]).to(device)
    answer = traced(arrays)(embedding, torch.from_numpy(arrays["bare_actions"][0]).to(device))
    return dict(zip(("embedding", "logits", "value", "reward"), (tensor.cpu().numpy() for tensor in answer)))


if __name__ == "__main__":
    worker.serve(worker.Side(hello, prepare, outputs))
