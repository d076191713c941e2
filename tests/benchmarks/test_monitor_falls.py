"""The calibration benchmark: every curve is drawn again the same, and its tables count what they say they count."""

import numpy as np
import pytest

from benchmarks import monitor_falls

TUNING = 777000  # never the reported seed


@pytest.mark.parametrize("part", monitor_falls.ORDER)
def test_a_curve_is_a_function_of_seed_part_and_number(part):
    truth, curve = monitor_falls.curve_of(part, 7, TUNING)
    again, same = monitor_falls.curve_of(part, 7, TUNING)
    assert truth == again
    np.testing.assert_array_equal(curve.losses, same.losses)
    assert not np.array_equal(curve.losses, monitor_falls.curve_of(part, 7, TUNING + 1)[1].losses)
    assert len(curve.steps) == truth["n"]


def test_every_cell_of_the_targets_is_drawn_equally_often():
    cells = {}
    for number in range(monitor_falls.SIZES["target"]):
        truth, curve = monitor_falls.curve_of("target", number, TUNING)
        key = truth["scale"], truth["phi"], truth["plateau"]
        cells[key] = cells.get(key, 0) + 1
        assert curve.planted.size == pytest.approx(10 * curve.sigma)
    assert set(cells.values()) == {30}
    assert len(cells) == 3 * 3 * 2


def test_a_trial_of_a_smooth_curve_has_its_p_and_its_peers():
    pytest.importorskip("ruptures")
    pytest.importorskip("changepoint_online")
    line = monitor_falls.trial("null", 0, TUNING)
    assert line["call"] == "none"
    assert 0 < line["p"] <= 1
    assert set(line["online"]) == {"warn", "alert"}
    assert line["peers"]["PELT raw"] is True  # on raw log losses every smooth curve is "broken"


def line(part, number, **what):
    return {
        "part": part, "number": number, "kind": "power_law", "phi": 0.5, "n": 200, "call": "none", "p": 0.5,
        "stat": 2.0, "step": 1000.0, "seconds": 1.0, "surrogates": 20, "scale": None,
    } | what  # fmt: skip


def planted(number, call, off=0.001, plateau=True):
    what = {"kind": "planted", "snr": 10, "scale": 0.05, "phi": 0.8, "plateau": plateau, "rise": False, "off": off}
    return line("target", number, call=call, **what)


def test_a_missed_target_is_said_in_bold():
    nulls = [line("null", n) for n in range(400)]
    good = [planted(n, "drop") for n in range(28)] + [planted(n, "none") for n in range(28, 30)]
    text = monitor_falls.report(nulls + good)
    assert "| false positives, smooth nulls | upper bound <= 1 % | 0/400 = 0.0 % [0.0, 0.9] | met |" in text
    assert "| power after a plateau, scale 0.05, phi 0.8 | >= 90 % | 28/30" in text
    assert "missed" not in text
    text = monitor_falls.report([*nulls[:-1], line("null", 399, call="drop", p=0.001), *good])
    assert "**missed**" in text  # 1 of 400: at most 1 % is not shown
    astray = [planted(n, "drop", off=0.06) for n in range(30)]
    text = monitor_falls.report(nulls + astray)
    assert "| **power after a plateau, scale 0.05, phi 0.8** | >= 90 % | **0/30" in text
    assert "| **median location error** | <= .02 decade | **0.0600** | **missed** |" in text


def test_false_discoveries_of_a_panel_by_hand():
    panel = [line("panel", n, kind="planted", call="drop", p=0.001) for n in range(8)]
    panel += [line("panel", n, call="drop" if n < 10 else "none", p=0.001 if n < 10 else None) for n in range(8, 40)]
    shares, found, total = monitor_falls.panel_shares(panel)
    assert shares == [pytest.approx(2 / 10)]
    assert (found, total) == (8, 8)
    # p = .02 of 40 tests is not significant after the correction.
    weak = [one | {"p": 0.02} if one["p"] else one for one in panel]
    assert monitor_falls.panel_shares(weak)[:2] == ([0.0], 0)
