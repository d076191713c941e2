"""Search with a game's own rules: the model is `NativeGame.play`, a node's embedding is the state itself (AlphaZero).

Shape legend: B positions, A actions, P players, W bytes of a packed row. Values and rewards are per seat.

What a new position is worth, and which moves look good in it, says an *evaluator*: nothing (`no_opinion`), a game
played out at random (`Rollouts`), or a network that is shown the true position (`NetworkOpinion`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.acting import SearchConfig, decide
from agents.network import MultiGameNetwork
from agents.player import Decision, choose_uniformly
from envs.game import GameSpec, NativeGame
from envs.solver import take
from search import PUCTConfig, Root, Step, TreeRange, Unvisited, muzero, noise

PATH = 0xD1342543DE82EF95 - 2**64  # odd: keys of different paths differ; noise.uniform mixes them further
_ROLLOUT, ORDER = 1 << 20, 1 << 21  # streams of `noise.uniform`: far from those of search
_LONGEST_ROLLOUT = 200  # moves, where a game does not say how long it can last

MCTS = PUCTConfig(dirichlet_fraction=0.0, temperature=0.0, unit=TreeRange(), unvisited=Unvisited.NODE)


class Positions(NamedTuple):
    """B positions as an evaluator sees them."""

    state: Any  # B states of the game's own type
    legal: Tensor  # [B, A] bool
    to_play: Tensor  # [B] int64
    over: Tensor  # [B] bool: the game has ended; what the evaluator says of it does not count
    key: Tensor  # [B] int64: the source of all randomness, from the row's seed and the moves since the root


Evaluator = Callable[[Positions], tuple[Tensor, Tensor]]  # -> prior logits [B, A], value [B, P], both float32


class Packing:
    """Tensors [B, ...] of any types, side by side in one row of bytes; made for tensors like the `example`."""

    def __init__(self, example: Sequence[Tensor]):
        # Large items first and a width of whole 16 bytes: every part of every row is aligned and can be viewed as
        # what it is.
        self._order = sorted(range(len(example)), key=lambda i: -example[i].dtype.itemsize)
        self._kinds = [(example[i].dtype, example[i].shape[1:]) for i in self._order]
        self._sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in self._kinds]
        self._padding = -sum(self._sizes) % 16
        self.width = sum(self._sizes) + self._padding

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        """[B, W] uint8. ValueError where a tensor's type or shape is not that of the example."""
        parts = []
        for i, (dtype, shape) in zip(self._order, self._kinds, strict=True):
            tensor = tensors[i]
            if tensor.dtype != dtype or tensor.shape[1:] != shape:
                raise ValueError(
                    f"tensor {i} of a state is {list(tensor.shape[1:])} {tensor.dtype} here and was {list(shape)} "
                    f"{dtype} at the start; the rules must keep shapes and types"
                )
            parts.append(tensor.reshape(len(tensor), math.prod(shape)).view(torch.uint8))
        if self._padding:
            parts.append(parts[0].new_zeros(len(parts[0]), self._padding))
        return torch.cat(parts, 1)

    def unpack(self, rows: Tensor) -> list[Tensor]:
        """[B, W] uint8 -> copies of the tensors, in the order of the example."""
        parts = rows.contiguous().split([*self._sizes, self._padding], 1)
        tensors: list[Any] = [None] * len(self._order)
        for i, part, (dtype, shape) in zip(self._order, parts, self._kinds):
            tensors[i] = part.view(dtype).reshape(len(rows), *shape).contiguous()
        return tensors


class RulesModel:
    """The rules of `game` as a model for search, for games without chance and without hidden information.

    The embedding of a node is [B, W] uint8: its state, bit for bit, and the node's key.
    """

    def __init__(self, game: NativeGame, evaluate: Evaluator, gamma: float = 1.0):
        reason = no_exact_rules(game.spec, game)
        if reason:
            raise ValueError(reason)
        self.game, self.evaluate, self.gamma = game, evaluate, gamma
        first = game.initial(torch.zeros(1, dtype=torch.int64))
        self._type, self._packing = type(first), Packing([*first, torch.zeros(1, dtype=torch.int64)])

    def root(self, state: Any, seed: Tensor, value_scale: Tensor | None = None) -> Root:
        """B states in which somebody is to move, seed [B] int64, value_scale [B] float32 -> the search's root."""
        legal, to_play = self.game.legal(state), self.game.to_play(state)
        logits, value = self.evaluate(Positions(state, legal, to_play, torch.zeros_like(to_play).bool(), seed))
        embedding = self._packing.pack([*state, seed])
        return Root(logits, value, embedding, legal, to_play, seed, value_scale=value_scale)

    def step(self, embedding: Tensor, action: Tensor, row: Tensor | None = None) -> Step:
        """embedding [B, W] uint8, action [B] int64 -> what the rules say. `row` (a search in waves) is not needed."""
        state, key = self.unpack(embedding)
        played = self.game.play(state, action)
        legal, to_play = self.game.legal(played.state), self.game.to_play(played.state)
        key = key * PATH + action + 1
        logits, value = self.evaluate(Positions(played.state, legal, to_play, played.terminated, key))
        return Step(
            embedding=self._packing.pack([*played.state, key]),
            reward=played.reward,
            discount=(~played.terminated).float() * self.gamma,
            prior_logits=logits,
            value=value,
            to_play=to_play,
            exists=legal,
        )

    def unpack(self, embedding: Tensor) -> tuple[Any, Tensor]:
        """Embeddings [B, W] -> the B states and their keys [B] int64."""
        *state, key = self._packing.unpack(embedding)
        return self._type(*state), key


