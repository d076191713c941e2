"""Search with exact rules: against plain-Python rules, the plain-Python search, and solved positions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tiny import tiny_network, toy
from torch import Tensor

from agents.acting import SearchConfig
from agents.agent import NetworkPlayer
from agents.player import RandomPlayer, StatePlayer
from agents.rules import (
    MCTS,
    NetworkOpinion,
    Packing,
    Positions,
    Rollouts,
    RulesModel,
    mcts_player,
    network_player,
    no_exact_rules,
    no_opinion,
)
from envs.boards import connect_four, tictactoe
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable
from envs.registry import make
from envs.solver import solve, take
from gurgeh.episodes import play_episodes
from gurgeh.evaluate import built_in, is_built_in, mcts_simulations, opponents_of, optimal_share
from gurgeh.scores import summarize
from search import GumbelConfig, PUCTConfig, TreeRange, Unscaled, gumbel_muzero, muzero, reference

sys.path.append(str(Path(__file__).parents[1] / "search"))
from engines import ENGINES

NATIVE = ("tictactoe", "connect_four", "two_each", "three")


# -- the same rules in plain Python ------------------------------------------------------------------------------------


class Plain(NamedTuple):
    """A board of `width` columns as a string of x, o and dots from the top left, and who moves (0: x)."""

    board: str
    mover: int


@dataclasses.dataclass(frozen=True)
class PlainRules:
    """Line-up games; with `drop` a stone falls to the lowest empty cell of its column."""

    height: int
    width: int
    length: int
    drop: bool

    @property
    def first(self) -> Plain:
        return Plain("." * (self.height * self.width), 0)

    def legal(self, s: Plain) -> list[bool]:
        return [c == "." for c in (s.board[: self.width] if self.drop else s.board)]

    def play(self, s: Plain, action: int) -> tuple[Plain, float, bool]:
        """The next position, what the mover receives, whether the game is over."""
        cell = action
        if self.drop:
            cell = max(at for at in range(action, len(s.board), self.width) if s.board[at] == ".")
        stone = "xo"[s.mover]
        board = s.board[:cell] + stone + s.board[cell + 1 :]
        row, column = divmod(cell, self.width)

        def run(down: int, right: int) -> int:
            """Stones of the mover beside the new one, in one direction."""
            r, c, count = row + down, column + right, 0
            while 0 <= r < self.height and 0 <= c < self.width and board[r * self.width + c] == stone:
                r, c, count = r + down, c + right, count + 1
            return count

        won = any(1 + run(*d) + run(-d[0], -d[1]) >= self.length for d in ((0, 1), (1, 0), (1, 1), (1, -1)))
        return Plain(board, 1 - s.mover), float(won), won or "." not in board

    def moves(self, s: Plain) -> list[int]:
        return [a for a, there in enumerate(self.legal(s)) if there]

    def wins(self, s: Plain) -> list[int]:
        """Moves that win at once."""
        return [a for a in self.moves(s) if self.play(s, a)[1]]

    def forces(self, s: Plain) -> list[int]:
        """Moves after which every answer leaves the mover a move that wins at once: a win in three."""
        found = []
        for a in self.moves(s):
            after, _, over = self.play(s, a)
            answers = [] if over or self.wins(after) else [self.play(after, b) for b in self.moves(after)]
            if answers and all(not over and self.wins(then) for then, _, over in answers):
                found.append(a)
        return found

    def random_positions(self, count: int, seed: int) -> list[Plain]:
        """Different positions in which the game goes on, from random games."""
        generator, found = np.random.default_rng(seed), {}
        while len(found) < count:
            s, over = self.first, False
            while not over:
                found[s] = None
                s, _, over = self.play(s, int(generator.choice(self.moves(s))))
        chosen = generator.choice(len(found), count, replace=False)
        return [list(found)[i] for i in chosen]


PLAIN = {"tictactoe": PlainRules(3, 3, 3, False), "connect_four": PlainRules(6, 7, 4, True)}


def states_of(name: str, positions: Sequence[Plain]):
    """Plain positions as the native game's states."""
    seats = [torch.tensor([[c == stone for c in s.board] for s in positions]) for stone in "xo"]
    mover = torch.tensor([s.mover for s in positions])
    turned = (mover == 1)[:, None]
    stones = torch.stack([torch.where(turned, seats[1], seats[0]), torch.where(turned, seats[0], seats[1])], 1)
    return {"tictactoe": tictactoe, "connect_four": connect_four}[name].State(stones, mover)


