"""Records of adaptation runs with planted curves: exponential falls whose time constants are known."""

import numpy as np

from monitor.adaptation import points, shots
from monitor.records import ADAPTATION, validate

BUDGET = 2000
START, FLOOR = 1.2, 0.02


def origin(run="boards-0", games=("tictactoe", "mnk:4x3x3"), update=4000, asked=None, config="c0", seed=0):
    return {
        "run": run, "update": update, "asked": asked or str(update), "games": list(games), "seed": seed,
        "sha256": "0" * 64, "config": config, "parameters": 60_000,
    }  # fmt: skip


def adaptation_run(
    arm="scratch", seed=0, tau=0.15, start=START, source=None, game="hex:3", zero_shot=None, noise=0.0, budget=BUDGET,
    last=None, score=True,
):  # fmt: skip
    """The records of one run: loss = FLOOR + (start - FLOOR) exp(-update / (tau budget)), times exp(noise) by seed."""
    jitter = float(np.exp(noise * np.random.default_rng((seed, len(arm), hash_of(source))).normal()))
    records = []
    for update in points(budget):
        if last is not None and update > last:
            break
        loss = FLOOR + (start - FLOOR) * float(np.exp(-update / (tau * jitter * budget)))
        shown = update > 0 or not zero_shot
        shot = update in (0, *shots(budget))
        record = {
            "schema": ADAPTATION, "run": f"{game}-{arm}-{hash_of(source)}-s{seed}", "seed": seed, "update": update,
            "env_steps": 64 * update, "game": game, "version": 1, "arm": arm, "source": source, "budget": budget,
            "share": update / budget, "shot": shot, "zero_shot": zero_shot, "targets": "solver",
            "frozen_set": f"set {game} {seed}",
            "losses": {"policy": {"mean": loss, "se": 0.01, "n": 64}} if shown else {},
            "scores": {"optimal": 1 - loss / 2} if shown and score and (shot or update == budget) else {},
            "parameters": 50_000, "split": None, "code": "0.1.0",
        }  # fmt: skip
        validate(record)
        records.append(record)
    return records


def hash_of(source):
    return 0 if source is None else sum(map(ord, f"{source['run']}{source['update']}"))


def study(seeds=5, noise=0.05, checkpoints=((1000, 0.15), (2000, 0.08), (4000, 0.05)), single=0.1, game="hex:3"):
    """Records by run: from scratch (tau .15), from checkpoints (update, tau) of one run, from a single game."""
    runs = []
    for seed in range(seeds):
        runs.append(adaptation_run("scratch", seed, noise=noise, game=game))
        for update, tau in checkpoints:
            runs.append(adaptation_run("pretrained", seed, tau, source=origin(update=update), noise=noise, game=game))
        if single is not None:
            alone = origin("alone", ("tictactoe",), 3000, "last", "c1")
            runs.append(adaptation_run("single", seed, single, source=alone, noise=noise, game=game))
    return runs
