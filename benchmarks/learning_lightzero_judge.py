"""LightZero's rule for tic-tac-toe on every checkpoint of a run: prints [[update, mean return, met], ...].

  python benchmarks/learning_lightzero_judge.py RUN

Five greedy games a checkpoint in which the network moves first against `tactician2`; met when all are won. Other games
for every checkpoint. The code of the current directory is used.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # instead of this folder, whose search.py would hide the package `search`

GAMES = 5


def main(run: str) -> None:
    """Judge the checkpoints in order, up to the second in a row that meets the rule."""
    from agents.player import TacticianPlayer
    from gurgeh.episodes import play_episodes
    from gurgeh.load import LoadedRun
    from gurgeh.rundir import RunDirectory

    steps = sorted(
        {int(path.name.removeprefix("step-").partition(".")[0]) for path in RunDirectory.open(run).checkpoints()}
    )
    judged = []
    for step in steps:
        loaded = LoadedRun(Path(run), step)
        if "tictactoe" not in loaded.games:  # the checkpoint that a run begins with
            continue
        game = loaded.games["tictactoe"]
        assert game.native is not None
        player = loaded.player("tictactoe", loaded.config.evaluation.simulations)
        # Sides are swapped from one game to the next: the network moves first in every other one.
        episodes = play_episodes(game, [player, TacticianPlayer(game.native, 2)], 2 * GAMES, seed=step)[::2]
        assert all(episode.seating[0] == 0 for episode in episodes)
        mean = sum(episode.outcome[0] for episode in episodes) / GAMES
        judged.append([step, mean, mean >= 1])
        if len(judged) > 2 and judged[-1][2] and judged[-2][2]:
            break
    print(json.dumps(judged))


if __name__ == "__main__":
    main(sys.argv[1])
