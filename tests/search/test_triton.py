"""The CUDA engine: that its kernels compile, that Triton's own interpreter runs them as numpy does, what only this
engine can get wrong, and, marked `gpu`, the same on a GPU. All tests that take an engine run on it too (`engines.py`).
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import numpy_triton
import pytest
import torch
from engines import ENGINES, to
from models import random_model

import search
from search import (
    FixedRange,
    GumbelConfig,
    NodeRange,
    PUCTConfig,
    Root,
    RowScale,
    Step,
    TreeRange,
    Unscaled,
    Unvisited,
    captured,
    numba_engine,
    policies,
    torch_engine,
)

triton = pytest.importorskip("triton")

from search import triton_engine, triton_kernels  # noqa: E402 - imports triton

FOLDER = Path(__file__).parent
RUNS = {"gumbel": (search.gumbel_muzero, GumbelConfig), "puct": (search.muzero, PUCTConfig)}
ENGINE = ENGINES["triton"]


@pytest.fixture(params=RUNS)
def policy(request):
    return RUNS[request.param]


def assert_equal(found, expected, tolerance=1e-5):
    """Integers exactly, floats within `tolerance`."""
    for name in ("child", "parent", "action", "visits", "to_play"):
        assert torch.equal(getattr(found.tree, name), getattr(expected.tree, name)), name
    assert torch.equal(found.action, expected.action)
    assert torch.equal(found.visits, expected.visits)
    for name in ("policy_target", "root_value", "q_values"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=tolerance, rtol=1e-5)
    for name in ("value", "raw_value", "reward", "discount", "prior_logits"):
        torch.testing.assert_close(getattr(found.tree, name), getattr(expected.tree, name), atol=tolerance, rtol=1e-5)


def test_triton_s_interpreter_agrees():
    """`interpreted.py` in a process of its own: the variable has to be set before Triton is imported."""
    paths = os.pathsep.join([str(FOLDER.parents[1]), str(FOLDER)])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", str(FOLDER / "interpreted.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(re.findall("^equal", done.stdout, re.M)) == 6


# --- Compilation, which needs no GPU ---

POINTEES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.int32: "i32", torch.int64: "i64", torch.uint8: "u8"}
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


def compiled_for_hopper(kernel, arguments, warps, folder):
    """(registers, bytes of spills) of a kernel, compiled for sm_90 with these arguments."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes = {}, {}, {}
    for index, (name, value) in enumerate(arguments.items()):
        if kernel.params[index].is_constexpr:
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + POINTEES[value.dtype]
            if value.data_ptr() % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
    source = ASTSource(kernel, signature, constants, attributes)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    ptx = folder / "kernel.ptx"
    ptx.write_text(code.asm["ptx"])
    command = [str(PTXAS), "-v", "--gpu-name=sm_90a", str(ptx), "-o", os.devnull]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers = re.search(r"Used (\d+) registers", report)
    spills = re.search(r"(\d+) bytes spill stores", report)
    assert registers is not None, report
    assert spills is not None, report
    return int(registers[1]), int(spills[1])


