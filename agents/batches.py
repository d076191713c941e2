"""A batch of every game, drawn from the replay buffers and turned to targets in one compiled pass a game.

`Learner.sample` says the same in torch, step by step (draw, window, returns, symmetries), for every trunk and any
number of players; a test holds the two together. Both take the same random numbers in the same order.

Shape legend: N rows of one game, K unroll steps, R ring length, C copies, A actions, S symmetries, F fields of a row of
the replay buffer (`agents.replay.row_fields`), M positions that value targets lean on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from agents.fused import Aims, Held, rectify_
from agents.fused_encoders import Encoding, Shown
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
    shown: Shown  # where their observations lie: positions in the replay buffer
    rows: slice  # of the batch


class Batch(NamedTuple):
    """What an update needs; it lies in the sampler's memory and is valid until the next one is drawn."""

    parts: list[Part]
    aims: Aims


class Turns(NamedTuple):
    """The symmetries of a game as arrays; only the identity for games that declare none."""

    cells: np.ndarray  # [S, H * W] int64, as in `envs.game.Symmetries`
    actions: np.ndarray  # [S, A] int64


class Sampler:
    """Draws batches of some games as `config` says; `network`, the averaged one, says what the targets lean on."""

    def __init__(self, config: LearnerConfig, network: MultiGameNetwork, specs: Sequence[GameSpec]):
        self.config, self.network = config, network
        count, steps, core = config.batch, config.unroll, network.core
        rows, most = count * len(specs), count * (steps + 1)
        self.aims = Aims.empty(rows, steps, network.tables.exists.shape[1])
        self.turns: list[Turns] = []
        # Of every target: how much of the value of the position that it leans on it takes.
        self.leaning = np.zeros((rows, steps + 1), np.float32)
        self.found = np.zeros((len(specs), 2, most), np.int64)
        self.index = np.zeros((len(specs), count), np.int64)
        self.of_game: list[Aims] = []  # the rows of each game
        for number, spec in enumerate(specs):
            mine = slice(number * count, (number + 1) * count)
            self.of_game.append(Aims(*(column[mine] for column in self.aims)))
            self.of_game[number].game[:] = network.games[spec.name]
            turns = spec.symmetries if config.symmetries else None
            cells = turns.cells if turns is not None else [range(math.prod(spec.observation.shape[-2:]))]
            actions = turns.actions if turns is not None else [range(spec.num_actions)]
            self.turns.append(Turns(np.array(cells, np.int64), np.array(actions, np.int64)))
        if config.fresh_values:
            self.encoding = Encoding(network, specs, most, None)
            self.turned, self.torso_bias = network.torso.weight.detach().T, network.torso.bias.detach().numpy()
            bins = slice(core.sizes[0], core.sizes[0] + core.num_bins)
            self.values, self.value_bias = core.weight.detach()[bins].T, core.bias.detach()[bins].numpy()
            self.hidden = Held.of(torch.zeros(most * len(specs), self.turned.shape[1]))
            self.logits = Held.of(torch.zeros(most * len(specs), core.num_bins))
            self.bins = network.bins.numpy()

    @torch.no_grad()
    def draw(self, buffers: Sequence[ReplayBuffer], gamma: float, generator: torch.Generator) -> Batch:
        """A batch of every game, `buffers` in the order of the games; the random numbers are those of `Learner.sample`.

        Raises ValueError where a buffer holds no step to learn from.
        """
        config, count = self.config, self.config.batch
        uniform = [torch.rand(2, count, generator=generator, dtype=torch.float64).numpy() for _ in buffers]
        pick = [self._pick(buffer.spec, turns, generator) for buffer, turns in zip(buffers, self.turns, strict=True)]
        parts: list[Part] = []
        leant: list[tuple[Shown, np.ndarray]] = []
        for number, buffer in enumerate(buffers):
            mine = slice(number * count, (number + 1) * count)
            spec, turns, found = buffer.spec, self.turns[number], self.found[number]
            fields = tuple(place.start for place in buffer.fields.values())
            num_found = _draw_(
                buffer.rows.numpy(), buffer.mass.numpy(), fields, spec.num_players, buffer.num_added,
                buffer.num_ready, uniform[number], buffer.config.correction_exponent, config.n_step,
                config.stale_after, np.float32(config.updates_per_step), gamma, config.search_share,
                config.fresh_values, turns.actions, pick[number], 1.0 / len(self.aims.game), self.index[number],
                self.leaning[mine], found, *self.of_game[number][1:],
            )  # fmt: skip
            if num_found < 0:
                raise ValueError(f"{spec.name}: the replay buffer holds no step to learn from yet")
            ring = buffer.observation.flatten(0, 1)
            parts.append(Part(spec, Shown(spec.name, ring, self.index[number], turns.cells, pick[number]), mine))
            if num_found:
                places = found[1, :num_found] + mine.start * (config.unroll + 1)
                leant.append((Shown(spec.name, ring, found[0, :num_found]), places))
        if leant:
            self._lean_(leant)
        return Batch(parts, self.aims)

    def _pick(self, spec: GameSpec, turns: Turns, generator: torch.Generator) -> np.ndarray:
        """[N] int64 the symmetry of each row; drawn only where the game has some."""
        if not self.config.symmetries or spec.symmetries is None:
            return np.zeros(self.config.batch, np.int64)
        return torch.randint(len(turns.cells), (self.config.batch,), generator=generator).numpy()

    def _lean_(self, leant: list[tuple[Shown, np.ndarray]]) -> None:
        """Add what the network says of the positions that the targets lean on. leant: of each game, the positions and
        the flat places of their targets in [rows, K + 1]."""
        latent = self.encoding.run([shown for shown, _ in leant])
        count = len(latent)
        torch.mm(latent, self.turned, out=self.hidden.tensor[:count])
        rectify_(self.hidden.array[:count], self.torso_bias)
        torch.mm(self.hidden.tensor[:count], self.values, out=self.logits.tensor[:count])
        done, scales = 0, self.network.tables.scale
        for shown, places in leant:
            logits = self.logits.array[done : done + len(places)]
            done += len(places)
            scale = np.float32(scales[self.network.games[shown.game]])
            _add_values_(logits, self.value_bias, self.bins, scale, places, self.leaning.reshape(-1),
                         self.aims.value.reshape(-1))  # fmt: skip


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
