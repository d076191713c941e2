"""The training loop: collect, store, sample, update, measure, evaluate, save; games join as the schedule says."""

from __future__ import annotations

import collections
import hashlib
import json
import math
import time
from collections.abc import Callable
from typing import Any

import gurgeh
from agents.flops import num_parameters
from agents.reanalyse import reanalyse_
from agents.selfplay import EndedEpisodes, begin_step, finish_step
from gurgeh.beside import Beside
from gurgeh.brief import brief_evaluation
from gurgeh.config import RunConfig
from gurgeh.configure import to_dict
from gurgeh.goals import judge_brief, parse_goal
from gurgeh.initial import Initial, describe_split, read_initial
from gurgeh.live import GameRow, Progress, Snapshot
from gurgeh.measure import measure
from gurgeh.rundir import RunDirectory, versions
from gurgeh.state import TrainingState
from gurgeh.tensorboard import ScalarWriter
from gurgeh.validation import FrozenSet, build_frozen_set, frozen_path, load_frozen_set, save_frozen_set
from monitor import Monitor
from monitor.adaptation import SCRATCH, point, points, shots

RECENT = 100  # self-play episodes in a game's running score
# Sections that training does not notice; a game that joins and a rate that jumps have entries of their own.
UNTRAINED = ("games", "goals", "schedule", "monitor", "evaluation", "checkpoint", "logging", "adaptation")
UNROLL = 5  # moves that frozen validation positions are followed along