@pytest.mark.skipif(not PTXAS.exists(), reason="this Triton brings no ptxas")
@pytest.mark.parametrize(
    ("actions", "players", "simulations", "extras", "name", "options"),
    [
        (9, 1, 50, False, "gumbel", {}),
        (82, 2, 200, False, "puct", {}),
        (18, 2, 50, True, "gumbel", {"unit": TreeRange(), "embedding_dtype": torch.bfloat16}),
        (4672, 2, 200, True, "puct", {"unit": TreeRange()}),
    ],
)
def test_every_kernel_compiles_for_a_gpu(
    actions, players, simulations, extras, name, options, monkeypatch, tmp_path, record_property
):
    """As it would be launched, and with registers to spare: 32 programs of one warp fit a multiprocessor at 64."""
    run, config = RUNS[name]
    report = {}

    def compile_only(kernel, *arguments, grid, warmup, num_warps, enable_fp_fusion, **named):
        bound = inspect.signature(kernel.fn).bind(*arguments, **named).arguments
        key = (kernel.fn.__name__, num_warps, bound.get("HAS_CHANCE", False))
        if key not in report:
            report[key] = compiled_for_hopper(kernel, bound, num_warps, tmp_path)

    monkeypatch.setattr(triton.runtime.JITFunction, "run", compile_only)
    monkeypatch.setattr(triton_engine, "ON_CPU", True)
    monkeypatch.setattr(triton_engine, "_decide", lambda plan, store: None)
    seats, zeros = torch.zeros(2, dtype=torch.int64), torch.zeros(2, players)
    legal = torch.ones(2, actions, dtype=torch.bool)
    root = Root(torch.zeros(2, actions), zeros, torch.zeros(2, 64), legal, seats, seats)
    step = Step(torch.zeros(2, 64), zeros, torch.ones(2), torch.zeros(2, actions), zeros, seats)
    if extras:
        step = step._replace(exists=legal, chance=torch.zeros(2, dtype=torch.bool))
    assert (
        run(root, lambda embedding, action: step, simulations, config(**options), engine=_first_two, check=False)
        is None
    )
    record_property("registers and spills", report)
    assert {kernel for kernel, _, _ in report} == {"start", "descend", "expand_and_backup"}
    assert len(report) == 3 + extras  # chance nodes make `descend` another kernel once they have been seen
    for (kernel, num_warps, _), (registers, spills) in report.items():
        assert registers <= (80 if num_warps == 1 else 168), (kernel, registers)
        assert spills <= 32, (kernel, spills)


def _first_two(plan, root, recurrent_fn):
    """The engine with two of its simulations: all launches after them are alike."""
    calls = []

    def limited(embedding, action):
        calls.append(None)
        if len(calls) > 2:
            raise StopIteration
        return recurrent_fn(embedding, action)

    try:
        triton_engine.run(plan, root, limited)
    except StopIteration:
        return None
    raise AssertionError("more than two simulations were asked for")


# --- What only this engine can get wrong ---


@pytest.mark.parametrize("players", [1, 3])
def test_paths_longer_than_one_stretch_of_the_backup(policy, players):
    """One action: a simulation is one node deeper than the one before, up to 36; the walk up takes 32 at a time."""
    run, config = policy
    model = random_model(31, 1, players, 0.0, 1.0)
    root = model.root(2, 1.0, 31)
    settings = config(unit=TreeRange())
    found, expected = (run(root, model.step, 36, settings, engine=e) for e in (ENGINE, torch_engine.run))
    assert found.tree.parent[0].tolist() == list(range(-1, 36))
    assert_equal(found, expected)


@pytest.mark.parametrize(("actions", "simulations"), [(1500, 40), (40, 40)])
def test_more_actions_than_one_block(policy, actions, simulations):
    run, config = policy
    model = random_model(32, actions, 2, 0.1, 0.9)
    root = model.root(3, 0.9, 32)
    found, expected = (run(root, model.step, simulations, config(), engine=e) for e in (ENGINE, torch_engine.run))
    assert_equal(found, expected)


def test_ties_between_blocks_of_actions_go_to_the_lowest_index(policy):
    """Equal logits at 1030 actions, two blocks: candidates come in the order of their indices."""
    run, config = policy
    model = random_model(33, 1030, 1, 0.0, 1.0)
    flat = torch.zeros_like
    model = dataclasses.replace(model, logits=flat(model.logits), value=flat(model.value), reward=flat(model.reward))
    root = model.root(1, 1.0, 33)
    legal = torch.zeros_like(root.legal)
    legal[:, [3, 600, 1023, 1024, 1029]] = True
    options = {"gumbel_scale": 0.0} if config is GumbelConfig else {"dirichlet_fraction": 0.0}
    result = run(root._replace(legal=legal), model.step, 5, config(**options), engine=ENGINE)
    assert result.tree.action[0, 1:].tolist() == [3, 600, 1023, 1024, 1029]


