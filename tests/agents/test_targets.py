"""Targets: hand calculations for every turn order, and a slow loop over steps and seats as the oracle."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.targets import make_targets, n_step_returns


def window(steps, players):
    """A window of one row from per-step dictionaries."""
    none = [0.0] * players

    def column(name, default, dtype):
        return torch.tensor([[step.get(name, default) for step in steps]], dtype=dtype)

    return SimpleNamespace(
        reward=column("reward", none, torch.float32),
        terminated=column("terminated", False, torch.bool),
        truncated=column("truncated", False, torch.bool),
        root_value=column("value", none, torch.float32),
        final_value=column("final", none, torch.float32),
    )


def test_one_player_two_steps_of_reward_then_the_search():
    steps = [{"reward": [float(t)], "value": [10.0 * t]} for t in range(5)]
    targets = make_targets(window(steps, 1), unroll=2, n=2, gamma=0.5)
    # t=0: 0 + 0.5 * 1 + 0.25 * 20; t=1: 1 + 0.5 * 2 + 0.25 * 30; t=2: 2 + 0.5 * 3 + 0.25 * 40
    assert targets.value[0, :, 0].tolist() == [5.5, 9.5, 13.5]
    assert targets.reward[0, :, 0].tolist() == [0.0, 1.0]
    assert targets.alive.all()
    assert targets.moved.all()
    assert targets.continues.all()


def test_two_alternating_players_each_seat_keeps_its_own_sum():
    # Seat 1 wins with the third move; nothing is negated on the way because sums are kept by seat.
    steps = [{}, {}, {"reward": [-1.0, 1.0], "terminated": True}, {"value": [7.0, 7.0]}, {"value": [7.0, 7.0]}]
    targets = make_targets(window(steps, 2), unroll=1, n=3, gamma=0.5)
    assert targets.value[0].tolist() == [[-0.25, 0.25], [-0.5, 0.5]]


def test_a_player_who_moves_twice_is_paid_for_both_moves():
    # Seat 0 moves twice and gains 1 each time at seat 1's cost, then seat 1 gains 4 and the search says (3, -3).
    steps = [
        {"reward": [1.0, -1.0]},
        {"reward": [1.0, -1.0]},
        {"reward": [-4.0, 4.0]},
        {"value": [3.0, -3.0]},
    ]
    targets = make_targets(window(steps, 2), unroll=0, n=3, gamma=0.5)
    assert targets.value[0, 0].tolist() == [1 + 0.5 - 1 + 0.375, -1 - 0.5 + 1 - 0.375]


def test_three_players_need_no_common_sum():
    steps = [{"reward": [1.0, 0.0, 2.0]}, {"reward": [0.0, 5.0, -1.0]}, {"value": [1.0, 2.0, 3.0]}]
    targets = make_targets(window(steps, 3), unroll=0, n=2, gamma=0.1)
    assert targets.value[0, 0].tolist() == pytest.approx([1.01, 0.52, 1.93])


def test_truncation_leans_on_the_last_observation_and_goes_on():
    steps = [
        {"reward": [1.0]},
        {"reward": [2.0], "truncated": True, "final": [100.0]},
        {"reward": [50.0], "value": [1000.0]},
        {"reward": [50.0], "value": [1000.0]},
        {"reward": [50.0], "value": [1000.0]},
    ]
    targets = make_targets(window(steps, 1), unroll=2, n=2, gamma=0.5)
    assert targets.value[0, :2, 0].tolist() == [1 + 1 + 25, 2 + 50]
    assert targets.continues[0].tolist() == [True, True]  # cut off is no end
    assert targets.alive[0].tolist() == [True, True, False]
    assert targets.moved[0].tolist() == [True, True]


def test_after_the_end_nothing_is_alive_even_when_the_next_episode_ends_too():
    steps = [{}, {"reward": [1.0], "terminated": True}, {"reward": [9.0], "terminated": True}, {"value": [9.0]}] + [
        {}
    ] * 2
    targets = make_targets(window(steps, 1), unroll=3, n=2, gamma=1.0)
    assert targets.value[0, :2, 0].tolist() == [1.0, 1.0]
    assert targets.alive[0].tolist() == [True, True, False, False]
    assert targets.moved[0].tolist() == [True, True, False]
    assert targets.continues[0, :2].tolist() == [True, False]


def test_search_share_mixes_in_the_value_of_the_position_itself():
    steps = [{"reward": [1.0], "value": [10.0]}, {"value": [20.0]}, {"value": [30.0]}]
    plain = make_targets(window(steps, 1), unroll=1, n=1, gamma=0.5).value[0, :, 0]
    mixed = make_targets(window(steps, 1), unroll=1, n=1, gamma=0.5, search_share=0.25).value[0, :, 0]
    assert plain.tolist() == [11.0, 15.0]
    assert mixed.tolist() == [0.75 * 11 + 2.5, 0.75 * 15 + 5]


def slow_return(steps, t, seat, n, gamma):
    """The definition, step by step and for one seat."""
    total, factor = 0.0, 1.0
    for step in steps[t : t + n]:
        total += factor * step["reward"][seat]
        factor *= gamma
        if step["terminated"]:
            return total
        if step["truncated"]:
            return total + factor * step["final"][seat]
    return total + factor * steps[t + n]["value"][seat]


@st.composite
def episodes(draw):
    players, unroll, n = draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.integers(1, 5))
    number = st.integers(-8, 8).map(lambda x: x / 4)
    seats = st.lists(number, min_size=players, max_size=players)
    end = st.sampled_from(["no", "no", "no", "terminated", "truncated"])
    steps = []
    for _ in range(unroll + n + 1):
        how = draw(end)
        final = draw(seats) if how == "truncated" else [0.0] * players
        steps.append({
            "reward": draw(seats), "value": draw(seats), "final": final,
            "terminated": how == "terminated", "truncated": how == "truncated",
        })  # fmt: skip
    return steps, players, unroll, n, draw(st.sampled_from([0.25, 0.5, 0.9, 1.0]))


@settings(max_examples=200, deadline=None)
@given(episodes())
def test_targets_equal_a_slow_loop(case):
    steps, players, unroll, n, gamma = case
    targets = make_targets(window(steps, players), unroll, n, gamma)
    reached = True
    for k in range(unroll + 1):
        expected = [slow_return(steps, k, seat, n, gamma) for seat in range(players)]
        assert targets.value[0, k].tolist() == pytest.approx(expected, abs=1e-5)
        assert bool(targets.alive[0, k]) == reached
        if k < unroll:
            assert bool(targets.moved[0, k]) == reached
            assert targets.reward[0, k].tolist() == steps[k]["reward"]
            assert bool(targets.continues[0, k]) == (not steps[k]["terminated"])
            reached = reached and not steps[k]["terminated"] and not steps[k]["truncated"]


def test_rows_of_a_batch_do_not_mix():
    torch.manual_seed(0)
    reward, value, final = (torch.randn(6, 9, 2) for _ in range(3))
    terminated, truncated = torch.rand(6, 9) < 0.2, torch.rand(6, 9) < 0.2
    truncated &= ~terminated
    each = torch.randint(0, 5, (6, 5))  # each position sums as many rewards as it is told
    n = torch.tensor([4, 1, 2, 4, 3, 1])  # or each row
    uneven = n_step_returns(reward, terminated, truncated, value, final, 0.9, each, 5)
    together = n_step_returns(reward, terminated, truncated, value, final, 0.9, n, 5)
    for row in range(6):
        one = slice(row, row + 1)
        alone = n_step_returns(
            reward[one], terminated[one], truncated[one], value[one], final[one], 0.9, n[one], 5
        )  # fmt: skip
        assert torch.equal(together[one], alone)
        steps = [
            dict(zip(("reward", "value", "final", "terminated", "truncated"), step, strict=True))
            for step in zip(reward[row], value[row], final[row], terminated[row], truncated[row], strict=True)
        ]
        for t in range(5):
            for seat in range(2):
                expected = slow_return(steps, t, seat, int(n[row]), 0.9)
                assert float(together[row, t, seat]) == pytest.approx(float(expected), abs=1e-5)
                expected = slow_return(steps, t, seat, int(each[row, t]), 0.9)
                assert float(uneven[row, t, seat]) == pytest.approx(float(expected), abs=1e-5)
