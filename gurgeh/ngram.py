"""`ngram:N`: counts of symbols after the last N - 1, what a prediction game's numbers are compared with.

Interpolated by Witten and Bell (1991): of a context that was seen c times with t different symbols after it,
p(x) = (count(x) + t p'(x)) / (c + t), where p' is the same of the context without its first symbol; in the end an even
share of the legal symbols. Counted on what the game trains on, nothing of what it holds out.

Shape legend: B positions, A actions (symbols), M training positions, U different contexts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.player import Decision
from envs.prediction.score import SequenceGame

LONGEST = 7  # 257 ** 7 different contexts still have a number of 63 bits


class Counts(NamedTuple):
    """What followed the contexts of one length."""

    pairs: Tensor  # sorted int64: context * A + symbol, each once
    count: Tensor  # int64: how often
    contexts: Tensor  # [U] sorted int64
    total: Tensor  # [U] int64: how often
    kinds: Tensor  # [U] int64: different symbols after it


class NgramPlayer:
    """A `StatePlayer` that plays the likeliest symbol; its policy is the model's."""

    def __init__(self, game: SequenceGame, order: int):
        """order: N, at least 1 (no context)."""
        if not 1 <= order <= LONGEST:
            raise ValueError(f"ngram:{order}: write ngram:N with N from 1 to {LONGEST}")
        self.game, self.order, self.name = game, order, f"ngram:{order}"
        self.symbols = game.spec.num_actions
        state, answer = game.lessons()
        seen = game.symbols(state, order - 1)
        self.counts = [self._count(self._number(seen, length), answer) for length in range(order)]

    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """See `agents.player.StatePlayer`; nothing is drawn."""
        policy = self.probabilities(state)
        return Decision(policy.argmax(1), prior=policy)

    def probabilities(self, state: Any) -> Tensor:
        """[B, A] float64: p of every symbol, 0 for those that are not legal."""
        legal, seen = self.game.legal(state), self.game.symbols(state, self.order - 1)
        p = legal.double() / legal.sum(1, keepdim=True)
        for length, counts in enumerate(self.counts):
            context = self._number(seen, length)
            count = _look_up(counts.pairs, counts.count, context[:, None] * self.symbols + torch.arange(self.symbols))
            total = _look_up(counts.contexts, counts.total, context)[:, None].double()
            kinds = _look_up(counts.contexts, counts.kinds, context)[:, None].double()
            p = torch.where(total > 0, (count + kinds * p) / (total + kinds).clamp(min=1), p)
        return p

    def _number(self, seen: Tensor, length: int) -> Tensor:
        """[B] int64: one number for the last `length` of symbols [B, N - 1], each of A + 1 kinds."""
        number = torch.zeros(len(seen), dtype=torch.int64)
        for place in range(seen.shape[1] - length, seen.shape[1]):
            number = number * (self.symbols + 1) + seen[:, place]
        return number

    def _count(self, context: Tensor, answer: Tensor) -> Counts:
        pairs, count = (context * self.symbols + answer).unique(return_counts=True)
        contexts, total = context.unique(return_counts=True)
        _, kinds = (pairs // self.symbols).unique(return_counts=True)
        return Counts(pairs, count, contexts, total, kinds)


def _look_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """The values of sorted keys, 0 where a key is missing; of the shape of `wanted`."""
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], 0)
