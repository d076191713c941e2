"""A batch of every game, drawn from the replay buffers and turned to targets in one compiled pass a game.

`Learner.sample` says the same in torch, step by step (draw, window, returns, symmetries), for every trunk and any number
of players; a test holds the two together. Both take the same random numbers from the generator in the same order.

Shape legend: N rows of one game, K unroll steps, R ring length, C copies, A actions, S symmetries, F fields of a row of
the replay buffer (`agents.replay.row_fields`), M positions that value targets lean on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.fused import Aims, rectify_
from agents.fused_encoders import Shown, encode
from agents.network import MultiGameNetwork
from agents.replay import ReplayBuffer
from envs.game import GameSpec
from search import fastmath
from search.compile import compiled

if TYPE_CHECKING:
    from agents.learner import LearnerConfig


class Part(NamedTuple):
    """One game's rows of a batch."""

    spec: GameSpec
    index: Tensor  # [N] int64 flat positions in the replay buffer
    shown: Shown  # where their observations lie
    rows: slice  # of the batch


class Batch(NamedTuple):
    """What an update needs. Everything is seen by the movers; what does not count (`alive`, `moved`,
    `policy_known` are False) is arbitrary."""

    parts: list[Part]
    aims: Aims


class Turns(NamedTuple):
    """The symmetries of a game as arrays; only the identity for games that declare none."""

    cells: np.ndarray  # [S, H * W] int64, as in `envs.game.Symmetries`
    actions: np.ndarray  # [S, A] int64


class Sampler:
    """Draws batches as `config` says."""

    def __init__(self, config: LearnerConfig):
        self.config = config
        self._turns: dict[str, Turns] = {}

    def turns(self, spec: GameSpec) -> Turns:
        """The symmetries that rows of this game are shown under."""
        if spec.name not in self._turns:
            found = spec.symmetries if self.config.symmetries else None
            size = math.prod(spec.observation.shape[-2:])
            cells = found.cells if found is not None else [range(size)]
            actions = found.actions if found is not None else [range(spec.num_actions)]
            self._turns[spec.name] = Turns(np.array(cells, np.int64), np.array(actions, np.int64))
        return self._turns[spec.name]

    @torch.no_grad()
    def draw(
        self,
        network: MultiGameNetwork,
        buffers: dict[str, ReplayBuffer],
        gamma: float,
        generator: torch.Generator,
    ) -> Batch:
        """A batch of every game in `buffers`; network: the averaged one, whose present values the targets lean on.

        Raises ValueError where a buffer holds no step to learn from.
        """
        config, count, steps = self.config, self.config.batch, self.config.unroll
        uniform = {name: torch.rand(2, count, generator=generator, dtype=torch.float64) for name in buffers}
        pick = {name: self._pick(buffer.spec, generator) for name, buffer in buffers.items()}
        total, widest = count * len(buffers), network.tables.exists.shape[1]
        aims = Aims(
            game=torch.empty(total, dtype=torch.int64),
            action=torch.empty(total, steps, dtype=torch.int64),
            policy=torch.empty(total, steps + 1, widest),
            policy_known=torch.empty(total, steps + 1, dtype=torch.bool),
            value=torch.empty(total, steps + 1),
            alive=torch.empty(total, steps + 1, dtype=torch.bool),
            reward=torch.empty(total, steps),
            continues=torch.empty(total, steps, dtype=torch.bool),
            moved=torch.empty(total, steps, dtype=torch.bool),
            next_mover=torch.empty(total, steps, dtype=torch.int64),
            weight=torch.empty(total),
        )
        # Of every target: how much of the value of the position that it leans on it takes.
        leaning = torch.empty(total, steps + 1)
        parts: list[Part] = []
        leant: list[tuple[Shown, np.ndarray]] = []
        for number, (name, buffer) in enumerate(buffers.items()):
            rows, spec, turns = slice(number * count, (number + 1) * count), buffer.spec, self.turns(buffer.spec)
            index = torch.empty(count, dtype=torch.int64)
            found = np.empty((2, count * (steps + 1)), np.int64)
            fields = tuple(place.start for place in buffer.fields.values())
            num_found = _draw_(
                buffer.rows.numpy(), buffer.mass.numpy(), fields, spec.num_players, buffer.num_added,
                buffer.num_ready, uniform[name].numpy(), buffer.config.correction_exponent, config.n_step,
                config.stale_after, np.float32(config.updates_per_step), gamma, config.search_share,
                config.fresh_values, turns.actions, pick[name].numpy(), 1.0 / total, index.numpy(),
                leaning[rows].numpy(), found, *(column.numpy() for column in _columns(aims, rows)),
            )  # fmt: skip
            if num_found < 0:
                raise ValueError(f"{spec.name}: the replay buffer holds no step to learn from yet")
            aims.game[rows] = network.games[name]
            ring = buffer.observation.flatten(0, 1)
            parts.append(Part(spec, index, Shown(name, ring, index, turns.cells, pick[name]), rows))
            if num_found:
                lying = torch.from_numpy(found[0, :num_found])
                leant.append((Shown(name, ring, lying), found[1, :num_found] + number * count * (steps + 1)))
        if leant:
            self._lean_(network, leant, aims, leaning)
        return Batch(parts, aims)

    def _pick(self, spec: GameSpec, generator: torch.Generator) -> Tensor:
        """[N] int64 the symmetry of each row; drawn only where the game has some."""
        if not self.config.symmetries or spec.symmetries is None:
            return torch.zeros(self.config.batch, dtype=torch.int64)
        return torch.randint(len(self.turns(spec).cells), (self.config.batch,), generator=generator)

    def _lean_(
        self, network: MultiGameNetwork, leant: list[tuple[Shown, np.ndarray]], aims: Aims, leaning: Tensor
    ) -> None:
        """Add what the network says of the positions that the targets lean on. leant: of each game, the positions and
        the flat places of their targets in [rows, K + 1]."""
        latent = encode(network, [shown for shown, _ in leant]).latent
        core = network.core
        hidden = torch.mm(latent, network.torso.weight.T)
        rectify_(hidden.numpy(), network.torso.bias.detach().numpy())
        first = core.sizes[0]
        logits = torch.mm(hidden, core.weight[first : first + core.num_bins].T)
        bias = core.bias[first : first + core.num_bins].detach()
        done = 0
        for shown, places in leant:
            scale = np.float32(network.tables.scale[network.games[shown.game]])
            _add_values_(logits[done : done + len(places)].numpy(), bias.numpy(), network.bins.numpy(), scale, places,
                         leaning.view(-1).numpy(), aims.value.view(-1).numpy())  # fmt: skip
            done += len(places)


