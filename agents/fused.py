"""The learner's unroll, losses and their gradients as matrix products and a few compiled passes, for the mlp trunk.

Through autograd an update of a small network is some four hundred torch operations, of which a fifth of the time is
matrix products. Here the gradients are written out: twelve products for two unroll steps and a pass between two of
them. `agents.learner.Learner.losses` says the same in torch, for every trunk; tests hold the two together.
All memory is taken once (`Step`): an allocation and a view cost as much as a pass over a small layer.

Shape legend: N rows of all games, K unroll steps, M = (K + 1) N, D width, H hidden width, A actions of the widest game,
V value bins, O outputs of the heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.network import MultiGameNetwork
from agents.trunks import MLPTrunk
from search import fastmath
from search.compile import compiled

_EPSILON = np.float32(1e-5)  # of layer_norm
_BLOCK = 32  # numbers that a vectorised loop takes at a time; what is left over is slow


class Aims(NamedTuple):
    """What the network should have said, and how much each row counts. Everything is seen by the movers; entries that
    do not count are arbitrary (`policy` where it is not known, all that lies behind the end of an episode)."""

    game: np.ndarray  # [N] int64
    action: np.ndarray  # [N, K] int64
    policy: np.ndarray  # [N, K + 1, A] float32
    policy_known: np.ndarray  # [N, K + 1] bool
    value: np.ndarray  # [N, K + 1] float32, in the game's units
    alive: np.ndarray  # [N, K + 1] bool
    reward: np.ndarray  # [N, K] float32
    continues: np.ndarray  # [N, K] bool
    moved: np.ndarray  # [N, K] bool
    next_mover: np.ndarray  # [N, K] int64
    weight: np.ndarray  # [N] float32: of the row in the total

    @staticmethod
    def empty(rows: int, steps: int, actions: int) -> Aims:
        """Room for N rows, K steps and A actions."""
        return Aims(
            game=np.zeros(rows, np.int64), action=np.zeros((rows, steps), np.int64),
            policy=np.zeros((rows, steps + 1, actions), np.float32), policy_known=np.zeros((rows, steps + 1), np.bool_),
            value=np.zeros((rows, steps + 1), np.float32), alive=np.zeros((rows, steps + 1), np.bool_),
            reward=np.zeros((rows, steps), np.float32), continues=np.zeros((rows, steps), np.bool_),
            moved=np.zeros((rows, steps), np.bool_), next_mover=np.zeros((rows, steps), np.int64),
            weight=np.zeros(rows, np.float32),
        )  # fmt: skip


class Answer(NamedTuple):
    """The losses, unweighted, and where the gradients go on; `Step` writes the next ones into the same memory."""

    total: float
    losses: np.ndarray  # [5, K + 1, N] float32: policy, value; reward, continuation and next mover from step 1 on
    value_error: np.ndarray  # [N] float32
    latent_gradient: Tensor  # [N, D]


class Held(NamedTuple):
    """A tensor and the same memory as an array: a view costs as much as a small kernel, so they are made once."""

    tensor: Tensor
    array: np.ndarray

    @staticmethod
    def of(tensor: Tensor) -> Held:
        return Held(tensor.detach(), tensor.detach().numpy())


Gradients = dict[nn.Parameter, Tensor]  # where the gradient of each parameter is written, update after update


def room_for(parameter: nn.Parameter, gradients: Gradients) -> Tensor:
    """The place of a parameter's gradient."""
    if parameter not in gradients:
        gradients[parameter] = torch.zeros_like(parameter, requires_grad=False, memory_format=torch.contiguous_format)
    return gradients[parameter]


class Dense:
    """A linear layer from I to O numbers with its gradients."""

    def __init__(self, layer: nn.Linear, gradients: Gradients):
        self.weight = layer.weight.detach()  # [O, I]
        self.turned = self.weight.T
        self.bias = Held.of(layer.bias)
        self.by_weight = room_for(layer.get_parameter("weight"), gradients)
        self.by_bias = Held.of(room_for(layer.bias, gradients))


