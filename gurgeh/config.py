"""The configuration of a run: one section a component, each owned by the component itself."""

from __future__ import annotations

import dataclasses
from typing import Literal

from agents.acting import SearchConfig
from agents.bounds import at_least
from agents.learner import LearnerConfig
from agents.network import NetworkConfig
from agents.novelty import IntrinsicConfig
from agents.replay import ReplayConfig
from agents.selfplay import SelfPlayConfig
from gurgeh.evaluate import EvaluationConfig
from gurgeh.goals import check_stop, parse_goal
from gurgeh.schedule import Schedule, ScheduleConfig
from monitor import MonitorConfig


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is saved and when. Counted in updates, so that a run is the same on a fast and a slow machine."""

    every_updates: int = 2_000
    """Updates between two checkpoints."""
    keep: int = 2
    """Complete checkpoints that stay on disk."""
    snapshot_every_updates: int = 0
    """Updates between two snapshots: the weights alone, which stay for good, to measure a curve over training with.
    They are taken with the checkpoints; 0: none."""

    def __post_init__(self) -> None:
        at_least("checkpoint", self, every_updates=1, keep=1, snapshot_every_updates=0)


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
    """What is written down while the run goes on."""

    every_updates: int = 100
    """Updates between two lines of metrics."""
    evaluate_every_updates: int = 1_000
    """Updates between two short evaluations of all games; 0 leaves them out."""
    evaluate_episodes: int = 20
    """Episodes of each game in a short evaluation, and against each opponent that a goal names; other episodes every
    time. Of solvable games all positions are judged, or a fixed sample of 10,000."""
    tensorboard: bool = True
    """Write the same numbers as TensorBoard files."""

    def __post_init__(self) -> None:
        at_least("logging", self, every_updates=1, evaluate_every_updates=0, evaluate_episodes=1)


@dataclasses.dataclass(frozen=True)
class AdaptationConfig:
    """How fast one game is learnt from given first weights; `gurgeh adapt` fills this in."""

    arm: Literal["scratch", "pretrained", "single"] = "scratch"
    """Where the first weights come from: nowhere, a run of several games, a run of one. They lie in RUN/initial."""
    budget: int = 0
    """Updates of a run from scratch, of which the shots are shares; 0: an ordinary run, which measures none."""
    split: str = ""
    """The split by family that this game is held out by, for the records."""
    scores: bool = True
    """Evaluate briefly at the shots and at the end, too; losses on the frozen set decide either way."""

    def __post_init__(self) -> None:
        at_least("adaptation", self, budget=0)
        if self.arm != "scratch" and not self.budget:
            raise ValueError(f"adaptation.arm={self.arm} needs adaptation.budget; gurgeh adapt sets both")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One run: one network on a growing set of games."""

    games: list[str] = dataclasses.field(default_factory=lambda: ["tictactoe"])
    """Names of games (`gurgeh games list`) or files, in order of introduction."""
    seed: int = 0
    """Same config and seed: the same losses to the bit (see threads)."""
    threads: int = 2
    """Threads. With the mlp trunk and the learned model one of them learns and the others search, and their number
    changes no result, but where searches are not compiled (three players and more, commands that vary, continuous
    actions): there, as with other trunks or exact rules, from 3 on results to the bit need the same number."""
    goals: list[str] = dataclasses.field(default_factory=list)
    """What the final evaluation must reach, each `GAME MEASURE [against OPPONENT] >= NUMBER` (or <=); measures: return,
    optimal, win, draw, loss, score. They are reported as met or missed."""
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    selfplay: SelfPlayConfig = dataclasses.field(default_factory=SelfPlayConfig)
    intrinsic: IntrinsicConfig = dataclasses.field(default_factory=IntrinsicConfig)
    replay: ReplayConfig = dataclasses.field(default_factory=ReplayConfig)
    learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    monitor: MonitorConfig = dataclasses.field(default_factory=MonitorConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    logging: LoggingConfig = dataclasses.field(default_factory=LoggingConfig)
    adaptation: AdaptationConfig = dataclasses.field(default_factory=AdaptationConfig)

    def __post_init__(self) -> None:
        if not self.games:
            raise ValueError("games is empty: name at least one; `gurgeh games list` shows them")
        doubled = {name for name in self.games if self.games.count(name) > 1}
        if doubled:
            raise ValueError(f"games names {', '.join(sorted(doubled))} twice; each game joins once")
        for goal in self.goals:
            parse_goal(goal)
        check_stop(self.goals, self.schedule.stop_after_met, self.logging.evaluate_every_updates)
        Schedule(self.schedule, self.games)  # refuses times that do not fit the games
        if self.adaptation.budget and (len(self.games) > 1 or not self.monitor.enabled):
            raise ValueError("adaptation.budget is for one game and needs monitor.enabled; see gurgeh adapt")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to {2**32 - 1}, found {self.seed}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, found {self.threads}")
