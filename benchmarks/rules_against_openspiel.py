"""The native games against OpenSpiel's rules, move by move, on random games.

    python benchmarks/rules_against_openspiel.py --out record.json

Legal moves, mover, probabilities of chance, end and rewards of every position must be the same; the first difference
ends the run with code 1.
Needs `pip install 'gurgeh[openspiel]'`. The recorded run is benchmarks/results/2026-11-22-rules-against-openspiel.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from envs import registry  # noqa: E402
from envs.game import episode_seed, has_explicit_chance  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Pair:
    """OpenSpiel's name of a game, and how its numbers become ours."""

    theirs: str
    action: Callable[[int], int] = int  # OpenSpiel's action -> ours
    begin: Callable[[Tensor], list[int]] | None = None  # our first observation -> OpenSpiel's first chance outcomes
    legal: Callable[[Tensor], set[int]] | None = (
        None  # our observation -> the legal actions, where OpenSpiel lacks some
    )


def _breakthrough(width: int, height: int) -> Pair:
    """OpenSpiel: ((cell * 6) + direction) * 2 + whether it captures, directions down-left ... up-right."""
    return Pair(f"breakthrough(columns={width},rows={height})", lambda a: a // 12 * 3 + a % 12 // 2 % 3)


def _first_tiles(seen: Tensor) -> list[int]:
    """The outcomes 2 * cell + (0 for a 2, 1 for a 4) of the two tiles of 2048."""
    return [2 * cell + tile - 1 for cell, tile in enumerate(seen.argmax(0).flatten().tolist()) if tile]


def _slides(seen: Tensor) -> set[int]:
    """The legal actions of 2048 by a plain referee. OpenSpiel 2.0.2 forgets those whose only effect is to merge with a
    tile that the move before has made: its mark `is_merged` is cleared when a move is made, not when one is looked for.
    """
    tiles = seen.argmax(0)
    found = set()
    for action, turns in enumerate((1, 2, 3, 0)):  # turned so that the side that is slid to is on the left
        for row in torch.rot90(tiles, turns).tolist():
            gap = any(left == 0 < right for left, right in pairwise(row))
            if gap or any(left == right > 0 for left, right in pairwise(row)):
                found.add(action)
    return found


PAIRS = {  # ours -> OpenSpiel's, seat 0 to begin
    "tictactoe": Pair("tic_tac_toe"),
    "connect_four": Pair("connect_four"),
    "mnk:3x3x3": Pair("tic_tac_toe"),
    "mnk:7x6x4:gravity": Pair("connect_four"),
    "mnk:4x4x3": Pair("mnk(m=4,n=4,k=3)"),
    "mnk:4x4x4": Pair("mnk(m=4,n=4,k=4)"),
    "mnk:6x5x4": Pair("mnk(m=6,n=5,k=4)"),
    "mnk:9x9x5": Pair("mnk(m=9,n=9,k=5)"),
    "hex:2": Pair("hex(board_size=2)"),
    "hex:3": Pair("hex(board_size=3)"),
    "hex:4": Pair("hex(board_size=4)"),
    "hex:5": Pair("hex(board_size=5)"),
    "othello:8": Pair("othello"),
    "breakthrough:4x5": _breakthrough(4, 5),
    "breakthrough:5x6": _breakthrough(5, 6),
    "breakthrough:8x8": _breakthrough(8, 8),
    "go:3": Pair("go(board_size=3)"),
    "go:5": Pair("go(board_size=5)"),
    "go:5:komi=0.5": Pair("go(board_size=5,komi=0.5)"),
    "go:7": Pair("go(board_size=7)"),
    "go:9": Pair("go(board_size=9)"),
    "2048": Pair("2048(max_tile=131072)", begin=_first_tiles, legal=_slides),
    "2048:64": Pair("2048(max_tile=64)", begin=_first_tiles, legal=_slides),
    "catch:5x10": Pair("catch", begin=lambda seen: [int(seen[0, 0].argmax())]),
    "catch:6x4": Pair("catch(columns=6,rows=4)", begin=lambda seen: [int(seen[0, 0].argmax())]),
    "pig:3": Pair("pig(players=3)"),
    "pig:3:target=20": Pair("pig(players=3,winscore=20)"),
    "pig:2:target=30": Pair("pig(players=2,winscore=30)"),
    "hex:11": Pair("hex(board_size=11)"),
}


def compare(ours: str, pair: Pair, num_games: int, seed: int) -> dict[str, int | list[int]]:
    """Play `num_games` random games under both rules; how many moves, wins of each seat and draws there were.

    AssertionError, with the moves so far, at the first difference.
    """
    import pyspiel

    rules, random_move = registry.make(ours).native, random.Random(seed)
    assert rules is not None, f"{ours} has no native rules"
    reference = pyspiel.load_game(pair.theirs)
    states = [reference.new_initial_state() for _ in range(num_games)]
    state, live = rules.initial(torch.as_tensor(episode_seed(seed, np.arange(num_games), 0))), list(range(num_games))
    if pair.begin:
        for theirs, seen in zip(states, rules.observe(state), strict=True):
            for outcome in pair.begin(seen):
                theirs.apply_action(outcome)
    moves, left_out, best = 0, 0, Counter()
    while live:
        legal, mover = rules.legal(state).numpy(), rules.to_play(state).tolist()
        seen = rules.observe(state) if pair.legal else None
        action = torch.zeros(num_games, dtype=torch.int64)
        for game in live:
            where, allowed = f"{ours}, game {game}, {states[game].history()}", states[game].legal_actions()
            found = legal[game].nonzero()[0].tolist()
            if pair.legal and seen is not None and found != allowed:
                expected = pair.legal(seen[game])
                assert expected.issuperset(allowed), f"{where}: referee {expected}, OpenSpiel {allowed}"
                left_out, allowed = left_out + len(expected) - len(allowed), sorted(expected)
            assert found == sorted(map(pair.action, allowed)), f"{where}: legal {found}, OpenSpiel {allowed}"
            assert mover[game] == states[game].current_player(), f"{where}: seat {mover[game]} is to move"
            chosen = random_move.choice(allowed)
            action[game] = pair.action(chosen)
            states[game].apply_action(chosen)
        moves += len(live)
        if has_explicit_chance(rules):
            after = rules.decide(state, action)
            played = rules.resolve(after, _outcomes(ours, rules.chances(after), states, live, random_move))
        else:
            played = rules.play(state, action)
        state, over, reward = played.state, played.terminated.tolist(), played.reward.tolist()
        for game in live:
            where, ended = f"{ours}, game {game}, {states[game].history()}", states[game].is_terminal()
            assert over[game] == ended, f"{where}: ended is {over[game]}, OpenSpiel {ended}"
            expected = states[game].rewards()
            assert reward[game] == expected, f"{where}: reward {reward[game]}, OpenSpiel {expected}"
            if ended:
                returns = states[game].returns()
                best["drawn" if max(returns) == min(returns) and len(returns) > 1 else returns.index(max(returns))] += 1
                best["return above 0"] += returns[0] > 0
        live = [game for game in live if not over[game]]
    won = {f"won_by_{seat}": best[seat] for seat in range(rules.spec.num_players)} | {"drawn": best["drawn"]}
    if rules.spec.num_players == 1:
        won = {"with_return_above_0": best["return above 0"]}
    if pair.legal:
        won["legal_actions_that_openspiel_lacks"] = left_out
    return {"games": num_games, "moves": moves, **won}


def _outcomes(ours: str, chances: Any, states: list, live: list[int], chance: random.Random) -> Tensor:
    """[B] int64: outcomes drawn by OpenSpiel's probabilities, which must be ours, and applied to its states."""
    outcome, chances = torch.zeros(len(states), dtype=torch.int64), chances.numpy()
    for game in live:
        where = f"{ours}, game {game}, {states[game].history()}"
        possible = dict(states[game].chance_outcomes()) if states[game].is_chance_node() else {0: 1.0}
        expected = np.zeros(chances.shape[1])
        expected[list(possible)] = list(possible.values())
        assert np.abs(chances[game] - expected).max() < 1e-6, f"{where}: {chances[game]}, OpenSpiel {possible}"
        if states[game].is_chance_node():
            outcome[game] = chance.choices(list(possible), list(possible.values()))[0]
            states[game].apply_action(int(outcome[game]))
    return outcome


def main() -> int:
    """Compare all pairs; one line each, and the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--games", type=int, default=10_000, help="random games of each pair (default: 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moves (default: 0)")
    parser.add_argument("--only", default="", help="only names that match this regular expression")
    parser.add_argument("--out", type=Path, help="where to write the record as JSON; pairs that are there stay")
    args = parser.parse_args()
    import importlib.metadata

    found = json.loads(args.out.read_text())["games"] if args.out and args.out.exists() else {}
    for ours, pair in PAIRS.items():
        if not re.search(args.only, ours):
            continue
        begin = time.perf_counter()
        try:
            found[ours] = {"openspiel": pair.theirs, **compare(ours, pair, args.games, args.seed)}
        except AssertionError as difference:
            print(f"DIFFERENT: {difference}")
            return 1
        print(f"{ours} = {pair.theirs}: {found[ours]} in {time.perf_counter() - begin:.0f} s", flush=True)
        if args.out:  # after each pair: hex:11 takes minutes
            versions = {name: importlib.metadata.version(name) for name in ("open-spiel", "torch")}
            record = {"schema": "rules_against_openspiel/1", "seed": args.seed, "versions": versions, "games": found}
            args.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