class Heads:
    """All outputs that some game has as one layer from H to O numbers: actions, value, reward, continuation, mover. The
    rows of the weights lie in several parameters; those of no action are left out, and their gradients stay 0."""

    def __init__(self, network: MultiGameNetwork, gradients: Gradients):
        core, left = network.core, len(network.action_index)
        parts: list[tuple[Any, slice]] = []  # layers and the rows of theirs that come next
        for layer in (core, *network.policy_blocks):
            capacity = core.sizes[0] if layer is core else len(layer.weight)  # pyright: ignore[reportArgumentType]
            parts.append((layer, slice(0, min(left, capacity))))
            left -= parts[-1][1].stop
        self.num_policy = sum(rows.stop for _, rows in parts)
        parts.append((core, slice(core.sizes[0], len(core.weight))))
        outputs = sum(rows.stop - rows.start for _, rows in parts)
        self.weight, self.bias = (Held.of(torch.zeros(outputs, *shape)) for shape in ([core.weight.shape[1]], []))
        self.by_weight, self.by_bias = (Held.of(torch.zeros_like(held.tensor)) for held in (self.weight, self.bias))
        self.turned = self.weight.tensor.T
        self._copies: list[tuple[np.ndarray, np.ndarray]] = []  # (here, there)
        self._sent: list[tuple[np.ndarray, np.ndarray]] = []  # (there, here), of gradients
        done = 0
        for layer, rows in parts:
            mine = slice(done, done + rows.stop - rows.start)
            done = mine.stop
            for held, by, parameter in (
                (self.weight, self.by_weight, layer.weight),
                (self.bias, self.by_bias, layer.bias),
            ):
                self._copies.append((held.array[mine], parameter.detach().numpy()[rows]))
                self._sent.append((room_for(parameter, gradients).numpy()[rows], by.array[mine]))

    def read_(self) -> None:
        """Take the weights as they are now."""
        for here, there in self._copies:
            here[...] = there

    def send_(self) -> None:
        """Bring the gradients to the parameters'."""
        for there, here in self._sent:
            there[...] = here


def can_fuse(network: MultiGameNetwork) -> bool:
    """Whether `Step` knows this network: the mlp trunk on the CPU; one player, or two with a zero sum."""
    return (
        isinstance(network.trunk, MLPTrunk)
        and network.bins.device.type == "cpu"
        and not len(network.value_heads)
        and not len(network.mover_heads)
    )


