"""The oracle: one tree in plain Python, slow, written from the papers in their notation. It shares no code with the
engines but the configs; tests compare the engines with it.

MuZero: Schrittwieser et al. 2020, "Mastering Atari, Go, chess and shogi by planning with a learned model", appendix B.
Gumbel MuZero: Danihelka et al. 2022, "Policy improvement by planning with Gumbel".
Stochastic MuZero: Antonoglou et al. 2022, "Planning in stochastic environments with a learned model".

N(s, a), Q(s, a), P(s, a), R(s, a), S(s, a) are kept at the state s as lists over a. Q is a list over players; the
mover's entry decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.config import (
    FixedRange,
    GumbelConfig,
    NodeRange,
    PUCTConfig,
    RowScale,
    TreeRange,
    Unscaled,
    Unvisited,
)


@dataclass(frozen=True)
class Prediction:
    """What the model says of one state: f(s), and the reward and discount of the edge that leads to it."""

    state: Any
    logits: Sequence[float]  # over a
    value: Sequence[float]  # over players
    to_play: int
    exists: Sequence[bool]  # over a; at the root: what is legal
    reward: Sequence[float] = ()  # over players
    discount: float = 1.0
    chance: bool = False  # an afterstate: its a are the outcomes c, logits say sigma(c | as)


Model = Callable[[Any, int], Prediction]


@dataclass
class Node:
    """A state s^k of the tree."""

    index: int  # the simulation that made it
    prediction: Prediction
    returns: list[list[float]] = field(default_factory=list)  # every G backed up through the state
    children: dict[int, Node] = field(default_factory=dict)  # S(s, a)

    @property
    def mover(self) -> int:
        return self.prediction.to_play

    @property
    def actions(self) -> list[int]:
        return [a for a, there in enumerate(self.prediction.exists) if there]

    @property
    def terminal(self) -> bool:
        return self.prediction.discount == 0 or not self.actions

    def mean(self) -> list[float]:
        """The mean return of the state, a player each."""
        return [sum(column) / len(self.returns) for column in zip(*self.returns)]

    def N(self, a: int) -> int:  # noqa: N802
        return len(self.children[a].returns) if a in self.children else 0

    def Q(self, a: int) -> list[float]:  # noqa: N802
        """R(s, a) + gamma * (mean return of S(s, a)), a player each; only of visited actions."""
        child = self.children[a]
        value = child.mean()
        return [r + child.prediction.discount * v for r, v in zip(child.prediction.reward, value)]

    def prior(self) -> dict[int, float]:
        """P(s, a): softmax of the logits over the actions that exist."""
        return softmax({a: self.prediction.logits[a] for a in self.actions})


@dataclass
class Search:
    """A search under way, and what came of it."""

    config: GumbelConfig | PUCTConfig
    root: Node
    scale: float = 1.0  # Root.value_scale
    nodes: list[Node] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)  # every Q that a backup has seen, and the root's value
    smallest_gap: float = math.inf  # between the two best scores of any choice
    smallest_unit: float = math.inf  # that divided Qs of visited actions: rounding of Q is magnified by its inverse
    action: int = -1
    policy: list[float] = field(default_factory=list)
    root_value: list[float] = field(default_factory=list)

    def best(self, scores: dict[int, float]) -> int:
        """argmax; exact ties go to the lowest index."""
        chosen = max(scores, key=lambda a: (scores[a], -a))
        others = [score for a, score in scores.items() if a != chosen]
        if others:
            self.smallest_gap = min(self.smallest_gap, scores[chosen] - max(others))
        return chosen

    def unit(self, s: Node, at_node: list[float]) -> float:
        """What a difference of Q is divided by at s; `at_node` are the values that a range per node counts."""
        unit = self._unit(at_node)
        if s.children and len(s.actions) > 1:
            self.smallest_unit = min(self.smallest_unit, unit)
        return unit

    def _unit(self, at_node: list[float]) -> float:
        unit = self.config.unit
        if isinstance(unit, Unscaled):
            return 1.0
        if isinstance(unit, RowScale):
            return self.scale
        if isinstance(unit, FixedRange):
            return unit.high - unit.low
        if isinstance(unit, NodeRange):
            return max(max(at_node) - min(at_node), unit.epsilon)
        if isinstance(unit, TreeRange):
            return max(max(self.seen) - min(self.seen), unit.epsilon)
        raise ValueError(f"unknown unit {unit!r}")


def softmax(logits: dict[int, float]) -> dict[int, float]:
    top = max(logits.values())
    weights = {a: math.exp(x - top) for a, x in logits.items()}
    total = sum(weights.values())
    return {a: w / total for a, w in weights.items()}


def muzero(
    root: Prediction,
    model: Model,
    num_simulations: int,
    config: PUCTConfig,
    scale: float = 1.0,
    dirichlet: Sequence[float] = (),
) -> Search:
    """MuZero's search; the action is the most visited one. dirichlet: noise over a, mixed into the root's prior."""
    if config.dirichlet_fraction > 0:
        prior, share = Node(0, root).prior(), config.dirichlet_fraction
        mixed = {a: (1 - share) * p + share * dirichlet[a] for a, p in prior.items()}
        root = Prediction(
            root.state,
            [math.log(mixed[a]) if mixed.get(a) else 0.0 for a in range(len(root.logits))],
            root.value,
            root.to_play,
            root.exists,
        )
    search = _start(root, config, scale)
    for _ in range(num_simulations):
        _simulate(search, model, lambda node: search.best(_puct(search, node)), search.seen)
    top = search.root
    search.action = max(top.actions, key=lambda a: (top.N(a), -a))
    search.policy = [top.N(a) / num_simulations for a in range(len(root.logits))]
    search.root_value = top.mean()
    return search


def _puct(search: Search, s: Node) -> dict[int, float]:
    """Q + P sqrt(sum of N) / (1 + N) * (c1 + log((sum of N + c2 + 1) / c2)), s's own evaluation counted in the sum."""
    config = search.config
    assert isinstance(config, PUCTConfig)
    mover, prior = s.mover, s.prior()
    value = s.mean()[mover]
    q = {a: s.Q(a)[mover] for a in s.children}
    unit = search.unit(s, [value, *q.values()])
    if config.unvisited is Unvisited.NODE:
        default = value
    elif isinstance(config.unit, TreeRange):
        default = min(search.seen)
    elif isinstance(config.unit, FixedRange):
        default = config.unit.low
    else:
        default = min([value, *q.values()])
    total = len(s.returns)
    weight = math.sqrt(total) * (config.pb_c_init + math.log((total + config.pb_c_base + 1) / config.pb_c_base))
    return {a: (q.get(a, default) - value) / unit + prior[a] * weight / (1 + s.N(a)) for a in s.actions}


