"""The search against its own network: what `gurgeh bench search` measures, and our side of benchmarks/search.py.

gurgeh/bench_problem.py says which network that is. Shapes: B batch, A actions, D width of an embedding, S simulations.
"""

from __future__ import annotations

import itertools
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import search
import search.memory
from gurgeh import timing
from gurgeh.bench_problem import (
    DIRICHLET_FRACTION,
    DISCOUNT,
    MAX_CONSIDERED,
    WEIGHTS,
    Arrays,
    Row,
    actions_of,
    make_arrays,
)
from search import GumbelConfig, PUCTConfig, Result, Root, Step

Outputs = tuple[Tensor, Tensor, Tensor, Tensor]  # embedding [B, D], prior logits [B, A], value [B, 1], reward [B, 1]
Forward = Callable[[Tensor, Tensor], Outputs]  # of embedding [B, D] and action [B] int64


@dataclass(frozen=True)
class Model:
    """One way to run the network on our side."""

    recurrent_fn: Callable[..., Step]
    """What a search is given."""
    bare: Callable[[Tensor, list[Tensor]], object]
    """The network alone: from embedding [B, D], one call for each of the actions [B], each from the last one's
    embedding."""
    in_python: bool = True
    """Whether `recurrent_fn` is called from Python, where its calls can be counted."""


def eager(arrays: Arrays, device: torch.device) -> Model:
    """Plain torch, as few operations as it takes."""
    return _model(_forward(arrays, device), arrays, device)


def traced(arrays: Arrays, device: torch.device) -> Model:
    """Traced and frozen by TorchScript."""
    return _model(trace(arrays, device), arrays, device)


def native(arrays: Arrays, device: torch.device) -> Model | None:
    """Inside the search's own kernels, which is for the CPU."""
    if device.type != "cpu":
        return None
    from gurgeh.bench_native import NativeLoop, make_mlp

    mlp = make_mlp(arrays)
    return Model(mlp, NativeLoop(mlp, torch.get_num_threads()), in_python=False)


MODELS: dict[str, Callable[[Arrays, torch.device], Model | None]] = {"eager": eager, "traced": traced, "native": native}


def _forward(arrays: Arrays, device: torch.device) -> Forward:
    w1, table, w2, b2, w3, b3 = (torch.from_numpy(arrays[name]).to(device) for name in WEIGHTS)
    num_actions = len(table)

    def forward(embedding: Tensor, action: Tensor) -> Outputs:
        hidden = table.index_select(0, action).addmm_(embedding, w1).relu_()
        after = torch.addmm(b2, hidden, w2).tanh_()
        head = torch.addmm(b3, after, w3)
        return after, head[:, :num_actions], head[:, num_actions : num_actions + 1], head[:, num_actions + 1 :]

    return forward


