"""What a trained run is worth, measured apart from its training: prints one JSON object.

  python benchmarks/learning_judge.py RUN --episodes 100 --opponents tactician2 --games 1000

Games for one: the mean return of greedy episodes. Games for several: what was won, drawn and lost against each
opponent. Solvable games: in how many positions (a fixed sample of 100,000 of larger games) the greedy move keeps the
value, with search and raw, and what is lost
against a perfect player from all openings that are not lost already. The code of the current directory is used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # instead of this folder, whose search.py would hide the package `search`

import torch
from torch import Tensor

from agents.player import Player, SolverPlayer, StatePlayer
from envs.game import Game, NativeGame, episode_seed
from envs.solver import Solution, solve, take

AnyPlayer = Player | StatePlayer  # as in `gurgeh.episodes`, which is imported late


def unlost_openings(solution: Solution, at_least: int) -> tuple[Tensor, Tensor]:
    """(position [G], seat [G]): every position of the first plies from each side that is not lost in it, of as many
    whole plies as hold `at_least` such pairs (all, where there are fewer)."""
    positions, seats = [], []
    for ply in range(int(solution.ply.max()) + 1):
        rows = (solution.ply == ply).nonzero()[:, 0]
        for seat in range(2):
            value = torch.where(solution.to_play[rows] == seat, solution.value[rows], -solution.value[rows])
            kept = rows[value >= 0]
            positions.append(kept)
            seats.append(torch.full((len(kept),), seat))
        if sum(map(len, positions)) >= at_least:
            break
    return torch.cat(positions), torch.cat(seats)


def outcomes(
    game: NativeGame, state: Any, seat: Tensor, player: AnyPlayer, opponent: AnyPlayer, seed: int = 0
) -> Tensor:
    """[G] what `player` in the seats `seat` [G] receives when the games go on from `state` (G states) to their end."""
    total = torch.zeros(len(seat), dtype=torch.float64)
    live, move = torch.arange(len(seat)), 0
    while len(live):
        observation, legal, mover = game.observe(state), game.legal(state), game.to_play(state)
        seeds = torch.as_tensor(episode_seed(seed, live.numpy(), move))
        action = torch.zeros(len(live), dtype=torch.int64)
        for who, mine in ((player, mover == seat[live]), (opponent, mover != seat[live])):
            at = mine.nonzero()[:, 0]
            if len(at):
                if isinstance(who, StatePlayer):
                    decision = who.act_on_state(take(state, at), seeds[at])
                else:
                    decision = who.act(observation[at], legal[at], mover[at], seeds[at])
                action[at] = decision.action
        played = game.play(state, action)
        total[live] += played.reward.double().gather(1, seat[live, None])[:, 0]
        going = ~played.terminated
        state, live, move = take(played.state, going), live[going], move + 1
    return total


def judge(game: Game, player: AnyPlayer, episodes: int, opponents: list[str], games: int) -> dict[str, Any]:
    """Measure -> value, named as in a run's short evaluations (`gurgeh.goals.Goal.key`), with 95 % intervals."""
    from gurgeh.episodes import play_episodes
    from gurgeh.evaluate import JUDGED_POSITIONS, built_in, optimal_share, refusal
    from gurgeh.scores import summarize

    if game.spec.num_players == 1:
        summary = summarize(play_episodes(game, [player], episodes, seed=10_007))
        value = summary["return"]
        return {"return": value["mean"], "return_interval": [value["low"], value["high"]], "episodes": episodes}
    found: dict[str, Any] = {"episodes": episodes}
    for name in opponents or ["random"]:
        if refusal(name, game) is not None:
            continue
        seats = [player, *[built_in(name, game)] * (game.spec.num_players - 1)]
        summary = summarize(play_episodes(game, seats, episodes, seed=10_007))
        for measure in ("win", "draw", "loss", "score"):
            found[f"{measure}_against_{name}"] = summary[measure]["mean"]
        found[f"score_against_{name}_interval"] = [summary["score"]["low"], summary["score"]["high"]]
    if game.spec.solvable and game.native is not None:
        solution = solve(game.native)
        share = optimal_share(player, solution.sample(JUDGED_POSITIONS))
        position, seat = unlost_openings(solution, games)
        state = take(solution.state, position)
        result = outcomes(game.native, state, seat, player, SolverPlayer(solution))
        found |= {
            "positions": len(solution), "optimal": share.share, "optimal_raw": share.prior_share,
            "judged": min(len(solution), JUDGED_POSITIONS), "wrong": len(share.wrong),
            "games_against_perfect": len(position), "lost_against_perfect": int((result < 0).sum()),
        }  # fmt: skip
    return found


def main(argv: list[str] | None = None) -> None:
    """Judge the newest checkpoint of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--opponents", default="", help="separated by commas")
    parser.add_argument("--games", type=int, default=1000, help="at least so many against a perfect player")
    args = parser.parse_args(argv)

    from gurgeh.load import LoadedRun
    from gurgeh.rundir import versions

    loaded = LoadedRun(args.run)
    torch.set_num_threads(loaded.config.threads)
    simulations = loaded.config.evaluation.simulations
    opponents = [name for name in args.opponents.split(",") if name]
    judged = {
        name: judge(game, loaded.player(name, simulations), args.episodes, opponents, args.games)
        for name, game in loaded.games.items()
    }
    print(json.dumps({"update": loaded.step, "simulations": simulations, "games": judged, "versions": versions()}))


if __name__ == "__main__":
    main()
