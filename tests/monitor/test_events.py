"""Events from records written by hand: each introduction starts the count of forgetting anew."""

from monitor.events import regenerate

START = {"a": 0, "b": 1000, "c": 1100}


def added(game):
    return {
        "schema": "monitor.ledger/1", "kind": "game_added", "game": game, "update": START[game], "confounder": True,
    }  # fmt: skip


def loss(update, rise, latest, game="a"):
    return {
        "schema": "monitor.loss/1", "run": "r", "seed": 0, "game": game, "update": update,
        "subset": "small", "occasion": "checkpoint",
        "since": update - START[game], "latest": latest, "since_latest": update - START[latest], "frozen_set": "f",
        "losses": {"policy": {"change": {"mean": rise, "se": 0.01}}},
    }  # fmt: skip


def found(records):
    return [(event["step"], event["trigger"], event["status"]) for event in regenerate(records)]


def test_a_rise_does_not_go_on_across_an_introduction():
    # From 50 to 60 updates after b, and 50 to 60 after c: never 0.15 decade (a factor of 1.41) within one.
    short = [added("a"), added("b"), loss(1050, 0.3, "b"), loss(1060, 0.3, "b"), added("c"), loss(1150, 0.3, "c"),
             loss(1160, 0.3, "c")]  # fmt: skip
    assert found(short) == []
    assert found([*short, loss(1171, 0.3, "c")]) == [(1150, "add:c", "confirmed")]


def test_each_introduction_can_make_the_game_forgotten_once():
    records = [
        added("a"), added("b"), loss(1050, 0.3, "b"), loss(1080, 0.3, "b"), loss(1095, 0.3, "b"),
        added("c"), loss(1150, 0.2, "c"), loss(1175, 0.2, "c"), loss(1300, 0.2, "c"),
    ]  # fmt: skip
    assert found(records) == [(1050, "add:b", "confirmed"), (1150, "add:c", "confirmed")]


def test_the_newest_game_and_its_companions_cannot_be_forgotten():
    together = {**added("b"), "update": 0}
    records = [added("a"), together]
    for update in (50, 80, 200):
        records.append(loss(update, 0.5, "a") | {"latest": "b", "since_latest": update})
    assert found(records) == []


def test_two_games_at_once_confound_what_comes_at_the_first_checkpoint():
    also = {**added("c"), "update": 1000}
    records = [added("a"), also, added("b"), loss(1050, 0.3, "b"), loss(1080, 0.3, "b")]
    assert found(records) == [(1050, "add:b", "confounded")]
    later = [added("a"), also, added("b"), loss(1060, 0.3, "b"), loss(1085, 0.3, "b")]
    assert found(later) == [(1060, "add:b", "confirmed")]  # log10(60 / 50) = 0.079 decade away
