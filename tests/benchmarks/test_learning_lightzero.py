"""benchmarks/learning_lightzero.py: what is read from both sides' logs, and the ratios. LightZero itself needs an
environment of its own and is not run here."""

import os
import subprocess
import sys
import time

from benchmarks import learning_lightzero as side_by_side

LOG = [
    {"kind": "start", "seconds": 9.0, "evaluating": 0.0},
    {"kind": "evaluation", "seconds": 10.0, "evaluating": 1.0, "train_iter": 0, "env_steps": 0, "returns": [9.0],
     "stop": False},
    {"kind": "collect", "seconds": 20.0, "evaluating": 1.0, "train_iter": 100, "env_steps": 160},
    {"kind": "evaluation", "seconds": 33.0, "evaluating": 3.0, "train_iter": 200, "env_steps": 400,
     "returns": [200.0, 200.0], "stop": True},
    {"kind": "end", "seconds": 34.0, "evaluating": 3.0},
]  # fmt: skip


def test_lightzero_counts_to_the_evaluation_that_stopped_it():
    found = side_by_side.lightzero_result(LOG, capped=False)
    assert (found["status"], found["gross"], found["net"]) == ("met", 33.0, 30.0)
    assert (found["env_steps"], found["updates"]) == (400, 200)
    assert found["curve"] == [[0, 0, 9.0], [200, 400, 200.0]]
    capped = side_by_side.lightzero_result(LOG[:3], capped=True)
    assert (capped["status"], capped["gross"], capped["env_steps"]) == ("capped", 20.0, 160)
    assert side_by_side.lightzero_result(LOG[:1], capped=False)["status"] == "failed"
    assert side_by_side.lightzero_result([], capped=False)["net"] is None


def timed(*updates):
    return [{"update": n, "env_steps": 64 * n, "time": {"seconds": float(n), "evaluating": 0.1 * n}} for n in updates]


def test_ours_must_meet_the_rule_twice_running():
    judged = [(0, 1.0, True), (25, 1.0, True), (50, 0.8, False), (75, 1.0, True), (100, 1.0, True)]
    found = side_by_side.our_result(judged, timed(25, 50, 75, 100, 125), 5.0, failed=False, capped=False)
    assert (found["status"], found["gross"], found["net"]) == ("met", 105.0, 95.0)
    assert (found["updates"], found["env_steps"]) == (100, 6400)
    between = side_by_side.our_result(judged, timed(60, 110, 125), 5.0, failed=False, capped=False)
    assert between["updates"] == 110  # the next line of the log
    once = side_by_side.our_result(judged[:4], timed(25, 50, 75), 5.0, failed=False, capped=True)
    assert (once["status"], once["updates"]) == ("capped", 75)
    assert side_by_side.our_result([], [], 5.0, failed=True, capped=False)["status"] == "failed"


def one(game, side, status="met", **numbers):
    return {"game": game, "side": side, "status": status, "gross": 10.0, "net": 10.0, "env_steps": 100, "updates": 10,
            "peak_mib": 100.0} | numbers  # fmt: skip


def test_ratios_are_of_medians_and_missed_rules_are_said():
    records = [one("cartpole", "ours", gross=gross) for gross in (10.0, 20.0, 90.0)]
    records += [one("cartpole", "lightzero", gross=300.0, env_steps=50)]
    (line,) = side_by_side.verdicts(records)
    assert "took 15.0 times our wall-clock" in line
    assert "target 10: met" in line
    assert "0.50 times our environment steps (target 1: **missed**)" in line
    (line,) = side_by_side.verdicts([one("t", "ours"), one("t", "lightzero", "capped", gross=1500.0)])
    assert "at least 150.0 times" in line
    (line,) = side_by_side.verdicts([one("t", "ours", "capped"), one("t", "lightzero")])
    assert "ours missed the rule in 1 of 1 runs" in line
    assert "LightZero failed" in side_by_side.verdicts([one("t", "ours"), one("t", "lightzero", "failed")])[0]
    assert side_by_side.verdicts([one("t", "ours")]) == []


def test_a_side_is_ended_with_all_its_processes_and_its_memory_is_seen(tmp_path):
    program = (
        "import subprocess, sys, time; held = bytearray(100 << 20); "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(child.pid, flush=True); time.sleep(60)"
    )
    began = time.monotonic()
    used = side_by_side.run([sys.executable, "-c", program], tmp_path, 6.0, dict(os.environ))
    assert used["capped"]
    assert time.monotonic() - began < 40
    assert used["peak_mib"] > 100
    state = subprocess.run(["ps", "-o", "stat=", "-p", used["tail"][0]], capture_output=True, text=True).stdout
    assert not state.strip() or state.startswith("Z")