def _columns(aims: Aims, rows: slice) -> Iterator[Tensor]:
    """The rows of all fields but the game."""
    return (column[rows] for column in aims[1:])


# -- compiled passes ---------------------------------------------------------------------------------------------


@compiled
def _positions_(mass, oldest, ready, uniform, exponent, index, weight):
    """index [N]: positions in proportion to mass [R, C], among `ready` time steps from slot `oldest` on; weight [N]:
    their importance weights, at most 1. uniform [2, N] float64: for the time, one draw in each of N equal slices of
    the mass, and for the copy. False where no position has any mass."""
    length, copies = mass.shape
    count = index.shape[0]
    by_time = np.empty(ready)
    total = 0.0
    for t in range(ready):
        total += fastmath.total(mass[(oldest + t) % length], copies)
        by_time[t] = total
    if not total > 0:
        return False
    largest = np.float32(0)
    t = 0
    for i in range(count):
        wanted = (i + uniform[0, i]) * (total / count)
        while t < ready - 1 and by_time[t] <= wanted:
            t += 1
        slot = (oldest + t) % length
        row = mass[slot]
        whole = 0.0
        for c in range(copies):
            whole += row[c]
        wanted = uniform[1, i] * whole
        c, passed = 0, np.float64(row[0])
        while c < copies - 1 and passed <= wanted:
            c += 1
            passed += row[c]
        index[i] = slot * copies + c
        expected = row[c] / total * (ready * copies)
        weight[i] = max(expected, 1e-8) ** -exponent
        largest = max(largest, weight[i])
    for i in range(count):
        weight[i] /= largest
    return True


