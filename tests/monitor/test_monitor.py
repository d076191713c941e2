"""The monitor in a loop whose every loss is known: cadence, records, events, resume, re-reading."""

import json

import numpy as np
import pytest

from monitor import Measure, Monitor, MonitorConfig
from monitor.cadence import checkpoints
from monitor.events import regenerate
from monitor.records import EVENT, in_order, validate
from monitor.series import named_series

CONFIG = MonitorConfig(set_size=300, medium_size=120, small_size=30)
NUM = 300


class Loop:
    """A run of games "a" (from update 0) and "b" (from 1000); `a` is forgotten by 0.3 nat at 1200 in its policy."""

    def __init__(self, config=CONFIG, forget_at=1200, rank_at=10**9, changes=None):
        self.config, self.forget_at, self.rank_at, self.changes = config, forget_at, rank_at, changes or {}
        self.out = {"monitor": [], "ledger": [], "events": []}
        self.update = 0
        self.calls = []
        self.monitor = self.make()
        self.measure = Measure(self.losses, lambda game, size: np.arange(size) % 3, self.latents, self.activations)

    def make(self):
        versions = {"code": "0.1", "config": "abc"}
        return Monitor(self.config, lambda s, r: self.out[s].append(json.loads(json.dumps(r))), "toy", 1, versions)

    def losses(self, game, size):
        self.calls.append((self.update, game, size))
        base = np.linspace(0, 2, NUM)[:size]
        noise = 0.01 * np.random.default_rng(self.update).normal(size=NUM)[:size]
        forgotten = 0.3 if game == "a" and self.update >= self.forget_at else 0.0
        ended = np.where(np.arange(size) % 2 == 0, base, np.nan)
        return {"policy@0": base + forgotten + noise, "policy@1": ended, "reward@1": base, "reward@2": ended}

    def latents(self, game, size):
        scale = np.where(np.arange(8) < (2 if self.update >= self.rank_at else 8), 1.0, 0.0)
        return np.random.default_rng(7).normal(size=(NUM, 8))[:size] * scale

    def activations(self, game, size):
        return {"layer": np.abs(np.random.default_rng(8).normal(size=(size, 10)))}

    def run(self, last, interrupted_at=None):
        for update in range(self.update, last + 1):
            self.update = update
            if update in (0, 1000):
                self.monitor.introduce("ab"[update > 0], update, 10 * update, f"hash-{update}", "solver")
            settings = {"learning_rate": 1e-3, "batch_size": 64} | self.changes.get(update, {})
            if self.changes.get(update) is not None or update == 0:
                self.monitor.settings(update, 10 * update, **settings)
            self.monitor.observe(update, 10 * update, self.measure)
            if update == interrupted_at:
                saved = json.loads(json.dumps(self.monitor.state_dict(), sort_keys=True))
                self.monitor = self.make()
                self.monitor.load_state_dict(saved)
        self.monitor.finish(last, 10 * last, self.measure)
        return self

    def records(self, schema="monitor.loss/1", **fields):
        return [
            r for r in self.out["monitor"]
            if r["schema"] == schema and all(r[name] == value for name, value in fields.items())
        ]  # fmt: skip


@pytest.fixture(scope="module")
def loop():
    return Loop().run(3000)


def test_every_record_is_valid_and_numbered(loop):
    records = [record for stream in loop.out.values() for record in stream]
    for record in records:
        validate(record)
    ordered = in_order(loop.out["monitor"], loop.out["ledger"])
    assert [record["seq"] for record in ordered] == list(range(len(ordered)))


def test_measured_at_the_checkpoints_of_the_last_introduction_and_until_they_begin_of_the_own(loop):
    own = [s for s in checkpoints(3000, 50, 60) if s < 1050 and s != 1000]
    last = [1000 + s for s in checkpoints(2000, 50, 60)]
    measured = [r["update"] for r in loop.records(game="a", subset="small", occasion="checkpoint")]
    assert measured == own + last
    assert any(1000 < s < 1050 for s in own)
    # Also counted from its own introduction an old game is measured at least as often as its own checkpoints ask for.
    gaps = np.diff(np.log10([s for s in measured if s >= 1050]))
    assert gaps.max() <= 1 / 60 + 1e-3
    measured = [r["update"] for r in loop.records(game="b", subset="small", occasion="checkpoint")]
    assert measured == last
    sparse = [r["update"] for r in loop.records("monitor.health/1", game="b", occasion="checkpoint")]
    assert sparse == [1000 + s for s in checkpoints(2000, 50, 10)]


