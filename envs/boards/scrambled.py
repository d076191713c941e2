"""The scrambled twin of a native game, `scrambled:SEED:GAME`: its positions without its rules, the negative control.

Whatever a network shares between a game and its scrambled twin, it does not share because the games have anything in
common; a measure of sharing must not rise. So the twin shows what the original shows, as often as it shows it, and all
else is drawn by lot, once for ever, from the seed:

  * What is shown are positions from random games of the original, of every ply about as often as random play visits
    it. Inputs, planes and encoders are the original's.
  * A game goes through a fixed number of layers: first a first position of the original, then layers that each hold
    some positions of every ply, so that how full a board is says nothing of how far the game has come. A move leads
    from any position to a drawn one of the next layer: the board that follows has nothing to do with the board before.
  * Which actions are legal in a position is a mask from another position of the original. An action means nothing.
  * The result: in games for one player, or zero-sum for two, that pay at the end only, each position is given a value,
    in the shares of the results of random play, and every move either keeps it or throws some of it away, in every
    layer, as in a real game. (Results drawn at the end alone would leave nearly all positions with one value: enough
    choice averages any lottery out.) In other games each move has the rewards of some move of the original.

The game is finite, has perfect information (no two positions look the same), no chance, no symmetries, and ends after
as many moves as the original's random games take on average; it is solved exactly, like any other, for two players.
Seats alternate. The positions are drawn when the game is first played; that takes a second or a few.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from envs import registry
from envs.boards.twin import parse
from envs.chance import uniform
from envs.game import GameSpec, NativeGame, Playable, episode_seed

FAMILY = "scrambled"
SYNTAX = "scrambled:SEED:GAME with the name of a native game, as in scrambled:1:hex:3"
EXAMPLES = ("scrambled:1:tictactoe", "scrambled:2:hex:3", "scrambled:1:connect_four", "scrambled:1:pig:3:target=20")
_VERSION = 1
NUM_GAMES = 1024  # random games of the original from which positions, masks, rewards and lengths are taken
LONGEST = 1000  # moves of such a game at most
WIDTH = 512  # positions of a layer at most
MOST_MOVES = 1 << 22  # of all positions together: bounds the tables
MOST_VALUES = 16  # different results of a game up to which values are planted


class State(NamedTuple):
    row: Tensor  # [B] int64: the number of the position


class Tables(NamedTuple):
    """The whole game: R positions, layer by layer, the ends last."""

    observation: Tensor  # [R, *shape]
    legal: Tensor  # [R, A] bool
    layer: Tensor  # [R] int64
    target: Tensor  # [R, A] int32: the position that each action leads to; an end leads to itself
    paid: Tensor  # [R, A] int16: which of the rewards it brings
    rewards: Tensor  # [N, P] float32
    value: Tensor | None  # [R] float32: what seat 0 gets under perfect play, where values are planted
    num_layers: int  # without the ends


class Scrambled:
    """Native rules: a table of positions and one of moves."""

    def __init__(self, original: NativeGame, seed: int):
        spec = original.spec
        self.original, self.seed = original, seed
        self.spec = dataclasses.replace(
            spec,
            name=f"{FAMILY}:{seed}:{spec.name}",
            version=spec.version + _VERSION - 1,
            stochastic=False,
            num_outcomes=0,
            perfect_information=True,
            family=FAMILY,
            action_keys=None,
            symmetries=None,
            solvable=spec.zero_sum,
            twin_of=None,
            scrambles=spec.name,
        )
        self._on: dict[torch.device, Tables] = {}

    def tables(self, device: torch.device | None = None) -> Tables:
        """The game's tables on a device, the CPU without one."""
        device = device or torch.device("cpu")
        if device not in self._on:
            made = _tables(self)
            moved = {name: part.to(device) for name, part in made._asdict().items() if isinstance(part, Tensor)}
            self._on[device] = made._replace(**moved)
        return self._on[device]

    def initial(self, seed: Tensor) -> State:
        """Positions of the first layer: the seed [B] int64 chooses where the original has several."""
        first = int((self.tables().layer == 0).sum())
        return State((uniform(seed) * first).long())

    def legal(self, state: State) -> Tensor:
        """[B, A] bool."""
        return self.tables(state.row.device).legal[state.row]

    def to_play(self, state: State) -> Tensor:
        """[B] int64: the seats in turn."""
        return self.tables(state.row.device).layer[state.row] % self.spec.num_players

    def observe(self, state: State) -> Tensor:
        """[B, *shape]: some position of the original, as its mover saw it."""
        return self.tables(state.row.device).observation[state.row]

    def play(self, state: State, action: Tensor) -> Playable:
        """What was drawn for `action` [B]."""
        tables = self.tables(state.row.device)
        target = tables.target[state.row, action].long()
        reward = tables.rewards[tables.paid[state.row, action].long()]
        return Playable(State(target), reward, tables.layer[target] == tables.num_layers)