def trace(arrays: Arrays, device: torch.device) -> Forward:
    """The network traced and frozen, run often enough to have settled."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run = _forward(arrays, device)

        def forward(self, embedding: Tensor, action: Tensor) -> Outputs:
            return self.run(embedding, action)

    embedding = torch.from_numpy(arrays["embedding"]).to(device)
    action = torch.zeros(len(embedding), dtype=torch.int64, device=device)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = torch.jit.freeze(torch.jit.trace(Network().eval(), (embedding, action)))
        for _ in range(4):  # TorchScript optimises in its first calls
            network(embedding, action)
    return network


def _model(forward: Forward, arrays: Arrays, device: torch.device) -> Model:
    batch = len(arrays["embedding"])
    discount = torch.full((batch,), DISCOUNT, device=device)
    to_play = torch.zeros(batch, dtype=torch.int64, device=device)

    def recurrent_fn(embedding: Tensor, action: Tensor) -> Step:
        after, logits, value, reward = forward(embedding, action)
        return Step(after, reward, discount, logits, value, to_play)

    def bare(embedding: Tensor, actions: list[Tensor]) -> Outputs:
        outputs = forward(embedding, actions[0])
        for action in actions[1:]:
            outputs = forward(outputs[0], action)
        return outputs

    return Model(recurrent_fn, bare)


def _gumbel(root: Root, model: Callable[..., Step], simulations: int) -> Result:
    return search.gumbel_muzero(root, model, simulations, GumbelConfig(max_considered=MAX_CONSIDERED), check=False)


def _puct(root: Root, model: Callable[..., Step], simulations: int) -> Result:
    return search.muzero(root, model, simulations, PUCTConfig(dirichlet_fraction=DIRICHLET_FRACTION), check=False)


POLICIES: dict[str, Callable[[Root, Callable[..., Step], int], Result]] = {"gumbel": _gumbel, "puct": _puct}


def make_root(arrays: Arrays, device: torch.device) -> Root:
    """The roots of `make_arrays`, on `device`."""
    embedding = torch.from_numpy(arrays["embedding"]).to(device)
    logits = torch.from_numpy(arrays["prior_logits"]).to(device)
    batch = len(embedding)
    return Root(
        prior_logits=logits,
        value=torch.from_numpy(arrays["value"].reshape(batch, 1)).to(device),
        embedding=embedding,
        legal=torch.ones_like(logits, dtype=torch.bool),
        to_play=torch.zeros(batch, dtype=torch.int64, device=device),
        seed=torch.arange(batch, device=device),
    )


class Search:
    """A search that can be called again and again, each time with other noise."""

    def __init__(self, row: Row, policy: str, arrays: Arrays, model: Model, device: torch.device):
        self.row, self.policy, self.model, self.device = row, POLICIES[policy], model, device
        self.result: Result | None = None
        root = make_root(arrays, device)
        self._roots = itertools.cycle([root._replace(seed=root.seed + row.batch * i) for i in range(64)])

    @torch.no_grad()
    def __call__(self) -> None:
        self.result = None  # its memory is for the next trees
        self.result = self.policy(next(self._roots), self.model.recurrent_fn, self.row.simulations)
        wait(self.device)

    @torch.no_grad()
    def count_calls(self) -> int | None:
        """How often one more search calls the network; None where that cannot be seen from Python."""
        if not self.model.in_python:
            return None
        calls = []

        def counting(embedding: Tensor, action: Tensor) -> Step:
            calls.append(len(action))
            return self.model.recurrent_fn(embedding, action)

        self.policy(next(self._roots), counting, self.row.simulations)
        if set(calls) != {self.row.batch}:
            raise AssertionError(f"the network was called with {sorted(set(calls))} rows, not with {self.row.batch}")
        return len(calls)


class Bare:
    """The bare network, as many calls as a search makes."""

    def __init__(self, row: Row, arrays: Arrays, model: Model, device: torch.device):
        self._bare, self._device = model.bare, device
        self._embedding = torch.from_numpy(arrays["embedding"]).to(device)
        self._actions = list(torch.from_numpy(actions_of(row)).to(device).unbind(0))

    @torch.no_grad()
    def __call__(self) -> None:
        self._bare(self._embedding, self._actions)
        wait(self._device)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Measured:
    """One row with one policy, our side alone."""

    row: Row
    policy: str
    searches: dict[str, float]
    """Simulations a second of a search, by model: batch times simulations over the median time."""
    bare: dict[str, float]
    """The same number of evaluations by the network alone."""
    ratio: float
    """Time of the fastest search over that of the fastest bare network: the median over the rounds."""
    memory: int | None
    """Bytes by which the search's memory grew at its peak, of the model that took most; CUDA: allocated by torch."""


def measure(row: Row, policy: str, device: torch.device, repeats: int, slot: float = 0.1) -> Measured:
    """Times every model's search and bare network, `repeats` rounds of `slot` seconds each, in turn. Call `warm_up`
    first, or compiling counts as memory. Raises ValueError if the trees cannot fit."""
    needed = search.memory.tree_bytes(row.batch, row.actions, 1, row.simulations, 4 * row.width)
    search.memory.check_memory(needed, row.batch, row.simulations, device)
    try:
        arrays = make_arrays(row)
    except MemoryError as error:
        raise ValueError(f"the network and its roots do not fit in memory ({error}); lower the sizes") from error
    timed: dict[str, Callable[[], None]] = {}
    memory: list[int | None] = []
    for name, make in MODELS.items():
        model = make(arrays, device)
        if model is None:
            continue
        timed[f"search {name}"] = run = Search(row, policy, arrays, model, device)
        timed[f"bare {name}"] = Bare(row, arrays, model, device)
        memory.append(_peak(run, device))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats):
        for name, run in timed.items():
            seconds[name].append(timing.time_calls(run, slot))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    best, floor = (
        min((name for name in medians if name.startswith(kind)), key=medians.__getitem__) for kind in ("search", "bare")
    )
    speeds = {name: row.batch * row.simulations / median for name, median in medians.items()}
    return Measured(
        row, policy,
        {name.partition(" ")[2]: speed for name, speed in speeds.items() if name.startswith("search")},
        {name.partition(" ")[2]: speed for name, speed in speeds.items() if name.startswith("bare")},
        statistics.median(a / b for a, b in zip(seconds[best], seconds[floor])),
        None if None in memory else max(amount for amount in memory if amount is not None),
    )  # fmt: skip


def warm_up(device: torch.device) -> None:
    """Every kernel that `measure` uses, compiled or loaded from the disk."""
    if device.type == "cpu":
        search.warm_up()
    row = Row(2, 2, 2, 2, 2)
    arrays = make_arrays(row)
    for make in MODELS.values():
        model = make(arrays, device)
        if model is not None:
            Bare(row, arrays, model, device)()
            for policy in POLICIES:
                Search(row, policy, arrays, model, device)()


def _peak(run: Search, device: torch.device) -> int | None:
    if device.type != "cuda":
        return timing.peak_growth(run)[1]
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before
