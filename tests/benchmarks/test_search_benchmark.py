"""benchmarks/search.py: its rows, its checks and its verdicts; our own side end to end. The peers need environments of
their own and are not tested here."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search_report
from gurgeh.bench_problem import Row, actions_of, evaluate, make_arrays

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark():
    """benchmarks/search.py as a module. It sets sys.path[0]; the test's is put back."""
    before = list(sys.path)
    from benchmarks import search

    sys.path[:] = before
    return search


def entrant(*seconds, once=False, **first):
    return {"first": {"seconds": seconds[0], "memory": 2**20, "compile": 0.0, **first}, "times": list(seconds),
            "once": once}  # fmt: skip


def record(name, policy, ours, bare, mctx, lightzero=None, **sizes):
    """A row of 10 x 10 simulations whose times were planted."""
    facts = {"evaluations": 10, "visits_agree": True, "depth": 3.0}
    entrants = {
        "ours search slow": entrant(*(9 * one for one in ours), **facts, calls=10),
        "ours search fast": entrant(*ours, **facts),
        "ours bare fast": entrant(*bare),
        "mctx search": entrant(*mctx, once=len(mctx) == 1, **facts),
        "mctx bare": entrant(*(2 * one for one in bare)),
    }
    if lightzero is not None:
        entrants["lightzero search"] = entrant(*lightzero, **facts, calls=10)
    row = dataclasses.replace(Row(16, 10, 9, 64, 128, name=name), **sizes)
    return {"row": dataclasses.asdict(row), "policy": policy, "entrants": entrants, "failures": {}, "difference": 0.0}


def test_a_line_has_the_medians_of_the_pairs():
    one = search_report.line(record("t1", "puct", [1.0, 2.0, 4.0], [0.5, 0.5, 4.0], [10.0, 2.0, 12.0], [8.0, 8.0, 8.0]))
    assert one.model == "fast"
    assert one.ours == 160 / 2.0
    assert one.floor_name == "ours fast"
    assert one.over_floor == 2.0  # of 2, 4 and 1
    assert one.gains["mctx"] == 3.0  # of 10, 1 and 3, where the medians' quotient is 5
    assert one.gains["lightzero"] == 4.0  # of 8, 4 and 2
    once = search_report.line(record("t1", "puct", [1.0, 2.0, 4.0], [0.5, 0.5, 4.0], [30.0]))
    assert once.gains == {"mctx": 15.0, "lightzero": None}
    assert "mctx" in once.once


def test_targets_are_met_or_missed_with_their_numbers():
    records = [
        record("t1", "gumbel", [1.0], [0.6], [4.0], [10.0]),
        record("t2", "gumbel", [1.0], [0.4], [9.0], [1.5]),
        record("t3", "puct", [1.0], [0.9], [0.9], [8.0], width=256),
        record("a4672", "puct", [1.0], [0.9], [1e6], [1e6], width=256),
    ]
    found = {target: (met, text) for target, met, text in search_report.verdicts(
        [search_report.line(one) for one in records], "cpu")}  # fmt: skip
    met, text = found["D < 256: at most 2 times the bare network"]
    assert not met
    assert "missed in t2 gumbel 2.50" in text
    assert found["D >= 256: at most 1.25 times the bare network"][0]
    assert not found["slower than mctx in no row"][0]
    met, text = found["gumbel: 3.5 times mctx in the geometric mean"]
    assert met
    assert text.startswith("6.00")  # sqrt(4 * 9)
    met, text = found["puct: 8 times mctx in the geometric mean"]
    assert not met  # a row far out does not make up for the table's
    assert text.startswith("0.90 over 1 rows of the table; 948.68 over 2 rows")
    assert not found["2 times LightZero in every row with B >= 16"][0]
    assert found["4 times LightZero in the geometric mean (rows with B >= 16)"][0]  # cube root of 120


def test_targets_without_a_row_are_not_met():
    assert {met for _, met, _ in search_report.verdicts([], "cpu")} == {None}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.35e3, "0.35 k"), (9.4e3, "9.40 k"), (57.8e3, "57.8 k"), (143e3, "143 k"), (1.26e6, "1.26 M")],
)
def test_speeds_have_three_digits(value, text):
    assert search_report.speed(value) == text