@pytest.mark.parametrize("unit", [Unscaled(), RowScale(), NodeRange(), TreeRange(), FixedRange(-2.0, 3.0)])
def test_many_rows_equal_the_torch_engine(policy, unit):
    """Here rows cost nothing, so there can be enough of them for what rarely decides. Near ties, which rounding may
    decide otherwise, let a row or two differ."""
    run, config = policy
    softer = {"visit_offset": 2.0, "value_scale": 0.3}  # so that more than one action is worth a visit
    variants = [{}, softer] if config is GumbelConfig else [{"unvisited": u} for u in Unvisited]
    for number, options in enumerate(variants):
        model = random_model(50 + number, 5, 2, 0.1, 0.9, 0.1)
        root = model.root(300, 0.9, 50)
        found, expected = (
            run(root, model.step, 24, config(unit=unit, **options), engine=e) for e in (ENGINE, torch_engine.run)
        )
        same = (found.tree.child == expected.tree.child).flatten(1).all(dim=1)
        assert same.sum() >= 298
        torch.testing.assert_close(found.tree.value[same], expected.tree.value[same], atol=1e-5, rtol=1e-5)


def test_answers_to_old_nodes_are_not_looked_at(policy):
    """Every call answers something else, whatever it is asked; at the end of a game nothing new may be believed."""
    run, config = policy

    def model():
        generator = torch.Generator().manual_seed(60)

        def answer(embedding, action):
            value, logits, reward, end = torch.randn(4, 20, 3, generator=generator)
            return Step(
                embedding, reward[:, :1], (end[:, 0] > 0.5).float(), logits, value[:, :1], torch.zeros_like(action)
            )

        return answer

    root = random_model(60, 3, 1, 0.0, 1.0).root(20, 1.0, 60)
    found, expected = (run(root, model(), 20, config(max_depth=2), engine=e) for e in (ENGINE, torch_engine.run))
    assert (expected.tree.visits[:, 1:] == 0).any(dim=1).all()
    assert_equal(found, expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs numpy's exp to know where exact ties are")
def test_a_tie_with_an_action_not_tried_yet_goes_to_the_lowest_index():
    """Prior 2/3 for action 1, tried once, and 1/3 for action 0: PUCT's scores are equal where the floats are."""
    high = torch.linspace(-1, 1, 400)
    logits = torch.stack([high - math.log(2), high], dim=1)
    x = logits.numpy()
    normaliser = x.max(axis=1) + np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1))
    prior = np.exp(x - normaliser[:, None])
    tied = torch.from_numpy(prior[:, 1] == 2 * prior[:, 0])
    assert tied.sum() >= 20
    seats, zeros = torch.zeros(400, dtype=torch.int64), torch.zeros(400, 1)
    root = Root(logits, zeros, zeros, torch.ones(400, 2, dtype=torch.bool), seats, seats)
    step = Step(zeros, zeros, torch.ones(400), logits, zeros, seats)
    config = PUCTConfig(dirichlet_fraction=0.0, temperature=0.0)
    tree = search.muzero(root, lambda embedding, action: step, 2, config, engine=ENGINE).tree
    assert (tree.action[:, 1] == 1).all()
    assert (tree.parent[tied, 2] == 0).all()
    assert (tree.action[tied, 2] == 0).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "stored"),
    [
        ((), torch.int64, None),
        ((3, 5), torch.float64, None),
        ((70, 70), torch.float32, None),  # wider than what the kernels copy themselves
        ((70, 70), torch.float32, torch.bfloat16),
        ((6,), torch.float32, torch.bfloat16),
        ((6,), torch.bfloat16, None),
        ((4,), torch.bool, None),
        ((0,), torch.float32, None),
    ],
)
def test_embeddings_of_all_kinds(shape, dtype, stored):
    """The action's number is counted up in every entry, so each call can be checked against the tree."""
    calls = []

    def count(embedding, action):
        calls.append((embedding.clone(), action.clone()))
        following = embedding.float() + (action + 1).view(-1, *[1] * len(shape))
        return Step(following.to(dtype), *zeros, torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros_like(action))

    zeros = torch.zeros(3, 1), torch.ones(3)
    seats = torch.zeros(3, dtype=torch.int64)
    legal = torch.ones(3, 2, dtype=torch.bool)
    root = Root(torch.randn(3, 2), torch.zeros(3, 1), torch.zeros(3, *shape).to(dtype), legal, seats, seats + 5)
    config = PUCTConfig(embedding_dtype=stored)
    tree = search.muzero(root, count, 9, config, engine=ENGINE).tree
    assert tree.embedding.dtype == (stored or dtype)
    for node in range(1, 10):
        embedding, action = calls[node - 1]
        parent = tree.parent[:, node].long()
        assert embedding.dtype == dtype
        assert torch.equal(embedding, tree.embedding[torch.arange(3), parent].to(dtype))
        assert torch.equal(action, tree.action[:, node].long())


