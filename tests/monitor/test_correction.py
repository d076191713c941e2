"""Benjamini and Hochberg's adjustment against scipy's."""

import numpy as np
import pytest
from scipy import stats

from monitor.correction import benjamini_hochberg


def test_it_is_scipys():
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_tests_that_were_not_made_count_as_one():
    p = [0.001, 0.02, 0.5]
    np.testing.assert_allclose(benjamini_hochberg(p, 10), stats.false_discovery_control([*p, *[1.0] * 7])[:3])
    with pytest.raises(ValueError, match="no more of them than tests"):
        benjamini_hochberg(p, 2)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        benjamini_hochberg([1.2])
