"""A study of adaptation: held-out games learnt from scratch, from runs of several games and from runs of one.

A study is a folder: study.json says what was asked, one run directory an arm, game and seed, and at the end
transfer.jsonl and events.jsonl, which are found again from the runs' own records. Killed at any moment, it goes on
where it was. Runs of one game and seed differ in their first weights alone: same configuration, same budget, same
positions to be measured on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.network import MultiGameNetwork
from agents.transplant import check_same_network
from envs import registry, splits
from envs.game import Game
from gurgeh.config import RunConfig
from gurgeh.configure import load_config, to_dict
from gurgeh.initial import copy_weights, from_run, write_weights
from gurgeh.rundir import RunDirectory, sync, write_text
from gurgeh.session import check_games, run_training
from monitor.adaptation import PRETRAINED, SCRATCH, SINGLE
from monitor.records import LOSS

SCHEMA = "gurgeh.study/1"
STUDY = "study.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint to start from, as study.json holds it."""

    arm: str
    path: str
    checkpoint: int | None  # None: the newest there was
    update: int
    sha256: str
    weights: str  # folder within the study, in the format of checkpoints
    group: str  # sources of one group differ in their seed alone; seeds take turns among them


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was asked for."""

    games: list[str]  # as in the registry
    seeds: int
    budget: int
    split: str
    config: dict[str, Any]  # of every run, but for the game, the seed and the arm
    sources: list[Source]

    def runs(self) -> Iterator[tuple[str, str, int, Source | None]]:
        """(name, game, seed, source) of every run, a whole seed before the next."""
        groups = dict.fromkeys(source.group for source in self.sources)
        for seed in range(self.seeds):
            for game in self.games:
                yield f"{slug(game)}-scratch-s{seed}", game, seed, None
                for group in groups:
                    mine = [source for source in self.sources if source.group == group]
                    source = mine[seed % len(mine)]
                    label = f"{source.arm}-{slug(Path(source.path).name)}-{_asked(source)}"
                    yield f"{slug(game)}-{label}-s{seed}", game, seed, source

    def config_of(self, game: str, seed: int, source: Source | None) -> RunConfig:
        """The configuration of one run."""
        arm = SCRATCH if source is None else source.arm
        adaptation = self.config["adaptation"] | {"arm": arm, "budget": self.budget, "split": self.split}
        return load_config(RunConfig, {**self.config, "games": [game], "seed": seed, "adaptation": adaptation})


def slug(name: str) -> str:
    """A name as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")


def _asked(source: Source) -> str:
    return "last" if source.checkpoint is None else str(source.checkpoint)


def make_plan(
    runs: Sequence[str], games: Sequence[str], singles: Sequence[str], checkpoints: Sequence[int | None], seeds: int,
    budget: int | None, split: str, overrides: Sequence[str],
) -> Plan:  # fmt: skip
    """Everything checked that can be checked before something is written. ValueError saying what is wrong."""
    if not games:
        raise ValueError("name the held-out games with --games, separated by commas")
    if not checkpoints:
        raise ValueError("--checkpoints names none; give updates separated by commas, or `last`")
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, found {seeds}")
    base = RunDirectory.open(runs[0]).config
    if budget is None:
        budget = int(base["schedule"]["updates"]) // len(base["games"])
    if budget < 10:
        raise ValueError(f"--budget must be at least 10 updates, found {budget}")
    handles = [registry.make(name) for name in games]
    config = _base_config(base, handles, budget, overrides)
    sources, trained = [], []
    for arm, paths, steps in ((PRETRAINED, runs, checkpoints), (SINGLE, singles, [None])):
        for path in paths:
            for step in steps:
                source, played = _source(len(sources), arm, path, step, config)
                sources.append(source)
                trained += played
    _check_sources(sources, trained, handles, split)
    for name, handle in zip(games, handles):
        plan = Plan([name], 1, budget, split, to_dict(config), [])
        check_games(plan.config_of(name, 0, None))
        if handle.spec.name in {game.spec.name for game in trained}:
            raise ValueError(f"{handle.spec.name} was trained by a run that is named, so it is not held out")
    plan = Plan(list(games), seeds, budget, split, to_dict(config), sources)
    folders = [name for name, *_ in plan.runs()]
    doubled = sorted({name for name in folders if folders.count(name) > 1})
    if doubled:
        raise ValueError(f"two runs of the study would be called {doubled[0]}; rename the folder of one source")
    return plan


