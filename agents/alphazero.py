"""AlphaZero mode (`search.model: rules`): self-play and reanalysis search with the games' own rules.

The tree holds true positions, and the network says what it thinks of each (Silver et al. 2018); its learned model is
not asked. A game without exact rules (`agents.rules.no_exact_rules`) is searched with the learned model all the same.

Shape legend: B rows of any games, C rows of one game, A actions of the widest game, P most players, W bytes of a
packed state. True = legal. Rewards and values are per seat.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.acting import Query, SearchConfig, decide, prepare_search
from agents.model import SearchModel
from agents.network import MultiGameNetwork, pad_last
from agents.rules import Packing, no_exact_rules
from agents.sampled import prepare_box
from agents.support import decode
from envs.game import Game, NativeGame
from search import RecurrentFn, Result, Root, SampledResult, Step


class ExactRules:
    """The rules of one game and its states as rows of bytes [C, W] uint8, as trees and the replay buffer hold them."""

    def __init__(self, game: NativeGame):
        """ValueError where a search cannot use the rules: chance, hidden information."""
        reason = no_exact_rules(game.spec, game)
        if reason:
            raise ValueError(reason)
        first = game.initial(torch.zeros(1, dtype=torch.int64))
        self.game, self._type, self._packing = game, type(first), Packing(first)
        self.width = self._packing.width

    def pack(self, state: Any) -> Tensor:
        """C states of the game's own type -> [C, W] uint8, bit for bit."""
        return self._packing.pack(state)

    def unpack(self, rows: Tensor) -> Any:
        """[C, W] uint8 -> C states of the game's own type."""
        return self._type(*self._packing.unpack(rows))


def rules_of(game: Game, config: SearchConfig) -> ExactRules | None:
    """What searches of `game` use in place of the learned model; None where they use the learned model."""
    if config.model == "learned" or game.native is None or no_exact_rules(game.spec, game.native):
        return None
    return ExactRules(game.native)


def check_search(games: Sequence[Game], config: SearchConfig, unroll: int) -> None:
    """ValueError where the games of a run cannot be searched as the configuration says.

    unroll: `learner.unroll`; with 0 the learned model is never trained.
    """
    without = [game.spec.name for game in games if rules_of(game, config) is None]
    if unroll == 0 and without:
        why = "search.model is learned" if config.model == "learned" else "it has no exact rules"
        raise ValueError(
            f"learner.unroll=0 trains no model, but {without[0]} is searched with the learned one ({why}); set "
            "learner.unroll to 1 or more" + (", or search.model=rules" if config.model == "learned" else "")
        )
    if config.model == "rules" and len(without) == len(games):
        reason = no_exact_rules(games[0].spec, games[0].native)
        raise ValueError(f"search.model=rules, but no game of the run has exact rules to search with: {reason}")


class States(NamedTuple):
    """The true positions of C rows of one game."""

    rules: ExactRules
    packed: Tensor  # [C, W] uint8


class RulesSearchModel(SearchModel):
    """The games' own rules as a model for the search of a mixed batch, the network judging the true positions.

    The embedding of a node is its packed state, [B, W] uint8 with W the widest game's. One step is each game's rules
    and encoder on its own rows and then the network's heads on all rows in one call; every call has the same shape.
    """

    def __init__(self, network: MultiGameNetwork, states: Sequence[tuple[str, States]], gamma: float):
        """states: (game, its rows) in the order of the rows."""
        sizes = [len(rows.packed) for _, rows in states]
        names = torch.tensor([network.games[name] for name, _ in states])
        super().__init__(network, names.repeat_interleave(torch.tensor(sizes)), gamma)
        self.width = max(rows.rules.width for _, rows in states)
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.parts = [
            (name, rows.rules, slice(end - size, end))
            for (name, rows), size, end in zip(states, sizes, ends, strict=True)
        ]

    def root_of(self, states: Sequence[tuple[str, States]], legal: Tensor, to_play: Tensor, seed: Tensor,
                value_scale: Tensor | None) -> Root:  # fmt: skip
        """One root a row: the states that the model was made for; legal [B, A] bool, to_play [B], seed [B]."""
        seen = [(name, rows.rules.game.observe(rows.rules.unpack(rows.packed))) for name, rows in states]
        packed = [pad_last(rows.packed, self.width) for _, rows in states]
        return self.root(seen, legal, to_play, seed, value_scale)._replace(embedding=torch.cat(packed))

    def step(self, embedding: Tensor, action: Tensor) -> Step:
        """embedding [B, W] uint8, action [B] int64 -> what the rules and the network say."""
        network, widest = self.network, self.exists.shape[1]
        found, shown = [], []
        for name, rules, rows in self.parts:
            game = rules.game
            played = game.play(rules.unpack(embedding[rows, : rules.width]), action[rows])
            legal, to_play = game.legal(played.state), game.to_play(played.state)
            found.append((
                network.represent(name, game.observe(played.state)),
                pad_last(rules.pack(played.state), self.width),
                pad_last(played.reward, self.num_seats),
                played.terminated,
                pad_last(legal, widest),
                to_play,
            ))  # fmt: skip
            if self.varies:  # the rules know what can be said here
                shown.append((name, game.observe(played.state)))
        columns = found[0] if len(found) == 1 else tuple(torch.cat(column) for column in zip(*found, strict=True))
        latent, packed, reward, terminated, legal, to_play = columns
        commands = self.read_commands(shown) if self.varies else None
        heads = network.read(latent, self.action_row, self.num_values, self.num_players, commands)
        return Step(
            embedding=packed,
            reward=reward,
            discount=torch.where(terminated, 0.0, self.gamma),
            prior_logits=heads.policy,
            value=self._seats(decode(heads.value, network.bins), to_play),
            to_play=to_play,
            exists=legal,
        )

    def recurrent_fn(self) -> RecurrentFn:
        """Always `step`: rules are torch code, which has no compiled form."""
        return self.step