def test_nothing_uninitialised_is_used(policy):
    """New tensors filled with NaN and with the largest integers give the same result."""
    run, config = policy
    model = random_model(34, 6, 2, 0.3, 0.8, 0.3)
    root = model.root(4, 0.8, 34)
    settings = config(unit=TreeRange(), max_depth=3)
    expected = run(root, model.step, 20, settings, engine=torch_engine.run)
    torch.use_deterministic_algorithms(True)
    try:
        found = run(root, model.step, 20, settings, engine=ENGINE)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_equal(found, expected)


def test_no_number_is_read_on_the_host(policy, monkeypatch):
    """Tensors without data (device `meta`) go through noise, loop and decision: any look at a number would raise."""
    run, config = policy

    class Nothing:
        def __getitem__(self, grid):
            return lambda *arguments, **named: None

    kernels = types.SimpleNamespace(**vars(triton_kernels))
    kernels.start = kernels.descend = kernels.expand_and_backup = Nothing()
    monkeypatch.setattr(triton_engine, "kernels", kernels)
    monkeypatch.setattr(triton_engine, "ON_CPU", True)
    model = random_model(35, 5, 2, 0.2, 0.8, 0.2)
    root = to("meta", model.root(3, 1.0, 35))
    step = to("meta", model.step(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)))
    for engine in (triton_engine.run, torch_engine.run):
        for unit in (NodeRange(), TreeRange(), RowScale()):
            result = run(root, lambda embedding, action: step, 4, config(unit=unit), check=False, engine=engine)
            assert result.action.shape == (3,)
            assert result.tree.child.shape == (3, 5, 5)
    with pytest.raises(RuntimeError, match="meta"):
        root.value.sum().item()


def test_the_stand_in_for_triton_notices_races(tmp_path):
    """Accesses outside, a store read back, two stores to one place, an overwrite before all have read."""
    path = tmp_path / "racy.py"
    path.write_text(
        "import triton\nimport triton.language as tl\n\n"
        "@triton.jit\ndef outside(x, n):\n    tl.load(x + tl.program_id(0) + n)\n\n"
        "@triton.jit\ndef read_back(x, n):\n    at = x + tl.program_id(0)\n    tl.store(at, 1)\n    tl.load(at)\n\n"
        "@triton.jit\ndef twice(x, n):\n    tl.store(x + tl.program_id(0) * 0, 1)\n\n"
        "@triton.jit\ndef overwrite(x, n):\n    at = x + tl.program_id(0)\n    tl.store(at, tl.load(at) + 1)\n\n"
        "@triton.jit\ndef fenced(x, n):\n    at = x + tl.program_id(0)\n    old = tl.load(at)\n"
        "    tl.debug_barrier()\n    tl.store(at, old + 1)\n"
    )
    kernels, x = numpy_triton.load_kernels(path), torch.zeros(4)
    for name, error in (("outside", "access at 2 .. 5"), ("read_back", "reads"), ("twice", "twice")):
        with pytest.raises((IndexError, RuntimeError), match=error):
            getattr(kernels, name)[(4,)](x, 2, num_warps=1)
    with pytest.raises(RuntimeError, match="without a barrier"):
        kernels.overwrite[(4,)](x, 2, num_warps=1)
    before = x.clone()
    kernels.fenced[(4,)](x, 2, num_warps=1)
    assert torch.equal(x, before + 1)


