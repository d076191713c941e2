"""Recorded games of native rules, readable by a person: `python tests/envs/playthroughs.py NAME` writes one anew."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch

from envs import registry
from envs.game import ObservationKind

GOLDEN = Path(__file__).parents[1] / "golden" / "playthroughs"


def golden_path(name: str) -> Path:
    """Where the recorded games of `name` are: a colon is no part of a file's name everywhere."""
    return GOLDEN / (re.sub(r"[^A-Za-z0-9_]+", "-", name) + ".json")


def play(name: str, seed: int, actions: list[int]) -> dict:
    """Every position of one game under native rules, as JSON values."""
    game = registry.make(name)
    rules = game.native
    assert rules is not None, f"{name} has no native rules"
    state = rules.initial(torch.tensor([seed]))
    positions = [_position(game, state, [0.0] * game.spec.num_players, False)]
    for action in actions:
        played = rules.play(state, torch.tensor([action]))
        state = played.state
        positions.append(_position(game, state, (played.reward[0] + 0.0).tolist(), bool(played.terminated[0])))
    return {"seed": seed, "actions": actions, "positions": positions}


def _position(game, state, reward: list[float], terminated: bool) -> dict:
    observation = game.native.observe(state)[0]
    shown: dict = {"observation": observation.flatten().tolist()}
    if game.spec.observation.kind is ObservationKind.GRID and not game.spec.board_planes:
        shown = {"planes": ["".join(".#"[cell] for cell in plane) for plane in observation.flatten(1).tolist()]}
    if game.spec.board_planes:
        planes = zip(("mine", "theirs"), observation[:2].tolist(), strict=True)
        shown = {name: ["".join(".#"[cell] for cell in row) for row in plane] for name, plane in planes}
        if len(observation) > 2:
            shown["rest"] = observation[2:].flatten().tolist()
    elif game.spec.observation.kind is ObservationKind.TOKENS:
        shown = {"tokens": observation.tolist()}
    legal = torch.nonzero(game.native.legal(state)[0]).flatten().tolist()
    to_play = int(game.native.to_play(state)[0])
    return {**shown, "to_play": to_play, "legal": legal, "reward": reward, "terminated": terminated}


def record(name: str, num_games: int = 3, enough: int = 150) -> dict:
    """Random games from as many seeds, fewer where they have `enough` positions together."""
    game = registry.make(name)
    rules = game.native
    assert rules is not None, f"{name} has no native rules"
    games: list[dict] = []
    while len(games) < num_games and sum(len(done["positions"]) for done in games) < enough:
        seed = len(games)
        random = np.random.default_rng(seed)
        state, actions, over = rules.initial(torch.tensor([seed])), [], False
        while not over and len(actions) < (game.spec.max_length or 200):
            actions.append(int(random.choice(torch.nonzero(rules.legal(state)[0]).flatten().tolist())))
            played = rules.play(state, torch.tensor(actions[-1:]))
            state, over = played.state, bool(played.terminated[0])
        games.append(play(name, seed, actions))
    return {"game": name, "version": game.spec.version, "games": games}


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        text = json.dumps(record(chosen)).replace(', "positions": [', ', "positions": [\n')
        text = text.replace("}, {", "},\n{").replace("}]}, {", "}]},\n{")  # one position a line
        golden_path(chosen).write_text(text + "\n")
