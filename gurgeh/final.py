"""The end of a run: evaluate every game, judge the goals, write the report, say where everything lies."""

from __future__ import annotations

from gurgeh.commands.evaluate import evaluate_players, print_report
from gurgeh.config import RunConfig
from gurgeh.goals import judge
from gurgeh.load import LoadedRun
from gurgeh.report import write_report
from gurgeh.rundir import RunDirectory


def final_evaluation(run: RunDirectory, config: RunConfig) -> int:
    """Evaluate the newest checkpoint and print what a person wants to know; 0, or 1 when a goal was missed."""
    settings, loaded = config.evaluation, LoadedRun(run.path)
    players = [
        (game, loaded.player(name, settings.simulations, settings.greedy)) for name, game in loaded.games.items()
    ]
    report = evaluate_players(
        str(run.path), players, settings, 0, None, run.path / "evaluations", loaded.step, loaded.manifest_hash()
    )
    print_report(report)
    judged = judge(config.goals, report)
    for entry in judged:
        goal, found = entry
        against = f" against {goal.opponent}" if goal.opponent else ""
        value = "not measured" if found is None else f"{found:.4g}"
        verdict = "met   " if entry.met else "MISSED"
        print(f"goal {verdict} {goal.game}: {goal.measure}{against} {goal.sign} {goal.bound:g}, found {value}")
    print(f"report: {write_report([run.path])}")
    return 0 if all(entry.met for entry in judged) else 1
