"""The cost of the monitor: pairs in turn, introductions at the same shares, and the sums of the report."""

from benchmarks import monitor_cost


def test_pairs_take_turns_in_who_begins():
    assert monitor_cost.order(3) == [True, False, False, True, True, False]
    assert monitor_cost.order(2, only_on=True) == [True, True]


def test_a_shortened_main_job_introduces_its_games_at_the_same_shares():
    assert monitor_cost.shortened(None) == []
    assert monitor_cost.shortened(3000) == ["schedule.updates=3000", "schedule.at=[500,750,1750]"]


def run(monitor, wall, cpu, of_wall=0.0, of_cpu=0.0):
    return {"monitor": monitor, "wall": wall, "cpu": cpu, "monitor_wall": of_wall, "monitor_cpu": of_cpu, "parts": {}}


def test_the_report_compares_pairs_and_says_whether_the_aim_is_met():
    runs = [run(True, 105, 110, 4, 4.4), run(False, 100, 100), run(False, 100, 100), run(True, 103, 102, 4, 4.08)]
    said = monitor_cost.report(runs, ["schedule.updates=100"])
    assert "processor time: 4.0% (4.0%, 4.0%)" in said
    assert "On against off in pairs, processor time: 6.0% (10.0%, 2.0%) more." in said
    assert "On against off in pairs, clock: 4.0% (5.0%, 3.0%) more." in said
    assert "is met by the share" in said
    assert "is missed by the share" in monitor_cost.report([run(True, 105, 110, 4, 6)], [])
