"""When games join: at given updates, or when the newest one has settled."""

import json

import pytest

from gurgeh.schedule import Schedule, ScheduleConfig


def played(schedule: Schedule, updates: int, loss=lambda game, age: 1.0) -> list[tuple[str, int]]:
    """Run a schedule: games join when due, and the newest one shows `loss(game, updates since it joined)`."""
    for update in range(updates):
        for game in schedule.due(update):
            schedule.join(game, update)
        newest, since = schedule.joined[-1]
        schedule.observe(loss(newest, update - since))
    return schedule.joined


def test_without_times_all_games_are_there_at_once():
    assert played(Schedule(ScheduleConfig(), ["a", "b", "c"]), 5) == [("a", 0), ("b", 0), ("c", 0)]


def test_games_join_at_their_updates_in_their_order():
    config = ScheduleConfig(at=[3, 3, 7])
    assert played(Schedule(config, ["a", "b", "c", "d"]), 12) == [("a", 0), ("b", 3), ("c", 3), ("d", 7)]


def test_an_update_that_is_passed_over_loses_no_game():
    """Several updates may be made between two looks at the schedule."""
    schedule = Schedule(ScheduleConfig(at=[3, 8]), ["a", "b", "c"])
    joined = []
    for update in (0, 2, 5, 11):
        for game in schedule.due(update):
            schedule.join(game, update)
            joined.append((game, update))
    assert joined == [("a", 0), ("b", 5), ("c", 11)]


def test_a_game_at_zero_joins_with_the_first():
    assert played(Schedule(ScheduleConfig(at=[0, 4]), ["a", "b", "c"]), 6) == [("a", 0), ("b", 0), ("c", 4)]


def test_nothing_joins_twice_and_the_order_of_introduction_is_kept():
    schedule = Schedule(ScheduleConfig(at=[2]), ["a", "b", "c"])
    joined = played(schedule, 9)
    assert [game for game, _ in joined] == ["a", "b", "c"]
    assert schedule.due(100) == []


def test_games_asked_for_later_join_where_the_run_goes_on():
    schedule = Schedule(ScheduleConfig(at=[4]), ["a", "b"])
    played(schedule, 10)
    grown = Schedule(ScheduleConfig(at=[4]), ["a", "b", "c"])
    grown.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert grown.due(10) == ["c"]


def test_settled_waits_for_two_windows_without_a_fall():
    config = ScheduleConfig(rule="settled", window=10, tolerance=0.02, longest=1000)

    def loss(game, age):  # falls by a tenth each window for five windows, then stays
        return 0.9 ** min(age // 10, 5)

    # Windows 0 to 5 fall; window 6 is the first that is no better: complete after 70 losses.
    assert played(Schedule(config, ["a", "b", "c"]), 200, loss) == [("a", 0), ("b", 70), ("c", 140)]


def test_settled_does_not_mistake_noise_or_a_slow_fall():
    config = ScheduleConfig(rule="settled", window=100, tolerance=0.02, longest=10_000)
    noisy = played(Schedule(config, ["a", "b"]), 2000, lambda game, age: 5 * 0.9996**age + (0.3 if age % 2 else -0.3))
    assert noisy == [("a", 0)]  # 4 % a window is a fall
    slow = played(Schedule(config, ["a", "b"]), 2000, lambda game, age: 5 * 0.9999**age)
    assert slow == [("a", 0), ("b", 200)]  # 1 % a window is none


def test_a_rising_loss_counts_as_settled():
    config = ScheduleConfig(rule="settled", window=10)
    assert played(Schedule(config, ["a", "b"]), 50, lambda game, age: 1.0 + age)[1] == ("b", 20)


def test_losses_of_densities_may_be_negative():
    config = ScheduleConfig(rule="settled", window=10, tolerance=0.02)
    for before, after, settled in ((-1.0, -1.1, False), (-1.0, -1.01, True), (-1.0, -0.9, True)):
        schedule = Schedule(config, ["one", "two"])
        schedule.join("one", 0)
        for loss in [before] * 10 + [after] * 10:
            schedule.observe(loss)
        assert schedule.due(20) == ["two"] * settled, after


def test_settled_has_a_limit():
    config = ScheduleConfig(rule="settled", window=10, longest=30)
    joined = played(Schedule(config, ["a", "b", "c"]), 90, lambda game, age: 0.5 ** (age / 10))
    assert joined == [("a", 0), ("b", 30), ("c", 60)]


@pytest.mark.parametrize("cut", [5, 10, 15, 65, 69, 70, 111])
def test_a_restored_schedule_goes_on_as_if_nothing_had_happened(cut):
    config = ScheduleConfig(rule="settled", window=10, longest=45)
    games = ["a", "b", "c", "d"]

    def loss(game, age):
        return 0.9 ** min(age // 10, 2 if game == "a" else 9)

    whole = Schedule(config, games)
    expected = list(played(whole, 200, loss))
    first = Schedule(config, games)
    played(first, cut, loss)
    second = Schedule(config, games)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for update in range(cut, 200):
        for game in second.due(update):
            second.join(game, update)
        newest, since = second.joined[-1]
        second.observe(loss(newest, update - since))
    assert second.joined == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"updates": 0}, "schedule.updates must be at least 1, found 0"),
        ({"at": [5, 3]}, r"schedule.at must rise from 0 on, found \[5, 3\]"),
        ({"at": [-1]}, r"schedule.at must rise from 0 on, found \[-1\]"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ScheduleConfig(**settings)


def test_more_times_than_games_are_refused():
    with pytest.raises(ValueError, match=r"schedule.at has 2 updates for 2 games; .* at most 1"):
        Schedule(ScheduleConfig(at=[1, 2]), ["a", "b"])
