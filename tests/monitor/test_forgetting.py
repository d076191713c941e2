"""Forgetting on series made by hand, backward transfer against hand calculation."""

import math

import numpy as np
import pytest

from monitor.config import MonitorConfig
from monitor.forgetting import ForgettingTracker, backward_transfer, loss_matrix, risen

CONFIG = MonitorConfig()


@pytest.mark.parametrize(
    ("mean", "se", "expected"),
    [
        (0.10, 0.0, True),
        (0.0999, 0.0, False),  # too small, however sure
        (0.50, 0.255, True),  # 0.50 - 1.96 * 0.255 = 0.0002
        (0.50, 0.256, False),  # 0.50 - 1.96 * 0.256 = -0.0018
        (None, 0.1, False),
        (0.5, None, False),
    ],
)
def test_a_rise_is_large_and_sure(mean, se, expected):
    assert risen({"mean": mean, "se": se}, CONFIG) is expected


def follow(series):
    """Findings of a tracker over (since, rise) with a small error, introduced at update 1000."""
    tracker = ForgettingTracker()
    changes = ((s, {"mean": rise, "se": 0.01}) for s, rise in series)
    return [(s, found) for s, change in changes if (found := tracker.take(s, 1000 + s, change, CONFIG))]


def test_a_lasting_rise_is_found_at_its_onset_and_confirmed_later():
    # log10(141 / 100) = 0.1492 is not yet 0.15 decade; log10(142 / 100) = 0.1523 is.
    found = follow([(50, 0.0), (90, 0.05), (100, 0.2), (120, 0.2), (141, 0.2), (142, 0.3), (200, 0.4), (900, 0.4)])
    assert found == [(142, {"since": 100, "step": 1100, "change": {"mean": 0.3, "se": 0.01}})]


def test_one_checkpoint_below_the_threshold_starts_the_count_again():
    assert follow([(100, 0.2), (130, 0.2), (135, 0.09), (140, 0.2), (190, 0.2)]) == []
    found = follow([(100, 0.2), (130, 0.2), (135, 0.09), (140, 0.2), (190, 0.2), (198, 0.2)])
    assert [s for s, _ in found] == [198]  # log10(198 / 140) = 0.1505
    assert found[0][1]["step"] == 1140


def test_nothing_before_s_min_counts():
    assert follow([(10, 0.5), (49, 0.5), (50, 0.5), (70, 0.5)]) == []
    assert [found["since"] for _, found in follow([(10, 0.5), (49, 0.5), (50, 0.5), (71, 0.5)])] == [50]


def test_backward_transfer_by_hand():
    results = [[0.9, np.nan, np.nan], [0.5, 0.8, np.nan], [0.6, 0.7, 0.95]]
    # ((0.6 - 0.9) + (0.7 - 0.8)) / 2
    assert math.isclose(backward_transfer(np.array(results)), -0.2)
    assert math.isclose(backward_transfer(np.array(results), higher_is_better=False), 0.2)


def test_backward_transfer_refuses_what_is_undefined():
    with pytest.raises(ValueError, match="at least two games"):
        backward_transfer(np.ones((1, 1)))
    with pytest.raises(ValueError, match="square"):
        backward_transfer(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"games \[1\]"):
        backward_transfer(np.array([[1, 0, 0], [0, np.nan, 0], [1, 1, 1.0]]))


def full(game, update, occasion, mean):
    return {
        "schema": "monitor.loss/1", "game": game, "update": update, "occasion": occasion, "subset": "full",
        "losses": {"policy": {"mean": mean}},
    }  # fmt: skip


def added(game, update):
    return {"schema": "monitor.ledger/1", "kind": "game_added", "game": game, "update": update}


def test_loss_matrix_has_a_row_for_each_stage():
    records = [
        added("a", 0), full("a", 0, "introduction", 9.0),
        added("b", 100), full("a", 100, "introduction", 1.0), full("b", 100, "introduction", 8.0),
        added("c", 300), full("a", 300, "introduction", 1.5), full("b", 300, "introduction", 2.0),
        full("c", 300, "introduction", 7.0),
        full("a", 900, "end", 1.25), full("b", 900, "end", 2.5), full("c", 900, "end", 3.0),
    ]  # fmt: skip
    games, matrix = loss_matrix(records, "policy")
    nan = np.nan
    assert games == ["a", "b", "c"]
    np.testing.assert_array_equal(matrix, [[1.0, nan, nan], [1.5, 2.0, nan], [1.25, 2.5, 3.0]])
    # losses: ((1.25 - 1.0) + (2.5 - 2.0)) / 2 = 0.375 nat worse
    assert math.isclose(backward_transfer(matrix, higher_is_better=False), -0.375)


def test_games_introduced_together_share_a_stage():
    records = [
        added("a", 0), full("a", 0, "introduction", 9.0),
        added("b", 0), full("a", 0, "introduction", 9.0), full("b", 0, "introduction", 8.0),
        added("c", 300), full("a", 300, "introduction", 1.0), full("b", 300, "introduction", 2.0),
        full("c", 300, "introduction", 7.0),
    ]  # fmt: skip
    _, matrix = loss_matrix(records, "policy")
    nan = np.nan
    np.testing.assert_array_equal(matrix, [[1.0, 2.0, nan], [1.0, 2.0, nan], [nan, nan, nan]])
