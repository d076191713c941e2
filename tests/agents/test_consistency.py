"""The consistency loss written out, against autograd."""

import torch
from torch import nn
from torch.nn import functional as F

from agents.consistency import consistency_step_


def test_losses_and_gradients_are_autograds():
    torch.manual_seed(0)
    predictor = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 6))
    imagined, seen = torch.randn(2, 5, 6, requires_grad=True), torch.randn(2, 5, 6)
    weight = torch.rand(2, 5) * (torch.rand(2, 5) < 0.7)

    losses, gradient = consistency_step_(predictor, imagined.detach(), seen, weight)
    mine = [parameter.grad.clone() for parameter in predictor.parameters()]
    predictor.zero_grad()
    expected = 1 - F.cosine_similarity(predictor(imagined), seen, dim=-1)
    (expected * weight).sum().backward()

    assert torch.allclose(losses, expected.detach(), atol=1e-6)
    assert torch.allclose(gradient, imagined.grad, atol=1e-6)
    for one, parameter in zip(mine, predictor.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, atol=1e-6)
    again = [one.clone() for one in mine]
    consistency_step_(predictor, imagined.detach(), seen, weight)  # gradients add up
    for one, parameter in zip(again, predictor.parameters(), strict=True):
        assert torch.allclose(2 * one, parameter.grad, atol=1e-5)


def test_what_is_not_counted_sends_nothing_back():
    predictor = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    imagined = torch.randn(1, 3, 4)
    losses, gradient = consistency_step_(predictor, imagined, torch.zeros(1, 3, 4), torch.tensor([[1.0, 0.0, 1.0]]))
    assert torch.equal(losses, torch.ones(1, 3)), "a latent of zeros is like nothing"
    assert (gradient[0, 1] == 0).all()
    assert gradient.isfinite().all()