class Step:
    """Losses and gradients for N rows and K steps, in memory of its own that is used again and again."""

    def __init__(self, network: MultiGameNetwork, rows: int, steps: int, gradients: Gradients):
        """gradients: takes in where those of trunk, heads and embeddings will lie."""
        trunk, tables = network.trunk, network.tables
        assert isinstance(trunk, MLPTrunk), "can_fuse was not asked"
        self.network, self.rows, self.steps = network, rows, steps
        width, hidden, depth = network.width, trunk.condition_width, len(trunk.inward)
        self.inward = [Dense(layer, gradients) for layer in trunk.inward]  # pyright: ignore[reportArgumentType]
        self.outward = [Dense(layer, gradients) for layer in trunk.outward]  # pyright: ignore[reportArgumentType]
        self.torso, self.heads = Dense(network.torso, gradients), Heads(network, gradients)
        self.action_row, self.exists, self.num_players, self.scale = (
            table.numpy() for table in (tables.action_row, tables.exists, tables.num_players, tables.scale)
        )
        self.bins = network.bins.numpy()

        # Embeddings of actions and games, all rows of each in one array; gradients of theirs are views of one too.
        blocks, games = list(network.action_blocks), list(network.game_embedding)
        self.table, self.by_table = (np.zeros((sum(map(len, blocks)), hidden), np.float32) for _ in range(2))
        self.of_game, self.by_game = (np.zeros((len(games), hidden), np.float32) for _ in range(2))
        self._copies: list[tuple[np.ndarray, np.ndarray]] = []
        for here, by, parameters in ((self.table, self.by_table, blocks), (self.of_game, self.by_game, games)):
            done = 0
            for parameter in parameters:
                mine = slice(done, done + len(parameter)) if parameter.dim() == 2 else done
                done += len(parameter) if parameter.dim() == 2 else 1
                self._copies.append((here[mine], parameter.detach().numpy()))
                gradients[parameter] = torch.from_numpy(by[mine])

        # inputs[b][k]: what block b reads in step k; the first block reads the latents themselves.
        def series(count: int, size: int) -> tuple[Tensor, list[Held]]:
            """[count, N, size] and its steps."""
            whole = torch.zeros(count, rows, size)
            return whole, [Held.of(part) for part in whole]

        whole, self.latents = series(steps + 1, width)
        self.read = whole.view(-1, width)
        between = [series(steps, width) for _ in range(depth - 1)]
        self.inputs = [self.latents[:-1], *(parts for _, parts in between)]
        self.outputs = [*(parts for _, parts in between), self.latents[1:]]
        self.all_inputs = [all_.view(-1, width) for all_ in (whole[:-1], *(all_ for all_, _ in between))]
        hiddens = [series(steps, hidden) for _ in range(depth)]
        self.hidden, self.all_hidden = [h for _, h in hiddens], [h.view(-1, hidden) for h, _ in hiddens]
        self.spread = np.zeros((depth, steps, rows), np.float32)  # 1 / standard deviation, of layer_norm
        self.activations = Held.of(torch.zeros(len(self.read), network.config.hidden))  # of the torso
        self.output = Held.of(torch.zeros(len(self.read), len(self.heads.bias.array)))
        self.losses, self.error = np.zeros((5, steps + 1, rows), np.float32), np.zeros(rows, np.float32)

        self.by_activations = Held.of(torch.zeros_like(self.activations.tensor))
        whole, self.by_latents = series(steps + 1, width)
        self.by_read = whole.view(-1, width)
        self.by_between = Held.of(torch.zeros(rows, width))
        sums, hiddens = ([series(steps, size) for _ in range(depth)] for size in (width, hidden))
        self.by_sum, self.all_by_sum = [s for _, s in sums], [s.view(-1, width) for s, _ in sums]  # before layer_norm
        self.by_hidden = [h for _, h in hiddens]
        self.all_by_hidden = [Held.of(h.view(-1, hidden)) for h, _ in hiddens]

    @torch.no_grad()
    def run(
        self, latent: Tensor, aims: Aims, value_loss: float, reward_loss: float,
        beside: Callable[[Tensor], tuple[float, Tensor]] | None = None,
    ) -> Answer:  # fmt: skip
        """Losses at `latent` [N, D] float32 and along the unrolled moves; writes the gradients of trunk, heads and
        embeddings, and returns that of the latent. Gradients into each earlier latent are halved (MuZero, appendix G);
        the K unrolled positions together count as much as the first. beside: a further loss, weighted, of the imagined
        latents [K, N, D], and its gradient."""
        mm, steps, depth = torch.mm, self.steps, len(self.inward)
        torso, heads = self.torso, self.heads
        heads.read_()
        for here, there in self._copies:
            here[...] = there

        # Forward.
        self.latents[0].tensor.copy_(latent)
        for k in range(steps):
            for b in range(depth):
                hidden, output = self.hidden[b][k], self.outputs[b][k]
                mm(self.inputs[b][k].tensor, self.inward[b].turned, out=hidden.tensor)
                _condition_(hidden.array, self.inward[b].bias.array, self.table, self.of_game, self.action_row,
                            aims.game, aims.action, k)  # fmt: skip
                mm(hidden.tensor, self.outward[b].turned, out=output.tensor)
                _normalise_(output.array, self.outward[b].bias.array, self.inputs[b][k].array, self.spread[b, k])
        mm(self.read, torso.turned, out=self.activations.tensor)
        rectify_(self.activations.array, torso.bias.array)
        mm(self.activations.tensor, heads.turned, out=self.output.tensor)

        # Losses, and their gradient by the heads' outputs in place of the outputs.
        total = _losses_(
            self.output.array, heads.bias.array, heads.num_policy, self.network.core.num_bins, self.bins,
            self.action_row, self.exists, self.num_players, self.scale, *aims, np.float32(value_loss),
            np.float32(reward_loss), self.losses, self.error, heads.by_bias.array,
        )  # fmt: skip

        # Backward.
        mm(self.output.tensor.T, self.activations.tensor, out=heads.by_weight.tensor)
        heads.send_()
        mm(self.output.tensor, heads.weight.tensor, out=self.by_activations.tensor)
        mask_(self.by_activations.array, self.activations.array, torso.by_bias.array, True)
        mm(self.by_activations.tensor.T, self.read, out=torso.by_weight)
        mm(self.by_activations.tensor, torso.weight, out=self.by_read)
        if beside is not None:
            loss, gradient = beside(self.read.view(steps + 1, self.rows, -1)[1:])
            total += loss
            self.by_read[self.rows :].add_(gradient.view(-1, gradient.shape[2]))
        for k in reversed(range(steps)):
            gradient, first = self.by_latents[k + 1], k == steps - 1
            for b in reversed(range(depth)):
                by_sum, by_hidden = self.by_sum[b][k], self.by_hidden[b][k]
                normalise_back_(gradient.array, self.outputs[b][k].array, self.spread[b, k], by_sum.array,
                                self.outward[b].by_bias.array, first)  # fmt: skip
                mm(by_sum.tensor, self.outward[b].weight, out=by_hidden.tensor)
                mask_(by_hidden.array, self.hidden[b][k].array, self.inward[b].by_bias.array, first)
                if b:
                    gradient = self.by_between
                    torch.addmm(by_sum.tensor, by_hidden.tensor, self.inward[b].weight, out=gradient.tensor)
                else:
                    earlier = self.by_latents[k].tensor
                    earlier.add_(by_sum.tensor, alpha=0.5).addmm_(by_hidden.tensor, self.inward[b].weight, alpha=0.5)
        for b in range(depth):
            _scatter_(self.all_by_hidden[b].array, self.action_row, aims.game, aims.action, self.by_table, self.by_game,
                      b == 0)  # fmt: skip
            mm(self.all_by_hidden[b].tensor.T, self.all_inputs[b], out=self.inward[b].by_weight)
            mm(self.all_by_sum[b].T, self.all_hidden[b], out=self.outward[b].by_weight)
        return Answer(float(total), self.losses, self.error, self.by_latents[0].tensor)


