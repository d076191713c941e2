"""What must be learnt in seconds: a game that shows the answer, and one whose optimal values are known beforehand."""

import functools
import time

import pytest
import torch
from tiny import GAMES, tiny_config, toy

import search
from agents.acting import SearchConfig
from agents.learner import LearnerConfig
from agents.reanalyse import reanalyse_
from agents.selfplay import SelfPlayConfig, collect_step
from gurgeh.config import RunConfig
from gurgeh.state import TrainingState

RIGHT = 0.95  # share of the cards answered rightly by search and by the raw policy, stated before the first try
NEAR = 0.1  # how far a root value may be from the true one


def learnt(name: str, updates: int, **learner) -> TrainingState:
    """A state after `updates` updates on one toy game, one collecting step of 16 copies before each."""
    torch.set_num_threads(1)
    config = RunConfig(
        games=[str(GAMES / f"{name}.py")],
        seed=3,
        threads=1,
        network=tiny_config(width=32, hidden=64, value_bins=41, value_limit=3.0),
        search=SearchConfig(simulations=6, gamma=1.0),
        selfplay=SelfPlayConfig(copies=16, random_plies=2, greedy_share=0),
        learner=LearnerConfig(**{"batch": 64, "unroll": 2, "n_step": 2, "start_steps": 320, "warmup": 20, **learner}),
    )
    state = TrainingState(config)
    state.add_game(config.games[0])
    buffers = {key: game.buffer for key, game in state.games.items()}
    collectors = {key: game.collector for key, game in state.games.items()}
    while state.updates < updates:
        collect_step(state.network, collectors, buffers, state.scales, config.search)
        if state.ready_buffers():
            if config.learner.reanalyse:
                reanalyse_(
                    state.network, buffers, state.scales, config.search, config.learner.reanalyse, state.generator
                )
            state.learner.update(buffers, config.search.gamma, updates)
    return state


def test_the_identity_game_is_learnt_in_seconds():
    search.warm_up()  # compiling the kernels, once on a machine, is no learning
    began = time.process_time()
    state = learnt("identity", 300, lr=4e-3)
    assert time.process_time() - began < 20
    observation = torch.eye(4).repeat(25, 1)
    legal, zeros = torch.ones(100, 4, dtype=torch.bool), torch.zeros(100, dtype=torch.int64)
    for simulations in (0, 6):
        decision = state.player("identity", simulations).act(observation, legal, zeros, torch.arange(100))
        right = (decision.action == torch.arange(4).repeat(25)).float().mean()
        assert float(right) >= RIGHT, f"{simulations} simulations"
    assert torch.allclose(decision.value[:, 0], torch.ones(100), atol=NEAR)


@functools.cache
def best(place: int) -> tuple[float, int]:
    """Value for seat 0 and optimal action of a place of the relay, by going backwards through its rules."""
    game = toy("relay").native
    state = type(game.initial(torch.zeros(1, dtype=torch.int64)))(torch.tensor([place]))
    mover = int(game.to_play(state))
    values = []
    for action in range(3):
        played = game.play(state, torch.tensor([action]))
        later = 0.0 if bool(played.terminated) else best(int(played.state.place))[0]
        values.append(float(played.reward[0, 0]) + later)
    chosen = (max if mover == 0 else min)(range(3), key=lambda action: values[action])
    return values[chosen], chosen


def test_the_relay_is_what_its_text_says():
    """Hand-computed: who moves at a place decides; the bait never pays; not everybody cashes in at once."""
    assert [best(place)[0] for place in (6, 7)] == [1.0, -1.0]
    # Place 5, seat 1: running home pays seat 1 0.8 (cashing 0.2, bait 0.5 - 1). Place 4, seat 1: run on, 0.8 beats 0.1.
    assert [round(best(place)[0], 4) for place in (5, 4)] == [-0.8, -0.8]
    # Place 3, seat 0: cashing is -0.2, running -0.8, the bait 0.5 - 1 = -0.5. Place 2, seat 1: running gets it 0.2.
    assert [round(best(place)[0], 4) for place in (3, 2)] == [-0.2, -0.2]
    # Seat 0 at 1: cash 0.3; at 0: cash -0.1, running on to place 1 makes it 0.3.
    assert [round(best(place)[0], 4) for place in (1, 0)] == [0.3, 0.3]
    assert [best(place)[1] for place in range(6)] == [1, 0, 1, 0, 1, 1]


def test_planted_values_are_learnt_by_players_who_do_not_alternate():
    search.warm_up()
    began = time.process_time()
    state = learnt("relay", 450, lr=4e-3)
    assert time.process_time() - began < 20
    places = torch.arange(8)
    movers = toy("relay").native.to_play(type(toy("relay").native.initial(places))(places))
    player = state.player("relay", 16)
    decision = player.act(torch.eye(8), torch.ones(8, 3, dtype=torch.bool), movers, places)
    for place in range(8):
        value, action = best(place)
        assert decision.value[place].tolist() == pytest.approx([value, -value], abs=NEAR), f"place {place}"
        if place < 6:
            assert int(decision.action[place]) == action, f"place {place}"