def played_at_random(game, count: int, moves: int, seed: int = 0):
    """`count` states after at most `moves` random moves each, none of them over."""
    generator = torch.Generator().manual_seed(seed)
    state = game.initial(torch.arange(count))
    for _ in range(moves):
        action = torch.multinomial(game.legal(state).float(), 1, generator=generator)[:, 0]
        played = game.play(state, action)
        stay = played.terminated
        state = type(state)(
            *(torch.where(stay.reshape(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(state, played.state))
        )
    return state


class Planted:
    """A policy and a value that are linear in what the player to move sees: in torch for the engines, in lists for
    the oracle."""

    def __init__(self, game):
        generator = torch.Generator().manual_seed(5)
        size = int(np.prod(game.spec.observation.shape))
        self.game, self.policy = game, torch.randn(size, game.spec.num_actions, generator=generator)
        self.value = torch.randn(size, generator=generator) / 4
        self.policy_list, self.value_list = self.policy.double().tolist(), self.value.double().tolist()

    def __call__(self, at: Positions) -> tuple[Tensor, Tensor]:
        seen = self.game.observe(at.state).flatten(1).float()
        mine = torch.tanh(seen @ self.value)[:, None]
        return seen @ self.policy, torch.where(at.to_play[:, None] == 0, 1, -1) * torch.cat([mine, -mine], 1)

    def plain(self, s: Plain) -> tuple[list[float], list[float]]:
        mine, theirs = "xo"[s.mover], "ox"[s.mover]
        stones = [i for i, c in enumerate(s.board) if c == mine]
        stones += [len(s.board) + i for i, c in enumerate(s.board) if c == theirs]
        num_actions = len(self.policy_list[0])
        logits = [sum(self.policy_list[i][a] for i in stones) for a in range(num_actions)]
        value = float(np.tanh(sum(self.value_list[i] for i in stones)))
        return logits, [value, -value] if s.mover == 0 else [-value, value]


# -- packing -----------------------------------------------------------------------------------------------------------

TYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
         torch.float32, torch.float64, torch.complex128)  # fmt: skip
TENSORS = st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from([(), (1,), (3,), (2, 5), (0,)])), min_size=1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(kinds=TENSORS, batch=st.integers(1, 4), seed=st.integers(0, 2**20), how=st.sampled_from(["whole", "column"]))
def test_packing_keeps_every_bit(kinds, batch, seed, how):
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for dtype, shape in kinds:
        high = 2 if dtype == torch.bool else 256  # any bytes are a number of every other type, NaNs among them
        size = int(np.prod((*shape, dtype.itemsize)))
        raw = torch.randint(high, (batch, size), generator=generator, dtype=torch.uint8)
        tensors.append(raw.view(dtype).reshape(batch, *shape) if size else torch.zeros(batch, *shape, dtype=dtype))
    packing = Packing([tensor[:1] for tensor in tensors])
    rows = packing.pack(tensors)
    assert rows.dtype == torch.uint8
    assert rows.shape == (batch, packing.width)
    if how == "column":  # as a node of a tree that keeps embeddings [N, B, W] is seen
        rows = torch.stack([torch.zeros_like(rows), rows]).transpose(0, 1)[:, 1]
    for before, after in zip(tensors, packing.unpack(rows), strict=True):
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        assert after.is_contiguous()
        assert torch.equal(after.reshape(-1).view(torch.uint8), before.reshape(-1).view(torch.uint8))


def test_packing_refuses_another_type():
    packing = Packing([torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)])
    with pytest.raises(ValueError, match=r"tensor 1 of a state is \[\] torch.int32 here and was \[\] torch.int64"):
        packing.pack([torch.zeros(3, 2), torch.zeros(3, dtype=torch.int32)])


# -- what the tree holds -----------------------------------------------------------------------------------------------


def searched(policy: str, root, model: RulesModel, simulations: int, engine, unit=TreeRange()):  # noqa: B008
    if policy == "puct":
        return muzero(root, model.step, simulations, dataclasses.replace(MCTS, unit=unit), engine=engine)
    config = GumbelConfig(gumbel_scale=0.0, unit=unit, waves=policy == "waves")
    return gumbel_muzero(root, model.step, simulations, config, engine=engine)


