"""`gurgeh bench search` and what it measures with."""

import json
import time

import numpy as np
import pytest
import torch

from gurgeh import bench_problem, cli, search_bench, timing
from gurgeh.bench_problem import Row

ROW = Row(batch=3, simulations=6, actions=5, width=8, hidden=16)
CPU = torch.device("cpu")


def test_every_way_to_run_the_network_agrees_with_numpy():
    arrays = bench_problem.make_arrays(ROW)
    action = bench_problem.actions_of(ROW)[0]
    after, head = bench_problem.evaluate(arrays, action)
    models = {name: make(arrays, CPU) for name, make in search_bench.MODELS.items()}
    assert {"eager", "traced", "native"} == {name for name, model in models.items() if model is not None}
    for model in models.values():
        step = model.recurrent_fn(torch.from_numpy(arrays["embedding"]), torch.from_numpy(action))
        for found, expected in (
            (step.embedding, after), (step.prior_logits, head[:, :5]), (step.value, head[:, 5:6]),
            (step.reward, head[:, 6:]), (step.discount, np.full(3, 0.997)),
        ):  # fmt: skip
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_the_roots_are_what_the_head_says_of_their_embeddings():
    arrays = bench_problem.make_arrays(ROW)
    head = arrays["embedding"].astype(float) @ arrays["w3"] + arrays["b3"]
    np.testing.assert_allclose(arrays["prior_logits"], head[:, :5], atol=1e-5)
    np.testing.assert_allclose(arrays["value"], head[:, 5], atol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_priors_are_as_peaked_as_asked_and_activations_of_order_one(scale):
    row = Row(64, 1, 18, 128, 256, logit_scale=scale)
    after, head = bench_problem.evaluate(bench_problem.make_arrays(row), bench_problem.actions_of(row)[0])
    assert 0.4 < after.std() < 0.9
    assert 0.6 * scale < head[:, :18].std() < 1.6 * scale


@pytest.mark.parametrize("policy", search_bench.POLICIES)
@pytest.mark.parametrize("model", search_bench.MODELS)
def test_a_search_makes_as_many_evaluations_as_asked(policy, model):
    arrays = bench_problem.make_arrays(ROW)
    run = search_bench.Search(ROW, policy, arrays, search_bench.MODELS[model](arrays, CPU), CPU)
    run()
    tree = run.result.tree
    facts = bench_problem.tree_facts(tree.parent.numpy(), run.result.visits.numpy(), ROW.simulations)
    assert facts["evaluations"] == 6
    assert facts["visits_agree"]
    assert 1 <= facts["depth"] <= 6
    assert run.count_calls() == (None if model == "native" else 6)


def test_the_bare_native_network_goes_on_from_its_own_embeddings():
    arrays = bench_problem.make_arrays(ROW)
    model = search_bench.native(arrays, CPU)
    embedding = torch.from_numpy(arrays["embedding"])
    actions = list(torch.from_numpy(bench_problem.actions_of(ROW)).unbind(0))
    expected = embedding
    for action in actions:
        expected = model.recurrent_fn(expected, action).embedding
    torch.testing.assert_close(model.bare(embedding, actions), expected)


def test_tree_facts_of_a_tree_by_hand():
    # Row 0: a chain of three; row 1: two children of the root, then a node that was never made.
    parent = np.array([[-1, 0, 1, 2], [-1, 0, 0, -1]])
    facts = bench_problem.tree_facts(parent, np.array([[3, 0], [1, 1]]), simulations=3)
    assert facts == {"evaluations": 2, "visits_agree": False, "depth": pytest.approx((1 + 2 + 3 + 1 + 1) / 5)}


def test_time_calls_is_the_time_of_one_call():
    assert 0.004 < timing.time_calls(lambda: time.sleep(0.005), at_least=0.03) < 0.02


def test_peak_growth_sees_memory_that_is_gone_after_the_call():
    def planted() -> None:
        np.ones(64 * 2**20, np.uint8)

    seconds, grown = timing.peak_growth(planted)
    if grown is None:
        pytest.skip("this system does not tell the peak")
    assert 60 * 2**20 < grown < 80 * 2**20
    assert seconds > 0
    assert timing.peak_growth(lambda: None)[1] < 4 * 2**20


def test_the_command_shows_every_combination(capsys):
    words = "bench search --batch 1 2 --simulations 3 --actions 4 --width 8 --hidden 8 --policy puct --repeats 1"
    assert cli.main([*words.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["row"]["batch"] for row in found["rows"]] == [1, 2]
    for row in found["rows"]:
        assert set(row["searches"]) == set(row["bare"]) == {"eager", "traced", "native"}
        assert all(speed > 0 for speed in (*row["searches"].values(), *row["bare"].values()))
    assert cli.main(words.split()) == 0
    table = capsys.readouterr().out
    assert "search/bare" in table
    assert len([line for line in table.splitlines() if line.startswith("puct")]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--batch 4 0", "--batch must be at least 1, found 0"),
        ("--repeats 0", "--repeats must be at least 1, found 0"),
        ("--threads 0", "--threads must be at least 1, found 0"),
        ("--policy gumble", "did you mean 'gumbel'"),
        ("--batch 100000000", "lower the batch"),
        ("--hidden many", "invalid int value"),
    ],
)
def test_bad_options_are_one_line(words, message, capsys):
    assert cli.main(["bench", "search", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_one_line(capsys):
    assert cli.main(["bench", "search", "--device", "cuda"]) == 2
    assert "finds no CUDA device" in capsys.readouterr().err