# -- compiled passes. Comparisons are written so that NaN goes through: the loop that watches losses must see it. --


@compiled
def _condition_(hidden, bias, table, of_game, action_row, game, action, k):
    """hidden [N, H] = max(hidden + bias + what the trunk is told of the move and the game, 0). table: embeddings of all
    actions [rows, H], of_game [games, H]; action [N, K], of which column k."""
    for i in range(hidden.shape[0]):
        row, told, embedding = hidden[i], table[action_row[game[i], action[i, k]]], of_game[game[i]]
        for j in range(hidden.shape[1]):
            x = row[j] + bias[j] + told[j] + embedding[j]
            row[j] = np.float32(0) if x < 0 else x


@compiled
def rectify_(x, bias):
    """x [M, H] = max(x + bias, 0)."""
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(x.shape[1]):
            y = row[j] + bias[j]
            row[j] = np.float32(0) if y < 0 else y


@compiled
def mask_(gradient, x, by_bias, first):
    """gradient = 0 where x, the output of a rectifier, is 0; both [M, H]. by_bias [H]: the sum over the rows is added,
    to 0 if it is the `first`."""
    if first:
        by_bias[:] = 0
    for i in range(x.shape[0]):
        g, row = gradient[i], x[i]
        for j in range(x.shape[1]):
            kept = g[j]
            kept = np.float32(0) if row[j] == 0 else kept
            g[j] = kept
            by_bias[j] += kept


@compiled
def _normalise_row(row, squares):
    """row [D] = layer_norm(row); returns 1 / standard deviation. squares: scratch [D]."""
    width = row.shape[0]
    mean = fastmath.total(row, width) / np.float32(width)
    for j in range(width):
        row[j] -= mean
        squares[j] = row[j] * row[j]
    scale = np.float32(1) / np.sqrt(fastmath.total(squares, width) / np.float32(width) + _EPSILON)
    for j in range(width):
        row[j] *= scale
    return scale


