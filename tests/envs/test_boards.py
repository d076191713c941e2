"""The native boards against PettingZoo's own, move by move, and against recorded games."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import playthroughs
import pytest
import torch

from envs import registry

NATIVE = [name for origin, names, _ in registry.groups() if origin == "native" for name in names]
GOLDEN = Path(__file__).parents[1] / "golden" / "playthroughs"


def pettingzoo_games(module: str, num_games: int, seed: int) -> list[list[dict]]:
    """Random games: per position what the mover observes and may do, the move, and what it brought."""
    env = importlib.import_module(module).raw_env()
    random = np.random.default_rng(seed)
    games = []
    for _ in range(num_games):
        env.reset()
        game = []
        while True:
            agent = env.agent_selection
            seen = env.observe(agent)
            position = {"seat": env.possible_agents.index(agent), "board": np.moveaxis(seen["observation"], 2, 0)}
            game.append(position)
            if env.terminations[agent]:
                break
            position["legal"] = seen["action_mask"].astype(bool)
            position["action"] = int(random.choice(np.flatnonzero(seen["action_mask"])))
            env.step(position["action"])
            position["reward"] = [float(env.rewards[name]) for name in env.possible_agents]
            position["over"] = all(env.terminations.values())
        games.append(game)
    return games


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("tictactoe", "pettingzoo.classic.tictactoe_v3"),
        ("connect_four", "pettingzoo.classic.connect_four_v3"),
    ],
)
@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_same_game_as_pettingzoo(name, module):
    pytest.importorskip("pettingzoo")
    pytest.importorskip("pygame")
    games = pettingzoo_games(module, 1000, seed=7)
    rules = registry.make(name).native
    state = rules.initial(torch.zeros(len(games), dtype=torch.int64))
    ends = {"won by 0": 0, "won by 1": 0, "drawn": 0}
    for move in range(max(map(len, games))):
        rows = [row for row, game in enumerate(games) if len(game) > move]
        expected = [games[row][move] for row in rows]
        board, seat, legal = rules.observe(state), rules.to_play(state), rules.legal(state)
        assert np.array_equal(board[rows].numpy(), np.stack([position["board"] for position in expected]))
        assert seat[rows].tolist() == [position["seat"] for position in expected]
        going_on = [(row, position) for row, position in zip(rows, expected) if "action" in position]
        if not going_on:
            break
        rows = [row for row, _ in going_on]
        assert np.array_equal(legal[rows].numpy(), np.stack([position["legal"] for _, position in going_on]))
        action = torch.zeros(len(games), dtype=torch.int64)
        action[rows] = torch.tensor([position["action"] for _, position in going_on])
        played = rules.play(state, action)
        assert played.reward[rows].tolist() == [position["reward"] for _, position in going_on]
        assert played.terminated[rows].tolist() == [position["over"] for _, position in going_on]
        for _, position in going_on:
            if position["over"]:
                first = position["reward"][0]
                ends["won by 0" if first > 0 else "won by 1" if first < 0 else "drawn"] += 1
        state = played.state
    assert sum(ends.values()) == 1000
    if name == "tictactoe":
        assert min(ends.values()) > 80, ends  # random tic-tac-toe: 58 %, 29 % and 13 %


@pytest.mark.parametrize("name", NATIVE)
def test_recorded_games_play_the_same(name):
    recorded = json.loads(playthroughs.golden_path(name).read_text())
    assert recorded["game"] == name
    try:
        registry.make(name)
    except registry.MissingExtraError as error:
        pytest.skip(str(error))
    assert recorded["version"] == registry.make(name).spec.version, "behaviour changed: record new playthroughs"
    for game in recorded["games"]:
        assert playthroughs.play(name, game["seed"], game["actions"]) == game


def test_every_native_game_has_a_recording_and_every_recording_a_game():
    assert set(GOLDEN.glob("*.json")) == set(map(playthroughs.golden_path, NATIVE))


def test_recorded_tictactoe_game_is_what_a_person_would_write():
    """X takes the top row: 0, 1 and 2; O answers 3 and 4."""
    game = playthroughs.play("tictactoe", 0, [0, 3, 1, 4, 2])
    last = game["positions"][-1]
    assert last["mine"] == ["...", "##.", "..."]
    assert last["theirs"] == ["###", "...", "..."]
    assert last["reward"] == [1.0, -1.0]
    assert last["terminated"] is True


def test_connect_four_stacks_from_the_bottom_and_wins_in_all_directions():
    upright = playthroughs.play("connect_four", 0, [3, 0, 3, 0, 3, 0, 3])
    flat = playthroughs.play("connect_four", 0, [0, 0, 1, 1, 2, 2, 3])
    rising = playthroughs.play("connect_four", 0, [0, 1, 1, 2, 2, 3, 2, 3, 3, 0, 3])
    for game in (upright, flat, rising):
        assert [position["terminated"] for position in game["positions"][1:]][-2:] == [False, True]
        assert game["positions"][-1]["reward"] == [1.0, -1.0]
    assert upright["positions"][-1]["theirs"] == [".......", ".......", "...#...", "...#...", "...#...", "...#..."]