def skip_unless_it_can(engine: str, policy: str) -> None:
    if policy == "waves" and engine != "numba":
        pytest.skip("waves are numba's")


@pytest.mark.parametrize("policy", ["puct", "gumbel", "waves"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NATIVE)
def test_every_node_holds_the_state_that_its_moves_lead_to(name, engine, policy):
    skip_unless_it_can(engine, policy)
    game, simulations, batch = toy(name).native, 24, 5
    length = {"tictactoe": 4, "connect_four": 20, "two_each": 22, "three": 2}[name]
    first = played_at_random(game, batch, length)
    model = RulesModel(game, Rollouts(game), gamma=0.9)
    root = model.root(first, torch.arange(batch))
    tree = searched(policy, root, model, simulations, ENGINES[engine]).tree
    ends = inner = 0
    for row in range(batch):
        reached, keys = {0: (take(first, slice(row, row + 1)), False)}, {row}
        for node in range(1, simulations + 1):
            if tree.visits[row, node] == 0:
                continue
            parent, action = int(tree.parent[row, node]), int(tree.action[row, node])
            before, was_over = reached[parent]
            assert not was_over  # nothing below the end of a game
            assert game.legal(before)[0, action]
            played = game.play(before, torch.tensor([action]))
            over = bool(played.terminated)
            reached[node] = played.state, over
            held, key = model.unpack(tree.embedding[row, node][None])
            assert int(key) not in keys  # every node has randomness of its own
            keys.add(int(key))
            assert type(held) is type(first)
            for mine, theirs in zip(held, played.state, strict=True):
                assert mine.dtype == theirs.dtype
                assert torch.equal(mine, theirs)
            assert torch.equal(tree.reward[row, node], played.reward[0])
            assert tree.discount[row, node] == (0.0 if over else pytest.approx(0.9))
            ends, inner = ends + over, inner + (not over)
            if over:
                assert (tree.child[row, node] == -1).all()
                continue
            assert tree.to_play[row, node] == game.to_play(played.state)[0]
            legal = game.legal(played.state)[0]
            assert ((tree.prior_logits[row, node] > -1e30) == legal).all()
    assert ends >= 8
    assert inner >= (5 if name == "three" else 20)


@pytest.mark.parametrize("policy", ["puct", "gumbel", "waves"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", PLAIN)
def test_search_equals_the_oracle_with_rules_of_its_own(name, engine, policy):
    """search/reference.py on plain-Python rules: nothing shared but the numbers of the planted evaluator."""
    skip_unless_it_can(engine, policy)
    plain, game, simulations = PLAIN[name], make(name).native, 32
    positions = plain.random_positions(6, seed=2)
    evaluator = Planted(game)
    model = RulesModel(game, evaluator, gamma=0.95)
    root = model.root(states_of(name, positions), torch.zeros(len(positions), dtype=torch.int64))
    result = searched(policy, root, model, simulations, ENGINES[engine], Unscaled())

    def predict(s: Plain, reward=(), discount=1.0) -> reference.Prediction:
        return reference.Prediction(s, *evaluator.plain(s), s.mover, plain.legal(s), reward, discount)

    def oracle_step(s: Plain, action: int) -> reference.Prediction:
        after, won, over = plain.play(s, action)
        return predict(after, [won, -won] if s.mover == 0 else [-won, won], 0.0 if over else 0.95)

    compared = ends = 0
    for row, position in enumerate(positions):
        if policy == "puct":
            oracle = reference.muzero(predict(position), oracle_step, simulations, _puct())
        else:
            config = GumbelConfig(gumbel_scale=0.0, unit=Unscaled(), waves=policy == "waves")
            oracle = reference.gumbel_muzero(predict(position), oracle_step, simulations, config)
        if oracle.smallest_gap < 1e-5:  # closer than float32 tells apart
            continue
        compared += 1
        assert result.action[row] == oracle.action
        torch.testing.assert_close(result.policy_target[row], torch.tensor(oracle.policy), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result.root_value[row], torch.tensor(oracle.root_value), atol=1e-5, rtol=1e-4)
        for node in oracle.nodes:
            ends += node.terminal
            children = result.tree.child[row, node.index]
            found = {a: int(child) for a, child in enumerate(children.tolist()) if child >= 0}
            assert found == {a: child.index for a, child in node.children.items()}
            assert result.tree.visits[row, node.index] == len(node.returns)
            held, _ = model.unpack(result.tree.embedding[row, node.index][None])
            for mine, theirs in zip(held, states_of(name, [node.prediction.state])):
                assert torch.equal(mine, theirs)
    assert compared >= 4
    assert ends >= 2


def _puct() -> PUCTConfig:
    return dataclasses.replace(MCTS, unit=Unscaled())


# -- evaluators --------------------------------------------------------------------------------------------------------


def at_states(game, state, key: Tensor, over: Tensor | None = None) -> Positions:
    over = torch.zeros_like(key).bool() if over is None else over
    return Positions(state, game.legal(state), game.to_play(state), over, key)


def test_rollouts_have_the_odds_of_random_games():
    game = make("tictactoe").native
    keys = torch.arange(4000) * 7 - 9000
    logits, value = Rollouts(game)(at_states(game, game.initial(keys), keys))
    assert not logits.any()
    assert torch.equal(value[:, 0], -value[:, 1])
    for outcome, odds in ((1, 737 / 1260), (0, 8 / 63), (-1, 121 / 420)):  # all 255,168 games, weighted by chance
        assert stats.binomtest(int((value[:, 0] == outcome).sum()), len(keys), odds).pvalue > 1e-3
    again = Rollouts(game)(at_states(game, take(game.initial(keys), keys[:5] * 0), keys[100:105]))[1]
    assert torch.equal(again, value[100:105])


def test_rollouts_discount_and_keep_to_their_seats():
    """Two sticks left and seat 1 to move: it takes both and wins, or one, and then seat 2 wins a move later."""
    game = toy("three").native
    key = torch.arange(200)
    state = type(game.initial(key))(torch.full_like(key, 2), torch.ones_like(key))
    over = key >= 150
    _, value = Rollouts(game, gamma=0.5)(at_states(game, state, key, over))
    assert not value[over].any()
    found = {tuple(row) for row in value[~over].tolist()}
    assert found == {(-0.5, 1.0, -0.5), (-0.25, -0.25, 0.5)}
    share = int((value[~over][:, 1] == 1).sum())
    assert stats.binomtest(share, 150, 0.5).pvalue > 1e-3


class Endless:
    """Every move gains 1, for ever."""

    spec = GameSpec("endless", ObservationSpec(ObservationKind.VECTOR, (1,)), num_actions=2, native=True)

    class State(NamedTuple):
        moves: Tensor

    def initial(self, seed):
        return self.State(torch.zeros_like(seed))

    def legal(self, state):
        return torch.ones(len(state.moves), 2, dtype=torch.bool)

    def to_play(self, state):
        return torch.zeros_like(state.moves)

    def observe(self, state):
        return state.moves[:, None].float()

    def play(self, state, action):
        ones = torch.ones(len(action), 1)
        return Playable(self.State(state.moves + 1), ones, torch.zeros(len(action), dtype=torch.bool))


def test_an_endless_game_is_played_out_for_so_long():
    key = torch.arange(3)
    _, value = Rollouts(Endless())(at_states(Endless(), Endless().initial(key), key))
    assert value.tolist() == [[200.0]] * 3
    assert mcts_player(Endless(), 5).act_on_state(Endless().initial(key), key).visits.sum() == 15


@pytest.mark.parametrize("names", [["tictactoe"], ["three", "connect_four", "tictactoe"]])
def test_the_network_is_asked_about_the_true_position(names):
    """Prior and value at every node are those of the raw network on that node's observation; the search is that of
    the run's own settings."""
    network, game = tiny_network(names), make("tictactoe").native
    config, count, simulations = SearchConfig(gamma=0.8, max_considered=4), 5, 12
    first = played_at_random(game, count, 3)
    model = RulesModel(game, NetworkOpinion(network, game), config.gamma)
    raw = NetworkPlayer(network, game.spec, config, 0.5, simulations=0)
    with torch.no_grad():
        root = model.root(first, torch.arange(count), torch.full((count,), 0.5))
        tree = searched("gumbel", root, model, simulations, None).tree
    checked = 0
    for node in range(simulations + 1):
        state, key = model.unpack(tree.embedding[:, node])
        told = raw.act(game.observe(state), game.legal(state), game.to_play(state), key)
        going = (tree.visits[:, node] > 0) & ((tree.discount[:, node] > 0) | (node == 0))
        prior = tree.prior_logits[:, node].softmax(1)
        torch.testing.assert_close(prior[going], told.prior[going], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(tree.raw_value[:, node][going], told.value[going], atol=1e-5, rtol=1e-4)
        checked += int(going.sum())
    assert checked > 40
    player = network_player(network, game, config, 0.5, simulations)
    decision = player.act_on_state(first, torch.arange(count))
    learned = NetworkPlayer(network, game.spec, config, 0.5, simulations)
    other = learned.act(game.observe(first), game.legal(first), game.to_play(first), torch.arange(count))
    torch.testing.assert_close(decision.prior, other.prior)
    assert (decision.visits.sum(1) == simulations).all()
    assert ((decision.visits > 0).sum(1) <= 4).all()  # max_considered
    assert not torch.allclose(decision.policy, other.policy, atol=1e-3)  # the learned model knows no rules yet


# -- strength ----------------------------------------------------------------------------------------------------------


def test_it_solves_tictactoe():
    game = make("tictactoe").native
    solution, plain = solve(game), PLAIN["tictactoe"]
    some = torch.arange(0, len(solution), 11)
    names = ("observation", "legal", "to_play", "value", "optimal", "ply")
    parts = {name: getattr(solution, name)[some] for name in names}
    part = dataclasses.replace(solution, state=take(solution.state, some), **parts)
    assert optimal_share(mcts_player(game, 8), part).share < 0.92  # the positions are not easy
    assert optimal_share(mcts_player(game, 400), part).share > 0.99
    action = mcts_player(game, 200).act_on_state(part.state, some).action
    wins, blocks = [], []
    for row, (stones, mover) in enumerate(zip(part.state.stones.tolist(), part.to_play.tolist())):
        board = "".join("xo"[mover] if m else "ox"[mover] if t else "." for m, t in zip(*stones))
        mine, theirs = (plain.wins(Plain(board, seat)) for seat in (mover, 1 - mover))
        if mine:
            wins.append(row)
            assert part.optimal[row, action[row]]  # wins at once, or as surely later
        elif len(theirs) == 1 and part.value[row] > -1:  # there is a defence
            blocks.append(row)
            assert int(action[row]) in theirs
    assert len(wins) > 150
    assert len(blocks) > 50


def tactics(count: int) -> dict[str, list[tuple[Plain, list[int]]]]:
    """Connect Four positions in which only some moves will do, and these moves; by brute force in plain Python."""
    plain, found = PLAIN["connect_four"], {"win": [], "block": [], "force": []}

    def add(kind: str, s: Plain, moves: list[int]) -> None:
        if len(found[kind]) < count and 0 < len(moves) < len(plain.moves(s)) / 2:
            found[kind].append((s, moves))

    for s in plain.random_positions(700, seed=4):
        mine, theirs = plain.wins(s), plain.wins(Plain(s.board, 1 - s.mover))
        if mine:
            add("win", s, mine)
        elif len(theirs) == 1:
            after, _, over = plain.play(s, theirs[0])
            if not over and not plain.wins(after):  # there is a defence
                add("block", s, theirs)
        elif not theirs and len(found["force"]) < count:
            add("force", s, plain.forces(s))
    return found


def test_it_sees_tactics_in_connect_four():
    game = make("connect_four").native
    kinds, positions, good = zip(*((kind, *entry) for kind, found in tactics(12).items() for entry in found))
    assert {kinds.count(kind) for kind in ("win", "block", "force")} == {12}
    state, seed = states_of("connect_four", positions), torch.arange(len(positions))
    for simulations, least, most in ((4, 5, 24), (200, 34, 36)):  # few simulations do not see them
        action = mcts_player(game, simulations).act_on_state(state, seed).action.tolist()
        right = [a in moves for a, moves in zip(action, good)]
        assert least <= sum(right) <= most, [entry for entry in zip(right, kinds, positions, action, good)]


def test_strength_grows_with_simulations():
    game = make("connect_four")
    assert isinstance(built_in("mcts:6", game), StatePlayer)
    weak, strong = mcts_player(game.native, 6), mcts_player(game.native, 24)
    against_random = summarize(play_episodes(game, [weak, RandomPlayer(game.spec)], 32, seed=1))
    between = summarize(play_episodes(game, [strong, weak], 32, seed=1))
    assert against_random["score"]["low"] > 0.5
    assert between["score"]["low"] > 0.5


# -- determinism -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tictactoe", "connect_four"])
def test_a_row_is_its_own(name):
    game = make(name).native
    player, state, seed = mcts_player(game, 16), played_at_random(game, 12, 3), torch.arange(12) * 1000 + 7
    together = player.act_on_state(state, seed)
    order = torch.tensor([7, 3, 11, 0])
    for rows in (order, order[:1], order[2:3]):
        alone = player.act_on_state(take(state, rows), seed[rows])
        for one, all_of_them in zip(alone, together):
            assert one is None or torch.equal(one, all_of_them[rows])
    same_state = player.act_on_state(take(state, torch.zeros(12).long()), seed)
    assert len(set(map(tuple, same_state.visits.tolist()))) > 6  # seeds matter


def test_an_episode_is_the_same_in_any_company():
    game = make("tictactoe")
    players = [mcts_player(game.native, 12), RandomPlayer(game.spec)]
    together = play_episodes(game, players, 10, seed=5, num_copies=64)
    assert play_episodes(game, players, 10, seed=5, num_copies=3) == together
    assert play_episodes(game, players, 4, seed=5) == together[:4]
    assert play_episodes(game, players, 10, seed=6) != together


def test_moves_that_look_alike_have_equal_chances():
    game, count = make("tictactoe").native, 900
    first, seed = game.initial(torch.zeros(count).long()), torch.arange(count)
    one = mcts_player(game, 1).act_on_state(first, seed)  # plays what it tries first
    assert stats.chisquare(np.bincount(one.action.numpy(), minlength=9)).pvalue > 1e-3
    two = mcts_player(game, 2).act_on_state(first, seed)
    tied = (two.visits == 1).sum(1) == 2
    lower = two.visits[tied].argmax(1) == two.action[tied]
    assert len(lower) > 300
    assert stats.binomtest(int(lower.sum()), len(lower), 0.5).pvalue > 1e-3


# -- names and refusals ------------------------------------------------------------------------------------------------


def test_names():
    game, cartpole = make("connect_four"), make("CartPole-v1")
    assert [mcts_simulations(name) for name in ("mcts:200", "random", "runs/mcts")] == [200, None, None]
    assert is_built_in("mcts:7")
    assert not is_built_in("runs/mcts")
    assert built_in("mcts:7", game).name == "mcts:7"
    assert opponents_of(game, ("mcts:7", "perfect")) == ["mcts:7"]
    for wrong in ("mcts", "mcts:", "mcts:0", "mcts:-3", "mcts:1.5", "mcts:N"):
        with pytest.raises(ValueError, match="write mcts:N with N simulations a move, N at least 1"):
            is_built_in(wrong)
    with pytest.raises(ValueError, match="game CartPole-v1 has no exact rules here"):
        built_in("mcts:7", cartpole)


def test_refusals():
    game = make("tictactoe").native

    class Dice(tictactoe.TicTacToe):
        spec = dataclasses.replace(game.spec, name="dice", stochastic=True, solvable=False)

    class Cards(tictactoe.TicTacToe):
        spec = dataclasses.replace(game.spec, name="cards", perfect_information=False, solvable=False)

    with pytest.raises(ValueError, match="game dice has chance"):
        mcts_player(Dice(), 3)
    with pytest.raises(ValueError, match="game cards has hidden information"):
        RulesModel(Cards(), lambda at: no_opinion(at, 2))
    assert no_exact_rules(game.spec, game) is None
    network = tiny_network(["three"])
    with pytest.raises(ValueError, match="this network does not play tictactoe; it plays three"):
        network_player(network, game, SearchConfig(), 1.0, 4)
    with pytest.raises(ValueError, match="needs at least 1 simulation, found 0"):
        network_player(tiny_network(["tictactoe"]), game, SearchConfig(), 1.0, 0)
