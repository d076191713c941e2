"""Self-play: all copies of all active games in one mixed batch, one search a step.

Shape legend: B rows of all games, C copies of one game, A actions of the widest game; where actions are continuous K
samples of a search, of D numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.acting import Query, SearchConfig, ValueScales
from agents.alphazero import ExactRules, Found, States, prepare_games
from agents.bounds import at_least, at_most
from agents.continuous import to_game
from agents.encoders import label_seed
from agents.network import MultiGameNetwork, pad_last
from agents.novelty import Novelty
from agents.replay import ReplayBuffer, copies_field
from envs.batch import NativeEnvironment
from envs.game import Environment, GameSpec, Timestep


@dataclasses.dataclass(frozen=True)
class SelfPlayConfig:
    """How experience is collected."""

    copies: int = 64
    """Copies of each native game played at once."""
    wrapped_copies: int = 32
    """Copies of each other game: its steps are what is scarce, and fewer of them an update learn more from each."""
    picture_copies: int = 16
    """Copies of each game that is neither native nor shown as a vector or tokens: fewer still, for what the model must
    foresee in pictures (`learner.consistency_loss`) makes it safe to learn more from each."""
    random_plies: int = 8
    """Episodes begin with 0 to this many uniformly random moves, which are no targets: they bring variety."""
    explore: float = 0.3
    """Share of later moves that are uniformly random, too, in some copies: they show what no good policy meets any
    more. The search's policy of the position is a target all the same; value targets sum no rewards across such a
    move."""
    explore_share: float = 0.25
    """Share of the copies that make such moves: the last ones, while the first are greedy (`greedy_share`)."""
    greedy_share: float = 0.5
    """Share of the copies that play the best move of the search's policy, without noise: they reach positions that
    noise keeps the others from."""

    def __post_init__(self) -> None:
        counts = ("copies", "wrapped_copies", "picture_copies")
        shares = dict.fromkeys(("explore", "explore_share", "greedy_share"), 0)
        at_least("selfplay", self, **dict.fromkeys(counts, 1), **shares, random_plies=0)
        at_most("selfplay", self, **dict.fromkeys((*counts, "random_plies"), 10**6), **dict.fromkeys(shares, 1))

    def copies_of(self, spec: GameSpec) -> int:
        """How many copies of this game are played at once."""
        return getattr(self, copies_field(spec))


class Collector:
    """The copies of one game, their current timestep and what is being summed up about running episodes."""

    def __init__(self, spec: GameSpec, environment: Environment, config: SelfPlayConfig, seed: int,
                 rules: ExactRules | None = None, novelty: Novelty | None = None):  # fmt: skip
        """rules: what the game is searched with; the environment then has the states. None: the learned model. novelty:
        what is new in the game, where curiosity has a say in the moves."""
        self.spec, self.environment, self.config, self.rules = spec, environment, config, rules
        self.novelty = novelty
        self.generator = torch.Generator().manual_seed(label_seed(seed, "self-play", spec.name))
        self.base_seed = label_seed(seed, "search", spec.name)
        self.num_steps = 0  # steps of every copy so far
        self.timestep: Timestep = environment.reset()
        self.score = torch.zeros(environment.num_copies, spec.num_players)  # running return per seat
        self.length = torch.zeros(environment.num_copies, dtype=torch.int64)
        self.opening = self._draw_openings(environment.num_copies)

    def _draw_openings(self, count: int) -> Tensor:
        return torch.randint(0, self.config.random_plies + 1, (count,), generator=self.generator)

    def search_seeds(self) -> Tensor:
        """[C] int64, different for every copy and step."""
        copies = self.environment.num_copies
        return (self.base_seed + self.num_steps * copies + torch.arange(copies)) & 0x7FFFFFFFFFFFFFFF

    def states(self) -> States | None:
        """The true positions of the copies, where the game is searched with its rules."""
        if self.rules is None:
            return None
        assert isinstance(self.environment, NativeEnvironment), f"{self.spec.name} shows no states"
        return States(self.rules, self.rules.pack(self.environment.state))

    def state_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment.state_dict(),
            "generator": self.generator.get_state(),
            "num_steps": self.num_steps,
            "score": self.score,
            "length": self.length,
            "opening": self.opening,
            **({"novelty": self.novelty.state_dict()} if self.novelty is not None else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError for the state of another number of copies."""
        saved, copies, field = len(state["length"]), self.environment.num_copies, copies_field(self.spec)
        if saved != copies:
            raise ValueError(
                f"{self.spec.name}: saved with {saved} copies, now there are {copies}; "
                f"go on with selfplay.{field}={saved}"
            )
        self.timestep = self.environment.load_state_dict(state["environment"])
        self.generator.set_state(state["generator"])
        self.num_steps = state["num_steps"]
        self.score, self.length, self.opening = state["score"], state["length"], state["opening"]
        if self.novelty is not None and "novelty" in state:  # else curiosity was switched on by this resume
            self.novelty.load_state_dict(state["novelty"])


@dataclasses.dataclass(frozen=True)
class EndedEpisodes:
    """Episodes of one game that ended in one step: E of them."""

    score: Tensor  # [E, P] return per seat, undiscounted
    length: Tensor  # [E] moves


class Step(NamedTuple):
    """One step of all copies that has been begun: what it still has to search, and where its moves will be played."""

    collectors: dict[str, Collector]
    states: dict[str, States | None]
    search: Callable[[], Found]


