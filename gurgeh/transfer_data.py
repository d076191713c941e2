"""Reading what runs say of transfer: adaptation runs, the sequence of games of a run, behaviour in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.network import MultiGameNetwork
from agents.transplant import undefined_zero_shot
from envs import registry
from gurgeh.config import RunConfig
from gurgeh.configure import from_dict
from gurgeh.measure import measure
from gurgeh.rundir import RunDirectory, write_text
from gurgeh.validation import frozen_path, load_frozen_set
from monitor.adaptation import Adaptation, adaptations
from monitor.events import regenerate
from monitor.meta_onset import meta_onsets
from monitor.records import LOSS, in_order, validate
from monitor.sequences import Joined, behaviour_records, introductions, learning_curve_record, sequence_record
from monitor.series import named_series
from monitor.studies import transfer_records

TRANSFERS, EVENTS = "transfer.jsonl", "events.jsonl"
SHARES = ("optimal", "score_against_random", "win_against_random")
"""Measures of short evaluations that lie in [0, 1], which Continual World's definitions need; the first there is."""


def runs_in(paths: Sequence[str | Path]) -> list[Path]:
    """The runs among `paths` and in the folders among them, in order. FileNotFoundError where there is none."""
    found = []
    for path in map(Path, paths):
        if (path / "config.yaml").exists():
            found.append(path)
            continue
        inside = sorted(child.parent for child in path.glob("*/config.yaml")) if path.is_dir() else []
        inside = [run for run in inside if not run.name.startswith(".")]  # such a one is half made
        if not inside:
            what = "is no run and has none in it" if path.exists() else "does not exist"
            raise FileNotFoundError(f"{path} {what}; give a run, such as runs/NAME, or a folder of runs")
        found += inside
    return list(dict.fromkeys(found))


def checked(run: RunDirectory, *streams: str) -> list[list[dict[str, Any]]]:
    """The records of each stream, checked. ValueError with file and line for one that is no record."""
    found = []
    for stream in streams:
        records = list(run.records(stream))
        for number, record in enumerate(records, 1):
            try:
                validate(record)
            except ValueError as error:
                raise ValueError(f"{run.path / stream}.jsonl, line {number}: {error}") from error
        found.append(records)
    return found


def read_adaptations(folders: Sequence[Path]) -> list[Adaptation]:
    """The finished adaptation runs among the runs `folders`."""
    return adaptations(checked(RunDirectory.open(folder), "adaptation")[0] for folder in folders)


def adaptation_records(folders: Sequence[Path], series: str | None = None):
    """(records, events) of the adaptation runs among `folders`; two empty lists where there are none that can be
    compared yet."""
    found = read_adaptations(folders)
    if not any(run.source is None for run in found) or not any(run.source is not None for run in found):
        return [], []
    records, events = transfer_records(found, series), meta_onsets(found, series)
    for record in (*records, *events):
        validate(record)
    return records, events


