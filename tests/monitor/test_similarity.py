"""Debiased CKA: values known in closed form, HSIC against its definition, no bias, unmatched rows refused."""

import itertools

import numpy as np
import pytest

from monitor.refusals import UndefinedError
from monitor.similarity import cka_error, debiased_cka, kernel, permuted_cka, procrustes_similarity, unbiased_hsic


def cka(one, other, **how):
    names = np.arange(len(one))
    return debiased_cka(one, other, names, names, **how)


def test_hsic_is_the_u_statistic_over_all_quadruples():
    """Song et al. 2012: the mean over distinct i, j, q, r of K_ij (L_ij + L_qr - 2 L_iq)."""
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(7, 3)), generator.normal(size=(7, 2))
    k, l = one @ one.T, other @ other.T  # noqa: E741
    slow = np.mean([k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in itertools.permutations(range(7), 4)])
    assert unbiased_hsic(kernel(one), kernel(other)) == pytest.approx(slow)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_part_of_a_white_representation_has_the_known_cka(kept):
    """d of D independent equal units: ||S_xy||^2 / (||S_xx|| ||S_yy||) = d / sqrt(D d)."""
    rows = np.random.default_rng(1).normal(size=(8192, 8))
    assert cka(rows, 3 * rows[:, :kept] - 7) == pytest.approx(np.sqrt(kept / 8), abs=0.015)


def test_rotation_and_scale_change_nothing():
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(300, 10)) * np.arange(1, 11)
    turned = 0.01 * rows @ np.linalg.qr(generator.normal(size=(10, 10)))[0] + 100
    assert cka(rows, turned) == pytest.approx(1)
    names = np.arange(300)
    assert procrustes_similarity(rows, turned, names, names) == pytest.approx(1)


def test_independent_rows_are_at_zero_also_with_more_units_than_rows():
    """The biased estimate would be near 1 here."""
    generator = np.random.default_rng(3)
    found = [cka(generator.normal(size=(40, 100)), generator.normal(size=(40, 100))) for _ in range(100)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 10
    assert abs(np.mean(found)) < 0.03


def test_permuting_the_kernel_is_permuting_the_rows():
    generator = np.random.default_rng(8)
    one, other = generator.normal(size=(60, 4)), generator.normal(size=(60, 3))
    order = np.random.default_rng(1).permutation(60)
    assert permuted_cka(one, other, 1, np.random.default_rng(1))[0] == pytest.approx(cka(one, other[order]))


def test_the_error_is_the_scatter_over_samples():
    generator = np.random.default_rng(9)
    found = []
    for _ in range(60):
        rows = generator.normal(size=(100, 4))
        other = rows + generator.normal(size=(100, 4))
        found.append((cka(rows, other), cka_error(rows, other)))
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.35)


def test_the_permuted_null_is_at_zero_and_has_the_right_rate():
    generator = np.random.default_rng(4)
    beyond = 0
    for _ in range(100):
        one, other = generator.normal(size=(30, 5)), generator.normal(size=(30, 5))
        drawn = permuted_cka(one, other, 39, generator)
        beyond += cka(one, other) > drawn.max()
    assert beyond <= 2.5 + 3 * np.sqrt(2.5)  # 1 in 40


def test_batches_change_the_noise_and_not_the_value():
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(1024, 6))
    other = rows + generator.normal(size=(1024, 6))
    assert cka(rows, other, batch=64) == pytest.approx(cka(rows, other, batch=1024), abs=0.03)


def test_unmatched_rows_are_refused():
    rows = np.random.default_rng(6).normal(size=(30, 4))
    names = np.arange(30)
    with pytest.raises(UndefinedError, match=r"not matched.*subspace overlap"):
        debiased_cka(rows, rows, names, names + 1)
    with pytest.raises(UndefinedError, match="not matched"):
        procrustes_similarity(rows, rows, names, names[::-1])
    with pytest.raises(UndefinedError, match="one name a row"):
        debiased_cka(rows, rows[:25], names, names)
    with pytest.raises(UndefinedError, match="appears twice"):
        debiased_cka(rows, rows, names // 2, names // 2)


def test_other_undefined_cases_are_refused():
    rows = np.random.default_rng(7).normal(size=(30, 4))
    with pytest.raises(UndefinedError, match="at least 20"):
        cka(rows[:10], rows[:10])
    with pytest.raises(UndefinedError, match="NaN"):
        cka(rows, np.where(rows > 1.5, np.inf, rows))
    with pytest.raises(UndefinedError, match="nothing to compare"):
        cka(rows, np.ones((30, 4)))