def collect_step(
    network: MultiGameNetwork,
    collectors: dict[str, Collector],
    buffers: dict[str, ReplayBuffer],
    scales: ValueScales,
    config: SearchConfig,
) -> dict[str, EndedEpisodes]:
    """Search and play one move in every copy of every game; store it; returns the episodes that ended."""
    step = begin_step(network, collectors, scales, config)
    return finish_step(network, step, step.search(), buffers, scales)


def begin_step(
    network: MultiGameNetwork, collectors: dict[str, Collector], scales: ValueScales, config: SearchConfig
) -> Step:
    """Everything of `collect_step` before the trees grow."""
    widest = network.tables.exists.shape[1]
    steps = {name: collector.timestep for name, collector in collectors.items()}
    states = {name: collector.states() for name, collector in collectors.items()}
    query = Query(
        legal=torch.cat([pad_last(step.legal, widest) for step in steps.values()]),
        to_play=torch.cat([step.to_play for step in steps.values()]),
        seed=torch.cat([collector.search_seeds() for collector in collectors.values()]),
        value_scale=torch.cat([torch.full((len(step.to_play),), scales[name]) for name, step in steps.items()]),
        config=config,
        num_simulations=config.simulations,
        greedy=False,
    )
    observations = [(name, step.observation) for name, step in steps.items()]
    exact = {name: known for name, known in states.items() if known is not None}
    search = prepare_games(network, observations, exact, query)
    return Step(dict(collectors), states, search)


def finish_step(
    network: MultiGameNetwork, step: Step, result: Found, buffers: dict[str, ReplayBuffer], scales: ValueScales
) -> dict[str, EndedEpisodes]:
    """Play and store the moves that the search of `step` decided on."""
    ended, first = {}, 0
    for name, collector in step.collectors.items():
        rows = slice(first, first + collector.environment.num_copies)
        first = rows.stop
        samples = result.samples.get(name)
        actions = collector.spec.num_actions if samples is None else samples.shape[1]
        scales.update(name, result.q_values[rows, :actions], result.visits[rows, :actions])
        ended[name] = _play(
            network, collector, buffers[name], result.action[rows], result.policy_target[rows, :actions],
            result.root_value[rows, : collector.spec.num_players], step.states[name], samples,
        )  # fmt: skip
    return ended


def _play(network: MultiGameNetwork, collector: Collector, buffer: ReplayBuffer, action: Tensor, policy: Tensor,
          value: Tensor, states: States | None, samples: Tensor | None = None) -> EndedEpisodes:  # fmt: skip
    """Play `action` [C] (a random move in openings), store the step, begin what ended anew.

    samples [C, K, D]: what the actions' numbers mean, and the policy is about, where actions are continuous."""
    before, opening = collector.timestep, collector.opening > 0
    greedy = round(collector.config.greedy_share * len(action))
    if greedy:
        action = torch.cat([policy[:greedy].argmax(1), action[greedy:]])
    strayed = drawn = torch.zeros_like(opening)
    if collector.novelty is not None:
        action, strayed = collector.novelty.play(before.observation, before.legal, action, policy)
    if collector.config.explore:
        drawn = torch.rand(len(opening), generator=collector.generator) < collector.config.explore
        drawn[: len(drawn) - round(collector.config.explore_share * len(drawn))] = False
    explored = (strayed | drawn) & ~opening
    at_random = opening | drawn
    point = None
    if samples is not None:
        point = _point(collector, samples[torch.arange(len(action)), action], at_random)
        action = torch.zeros_like(action)
    elif bool(at_random.any()):
        random = torch.multinomial(before.legal.float(), 1, generator=collector.generator)[:, 0]
        action = torch.where(at_random, random, action)
    played = action
    if point is not None:
        assert collector.spec.box is not None, "only games with continuous actions have samples"
        played = to_game(collector.spec.box, point)
    after = collector.environment.step(played)
    ended = after.terminated | after.truncated
    buffer.add(
        observation=before.observation,
        legal=before.legal,
        to_play=before.to_play,
        action=action,
        reward=after.reward,
        terminated=after.terminated,
        truncated=after.truncated,
        policy=policy,
        root_value=value,
        final_value=final_values(network, collector.spec, after),
        trainable=~opening,
        explored=explored,
        state=states.packed if states is not None else None,
        **({"point": point, "samples": samples} if point is not None and samples is not None else {}),
    )
    collector.timestep = after
    collector.num_steps += 1
    collector.score += after.reward
    collector.length += 1
    episodes = EndedEpisodes(collector.score[ended], collector.length[ended])
    if bool(ended.any()):
        collector.score = torch.where(ended[:, None], 0.0, collector.score)
        collector.length = torch.where(ended, 0, collector.length)
    collector.opening = (collector.opening - 1).clamp(min=0)
    if bool(ended.any()):
        collector.opening = torch.where(ended, collector._draw_openings(len(ended)), collector.opening)
    return episodes


def _point(collector: Collector, point: Tensor, at_random: Tensor) -> Tensor:
    """[C, D] what is played of the unit box: point [C, D], but any where at_random [C]."""
    if not bool(at_random.any()):
        return point
    random = 2 * torch.rand(point.shape, generator=collector.generator) - 1
    return torch.where(at_random[:, None], random, point)


@torch.inference_mode()
def final_values(network: MultiGameNetwork, spec: GameSpec, step: Timestep) -> Tensor:
    """[C, P] the network's value of the last observation where an episode was truncated, else 0."""
    value = torch.zeros_like(step.reward)
    rows = step.truncated.nonzero()[:, 0]
    if len(rows):
        game = torch.full((len(rows),), network.games[spec.name])
        heads = network.heads(network.represent(spec.name, step.final_observation[rows]), game)
        value[rows] = network.decode_seats(heads.value, game, step.final_to_play[rows], spec.num_players)
    return value
