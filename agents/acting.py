"""Acting: one search over a mixed batch of games, and the unit in which each game's differences of value count."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from agents.bounds import at_least, at_most
from agents.model import SearchModel
from agents.network import MultiGameNetwork
from search import GumbelConfig, PUCTConfig, RecurrentFn, Result, Root, RowScale, gumbel_muzero, muzero


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How the agent searches, in self-play, reanalysis and evaluation alike."""

    simulations: int = 16
    """Simulations of one search in self-play and reanalysis."""
    max_considered: int = 8
    """Root actions that sequential halving starts from (Danihelka et al. 2022)."""
    gamma: float = 0.997
    """Discount of one step."""
    value_weight: float = 0.03
    """Weight of a difference of value that is one unit of the game's own scale, times (50 + most visits)."""
    noise_weight: float = 0.7
    """How far the typical error of the values widens the game's unit: differences below it are noise."""
    q_unit: dict[str, float] = dataclasses.field(default_factory=dict)
    """Game -> the unit of its differences of value, set by hand; 0, and games not named here: found automatically."""
    policy: Literal["gumbel", "puct"] = "gumbel"
    """How simulations are spent: Gumbel MuZero's sequential halving, or MuZero's PUCT, whose policy target is the share
    of visits; max_considered, value_weight and noise_weight are for gumbel alone."""
    samples: int = 16
    """K, actions that are drawn from the policy at each node of a search where actions are continuous (Hubert et al.
    2021); max_considered are then the root's first samples."""
    model: Literal["learned", "rules"] = "learned"
    """What positions to come are taken from: the learned model (MuZero), or the games' own rules (AlphaZero) where a
    game has exact ones; games that have none are then searched with the learned model all the same."""

    def __post_init__(self) -> None:
        at_least("search", self, simulations=1, max_considered=1, samples=1, gamma=0, value_weight=0, noise_weight=0)
        at_most("search", self, gamma=1, value_weight=1e6, noise_weight=1e6)
        at_most("search", self, simulations=10**6, max_considered=10**6, samples=10**6)
        for game, unit in self.q_unit.items():
            if not (unit == 0 or 1e-6 <= unit <= 1e6):
                raise ValueError(f"search.q_unit.{game} must be 0 (automatic) or lie in 1e-6 to 1e6, found {unit}")


def gumbel_config(config: SearchConfig, greedy: bool) -> GumbelConfig:
    """The search's own configuration; greedy leaves the Gumbel noise out."""
    return GumbelConfig(
        max_considered=config.max_considered,
        gumbel_scale=0.0 if greedy else 1.0,
        value_scale=config.value_weight,
        unit=RowScale(),
    )


def policy_config(config: SearchConfig, greedy: bool) -> GumbelConfig | PUCTConfig:
    """How `config` says that simulations are spent; greedy leaves all noise out."""
    if config.policy == "puct":
        return PUCTConfig(dirichlet_fraction=0.0 if greedy else 0.25, temperature=0.0 if greedy else 1.0)
    if config.policy == "gumbel":
        return gumbel_config(config, greedy)
    raise ValueError(f"search.policy={config.policy!r} is not one of gumbel, puct")


def decide(root: Root, recurrent_fn: RecurrentFn, num_simulations: int, config: SearchConfig, greedy: bool) -> Result:
    """The search that `config` names; greedy leaves all noise out."""
    rules = policy_config(config, greedy)
    if isinstance(rules, PUCTConfig):
        return muzero(root, recurrent_fn, num_simulations, rules, check=False)
    return gumbel_muzero(root, recurrent_fn, num_simulations, rules, check=False)


