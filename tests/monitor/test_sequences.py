"""A sequence of games: GEM and Continual World from planted losses, the learning curve, behaviour as a pillar."""

import numpy as np
import pytest

from monitor import MonitorConfig
from monitor.events import regenerate
from monitor.ledger import entry
from monitor.records import LOSS, SHARING, validate
from monitor.refusals import UndefinedError
from monitor.sequences import (
    Joined,
    behaviour_records,
    continual_world,
    learning_curve_record,
    results_matrix,
    sequence_record,
)

CHECKPOINTS = [50, 63, 79, 100, 126, 158, 200, 251, 316, 398, 501, 631, 794]


def loss(name, seed, game, update, since, value, occasion, subset, latest, since_latest, frozen="set"):
    return {
        "schema": LOSS, "run": name, "seed": seed, "seq": 0, "update": update, "env_steps": 0, "game": game,
        "occasion": occasion, "subset": subset, "positions": 256, "since": since, "latest": latest,
        "since_latest": since_latest, "frozen_set": f"{frozen} {game} {seed}", "targets": "solver",
        "losses": {"policy": {"mean": value, "se": 0.01, "n": 256, "strata": {}, "change": None}},
    }  # fmt: skip


def make(games, curve, name="r", seed=0, last=800):
    """Records of a run: games {name: introduction}; curve(game, since, place) is its loss."""
    records = []
    order = list(games)
    for game, update in games.items():
        if not records:
            after = {"config": MonitorConfig().__dict__, "versions": {"code": "1", "config": "c"}}
            records.append(entry("start", update, 0, None, None, after, ""))
        records.append(entry("game_added", update, 0, game, None, None, ""))
        for other in order[: order.index(game) + 1]:
            since = update - games[other]
            records.append(loss(name, seed, other, update, since, curve(other, since, order.index(other)),
                                "introduction", "full", game, 0))  # fmt: skip
        end = min((u for u in games.values() if u > update), default=update + last)
        for since in CHECKPOINTS:
            if update + since <= end:
                for other in order[: order.index(game) + 1]:
                    own = update + since - games[other]
                    records.append(loss(name, seed, other, update + since, own, curve(other, own, order.index(other)),
                                        "checkpoint", "medium", game, since))  # fmt: skip
    for other in order:
        since = max(games.values()) + last - games[other]
        value = curve(other, since, order.index(other))
        records.append(
            loss(name, seed, other, max(games.values()) + last, since, value, "end", "full", order[-1], last)
        )
    records = [{"run": name, "seed": seed} | record | {"seq": seq} for seq, record in enumerate(records)]
    for record in records:
        validate(record)
    return records


def table(values):
    """A curve that gives the loss of a game at these updates since its introduction."""
    return lambda game, since, place: values[game].get(since, 0.5)


LOSSES = {"a": {0: 1.0, 1000: 0.2, 2000: 0.3, 2800: 0.4}, "b": {0: 0.9, 1000: 0.1, 1800: 0.25}, "c": {0: 0.7, 800: 0.6}}
GAMES = {"a": 0, "b": 1000, "c": 2000}


def test_gem_by_hand():
    records = make(GAMES, table(LOSSES))
    games, results = results_matrix(records, "policy")
    assert games == ["a", "b", "c"]
    np.testing.assert_allclose(results, [[-0.2, -0.9, np.nan], [-0.3, -0.1, -0.7], [-0.4, -0.25, -0.6]])
    record = sequence_record(records, "policy", {"a": 1.1, "b": 1.0, "c": 1.0}, {}, {}, {})
    validate(record)
    assert record["backward_transfer"]["value"] == pytest.approx(((-0.4 + 0.2) + (-0.25 + 0.1)) / 2)
    assert record["forward_transfer"]["value"] == pytest.approx(((-0.9 + 1.0) + (-0.7 + 1.0)) / 2)
    assert record["forgetting"]["value"] == pytest.approx(((0.4 - 0.2) + (0.25 - 0.1)) / 2)
    assert record["results"][0][2] is None


def test_forward_transfer_is_refused_where_it_is_not_defined():
    records = make(GAMES, table(LOSSES))
    found = sequence_record(records, "policy", {"a": 1, "b": 1, "c": 1}, {"c": "new planes"}, {}, {})
    assert "c: new planes" in found["forward_transfer"]["refused"]
    assert found["backward_transfer"]["value"] is not None
    together = make({"a": 0, "b": 0, "c": 1000}, lambda game, since, place: 0.5)
    found = sequence_record(together, "policy", {"a": 1, "b": 1, "c": 1}, {}, {}, {})
    assert "b joined together" in found["forward_transfer"]["refused"]
    with pytest.raises(UndefinedError, match="there are policy"):
        sequence_record(records, "value", {}, {}, {}, {})


