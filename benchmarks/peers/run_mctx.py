"""mctx's side of benchmarks/search.py: jax and mctx, jitted. Arguments: threads, device."""

from __future__ import annotations

import os
import sys
from typing import Any

import worker

THREADS, DEVICE = int(sys.argv[1]), sys.argv[2]
worker.restrict(THREADS)
os.environ["JAX_PLATFORMS"] = DEVICE
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import itertools  # noqa: E402
import time  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import mctx  # noqa: E402
import numpy as np  # noqa: E402
from worker import problem  # noqa: E402

# Without it a GPU may multiply float32 in TF32, which torch does not.
jax.config.update("jax_default_matmul_precision", "highest")


def network(params: dict[str, jax.Array], embedding: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Embedding [B, D] and head [B, A + 2] behind `action` [B]."""
    hidden = jax.nn.relu(embedding @ params["w1"] + params["table"][action])
    after = jnp.tanh(hidden @ params["w2"] + params["b2"])
    return after, after @ params["w3"] + params["b3"]


def recurrent_fn(
    params: dict[str, jax.Array], _key: jax.Array, action: jax.Array, embedding: jax.Array
) -> tuple[mctx.RecurrentFnOutput, jax.Array]:
    after, head = network(params, embedding, action)
    output = mctx.RecurrentFnOutput(
        reward=head[:, -1],
        discount=jnp.full(len(action), problem.DISCOUNT),
        prior_logits=head[:, :-2],
        value=head[:, -2],
    )
    return output, after


def make_search(policy: str, simulations: int) -> Any:
    """The whole search: actions, weights, the roots' values, and what shows that it did its work."""

    def search(params: dict[str, jax.Array], key: jax.Array, root: mctx.RootFnOutput) -> tuple[jax.Array, ...]:
        if policy == "gumbel":
            output = mctx.gumbel_muzero_policy(
                params, key, root, recurrent_fn, simulations, max_num_considered_actions=problem.MAX_CONSIDERED
            )
        elif policy == "puct":
            output = mctx.muzero_policy(
                params, key, root, recurrent_fn, simulations, dirichlet_fraction=problem.DIRICHLET_FRACTION
            )
        else:
            raise ValueError(f"unknown policy {policy!r}")
        summary = output.search_tree.summary()
        return output.action, output.action_weights, summary.value, summary.visit_counts, output.search_tree.parents

    return search


def bare(params: dict[str, jax.Array], embedding: jax.Array, actions: jax.Array) -> Any:
    """One call for each of the actions [S, B], each from the last one's embedding; the last heads are kept, so that
    none of them is optimised away."""

    def step(carry: tuple[jax.Array, jax.Array], action: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        return network(params, carry[0], action), None

    head = jnp.zeros((len(embedding), params["b3"].shape[0]))
    return jax.lax.scan(step, (embedding, head), actions)[0]


def hello() -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "versions": f"jax {jax.__version__}, mctx {version('mctx')}",
        "threads": f"jax's own choice on {len(os.sched_getaffinity(0))} cores",
        "network": jax.devices()[0].device_kind,
    }


def params_of(arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(arrays[name]) for name in problem.WEIGHTS}


class Search:
    """A compiled search that can be called again and again, each time with another key."""

    def __init__(self, row: Any, policy: str, arrays: dict[str, np.ndarray]):
        self.row, self.params = row, params_of(arrays)
        self.root = mctx.RootFnOutput(
            prior_logits=jnp.asarray(arrays["prior_logits"]),
            value=jnp.asarray(arrays["value"]),
            embedding=jnp.asarray(arrays["embedding"]),
        )
        keys = list(jax.random.split(jax.random.PRNGKey(0), 64))
        self.keys = itertools.cycle(keys)
        start = time.perf_counter()
        search = make_search(policy, row.simulations)
        self.search = jax.jit(search).lower(self.params, keys[0], self.root).compile()
        self.compile_seconds = time.perf_counter() - start
        self.output: tuple[jax.Array, ...] | None = None

    def __call__(self) -> None:
        self.output = jax.block_until_ready(self.search(self.params, next(self.keys), self.root))

    def facts(self) -> dict[str, Any]:
        assert self.output is not None
        *_, visits, parents = self.output
        return problem.tree_facts(np.asarray(parents), np.asarray(visits), self.row.simulations)

    def device_memory(self) -> int:
        """Bytes of the buffers that XLA planned for one call; jax cannot reset its record of the peak."""
        plan = self.search.memory_analysis()
        return plan.temp_size_in_bytes + plan.output_size_in_bytes


def prepare(row: Any, policy: str, arrays: dict[str, np.ndarray]) -> dict[str, worker.Entrant]:
    search = Search(row, policy, arrays)
    actions = jnp.asarray(arrays["bare_actions"])
    start = time.perf_counter()
    floor = jax.jit(bare).lower(search.params, search.root.embedding, actions).compile()
    seconds = time.perf_counter() - start
    return {
        "search": worker.Entrant(
            search, search.facts, search.compile_seconds, search.device_memory if DEVICE == "cuda" else None
        ),
        "bare": worker.Entrant(
            lambda: jax.block_until_ready(floor(search.params, search.root.embedding, actions)), compile_seconds=seconds
        ),
    }


def outputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    embedding, action = jnp.asarray(arrays["embedding"]), jnp.asarray(arrays["bare_actions"][0])
    after, head = map(np.asarray, jax.jit(network)(params_of(arrays), embedding, action))
    return {"embedding": after, "logits": head[:, :-2], "value": head[:, -2], "reward": head[:, -1]}


if __name__ == "__main__":
    worker.serve(worker.Side(hello, prepare, outputs))
