"""The golden trees as a model: a look-up table from node to node."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from search import Root, Step

FOLDER = Path(__file__).parent.parent / "golden"


@dataclass
class GoldenTree:
    """Node i of these arrays is the one with evaluation index i."""

    child: torch.Tensor  # [N, A] int64, -1 unvisited
    visits: torch.Tensor  # [N]
    value: torch.Tensor  # [N], the mover's
    raw_value: torch.Tensor  # [N], the mover's
    prior: torch.Tensor  # [N, A]
    mover: torch.Tensor  # [N]: seats alternate

    def two_sided(self, value: torch.Tensor) -> torch.Tensor:
        """[N] mover's values -> [N, 2] by seat."""
        sign = 1.0 - 2.0 * self.mover
        return torch.stack([value * sign, -value * sign], dim=1)


def load(name: str) -> GoldenTree:
    with gzip.open(FOLDER / f"{name}_tree.json.gz", "rt") as file:
        root = json.load(file)["tree"]
    num_nodes, num_actions = root["visit"], len(root["child_stats"])
    tree = GoldenTree(
        child=torch.full((num_nodes, num_actions), -1),
        visits=torch.zeros(num_nodes, dtype=torch.int64),
        value=torch.zeros(num_nodes),
        raw_value=torch.zeros(num_nodes),
        prior=torch.zeros(num_nodes, num_actions),
        mover=torch.zeros(num_nodes, dtype=torch.int64),
    )

    def visit(node: dict, depth: int) -> None:
        index = node["evaluation_index"]
        tree.visits[index], tree.mover[index] = node["visit"], depth % 2
        tree.value[index], tree.raw_value[index] = node["value_view"], node["raw_value_view"]
        for action, child in enumerate(node["child_stats"]):
            tree.prior[index, action] = child["prior"]
            if child["child_stats"]:
                assert child["reward"] == 0
                tree.child[index, action] = child["evaluation_index"]
                visit(child, depth + 1)

    visit(root, 0)
    return tree


def model(tree: GoldenTree, batch: int):
    """(root of `batch` equal rows, recurrent function). The embedding is the index of the node; off the tree
    (only masked rows get there) the model answers with node 0."""
    logits, raw = torch.log(tree.prior), tree.two_sided(tree.raw_value)

    def recurrent_fn(embedding, action):
        node = tree.child[embedding, action].clamp_min(0)
        rows = len(node)
        # A row that left the tree goes on with its own parity, which masked rows never compare.
        return Step(node, torch.zeros(rows, 2), torch.ones(rows), logits[node], raw[node], tree.mover[node])

    zeros = torch.zeros(batch, dtype=torch.int64)
    legal = torch.ones(batch, logits.shape[1], dtype=torch.bool)
    root = Root(logits[zeros], raw[zeros], zeros, legal, zeros, zeros)
    return root, recurrent_fn
