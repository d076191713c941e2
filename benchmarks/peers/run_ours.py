"""Our side of benchmarks/search.py. Arguments: threads, device."""

from __future__ import annotations

import sys
from typing import Any

import worker

THREADS, DEVICE = int(sys.argv[1]), sys.argv[2]
worker.restrict(THREADS)
sys.path.insert(0, str(worker.ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from gurgeh import search_bench as bench  # noqa: E402

device = torch.device(DEVICE)
torch.set_num_threads(THREADS)
bench.warm_up(device)


def hello() -> dict[str, Any]:
    import numba

    return {
        "versions": f"torch {torch.__version__}, numba {numba.__version__}",
        "threads": f"torch and the rows of native searches {torch.get_num_threads()}",
        "network": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def prepare(row: bench.Row, policy: str, arrays: dict[str, np.ndarray]) -> dict[str, worker.Entrant]:
    entrants = {}
    for name, make in bench.MODELS.items():
        model = make(arrays, device)
        if model is not None:
            entrants[f"search {name}"] = _entrant(bench.Search(row, policy, arrays, model, device), model)
            entrants[f"bare {name}"] = worker.Entrant(bench.Bare(row, arrays, model, device))
    return entrants


def _entrant(run: bench.Search, model: bench.Model) -> worker.Entrant:
    def facts() -> dict[str, Any]:
        assert run.result is not None
        tree = run.result.tree
        found = worker.problem.tree_facts(
            tree.parent.cpu().numpy(), run.result.visits.cpu().numpy(), run.row.simulations
        )
        run.result = None
        calls = run.count_calls()
        return found if calls is None else {**found, "calls": calls}

    if device.type != "cuda":
        return worker.Entrant(run, facts)
    return worker.Entrant(
        run, facts, memory=lambda: torch.cuda.max_memory_allocated(device) - start[0], before=lambda: reset(start)
    )


def reset(start: list[int]) -> None:
    torch.cuda.reset_peak_memory_stats(device)
    start[:] = [torch.cuda.memory_allocated(device)]


start = [0]


def outputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    embedding = torch.from_numpy(arrays["embedding"]).to(device)
    action = torch.from_numpy(arrays["bare_actions"][0]).to(device)
    found = {}
    for name, make in bench.MODELS.items():
        model = make(arrays, device)
        if model is not None:
            step = model.recurrent_fn(embedding, action)
            found |= {
                f"{name} embedding": step.embedding, f"{name} logits": step.prior_logits,
                f"{name} value": step.value[:, 0], f"{name} reward": step.reward[:, 0],
            }  # fmt: skip
    return {key: tensor.detach().cpu().numpy() for key, tensor in found.items()}


if __name__ == "__main__":
    worker.serve(worker.Side(hello, prepare, outputs))