def _outcome(s: Node) -> dict[int, float]:
    """sigma(c | as) / (1 + N(as, c)): the outcome that is furthest behind its share."""
    return {c: p / (1 + s.N(c)) for c, p in s.prior().items()}


def gumbel_muzero(
    root: Prediction,
    model: Model,
    num_simulations: int,
    config: GumbelConfig,
    scale: float = 1.0,
    g: Sequence[float] | None = None,
) -> Search:
    """Gumbel MuZero's search. g: the Gumbel numbers over a, already scaled; None: zeros."""
    search = _start(root, config, scale)
    top = search.root
    noise = [0.0] * len(root.logits) if g is None else g
    schedule = sequential_halving(min(config.max_considered, len(top.actions)), num_simulations)

    def at_root(among: int) -> int:
        logits, sigma = root.logits, _sigma(search, top)
        return search.best({a: noise[a] + logits[a] + sigma[a] for a in top.actions if top.N(a) == among})

    def simulate(choose_at_root: Callable[[], int], seen: list[float]) -> None:
        choose = lambda s: choose_at_root() if s is top else search.best(_interior(search, s))  # noqa: E731
        _simulate(search, model, choose, seen)

    if config.waves:
        for among, wave in itertools.groupby(schedule):
            logits, sigma, seen = root.logits, _sigma(search, top), []
            scores = {a: noise[a] + logits[a] + sigma[a] for a in top.actions if top.N(a) == among}
            for _ in wave:  # the best first; what the wave finds counts from the next wave on
                chosen = search.best(scores)
                del scores[chosen]
                simulate(lambda chosen=chosen: chosen, seen)
            search.seen += seen
    else:
        for among in schedule:
            simulate(lambda among=among: at_root(among), search.seen)
    search.action = at_root(max(top.N(a) for a in top.actions))
    improved = _improved(search, top)
    search.policy = [improved.get(a, 0.0) for a in range(len(root.logits))]
    players = range(len(root.value))
    completed = [_completed(top, p) for p in players]
    search.root_value = [sum(improved[a] * completed[p][a] for a in top.actions) for p in players]
    return search


