"""What the search benchmarks measure: sizes, a network and roots, and what a search did. numpy only: the workers of
benchmarks/peers load this file by its path, in environments where nothing of ours is installed.

The network ("MLP dynamics D -> H -> D"), float32: h = relu(W1 e + T[a]), e' = tanh(W2 h + b2), and one linear head of
e' for A prior logits, the value and the reward. One player, every action legal.

Shape legend: B batch, A actions, D width of an embedding, H hidden units, S simulations, N nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DISCOUNT = 0.997  # of every step
MAX_CONSIDERED = 16  # Gumbel: root actions that sequential halving starts from
DIRICHLET_FRACTION = 0.25  # PUCT: share of noise in the root's prior
WEIGHTS = ("w1", "table", "w2", "b2", "w3", "b3")
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    batch: int
    """Trees, B."""
    simulations: int
    """Network evaluations a tree, S."""
    actions: int
    """A."""
    width: int
    """Numbers in an embedding, D."""
    hidden: int
    """Units of the dynamics' hidden layer, H."""
    logit_scale: float = 1.0
    """Standard deviation of the prior logits: 4 gives peaked priors, 0.1 flat ones."""
    name: str = ""
    """Shown in tables."""

    def __post_init__(self) -> None:
        for size in ("batch", "simulations", "actions", "width", "hidden"):
            if getattr(self, size) < 1:
                raise ValueError(f"{size} must be at least 1, found {getattr(self, size)}")
        if not self.logit_scale > 0:
            raise ValueError(f"logit_scale must be above 0, found {self.logit_scale}")


def make_arrays(row: Row, seed: int = 0) -> Arrays:
    """Weights and roots, all float32: w1 [D, H], table [A, H], w2 [H, D], b2 [D], w3 [D, A + 2], b3 [A + 2];
    embedding [B, D], prior_logits [B, A], value [B]. The weights are scaled so that every activation is of order 1;
    the roots' logits and values are the head's of their embeddings."""
    random = np.random.default_rng(seed)

    def normal(scale: float, *shape: int) -> np.ndarray:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    width, hidden, heads = row.width, row.hidden, row.actions + 2
    embedding = np.tanh(normal(1.0, row.batch, width))
    # Entries of an embedding have a mean square of 0.4, so a column of N(0, 2.5 / D) gives outputs of variance 1.
    columns = np.array([row.logit_scale] * row.actions + [0.5, 0.25], np.float32)
    w3 = normal((2.5 / width) ** 0.5, width, heads) * columns
    b3 = normal(0.1, heads) * columns
    head = embedding @ w3 + b3
    return {
        "w1": normal((2.5 / width) ** 0.5, width, hidden),
        "table": normal(0.5, row.actions, hidden),
        "w2": normal((1.6 / hidden) ** 0.5, hidden, width),
        "b2": normal(0.1, width),
        "w3": w3,
        "b3": b3,
        "embedding": embedding,
        "prior_logits": head[:, : row.actions].copy(),
        "value": head[:, row.actions].copy(),
    }


def evaluate(arrays: Arrays, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network by numpy in float64, at the roots: embedding [B, D] and head [B, A + 2] behind `action` [B]. What
    every other implementation of it is compared with."""
    w1, table, w2, b2, w3, b3, embedding = (arrays[name].astype(np.float64) for name in (*WEIGHTS, "embedding"))
    after = np.tanh(np.maximum(embedding @ w1 + table[action], 0) @ w2 + b2)
    return after, after @ w3 + b3


def actions_of(row: Row, seed: int = 1) -> np.ndarray:
    """[S, B] int64: the actions with which the bare network is called; it goes on from its own embeddings."""
    return np.random.default_rng(seed).integers(row.actions, size=(row.simulations, row.batch))


def tree_facts(parent: np.ndarray, visits: np.ndarray, simulations: int) -> dict[str, float | bool]:
    """What a search really did, from its tree: parent [B, N], -1 where there is none, and the root's visits [B, A].

    evaluations: nodes made, that is network evaluations, of the tree with the fewest; visits_agree: whether every
    root's visits sum to the simulations; depth: of a node on average, in edges.
    """
    depth = np.zeros(parent.shape, np.int64)
    rows = np.arange(len(parent))
    for node in range(1, parent.shape[1]):
        depth[:, node] = depth[rows, np.maximum(parent[:, node], 0)] + 1
    made = parent[:, 1:] >= 0
    return {
        "evaluations": int(made.sum(1).min()),
        "visits_agree": bool((visits.sum(1) == simulations).all()),
        "depth": float(depth[:, 1:][made].mean()) if made.any() else 0.0,
    }
