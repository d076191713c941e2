"""One network for all games: shared encoders, one latent shape, a shared trunk, heads read from the latent.

Shape legend: B batch, L latent tokens, D width of a token, H hidden width, A actions of the widest game, K games,
P players of the row's game, V value bins.

In games whose commands vary (`GameSpec.action_tokens`) the rows of the action tables are replaced by what the commands
say (`agents.commands`); all such games share that encoder. Where actions are continuous (`GameSpec.box`) each game has
an encoder of its actions and a policy head (`agents.continuous`).

What belongs to one game alone: its embedding, the planes of its own in the first layer of the grid encoder, the
actions whose keys no other game uses, what belongs to its box of actions, and the scale of its values. Everything else
is shared; that is what lets transfer happen. `NetworkConfig.shared_encoders = False` gives each game its own encoder
for comparison.

Adding a game appends rows and modules and never changes the shape of a matrix product that an old game takes part
in, so old outputs stay the same to the bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.bounds import at_least, at_most
from agents.commands import KEY_WIDTH, CommandEncoder, Commands, compare
from agents.continuous import BoxActions
from agents.encoders import Encoders, label_seed, seeded
from agents.support import bin_values, decode
from agents.trunks import EVERY_ROW, known_trunk, make_trunk
from envs.game import GameSpec

CORE_PLAYERS = 2  # most players that need no head of their own for the next mover
COMMAND = "command "  # keys of actions that are commands in words (games with text)
ACTION_BLOCK = 64  # rows of the policy table come in blocks of at least this many, so that products keep their shape


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Size and kind of the network. Sizes of inputs and outputs come from the games."""

    trunk: str = "mlp"
    """Kind of the shared trunk: mlp (one latent token) or resnet (a grid of tokens)."""
    width: int = 96
    """D, the width of one latent token."""
    hidden: int = 192
    """H, the hidden width of the trunk's layers and of the heads."""
    blocks: int = 1
    """Residual blocks of the trunk for each step of the model."""
    latent_grid: int = 8
    """Side of the grid of latent tokens of the resnet trunk (L = side squared)."""
    channels: int = 16
    """Channels of the convolutions of the grid encoder."""
    encoder_blocks: int = 0
    """Residual convolution blocks of the grid encoder after its first layer."""
    value_bins: int = 51
    """Bins of the value and reward distributions; odd."""
    value_limit: float = 7.0
    """The outermost bin lies at symexp(value_limit) times the game's scale."""
    shared_encoders: bool = True
    """False: every game has its own encoder and its own action embeddings (for comparison)."""

    def __post_init__(self) -> None:
        sizes = {"width": 1, "hidden": 1, "blocks": 1, "latent_grid": 1, "channels": 1, "encoder_blocks": 0}
        at_least("network", self, **sizes, value_bins=3, value_limit=0.1)
        most = {"width": 2**16, "hidden": 2**16, "channels": 2**16, "latent_grid": 256, "blocks": 1000}
        at_most("network", self, **most, encoder_blocks=1000, value_bins=10_001, value_limit=60)
        bin_values(self.value_bins, self.value_limit)
        known_trunk(self.trunk)


class Core(nn.Module):
    """The outputs that nearly every game needs, in one matrix product: the first block of action keys, one value, one
    reward, continuation, and the next mover among two."""

    def __init__(self, config: NetworkConfig, seed: int):
        super().__init__()
        self.num_bins = config.value_bins
        parts = [
            seeded(nn.Linear(config.hidden, rows), seed, label, gain)
            for rows, label, gain in (
                (ACTION_BLOCK, "actions", 0.1),
                (2 * config.value_bins, "scalars", 0.0),
                (1, "continuation", 0.1),
                (CORE_PLAYERS, "mover", 0.1),
            )
        ]
        self.sizes = [len(part.weight) for part in parts]
        self.weight = nn.Parameter(torch.cat([part.weight.detach() for part in parts]))
        self.bias = nn.Parameter(torch.zeros(len(self.weight)))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """hidden [B, H] -> action keys [B, 64], value and reward [B, 2, V], continuation [B], mover [B, 2]: logits."""
        policy, scalars, continuation, mover = F.linear(hidden, self.weight, self.bias).split(self.sizes, 1)
        return policy, scalars.unflatten(1, (2, self.num_bins)), continuation[:, 0], mover


