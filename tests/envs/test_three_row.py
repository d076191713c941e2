"""Three in a row for three: rules against a plain referee, and whose value a search takes for whose."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from agents.rules import mcts_player
from envs import registry
from envs.boards.three_row import State, ThreeRow


def lines(width, height, row):
    """All straight rows of cells, by hand."""
    found = []
    for r in range(height):
        for c in range(width):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                cells = [(r + down * i, c + right * i) for i in range(row)]
                if all(0 <= y < height and 0 <= x < width for y, x in cells):
                    found.append([y * width + x for y, x in cells])
    return found


@pytest.mark.parametrize("size", [(4, 4, 3), (5, 3, 3), (6, 6, 4)])
def test_random_games_against_a_plain_referee(size):
    width, height, row = size
    rules, rows = registry.make(f"mnk3:{width}x{height}x{row}").native, lines(*size)
    random, results = np.random.default_rng(0), set()
    for game in range(60):
        state, board = rules.initial(torch.tensor([game])), [None] * (width * height)
        for move in range(width * height):
            seat = move % 3
            assert int(rules.to_play(state)) == seat
            free = [cell for cell, owner in enumerate(board) if owner is None]
            assert rules.legal(state)[0].nonzero()[:, 0].tolist() == free
            planes = rules.observe(state)[0].flatten(1).bool().tolist()
            for cell, owner in enumerate(board):
                away = None if owner is None else (owner - seat) % 3
                assert [plane[cell] for plane in planes] == [away == 0, away in (1, 2), away == 1, away == 2]
            cell = int(random.choice(free))
            board[cell] = seat
            played = rules.play(state, torch.tensor([cell]))
            won = any(all(board[c] == seat for c in line) for line in rows)
            assert bool(played.terminated) == (won or None not in board)
            assert played.reward[0].tolist() == [1.0 if s == seat else -0.5 for s in range(3)] if won else [0.0] * 3
            state = played.state
            if bool(played.terminated):
                results.add(seat if won else "drawn")
                break
    assert {0, 1, 2} <= results


@functools.cache
def spread_of_values(rules, board, seat):
    """{action: (lowest, highest)} of what `seat` can come to by each move when everybody then plays for their own
    result alone, whatever they do where it does not matter to them; board: owners by cell."""
    outcomes = {}
    for cell, owner in enumerate(board):
        if owner is None:
            outcomes[cell] = frozenset(results(rules, (*board[:cell], seat, *board[cell + 1 :]), (seat + 1) % 3, seat))
    return outcomes


@functools.cache
def results(rules, board, seat, last):
    """All results (three numbers) that can come of a board, `last` having moved."""
    if any(all(board[c] == last for c in line) for line in lines(*rules)):
        return frozenset({tuple(1.0 if s == last else -0.5 for s in range(3))})
    if None not in board:
        return frozenset({(0.0, 0.0, 0.0)})
    moves = spread_of_values(rules, board, seat)
    sure = max(min(result[seat] for result in found) for found in moves.values())  # nobody settles for less
    return frozenset(result for found in moves.values() for result in found if result[seat] >= sure)


def telling_positions(size, count):
    """Boards with four to six free cells in which one move is better for who moves than any other, come what may."""
    random, found = np.random.default_rng(1), []
    width, height, _ = size
    while len(found) < count:
        order = random.permutation(width * height).tolist()
        taken = width * height - int(random.integers(4, 7))
        board = [None] * (width * height)
        for move, cell in enumerate(order[:taken]):
            board[cell] = move % 3
        if any(len({board[c] for c in line}) == 1 and board[line[0]] is not None for line in lines(*size)):
            continue
        seat = taken % 3
        moves = spread_of_values(size, tuple(board), seat)
        best = max(moves, key=lambda cell: min(r[seat] for r in moves[cell]))
        least = min(r[seat] for r in moves[best])
        if all(max(r[seat] for r in moves[cell]) < least for cell in moves if cell != best):
            wins_now = any(
                all((board[c] if c != best else seat) == seat for c in line) for line in lines(*size) if best in line
            )
            if not wins_now:  # that needs no idea of who the others are
                found.append((tuple(board), seat, best))
    return found


def state_of(board, seat):
    stones = torch.tensor([[owner == (seat + away) % 3 for owner in board] for away in range(3)])
    return State(stones[None], torch.tensor([seat]))


class Muddled(ThreeRow):
    """What the winner gets goes to the next seat: what a search does that mistakes whose value is whose."""

    def play(self, state, action):
        played = super().play(state, action)
        return played._replace(reward=played.reward.roll(1, 1))


def test_search_plays_for_the_seat_that_moves():
    size = (4, 3, 3)
    positions = telling_positions(size, 16)
    assert {seat for _, seat, _ in positions} == {0, 1, 2}
    states = [state_of(board, seat) for board, seat, _ in positions]
    together = State(*(torch.cat(parts) for parts in zip(*states)))
    best = torch.tensor([action for *_, action in positions])
    share = {}
    for rules in (ThreeRow(*size), Muddled(*size)):
        decision = mcts_player(rules, 1000).act_on_state(together, torch.arange(len(best)))
        share[type(rules)] = float((decision.action == best).double().mean())
    assert share[ThreeRow] >= 0.95
    assert share[Muddled] <= 0.6  # the test can fail


def test_values_belong_to_seats_wherever_the_turn_is():
    """The same stones, owners and turn moved round by one seat: values move round with them."""
    rules = ThreeRow(4, 3, 3)
    values = []
    for turned in range(3):
        board = [0, None, 1, 2, 0, None, 1, None, None, 2, None, None]
        board = tuple(None if owner is None else (owner + turned) % 3 for owner in board)
        decision = mcts_player(rules, 200).act_on_state(state_of(board, turned), torch.tensor([5]))
        values.append(decision.value[0].roll(-turned))
    assert torch.allclose(values[0], values[1], atol=1e-5)
    assert torch.allclose(values[0], values[2], atol=1e-5)
    assert float(values[0].max() - values[0].min()) > 0.1


def test_a_network_learns_three_values():
    from agents.network import MultiGameNetwork, NetworkConfig

    game = registry.make("mnk3:4x4x3")
    network = MultiGameNetwork(NetworkConfig(width=16, hidden=32), [game.spec], seed=0)
    state = game.native.initial(torch.arange(2))
    heads = network.heads(network.represent(game.name, game.native.observe(state)), torch.zeros(2, dtype=torch.int64))
    assert heads.value.shape[1] == 3
    assert heads.next_mover.shape[1] == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnk3", "the size is missing; write mnk3:WIDTHxHEIGHTxROW"),
        ("mnk3:4x4", "'4x4' is not three numbers joined by x"),
        ("mnk3:20x4x3", "width 20 and height 4 is not offered"),
        ("mnk3:4x4x5", "a row of 5 is not between 2 and the longer side, 4"),
    ],
)
def test_bad_settings_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)
