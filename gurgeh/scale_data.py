"""Reading what runs of many sizes and numbers of games say of scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.flops import num_parameters, update_flops
from agents.network import MultiGameNetwork
from envs import registry
from gurgeh.config import RunConfig
from gurgeh.configure import from_dict, to_dict
from gurgeh.initial import without_seed
from gurgeh.rundir import RunDirectory
from gurgeh.transfer_data import check_names, checked, read_adaptations
from monitor.events import standing
from monitor.meta_onset import faster_by_run
from monitor.records import LOSS
from monitor.refusals import UndefinedError
from monitor.scale_records import ScaledRun, scale_records


def scale_of(folders: Sequence[Path], series: str) -> list[dict[str, Any]]:
    """The records over scale of runs; runs that adapt are no rows of their own and say whether others learn faster.
    ValueError for two runs of one name."""
    adapting = [folder for folder in folders if (folder / "adaptation.jsonl").exists()]
    check_names([folder for folder in folders if folder not in adapting])
    faster, unknown = {}, {}
    try:
        faster = faster_by_run(read_adaptations(adapting))
    except UndefinedError as error:
        unknown["faster"] = str(error)
    runs = [scaled_run(folder, series, faster.get(folder.name)) for folder in folders if folder not in adapting]
    return scale_records(runs, series, unknown)


def scaled_run(folder: Path, series: str, faster: bool | None) -> ScaledRun:
    """One run: its size, its compute, its losses on 256 frozen positions (mean over its games), its events."""
    run = RunDirectory.open(folder)
    config = from_dict(RunConfig, run.config)
    network = MultiGameNetwork(config.network, [registry.make(name).spec for name in config.games], config.seed)
    names = set(network.games)
    losses: dict[int, dict[str, float]] = {}
    measured, events = checked(run, "monitor", "events")
    for record in measured:
        if record["schema"] == LOSS and record["subset"] == "medium" and record["occasion"] == "checkpoint":
            mean = record["losses"].get(series, {}).get("mean")
            if mean is not None and mean > 0:
                losses.setdefault(record["update"], {})[record["game"]] = mean
    points = [(update, sum(v.values()) / len(v)) for update, v in sorted(losses.items()) if v.keys() == names]
    happened = {event["type"] for event in standing(events) if event["status"] == "confirmed"}
    several = len(names) > 1
    return ScaledRun(
        run=folder.name, configuration=without_seed(to_dict(config)), seed=config.seed,
        architecture=config.network.trunk, games=tuple(network.games), parameters=num_parameters(network),
        flops=update_flops(network, config.learner),
        updates=tuple(update for update, _ in points), losses=tuple(loss for _, loss in points),
        outcomes={
            "breakthrough": "breakthrough" in happened if config.monitor.falls else None,
            "sharing": "sharing_onset" in happened if several and config.monitor.sharing else None,
            "faster": faster,
        },
    )  # fmt: skip