def test_a_side_that_did_less_is_found_out(benchmark):
    fine = record("t1", "puct", [1.0], [0.5], [2.0])
    benchmark.check(fine)
    for change in ({"evaluations": 9}, {"calls": 11}, {"visits_agree": False}):
        wrong = record("t1", "puct", [1.0], [0.5], [2.0])
        wrong["entrants"]["mctx search"]["first"].update(change)
        with pytest.raises(AssertionError, match="mctx search"):
            benchmark.check(wrong)


def test_a_side_with_another_network_is_found_out(benchmark, tmp_path):
    row = Row(2, 3, 4, 5, 6)
    arrays = make_arrays(row)
    after, head = evaluate(arrays, actions_of(row)[0])
    answer = {"embedding": after, "logits": head[:, :4], "value": head[:, 4], "reward": head[:, 5]}
    contest = benchmark.Contest(None, tmp_path)
    np.savez(tmp_path / "mctx.npz", **answer)
    assert contest._compare("mctx", (after, head)) == 0
    np.savez(tmp_path / "mctx.npz", **answer | {"reward": head[:, 5] + 1e-3})
    with pytest.raises(AssertionError, match="the network of mctx"):
        contest._compare("mctx", (after, head))


def test_a_side_without_a_time_is_said(benchmark):
    lost = record("t1", "puct", [1.0], [0.5], [2.0])
    del lost["entrants"]["mctx search"]
    lost["failures"] = {"mctx": "no answer within 240 s"}
    assert search_report.progress(lost).endswith("mctx failed: no answer within 240 s")
    lost["failures"] = {"ours": "ended with exit code -6"}
    assert search_report.progress(lost).endswith("ours failed: ended with exit code -6")
    assert search_report.verdicts([search_report.line(record("t1", "puct", [1.0], [0.5], [2.0]))], "cpu")[5].met is None


def test_a_worker_that_dies_is_a_failure_with_its_last_words(benchmark, tmp_path):
    from benchmarks.peers.client import Worker, WorkerError

    (tmp_path / "python").write_text("#!/bin/sh\necho 'no module named jax' >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    worker = Worker("mctx", tmp_path / "python", 1, "cpu")
    with pytest.raises(WorkerError, match="exit code 3: no module named jax"):
        worker.ask({"do": "hello"}, timeout=30)
    assert not worker.alive
    worker.close()
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 60\n")
    worker = Worker("mctx", tmp_path / "python", 1, "cpu")
    with pytest.raises(WorkerError, match=r"no answer within 0 s"):
        worker.ask({"do": "hello"}, timeout=0.2)
    assert not worker.alive


def test_rows_by_name_group_and_size(benchmark):
    rows = benchmark.parse(["--peers", "none", "--rows", "table,a4672,2/3/4/5/6"]).rows
    assert [row.name for row in rows[:6]] == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert (rows[6].actions, rows[6].batch) == (4672, 32)
    assert (rows[7].batch, rows[7].simulations, rows[7].actions, rows[7].width, rows[7].hidden) == (2, 3, 4, 5, 6)
    assert tuple(row.name for row in benchmark.TABLE) == search_report.OWN_ROWS
    assert {row.actions for row in benchmark.STRETCH} >= {18, 82, 362, 4672}
    assert {row.batch for row in benchmark.STRETCH} >= {256, 1024, 4096}
    assert {row.simulations for row in benchmark.STRETCH} >= {100, 400, 800}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "t9", "--peers", "none"], "unknown 't9'"),
        (["--rows", "1/2/3", "--peers", "none"], "unknown '1/2/3'"),
        (["--policies", "alphazero", "--peers", "none"], "unknown 'alphazero'"),
        (["--repeats", "0", "--peers", "none"], "at least 1"),
        (["--venvs", "/nonexistent"], "run with --setup"),
        (["--peers", "none", "--out", "/nonexistent/a.md"], "there is no folder"),
    ],
)
def test_bad_options_say_what_to_do(words, message, benchmark, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark.parse(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_our_side_end_to_end(tmp_path):
    command = [sys.executable, "benchmarks/search.py", "--peers", "none", "--rows", "3/4/5/8/8", "--repeats", "1",
               "--threads", "1", "--quick", "--out", str(tmp_path / "result.md")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "result.md").read_text()
    assert text.count("| 3/4/5/8/8 | 3, 4, 5, 8, 8 |") == 2
    assert "--peers none" in text
    assert "search native" in text