def _base_config(base: dict[str, Any], handles: Sequence[Game], budget: int, overrides: Sequence[str]) -> RunConfig:
    """The configuration of the adaptation runs: the source's way of learning, one game at a time, no goals."""
    taken = [
        text for text in overrides if re.match(r"(games|seed|goals|adaptation\.(arm|budget|split)|schedule\.)", text)
    ]
    if taken:
        raise ValueError(
            f"{taken[0]} is not for gurgeh adapt: it sets games, seeds and budget itself (--games, --seeds, --budget)"
        )
    plain = {
        **base, "games": [handles[0].name], "seed": 0, "goals": [],
        "schedule": {"updates": budget},
        "logging": {**base["logging"], "evaluate_every_updates": 0, "tensorboard": False},
        "monitor": {**base["monitor"], "sharing": False},
        "evaluation": {**base["evaluation"], "opponents": []},
        "checkpoint": {**base["checkpoint"], "snapshot_every_updates": 0, "keep": 1},
        "adaptation": {"budget": budget},
    }  # fmt: skip
    for section, key in (("intrinsic", "weight"), ("search", "q_unit")):
        plain[section] = {**base.get(section, {}), key: {}}  # of games that are not held out
    return load_config(RunConfig, plain, overrides)


def _source(number: int, arm: str, path: str, step: int | None, config: RunConfig) -> tuple[Source, list[Game]]:
    state, initial = from_run(path, step)
    origin = state["origin"]
    if arm == SINGLE and len(origin["games"]) > 1:
        raise ValueError(
            f"--single {path} has {len(origin['games'])} games at update {origin['update']}; name a run of one"
        )
    try:
        check_same_network(MultiGameNetwork(config.network), initial.network)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    group = f"{arm}|{origin['config']}|{'+'.join(origin['games'])}|{origin['asked']}"
    played = [registry.make(entry["made_from"]) for entry in state["games"].values()]
    return Source(arm, str(Path(path).resolve()), step, origin["update"], origin["sha256"],
                  f"sources/{number}", group), played  # fmt: skip


def _check_sources(sources: Sequence[Source], trained: Sequence[Game], handles: Sequence[Game], split: str) -> None:
    seen: dict[tuple[str, str, int | None], None] = {}
    for source in sources:
        key = source.arm, source.path, source.update
        if key in seen:
            raise ValueError(f"{source.path} is named twice, at update {source.update}")
        seen[key] = None
    if split:
        splits.load(split).check([game.spec for game in trained], [game.spec for game in handles])


def begin_study(folder: Path, plan: Plan) -> None:
    """The folder with study.json and the sources' weights, there as a whole or not at all. FileExistsError."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; go on with --resume {folder}, or choose a new --name")
    fresh = folder.parent / f".creating-{folder.name}-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for source in plan.sources:
        state, _ = from_run(source.path, source.update)
        if state["origin"]["sha256"] != source.sha256:
            raise ValueError(f"{source.path} has changed while it was read; begin again")
        state["origin"]["asked"] = _asked(source)
        write_weights(fresh / source.weights, state)
    _write_plan(fresh, plan)
    os.rename(fresh, folder)
    sync(folder.parent)


def _write_plan(folder: Path, plan: Plan) -> None:
    write_text(folder / STUDY, json.dumps({"schema": SCHEMA, **dataclasses.asdict(plan)}, indent=1) + "\n")


def with_seeds(folder: Path, plan: Plan, seeds: int) -> Plan:
    """The plan with more seeds, also in study.json."""
    if seeds < plan.seeds:
        raise ValueError(
            f"the study has {plan.seeds} seeds; --seeds {seeds} would drop some, so remove their runs instead"
        )
    more = dataclasses.replace(plan, seeds=seeds)
    _write_plan(folder, more)
    return more


def read_plan(folder: Path) -> Plan:
    """The plan of a study. FileNotFoundError or ValueError."""
    path = folder / STUDY
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder of a study that gurgeh adapt began")
    try:
        found = json.loads(path.read_text())
        if found.pop("schema", None) != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        return Plan(**{**found, "sources": [Source(**entry) for entry in found["sources"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not the plan of a study: {error}") from error


def is_done(folder: Path, budget: int) -> bool:
    """Whether a run of a study has its last point and the monitor's last records."""
    if not (folder / "adaptation.jsonl").exists():
        return False
    run = RunDirectory.open(folder)
    points = [record["update"] for record in run.records("adaptation")]
    ended = any(record["schema"] == LOSS and record["occasion"] == "end" for record in run.records("monitor"))
    return bool(points) and points[-1] == budget and run.latest_step() == budget and ended


def train_one(folder: Path, config: RunConfig, source: Source | None) -> bool:
    """Begin a run of the study or go on with it; False if it was interrupted."""
    run = RunDirectory.open(folder) if folder.exists() else RunDirectory.create(folder, to_dict(config))
    with run:
        run.lock()
        if load_config(RunConfig, run.config) != config:
            raise ValueError(f"{folder} was begun with another configuration; choose a new --name")
        if source is not None:
            copy_weights(folder.parent / source.weights, folder)
        finished, _ = run_training(run, config, run.latest_step())
    return finished