def no_exact_rules(spec: GameSpec, native: NativeGame | None) -> str | None:
    """Why a search cannot use the game's own rules; None if it can."""
    if native is None:
        return (
            f"game {spec.name} has no exact rules here: it is a wrapped environment, which a search cannot branch; "
            "search with a learned model, or write native rules (docs/adding-a-game.md)"
        )
    if spec.stochastic or not spec.perfect_information:
        what = "chance" if spec.stochastic else "hidden information"
        return f"game {spec.name} has {what}: a search with its rules would see what a player cannot know"
    if spec.box is not None:
        return f"game {spec.name} has continuous actions, which a search with exact rules does not sample"
    return None


def no_opinion(at: Positions, num_players: int) -> tuple[Tensor, Tensor]:
    """All moves alike, value 0: the search learns from rewards alone."""
    logits = torch.zeros(at.legal.shape, device=at.legal.device)
    return logits, logits.new_zeros(len(logits), num_players)


class Rollouts:
    """All moves alike; the value is the return of one game, played on at random to its end (classic UCT).

    The moves come from the position's key: the same row and node always play out the same way. A rollout reads back
    after every move which games go on.
    """

    def __init__(self, game: NativeGame, gamma: float = 1.0):
        self.game, self.gamma = game, gamma
        self.max_moves = game.spec.max_length or _LONGEST_ROLLOUT

    def __call__(self, at: Positions) -> tuple[Tensor, Tensor]:
        """See `Evaluator`."""
        logits, returns = no_opinion(at, self.game.spec.num_players)
        draws = noise.uniform(at.key, self.max_moves, _ROLLOUT)
        state, legal, rows, weight = at.state, at.legal, torch.arange(len(at.key), device=at.key.device), 1.0
        going = ~at.over
        for move in range(self.max_moves):
            if not bool(going.all()):
                kept = going.nonzero()[:, 0]
                if not len(kept):
                    break
                state, legal, rows = take(state, kept), legal[kept], rows[kept]
            rank = (draws[rows, move] * legal.sum(1)).long()
            action = (legal.cumsum(1) > rank[:, None]).int().argmax(1)
            played = self.game.play(state, action)
            returns.index_add_(0, rows, played.reward, alpha=weight)
            state, going, weight = played.state, ~played.terminated, weight * self.gamma
            legal = self.game.legal(state)
        return logits, returns


class NetworkOpinion:
    """The policy and value that a MuZero network's representation and heads give to the true position."""

    def __init__(self, network: MultiGameNetwork, game: NativeGame):
        self.network, self.game = network, game

    def __call__(self, at: Positions) -> tuple[Tensor, Tensor]:
        """See `Evaluator`."""
        spec, network = self.game.spec, self.network
        index, seen = torch.full_like(at.to_play, network.games[spec.name]), self.game.observe(at.state)
        heads = network.heads(network.represent(spec.name, seen), index, network.commands(spec.name, seen))
        value = network.decode_seats(heads.value, index, at.to_play, spec.num_players)
        return heads.policy[:, : spec.num_actions].float(), value.float()


class RulesPlayer:
    """A `StatePlayer` that searches with a game's rules."""

    def __init__(self, model: RulesModel, decide: Callable[[Root], Decision], name: str, value_scale: float = 1.0):
        """decide: searches from a root by `model.step`. value_scale: the unit of Q (`agents.acting.ValueScales`)."""
        self.model, self.decide, self.name, self.value_scale = model, decide, name, value_scale

    @torch.inference_mode()
    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """See `agents.player.StatePlayer`."""
        scale = torch.full(seed.shape, self.value_scale, device=seed.device)
        return self.decide(self.model.root(state, seed, scale))


def mcts_player(game: NativeGame, simulations: int) -> RulesPlayer:
    """Plain Monte Carlo tree search: PUCT over the rules, one rollout a simulation, the most visited move.

    Which of several moves that look alike is tried first, and which of the equally visited ones is played, is drawn
    by the row's seed. No network, nothing learned.
    """
    model = RulesModel(game, Rollouts(game))

    def decide(root: Root) -> Decision:
        order = noise.uniform(root.seed, game.spec.num_actions, ORDER).float()
        result = muzero(root._replace(prior_logits=1e-3 * order), model.step, simulations, MCTS)
        most = result.visits == result.visits.amax(1, keepdim=True)
        action = choose_uniformly(most, root.seed)
        return Decision(action, result.policy_target, None, result.root_value, result.visits)

    return RulesPlayer(model, decide, f"mcts:{simulations}")


def network_player(
    network: MultiGameNetwork,
    game: NativeGame,
    config: SearchConfig,
    value_scale: float,
    simulations: int,
    greedy: bool = True,
    name: str = "agent+rules",
) -> RulesPlayer:
    """A MuZero network played as AlphaZero's: the search of `agents.agent.NetworkPlayer` with `game`'s rules in place
    of the learned model. ValueError where the network does not play the game or there is nothing to search."""
    if game.spec.name not in network.games:
        raise ValueError(
            f"this network does not play {game.spec.name}; it plays {', '.join(network.games) or 'nothing'}"
        )
    if simulations < 1:
        raise ValueError(f"a search with the rules needs at least 1 simulation, found {simulations}; 0 plays the raw "
                         "policy, which looks at no rules")  # fmt: skip
    model = RulesModel(game, NetworkOpinion(network, game), config.gamma)

    def choose(root: Root) -> Decision:
        result = decide(root, model.step, simulations, config, greedy)
        prior = root.prior_logits.masked_fill(~root.legal, -torch.inf).softmax(1)
        return Decision(result.action, result.policy_target, prior, result.root_value, result.visits)

    return RulesPlayer(model, choose, name, value_scale)
