"""Search with a game's own rules where a move's outcome is left to chance: for `search.stochastic_muzero`.

Shape legend: B positions, A actions, C outcomes, P players, W bytes of a packed row. Values and rewards are per seat.

The tree's decision nodes hold true positions, its chance nodes true afterstates, and the probabilities are those of the
rules (`envs.game.ChanceGame`). No search may see what chance would do in the game itself: the randomness of a root's
position is replaced by that of the row's seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.player import Decision, choose_uniformly
from agents.rules import MCTS, ORDER, PATH, Evaluator, Packing, Positions, Rollouts
from envs.game import ChanceGame
from search import Afterstate, Root, Step, noise, stochastic_muzero

_OUTCOME = 1 << 22  # a stream of `noise.uniform`, far from those of agents.rules


class ChanceRulesModel:
    """The rules of `game` as the two functions of `stochastic_muzero`: `decision` and `outcome`.

    An embedding is [B, W] uint8: a state or an afterstate, bit for bit, and the node's key. An afterstate is worth what
    the evaluator says of one of its outcomes, drawn with the key, and the reward of the way there.
    """

    def __init__(self, game: ChanceGame, evaluate: Evaluator, gamma: float = 1.0):
        """ValueError for rules that do not say what chance can do."""
        if not game.spec.num_outcomes:
            raise ValueError(
                f"{game.spec.name} has no explicit chance: write decide, chances and resolve (docs/adding-a-game.md)"
            )
        if not game.spec.perfect_information:
            raise ValueError(f"{game.spec.name} has hidden information: its rules would see what a player cannot know")
        self.game, self.evaluate, self.gamma = game, evaluate, gamma
        number = torch.zeros(1, dtype=torch.int64)
        state = game.initial(number)
        after = game.decide(state, number)
        self._state, self._states = type(state), Packing([*state, number])
        self._after, self._afters = type(after), Packing([*after, number])

    @property
    def num_codes(self) -> int:
        """C, as `stochastic_muzero` asks for it."""
        return self.game.spec.num_outcomes

    @property
    def afterstate_shape(self) -> tuple[int]:
        """The shape of a packed afterstate, as `stochastic_muzero` asks for it."""
        return (self._afters.width,)

    def root(self, state: Any, seed: Tensor, value_scale: Tensor | None = None) -> Root:
        """B states in which somebody is to move, seed [B] int64, value_scale [B] float32 -> the search's root."""
        state = state._replace(key=seed * PATH)
        legal, to_play = self.game.legal(state), self.game.to_play(state)
        logits, value = self.evaluate(Positions(state, legal, to_play, torch.zeros_like(to_play).bool(), seed))
        packed = self._states.pack([*state, seed])
        return Root(logits, value, packed, legal, to_play, seed, value_scale=value_scale)

    def decision(self, embedding: Tensor, action: Tensor) -> Afterstate:
        """embedding [B, W] of states, action [B] int64 -> the afterstates and the probabilities of what may come."""
        *parts, key = self._states.unpack(embedding)
        after = self.game.decide(self._state(*parts), action)
        chances = self.game.chances(after)
        key = key * PATH + action + 1
        bounds = chances.cumsum(1)
        drawn = (bounds <= noise.uniform(key, 1, _OUTCOME) * bounds[:, -1:]).sum(1).clamp(max=self.num_codes - 1)
        played = self.game.resolve(after, drawn)
        legal, to_play = self.game.legal(played.state), self.game.to_play(played.state)
        _, value = self.evaluate(Positions(played.state, legal, to_play, played.terminated, key))
        value = played.reward + self.gamma * torch.where(played.terminated[:, None], 0.0, value)
        # Outcomes that cannot happen do not exist; their logarithm must only be finite.
        return Afterstate(self._afters.pack([*after, key]), chances.clamp(min=1e-30).log(), value, chances > 0)

    def outcome(self, embedding: Tensor, outcome: Tensor) -> Step:
        """embedding [B, W'] of afterstates, outcome [B] int64 -> what the rules and the evaluator say."""
        *parts, key = self._afters.unpack(embedding)
        played = self.game.resolve(self._after(*parts), outcome)
        legal, to_play = self.game.legal(played.state), self.game.to_play(played.state)
        key = key * PATH + outcome + 1
        state = played.state._replace(key=key)
        logits, value = self.evaluate(Positions(state, legal, to_play, played.terminated, key))
        return Step(
            embedding=self._states.pack([*state, key]),
            reward=played.reward,
            discount=(~played.terminated).float() * self.gamma,
            prior_logits=logits,
            value=value,
            to_play=to_play,
            exists=legal,
        )


class ChanceRulesPlayer:
    """Plain Monte Carlo tree search with chance nodes, a `StatePlayer`: what `agents.rules.mcts_player` makes for games
    without chance. PUCT over the rules, one rollout a simulation, the most visited move."""

    def __init__(self, game: ChanceGame, simulations: int):
        self.model, self.simulations = ChanceRulesModel(game, Rollouts(game)), simulations
        self.name = f"mcts:{simulations}"

    @torch.inference_mode()
    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """See `agents.player.StatePlayer`."""
        model, root = self.model, self.model.root(state, seed)
        order = noise.uniform(seed, model.game.spec.num_actions, ORDER).float()
        result = stochastic_muzero(
            root._replace(prior_logits=1e-3 * order), model.decision, model.outcome, self.simulations, model.num_codes,
            MCTS, afterstate_shape=model.afterstate_shape,
        )  # fmt: skip
        most = result.visits == result.visits.amax(1, keepdim=True)
        action = choose_uniformly(most, seed)
        return Decision(action, result.policy_target, None, result.root_value, result.visits)
