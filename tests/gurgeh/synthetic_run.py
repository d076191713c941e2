"""A run directory with planted curves, made by the real monitor: what the report and `gurgeh monitor` are tested on."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from gurgeh.rundir import RunDirectory
from monitor import Measure, Monitor, MonitorConfig

GAMES = {"tictactoe": 0, "CartPole-v1": 800, "connect_four": 2000, "minatar/breakout": 3400}
CONFIG = MonitorConfig(set_size=256, medium_size=128, small_size=21, falls=True)  # strata of 7 are not judged: quicker


class Curves:
    """Losses that fall with the updates since a game's introduction, and rise by 0.4 nat for tictactoe after 2000."""

    def __init__(self, games: dict[str, int], forget: bool):
        self.games, self.forget, self.update = games, forget, 0
        self.scatter = np.random.default_rng(0).gamma(4.0, 0.25, 256)  # positions differ, mean 1

    def losses(self, game: str, size: int) -> dict[str, np.ndarray]:
        since = self.update - self.games[game]
        noise = np.exp(0.05 * np.random.default_rng(self.update).normal(size=256))
        shape = (self.scatter * noise)[:size]
        solved = game == "tictactoe"
        found = {}
        for k in range(6):
            decay = 1.0 / (1 + since / (60 * (k + 1)))
            if solved:
                back = 0.4 * np.exp(-(self.update - 2000) / 900) if self.forget and self.update > 2060 else 0.0
                found[f"policy@{k}"] = shape * (1.8 * decay + 0.01 + back)
                found[f"value@{k}"] = shape * (2.5 * decay**0.7 + 0.02 + back / 2)
            if k:
                found[f"reward@{k}"] = shape * (1.1 * decay**1.5 + 1e-4)
                found[f"continuation@{k}"] = shape * (0.5 * decay + 3e-3)
                if game in ("tictactoe", "connect_four"):
                    found[f"next_mover@{k}"] = shape * (0.7 * decay**2 + 1e-6)
        return found

    def latents(self, game: str, size: int) -> np.ndarray:
        spread = 0.7 ** np.arange(24) * (1 + self.update / 3000)
        return np.random.default_rng(5).normal(size=(256, 24))[:size] * spread

    def activations(self, game: str, size: int) -> dict[str, np.ndarray]:
        silent = np.arange(40) < 2 + self.update // 1500
        return {"trunk.0": np.where(silent, 0.0, np.abs(np.random.default_rng(6).normal(size=(256, 40)))[:size])}


def make_run(
    path: Path, games: dict[str, int] = GAMES, last: int = 5000, forget: bool = True, falls: bool = True
) -> Path:  # fmt: skip
    """A run at `path` with metrics, ledger, monitor, events and evaluations; returns `path`. falls: look for them,
    which takes most of the time."""
    with RunDirectory.create(path, {"seed": 7, "games": list(games), "learner": {"lr": 0.002}}) as run:
        config, versions = dataclasses.replace(CONFIG, falls=falls), {"code": "0.1.0", "config": "0" * 64}
        monitor = Monitor(config, run.append, path.name, 7, versions)
        curves = Curves(games, forget)
        measure = Measure(curves.losses, lambda game, size: np.arange(size) % 3, curves.latents, curves.activations)
        for update in range(0, last + 1, 10):
            curves.update = update
            for game, start in games.items():
                if update == start:
                    monitor.introduce(game, update, 64 * update, "f" * 64, "solver" if game == "tictactoe" else "none")
                    monitor.observe(update, 64 * update, measure)
            rate = 2e-3 if update < 4200 else 5e-4
            monitor.settings(update, 64 * update, learning_rate=rate, batch_size=256)
            monitor.observe(update, 64 * update, measure)
        monitor.finish(last, 64 * last, measure)
        run.append("metrics", {"update": last, "env_steps": 64 * last, "time": {"seconds": 543.2}, "games": {}})
    folder = path / "evaluations"
    folder.mkdir()
    interval = {"mean": 0.975, "low": 0.91, "high": 0.993}
    for game, opponent in (("tictactoe", "perfect"), ("CartPole-v1", None)):
        stem = f"{last:09d}-{game}"
        summary = {"episodes": 100, "moves": 8.1, "return": {"mean": 211.5, "low": 200.25, "high": 222.75}}
        if opponent:
            summary |= {"score": {"count": 97.5, **interval}, "optimal": 0.9956, "positions": 4520}
        content = {
            "schema": "evaluation/1", "game": game, "players": [path.name, *([opponent] if opponent else [])],
            "seed": 0, "run": str(path), "step": last, "checkpoint": None, "settings": {}, "summary": summary,
            "records": f"{stem}.jsonl.gz",
        }  # fmt: skip
        (folder / f"{stem}.json").write_text(json.dumps(content))
        (folder / f"{stem}.jsonl.gz").write_bytes(b"")
    return path