# --- Choice of engine, refusals, memory ---


def test_the_device_chooses_the_engine(monkeypatch):
    def root_on(device):
        return types.SimpleNamespace(prior_logits=types.SimpleNamespace(device=torch.device(device)))

    monkeypatch.setattr(torch.version, "hip", None)
    config = GumbelConfig()
    assert policies.engine_of(root_on("cpu"), config) is numba_engine.run
    assert policies.engine_of(root_on("cuda"), config) is triton_engine.run
    assert policies.engine_of(root_on("mps"), config) is torch_engine.run
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert policies.engine_of(root_on("cuda"), config) is torch_engine.run
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(policies.importlib.util, "find_spec", lambda name: None)  # Triton is not installed
    assert policies.engine_of(root_on("cuda"), config) is torch_engine.run


def test_what_it_cannot_do_is_refused(monkeypatch):
    model = random_model(36, 3, 1, 0.0, 1.0)
    root = model.root(2, 1.0, 36)
    with pytest.raises(ValueError, match="needs a CUDA device, the root is on cpu"):
        search.muzero(root, model.step, 3, engine=triton_engine.run)
    with pytest.raises(ValueError, match="CapturedSearch needs a CUDA device, the root is on cpu"):
        captured.CapturedSearch(root, model.step, 3, GumbelConfig())
    with pytest.raises(ValueError, match="waves is only there on the CPU"):
        search.gumbel_muzero(root, model.step, 3, GumbelConfig(waves=True), engine=ENGINE)
    monkeypatch.setattr(triton_engine, "_LARGEST", 2)
    with pytest.raises(ValueError, match="at most 2 actions, found 3"):
        search.muzero(root, model.step, 2, engine=ENGINE)


def test_the_largest_link_holds():
    """20 bits each for action, slot and child, in a positive int64, in the order of actions."""
    bits = int(triton_kernels.FIELD_BITS)
    largest = triton_engine._LARGEST
    link = (largest << 2 * bits) | (largest << bits) | largest
    assert largest == int(triton_kernels.FIELD)
    assert link < int(triton_kernels.NO_LINK) < 2**63
    assert (1 << 2 * bits) > (largest << bits) | largest


@pytest.mark.parametrize(("actions", "players", "simulations"), [(3, 1, 5), (18, 4, 30), (40, 2, 7)])
def test_the_memory_formula_is_what_is_allocated(actions, players, simulations):
    model = random_model(37, actions, players, 0.0, 1.0)
    root = model.root(7, 1.0, 37)
    plan = policies.plan_puct(root, simulations, PUCTConfig())
    store = triton_engine._allocate(plan, root)
    a_row = (store.root_keys, store.rows, store.ends)  # once a tree, not once a node
    found = sum(x.numel() * x.element_size() for x in store if not any(x is y for y in a_row))
    found += 4 * 7 * (simulations + 1) * actions  # Tree.child
    assert found == triton_engine.bytes_needed(7, actions, players, simulations, 4)


# --- Captured searches, as far as the CPU goes ---