class Heads(NamedTuple):
    """What the network says of a latent; rows of a batch may belong to different games.

    Values and rewards are seen from the row's own mover: entry 0 is whoever moves, entry 1 the next seat, and so on.
    A two-player zero-sum game stores one number; the other is its negative.
    """

    policy: Tensor  # [B, A] logits; entries of actions that the row's game lacks are finite and meaningless. Of a box
    # [B, 2 D], parameters of `search.Gaussian`
    value: Tensor  # [B, R, V] logits, R relative seats of the widest game
    reward: Tensor  # [B, R, V] logits, of the move that led here, seen by the player who made it
    continuation: Tensor  # [B] logit: the game goes on after the move that led here
    next_mover: Tensor  # [B, S] logits over how many seats further the next mover sits, S most players


class MultiGameNetwork(nn.Module):
    """The network; `games` lists what it plays, in order of introduction."""

    bins: Tensor  # [V] positions of the value bins, in units of a game's scale

    def __init__(self, config: NetworkConfig, specs: Sequence[GameSpec] = (), seed: int = 0):
        super().__init__()
        self.config, self.seed = config, seed
        self.specs: list[GameSpec] = []
        self.games: dict[str, int] = {}  # name -> index
        trunk = make_trunk(config, seed)
        self.trunk = trunk
        self.num_tokens, self.width = trunk.num_tokens, config.width
        self.encoders = Encoders(config, trunk.num_tokens, seed)
        latent = trunk.num_tokens * config.width
        self.activation = nn.ReLU()  # a module, so that the monitor can see what it puts out
        self.torso = seeded(nn.Linear(latent, config.hidden), seed, "torso")
        self.action_index: dict[str, int] = {}  # key -> row of the tables
        # One product for what nearly every game needs; games that need more get heads of their own below.
        self.core = Core(config, seed)
        self.policy_blocks = nn.ModuleList()  # each Linear(H, block rows), for keys beyond the core's
        self.action_blocks = nn.ParameterList()  # each [block rows, trunk.condition_width]
        self.game_embedding = nn.ParameterList()  # K vectors [trunk.condition_width]
        self.value_heads = nn.ModuleDict()  # number of stored values, if not 1 -> Linear(H, values * V)
        self.reward_heads = nn.ModuleDict()
        self.mover_heads = nn.ModuleDict()  # number of players, if more than 2 -> Linear(H, players)
        # For games whose commands vary, with the first of them: "shared" or game index -> CommandEncoder; Linear(H, Q).
        self.command_encoders = nn.ModuleDict()
        self.query = nn.ModuleList()
        self.boxes = nn.ModuleDict()  # game index -> BoxActions, of games with continuous actions
        self.register_buffer("bins", bin_values(config.value_bins, config.value_limit), persistent=False)
        self.tables: Tables = Tables.empty()
        for spec in specs:
            self.add_game(spec)

    # -- growth ------------------------------------------------------------------------------------------------

    def add_game(self, spec: GameSpec) -> int:
        """Make room for one more game; returns its index. Old outputs stay unchanged to the bit."""
        if spec.name in self.games:
            raise ValueError(f"the network already plays {spec.name}; give the game another name")
        device, index = self.bins.device, len(self.specs)
        private = "" if self.config.shared_encoders else f"{spec.name}: "
        self.encoders.add_game(spec, index)
        own = spec.action_tokens or spec.box is not None  # actions that are no rows of the tables
        self._add_actions([] if own else [private + key for key in spec.keys()])  # noqa: SIM118
        if spec.action_tokens:
            self._add_commands(self._command_slot(index))
        if spec.box is not None:
            seed = label_seed(self.seed, "box", spec.name)
            width, size = self.trunk.condition_width, spec.box.num_dimensions
            self.boxes[str(index)] = BoxActions(self.config, width, size, seed)
        embedding = torch.randn(self.trunk.condition_width, generator=generator(self.seed, "game", spec.name)) * 0.1
        self.game_embedding.append(nn.Parameter(embedding))
        hidden, bins = self.config.hidden, self.config.value_bins
        count = num_values(spec)
        for heads, label in ((self.value_heads, "value"), (self.reward_heads, "reward")):
            if count > 1 and str(count) not in heads:
                heads[str(count)] = seeded(nn.Linear(hidden, count * bins), self.seed, f"{label} {count}", 0.0)
        players = spec.num_players
        if players > CORE_PLAYERS and str(players) not in self.mover_heads:
            self.mover_heads[str(players)] = seeded(nn.Linear(hidden, players), self.seed, f"mover {players}", 0.1)
        self.specs.append(spec)
        self.games[spec.name] = index
        self.tables = Tables.build(
            self.specs, self.action_index, private_keys=not self.config.shared_encoders, side=self.config.latent_grid
        )
        self.to(device)
        return index

    def _add_actions(self, keys: Sequence[str]) -> None:
        new = [key for key in dict.fromkeys(keys) if key not in self.action_index]
        capacity = sum(len(block) for block in self.action_blocks)
        first = len(self.action_index)
        for offset, key in enumerate(new):
            self.action_index[key] = first + offset
        while capacity < max(1, len(self.action_index)):  # there is always a first block
            rows = max(ACTION_BLOCK, len(self.action_index) - capacity) if capacity else ACTION_BLOCK
            label = f"actions {capacity}"
            if capacity:  # the first block is the core's
                self.policy_blocks.append(seeded(nn.Linear(self.config.hidden, rows), self.seed, label, 0.1))
            noise = torch.randn(rows, self.trunk.condition_width, generator=generator(self.seed, "embedding", label))
            self.action_blocks.append(nn.Parameter(noise * 0.5))
            capacity += rows
        for key in new:
            if key.startswith(COMMAND):
                self._begin_with_words(key)

    def _command_slot(self, index: int) -> str:
        return "shared" if self.config.shared_encoders else str(index)

    def _add_commands(self, slot: str) -> None:
        """Make room for games whose commands vary; those that are there already share what there is."""
        if slot not in self.command_encoders:
            width = self.trunk.condition_width
            self.command_encoders[slot] = CommandEncoder(self.config, width, label_seed(self.seed, "commands", slot))
        if not len(self.query):
            self.query.append(seeded(nn.Linear(self.config.hidden, KEY_WIDTH), self.seed, "query", 0.35))

    @torch.no_grad()
    def _begin_with_words(self, key: str) -> None:
        """A command in words begins as the sum of its words, so that commands with words in common begin alike."""
        words, row = key.removeprefix(COMMAND).split(), self.action_index[key]
        block, scale = 0, max(1, len(words)) ** -0.5
        while row >= len(self.action_blocks[block]):
            row -= len(self.action_blocks[block])
            block += 1
        head = (self.core if block == 0 else self.policy_blocks[block - 1]).get_parameter("weight")
        for table, label, spread in (
            (self.action_blocks[block], "word", 0.5),
            (head, "word policy", 0.1 * (2 / self.config.hidden) ** 0.5),
        ):
            drawn = [torch.randn(table.shape[1], generator=generator(self.seed, label, word)) for word in words]
            table[row] = (spread * scale * torch.stack(drawn).sum(0)).to(table.device)

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        self.tables = Tables(*(fn(table) for table in self.tables))
        return self

    # -- the three functions of the model (MuZero: h, g, f) ------------------------------------------------------

    def represent(self, game: str, observation: Tensor) -> Tensor:
        """h: observation [B, *shape] of one game -> latent [B, L, D]. Commands behind a text are not looked at."""
        index = self.games[game]
        spec = self.specs[index]
        return self.encoders(index, spec.text(observation) if spec.action_tokens else observation)

    def commands(self, game: str, observation: Tensor) -> Commands | None:
        """What can be said in observations [..., *shape] of one game; None where actions are always the same."""
        spec = self.specs[self.games[game]]
        return self.read_commands(game, spec.commands(observation)) if spec.action_tokens else None

    def read_commands(self, game: str, commands: Tensor) -> Commands:
        """What commands [..., A, T] (tokens) of one game are to the network."""
        return self.command_encoders[self._command_slot(self.games[game])](commands)

    def box(self, game: str) -> BoxActions:
        """What the network has for the continuous actions of one game."""
        found = self.boxes[str(self.games[game])]
        assert isinstance(found, BoxActions), f"{game} has no continuous actions"
        return found

    def told(self, game: str, action: Tensor) -> Tensor:
        """[..., condition width] what the trunk is told of actions [..., D] of the unit box in one game."""
        return self.box(game).tell(action) + self.game_embedding[self.games[game]]

    def condition(self, game: Tensor, action: Tensor, commands: Commands | None = None) -> Tensor:
        """[..., condition width] what the trunk is told of the move; game [...], action [...] int64.

        commands: [..., A, *] of the positions in games whose commands vary. Without them the trunk is told in such
        games, and in those with continuous actions (see `told`), that somebody moved, and no more.
        """
        of_game = F.embedding(game, torch.stack(list(self.game_embedding)))
        if commands is not None:
            return spoken(commands.move, action) + of_game
        move = F.embedding(self.tables.action_row[game, action], self.action_table())
        if len(self.query) or len(self.boxes):
            move = move.masked_fill(self.tables.varies[game][..., None], 0.0)
        return move + of_game

    def action_table(self) -> Tensor:
        """[rows, condition width] embeddings of all action keys."""
        return self.action_blocks[0] if len(self.action_blocks) == 1 else torch.cat(list(self.action_blocks))

    def transition(self, latent: Tensor, game: Tensor, action: Tensor) -> Tensor:
        """g: latent [B, L, D], game [B] int64, action [B] int64 -> next latent [B, L, D]."""
        place = self.tables.place[game, action] if self.trunk.uses_places else None
        return self.trunk(latent, self.condition(game, action), place)

    def heads(
        self, latent: Tensor, game: Tensor, commands: Commands | None = None, box: BoxActions | None = None
    ) -> Heads:
        """f, and the model's other outputs: latent [B, L, D], game [B] int64 -> `Heads`.

        commands: [B, A, *], what can be said, where commands vary; without them the policy of such games means nothing.
        box: of the one game of all rows, where its actions are continuous; likewise.
        """
        return self.read(latent, self.tables.action_row[game], self.tables.num_values[game],
                         self.tables.num_players[game], commands, box)  # fmt: skip

    def read(self, latent: Tensor, action_row: Tensor, num_values: Tensor, num_players: Tensor,
             commands: Commands | None = None, box: BoxActions | None = None) -> Heads:  # fmt: skip
        """`heads` with the rows' tables looked up already: action_row [B, A], num_values [B], num_players [B]."""
        hidden = self.activation(self.torso(latent.flatten(1)))
        policy, scalars, continuation, mover = self.core(hidden)
        if len(self.policy_blocks):
            policy = torch.cat([policy, *(block(hidden) for block in self.policy_blocks)], 1)
        value, reward = scalars[:, :1], scalars[:, 1:]
        if len(self.value_heads):
            value = _by_count(self.value_heads, hidden, value, num_values)
            reward = _by_count(self.reward_heads, hidden, reward, num_values)
        if len(self.mover_heads):
            mover = _by_count(self.mover_heads, hidden, mover[..., None], num_players)[..., 0]
        if box is not None:
            logits = box.parameters_of(hidden)
        else:
            logits = policy.gather(1, action_row) if commands is None else compare(self.query[0](hidden), commands.key)
        return Heads(logits, value, reward, continuation, mover)

    def value_logits(self, latent: Tensor, game: Tensor) -> Tensor:
        """[B, R, V]: `heads(latent, game).value` and nothing else of it."""
        if len(self.value_heads):
            return self.heads(latent, game).value
        hidden = self.activation(self.torso(latent.flatten(1)))
        rows = slice(self.core.sizes[0], self.core.sizes[0] + self.core.num_bins)
        return F.linear(hidden, self.core.weight[rows], self.core.bias[rows])[:, None]

    # -- reading scalars -------------------------------------------------------------------------------------------

    def decode_seats(self, logits: Tensor, game: Tensor, to_play: Tensor, num_seats: int) -> Tensor:
        """[B, num_seats] per-seat scalars in the game's units from logits [B, R, V] seen by seat `to_play` [B]."""
        relative = decode(logits, self.bins) * self.tables.scale[game][:, None]
        return to_absolute(relative, to_play, self.tables.num_players[game], self.tables.zero_sum[game], num_seats)


