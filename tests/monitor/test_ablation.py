"""Ablation overlap: units known to be shared, the null's value and rate; mean-ablation by hooks against a slow one."""

import numpy as np
import pytest
import torch
from torch import nn

from monitor.ablation import (
    ablation_overlap,
    importance,
    matched_units,
    permuted_overlaps,
    relative_damage,
    rises,
    top_units,
    variance_strata,
)
from monitor.measures import Ablation
from monitor.refusals import UndefinedError
from monitor.sharing import Null

UNITS = 60


def planted(generator, used, spread):
    """I_u of a game that reads c' h without error and loses (c' h - c' h')^2: c_u^2 var(h_u), by hand."""
    weights = np.where(used, generator.normal(size=UNITS) + 2, 0.1 * generator.normal(size=UNITS))
    return weights**2 * spread, spread


def test_importance_of_a_linear_readout_is_the_algebra():
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(4000, 5)) * np.arange(1, 6)
    weights = np.array([1.0, 0.0, -2.0, 0.5, 1.0])
    target = hidden @ weights
    ablated = []
    for unit in range(5):
        changed = hidden.copy()
        changed[:, unit] = hidden[:, unit].mean()
        ablated.append((target - changed @ weights) ** 2)
    found = importance(np.zeros(4000), np.stack(ablated))
    np.testing.assert_allclose(found, weights**2 * hidden.var(0), rtol=1e-9)


def test_shared_units_are_found_and_others_are_not():
    generator = np.random.default_rng(1)
    used = np.arange(UNITS) < 15
    spread = generator.gamma(2.0, size=UNITS)
    shared = [planted(generator, used, spread) for _ in range(2)]
    apart = [planted(generator, generator.permutation(used), spread) for _ in range(2)]
    found = [ablation_overlap(a, b, va, vb) for (a, va), (b, vb) in (shared, apart)]
    assert found[0] > 0.5
    assert abs(found[1]) < 0.4
    (a, va), (b, vb) = shared
    drawn = permuted_overlaps(a, b, va, vb, 199, generator)
    null = Null("permuted", drawn)
    assert abs(null.mean) < 0.05
    assert found[0] > null.mean + null.reach


def test_importance_that_only_follows_the_variance_is_no_sharing():
    """Without the condition on variance these two would agree almost entirely."""
    generator = np.random.default_rng(2)
    found, naive = [], []
    for _ in range(50):
        spread = np.exp(generator.normal(size=UNITS) * 2)
        a, b = (spread * np.exp(0.3 * generator.normal(size=UNITS)) for _ in range(2))
        found.append(ablation_overlap(a, b, spread, spread))
        naive.append(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])
    assert np.mean(naive) > 0.9
    assert abs(np.mean(found)) < 0.1


def test_the_null_is_right_at_its_rate():
    """Independent importances that follow the variance: beyond the null's reach in at most 5 % of 300."""
    generator = np.random.default_rng(3)
    beyond = 0
    for _ in range(300):
        spread = np.exp(generator.normal(size=UNITS))
        others = spread * np.exp(0.3 * generator.normal(size=UNITS))
        a, b = spread * np.exp(generator.normal(size=UNITS)), others * np.exp(generator.normal(size=UNITS))
        null = Null("permuted", permuted_overlaps(a, b, spread, others, 99, generator))
        beyond += ablation_overlap(a, b, spread, others) > null.mean + null.reach
    assert beyond <= 15 + 2 * np.sqrt(15)


def test_random_sets_have_the_top_units_variance_and_none_of_them():
    generator = np.random.default_rng(4)
    spread = generator.random(UNITS)
    top = top_units(spread)  # the widest units: all in the last stratum
    assert len(top) == 3
    strata = variance_strata(spread)
    for drawn in matched_units(top, spread, 20, generator):
        assert len(drawn) == 3
        assert set(strata[drawn]) == {4}
        assert not set(drawn) & set(top)
    assert relative_damage(5.0, np.array([1.0, 2.0, 3.0, 2.0, 2.0])) == pytest.approx(3 / np.sqrt(0.5))
    with pytest.raises(UndefinedError, match="same damage"):
        relative_damage(1.0, np.ones(8))


