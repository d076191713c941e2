"""Run by `test_triton.py` in a process of its own with TRITON_INTERPRET=1, which has to be set before Triton is
imported: searches with the kernels in Triton's own interpreter (some 0.1 s a simulation and row) against the torch
engine. Prints one line a search."""

import torch
from models import random_model

import search
from search import FixedRange, GumbelConfig, NodeRange, PUCTConfig, RowScale, TreeRange, Unvisited, torch_engine
from search import triton_engine as engine

GUMBEL, PUCT = search.gumbel_muzero, search.muzero
SEARCHES = [  # policy, config, actions, players, rows, simulations, chance nodes
    (GUMBEL, GumbelConfig(max_considered=3), 5, 2, 2, 6, 0.0),
    (GUMBEL, GumbelConfig(unit=TreeRange(), embedding_dtype=torch.bfloat16), 3, 1, 1, 7, 0.3),
    (GUMBEL, GumbelConfig(unit=RowScale(), max_depth=2), 2, 3, 1, 6, 0.0),
    (PUCT, PUCTConfig(unit=NodeRange()), 5, 2, 2, 6, 0.0),
    (PUCT, PUCTConfig(unit=TreeRange(), max_depth=3), 3, 1, 1, 7, 0.3),
    (PUCT, PUCTConfig(unit=FixedRange(-2.0, 3.0), unvisited=Unvisited.NODE), 2, 2, 1, 6, 0.0),
]


def main() -> None:
    assert engine.ON_CPU, "TRITON_INTERPRET=1 was not set"
    for number, (policy, config, actions, players, rows, simulations, chance) in enumerate(SEARCHES):
        model = random_model(number, actions, players, 0.2, 0.7, chance)
        root = model.root(rows, 0.8, number)
        found, expected = (policy(root, model.step, simulations, config, engine=e.run) for e in (engine, torch_engine))
        for name in ("child", "parent", "action", "visits"):
            assert torch.equal(getattr(found.tree, name), getattr(expected.tree, name)), (number, name)
        assert torch.equal(found.tree.embedding, expected.tree.embedding), number
        assert torch.equal(found.action, expected.action), number
        for name in ("policy_target", "root_value", "q_values"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.tree.value, expected.tree.value, atol=1e-5, rtol=1e-5)
        print("equal", number)


if __name__ == "__main__":
    main()
