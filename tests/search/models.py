"""Random models as tables of states: a search over them can be checked by the plain-Python oracle, and any two
scores differ unless a tie was planted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from search import Root, Step, reference

NUM_STATES = 61


@dataclass(frozen=True)
class TableModel:
    next_state: torch.Tensor  # [K, A]
    reward: torch.Tensor  # [K, P], of the edge into the state
    discount: torch.Tensor  # [K]
    logits: torch.Tensor  # [K, A]
    value: torch.Tensor  # [K, P]
    to_play: torch.Tensor  # [K]
    exists: torch.Tensor  # [K, A]
    with_exists: bool  # whether Step carries `exists`
    chance: torch.Tensor | None = None  # [K]: the chance states; a search that begins at one takes it for a decision

    def step(self, embedding, action):
        """The recurrent function; embedding [B, 1] float32 holds the number of the state."""
        state = self.next_state[embedding[:, 0].long(), action]
        return Step(
            state[:, None].float(),
            self.reward[state],
            self.discount[state],
            self.logits[state],
            self.value[state],
            self.to_play[state],
            self.exists[state] if self.with_exists else None,
            None if self.chance is None else self.chance[state],
        )

    def root(self, batch: int, legal_share: float, seed: int) -> Root:
        generator = torch.Generator().manual_seed(seed)
        state = torch.randint(NUM_STATES, (batch,), generator=generator)
        num_actions = self.logits.shape[1]
        legal = torch.rand(batch, num_actions, generator=generator) < legal_share
        legal[torch.arange(batch), torch.randint(num_actions, (batch,), generator=generator)] = True
        return Root(
            self.logits[state],
            self.value[state],
            state[:, None].float(),
            legal,
            self.to_play[state],
            torch.randint(2**62, (batch,), generator=generator),
            None,
            0.5 + torch.rand(batch, generator=generator),
        )

    def prediction(self, state: int) -> reference.Prediction:
        return reference.Prediction(
            state,
            self.logits[state].tolist(),
            self.value[state].tolist(),
            int(self.to_play[state]),
            self.exists[state].tolist(),
            self.reward[state].tolist(),
            float(self.discount[state]),
            self.chance is not None and bool(self.chance[state]),
        )

    def oracle_step(self, state: int, action: int) -> reference.Prediction:
        return self.prediction(int(self.next_state[state, action]))


def random_model(
    seed: int,
    num_actions: int,
    num_players: int,
    terminal_share: float,
    exists_share: float,
    chance_share: float = 0.0,
) -> TableModel:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(NUM_STATES, *shape, generator=generator)

    def uniform(*shape):
        return torch.rand(NUM_STATES, *shape, generator=generator)

    exists = uniform(num_actions) < exists_share  # may leave a state without any action
    return TableModel(
        next_state=torch.randint(NUM_STATES, (NUM_STATES, num_actions), generator=generator),
        reward=normal(num_players) * 0.3,
        discount=torch.where(uniform() < terminal_share, 0.0, 0.8 + 0.2 * uniform()),
        logits=2 * normal(num_actions),
        value=normal(num_players),
        to_play=torch.randint(num_players, (NUM_STATES,), generator=generator),
        exists=exists,
        with_exists=exists_share < 1,
        chance=uniform() < chance_share if chance_share > 0 else None,
    )
