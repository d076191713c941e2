"""The consistency loss with its gradients written out: what the model imagines is held against what was then seen.

Ye et al. 2021 (EfficientZero), after Chen and He 2021 (SimSiam); here the target is the averaged network (Grill et al.
2020, BYOL), without a projection. `agents.learner.Learner.losses` says the same through autograd; a test holds the two
together.

Shape legend: K unroll steps, N rows, D numbers of a latent, H hidden width of the predictor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST = 1e-8  # norm, as in torch's cosine_similarity


@torch.no_grad()
def consistency_step_(
    predictor: nn.Sequential, imagined: Tensor, seen: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses [K, N], 1 - cosine of what `predictor` makes of imagined [K, N, D] and of seen [K, N, D], and the gradient
    [K, N, D] of their sum weighted by weight [K, N], by `imagined`. Adds the predictor's gradients to its `grad`.

    predictor: Linear D to H, ReLU, Linear H to D.
    """
    inward, outward = predictor[0], predictor[2]
    read = imagined.flatten(0, 1)
    hidden = torch.addmm(inward.bias, read, inward.weight.T).relu_()
    said = torch.addmm(outward.bias, hidden, outward.weight.T)
    aim, share = seen.flatten(0, 1), weight.flatten()[:, None]
    length = said.norm(dim=1, keepdim=True).clamp_(min=_LEAST)
    aim = aim / aim.norm(dim=1, keepdim=True).clamp_(min=_LEAST)
    along = said / length
    cosine = (along * aim).sum(1, keepdim=True)
    by_said = torch.addcmul(aim, cosine, along, value=-1).mul_(-share / length)
    by_hidden = torch.mm(by_said, outward.weight).mul_(hidden > 0)
    for layer, gradient, entering in ((inward, by_hidden, read), (outward, by_said, hidden)):
        for parameter, found in ((layer.weight, torch.mm(gradient.T, entering)), (layer.bias, gradient.sum(0))):
            parameter.grad = found if parameter.grad is None else parameter.grad.add_(found)
    losses = (1 - cosine).view(imagined.shape[:2])
    return losses, torch.mm(by_hidden, inward.weight).view_as(imagined)