def sequential_halving(m: int, n: int) -> list[int]:
    """Visits that the action of each of n simulations has had before, m actions being considered at first."""
    if m == 1:
        return list(range(n))
    phases = 0
    while 2**phases < m:
        phases += 1
    visits, schedule, k = [0] * m, [], m
    while len(schedule) < n:
        for _ in range(max(1, math.floor(n / (phases * k)))):
            for i in range(k):  # the k best of the phase before
                schedule.append(visits[i])
                visits[i] += 1
        k = max(2, k // 2)
    return schedule[:n]


def _v_mix(s: Node, player: int) -> float:
    """1 / (1 + sum N) * (v + sum N / (sum of visited P) * sum over visited of P q)."""
    v = s.prediction.value[player]
    if not s.children:
        return v
    prior, total = s.prior(), sum(s.N(a) for a in s.children)
    mass = sum(prior[a] for a in s.children)
    return (v + total / mass * sum(prior[a] * s.Q(a)[player] for a in s.children)) / (1 + total)


def _completed(s: Node, player: int) -> dict[int, float]:
    """completedQ: q of visited actions, v_mix of the others."""
    mixed = _v_mix(s, player)
    return {a: s.Q(a)[player] if a in s.children else mixed for a in s.actions}


def _sigma(search: Search, s: Node) -> dict[int, float]:
    """sigma(completedQ) = (c_visit + max N) c_scale (completedQ - v_mix) / unit."""
    config = search.config
    assert isinstance(config, GumbelConfig)
    completed, mixed = _completed(s, s.mover), _v_mix(s, s.mover)
    unit = search.unit(s, list(completed.values()))
    factor = (config.visit_offset + max(s.N(a) for a in s.actions)) * config.value_scale
    return {a: factor * (q - mixed) / unit for a, q in completed.items()}


def _improved(search: Search, s: Node) -> dict[int, float]:
    """pi' = softmax(logits + sigma(completedQ))."""
    sigma = _sigma(search, s)
    return softmax({a: s.prediction.logits[a] + sigma[a] for a in s.actions})


def _interior(search: Search, s: Node) -> dict[int, float]:
    """pi'(a) - N(a) / (1 + sum of N)."""
    total = sum(s.N(a) for a in s.children)
    return {a: p - s.N(a) / (1 + total) for a, p in _improved(search, s).items()}


def _start(root: Prediction, config: GumbelConfig | PUCTConfig, scale: float) -> Search:
    # A root's discount says nothing: it is not behind an edge.
    prediction = Prediction(root.state, root.logits, root.value, root.to_play, root.exists)
    node = Node(0, prediction, [list(prediction.value)])
    return Search(config, node, scale, [node], [prediction.value[prediction.to_play]])


def _simulate(search: Search, model: Model, choose: Callable[[Node], int], seen: list[float]) -> None:
    """Selection, expansion, backup; every Q that changes is added to `seen`, but for those of outcomes: at a chance
    node nobody moves, so that no player's view of them is the right one."""
    simulation = len(search.root.returns)  # each one adds a return to the root, which began with its own value
    limit = search.config.max_depth or math.inf
    path: list[tuple[Node, int]] = []
    s = search.root
    while True:
        a = search.best(_outcome(s)) if s.prediction.chance else choose(s)
        path.append((s, a))
        if a not in s.children:
            break
        s = s.children[a]
        if s.terminal or len(path) >= limit:
            break
    s, a = path[-1]
    if a not in s.children:
        s.children[a] = Node(simulation, model(s.prediction.state, a))
        search.nodes.append(s.children[a])
    leaf = s.children[a]
    returns = list(leaf.prediction.value)  # G
    leaf.returns.append(returns)
    for s, a in reversed(path):
        edge = s.children[a].prediction
        if not s.prediction.chance:
            seen.append(s.Q(a)[s.mover])
        returns = [r + edge.discount * g for r, g in zip(edge.reward, returns)]
        s.returns.append(returns)
