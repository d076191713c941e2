"""The native games against OpenSpiel's rules, move by move, on random games.

    python benchmarks/rules_against_openspiel.py --out record.json

Legal moves, mover, end and result of every position must be the same; the first difference ends the run with code 1.
Needs `pip install 'gurgeh[openspiel]'`. The recorded run is benchmarks/results/2026-11-22-rules-against-openspiel.json.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from envs import registry  # noqa: E402

PAIRS = {  # ours -> OpenSpiel's: the same actions in the same order, seat 0 to begin
    "tictactoe": "tic_tac_toe",
    "connect_four": "connect_four",
    "mnk:3x3x3": "tic_tac_toe",
    "mnk:7x6x4:gravity": "connect_four",
    "mnk:4x4x3": "mnk(m=4,n=4,k=3)",
    "mnk:4x4x4": "mnk(m=4,n=4,k=4)",
    "mnk:6x5x4": "mnk(m=6,n=5,k=4)",
    "mnk:9x9x5": "mnk(m=9,n=9,k=5)",
    "hex:2": "hex(board_size=2)",
    "hex:3": "hex(board_size=3)",
    "hex:4": "hex(board_size=4)",
    "hex:5": "hex(board_size=5)",
    "hex:11": "hex(board_size=11)",
}


def compare(ours: str, theirs: str, num_games: int, seed: int) -> dict[str, int]:
    """Play `num_games` random games under both rules; how many moves, wins of each seat and draws there were.

    AssertionError, with the moves so far, at the first difference.
    """
    import pyspiel

    rules, random_move = registry.make(ours).native, random.Random(seed)
    assert rules is not None, f"{ours} has no native rules"
    reference = pyspiel.load_game(theirs)
    states = [reference.new_initial_state() for _ in range(num_games)]
    state, live = rules.initial(torch.zeros(num_games, dtype=torch.int64)), list(range(num_games))
    count = {"games": num_games, "moves": 0, "won_by_0": 0, "won_by_1": 0, "drawn": 0}
    while live:
        legal, mover = rules.legal(state), rules.to_play(state).tolist()
        action = torch.zeros(num_games, dtype=torch.int64)
        for game in live:
            where, allowed = f"{ours}, game {game}, {states[game].history()}", states[game].legal_actions()
            found = legal[game].nonzero()[:, 0].tolist()
            assert found == allowed, f"{where}: legal {found}, OpenSpiel {allowed}"
            assert mover[game] == states[game].current_player(), f"{where}: seat {mover[game]} is to move"
            action[game] = random_move.choice(allowed)
            states[game].apply_action(int(action[game]))
        count["moves"] += len(live)
        played = rules.play(state, action)
        state, over, reward = played.state, played.terminated.tolist(), played.reward.tolist()
        for game in live:
            where, ended = f"{ours}, game {game}, {states[game].history()}", states[game].is_terminal()
            assert over[game] == ended, f"{where}: ended is {over[game]}, OpenSpiel {ended}"
            expected = states[game].returns() if ended else [0.0, 0.0]
            assert reward[game] == expected, f"{where}: reward {reward[game]}, OpenSpiel {expected}"
            if ended:
                count["drawn" if expected[0] == 0 else "won_by_0" if expected[0] > 0 else "won_by_1"] += 1
        live = [game for game in live if not over[game]]
    return count


def main() -> int:
    """Compare all pairs; one line each, and the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=10_000, help="random games of each pair (default: 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moves (default: 0)")
    parser.add_argument("--only", default="", help="only names that contain this")
    parser.add_argument("--out", type=Path, help="where to write the record as JSON")
    args = parser.parse_args()
    import importlib.metadata

    found = {}
    for ours, theirs in PAIRS.items():
        if args.only not in ours:
            continue
        begin = time.perf_counter()
        try:
            found[ours] = {"openspiel": theirs, **compare(ours, theirs, args.games, args.seed)}
        except AssertionError as difference:
            print(f"DIFFERENT: {difference}")
            return 1
        print(f"{ours} = {theirs}: {found[ours]} in {time.perf_counter() - begin:.0f} s", flush=True)
        if args.out:  # after each pair: hex:11 takes minutes
            versions = {name: importlib.metadata.version(name) for name in ("open-spiel", "torch")}
            record = {"schema": "rules_against_openspiel/1", "seed": args.seed, "versions": versions, "games": found}
            args.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
