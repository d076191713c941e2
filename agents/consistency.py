"""The consistency loss with its gradients written out: what the model imagines is held against what was then seen.

Ye et al. 2021 (EfficientZero), after Chen and He 2021 (SimSiam); here the target is the averaged network (Grill et al.
2020, BYOL), without a projection. `agents.learner.Learner.losses` says the same through autograd; a test holds the two
together.

Shape legend: K unroll steps, N rows of all games, D numbers of a latent, H hidden width of the predictor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from agents.batches import Part
from agents.fused import Aims, Gradients, room_for
from agents.fused_encoders import Encoding
from agents.network import MultiGameNetwork
from envs.game import GameSpec

_LEAST = 1e-8  # norm, as in torch's cosine_similarity


class Consistency:
    """The loss for some games' batches; `averaged` says what the following positions look like."""

    def __init__(
        self, predictor: nn.Sequential, averaged: MultiGameNetwork, games: Mapping[GameSpec, bool], rows: int,
        steps: int, weight: float, gradients: Gradients,
    ):  # fmt: skip
        """predictor: Linear D to H, ReLU, Linear H to D. games: those of a batch, and whether they have the loss. rows:
        of one game; weight: of the loss. gradients: takes in where the predictor's will lie."""
        self.predictor, self.steps, self.weight = predictor, steps, weight
        self.gradients = [room_for(parameter, gradients) for parameter in predictor.parameters()]
        self.names = {spec.name for spec, counts in games.items() if counts}
        self.encoding = Encoding(averaged, [spec for spec, counts in games.items() if counts], rows * steps, None)
        self.seen = torch.zeros(steps, rows * len(games), averaged.width)
        self.counts = np.repeat(np.array(list(games.values()), np.float32), rows)  # [N]

    @torch.no_grad()
    def run(self, parts: Sequence[Part], copies: Sequence[int], aims: Aims, imagined: Tensor) -> tuple[float, Tensor]:
        """(weighted total, its gradient [K, N, D] by `imagined` [K, N, D]); the predictor's gradients are written.

        copies: of each part's replay buffer, in which the next step of a copy lies that many positions on.
        """
        shown, places = [], []
        for part, count in zip(parts, copies, strict=True):
            if part.spec.name not in self.names:
                continue
            places.append(part.rows)
            now, size = part.shown, len(part.shown.ring)
            index = np.concatenate([(now.index + k * count) % size for k in range(1, self.steps + 1)])
            pick = None if now.pick is None else np.tile(now.pick, self.steps)
            shown.append(now._replace(index=index, pick=pick))
        latents = self.encoding.run(shown)
        for rows, own in zip(places, latents.split([len(each.index) for each in shown]), strict=True):
            self.seen[:, rows] = own.view(self.steps, -1, own.shape[1])
        weight = (aims.moved & aims.alive[:, 1:]).T * (aims.weight * self.counts * np.float32(self.weight / self.steps))
        weight = torch.from_numpy(weight)  # [K, N]
        losses, gradient = consistency_step_(self.predictor, imagined, self.seen, weight, self.gradients)
        return float((losses * weight).sum()), gradient


@torch.no_grad()
def consistency_step_(
    predictor: nn.Sequential, imagined: Tensor, seen: Tensor, weight: Tensor, gradients: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Losses [K, N], 1 - cosine of what `predictor` makes of imagined [K, N, D] and of seen [K, N, D], and the gradient
    [K, N, D] of their sum weighted by weight [K, N], by `imagined`. The predictor's are written to `gradients`, in the
    order of its parameters."""
    inward, outward = predictor[0], predictor[2]
    assert isinstance(inward, nn.Linear)
    assert isinstance(outward, nn.Linear)
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
    for (by_weight, by_bias), gradient, entering in (
        (gradients[:2], by_hidden, read), (gradients[2:], by_said, hidden)
    ):  # fmt: skip
        torch.mm(gradient.T, entering, out=by_weight)
        torch.sum(gradient, 0, out=by_bias)
    return (1 - cosine).view(imagined.shape[:2]), torch.mm(by_hidden, inward.weight).view_as(imagined)