def test_full_sets_at_introductions_and_at_the_end(loop):
    full = [(r["update"], r["game"], r["occasion"], r["positions"]) for r in loop.records(subset="full")]
    assert full == [
        (0, "a", "introduction", 300), (1000, "a", "introduction", 300), (1000, "b", "introduction", 300),
        (3000, "a", "end", 300), (3000, "b", "end", 300),
    ]  # fmt: skip


def test_means_errors_and_strata_by_hand(loop):
    record = loop.records(subset="full", occasion="end", game="b")[0]
    base = np.linspace(0, 2, NUM)
    reward = record["losses"]["reward"]
    assert reward["mean"] == pytest.approx(1.0)
    assert reward["se"] == pytest.approx(base.std(ddof=1) / np.sqrt(NUM))
    assert reward["strata"]["middle"]["mean"] == pytest.approx(base[1::3].mean())
    assert reward["strata"]["middle"]["n"] == 100
    dynamics = record["losses"]["dynamics_1"]  # policy@1 on even positions only, reward@1 on all
    assert dynamics["mean"] == pytest.approx((base.sum() + base[::2].sum()) / NUM)
    assert record["losses"]["dynamics_2"]["n"] == NUM / 2
    assert (record["targets"], record["frozen_set"], record["since"], record["env_steps"]) == (
        "solver", "hash-1000", 2000, 30000,
    )  # fmt: skip


def test_the_planted_forgetting_is_found_once_at_its_step(loop):
    (event,) = loop.out["events"]
    grid = [1000 + s for s in checkpoints(2000, 50, 60)]
    assert event["step"] == next(u for u in grid if u >= 1200)
    assert (event["type"], event["status"], event["game"], event["other_game"], event["head"], event["trigger"]) == (
        "forgetting", "confirmed", "a", "b", "policy", "add:b",
    )  # fmt: skip
    assert event["effect"]["value"] == pytest.approx(0.3, abs=0.01)
    low, high = event["effect"]["ci95"]
    # Two independent noises of 0.01 on 30 positions: 1.96 * sqrt(2) * 0.01 / sqrt(30) = 0.0051 on either side
    assert (high - low) / 2 == pytest.approx(0.0051, rel=0.4)
    assert event["versions"] == {"code": "0.1", "config": "abc", "validation_set": "hash-0"}


def test_no_event_without_a_cause():
    assert Loop(forget_at=10**9).run(2500).out["events"] == []


@pytest.mark.parametrize("cut", [0, 999, 1000, 1060, 1250])
def test_a_resumed_run_emits_identical_records(loop, cut):
    assert Loop().run(3000, interrupted_at=cut).out == loop.out


def test_re_reading_the_logs_gives_the_same_events(loop):
    assert regenerate(in_order(loop.out["monitor"], loop.out["ledger"])) == loop.out["events"]
    assert len(loop.out["events"]) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({1195: {"learning_rate": 3e-3}}, "confounded"),
        ({1215: {"batch_size": 128}}, "confounded"),
        ({1100: {"learning_rate": 3e-3}}, "confirmed"),  # 0.3 decade away
        ({1195: {"learning_rate": 1.05e-3}}, "confirmed"),  # smooth
    ],
)
def test_a_ledger_entry_close_by_confounds(changes, status):
    loop = Loop(changes=changes).run(2000)
    assert [event["status"] for event in loop.out["events"]] == [status]
    assert bool(loop.out["events"][0]["confounders"]) == (status == "confounded")
    assert regenerate(in_order(loop.out["monitor"], loop.out["ledger"])) == loop.out["events"]


def test_collapse_of_rank_is_a_health_event_once_a_game():
    loop = Loop(forget_at=10**9, rank_at=1600).run(2500)
    events = loop.out["events"]
    assert [(e["type"], e["game"], e["effect"]["name"]) for e in events] == [
        ("health", "a", "effective_rank_ratio"), ("health", "b", "effective_rank_ratio"),
    ]  # fmt: skip
    assert events[0]["step"] == min(
        r["update"] for r in loop.records("monitor.health/1", game="a") if r["update"] >= 1600
    )
    assert events[0]["effect"]["value"] < 0.4