def _by_count(heads: nn.ModuleDict, hidden: Tensor, core: Tensor, count: Tensor) -> Tensor:
    """[B, widest, inner] each row from the head for its own `count` [B]; from `core` [B, R, inner] where there is none.

    Seats that a row lacks are zeros.
    """
    inner, widest = core.shape[2], max(int(key) for key in heads)
    result = F.pad(core, (0, 0, 0, widest - core.shape[1]))
    for key, head in heads.items():
        seats = F.pad(head(hidden).unflatten(1, (-1, inner)), (0, 0, 0, widest - int(key)))
        result = torch.where((count == int(key))[:, None, None], seats, result)
    return result


def spoken(move: Tensor, action: Tensor) -> Tensor:
    """[..., width] of the actions [...] int64 that were chosen, from move [..., A, width] of all."""
    return move.gather(-2, action[..., None, None].expand(*action.shape, 1, move.shape[-1]))[..., 0, :]


def pad_last(values: Tensor, size: int) -> Tensor:
    """[..., size] with False or 0 behind: for actions or seats that the widest game has and this one lacks."""
    return F.pad(values, (0, size - values.shape[-1]))


def num_values(spec: GameSpec) -> int:
    """How many numbers a value of this game is: one for one player and for two that share a zero sum."""
    return 1 if spec.zero_sum else spec.num_players