def test_a_prepared_search_sees_the_root_that_is_loaded(policy):
    run, config = policy
    model = random_model(38, 4, 2, 0.2, 1.0)
    first, second = model.root(3, 0.8, 1), model.root(3, 0.8, 2)
    static = Root(*(x if x is None else x.clone() for x in first))
    again = captured.prepare(static, model.step, 8, config())
    for root in (first, second, first):
        captured.load_(static, root)
        assert_equal(again(), run(root, model.step, 8, config()), tolerance=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: root._replace(seed=root.seed[:2]), r"Root.seed was \[3\] torch.int64 on cpu .*found \[2\]"),
        (lambda root: root._replace(value=root.value.double()), "Root.value was .*float32.* found .*float64"),
        (lambda root: root._replace(exists=root.legal), r"Root.exists was None .*found \[3, 4\] torch.bool"),
        (lambda root: root._replace(value_scale=None), "Root.value_scale was .* found None"),
    ],
)
def test_a_root_that_does_not_fit_a_captured_search(change, message):
    root = random_model(39, 4, 2, 0.2, 1.0).root(3, 0.8, 1)
    with pytest.raises(ValueError, match=message):
        captured.load_(root, change(root))


# --- On a GPU ---


def on_cuda(seed, actions, players, chance=0.0):
    model = random_model(seed, actions, players, 0.2, 0.8, chance)
    return dataclasses.replace(
        model, **{name: x.cuda() for name, x in vars(model).items() if isinstance(x, torch.Tensor)}
    )


def cuda_root(seed, actions, players, rows):
    return to("cuda", random_model(seed, actions, players, 0.2, 0.8).root(rows, 0.8, seed))


@pytest.mark.gpu
@pytest.mark.parametrize("unit", [NodeRange(), TreeRange(), RowScale(), FixedRange(-2.0, 3.0)])
@pytest.mark.parametrize(("actions", "players", "chance"), [(5, 2, 0.0), (82, 1, 0.0), (700, 2, 0.3), (2000, 1, 0.0)])
def test_on_the_gpu_it_equals_the_cpu_engine(policy, unit, actions, players, chance):
    """Rounding decides near ties differently now and then, in a row of its own."""
    run, config = policy
    options = {"unit": unit} if config is GumbelConfig else {"unit": unit, "unvisited": Unvisited.NODE}
    model = random_model(40, actions, players, 0.2, 0.8, chance)
    root = model.root(64, 0.8, 40)
    expected = run(root, model.step, 40, config(**options))
    there = on_cuda(40, actions, players, chance)
    found = to("cpu", run(to("cuda", root), there.step, 40, config(**options)))
    same = (found.tree.child == expected.tree.child).flatten(1).all(dim=1)
    assert same.float().mean() > 0.9
    torch.testing.assert_close(found.tree.value[same], expected.tree.value[same], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.policy_target[same], expected.policy_target[same], atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
def test_on_the_gpu_a_captured_search_equals_the_plain_one(policy):
    run, config = policy
    model = on_cuda(41, 9, 2)
    searched = search.CapturedSearch(cuda_root(41, 9, 2, 32), model.step, 24, config())
    for seed in (41, 42, 43):
        root = cuda_root(seed, 9, 2, 32)
        plain, replayed = run(root, model.step, 24, config()), searched(root)
        assert_equal(replayed, plain, tolerance=0)


@pytest.mark.gpu
def test_on_the_gpu_nothing_waits_for_the_host_and_each_simulation_is_one_call(policy):
    run, config = policy
    model, root, calls = on_cuda(44, 9, 2), cuda_root(44, 9, 2, 32), []

    def counted(embedding, action):
        calls.append(embedding.shape)
        return model.step(embedding, action)

    run(root, model.step, 24, config(), check=False)  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(root, counted, 24, config(), check=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert calls == [(32, 1)] * 24


@pytest.mark.gpu
def test_on_the_gpu_the_same_search_twice_is_the_same_to_the_bit(policy):
    run, config = policy
    model, root = on_cuda(45, 18, 2), cuda_root(45, 18, 2, 500)
    first, second = (run(root, model.step, 40, config(unit=TreeRange())) for _ in range(2))
    assert_equal(first, second, tolerance=0)
