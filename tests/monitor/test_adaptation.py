"""Adaptation: planted curves give their planted savings; claims need both comparisons; what is undefined is refused."""

import json

import numpy as np
import pytest
from planted_adaptation import BUDGET, FLOOR, START, adaptation_run, origin, study

from monitor.adaptation import Source, adaptations, estimate, points, shots
from monitor.meta_onset import faster_by_run, is_faster, meta_onsets
from monitor.records import AGGREGATE, MATRIX, TRANSFER, validate
from monitor.refusals import UndefinedError
from monitor.studies import nearest, studies, transfer_records


def of(records, schema, **fields):
    found = [r for r in records if r["schema"] == schema and all(r[key] == value for key, value in fields.items())]
    return found


def pretrained(records, update):
    return next(
        r for r in of(records, TRANSFER) if r["source"]["arm"] == "pretrained" and r["source"]["update"] == update
    )


def test_points_hold_the_shots_and_end_at_the_budget():
    assert shots(2000) == [2, 6, 20, 60, 200]
    assert points(2000)[0] == 0
    assert points(2000)[-1] == 2000
    assert set(shots(2000)) < set(points(2000))
    assert shots(200) == [1, 2, 6, 20]  # .1 % of 200 is none
    assert points(0) == []


def test_estimate_is_students_t():
    found = estimate([1.0, 2.0, 4.0])
    assert found["value"] == pytest.approx(7 / 3)
    half = 4.302652729911275 * np.std([1, 2, 4], ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom, from a table
    assert (found["low"], found["high"]) == (pytest.approx(7 / 3 - half), pytest.approx(7 / 3 + half))
    few = estimate([1.0, 2.0])
    assert few["value"] == 1.5
    assert few["low"] is None
    assert "2 seeds" in few["refused"]


def test_planted_savings_and_advantage_come_back():
    runs = adaptations(study(noise=0.0))
    record = pretrained(transfer_records(runs), 4000)
    validate(record)
    # The same start and floor, and the loss reaches a tenth of the way at tau ln 10: savings are 1 - tau / tau_scratch.
    assert record["against_scratch"]["savings"]["value"] == pytest.approx(1 - 0.05 / 0.15, abs=0.03)
    assert record["against_nearest"]["savings"]["value"] == pytest.approx(1 - 0.05 / 0.1, abs=0.04)
    at = np.array(shots(BUDGET)) / BUDGET
    planted = (START - FLOOR) * float(np.mean(np.exp(-at / 0.15) - np.exp(-at / 0.05)))
    assert record["against_scratch"]["advantage"]["value"] == pytest.approx(planted, rel=1e-5)
    assert record["against_scratch"]["advantage_share"]["value"] == pytest.approx(planted / (START - FLOOR), rel=0.01)
    assert record["against_scratch"]["jump_start"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert record["threshold"]["value"] == pytest.approx(FLOOR + 0.1 * (START - FLOOR), rel=0.02)
    # Area above knowing nothing: integral of 1 - exp(-u / tau) over the budget is 1 - tau to e^-6.
    assert record["against_scratch"]["area_ratio"]["value"] == pytest.approx((1 - 0.05) / (1 - 0.15) - 1, abs=0.02)
    assert [point["update"] for point in record["curve"] if point["shot"]] == [0, *shots(BUDGET)]
    assert record["nearest"]["games"] == ["tictactoe"]


def test_a_jump_start_is_seen_and_where_it_is_not_defined_refused():
    runs = [adaptation_run("scratch", seed) for seed in range(3)]
    runs += [adaptation_run("pretrained", seed, start=0.7, source=origin()) for seed in range(3)]
    (record, *_) = transfer_records(adaptations(runs))
    assert record["against_scratch"]["jump_start"]["value"] == pytest.approx(START - 0.7)
    undefined = [adaptation_run("pretrained", seed, source=origin(), zero_shot="new planes") for seed in range(3)]
    (record, *_) = transfer_records(adaptations(runs[:3] + undefined))
    assert record["zero_shot"] == "new planes"
    assert record["against_scratch"]["jump_start"]["value"] is None
    assert "zero-shot" in record["against_scratch"]["jump_start"]["refused"]
    assert record["curve"][0]["update"] > 0
    assert record["against_scratch"]["savings"]["value"] == pytest.approx(0.0, abs=1e-9)


def test_a_start_that_never_gets_there_gives_bounds():
    runs = [adaptation_run("scratch", seed) for seed in range(3)]
    runs += [adaptation_run("pretrained", seed, tau=2.0, source=origin()) for seed in range(3)]
    (record, *_) = transfer_records(adaptations(runs))
    found = record["against_scratch"]["savings"]
    assert found["bounds"] == 3
    assert found["value"] < -1.5  # at most 1 - 1 / (.15 ln 10)
    assert record["against_scratch"]["advantage"]["high"] <= 0


def test_a_run_that_has_not_ended_is_left_out():
    runs = [adaptation_run("scratch", 0), adaptation_run("scratch", 1, last=200), []]
    assert [run.seed for run in adaptations(runs)] == [0]


def test_the_nearest_is_the_single_game_with_the_best_outcome():
    runs = study(single=0.1)
    worse = origin("other", ("connect_four",), 3000, "last", "c2")
    runs += [adaptation_run("single", seed, 0.4, source=worse) for seed in range(5)]
    (found,) = studies(adaptations(runs))
    assert nearest(found, "policy").games == ("tictactoe",)


@pytest.mark.parametrize("series", ["policy", "optimal"])
def test_losses_and_scores_both_point_upwards(series):
    record = pretrained(transfer_records(adaptations(study(noise=0.0)), series), 4000)
    assert record["unit"] == ("nats" if series == "policy" else "score")
    assert record["against_scratch"]["advantage"]["value"] > 0
    first, last = record["curve"][0]["value"], record["curve"][-1]["value"]
    assert (first > last) == (series == "policy")


def test_the_onset_is_the_first_checkpoint_from_which_on_both_are_beaten():
    (event,) = meta_onsets(adaptations(study()))
    validate(event)
    # At 1000 it is as from scratch; at 2000 better than the single game's .1; at 4000 better still.
    assert (event["step"], event["step_ci95"]) == (2000, [1000, 2000])
    assert (event["type"], event["status"], event["run"]) == ("meta_onset", "confirmed", "boards-0")
    assert event["effect"]["name"] == "advantage_over_nearest"
    assert event["effect"]["ci95"][0] > 0
    behaviour = event["evidence"]["behaviour"]
    assert behaviour["num_games"] == 2
    assert [point["update"] for point in behaviour["checkpoints"]] == [1000, 2000, 4000]
    assert json.loads(json.dumps(event)) == event
    assert meta_onsets(adaptations(study())) == [event]


@pytest.mark.parametrize(
    "change",
    [
        {"single": 0.04},  # the single game is the better start
        {"single": None},  # there is none to compare with
        {"checkpoints": ((1000, 0.05), (2000, 0.05), (4000, 0.2))},  # it did not last
        {"seeds": 2},  # no interval
        {"checkpoints": ((4000, 0.15),)},  # no better than scratch
    ],
)
def test_less_is_no_onset(change):
    assert meta_onsets(adaptations(study(**change))) == []


def test_runs_of_more_and_more_games_are_one_row():
    runs = []
    for seed in range(4):
        runs.append(adaptation_run("scratch", seed, noise=0.05))
        runs.append(adaptation_run("single", seed, 0.1, source=origin("alone", ("a",), 900, "last", "s"), noise=0.05))
        for count, tau in ((2, 0.15), (3, 0.06), (4, 0.05)):
            games = tuple("abcd"[:count])
            source = origin(f"k{count}", games, 1000 * count, "last", f"c{count}")
            runs.append(adaptation_run("pretrained", seed, tau, source=source, noise=0.05))
    (event,) = meta_onsets(adaptations(runs))
    assert event["evidence"]["behaviour"]["num_games"] == 3
    assert event["run"] == "k3"
    assert event["step_ci95"] == [2000, 3000]


def test_where_nothing_is_transferred_an_onset_is_rare():
    """Every arm draws its time constant from the same scatter: at most the nominal share of rows is called."""
    called = 0
    for trial in range(40):
        runs = []
        for seed in range(5):
            for arm, source in (
                ("scratch", None), ("single", origin("alone", ("t",), 1, "last", "s")), *(
                    ("pretrained", origin(update=u)) for u in (1000, 2000, 3000)
                ),
            ):  # fmt: skip
                jitter = np.exp(0.2 * np.random.default_rng((trial, seed, len(runs))).normal())
                runs.append(adaptation_run(arm, seed, 0.15 * jitter, source=source))
        called += bool(meta_onsets(adaptations(runs)))
    assert called <= 3


def test_the_matrix_has_sources_as_rows_and_corrected_intervals():
    runs = study(game="hex:3") + study(game="hex:2", single=0.3)
    (matrix,) = of(transfer_records(adaptations(runs)), MATRIX)
    validate(matrix)
    assert (matrix["from"], matrix["to"]) == (["tictactoe"], ["hex:2", "hex:3"])
    assert matrix["cells"] == 2
    assert matrix["mean"][0][1] == pytest.approx(1 - 0.1 / 0.15, abs=0.1)
    assert matrix["mean"][0][0] < 0
    assert matrix["certain"] == [[True, True]]
    (few,) = of(transfer_records(adaptations(study(seeds=2))), MATRIX)
    assert "at least 3 seeds" in few["refused"]
    assert few["mean"][0][0] is not None
    assert few["low"] == [[None]]


def test_aggregates_over_games_and_seeds():
    runs = study(game="hex:3") + study(game="hex:2")
    records = of(transfer_records(adaptations(runs)), AGGREGATE)
    for record in records:
        validate(record)
    best = next(r for r in records if r["source"]["update"] == 4000)
    assert best["games"] == ["hex:2", "hex:3"]
    assert best["seeds"] == 5
    assert best["iqm"]["low"] > 0
    assert best["better_than_scratch"]["value"] == 1.0
    assert best["better_than_nearest"]["value"] == 1.0
    single = next(r for r in records if r["source"]["arm"] == "single")
    assert "itself a single game" in single["better_than_nearest"]["refused"]


def test_faster_says_by_run_whether_both_are_beaten():
    runs = study(checkpoints=((4000, 0.05),))
    slow = origin("slow-1", update=4000, config="c9")
    runs += [adaptation_run("pretrained", seed, 0.15, source=slow, noise=0.05) for seed in range(5)]
    assert faster_by_run(adaptations(runs)) == {"boards-0": True, "slow-1": False}
    assert faster_by_run(adaptations(study(seeds=2))) == {"boards-0": None}
    assert faster_by_run(adaptations(study(single=None))) == {"boards-0": None}


def test_where_scratch_learns_nothing_what_has_no_scale_is_refused_and_the_rest_is_there():
    runs = [adaptation_run(seed=seed, start=FLOOR) for seed in range(3)]
    runs += [adaptation_run("pretrained", seed, start=0.5, source=origin()) for seed in range(3)]
    runs += [adaptation_run("single", seed, source=origin("a", ("t",), 9, "last", "s")) for seed in range(3)]
    records = transfer_records(adaptations(runs))
    for record in records:
        validate(record)
    found = pretrained(records, 4000)["against_scratch"]
    assert found["jump_start"]["value"] == pytest.approx(FLOOR - 0.5)
    assert found["advantage"]["high"] < 0
    for name in ("savings", "advantage_share", "area_ratio"):
        assert found[name]["value"] is None
    assert "does not get better" in found["savings"]["refused"]
    assert "does not get better" in pretrained(records, 4000)["threshold"]["refused"]
    assert "does not get better" in of(records, AGGREGATE)[0]["iqm"]["refused"]
    assert meta_onsets(adaptations(runs)) == []
    assert faster_by_run(adaptations(runs)) == {"boards-0": None}


def test_is_faster_needs_both_bounds():
    def low(value):
        return {"low": value}

    assert is_faster({"scratch": low(0.1), "single": low(0.1)}) is True
    assert is_faster({"scratch": low(0.1), "single": low(-0.1)}) is False
    assert is_faster({"scratch": low(0.1), "single": low(None)}) is None


def test_refusals():
    with pytest.raises(UndefinedError, match="budgets"):
        studies(adaptations([adaptation_run(), adaptation_run(seed=1, budget=1000)]))
    with pytest.raises(UndefinedError, match="same seed 0"):
        studies(adaptations([adaptation_run(), adaptation_run()]))
    with pytest.raises(UndefinedError, match="no run from scratch"):
        transfer_records(adaptations([adaptation_run("pretrained", source=origin())]))
    with pytest.raises(UndefinedError, match="'nothing'"):
        transfer_records(adaptations(study()), "nothing")
    assert transfer_records([]) == []
    assert Source("single", "c", ("a",), "last") == Source("single", "c", ("a",), "last")
