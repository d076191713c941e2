"""Bad input is refused with the row and the fix."""

from __future__ import annotations

import pytest
import torch
from engines import ENGINES
from models import random_model

import search
from search import FixedRange, GumbelConfig, PUCTConfig

MODEL = random_model(3, 4, 2, 0.0, 1.0)


def _changed(tensor, index, value):
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


ROOT = MODEL.root(3, 1.0, 0)
NAN = float("nan")
BAD_ROOTS = {
    "legal action": {"legal": _changed(ROOT.legal, 1, False)},
    "row 1 .*NaN or infinite logit": {"prior_logits": _changed(ROOT.prior_logits, (1, 2), NAN)},
    "row 2 .*infinite logit": {"prior_logits": _changed(ROOT.prior_logits, (2, 0), float("inf"))},
    "row 1 of Root.value is NaN": {"value": _changed(ROOT.value, (1, 0), NAN)},
    "row 2 of Root.to_play is not a seat": {"to_play": _changed(ROOT.to_play, 2, 2)},
    "row 0 of Root.value_scale is not a positive": {"value_scale": _changed(ROOT.value_scale, 0, 0.0)},
    "Root.value must be \\[B, P\\].*value\\[:, None\\]": {"value": ROOT.value[:, 0]},
    "Root.prior_logits must be torch.float32, found torch.float64": {"prior_logits": ROOT.prior_logits.double()},
    "Root.legal must be torch.bool": {"legal": ROOT.legal.float()},
    "Root.legal must have shape \\[3, 4\\], found \\[3, 3\\]": {"legal": ROOT.legal[:, :3]},
    "Root.to_play must be torch.int64": {"to_play": ROOT.to_play.int()},
    "Root.seed must have shape \\[3\\]": {"seed": ROOT.seed[:2]},
    "Root.embedding must have 3 rows": {"embedding": ROOT.embedding[:2]},
    "row 1 of the root has no legal": {"exists": _changed(torch.ones(3, 4, dtype=torch.bool), 1, False)},
}


@pytest.mark.parametrize("run", [search.gumbel_muzero, search.muzero])
@pytest.mark.parametrize("message", BAD_ROOTS)
def test_bad_roots_are_refused(message, run):
    with pytest.raises(ValueError, match=message):
        run(ROOT._replace(**BAD_ROOTS[message]), MODEL.step, 4)


@pytest.mark.parametrize("run", [search.gumbel_muzero, search.muzero])
def test_zero_simulations_are_refused(run):
    with pytest.raises(ValueError, match="num_simulations must be at least 1, found 0"):
        run(ROOT, MODEL.step, 0)


def test_illegal_logits_may_be_anything():
    root = ROOT._replace(legal=_changed(ROOT.legal, (0, 1), False))
    masked = root._replace(prior_logits=_changed(root.prior_logits, (0, 1), float("-inf")))
    expected, found = (search.gumbel_muzero(r, MODEL.step, 8) for r in (root, masked))
    assert torch.equal(expected.policy_target, found.policy_target)
    assert torch.isfinite(found.tree.prior_logits).all()


BAD_STEPS = {
    "Step.reward must have shape \\[3, 2\\]": lambda s: s._replace(reward=s.reward[:, 0]),
    "Step.prior_logits must have shape": lambda s: s._replace(prior_logits=s.prior_logits[:, :2]),
    "Step.to_play must be torch.int64": lambda s: s._replace(to_play=s.to_play.int()),
    "Step.embedding must be torch.float32": lambda s: s._replace(embedding=s.embedding.double()),
    "row 2 in simulation 1": lambda s: s._replace(value=_changed(s.value, (2, 0), NAN)),
    "row 1 in simulation 1": lambda s: s._replace(prior_logits=_changed(s.prior_logits, (1, 0), NAN)),
    "negative discount for row 0": lambda s: s._replace(discount=_changed(s.discount, 0, -1.0)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("message", BAD_STEPS)
def test_bad_steps_are_refused(message, engine):
    def broken(embedding, action):
        return BAD_STEPS[message](MODEL.step(embedding, action))

    with pytest.raises(ValueError, match=message):
        search.gumbel_muzero(ROOT, broken, 3, engine=ENGINES[engine])


def test_a_step_of_another_size_later_on_is_refused():
    """The CPU kernels read by address: a later answer of fewer rows must not make them read beyond it."""
    calls = []

    def shrinking(embedding, action):
        calls.append(0)
        step = MODEL.step(embedding, action)
        return step._replace(prior_logits=step.prior_logits[:2]) if len(calls) == 3 else step

    with pytest.raises(ValueError, match=r"Step\.prior_logits must have shape \[3, 4\]"):
        search.gumbel_muzero(ROOT, shrinking, 5, engine=ENGINES["numba"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mover_out_of_range_is_refused(engine):
    def broken(embedding, action):
        return MODEL.step(embedding, action)._replace(to_play=torch.full((3,), 2))

    with pytest.raises((ValueError, RuntimeError, IndexError), match=r"to_play|out of bounds"):
        search.muzero(ROOT, broken, 6, engine=ENGINES[engine])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GumbelConfig(max_considered=0), "max_considered must be at least 1, found 0"),
        (lambda: GumbelConfig(max_depth=0), "max_depth must be at least 1"),
        (lambda: PUCTConfig(dirichlet_fraction=1.5), "dirichlet_fraction"),
        (lambda: PUCTConfig(dirichlet_alpha=0.0), "dirichlet_alpha"),
        (lambda: PUCTConfig(temperature=-1.0), "temperature"),
        (lambda: PUCTConfig(pb_c_base=0.0), "pb_c_base"),
        (lambda: FixedRange(1.0, 1.0), "high > low"),
    ],
)
def test_bad_configs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
