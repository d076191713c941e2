"""The compiled descent against torch's clipping, AdamW and linear interpolation."""

import copy
import math

import pytest
import torch
from torch import nn

from agents.adamw import descend_, table_of

SIZES = [(1,), (3, 5), (64,), (65,), (40, 130), (4096,), (3, 4097)]  # beside and beyond whole chunks


def made(seed=0):
    """Parameters of many sizes, their averages, an optimiser."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(size, generator=generator)) for size in SIZES]
    averages = [torch.randn(size, generator=generator) for size in SIZES]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    return parameters, averages, optimizer


def compiled_descent(parameters, averages, optimizer, max_norm, decay):
    return descend_(optimizer, table_of(optimizer, list(zip(parameters, averages, strict=True))), max_norm, decay)


def torch_descent(parameters, averages, optimizer, max_norm, decay):
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()
    for average, parameter in zip(averages, parameters, strict=True):
        average.mul_(decay).add_(parameter.detach(), alpha=1 - decay)
    return float(norm)


def test_the_same_as_torch_over_many_steps():
    mine, theirs = made(), made()
    generator = torch.Generator().manual_seed(1)
    for step in range(30):
        for number, size in enumerate(SIZES):
            # One joins late, one has no gradient now and then: each counts its own steps.
            absent = (number == 2 and step < 9) or (number == 4 and step % 3 == 0)
            gradient = torch.randn(size, generator=generator) * 0.1
            mine[0][number].grad = None if absent else gradient.clone()
            theirs[0][number].grad = None if absent else gradient
        max_norm, decay = (1.0 if step % 2 else 1e6), min(0.99, (1 + step) / (10 + step))
        for _, _, optimizer in (mine, theirs):
            optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        norm = compiled_descent(*mine, max_norm, decay)
        assert norm == pytest.approx(torch_descent(*theirs, max_norm, decay), rel=1e-5)
        assert (norm > max_norm) == bool(step % 2)
    for one, other in zip(mine[0], theirs[0], strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)  # clipped in place
        for key, value in theirs[2].state[other].items():
            torch.testing.assert_close(mine[2].state[one][key], value, rtol=2e-5, atol=1e-7)
    for one, other in zip(mine[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)
    assert [int(mine[2].state[p]["step"]) for p in mine[0]] == [30, 30, 21, 30, 20, 30, 30]


def test_a_run_goes_over_to_torch_and_back():
    """The moments are torch's own: half of the steps by each is the same as all of them by one."""
    mixed, theirs = made(), made()
    generator = torch.Generator().manual_seed(1)
    for step in range(10):
        for parameters in zip(mixed[0], theirs[0], strict=True):
            gradient = torch.randn(parameters[0].shape, generator=generator)
            for parameter in parameters:
                parameter.grad = gradient.clone()
        if step % 2:
            torch_descent(*mixed, 1.0, 0.9)
        else:
            compiled_descent(*mixed, 1.0, 0.9)
        torch_descent(*theirs, 1.0, 0.9)
    for one, other in zip([*mixed[0], *mixed[1]], [*theirs[0], *theirs[1]], strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_is_seen_everywhere(bad):
    parameters, averages, optimizer = made()
    before = copy.deepcopy(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    parameters[3].grad[7] = bad
    norm = compiled_descent(parameters, averages, optimizer, 1.0, 0.9)
    assert not math.isfinite(norm)
    assert parameters[3][7].isnan()
    assert all(not torch.equal(old, new) or bad == math.inf for old, new in zip(before, parameters, strict=True))


def test_a_strided_gradient_is_read_right():
    one, other = (nn.Parameter(torch.ones(6, 4)) for _ in range(2))
    gradient = torch.arange(24.0).view(4, 6).T
    one.grad, other.grad = gradient.clone(memory_format=torch.preserve_format), gradient.contiguous()
    assert not one.grad.is_contiguous()
    for parameter in (one, other):
        compiled_descent([parameter], [torch.zeros(6, 4)], torch.optim.AdamW([parameter], lr=0.1), 1e9, 0.5)
    assert torch.equal(one, other)
