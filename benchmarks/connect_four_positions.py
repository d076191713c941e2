"""Makes the positions that benchmarks/connect_four.py judges by: once; needs bitbully (pip install 'gurgeh[solvers]').

    python benchmarks/connect_four_positions.py --out benchmarks/positions/connect_four-1.json
    python benchmarks/connect_four_positions.py --quiet --out benchmarks/positions/connect_four-quiet-1.json

A pool of games from the empty board, each with a player and a chance of a random move in place of its own: random, the
2-ply tactician, our MCTS with 64 simulations, or bitbully for 12 plies and then that MCTS. At most one position comes
from a game. For each of the plies 3 to 36, positions are drawn from the games that got there, the latest ply first,
until 29 or 30 of them are decisive (a move that loses value and one that keeps it); those drawn on the way that are
not decisive stay in the file, so that its share of them is the pool's. No two positions are equal or mirror images.
Openings: 100 positions of 4 to 8 random plies, no two equal or mirrored, that are exact draws and decisive.

--quiet: positions that two plies of looking ahead do not settle: of the moves between which the 2-ply tactician sees
no difference, some lose value and some keep it. 1,000 of them, as evenly over the plies 3 to 36 as a pool of games
gives them (there the tactician takes the place of the MCTS); no openings.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's search.py would hide the package `search`

from agents.player import RandomPlayer, TacticianPlayer, choose_uniformly  # noqa: E402
from agents.rules import mcts_player  # noqa: E402
from envs import registry  # noqa: E402
from envs.game import episode_seed  # noqa: E402
from envs.solver import take  # noqa: E402
from gurgeh.bitbully_player import ILLEGAL, BitbullyPlayer, BitbullySolver  # noqa: E402
from gurgeh.positions import play_out, save_positions  # noqa: E402

PLIES, DECISIVE, OPENINGS = range(3, 37), 1000, 100
# --quiet: at most so many of a ply, of so many that the solver is asked about, of so many games
QUIET_MOST, QUIET_TRIES, QUIET_LOOKS = 38, 250, 2000
RANDOM_MOVES = (0.05, 0.15, 0.3, 0.6)  # chances of a random move; one for each game
BOOK = 12  # plies that bitbully's opening book covers: later positions cost it up to a second each
MAKER = "benchmarks/connect_four_positions.py"


def pool(game, players, games_each, seed):
    """Move lists of whole games: `games_each[k]` by players[k] from both seats.

    players: (for the first BOOK plies, for the rest).
    """
    native = game.native
    who = torch.cat([torch.full((n,), k) for k, n in enumerate(games_each)])
    number = torch.arange(len(who))
    state = native.initial(torch.zeros_like(who))
    chance = torch.tensor(RANDOM_MOVES)[number % len(RANDOM_MOVES)]
    moves = [[] for _ in who]
    live = number
    for ply in range(42):
        seeds = torch.as_tensor(episode_seed(seed, live.numpy(), ply))
        generator = torch.Generator().manual_seed(seed * 1000 + ply)
        loose = torch.rand(len(who), generator=generator)[live] < chance[live]
        action = choose_uniformly(native.legal(state), seeds, stream=1)
        for k, (early, late) in enumerate(players):
            player = early if ply < BOOK else late
            rows = ((who[live] == k) & ~loose).nonzero()[:, 0]
            if not len(rows):
                continue
            part = take(state, rows)
            if hasattr(player, "act_on_state"):
                action[rows] = player.act_on_state(part, seeds[rows]).action
            else:
                action[rows] = player.act(native.observe(part), native.legal(part), part.to_play, seeds[rows]).action
        for row, move in zip(live.tolist(), action.tolist()):
            moves[row].append(move)
        played = native.play(state, action)
        live, state = live[~played.terminated], take(played.state, ~played.terminated)
        print(f"pool: ply {ply + 1}, {len(live)} games go on", flush=True)
        if not len(live):
            break
    return moves


def key(native, state):
    """The same for one position [1] and its mirror image, however it was reached."""
    stones = native.observe(state)[0]
    return min(stones.numpy().tobytes(), stones.flip(2).contiguous().numpy().tobytes()), int(stones.sum())


def judged(solver, state):
    """(scores with None where illegal, decisive, value) of one position [1]."""
    scores = solver.scores(state)[0].tolist()
    legal = [score for score in scores if score != ILLEGAL]
    signs = {(score > 0) - (score < 0) for score in legal}
    return [None if score == ILLEGAL else score for score in scores], len(signs) > 1, max(signs)


def choose(games, solver, native, seed):
    """The positions: [(moves, scores)], ordered by ply."""
    order = torch.randperm(len(games), generator=torch.Generator().manual_seed(seed)).tolist()
    used, seen, found = set(), set(), []
    extra = DECISIVE - (DECISIVE // len(PLIES)) * len(PLIES)  # the first so many plies have one more
    for ply in reversed(PLIES):
        wanted = DECISIVE // len(PLIES) + (ply - PLIES[0] < extra)
        decisive = total = 0
        for number in order:
            if number in used or len(games[number]) <= ply:  # the game must go on from here
                continue
            moves = games[number][:ply]
            state = play_out(native, [moves])
            name = key(native, state)
            if name in seen:
                continue
            used.add(number)
            seen.add(name)
            scores, counts, _ = judged(solver, state)
            found.append((moves, scores))
            decisive, total = decisive + counts, total + 1
            if decisive == wanted:
                break
        print(f"ply {ply}: {decisive} of {total} decisive, {wanted} wanted", flush=True)
        if decisive < wanted:
            raise SystemExit(f"the pool has too few games of {ply} plies: make it larger")
    return sorted(found, key=lambda entry: (len(entry[0]), entry[0]))


def choose_quiet(games, solver, game, seed):
    """The positions of --quiet: [(moves, scores)], ordered by ply."""
    native, tactician = game.native, TacticianPlayer(game.native)
    order = torch.randperm(len(games), generator=torch.Generator().manual_seed(seed)).tolist()
    used, seen, found = set(), set(), {}
    for ply in reversed(PLIES):
        numbers = [number for number in order if number not in used and len(games[number]) > ply][:QUIET_LOOKS]
        states = play_out(native, [games[number][:ply] for number in numbers])
        policy = tactician.act_on_state(states, torch.zeros(len(numbers), dtype=torch.int64)).policy
        assert policy is not None, "the tactician says which moves look alike to it"
        alike = policy > 0
        found[ply], tried = [], 0
        for row, number in enumerate(numbers):
            if len(found[ply]) == QUIET_MOST or tried == QUIET_TRIES:
                break
            state = take(states, torch.tensor([row]))
            if int(alike[row].sum()) < 2 or key(native, state) in seen:
                continue
            tried += 1
            scores, _, value = judged(solver, state)
            signs = {(scores[move] > 0) - (scores[move] < 0) for move in alike[row].nonzero()[:, 0].tolist()}
            if value in signs and len(signs) > 1:
                used.add(number)
                seen.add(key(native, state))
                found[ply].append((games[number][:ply], scores))
        print(f"ply {ply}: {len(found[ply])} quiet of {tried} tried", flush=True)
    if sum(map(len, found.values())) < DECISIVE:
        raise SystemExit("the pool has too few games: make it larger")
    while sum(map(len, found.values())) > DECISIVE:  # the last of the fullest ply goes, the earliest of equals
        found[max(found, key=lambda ply: (len(found[ply]), -ply))].pop()
    return sorted((entry for entries in found.values() for entry in entries), key=lambda e: (len(e[0]), e[0]))


def drawn_openings(solver, native, seed):
    """OPENINGS move lists to decisive draws."""
    generator = torch.Generator().manual_seed(seed)
    found, seen = [], set()
    while len(found) < OPENINGS:
        plies = 4 + len(found) % 5
        moves = torch.randint(7, (plies,), generator=generator).tolist()
        try:
            state = play_out(native, [moves])
        except ValueError:  # a full column, or the game is over
            continue
        name = key(native, state)
        if name in seen:
            continue
        seen.add(name)
        _, decisive, value = judged(solver, state)
        if decisive and value == 0:
            found.append(moves)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true", help="positions that tactics do not settle")
    parser.add_argument("--seed", type=int, default=20261122)
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out} exists already; a set of positions is fixed: give a new name")
    torch.set_num_threads(1)
    began = time.monotonic()
    game, solver = registry.make("connect_four"), BitbullySolver()
    assert game.native is not None, "connect_four has native rules"
    plain, tactician, mcts = RandomPlayer(game.spec), TacticianPlayer(game.native), mcts_player(game.native, 64)
    made_by = f"{MAKER} {'--quiet ' * args.quiet}--seed {args.seed}"
    if args.quiet:
        players = [(plain, plain), (tactician, tactician), (BitbullyPlayer(solver), tactician)]
        positions = choose_quiet(pool(game, players, (1000, 6000, 4000), args.seed + 1), solver, game, args.seed)
        openings = []
    else:
        players = [(plain, plain), (tactician, tactician), (mcts, mcts), (BitbullyPlayer(solver), mcts)]
        games = pool(game, players, (1500, 2500, 1200, 500), args.seed)
        positions = choose(games, solver, game.native, args.seed)
        openings = drawn_openings(solver, game.native, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_positions(args.out, game, solver.version, made_by, positions, openings)
    print(f"{len(positions)} positions, {len(openings)} openings in {time.monotonic() - began:.0f} s: {args.out}")


if __name__ == "__main__":
    main()
