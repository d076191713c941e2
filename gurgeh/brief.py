"""A short evaluation while a run goes on: for the curves, and to tell whether the goals are met."""

from __future__ import annotations

from collections.abc import Sequence

from envs.game import Game
from envs.solver import solve
from gurgeh.episodes import AnyPlayer, play_episodes
from gurgeh.evaluate import EvaluationConfig, built_in, measures_of, named_player, optimal_share
from gurgeh.goals import Goal
from gurgeh.scores import summarize

BRIEF_POSITIONS = 10_000  # most positions of a solved game that are judged: always the same sample of larger games
BRIEF_MEASURED = 1024  # about as many held-out positions of a prediction game are looked at, always the same


def brief_evaluation(
    game: Game,
    player: AnyPlayer,
    num_episodes: int,
    seed: int,
    config: EvaluationConfig,
    goals: Sequence[Goal] = (),
) -> dict[str, float | None]:
    """Measure -> value for one game: `return` (of games for one) with the measures of prediction games, `optimal` and
    `optimal_raw` (solvable games), `score_against_random` (all others), and what the goals for this game name, as
    `Goal.key` writes it.

    seed: of the episodes. config: how opponents that are runs play.
    """
    seats = game.spec.num_players
    if seats == 1:
        measured = {} if game.native is None else measures_of(player, game.native, limit=BRIEF_MEASURED)
        return {
            "return": _summary(game, [player], num_episodes, seed)["return"]["mean"],
            **{name: measure.finite() for name, measure in measured.items()},
        }
    found: dict[str, float | None] = {}
    if game.native is not None and game.spec.solvable:
        judged = optimal_share(player, solve(game.native).sample(BRIEF_POSITIONS))
        found |= {"optimal": judged.share, "optimal_raw": judged.prior_share}
    else:
        players = [player, *[built_in("random", game)] * (seats - 1)]
        found["score_against_random"] = _summary(game, players, num_episodes, seed)["score"]["mean"]
    asked = [goal for goal in goals if goal.opponent is not None and goal.key not in found]
    for opponent in dict.fromkeys(goal.opponent for goal in asked if goal.opponent is not None):
        players = [player, *[named_player(opponent, game, config)] * (seats - 1)]
        summary = _summary(game, players, num_episodes, seed)
        for goal in asked:
            if goal.opponent == opponent and goal.measure in summary:
                found[goal.key] = summary[goal.measure]["mean"]
    return found


def _summary(game: Game, players: Sequence[AnyPlayer], num_episodes: int, seed: int) -> dict:
    return summarize(play_episodes(game, players, num_episodes, seed=seed))