def flattened(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


class Trainer:
    """One run in one process. `train` is the loop; the rest of the class is its parts."""

    def __init__(self, run: RunDirectory, config: RunConfig, progress: Progress, resumed: int | None = None):
        """run: locked for writing. resumed: the update of the checkpoint that the state is loaded from."""
        self.run, self.config, self.progress = run, config, progress
        self.beside = Beside(config)  # first: it sets the number of torch's threads
        self.state = TrainingState(config)
        digest = hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()
        self.monitor = Monitor(
            config.monitor, emit=self.record, run=run.path.name, seed=config.seed,
            versions={"code": gurgeh.__version__, "config": digest},
        )  # fmt: skip
        self.first: Initial | None = None  # weights to begin with
        if config.adaptation.arm != SCRATCH:
            self.first = read_initial(run.path, config.network)
        self.points = frozenset(points(config.adaptation.budget))  # updates at which adaptation is measured
        self.frozen: dict[str, FrozenSet] = {}
        # Without a model that is trained there is nothing to follow moves with.
        self.measure = measure(self.state.network, self.frozen, UNROLL if config.learner.unroll else 0)
        self.board: ScalarWriter | None = None
        self.resumed = resumed
        self.seconds = 0.0  # of earlier sessions of this run
        self.evaluating = 0.0  # seconds of short evaluations, earlier sessions included
        self.met = 0  # short evaluations in a row that met all goals
        self.scores: dict[str, tuple[str, float]] = {}  # game -> name and value of its newest score
        self._sums: dict[str, dict[str, float]] = {}
        self._pace: collections.deque[tuple[float, int]] = collections.deque(maxlen=20)  # of the last lines of metrics
        self._started = time.monotonic()
        self._marked = (self._started, 0, 0)  # time, updates, env_steps at the last line of metrics

    def train(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Run to the end of the schedule; False if `stop()` asked for an end. Either way a checkpoint is saved."""
        state, config, every = self.state, self.config, self.config.checkpoint.every_updates
        if config.logging.tensorboard:
            self.board = ScalarWriter(self.run.path / "tensorboard", self.resumed)
        if self.run.latest_step() is None:
            self.save()  # so that there is always something to resume from
        while state.updates < config.schedule.updates and not self.reached():
            if stop():
                self.save()
                return False
            for name in state.schedule.due(state.updates):
                self.introduce(name)
            step = begin_step(self.beside.twin(state.network), self.collectors(), state.scales, config.search)
            searching = self.beside.submit(step.search)
            self.learn()
            self.note_episodes(finish_step(state.network, step, searching(), self.buffers(), state.scales))
            # Saved between two collecting steps, where nothing is half done.
            if state.updates // every > self.saved // every:
                self.save()
        self.save()
        self.monitor.finish(state.updates, state.env_steps, self.measure)
        return True

    def learn(self) -> None:
        """The updates that one collecting step is worth."""
        state, config, buffers = self.state, self.config, self.state.ready_buffers()
        if not buffers:
            return
        state.updates_owed += config.learner.updates_per_step
        while state.updates_owed >= 1 and state.updates < config.schedule.updates and not self.reached():
            state.updates_owed -= 1
            if config.learner.reanalyse:
                reanalyse_(
                    state.network, buffers, state.scales, config.search, config.learner.reanalyse, state.generator
                )
            report = state.learner.update(buffers, config.search.gamma, config.schedule.updates)
            for name, error in state.learner.value_errors.items():
                state.scales.note_error(name, error)
            state.update_novelty(buffers)
            self.note_losses(report)
            self.watch()
            if state.updates in self.points:
                self.measure_adaptation()
            if state.updates % config.logging.every_updates == 0:
                self.log()
            if config.logging.evaluate_every_updates and state.updates % config.logging.evaluate_every_updates == 0:
                self.evaluate_briefly()

    # -- the parts ----------------------------------------------------------------------------------------------

    saved = 0  # update of the newest checkpoint

    def elapsed(self) -> float:
        """Seconds of training so far, earlier sessions of the run included."""
        return self.seconds + time.monotonic() - self._started

    def reached(self) -> bool:
        """Whether the goals were met often enough for the run to end before its last update."""
        return 0 < self.config.schedule.stop_after_met <= self.met

    def collectors(self):
        """game -> Collector, in order of introduction."""
        return {name: game.collector for name, game in self.state.games.items()}

    def buffers(self):
        """game -> ReplayBuffer, in order of introduction."""
        return {name: game.buffer for name, game in self.state.games.items()}

    def introduce(self, name: str) -> None:
        """A game joins: network, experience, frozen validation set, monitor."""
        state, config = self.state, self.config
        game = state.add_game(name)
        spec = game.handle.spec
        if self.first is not None:
            self.first.begin(state.learner.network, state.learner.averaged)
        state.schedule.join(name, state.updates)
        if config.monitor.enabled:
            frozen = build_frozen_set(game.handle, config.monitor.set_size, UNROLL, config.seed)
            path = frozen_path(self.run.path / "validation", spec.name)
            if not path.exists():
                save_frozen_set(frozen, self.run.path / "validation")
            self.frozen[spec.name] = frozen
            self.monitor.introduce(spec.name, state.updates, state.env_steps, frozen.hash, frozen.targets)
            self.watch()
        self.run.append(
            "games",
            {"game": spec.name, "made_from": name, "version": spec.version, "family": spec.family,
             "update": state.updates, "env_steps": state.env_steps},
        )  # fmt: skip
        if state.updates in self.points:
            self.measure_adaptation()
        how = ""
        if config.search.model == "rules":
            how = "its rules" if game.collector.rules else "the learned model, having no exact rules"
            how = f", searched with {how}"
        self.progress.say(f"update {state.updates}: {spec.name} joins{how}")

    def watch(self) -> None:
        """Tell the monitor what training uses, and let it measure what is due."""
        if not self.config.monitor.enabled:
            return
        state, config = self.state, self.config
        self.monitor.settings(
            state.updates,
            state.env_steps,
            learning_rate=state.learner.learning_rate(config.schedule.updates),
            batch_size=config.learner.batch,
            replay_size=config.replay.max_steps,
            simulations=config.search.simulations,
            sampling_weights={name: 1.0 for name in state.games},
        )
        self.monitor.observe(state.updates, state.env_steps, self.measure)

    def measure_adaptation(self) -> None:
        """A point of the curve of an adaptation run: the whole frozen set, and at the shots a short evaluation."""
        state, config = self.state, self.config
        name, game = next(iter(state.games.items()))
        spec, update = game.handle.spec, state.updates
        undefined = None if self.first is None else self.first.zero_shot(spec)
        losses, scores = {}, {}
        if update or not undefined:
            losses = self.measure.losses(name, config.monitor.set_size)
            if config.adaptation.scores and update in (0, *shots(config.adaptation.budget), config.adaptation.budget):
                player = state.player(name, config.evaluation.simulations)
                seed, episodes = config.seed + update, config.logging.evaluate_episodes
                scores = brief_evaluation(game.handle, player, episodes, seed, config.evaluation)
        frozen = self.frozen[name]
        head = {
            "run": self.run.path.name, "seed": config.seed, "update": update, "env_steps": state.env_steps,
            "game": name, "version": spec.version, "arm": config.adaptation.arm,
            "source": None if self.first is None else self.first.origin, "budget": config.adaptation.budget,
            "zero_shot": undefined, "targets": frozen.targets, "frozen_set": frozen.hash,
            "parameters": num_parameters(state.network), "code": gurgeh.__version__,
            "split": describe_split(config.adaptation.split),
        }  # fmt: skip
        self.run.append("adaptation", point(head, losses, scores))

    def note_episodes(self, ended: dict[str, EndedEpisodes]) -> None:
        """Count moves and keep the newest returns of self-play."""
        state = self.state
        state.steps += 1
        for name, episodes in ended.items():
            game = state.games[name]
            state.env_steps += game.collector.environment.num_copies
            game.recent = (game.recent + episodes.score[:, 0].tolist())[-RECENT:]
            if game.handle.spec.num_players == 1 and game.recent:
                self.scores[name] = "return", sum(game.recent) / len(game.recent)

    def note_losses(self, report: dict[str, dict[str, Any]]) -> None:
        """Sum up losses for the next line of metrics; stop the run at a loss that is no number."""
        total, gradient = report["all games"]["loss"], report["all games"]["gradient_norm"]
        if not math.isfinite(total + gradient):
            bad = [
                name
                for name, heads in report.items()
                if name in self.state.games and not math.isfinite(sum(heads.values()))
            ]
            last = self.run.latest_step()
            kept = f"the last good checkpoint is {last}" if last is not None else "no checkpoint was saved yet"
            raise FloatingPointError(
                f"the loss is {total} and its gradient {gradient} at update {self.state.updates}; {kept}. "
                f"Lower learner.lr (now {self.config.learner.lr}) or learner.max_grad_norm and go on with --resume; "
                f"or a game shows what is no number: not finite are the losses of {', '.join(bad) or 'no single game'}"
            )
        for group, losses in report.items():
            sums = self._sums.setdefault(group, {})
            for name, value in (losses | {"updates": 1}).items():
                sums[name] = sums.get(name, 0.0) + value
        newest = next(reversed(self.state.games))
        if newest in report:
            self.state.schedule.observe(sum(report[newest].values()))

    def log(self) -> None:
        """One line of metrics: means since the last line."""
        state, now = self.state, time.monotonic()
        games = {
            name: self._means(name)
            | {"value_scale": state.scales[name], "env_steps": len(game.collector.score) * game.collector.num_steps}
            | ({"recent_return": sum(game.recent) / len(game.recent)} if game.recent else {})
            | ({"novelty": game.collector.novelty.recent} if game.collector.novelty is not None else {})
            for name, game in state.games.items()
        }
        overall = self._means("all games")
        before, updates, env_steps = self._marked
        span = max(now - before, 1e-9)
        record = {
            "update": state.updates,
            "env_steps": state.env_steps,
            "games": games,
            "all_games": overall | {"learning_rate": state.learner.learning_rate(self.config.schedule.updates)},
            # Times differ from run to run; everything else is the same for the same config and seed.
            "time": {
                "seconds": self.elapsed(),
                "evaluating": self.evaluating,
                "updates_per_second": (state.updates - updates) / span,
                "env_steps_per_second": (state.env_steps - env_steps) / span,
            },
        }
        self.run.append("metrics", record)
        if self.board is not None:
            self.board.add(state.updates, {key: record[key] for key in ("games", "all_games", "time")})
            self.board.flush()
        self._marked, self._sums = (now, state.updates, state.env_steps), {}
        self.show(record)

    def _means(self, group: str) -> dict[str, float]:
        """Mean losses of a game since the last line of metrics, over the updates that it took part in."""
        sums = self._sums.get(group, {"updates": 0})
        return {head: value / sums["updates"] for head, value in sums.items() if head != "updates"}

    def record(self, stream: str, record: dict[str, Any]) -> None:
        """A record of the monitor: to its stream, and what it says in numbers to TensorBoard."""
        self.run.append(stream, record)
        if self.board is not None:
            self.board.add_monitor(self.state.updates, record)

    def show(self, record: dict[str, Any]) -> None:
        """What a person sees of a line of metrics."""
        state, total, times = self.state, self.config.schedule.updates, record["time"]
        introduced = dict(zip(state.games, (update for _, update in state.schedule.joined), strict=True))
        rows = [
            GameRow(
                name=name,
                introduced=introduced[name],
                env_steps=losses["env_steps"],
                score=self.scores.get(name, ("", None))[1],
                score_name=self.scores.get(name, ("score", None))[0],
                loss=sum(losses.get(head, 0.0) for head in ("policy", "value", "reward", "continuation")) or None,
                status="learning" if "policy" in losses else "collecting",
            )
            for name, losses in record["games"].items()
        ]
        # The time left from the last lines together: a single one may hold an evaluation or a checkpoint.
        self._pace.append((time.monotonic(), state.updates))
        (first, before), (last, now) = self._pace[0], self._pace[-1]
        seconds_per_update = (last - first) / (now - before) if now > before else None
        rate = times["updates_per_second"]
        self.progress.update(
            Snapshot(
                update=state.updates, total_updates=total, elapsed=times["seconds"],
                remaining=None if seconds_per_update is None else (total - state.updates) * seconds_per_update,
                env_steps=state.env_steps,
                env_steps_rate=times["env_steps_per_second"], update_rate=rate, games=tuple(rows),
            )
        )  # fmt: skip

    def evaluate_briefly(self) -> None:
        """A quick greedy measurement of every game, for the curves; training does not notice."""
        state, config, began = self.state, self.config, time.monotonic()
        goals, found = [parse_goal(goal) for goal in config.goals], {}
        for name, game in state.games.items():
            found[name] = brief_evaluation(
                game.handle, state.player(name, config.evaluation.simulations), config.logging.evaluate_episodes,
                config.seed + state.updates, config.evaluation, [goal for goal in goals if goal.game == name],
            )  # fmt: skip
            if "optimal" in found[name]:
                self.scores[name] = "optimal", found[name]["optimal"]
            elif "score_against_random" in found[name]:
                self.scores[name] = "against random", found[name]["score_against_random"]
        met = bool(goals) and all(judged.met for judged in judge_brief(config.goals, found))
        self.met = self.met + 1 if met else 0
        self.evaluating += time.monotonic() - began
        self.run.append(
            "evaluation",
            {"update": state.updates, "env_steps": state.env_steps, "games": found, "goals_met": self.met,
             "time": {"seconds": self.elapsed(), "evaluating": self.evaluating}},
        )  # fmt: skip
        if self.board is not None:
            self.board.add(state.updates, {"evaluation": found})

    # -- saving and resuming ------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save a checkpoint, unless nothing has happened since the last one."""
        state = self.state
        if state.updates == self.saved and self.run.latest_step() == self.saved:
            return
        for name, weights in state.learner.network.named_parameters():
            if not bool(weights.isfinite().all()):
                raise FloatingPointError(
                    f"the weights {name} are no longer finite at update {state.updates}; nothing was saved over the "
                    f"checkpoint of update {self.run.latest_step()}. Lower learner.lr (now {self.config.learner.lr})"
                )
        content = {
            **state.state_dict(),
            "monitor": self.monitor.state_dict(),
            "trainer": {
                "seconds": self.elapsed(),
                "evaluating": self.evaluating,
                "met": self.met,
                "scores": {name: list(score) for name, score in self.scores.items()},
                "sums": self._sums,
            },
        }
        every = self.config.checkpoint.snapshot_every_updates
        if every and state.updates // every > self.saved // every:
            self.run.save_snapshot(state.updates, content)  # first: a resume removes it if the checkpoint fails
        self.run.save_checkpoint(state.updates, content, keep=self.config.checkpoint.keep)
        self.saved = state.updates

    def load(self, step: int, saved: dict[str, Any]) -> None:
        """Continue from a checkpoint: everything is as it was when it was saved."""
        state = self.state
        state.load_state_dict(saved)
        for name in state.games if self.config.monitor.enabled else ():
            self.frozen[name] = load_frozen_set(frozen_path(self.run.path / "validation", name))
        # Only now that everything has been read and fits is anything on disk changed.
        self.run.cut_back(step)
        self.monitor.load_state_dict(saved["monitor"], state.updates, state.env_steps)
        trainer = saved["trainer"]
        self.seconds, self._sums = trainer["seconds"], trainer["sums"]
        # A checkpoint of before these were kept has neither.
        self.evaluating, self.met = trainer.get("evaluating", 0.0), trainer.get("met", 0)
        self.scores = {name: (str(label), value) for name, (label, value) in trainer["scores"].items()}
        self.saved = step
        self._marked = (time.monotonic(), state.updates, state.env_steps)

    def note_resume(self, before: dict[str, Any]) -> None:
        """Enter the resume in the ledger, and what the configuration changed; before: the run's config so far."""
        updates, env_steps = self.state.updates, self.state.env_steps
        self.monitor.ledger("resume", updates, env_steps, note=f"from the checkpoint of update {updates}")
        old, new = flattened(before), flattened(to_dict(self.config))
        changed = [key for key in new if old.get(key) != new[key] and key.split(".")[0] not in UNTRAINED]
        if changed:
            self.monitor.ledger(
                "other", updates, env_steps, before={key: old.get(key) for key in changed},
                after={key: new[key] for key in changed}, note="settings changed on resume",
            )  # fmt: skip

    def note_session(self, resumed: int | None) -> None:
        """Which program ran this part of the run: kept beside the streams that are cut back."""
        self.run.append("sessions", {"update": self.state.updates, "resumed_from": resumed, "versions": versions()})

    def close(self) -> None:
        """Release files, environments and the other thread."""
        self.beside.close()
        if self.board is not None:
            self.board.close()
        self.state.close()