class Sample(NamedTuple):
    """Random games of the original, N of them, T moves the longest."""

    observation: Tensor  # [T + 1, N, *shape]: before each move, and after the last
    legal: Tensor  # [T, N, A] bool
    reward: Tensor  # [T, N, P] float32
    length: Tensor  # [N] int64


class Draws:
    """Numbers that a seed determines for ever."""

    def __init__(self, seed: int):
        self._seed, self._calls = seed, 0

    def uniform(self, *shape: int) -> Tensor:
        """float64 in [0, 1), different at every call."""
        self._calls += 1
        count = torch.Size(shape).numel()
        base = int(episode_seed(self._seed, 3, self._calls)) << 32
        return uniform((torch.arange(count) + base) * 0x2545F4914F6CDD1D).view(shape)

    def below(self, limit: int, *shape: int) -> Tensor:
        """int64 in [0, limit)."""
        return (self.uniform(*shape) * limit).long()

    def order(self, count: int) -> Tensor:
        """[count] int64: a permutation."""
        return self.uniform(count).argsort(stable=True)


def play_at_random(game: NativeGame, draws: Draws, num_games: int = NUM_GAMES) -> Sample:
    """Random games, each to its end (or to `LONGEST` moves)."""
    state = game.initial(draws.below(2**31, num_games))
    going, length = torch.ones(num_games, dtype=torch.bool), torch.zeros(num_games, dtype=torch.int64)
    shown, masks, rewards = [game.observe(state)], [], []
    for _ in range(min(game.spec.max_length or LONGEST, LONGEST)):
        legal = game.legal(state)
        action = torch.where(legal, draws.uniform(*legal.shape), -1.0).argmax(1)
        played = game.play(state, action)
        state = type(state)(
            *(torch.where(going.view(-1, *[1] * (old.dim() - 1)), new, old) for new, old in zip(played.state, state))
        )
        masks.append(legal)
        rewards.append(played.reward * going[:, None])
        shown.append(game.observe(state))
        length += going
        going = going & ~played.terminated
        if not bool(going.any()):
            break
    return Sample(torch.stack(shown), torch.stack(masks), torch.stack(rewards), length)


@functools.lru_cache(maxsize=8)
def _tables_of(name: str, seed: int) -> Tables:
    original = registry.make(name).native
    assert original is not None, f"{name} has no native rules"
    return build(original, seed)


def _tables(game: Scrambled) -> Tables:
    """Cached by the original's name where the registry makes it (not for a user's object)."""
    try:
        known = type(registry.make(game.original.spec.name).native) is type(game.original)
    except ValueError:
        known = False
    return _tables_of(game.original.spec.name, game.seed) if known else build(game.original, game.seed)