def to_absolute(relative: Tensor, to_play: Tensor, num_players: Tensor, zero_sum: Tensor, num_seats: int) -> Tensor:
    """Per-seat numbers [B, num_seats] from numbers [B, R] that start at the mover; seats a game lacks get 0.

    to_play, num_players: [B] int64; zero_sum: [B] bool (entry 0 is stored, the other seat is its negative).
    """
    seat = torch.arange(num_seats, device=relative.device)
    distance = (seat - to_play[:, None]) % num_players[:, None]
    taken = seat < num_players[:, None]
    stored = torch.where(zero_sum[:, None], 0, distance).clamp(max=relative.shape[1] - 1)
    sign = torch.where(zero_sum[:, None] & (distance == 1), -1.0, 1.0)
    return relative.gather(1, stored) * sign * taken


def to_relative(absolute: Tensor, to_play: Tensor, num_players: int, count: int) -> Tensor:
    """The first `count` numbers from the mover on: absolute [..., P], to_play [...] -> [..., count]."""
    seat = (to_play[..., None] + torch.arange(count, device=absolute.device)) % num_players
    return absolute.gather(-1, seat)


class Tables(NamedTuple):
    """What a row needs to know of its game, by game index; A is the widest game's number of actions."""

    action_row: Tensor  # [K, A] int64: row of the action tables; 0 where the game lacks the action
    exists: Tensor  # [K, A] bool
    place: Tensor  # [K, A] int64: where the move is on the grid of latent tokens, see `place_of`
    num_players: Tensor  # [K] int64
    num_values: Tensor  # [K] int64: stored numbers a value
    zero_sum: Tensor  # [K] bool
    scale: Tensor  # [K] float32: unit of values and rewards
    varies: Tensor  # [K] bool: actions are commands that vary, or points of a box; the rows above are then 0

    @staticmethod
    def empty() -> Tables:
        whole, no = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
        return Tables(whole[None], no[None], whole[None], whole, whole, no, torch.zeros(0), no)

    @staticmethod
    def build(specs: Sequence[GameSpec], action_index: dict[str, int], private_keys: bool, side: int) -> Tables:
        """private_keys: no two games share an action. side: of the grid of latent tokens, for trunks that have one."""
        widest = max(spec.num_actions for spec in specs)
        rows = torch.zeros(len(specs), widest, dtype=torch.int64)
        exists = torch.zeros(len(specs), widest, dtype=torch.bool)
        place = torch.full((len(specs), widest), -1, dtype=torch.int64)
        for index, spec in enumerate(specs):
            private = f"{spec.name}: " if private_keys else ""
            for action, key in enumerate(() if spec.action_tokens or spec.box else spec.keys()):
                rows[index, action] = action_index[private + key]
                place[index, action] = place_of(key, spec.observation.shape, side)
            exists[index, : spec.num_actions] = True
        return Tables(
            rows,
            exists,
            place,
            torch.tensor([spec.num_players for spec in specs]),
            torch.tensor([num_values(spec) for spec in specs]),
            torch.tensor([spec.zero_sum for spec in specs]),
            torch.tensor([reward_unit(spec) for spec in specs]),
            torch.tensor([spec.action_tokens > 0 or spec.box is not None for spec in specs]),
        )


def place_of(key: str, shape: Sequence[int], side: int) -> int:
    """row * 256 + column of a move `cell ROW COLUMN` or `column COLUMN` (row `EVERY_ROW`) of a game shown as [C, H, W],
    on a grid of side * side; -1 for other moves."""
    kind, *numbers = key.split()
    known = (kind, len(numbers)) in (("cell", 2), ("column", 1)) and all(at.isdigit() for at in numbers)
    if len(shape) != 3 or not known:
        return -1
    # A board larger than the grid is averaged down to it, and its cells with it.
    on_grid = [int(at) * side // size if size > side else int(at)
               for at, size in zip(numbers, shape[-len(numbers) :], strict=True)]  # fmt: skip
    row, column = (EVERY_ROW, *on_grid)[-2:]
    return row * 256 + column


def reward_unit(spec: GameSpec) -> float:
    """The game's unit of value: the largest reward of a step where that is known, else 1."""
    largest = max(abs(bound) for bound in spec.reward_range)
    return float(largest) if 0 < largest < float("inf") else 1.0


def generator(seed: int, *labels: str) -> torch.Generator:
    """A generator of its own for every named thing, so that order of creation never changes an initial weight."""
    return torch.Generator().manual_seed(label_seed(seed, *labels))