@compiled
def _normalise_(x, bias, residual, spread):
    """x [N, D] = layer_norm(x + bias + residual); spread [N] = 1 / standard deviation."""
    squares = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        row, added = x[i], residual[i]
        for j in range(x.shape[1]):
            row[j] += bias[j] + added[j]
        spread[i] = _normalise_row(row, squares)


@compiled
def normalise_rows_(x, spread):
    """x [N, D] = layer_norm(x); spread [N] = 1 / standard deviation."""
    squares = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        spread[i] = _normalise_row(x[i], squares)


@compiled
def normalise_back_(gradient, x, spread, out, by_bias, first):
    """out [N, D]: the gradient before layer_norm from that behind it, at its output x [N, D]. by_bias [D]: the sum over
    the rows is added, to 0 if it is the `first`."""
    if first:
        by_bias[:] = 0
    width = x.shape[1]
    product = np.empty(width, np.float32)
    for i in range(x.shape[0]):
        g, row, target, scale = gradient[i], x[i], out[i], spread[i]
        for j in range(width):
            product[j] = g[j] * row[j]
        mean = fastmath.total(g, width) / np.float32(width)
        along = fastmath.total(product, width) / np.float32(width)
        for j in range(width):
            target[j] = scale * (g[j] - mean - row[j] * along)
        for j in range(width):
            by_bias[j] += target[j]


@compiled
def _scatter_(gradient, action_row, game, action, table, of_game, first):
    """Rows of gradient [K N, H] are added to those of their actions, table [rows, H], and games, of_game [games, H],
    both 0 before the `first`."""
    rows, steps = action.shape
    if first:
        table[:] = 0
        of_game[:] = 0
    for k in range(steps):
        for i in range(rows):
            source, told = gradient[k * rows + i], table[action_row[game[i], action[i, k]]]
            embedding = of_game[game[i]]
            for j in range(gradient.shape[1]):
                told[j] += source[j]
            for j in range(gradient.shape[1]):
                embedding[j] += source[j]


@compiled
def _largest(x):
    """The largest of x, by four chains: one would wait for itself."""
    count = x.shape[0]
    whole = count - count % 4
    a = b = c = d = x[0]
    for i in range(0, whole, 4):
        a = x[i] if x[i] > a else a
        b = x[i + 1] if x[i + 1] > b else b
        c = x[i + 2] if x[i + 2] > c else c
        d = x[i + 3] if x[i + 3] > d else d
    for i in range(whole, count):
        a = x[i] if x[i] > a else a
    return max(max(a, b), max(c, d))


@compiled
def _cross_entropy_(logits, low, share, weight, bins, mass):
    """Cross-entropy of logits [V] with the target that has 1 - share at `low` and share at `low + 1`; logits become its
    gradient times weight. Returns it, and the mean over bins [V]. mass: scratch of whole blocks [V or more]."""
    count = logits.shape[0]
    top = _largest(logits)
    wanted = (np.float32(1) - share) * logits[low] + share * logits[low + 1]
    for v in range(count):
        mass[v] = logits[v] - top
    for v in range(mass.shape[0]):  # whole blocks; what lies behind is not read
        mass[v] = fastmath.exp(mass[v])
    whole = fastmath.total(mass, count)
    scale = weight / whole
    for v in range(count):
        logits[v] = mass[v] * scale
        mass[v] *= bins[v]
    mean = fastmath.total(mass, count) / whole
    logits[low] -= (np.float32(1) - share) * weight
    logits[low + 1] -= share * weight
    return np.log(whole) + top - wanted, mean


@compiled
def _place(value, bins):
    """(low, share): `value`, at most the outermost bin, lies at (1 - share) bins[low] + share bins[low + 1]."""
    value = min(max(value, bins[0]), bins[-1])
    low, high = 0, bins.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if bins[middle] < value:
            low = middle
        else:
            high = middle
    return low, (value - bins[low]) / (bins[low + 1] - bins[low])