def test_warm_up_and_schedules_are_no_entries_and_jumps_are():
    loop = Loop()
    loop.monitor.introduce("a", 0, 0, "hash")
    for update in range(1, 1000):
        rate = 1e-3 * min(1, update / 300) * 0.5 * (1 + np.cos(np.pi * update / 1000))
        loop.monitor.settings(update, update, learning_rate=rate, simulations=16, sampling_weights={"a": 1.0})
    assert [r["kind"] for r in loop.out["ledger"]] == ["start", "game_added"]
    loop.monitor.settings(1000, 0, learning_rate=1e-3, simulations=32, sampling_weights={"a": 0.5, "b": 0.5})
    loop.monitor.settings(1001, 0, learning_rate=1e-3, simulations=32, sampling_weights={"a": 0.7, "b": 0.3})
    assert [r["kind"] for r in loop.out["ledger"][2:]] == ["learning_rate", "simulations", "sampling_weights"]
    assert loop.out["ledger"][3]["before"] == 16


def test_the_tail_of_a_schedule_is_smooth_also_after_a_resume():
    loop = Loop()
    loop.monitor.introduce("a", 0, 0, "hash")
    for update, rate in ((100, 1e-3), (101, 9.5e-4), (900, 9e-4), (990, 1.2e-4), (991, 5e-5)):
        loop.monitor.settings(update, 0, learning_rate=rate)
    before = len(loop.out["ledger"])
    saved = json.loads(json.dumps(loop.monitor.state_dict()))
    loop.monitor = loop.make()
    loop.monitor.load_state_dict(saved)
    loop.monitor.settings(992, 0, learning_rate=1e-5)
    assert len(loop.out["ledger"]) == before


def test_a_resume_is_noted_but_nothing_else_changes():
    plain, resumed = Loop().run(1300), Loop()
    resumed.monitor.ledger("resume", 0, 0)
    resumed.run(1300)
    assert resumed.out["monitor"] == plain.out["monitor"]
    assert resumed.out["events"] == plain.out["events"]
    (note,) = [r for r in resumed.out["ledger"] if r["kind"] == "resume"]
    assert note["confounder"] is False


def test_training_before_the_introduction_was_observed_is_refused():
    loop = Loop()
    loop.monitor.introduce("a", 0, 0, "hash")
    with pytest.raises(ValueError, match="right after introduce"):
        loop.monitor.observe(1, 10, loop.measure)
    loop.monitor.observe(0, 0, loop.measure)
    with pytest.raises(ValueError, match="already has 'a'"):
        loop.monitor.introduce("a", 5, 5, "hash")


def test_switched_off_it_does_nothing():
    loop = Loop(config=MonitorConfig(enabled=False)).run(200)
    assert loop.out == {"monitor": [], "ledger": [], "events": []}
    assert loop.calls == []


def test_a_diverged_network_is_recorded_as_unknown():
    loop = Loop()
    loop.losses = lambda game, size: {"policy@0": np.where(np.arange(size) < 5, np.inf, 1.0)}
    loop.measure = Measure(loop.losses, lambda game, size: np.arange(size) % 3)
    loop.monitor.introduce("a", 0, 0, "hash")
    loop.monitor.observe(0, 0, loop.measure)
    policy = loop.records(subset="small")[0]["losses"]["policy"]
    assert (policy["mean"], policy["n"]) == (1.0, 25)


def test_losses_of_another_form_are_refused():
    with pytest.raises(ValueError, match="HEAD@K"):
        named_series({"policy": np.ones(3)})
    with pytest.raises(ValueError, match=r"\[N\]"):
        named_series({"policy@0": np.ones(3), "value@0": np.ones(4)})
    with pytest.raises(ValueError, match="nested"):
        MonitorConfig(small_size=500)


def test_validation_finds_missing_unknown_and_wrong_fields(loop):
    event = loop.out["events"][0]
    assert event["schema"] == EVENT
    for broken in (
        {name: value for name, value in event.items() if name != "trigger"}, event | {"extra": 1},
        event | {"step": "5"}, event | {"status": "maybe"}, event | {"schema": "monitor.event/9"},
        event | {"step": True}, event | {"effect": {"value": float("nan")}},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"monitor\.event|unknown record schema"):
            validate(broken)