class Query(NamedTuple):
    """What a search of B rows is asked, beside what they show."""

    legal: Tensor  # [B, A] bool over the widest game's actions
    to_play: Tensor  # [B] int64
    seed: Tensor  # [B] int64
    value_scale: Tensor  # [B] float32: each row's unit of Q
    config: SearchConfig
    num_simulations: int
    greedy: bool  # without noise

    def of(self, rows: Tensor) -> Query:
        """The same of some rows, by number [R]."""
        return self._replace(
            legal=self.legal[rows], to_play=self.to_play[rows], seed=self.seed[rows], value_scale=self.value_scale[rows]
        )


def search_batch(network: MultiGameNetwork, observations: Sequence[tuple[str, Tensor]], query: Query) -> Result:
    """Search a mixed batch: (game, observation [rows, *shape]) pairs in the order of the query's rows."""
    return prepare_search(network, observations, query)()


@torch.inference_mode()
def prepare_search(
    network: MultiGameNetwork, observations: Sequence[tuple[str, Tensor]], query: Query
) -> Callable[[], Result]:
    """`search_batch` up to where the tree begins to grow: the roots are there. What is returned does the rest."""
    game = torch.cat([torch.full((len(rows),), network.games[name], dtype=torch.int64) for name, rows in observations])
    model = SearchModel(network, game, query.config.gamma)
    root = model.root(observations, query.legal, query.to_play, query.seed, query.value_scale)
    recurrent_fn = model.recurrent_fn()

    @torch.inference_mode()
    def run() -> Result:
        return decide(root, recurrent_fn, query.num_simulations, query.config, query.greedy)

    return run


class ValueScales:
    """Per game, how much the values of the root's actions differ: the unit of Q in that game's searches.

    A running median, over positions, of the spread of Q among visited root actions. Values enter the improved policy
    divided by it, so that one weight serves games whose returns differ by any factor. The median, because a few
    positions where everything is at stake (the pole is about to fall) would drown the ordinary ones in a mean.

    The unit is sqrt(median squared spread + (noise_weight * e) ** 2), e the running mean of the batches' median |value
    error|: where actions differ by less than the values err, the difference is noise.
    """

    def __init__(self, decay: float = 0.99, noise_weight: float = 0.0, by_hand: Mapping[str, float] | None = None):
        """decay: of both running means, a step of self-play and an update. noise_weight: see the class. by_hand: game
        -> its unit, which then stands, where it is not 0."""
        self.decay, self.noise_weight, self.by_hand = decay, noise_weight, dict(by_hand or {})
        self.error: dict[str, float] = {}
        self.square: dict[str, float] = {}
        self.weight: dict[str, float] = {}

    def __getitem__(self, game: str) -> float:
        """The present scale of `game`: the one set by hand, else the one found; 1 before anything is known."""
        if self.by_hand.get(game):
            return self.by_hand[game]
        if not self.weight.get(game):
            return 1.0
        noise = self.noise_weight * self.error.get(game, 0.0)
        return max((self.square[game] / self.weight[game] + noise**2) ** 0.5, 1e-6)

    def note_error(self, game: str, error: float) -> None:
        """Take in the median error of the values of one batch of training positions, in the game's units."""
        self.error[game] = error if game not in self.error else self.decay * self.error[game] + (1 - self.decay) * error

    def update(self, game: str, q_values: Tensor, visits: Tensor) -> None:
        """Take in one step's searches: q_values [B, A] of the mover, visits [B, A]."""
        visited = visits > 0
        count = visited.sum(1).clamp(min=1)
        mean = torch.where(visited, q_values, 0.0).sum(1) / count
        spread = torch.where(visited, (q_values - mean[:, None]) ** 2, 0.0).sum(1) / count
        several = visited.sum(1) > 1
        if not bool(several.any()):
            return
        new = float(spread[several].median())
        self.square[game] = self.decay * self.square.get(game, 0.0) + (1 - self.decay) * new
        self.weight[game] = self.decay * self.weight.get(game, 0.0) + (1 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        return {"square": dict(self.square), "weight": dict(self.weight), "error": dict(self.error)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.square, self.weight = dict(state["square"]), dict(state["weight"])
        self.error = dict(state.get("error", {}))
