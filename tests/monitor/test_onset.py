"""The onset of sharing: rows of checkpoints, pillars, suspension, restart; re-reading gives the same."""

import json

import pytest

from monitor import MonitorConfig
from monitor.events import EventFold, regenerate
from monitor.ledger import entry
from monitor.pairs import PILLARS
from monitor.records import SHARING, validate

MEASURES = {"probe": [50, 63, 79, 100, 126, 158], "ablation": [50, 89, 158, 281]}


def start(*games):
    records = []
    for update, game in games:
        if not records:
            after = {"config": MonitorConfig().__dict__, "versions": {"code": "1", "config": "c"}}
            records.append(entry("start", update, 0, None, None, after, ""))
        records.append(entry("game_added", update, 0, game, None, None, ""))
    return [{"run": "toy", "seed": 1, "seq": 0} | record for record in records]


def shared(update, measure, low, pair=("a", "b"), occasion="checkpoint", index=True, latest="b"):
    over = None if low is None else {"value": low + 0.1, "low": low, "high": low + 0.2, "null": "random network"}
    record = {
        "schema": SHARING, "run": "toy", "seed": 1, "seq": 0, "update": update, "env_steps": 0, "game": pair[0],
        "other_game": pair[1], "relation": "none", "occasion": occasion, "positions": 256, "since": update,
        "latest": latest, "since_latest": update, "frozen_sets": ["x", "y"], "family": 3, "measure": measure,
        "pillar": PILLARS[measure], "value": 0.5, "ci95": [0.4, 0.6], "nulls": {}, "excess": over, "ceiling": None,
        "index": {"value": 0.6, "low": 0.4, "high": 0.8} if index and over else None,
        "refused": None if over else "too few", "details": {},
    }  # fmt: skip
    validate(record)
    return record


def run(lows, **how):
    """Events of one pair whose measures have the given lower ends at their checkpoints."""
    records = [
        shared(update, measure, low, **how)
        for measure, values in lows.items()
        for update, low in zip(MEASURES.get(measure, MEASURES["probe"]), values)
    ]
    records = start((0, "a"), (0, "b")) + sorted(records, key=lambda record: record["update"])
    return regenerate(records)


def test_two_pillars_three_in_a_row_make_an_onset_at_the_younger_rows_first():
    (event,) = run({"probe": [-1, 0.1, 0.1, 0.1, 0.1, 0.1], "ablation": [-1, 0.2, 0.2, 0.2]})
    validate(event)
    assert (event["type"], event["status"], event["game"], event["other_game"], event["trigger"]) == (
        "sharing_onset", "confirmed", "a", "b", "add:b",
    )  # fmt: skip
    assert event["step"] == 89
    assert event["step_ci95"] == [50, 89]
    assert event["evidence"]["geometry"]["since"] == 63
    assert event["evidence"]["cause"]["measure"] == "ablation"
    assert event["evidence"]["behaviour"] is None
    assert (event["effect"]["name"], event["effect"]["value"]) == ("index_probe", 0.6)  # the weaker one
    assert event["versions"]["validation_set"] == ["x", "y"]


@pytest.mark.parametrize(
    "lows",
    [
        {"probe": [0.1] * 6},  # geometry alone
        {"probe": [0.1] * 6, "subspace": [0.1] * 6},  # one pillar twice
        {"probe": [0.1] * 6, "gradient": [0.1] * 6, "cka": [0.1] * 6},  # what decides nothing
        {"probe": [0.1] * 6, "ablation": [0.2, 0.2, -0.1, 0.2]},  # two in a row
        {"probe": [0.1] * 6, "ablation": [0.2, 0.2, None, 0.2]},  # refused: not known to hold
        {"probe": [0.1] * 6, "ablation": [0.0] * 4},  # above 0, not at it
        {"probe": [0.1, 0.1, -1, 0.1, 0.1, -1], "ablation": [0.2] * 4},
    ],
)
def test_less_is_no_onset(lows):
    assert run(lows) == []


def test_cause_and_behaviour_need_no_geometry():
    (event,) = run({"transfer": [0.1] * 6, "tag": [0.1] * 6})
    assert event["evidence"]["geometry"] is None
    assert event["step"] == 50


def test_without_a_twin_the_excess_is_reported():
    (event,) = run({"probe": [0.1] * 6, "ablation": [0.2] * 4}, index=False)
    assert event["effect"]["name"] == "excess_probe"
    assert event["effect"]["value"] == pytest.approx(0.2)


def test_introductions_and_the_end_are_no_checkpoints():
    assert run({"probe": [0.1] * 6, "ablation": [0.2] * 4}, occasion="end") == []


def test_pairs_are_apart():
    records = start((0, "a"), (0, "b"))
    records += [shared(update, "probe", 0.1) for update in MEASURES["probe"]]
    records += [shared(update, "ablation", 0.1, pair=("a", "c")) for update in MEASURES["ablation"]]
    assert regenerate(records) == []


def test_an_introduction_breaks_the_rows():
    held = [(update, measure) for measure, updates in MEASURES.items() for update in updates[:2]]
    before = [shared(update, measure, 0.1) for update, measure in sorted(held)]
    added = start((0, "a"), (200, "c"))[-1:]
    after = [shared(250, "probe", 0.1, latest="c"), shared(250, "ablation", 0.1, latest="c")]
    again = [shared(update, measure, 0.1, latest="c") for update in (263, 279) for measure in ("probe", "ablation")]
    beginning = start((0, "a"), (0, "b"))
    assert regenerate(beginning + before + after)[0]["step"] == 50
    assert regenerate(beginning + before + added + after) == []
    (event,) = regenerate(beginning + before + added + after + again)
    assert (event["step"], event["trigger"]) == (250, "add:c")


def health(update, rank):
    return {
        "schema": "monitor.health/1", "run": "toy", "seed": 1, "seq": 0, "update": update, "env_steps": 0, "game": "a",
        "occasion": "introduction" if update == 0 else "checkpoint", "subset": "medium", "positions": 256,
        "since": update + 1, "latest": "b", "since_latest": update, "frozen_set": "x", "effective_rank": rank,
        "effective_rank_centred": rank, "dormant": 0.0, "layers": {}, "latent_norm": 1.0,
    }  # fmt: skip


def test_a_collapsed_rank_suspends_the_claim_until_it_is_back():
    records = [*start((0, "a"), (0, "b")), health(0, 10.0)]
    collapse = [health(70, 5.0)]
    held = [shared(update, measure, 0.1) for measure, updates in MEASURES.items() for update in updates]
    held.sort(key=lambda record: record["update"])
    found = regenerate(records + collapse + held)
    assert [(event["type"], event["status"]) for event in found] == [
        ("health", "confirmed"), ("sharing_onset", "suspended"),
    ]  # fmt: skip
    back = [health(300, 9.5), shared(316, "probe", 0.1), shared(398, "probe", 0.1)]
    again = regenerate(records + collapse + held + back)
    assert [event["status"] for event in again[1:]] == ["suspended", "confirmed"]
    assert again[1]["id"] == again[2]["id"]


def test_a_fold_that_was_saved_goes_on_the_same_way():
    records = start((0, "a"), (0, "b"))
    records += sorted(
        (shared(update, measure, 0.1) for measure, updates in MEASURES.items() for update in updates),
        key=lambda record: record["update"],
    )
    whole = regenerate(records)
    assert len(whole) == 1
    for cut in range(len(records)):
        first = EventFold()
        events = [event for record in records[:cut] for event in first.take(record)]
        second = EventFold()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        events += [event for record in records[cut:] for event in second.take(record)]
        assert events == whole
