"""Times the CUDA engine: `python benchmarks/search_cuda.py [--out FOLDER]` on a machine with an NVIDIA GPU.

A row a shape and policy, microseconds a simulation, medians over runs, by CUDA events: `tree` is a captured search
whose network answers with ready tensors, so noise, kernels and decision alone; `network` the bare network, captured;
`captured` and `plain` the whole search with it, replayed as one graph and launched from Python. With --out also
`search_cuda.txt`, the same table with the machine's name, and `profile.txt`, the kernels of one plain search.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's search.py would hide the package `search`

from search import CapturedSearch, GumbelConfig, PUCTConfig, Root, Step, gumbel_muzero, muzero  # noqa: E402

SHAPES = [  # rows, actions, width of the embedding, simulations
    *itertools.product((256, 1024, 4096), (9, 82), (256,), (50,)),
    (1024, 362, 256, 50),
    (1024, 82, 256, 200),
    (1024, 4672, 256, 50),
    (4096, 4672, 256, 32),
]
POLICIES = {"gumbel": (gumbel_muzero, GumbelConfig()), "puct": (muzero, PUCTConfig())}
ANSWERS = 7  # ready answers that the network of `tree` gives in turn


def median_time(run: Callable[[], object], repeats: int) -> float:
    """Microseconds of one run, by events on the GPU."""
    times = []
    for _ in range(repeats + 1):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000)
    return statistics.median(times[1:])


class Problem:
    """A root and two networks for one shape."""

    def __init__(self, rows: int, actions: int, width: int) -> None:
        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device="cuda")

        self.seats = torch.zeros(rows, dtype=torch.int64, device="cuda")
        legal = torch.ones(rows, actions, dtype=torch.bool, device="cuda")
        seeds = torch.arange(rows, device="cuda")
        self.root = Root(2 * normal(rows, actions), normal(rows, 1), normal(rows, width), legal, self.seats, seeds)
        self.ones = torch.ones(rows, device="cuda")
        zeros = torch.zeros(rows, 1, device="cuda")
        self.answers = [
            Step(normal(rows, width), zeros, self.ones, 2 * normal(rows, actions), normal(rows, 1), self.seats)
            for _ in range(ANSWERS)
        ]
        self.calls = 0
        self.action_embedding = torch.nn.Embedding(actions, width, device="cuda")
        self.body = torch.nn.Sequential(
            torch.nn.Linear(width, 2 * width), torch.nn.ReLU(), torch.nn.Linear(2 * width, width)
        ).cuda()
        self.heads = torch.nn.Linear(width, actions + 2, device="cuda")

    def ready(self, embedding: torch.Tensor, action: torch.Tensor) -> Step:
        self.calls += 1
        return self.answers[self.calls % ANSWERS]

    @torch.no_grad()
    def network(self, embedding: torch.Tensor, action: torch.Tensor) -> Step:
        following = self.body(embedding + self.action_embedding(action))
        logits, value, reward = self.heads(following).split([self.root.prior_logits.shape[1], 1, 1], dim=1)
        return Step(following, reward, self.ones, logits, value, self.seats)


def captured_network(problem: Problem, simulations: int) -> Callable[[], None]:
    """As many calls of the network as a search makes, one after the other, in one graph."""
    embedding = problem.root.embedding.clone()

    def calls() -> None:
        step = problem.network(embedding, problem.seats)
        for _ in range(simulations - 1):
            step = problem.network(step.embedding, problem.seats)

    calls()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        calls()
    return graph.replay


def row(policy: str, shape: tuple[int, int, int, int], repeats: int) -> str:
    """One line of the table."""
    rows, actions, width, simulations = shape
    run, config = POLICIES[policy]
    problem = Problem(rows, actions, width)

    def plain() -> None:
        run(problem.root, problem.network, simulations, config, check=False)

    tree = CapturedSearch(problem.root, problem.ready, simulations, config, check=False)
    whole = CapturedSearch(problem.root, problem.network, simulations, config, check=False)
    timed = {
        "tree": lambda: tree(problem.root),
        "network": captured_network(problem, simulations),
        "captured": lambda: whole(problem.root),
        "plain": plain,
    }
    figures = [median_time(function, repeats) / simulations for function in timed.values()]
    return f"{policy:7}{rows:6}{actions:6}{width:6}{simulations:6}" + "".join(f"{x:10.1f}" for x in figures)


def profile() -> str:
    """The kernels of one plain search, by their time on the GPU."""
    problem = Problem(1024, 82, 256)

    def search() -> None:
        gumbel_muzero(problem.root, problem.network, 50, GumbelConfig(), check=False)
        torch.cuda.synchronize()

    search()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        search()
    return profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the table and the profile")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "benchmarks/search_cuda.py needs a CUDA GPU, this machine has none that torch can use\n")
    header = f"{'':7}{'B':>6}{'A':>6}{'D':>6}{'sims':>6}{'tree':>10}{'network':>10}{'captured':>10}{'plain':>10}"
    lines = [f"{torch.cuda.get_device_name()}, torch {torch.__version__}; microseconds a simulation", header]
    print("\n".join(lines), flush=True)
    for shape, policy in itertools.product(SHAPES, POLICIES):
        lines.append(row(policy, shape, arguments.repeats))
        print(lines[-1], flush=True)
        torch.cuda.empty_cache()
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "search_cuda.txt").write_text("\n".join(lines) + "\n")
        (arguments.out / "profile.txt").write_text(profile())


if __name__ == "__main__":
    main()
