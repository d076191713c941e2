"""The Connect Four benchmark: measures each thing once, survives a kill, rates what it counted."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark():
    kept = list(sys.path)
    spec = importlib.util.spec_from_file_location("connect_four_benchmark", ROOT / "benchmarks" / "connect_four.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = kept
    return module


@pytest.fixture(autouse=True)
def threads():
    """The benchmark sets torch's threads; the next test gets back what it had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def line(player, level, points, **about):
    """A match against OpenSpiel's search as the results hold it."""
    total = 2 * len(points)
    won = int(sum(points))
    share = {"mean": won / total, "low": 0.0, "high": 1.0}
    result = {"against": f"openspiel-mcts:{level}", "openings": len(points), "points": points, "episodes": total,
              "win": {"count": won}, "draw": {"count": 0}, "loss": {"count": total - won}, "score": share}  # fmt: skip
    return {"schema": "connect_four/1", "player": player, **about, "measure": f"openspiel-mcts:{level}, x openings",
            "seed": 0, "sha256": "x", "result": result}  # fmt: skip


def test_measures_once_and_survives_a_kill(benchmark, tmp_path, capsys):
    results = tmp_path / "results" / "c4.jsonl"
    command = ["--player", "random", "--player", "tactician1", "--games", "4", "--mcts", ",", "--no-solver",
               "--threads", "1", "--results", str(results)]  # fmt: skip
    assert benchmark.main(command) == 0
    first = results.read_text()
    assert [(json.loads(row)["player"], json.loads(row)["measure"]) for row in first.splitlines()] == [
        ("random", "quiet"), ("random", "positions"), ("random", "tactician2, 4 games"),
        ("tactician1", "quiet"), ("tactician1", "positions"), ("tactician1", "tactician2, 4 games"),
    ]  # fmt: skip
    assert "% optimal" in capsys.readouterr().out
    results.write_text(first[:-30])  # killed in the last line
    assert benchmark.main(command) == 0
    again = results.read_text().splitlines()
    assert again[:5] == first.splitlines()[:5]
    assert len(again) == 6
    assert json.loads(again[5])["result"] == json.loads(first.splitlines()[5])["result"]
    assert capsys.readouterr().out.count("tactician2, 4 games") == 1  # the one that was cut
    written = next(results.parent.glob("*-connect-four.md")).read_text()
    assert "| random |" in written
    assert "no games against OpenSpiel's search yet" in written
    assert not list(results.parent.glob("*.png"))  # no run, no curve


def test_ratings_of_one_pairing_are_the_logistic_difference(benchmark):
    points = [2, 2, 1, 1] * 10  # three quarters
    elo, openings, anchor = benchmark.ratings([line("agent@5", 1000, points, simulations=64)])
    middle, low, high = elo["agent@5, 64 simulations"]
    assert (openings, anchor) == (40, "openspiel-mcts:1000")
    assert middle == pytest.approx(400 * math.log10(3), abs=0.1)
    assert low < middle < high
    assert elo["openspiel-mcts:1000"][0] == pytest.approx(0.0, abs=1e-9)


def test_ratings_leave_out_who_never_met_the_anchor(benchmark):
    lines = [line("near", 1000, [1, 2, 0, 2]), line("far", 100, [1, 1, 2, 0])]
    assert "far" not in benchmark.ratings(lines)[0]
    lines.append(line("near", 100, [1, 2, 1, 2]))
    assert "far" in benchmark.ratings(lines)[0]
    elo, openings, anchor = benchmark.ratings([line("far", 100, [1, 1])])
    assert (openings, anchor) == (2, "openspiel-mcts:100")
    assert elo["far"][0] == pytest.approx(0.0, abs=1e-6)  # all drawn


def test_the_curve_is_drawn_from_the_lines(benchmark, tmp_path):
    band = {"positions": 10, "optimal": 0.5, "strongest": 0.4, "regret": 0.1, "random": 0.3, "raw": {"optimal": 0.4}}
    lines = []
    for step, share in ((100, 0.5), (200, 0.75)):
        about = {"run": "c4", "step": step, "seconds": 60.0 * step, "env_steps": 9 * step, "weights": str(step),
                 "simulations": 64, "rules": False}  # fmt: skip
        part = {**band, "optimal": share}
        result = {"all": part, "decisive": part, "bands": [{"ply": list(ply), **part} for ply in benchmark.BANDS]}
        lines.append({"schema": "connect_four/1", "player": f"c4@{step}", **about, "measure": "quiet",
                      "seed": 0, "sha256": "x", "result": result})  # fmt: skip
        lines.append(line(f"c4@{step}", 1000, [1, 2, 0, 2], **about))
    assert benchmark.draw(lines, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    text = benchmark.report(lines, "figure.png")
    rows = [row for row in text.splitlines() if row.startswith("| c4@")]
    assert rows[0].startswith("| c4@100, 64 simulations | 6000 | 900 | 50.0 | 40.0 | 40.0 | 0.100 | - | - |")
    assert rows[1].startswith("| c4@200, 64 simulations | 12000 | 1800 | 75.0 |")
    assert np.isfinite(benchmark.ratings(lines)[0]["c4@200, 64 simulations"][0])


@pytest.mark.parametrize(("command", "message"), [
    (["--player", "nobody"], "not a built-in player"),
    (["--run", "nowhere"], "nowhere does not exist"),
    ([], "nothing was measured yet"),
])  # fmt: skip
def test_wrong_use_is_one_line(benchmark, tmp_path, capsys, command, message):
    assert benchmark.main([*command, "--threads", "1", "--results", str(tmp_path / "r.jsonl")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