def write_study(folder: Path):
    """(records, events) of a study, also as transfer.jsonl and events.jsonl in its folder."""
    records, events = adaptation_records(runs_in([folder]))
    for name, lines in ((TRANSFERS, records), (EVENTS, events)):
        write_text(folder / name, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return records, events


def stored_events(folder: Path) -> list[dict[str, Any]] | None:
    """The events that `write_study` left in a folder of runs; None where it did not."""
    path = folder / EVENTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else None


# -- one run that learns one game after another -------------------------------------------------------------------


def sequence_of(folder: Path, series: str, alone: Sequence[Path] = ()) -> dict[str, Any]:
    """The `monitor.sequence/1` record of a run. alone: runs of single games, for Continual World's forward transfer;
    those with other settings of network or learner are no comparison and are left out."""
    run = RunDirectory.open(folder)
    measured, ledger = checked(run, "monitor", "ledger")
    records = in_order(measured, ledger)
    if not measured:
        raise ValueError(f"{folder} has no records of the monitor; was it trained with monitor.enabled=false?")
    games = list(introductions(records))
    config = from_dict(RunConfig, run.config)
    specs = {spec.name: spec for spec in (registry.make(name).spec for name in config.games)}
    untrained, undefined = {}, {}
    network, sets = MultiGameNetwork(config.network, seed=config.seed), {}
    for game in games:
        if network.specs:
            reason = undefined_zero_shot(network, specs[game])
            if reason:
                undefined[game] = reason
        network.add_game(specs[game])
        sets[game] = load_frozen_set(frozen_path(run.path / "validation", game))
    network.requires_grad_(False)
    losses = measure(network, sets, None if config.learner.unroll else 0).losses
    for game in games:
        values = named_series(losses(game, config.monitor.set_size))
        if series in values:
            untrained[game] = float(np.nanmean(values[series]))
    singles = {}
    for path in alone:
        single = RunDirectory.open(path)
        curves = score_curves(single)
        if len(curves) == 1 and _learns_as(single) == _learns_as(run):
            game, curve = next(iter(curves.items()))
            if not isinstance(curve, str):
                singles.setdefault(game, curve)
    record = sequence_record(records, series, untrained, undefined, score_curves(run), singles)
    validate(record)
    return record


def score_curves(run: RunDirectory) -> dict[str, Any]:
    """Game -> (updates, values in [0, 1]) of its short evaluations, or why there are none."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in run.records("evaluation"):
        for game, values in record["games"].items():
            mine = found.setdefault(game, {})
            for name, value in values.items():
                if name in SHARES and value is not None:
                    mine.setdefault(name, []).append((record["update"], value))
    result = {}
    for game, measures in found.items():
        name = next((name for name in SHARES if name in measures), None)
        result[game] = tuple(zip(*measures[name])) if name else (
            f"its short evaluations hold none of {', '.join(SHARES)}, which lie in [0, 1]"
        )  # fmt: skip
    return result


# -- several runs -------------------------------------------------------------------------------------------------


def series_of(folders: Sequence[Path]) -> str:
    """`policy` where every game of the runs has it, else `dynamics_1`."""
    for folder in folders:
        for record in RunDirectory.open(folder).records("monitor"):
            if record["schema"] == LOSS and "policy" not in record["losses"]:
                return "dynamics_1"
    return "policy"


def check_series(folders: Sequence[Path], series: str) -> None:
    """ValueError with the series that there are where no loss of the runs has this one."""
    known: dict[str, None] = {}
    for folder in folders:
        for record in RunDirectory.open(folder).records("monitor"):
            known |= dict.fromkeys(record["losses"] if record["schema"] == LOSS else ())
    if series not in known:
        there = f"there are {', '.join(known)}" if known else "no losses were recorded yet"
        raise ValueError(f"no run has the series {series!r}; {there}")


def learning_curves_of(folders: Sequence[Path], series: str) -> list[dict[str, Any]]:
    """The `monitor.learning_curve/1` records of runs whose games joined one after another: one for each kind of network
    and learner among them."""
    kinds: dict[str, list[list[dict[str, Any]]]] = {}
    for run in map(RunDirectory.open, folders):
        records = in_order(*checked(run, "monitor", "ledger"))
        if len(set(introductions(records).values())) > 1:
            kinds.setdefault(_learns_as(run), []).append(records)
    found = [learning_curve_record(runs, series) for runs in kinds.values()]
    for record in found:
        validate(record)
    return found


def check_names(folders: Sequence[Path]) -> None:
    """ValueError for two runs of one name: records over several runs tell them by it."""
    named: dict[str, Path] = {}
    for folder in map(Path.resolve, folders):
        other = named.setdefault(folder.name, folder)
        if other != folder:
            raise ValueError(f"{other} and {folder} have the same name; rename one of the folders to compare them")


def behaviour_of(folders: Sequence[Path], series: str):
    """(records, events): how games that joined later learn against runs of them alone, and the onsets of sharing that
    this and the runs' own measures show. Compared are runs with the same settings of network and learner. Events of
    runs whose own measures alone show them are not repeated. ValueError for two runs of one name."""
    records = {folder: in_order(*checked(RunDirectory.open(folder), "monitor", "ledger")) for folder in folders}
    seeds = {folder: RunDirectory.open(folder).config["seed"] for folder in folders}
    kinds = {folder: _learns_as(RunDirectory.open(folder)) for folder in folders}
    single = {
        (next(iter(games)), seeds[folder], kinds[folder]): records[folder]
        for folder in folders
        if len(games := introductions(records[folder])) == 1 and not _has_first_weights(folder)
    }
    grown = [folder for folder in folders if len(set(introductions(records[folder]).values())) > 1]
    check_names(grown)
    joined: dict[str, dict[Path, Joined]] = {}  # a kind is compared by itself: its runs differ in their seeds alone
    for folder in grown:
        alone = {
            game: single[game, seeds[folder], kinds[folder]] for game in introductions(records[folder])
            if (game, seeds[folder], kinds[folder]) in single
        }  # fmt: skip
        joined.setdefault(kinds[folder], {})[folder] = Joined(records[folder], alone)
    gains = {
        folder: more
        for mine in joined.values()
        for folder, more in zip(mine, behaviour_records(list(mine.values()), series), strict=True)
    }
    found, events = [], []
    for folder in grown:
        more = gains[folder]
        for record in more:
            validate(record)
        if not more:
            continue
        found += more
        # After the losses of the same update, from which they come.
        merged = sorted(
            [*records[folder], *more], key=lambda r: (r["update"], r["seq"], r.get("measure") == "transfer")
        )
        events += [
            event for event in regenerate(merged)
            if event["type"] == "sharing_onset" and event["evidence"]["behaviour"] is not None
        ]  # fmt: skip
    return found, events


def _learns_as(run: RunDirectory) -> str:
    """The settings of a run's network and learner, to be compared: a larger network learns faster, whatever it knew."""
    return json.dumps({name: run.config.get(name) for name in ("network", "learner")}, sort_keys=True)


def _has_first_weights(folder: Path) -> bool:
    return (folder / "initial").is_dir()