@compiled
def _draw_(
    rows, mass, fields, players, num_added, ready, uniform, exponent, n_step, stale_after, updates_per_step, gamma,
    search_share, fresh, renamed, pick, row_weight, index, leaning, found,
    action, policy, policy_known, value, alive, reward, continues, moved, next_mover, weight,
):  # fmt: skip
    """One game's positions and their targets. Returns how many positions of later the targets lean on, M; -1 where the
    buffer holds nothing to learn from.

    rows [R, C, F] and mass [R, C] of the buffer, fields: where each field of a row begins; players: of the game;
    renamed [S, A]: the new names of the moves under each symmetry, pick [N]: the row's symmetry. Written: index [N];
    found [2, N (K + 1)]: positions in the buffer and the flat places of their targets; leaning [N, K + 1]: the factor
    of their values; from `action` on, this game's rows of `agents.fused.Aims`, the weight times `row_weight`.
    """
    to_play, acted, rewards, terminated, truncated, policies, root_value, final_value, trainable, explored = fields[:10]
    length, copies = mass.shape
    oldest = max(0, num_added - length) % length
    if not _positions_(mass, oldest, ready, uniform, exponent, index, weight):
        return -1
    num_rows, steps, num_actions = action.shape[0], action.shape[1], renamed.shape[1]
    num_found = 0
    for i in range(num_rows):
        weight[i] *= row_weight
        time, copy = index[i] // copies, index[i] % copies
        names = renamed[pick[i]]
        n = n_step
        if stale_after:
            age = (num_added - 1 - time) % length
            n = max(1, n_step - np.int64(np.float32(age) * updates_per_step) // stale_after)
        here = True
        for k in range(steps + 1):
            row = rows[(time + k) % length, copy]
            mover = np.int64(row[to_play])
            alive[i, k] = here
            policy_known[i, k] = here and row[trainable] > 0
            if policy_known[i, k]:
                for a in range(num_actions):
                    policy[i, k, names[a]] = row[policies + a]
            # The return: rewards of this seat until the episode ends, a move was drawn at random, or n of them.
            goes_on, power, summed, at = here, 1.0, 0.0, k
            while goes_on and at < k + n:
                now = rows[(time + at) % length, copy]
                if now[explored] > 0:
                    break
                cut = now[truncated] > 0
                summed += power * now[rewards + mover]
                power *= gamma
                if cut:
                    summed += power * now[final_value + mover]
                goes_on = not (cut or now[terminated] > 0)
                at += 1
            leaning[i, k] = 0
            if goes_on:
                slot = (time + at) % length
                last = rows[slot, copy]
                if fresh:
                    leaning[i, k] = (1 - search_share) * (power if np.int64(last[to_play]) == mover else -power)
                    found[0, num_found], found[1, num_found] = slot * copies + copy, i * (steps + 1) + k
                    num_found += 1
                else:
                    summed += power * last[root_value + mover]
            value[i, k] = (1 - search_share) * summed + search_share * row[root_value + mover]
            if k < steps:
                after = rows[(time + k + 1) % length, copy]
                action[i, k] = names[np.int64(row[acted])]
                reward[i, k] = row[rewards + mover]
                moved[i, k] = here
                continues[i, k] = not row[terminated] > 0
                next_mover[i, k] = (np.int64(after[to_play]) - mover) % players
                here = here and not (row[terminated] > 0 or row[truncated] > 0)
    return num_found


@compiled
def _add_values_(logits, bias, bins, scale, places, leaning, value):
    """value[places] += leaning[places] * the mean of softmax(logits + bias) over bins, times scale. logits [M, V] are
    overwritten; places [M]."""
    count = bins.shape[0]
    for i in range(logits.shape[0]):
        x = logits[i]
        for v in range(count):
            x[v] += bias[v]
        top = x[0]
        for v in range(count):
            top = x[v] if x[v] > top else top
        for v in range(count):
            x[v] = fastmath.exp(x[v] - top)
        whole = fastmath.total(x, count)
        for v in range(count):
            x[v] *= bins[v]
        value[places[i]] += leaning[places[i]] * (fastmath.total(x, count) / whole) * scale