class Found(NamedTuple):
    """What the searches of a mixed batch decided, as in `search.Result` but for the tree.

    In rows of games with continuous actions a number of an action means the row's own k-th sample; A is the widest
    game's number of actions, or of samples where those are more.
    """

    action: Tensor  # [B] int64
    policy_target: Tensor  # [B, A] float32
    root_value: Tensor  # [B, P] float32
    visits: Tensor  # [B, A] int64
    q_values: Tensor  # [B, A] float32
    samples: dict[str, Tensor]  # game with continuous actions -> [its rows, K, D] float32 in the unit box


def search_games(
    network: MultiGameNetwork, observations: Sequence[tuple[str, Tensor]], states: Mapping[str, States], query: Query
) -> Found:
    """Search a mixed batch: the games of `states` with their rules, in one search, the others with the learned model,
    in another, games whose commands vary apart from the rest, and each game with continuous actions by itself
    (`agents.sampled`). observations and query are those of `agents.acting.search_batch`; what comes out is in their
    order.
    """
    return prepare_games(network, observations, states, query)()


def prepare_games(
    network: MultiGameNetwork, observations: Sequence[tuple[str, Tensor]], states: Mapping[str, States], query: Query
) -> Callable[[], Found]:
    """`search_games` up to where the trees begin to grow. What is returned does the rest, in any thread; it may read
    the network's weights."""
    places = torch.arange(len(query.seed)).split([len(rows) for _, rows in observations])
    searches: list[Callable[[], Result | SampledResult]] = []
    order, boxes = [], []  # rows of each search; the games of the last searches
    specs = [network.specs[network.games[name]] for name, _ in observations]
    kinds = [
        None if spec.box is not None else (spec.action_tokens > 0, name in states)
        for spec, (name, _) in zip(specs, observations, strict=True)
    ]
    for varies, by_rules in ((False, False), (False, True), (True, False), (True, True)):
        chosen = [index for index, kind in enumerate(kinds) if kind == (varies, by_rules)]
        if not chosen:
            continue
        rows = torch.cat([places[index] for index in chosen])
        given = query.of(rows)
        pairs = [observations[index] for index in chosen]
        if by_rules:
            shown = [(name, states[name]) for name, _ in pairs]
            searches.append(functools.partial(search_rules, network, shown, given))
        else:
            searches.append(prepare_search(network, pairs, given))
        order.append(rows)
    for (name, observation), kind, rows in zip(observations, kinds, places, strict=True):
        if kind is None:
            searches.append(prepare_box(network, name, observation, query.of(rows)))
            order.append(rows)
            boxes.append(name)

    def run() -> Found:
        results = [search() for search in searches]
        sampled = [result for result in results if isinstance(result, SampledResult)]
        samples = {name: result.samples for name, result in zip(boxes, sampled, strict=True)}
        columns = [[_column(result, name) for result in results] for name in Found._fields[:-1]]
        if len(results) == 1:
            return Found._make((*(column[0] for column in columns), samples))
        back = torch.argsort(torch.cat(order))
        return Found._make((*(torch.cat(_as_wide(column))[back] for column in columns), samples))

    return run


def _column(result: Result | SampledResult, name: str) -> Tensor:
    return result.index if name == "action" and isinstance(result, SampledResult) else getattr(result, name)


def _as_wide(column: list[Tensor]) -> list[Tensor]:
    """Tensors [rows, *] of several searches, all as wide as the widest."""
    if column[0].dim() == 1:
        return column
    widest = max(part.shape[1] for part in column)
    return [pad_last(part, widest) for part in column]


@torch.inference_mode()
def search_rules(network: MultiGameNetwork, states: Sequence[tuple[str, States]], query: Query) -> Result:
    """Search a mixed batch with the games' rules: (game, its states) pairs in the order of the query's rows."""
    model = RulesSearchModel(network, states, query.config.gamma)
    root = model.root_of(states, query.legal, query.to_play, query.seed, query.value_scale)
    return decide(root, model.recurrent_fn(), query.num_simulations, query.config, query.greedy)