def build(original: NativeGame, seed: int) -> Tables:
    """Draw the game."""
    spec, draws = original.spec, Draws(seed)
    sample = play_at_random(original, draws)
    num_layers = max(2, round(float(sample.length.double().mean())))
    width = max(2, min(WIDTH, MOST_MOVES // (num_layers * spec.num_actions)))
    ply, game, layer = _rows(sample, num_layers, width, draws)
    last = draws.order(len(sample.length))[:width]
    observation = torch.cat([sample.observation[ply, game], sample.observation[-1, last]])
    layers = torch.cat([layer, torch.full_like(last, num_layers)])
    live = (torch.arange(len(sample.legal))[:, None] < sample.length).nonzero()
    some = live[draws.below(len(live), len(layers))]
    legal = sample.legal[some[:, 0], some[:, 1]] | (layers == num_layers)[:, None]
    visits = (sample.length[:, None] > torch.arange(len(sample.legal))).sum(0).double()
    here = torch.bincount(layer * len(visits) + ply, minlength=num_layers * len(visits))
    weight = torch.cat([visits[ply] / here[layer * len(visits) + ply], torch.ones(len(last), dtype=torch.float64)])
    paid, rewards, target, value = _moves(spec, layers, weight, num_layers, legal, sample, draws)
    return Tables(observation, legal, layers, target.int(), paid.to(torch.int16), rewards, value, num_layers)


def _rows(sample: Sample, num_layers: int, width: int, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """The positions to show, in order of layer and ply: their ply [R], their game [R] and their layer [R]. First
    positions make up layer 0; those of each later ply are dealt out to the other layers."""
    num_plies = len(sample.legal)
    share = (sample.length[:, None] > torch.arange(num_plies)).sum(0).double() / sample.length.sum()
    found = []
    for ply, games in enumerate(_different_positions(sample, draws)):
        most = width if ply == 0 else math.ceil(float(share[ply]) * num_layers * width)
        games = games[:most]
        begin = int(draws.below(num_layers - 1, 1))
        layer = torch.zeros_like(games) if ply == 0 else 1 + (torch.arange(len(games)) + begin) % (num_layers - 1)
        found.append(torch.stack([layer, torch.full_like(games, ply), games], 1))
    rows = torch.cat(found)
    layer, ply, game = rows[torch.argsort(rows[:, 0] * num_plies + rows[:, 1], stable=True)].unbind(1)
    return ply, game, layer


def _different_positions(sample: Sample, draws: Draws) -> list[Tensor]:
    """For each ply the numbers of games in a drawn order, whose positions look different from one another and from
    those of other plies."""
    num_plies = len(sample.legal)
    live = torch.arange(num_plies)[:, None] < sample.length
    flat = sample.observation[:-1].flatten(2)[live]
    ply, game = live.nonzero().unbind(1)
    order = draws.order(len(ply))
    _, inverse = torch.unique(flat[order], dim=0, return_inverse=True)
    first = torch.full((int(inverse.max()) + 1,), len(order)).scatter_reduce(
        0, inverse, torch.arange(len(order)), "amin"
    )
    kept = order[first.sort().values]
    return [game[kept[ply[kept] == number]] for number in range(num_plies)]


def _moves(
    spec: GameSpec, layers: Tensor, weight: Tensor, num_layers: int, legal: Tensor, sample: Sample, draws: Draws
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """paid [R, A], rewards [N, P], target [R, A] and the planted values [R], or None."""
    final = sample.reward[sample.length - 1, torch.arange(len(sample.length))]
    before = torch.arange(len(sample.reward))[:, None] < sample.length - 1
    results, shares = torch.unique(final[:, 0], return_counts=True)
    rows_of = [(layers == number).nonzero()[:, 0] for number in range(num_layers + 1)]
    at_the_end = not bool(sample.reward[before].any()) and len(results) <= MOST_VALUES
    if at_the_end and (spec.num_players == 1 or spec.zero_sum):
        order = shares.argsort(descending=True, stable=True)
        return _planted(results[order], shares[order].double(), rows_of, weight, legal, spec.num_players, draws)
    num_rows, num_actions = legal.shape
    target = torch.arange(num_rows)[:, None].expand(-1, num_actions).clone()
    rewards, which = torch.unique(sample.reward.flatten(0, 1), dim=0, return_inverse=True)
    which, paid = which.view(before.shape), torch.zeros(num_rows, num_actions, dtype=torch.int64)
    for number in range(num_layers):
        rows, following = rows_of[number], rows_of[number + 1]
        target[rows] = following[_choose(weight[following], _spread(len(rows), num_actions, draws))]
        pool = which[sample.length - 1, torch.arange(len(sample.length))]
        if number < num_layers - 1 and bool(before.any()):
            pool = which[before]
        paid[rows] = pool[draws.below(len(pool), len(rows), num_actions)]
    return paid, rewards, target, None


def _planted(
    common: Tensor, chance: Tensor, rows_of: list[Tensor], weight: Tensor, legal: Tensor, num_players: int, draws: Draws
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `_moves`, with a value for every position. common [V]: what seat 0 gets, the most frequent first, chance [V]
    times."""
    num_layers, (num_rows, num_actions) = len(rows_of) - 1, legal.shape
    allowed = [len(common)] * (num_layers + 1)  # how many of the commonest results a layer has: no more than positions
    for number in reversed(range(num_layers)):
        allowed[number] = min(allowed[number + 1], len(rows_of[number]))
    kind = torch.zeros(num_rows, dtype=torch.int64)  # index into `common`
    for number, rows in enumerate(rows_of[:-1]):
        kind[rows] = _draw(chance[: allowed[number]], draws.uniform(len(rows)))
        each = rows[draws.order(len(rows))[: allowed[number]]]
        kind[each] = torch.arange(allowed[number])  # every result at least once
    target = torch.arange(num_rows)[:, None].expand(-1, num_actions).clone()
    paid = torch.full((num_rows, num_actions), len(common))
    for number in range(num_layers):
        rows, following, count = rows_of[number], rows_of[number + 1], allowed[number + 1]
        shape = len(rows), num_actions
        own_view = common * (1.0 if num_players == 1 or number % num_players == 0 else -1.0)
        worse = own_view[None, :count] < own_view[kind[rows]][:, None]  # [rows, count]
        lost = _draw(torch.where(worse, chance[:count], 0.0)[:, None].expand(*shape, count), draws.uniform(*shape))
        keeps = (draws.uniform(*shape) < 0.5) | ~worse.any(1, keepdim=True)
        best = torch.where(legal[rows], draws.uniform(*shape), -1.0).argmax(1, keepdim=True)  # one that surely does
        follows = torch.where(keeps.scatter(1, best, True), kind[rows][:, None], lost)
        point = _spread(*shape, draws)
        if number == num_layers - 1:
            paid[rows] = follows
            target[rows] = following[_choose(weight[following], point)]
            continue
        for index in range(count):
            those = following[kind[following] == index]
            target[rows] = torch.where(follows == index, those[_choose(weight[those], point)], target[rows])
    rewards = torch.cat([common, common.new_zeros(1)])[:, None]
    rewards = rewards if num_players == 1 else torch.cat([rewards, -rewards], 1)
    value = common[kind]
    value[rows_of[-1]] = 0.0
    return paid, rewards, target, value


def _spread(num_rows: int, num_actions: int, draws: Draws) -> Tensor:
    """[num_rows, num_actions] in [0, 1): each row's points lie evenly, in a drawn order, so that even few moves lead to
    positions of all plies."""
    return (draws.uniform(num_rows, num_actions).argsort(1) + draws.uniform(num_rows, num_actions)) / num_actions


def _choose(weight: Tensor, point: Tensor) -> Tensor:
    """Indices into weight [N] at the points [...] in [0, 1) of its running sum."""
    bounds = weight.cumsum(0)
    return torch.searchsorted(bounds, point * bounds[-1], right=True).clamp(max=len(weight) - 1)


def _draw(weight: Tensor, point: Tensor) -> Tensor:
    """Indices with probabilities in proportion to weight [..., C]; point [...] in [0, 1). 0 where all weights are 0."""
    bounds = weight.cumsum(-1)
    return (bounds <= (point * bounds[..., -1])[..., None]).sum(-1) % weight.shape[-1]


def make(settings: str) -> Scrambled:
    """`scrambled:SEED:GAME`. ValueError where the game is not known or has no native rules."""
    seed, original = parse(settings)
    return Scrambled(original, seed)
