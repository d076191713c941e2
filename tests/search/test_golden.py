"""The two trees published with mctx come out exactly, with masked rows beside them."""

from __future__ import annotations

import golden
import pytest
import torch
from engines import ENGINES

import search
from search import FixedRange, GumbelConfig, PUCTConfig, Unscaled

PUCT = PUCTConfig(dirichlet_fraction=0.0, temperature=0.0, unit=FixedRange(-1.0, 1.0))
GUMBEL = GumbelConfig(gumbel_scale=0.0, value_scale=0.5, unit=Unscaled())


def _batch_of_three(tree):
    """Row 0 free, row 1 with one legal action, row 2 with two."""
    root, recurrent_fn = golden.model(tree, 3)
    root.legal[1:] = False
    root.legal[1, 5] = True
    root.legal[2, 2] = root.legal[2, 7] = True
    return root, recurrent_fn


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["muzero", "gumbel_muzero"])
def test_golden_tree(name, engine):
    expected = golden.load(name)
    root, recurrent_fn = _batch_of_three(expected)
    run, config = (search.muzero, PUCT) if name == "muzero" else (search.gumbel_muzero, GUMBEL)
    result = run(root, recurrent_fn, 200, config, engine=ENGINES[engine])
    tree = result.tree
    assert torch.equal(tree.child[0].long(), expected.child)  # topology and order of evaluation
    assert torch.equal(tree.visits[0].long(), expected.visits)
    torch.testing.assert_close(tree.value[0], expected.two_sided(expected.value), atol=1e-5, rtol=0)
    assert result.visits[1].nonzero().flatten().tolist() == [5]
    assert set(result.visits[2].nonzero().flatten().tolist()) <= {2, 7}
    assert result.visits.sum(dim=1).tolist() == [200, 200, 200]