def test_continual_world_by_hand():
    added = {"a": 0, "b": 300}
    scores = {
        "a": ([100, 200, 300, 400, 500], [0.2, 0.5, 0.9, 0.8, 0.6]),
        "b": ([400, 500], [0.5, 0.7]),
    }
    alone = {"b": ([100, 200, 300], [0.2, 0.4, 0.9])}
    found = continual_world(added, scores, alone)
    assert found["average_performance"]["value"] == pytest.approx((0.6 + 0.7) / 2)
    assert found["forgetting"]["a"]["value"] == pytest.approx(0.9 - 0.6)
    assert found["forgetting"]["b"]["value"] == 0.0
    assert found["forward_transfer"]["b"]["value"] == pytest.approx((0.6 - 0.3) / (1 - 0.3))
    assert "no run of this game alone" in found["forward_transfer"]["a"]["refused"]
    assert "returns" in continual_world({"a": 0}, {"a": "returns"}, {})["average_performance"]["refused"]


def power(game, since, place):
    """Costs fall with the place: time constants 200 k^-0.5 times the game's own difficulty."""
    difficulty = {"a": 1.0, "b": 1.5, "c": 0.7}[game]
    return 0.05 + float(np.exp(-since / (150 * difficulty * (place + 1) ** -0.5)))


ORDERS = [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("b", "a", "c")]


def test_the_learning_curve_of_planted_costs():
    runs = [
        make({game: 800 * place for place, game in enumerate(order)}, power, f"r{i}", i)
        for i, order in enumerate(ORDERS)
    ]
    record = learning_curve_record(runs, "policy")
    validate(record)
    assert record["runs"] == 4
    assert record["beta"]["value"] == pytest.approx(-0.5, abs=0.1)
    assert record["progress_ratio"]["value"] == pytest.approx(2**-0.5, abs=0.05)
    assert {(p["run"], p["game"], p["place"]) for p in record["points"]} >= {("r1", "b", 1), ("r1", "a", 3)}


def test_unbalanced_orders_have_no_learning_curve():
    runs = [make({"a": 0, "b": 800}, power, f"r{i}", i) for i in range(4)]
    record = learning_curve_record(runs, "policy")
    validate(record)
    assert "balance the order" in record["beta"]["refused"]
    assert "at least 3 runs" in learning_curve_record(runs[:1], "policy")["beta"]["refused"]


def joined(gain, seeds=4, noise=0.01, games=None):
    """Runs in which b joins a, b's loss lower than alone by `gain` nats."""
    games = games or {"a": 0, "b": 800}
    found = []
    for seed in range(seeds):
        draw = np.random.default_rng(seed)

        def curve(game, since, place, draw=draw):
            below = gain if game == "b" else 0.0
            return 0.3 + float(np.exp(-since / 200)) - below + noise * draw.normal()

        found.append(Joined(
            make(games, curve, f"r{seed}", seed),
            {"b": make({"b": 0}, lambda game, since, place: 0.3 + float(np.exp(-since / 200)), f"alone{seed}", seed)},
        ))  # fmt: skip
    return found


def test_learning_faster_than_alone_holds_up_the_behaviour_pillar():
    for records in behaviour_records(joined(0.1), "policy"):
        assert [r["since"] for r in records] == CHECKPOINTS
        for record in records:
            validate(record)
            assert (record["game"], record["other_game"], record["pillar"]) == ("a", "b", "behaviour")
            assert record["excess"]["low"] > 0
            assert record["excess"]["value"] == pytest.approx(0.1, abs=0.02)


def test_no_gain_few_seeds_or_several_older_games_hold_nothing_up():
    assert all(r["excess"]["low"] <= 0 for records in behaviour_records(joined(-0.05), "policy") for r in records)
    for records in behaviour_records(joined(0.1, seeds=2), "policy"):
        assert all(r["excess"] is None and "2 seeds" in r["refused"] for r in records)
    both = behaviour_records(joined(0.1, games={"a": 0, "z": 0, "b": 800}), "policy")
    assert {r["pillar"] for records in both for r in records} == {None}
    assert {r["game"] for r in both[0]} == {"a", "z"}
    other = [
        Joined(
            run.records, {"b": [r | {"frozen_set": "x"} if r["schema"] == LOSS else r for r in run.scratch["b"]]}
        )
        for run in joined(0.1)
    ]  # fmt: skip
    assert behaviour_records(other, "policy") == [[], [], [], []]


def test_behaviour_and_geometry_together_make_an_onset():
    run = joined(0.1)
    more = behaviour_records(run, "policy")[0]
    geometry = [
        record | {"measure": "probe", "pillar": "geometry", "excess": record["excess"] | {"null": "random network"}}
        for record in more
    ]
    merged = sorted([*run[0].records, *more, *geometry], key=lambda r: (r["update"], r["schema"] == SHARING))
    (event,) = [event for event in regenerate(merged) if event["type"] == "sharing_onset"]
    assert event["evidence"]["behaviour"]["measure"] == "transfer"
    assert event["evidence"]["behaviour"]["since"] == 850
    assert (event["game"], event["other_game"]) == ("a", "b")
    alone = sorted([*run[0].records, *more], key=lambda r: (r["update"], r["schema"] == SHARING))
    assert not [event for event in regenerate(alone) if event["type"] == "sharing_onset"]