def test_resampled_importances_are_those_of_the_repeated_positions():
    generator = np.random.default_rng(5)
    base, ablated = generator.random(10), generator.random((4, 10))
    counts = generator.multinomial(10, np.full(10, 0.1), 3).astype(float)
    for row, count in zip(rises(base, ablated, counts), counts):
        again = np.repeat(np.arange(10), count.astype(int))
        np.testing.assert_allclose(row, importance(base[again], ablated[:, again]))


def test_undefined_cases_are_refused_with_what_is_needed():
    generator = np.random.default_rng(6)
    spread = generator.random(UNITS)
    fine = generator.random(UNITS)
    with pytest.raises(UndefinedError, match="at least 20"):
        ablation_overlap(fine[:10], fine[:10], spread[:10], spread[:10])
    alive = np.where(np.arange(UNITS) < 5, spread, 0.0)
    with pytest.raises(UndefinedError, match="only 5 units vary"):
        ablation_overlap(fine, fine, alive, alive)
    with pytest.raises(UndefinedError, match="no order of units"):
        ablation_overlap(np.ones(UNITS), fine, spread, spread)
    with pytest.raises(UndefinedError, match="no order of units"):
        ablation_overlap(spread, fine, spread, spread)
    with pytest.raises(UndefinedError, match="NaN"):
        ablation_overlap(np.where(fine > 0.9, np.nan, fine), fine, spread, spread)
    with pytest.raises(UndefinedError, match="same ones"):
        ablation_overlap(fine, fine[:30], spread, spread)


class Grid(nn.Module):
    """A layer of each shape that an activation may have: [N, U, H, W], [N, T, U], [N, U]; the last is called twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.first = nn.Conv2d(2, 3, 3, padding=1), nn.ReLU()
        self.token, self.second = nn.Linear(3, 4), nn.ReLU()
        self.out, self.third = nn.Linear(4, 5), nn.ReLU()

    def forward(self, image):
        grid = self.first(self.conv(image))
        tokens = self.second(self.token(grid.flatten(2).transpose(1, 2)))
        once = self.third(self.out(tokens.mean(1)))
        return self.third(once - 0.1) + once


def test_ablation_by_hooks_is_the_slow_replacement_by_the_mean():
    module, image = Grid(), torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    groups = [[0], [4], [8], [1, 5, 11], []]
    ablation = Ablation([module.first, module.second, module.third], [3, 4, 5])
    with torch.no_grad(), ablation.running(groups):
        found = module(image.repeat(1 + len(groups), 1, 1, 1)).view(1 + len(groups), 6, -1)

    def slow(group):
        def replace(shape_last, first, width):
            def hook(_module, _inputs, output):
                moved = output.movedim(-1, 1) if shape_last and output.dim() == 3 else output
                clean = next(memory[key])
                moved, clean = moved.clone(), clean.movedim(-1, 1) if shape_last and clean.dim() == 3 else clean
                for unit in group:
                    if first <= unit < first + width:
                        moved[:, unit - first] = clean[:, unit - first].mean()
                return moved.movedim(1, -1) if shape_last and output.dim() == 3 else moved

            key = first
            return hook

        kept = {0: [], 3: [], 7: []}
        handles = [
            layer.register_forward_hook(lambda m, i, o, key=key: kept[key].append(o.clone()))
            for key, layer in ((0, module.first), (3, module.second), (7, module.third))
        ]
        with torch.no_grad():
            module(image)
        for handle in handles:
            handle.remove()
        memory = {key: iter(outputs) for key, outputs in kept.items()}
        handles = [
            layer.register_forward_hook(replace(True, first, width))
            for layer, first, width in ((module.first, 0, 3), (module.second, 3, 4), (module.third, 7, 5))
        ]
        with torch.no_grad():
            result = module(image)
        for handle in handles:
            handle.remove()
        return result, kept

    clean, kept = slow([])
    torch.testing.assert_close(found[0], clean)
    for copy, group in enumerate(groups, 1):
        torch.testing.assert_close(found[copy], slow(group)[0])
    assert not torch.equal(found[1], clean)
    expected = np.concatenate(
        [
            kept[0][0].transpose(0, 1).flatten(1).var(1, correction=0).numpy(),
            kept[3][0].flatten(0, 1).var(0, correction=0).numpy(),
            kept[7][0].var(0, correction=0).numpy(),
        ]
    )
    np.testing.assert_allclose(ablation.variance, expected, rtol=1e-5)
    assert not any(inner._forward_hooks for inner in module.modules())
