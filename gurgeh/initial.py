"""First weights of a run, taken from another: RUN/initial, in the format of checkpoints, so that the run needs nothing
but itself to be resumed. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from agents.flops import num_parameters
from agents.network import MultiGameNetwork, NetworkConfig
from agents.transplant import check_same_network, transplant_, undefined_zero_shot
from envs import registry, splits
from envs.game import GameSpec
from gurgeh import checkpoint
from gurgeh.configure import from_dict, to_dict
from gurgeh.load import LoadedRun

FOLDER = "initial"


@dataclasses.dataclass(frozen=True)
class Initial:
    """A network that other games trained, and where it comes from."""

    network: MultiGameNetwork
    origin: dict[str, Any]  # `source` of monitor.adaptation/1

    def begin(self, *networks: MultiGameNetwork) -> None:
        """Overwrite what the networks share with the games of this one."""
        for network in networks:
            transplant_(network, self.network)

    def zero_shot(self, spec: GameSpec) -> str | None:
        """Why `spec` cannot be played before it is learnt; None where it can."""
        return undefined_zero_shot(self.network, spec)


def from_run(path: str | Path, step: int | None) -> tuple[dict[str, Any], Initial]:
    """(state to write, first weights) of a run's checkpoint or snapshot; step None: the newest."""
    loaded = LoadedRun(path, step)
    weights = loaded.network.state_dict()
    origin = {
        "run": loaded.path.name, "update": loaded.step, "asked": "last" if step is None else str(step),
        "games": list(loaded.games), "seed": loaded.config.seed, "sha256": loaded.manifest_hash(),
        "config": without_seed(to_dict(loaded.config)), "parameters": num_parameters(loaded.network),
    }  # fmt: skip
    state = {
        "weights": weights,
        "network": to_dict(loaded.config.network),
        "network_seed": loaded.config.seed,
        "games": {name: {"made_from": game.name, "version": game.spec.version} for name, game in loaded.games.items()},
        "origin": origin,
    }
    return state, Initial(loaded.network, origin)


def without_seed(config: dict[str, Any]) -> str:
    """16 hexadecimal digits of a configuration, the same for runs that differ in their seed alone."""
    same = {key: value for key, value in config.items() if key != "seed"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def write_weights(folder: Path, state: dict[str, Any]) -> None:
    """Write what `from_run` gave into a new folder, in the format of checkpoints."""
    folder.mkdir(parents=True)
    checkpoint.write(folder, state["origin"]["update"], state, {})


def copy_weights(folder: Path, run: Path) -> None:
    """Copy weights that `write_weights` wrote to RUN/initial, as a whole: aside, to the disk, renamed. What is there
    already stays."""
    final = run / FOLDER
    if final.exists():
        return
    fresh = run / f".writing-{FOLDER}"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folder, fresh)
    for path in (*fresh.iterdir(), fresh):
        checkpoint.sync(path)
    os.rename(fresh, final)
    checkpoint.sync(run)


def read_initial(run: Path, config: NetworkConfig) -> Initial:
    """The first weights of the run. ValueError where they are missing, damaged, or of another network."""
    if not (run / FOLDER).is_dir():
        raise ValueError(f"{run / FOLDER} is missing: the run's first weights are gone; start it anew (gurgeh adapt)")
    _, state = checkpoint.read(run / FOLDER)
    network = MultiGameNetwork(from_dict(NetworkConfig, state["network"]), seed=state["network_seed"])
    for name, saved in state["games"].items():
        spec = registry.make(saved["made_from"]).spec
        if spec.version != saved["version"]:
            raise ValueError(
                f"{name} is version {spec.version} now and was {saved['version']} when {run} was begun; start it anew"
            )
        network.add_game(spec)
    network.load_state_dict(state["weights"])
    network.requires_grad_(False)
    check_same_network(MultiGameNetwork(config), network)
    return Initial(network, state["origin"])


def describe_split(name: str) -> dict[str, Any] | None:
    """name, version and hash of a split, for records."""
    if not name:
        return None
    split = splits.load(name)
    return {"name": split.name, "version": split.version, "hash": split.hash}
