"""Bad input is refused with the row and the fix."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from engines import ENGINES
from models import random_model

import search
from search import MLP, FixedRange, GumbelConfig, Layer, NodeRange, PUCTConfig, Root, TreeRange

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


RUNS = {"gumbel": (search.gumbel_muzero, GumbelConfig()), "puct": (search.muzero, PUCTConfig())}
WRONG_CALLS = {
    r"num_simulations must be a whole number, found 2\.5": {"num_simulations": 2.5},
    r"num_simulations must be a whole number, found None": {"num_simulations": None},
    r"num_simulations must be a whole number, found True": {"num_simulations": True},
    r"num_simulations must be at least 1, found -3": {"num_simulations": -3},
    r"recurrent_fn must be a function, found Step": {"recurrent_fn": MODEL.step(ROOT.embedding, torch.tensor([0] * 3))},
    r"root must be a search\.Root, found tuple; its fields are prior_logits, value": {"root": tuple(ROOT)},
    r"root must be a search\.Root, found NoneType": {"root": None},
    r"config must be a search\.\w+Config, found NoneType": {"config": None},
    r"config must be a search\.\w+Config, found the class \w+Config itself": {"config": "class"},
    r"config must be a search\.\w+Config, found \w+Config; search\.\w*muzero takes the other one": {"config": "other"},
    r"engine must be a function such as search\.torch_engine\.run, or None, found 'numba'": {"engine": "numba"},
    r"Root\.prior_logits must have at least one row, found \[0, 4\]": {
        "root": type(ROOT)(*(x[:0] for x in ROOT if x is not None))
    },
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("policy", RUNS)
@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_arguments_are_refused_with_and_without_check(message, policy, check):
    run, config = RUNS[policy]
    arguments = {"root": ROOT, "recurrent_fn": MODEL.step, "num_simulations": 4, "config": config}
    arguments |= WRONG_CALLS[message]
    others = {"class": type(config), "other": RUNS["puct" if policy == "gumbel" else "gumbel"][1]}
    if isinstance(arguments["config"], str):
        arguments["config"] = others[arguments["config"]]
    with pytest.raises(ValueError, match=message):
        run(**arguments, check=check)


WRONG_KINDS = {
    r"Root\.seed must be a torch\.Tensor, found NoneType; such as torch\.arange\(B\)": {"seed": None},
    r"Root\.value must be a torch\.Tensor, found ndarray; torch\.as_tensor\(\.\.\.\)": {"value": ROOT.value.numpy()},
    r"Root\.prior_logits must be a torch\.Tensor, found ndarray": {"prior_logits": ROOT.prior_logits.numpy()},
    r"Root\.legal must be a torch\.Tensor, found list; torch\.as_tensor": {"legal": ROOT.legal.tolist()},
    r"Root\.exists must be a torch\.Tensor, found ndarray": {"exists": ROOT.legal.numpy()},
    r"Root\.to_play must be a torch\.Tensor, found int": {"to_play": 0},
    r"Root\.embedding must be a torch\.Tensor, found dict; one tensor": {"embedding": {"latent": ROOT.embedding}},
    r"Root\.value_scale must be a torch\.Tensor, found float": {"value_scale": 1.0},
    r"Root\.embedding must have 3 rows as Root\.prior_logits, found \[\]": {"embedding": torch.tensor(0.0)},
    r"Root\.prior_logits must be \[B, A\], neither 0, found \[3, 0\]": {"prior_logits": ROOT.prior_logits[:, :0]},
    r"Root\.prior_logits must be \[B, A\], neither 0, found \[3\]": {"prior_logits": ROOT.prior_logits[:, 0]},
    r"row 1 of Root\.value_scale is not a positive": {"value_scale": torch.tensor([1.0, 1e-40, 1.0])},
    r"row 2 of Root\.value_scale is not a positive": {"value_scale": torch.tensor([1.0, 1.0, float("inf")])},
    r"Root\.legal must be a dense tensor, found torch\.sparse_coo; \.to_dense\(\)": {"legal": ROOT.legal.to_sparse()},
    r"Root\.legal is on meta, Root\.prior_logits on cpu; move all": {"legal": ROOT.legal.to("meta")},
}


@pytest.mark.parametrize("policy", RUNS)
@pytest.mark.parametrize("message", WRONG_KINDS)
def test_fields_of_the_root_that_are_no_tensors_are_refused(message, policy):
    with pytest.raises(ValueError, match=message):
        RUNS[policy][0](ROOT._replace(**WRONG_KINDS[message]), MODEL.step, 4)


WRONG_ANSWERS = {
    r"the answer of the recurrent function must be a search\.Step, found tuple; return Step\(embedding, reward": tuple,
    r"the answer of the recurrent function must be a search\.Step, found NoneType": lambda s: None,
    r"Step\.discount must be a torch\.Tensor, found float; such as torch\.full\(\[3\]": lambda s: s._replace(
        discount=0.9
    ),
    r"Step\.value must be a torch\.Tensor, found ndarray": lambda s: s._replace(value=s.value.numpy()),
    r"Step\.exists must be torch\.bool": lambda s: s._replace(exists=torch.ones(3, 4)),
    r"Step\.chance must have shape \[3\], found \[3, 1\]": lambda s: s._replace(
        chance=torch.zeros(3, 1, dtype=torch.bool)
    ),
    r"Step\.embedding must be a torch\.Tensor, found NoneType": lambda s: s._replace(embedding=None),
    r"Step\.embedding must be a dense tensor": lambda s: s._replace(embedding=s.embedding.to_sparse()),
    r"Step\.prior_logits must hold real numbers, found torch\.complex64": lambda s: s._replace(
        prior_logits=s.prior_logits.to(torch.complex64)
    ),
    r"Step\.value must hold real numbers, found torch\.bool": lambda s: s._replace(value=s.value > 0),
    r"returns of row 0 overflow .*beyond 1e\+30": lambda s: s._replace(value=s.value * 3e35),
    r"Step\.reward is on meta, the root on cpu": lambda s: s._replace(reward=s.reward.to("meta")),
    r"logit of Step\.prior_logits lies below -2\^127 for row 1 in simulation 1": lambda s: s._replace(
        prior_logits=_changed(s.prior_logits, (1, 2), -3e38)
    ),
    r"highest logit of row \d at the node of simulation \d .* is beyond 1e\+06.*subtract": lambda s: s._replace(
        prior_logits=s.prior_logits - 1e9
    ),
    r"returns of row 2 overflow": lambda s: s._replace(
        reward=_changed(s.reward, (2, 0), 3e38), value=_changed(s.value, (2, 0), 3e38)
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("message", WRONG_ANSWERS)
def test_wrong_answers_of_the_model_are_refused(message, engine):
    with pytest.raises(ValueError, match=message):
        search.muzero(ROOT, lambda *at: WRONG_ANSWERS[message](MODEL.step(*at)), 6, engine=ENGINES[engine])


@pytest.mark.parametrize("engine", ENGINES)
def test_logits_where_nothing_grows_may_be_anything_finite(engine):
    def ending(*at):
        step = MODEL.step(*at)
        return step._replace(prior_logits=step.prior_logits - 1e9, discount=torch.zeros(3))

    search.muzero(ROOT, ending, 6, engine=ENGINES[engine])


@pytest.mark.parametrize("policy", RUNS)
def test_integer_embeddings_are_not_stored_as_floats(policy):
    run, config = RUNS[policy]
    root = ROOT._replace(embedding=ROOT.embedding.long())
    with pytest.raises(ValueError, match=r"embedding_dtype is for floating-point embeddings, .* is torch\.int64"):
        run(root, MODEL.step, 4, dataclasses.replace(config, embedding_dtype=torch.bfloat16))


NUMBERS = [NAN, float("inf"), -1.0, "1", None, True, 1e300]
NUMBERS_OF = {
    GumbelConfig: ("gumbel_scale", "visit_offset", "value_scale"),
    PUCTConfig: ("pb_c_init", "pb_c_base", "dirichlet_fraction", "dirichlet_alpha", "temperature"),
    NodeRange: ("epsilon",),
    TreeRange: ("epsilon",),
}


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NUMBERS_OF.items() for name in names])
def test_every_number_of_a_configuration_has_bounds(kind, name, value):
    with pytest.raises(ValueError, match=rf"{name}.* must be a number from .*, found {re.escape(repr(value))}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NodeRange(epsilon=0), "NodeRange.epsilon must be a number from 1e-12"),
        (lambda: TreeRange(epsilon=1e-320), "TreeRange.epsilon must be a number from 1e-12"),
        (lambda: PUCTConfig(temperature=1e-320), r"temperature \(where not 0\) must be a number from 1e-06"),
        (lambda: PUCTConfig(pb_c_base=1e-320), "pb_c_base must be a number from 1e-06"),
        (lambda: PUCTConfig(dirichlet_alpha=1e-320), "dirichlet_alpha must be a number from 1e-06"),
        (lambda: PUCTConfig(unvisited="NODE"), "unvisited must be a search.Unvisited, found str"),
        (lambda: GumbelConfig(max_considered=2.5), "max_considered must be a whole number, found 2.5"),
        (lambda: GumbelConfig(max_depth=1.5), "max_depth must be a whole number, found 1.5"),
        (lambda: PUCTConfig(max_depth=10**30), "max_depth must be at most 2147483647"),
        (lambda: PUCTConfig(max_depth=True), "max_depth must be a whole number, found True"),
        (lambda: GumbelConfig(waves=1), "waves must be True or False, found 1"),
        (lambda: GumbelConfig(embedding_dtype=torch.int32), "embedding_dtype must be a floating-point type"),
        (lambda: PUCTConfig(embedding_dtype="bfloat16"), "embedding_dtype must be a floating-point type"),
        (lambda: FixedRange(0.0, 1e-320), "high > low by 1e-12"),
        (lambda: FixedRange(NAN, 1.0), "FixedRange.low must be a number"),
        (lambda: FixedRange(0.0, float("inf")), "FixedRange.high must be a number"),
    ],
)
def test_meaningless_configurations_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


BAD_UNITS = {"0": 0.0, "negative": -1.0, "NaN": NAN, "infinity": float("inf")}


@pytest.mark.parametrize("policy", RUNS)
@pytest.mark.parametrize("value", BAD_UNITS.values(), ids=BAD_UNITS)
def test_a_unit_function_must_return_positive_numbers(policy, value):
    """The bad unit comes once, in the middle of the search, in one row."""
    calls = []

    def unit(values):
        calls.append(0)
        found = torch.ones(len(values.value))
        return _changed(found, 1, value) if len(calls) == 5 else found

    run, config = RUNS[policy]
    with pytest.raises(ValueError, match=r"unit function returned 0, .*, NaN or infinity for row 1.*clamp_min"):
        run(ROOT, MODEL.step, 8, dataclasses.replace(config, unit=unit))
    assert len(calls) > 5


@pytest.mark.parametrize("answer", [1.0, None])
def test_a_unit_function_must_return_a_tensor(answer):
    with pytest.raises(ValueError, match=r"what a unit function returns must be a torch\.Tensor, found"):
        search.muzero(ROOT, MODEL.step, 4, PUCTConfig(unit=lambda values: answer))


SQUARE, HEADS, TABLE = torch.zeros(4, 4), torch.zeros(5, 4), torch.zeros(3, 4)
BAD_MODELS = {
    r"bias of layer 0 must have shape \[4\], found \[3\]": lambda: MLP(
        [Layer(SQUARE, torch.zeros(3))], [Layer(HEADS)], TABLE
    ),
    r"bias of layer 0 must have shape \[4\], found \[1\]": lambda: MLP(
        [Layer(SQUARE, torch.zeros(1))], [Layer(HEADS)], TABLE
    ),
    r"weight of layer 0 must be a torch\.Tensor \[outputs, inputs\], found \[4\]": lambda: MLP(
        [Layer(SQUARE[0])], [Layer(HEADS)], TABLE
    ),
    r"weight of layer 0 must be a torch\.Tensor \[outputs, inputs\], found ndarray": lambda: MLP(
        [Layer(SQUARE.numpy())], [Layer(HEADS)], TABLE
    ),
    r"action_table must be a torch\.Tensor \[A, H\], a row an action, found \[4\]": lambda: MLP(
        [Layer(SQUARE)], [Layer(HEADS)], TABLE[0]
    ),
    r"layer 0 must be a search\.Layer, found Linear; such as Layer\(linear\.weight": lambda: MLP(
        [torch.nn.Linear(4, 4)], [Layer(HEADS)], TABLE
    ),
    r"layers must be a list of at least one search\.Layer, found Layer": lambda: MLP(
        Layer(SQUARE), [Layer(HEADS)], TABLE
    ),
    r"layers must be a list of at least one search\.Layer, found \[\]": lambda: MLP([], [Layer(HEADS)], TABLE),
    r"discount must be a number from 0 to .*, found nan": lambda: MLP([Layer(SQUARE)], [Layer(HEADS)], TABLE, NAN),
    r"discount must be a number from 0 to .*, found -1": lambda: MLP([Layer(SQUARE)], [Layer(HEADS)], TABLE, -1),
    r"num_players must be a whole number, found True": lambda: MLP(
        [Layer(SQUARE)], [Layer(HEADS)], TABLE, num_players=True
    ),
}


@pytest.mark.parametrize("message", BAD_MODELS)
def test_models_that_do_not_fit_are_refused(message):
    with pytest.raises(ValueError, match=message):
        BAD_MODELS[message]()


def _for_two(seats, to_play):
    """An MLP for two players, and a root whose embeddings end in `seats`."""
    model = MLP([Layer(SQUARE)], [Layer(HEADS)], TABLE, num_players=2)
    embedding = torch.cat([torch.zeros(3, 4), torch.tensor(seats, dtype=torch.float32)[:, None]], dim=1)
    root = Root(torch.zeros(3, 3), torch.zeros(3, 2), embedding, torch.ones(3, 3, dtype=torch.bool),
                torch.tensor(to_play), torch.arange(3))  # fmt: skip
    return model, root


@pytest.mark.parametrize("policy", RUNS)
@pytest.mark.parametrize("engine", [None, ENGINES["torch"]])
def test_the_seat_in_an_mlp_s_embedding_is_the_root_s(policy, engine):
    run, config = RUNS[policy]
    model, root = _for_two([0, 1, 1], [0, 1, 1])
    run(root, model, 2, config, engine=engine)
    model, root = _for_two([0, 1, 1], [0, 1, 0])
    with pytest.raises(ValueError, match=r"row 2 of Root\.embedding ends in another seat than Root\.to_play"):
        run(root, model, 2, config, engine=engine)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_an_mlp_wants_float32(dtype):
    model, root = _for_two([0, 1, 1], [0, 1, 1])
    with pytest.raises(ValueError, match=rf"needs Root\.embedding in torch\.float32, found {dtype}; .*\.float\(\)"):
        search.muzero(root._replace(embedding=root.embedding.to(dtype)), model, 2)
