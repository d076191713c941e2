"""Two-hot numbers: what goes in comes out, in a straight line, and nothing leaves the bins."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.support import bin_values, contract, decode, expand, symexp, two_hot

BINS = bin_values(41, 5.0)
INSIDE = st.floats(-140, 140, width=32)


def mean(weights):
    """The decoded number of weights over bins, through logits as the network gives them."""
    return decode(torch.log(weights.double()), BINS.double())


def test_bins_rise_are_symmetric_and_hold_zero():
    assert torch.all(BINS[1:] > BINS[:-1])
    assert torch.equal(BINS, -BINS.flip(0))
    assert BINS[20] == 0
    assert float(BINS[-1]) == pytest.approx(2.718281828**5 - 1, rel=1e-5)
    assert float(BINS[-1] - BINS[-2]) > 100 * float(BINS[21] - BINS[20])  # fine near zero, coarse far away


@pytest.mark.parametrize("bad", [2, 40, 1, 0, -3])
def test_an_even_number_of_bins_is_refused(bad):
    with pytest.raises(ValueError, match=f"odd and at least 3, found {bad}"):
        bin_values(bad, 5.0)


@given(INSIDE)
def test_round_trip(value):
    weights = two_hot(torch.tensor(value), BINS)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
    assert float(weights.min()) >= 0
    assert int((weights > 0).sum()) <= 2
    assert float(mean(weights)) == pytest.approx(value, abs=1e-4, rel=1e-5)


@given(INSIDE, INSIDE, st.floats(0, 1))
def test_the_mean_of_targets_is_the_target_of_the_mean(first, second, share):
    """Linear in the value itself: noise in a target moves the decoded value without bias."""
    mixed = share * two_hot(torch.tensor(first), BINS) + (1 - share) * two_hot(torch.tensor(second), BINS)
    assert float(mean(mixed)) == pytest.approx(share * first + (1 - share) * second, abs=1e-3, rel=1e-4)


@given(st.floats(-(2.0**99), 2.0**99, width=32))
def test_values_beyond_the_bins_are_clamped(value):
    expected = min(max(value, float(BINS[0])), float(BINS[-1]))
    assert float(mean(two_hot(torch.tensor(value), BINS))) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(st.integers(0, 40))
def test_a_bin_itself_is_one_hot(index):
    assert torch.equal(two_hot(BINS[index], BINS), torch.eye(41)[index])


def test_shapes_lead():
    values = torch.randn(3, 4, 2) * 20
    weights = two_hot(values.transpose(0, 1), BINS)
    assert weights.shape == (4, 3, 2, 41)
    assert torch.allclose(mean(weights).float().transpose(0, 1), values, atol=1e-3)


def test_symexp_is_odd_and_undoes_symlog():
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    assert torch.allclose(torch.sign(symexp(x)) * torch.log1p(symexp(x).abs()), x)
    assert torch.equal(symexp(-x), -symexp(x))


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1e-2, 0.5])
@given(st.floats(-1e6, 1e6, width=32))
def test_expand_undoes_contract(epsilon, value):
    x = torch.tensor(value, dtype=torch.float32)
    assert float(expand(contract(x, epsilon), epsilon)) == pytest.approx(value, rel=3e-6, abs=1e-30)


@pytest.mark.parametrize(
    ("value", "epsilon", "expected"),
    # sqrt(9) - 1, and so on: on paper. The last is far too small for sqrt(1 + x) - 1 in float32: its slope is 1 / 2.
    [(8.0, 0.0, 2.0), (-8.0, 0.5, -6.0), (99.0, 0.01, 9.99), (0.0, 0.001, 0.0), (1e-12, 0.25, 0.75e-12)],
)
def test_contract_on_paper(value, epsilon, expected):
    x = torch.tensor([value, -value])
    torch.testing.assert_close(contract(x, epsilon), torch.tensor([expected, -expected]), rtol=1e-6, atol=0)
    back = expand(torch.tensor([expected, -expected]), epsilon)
    torch.testing.assert_close(back, x, rtol=2e-6, atol=0)


def test_expand_is_the_published_formula():
    y = torch.linspace(-60, 60, 4001, dtype=torch.float64)
    for epsilon in (1e-3, 1e-2):
        base = (torch.sqrt(1 + 4 * epsilon * (y.abs() + 1 + epsilon)) - 1) / (2 * epsilon)
        torch.testing.assert_close(expand(y, epsilon), torch.sign(y) * (base**2 - 1), rtol=1e-9, atol=1e-11)