@compiled
def _losses_(
    output, bias, num_policy, num_bins, bins, action_row, exists, num_players, scales, game, action, policy,
    policy_known, value, alive, reward, continues, moved, next_mover, weight, value_loss, reward_loss, losses, error,
    by_bias,
):  # fmt: skip
    """All losses of output [M, O] without `bias`; the output becomes the gradient of their weighted total, which is
    returned, and by_bias [O] its sum over the rows. losses [5, K + 1, N]: policy, value, reward, continuation, next
    mover. error [N]."""
    rows, steps = game.shape[0], policy.shape[1] - 1
    mass = np.zeros((max(bins.shape[0], exists.shape[1]) + _BLOCK - 1) // _BLOCK * _BLOCK, np.float32)
    losses[:] = 0
    by_bias[:] = 0
    first_reward = num_policy + num_bins
    at_goes_on, at_mover = first_reward + num_bins, first_reward + num_bins + 1
    one, zero = np.float32(1), np.float32(0)
    total = 0.0
    for k in range(steps + 1):
        of_step = one if k == 0 else one / np.float32(steps)
        for i in range(rows):
            y, g = output[k * rows + i], game[i]
            w, scale = weight[i] * of_step, scales[g]
            for j in range(y.shape[0]):
                y[j] += bias[j]

            sum_of_row = 0.0
            keys = action_row[g]
            count = 0
            while count < exists.shape[1] and exists[g, count]:
                count += 1
            known = policy_known[i, k]
            if known:
                top, whole, wanted, share = y[keys[0]], zero, zero, zero
                for a in range(count):
                    top = max(top, y[keys[a]])
                for a in range(count):
                    mass[a] = y[keys[a]] - top
                    wanted += policy[i, k, a] * mass[a]
                    share += policy[i, k, a]
                for a in range(count):
                    mass[a] = fastmath.exp(mass[a])
                whole = fastmath.total(mass, count)
                losses[0, k, i] = np.log(whole) * share - wanted
                sum_of_row += losses[0, k, i]
            for j in range(num_policy):
                y[j] = zero
            if known:
                for a in range(count):
                    y[keys[a]] += w * (mass[a] / whole * share - policy[i, k, a])

            part = y[num_policy:first_reward]
            target = value[i, k] / scale
            low, share = _place(target, bins)
            loss, mean = _cross_entropy_(part, low, share, w * value_loss if alive[i, k] else zero, bins, mass)
            if k == 0:
                error[i] = abs(mean - target)
            if alive[i, k]:
                losses[1, k, i] = loss
                sum_of_row += value_loss * loss

            part = y[first_reward:at_goes_on]
            goes_on = y[at_goes_on]
            y[at_goes_on] = zero
            if k > 0 and moved[i, k - 1]:
                low, share = _place(reward[i, k - 1] / scale, bins)
                losses[2, k, i], _ = _cross_entropy_(part, low, share, w * reward_loss, bins, mass)
                aim = one if continues[i, k - 1] else zero
                chance = one / (one + np.exp(-goes_on))
                losses[3, k, i] = max(goes_on, zero) - goes_on * aim + np.log1p(np.exp(-abs(goes_on)))
                y[at_goes_on] = w * (chance - aim)
                sum_of_row += reward_loss * losses[2, k, i] + losses[3, k, i]
            else:
                for v in range(num_bins):
                    part[v] = zero

            a, b = y[at_mover], y[at_mover + 1]
            y[at_mover], y[at_mover + 1] = zero, zero
            if k > 0 and moved[i, k - 1] and alive[i, k] and num_players[g] > 1:
                top = max(a, b)
                chosen = next_mover[i, k - 1]
                wanted = (b if chosen else a) - top
                a, b = np.exp(a - top), np.exp(b - top)
                losses[4, k, i] = np.log(a + b) - wanted
                sum_of_row += losses[4, k, i]
                y[at_mover] = w * (a / (a + b) - (zero if chosen else one))
                y[at_mover + 1] = w * (b / (a + b) - (one if chosen else zero))
            total += w * sum_of_row
            for j in range(y.shape[0]):
                by_bias[j] += y[j]
    return total
