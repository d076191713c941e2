"""Everything that a training run carries from one step to the next: built from a config, saved and restored whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from agents.acting import ValueScales
from agents.agent import NetworkPlayer
from agents.alphazero import rules_of
from agents.encoders import label_seed
from agents.learner import Learner
from agents.network import MultiGameNetwork
from agents.novelty import Novelty
from agents.replay import ReplayBuffer
from agents.rules import RulesPlayer, network_player
from agents.selfplay import Collector
from envs import registry
from envs.game import Game, ObservationKind
from gurgeh.config import RunConfig
from gurgeh.schedule import Schedule

CALIBRATION_STEPS = 64  # of 16 copies, from which encoders of vectors and curiosity take the spread of their inputs


@dataclasses.dataclass
class ActiveGame:
    """A game that has joined: where it comes from and its experience."""

    handle: Game
    collector: Collector
    buffer: ReplayBuffer
    recent: list[float] = dataclasses.field(default_factory=list)  # returns of seat 0, last 100 self-play episodes


def random_observations(handle: Game, num_steps: int, seed: int) -> Tensor:
    """[num_steps * 16, *shape] what 16 copies show under uniformly random legal moves."""
    environment = handle.environment(16, label_seed(seed, "calibration", handle.spec.name) % 2**31)
    generator = torch.Generator().manual_seed(label_seed(seed, "calibration", handle.spec.name))
    try:
        step, shown = environment.reset(), []
        for _ in range(num_steps):
            shown.append(step.observation.clone())
            if handle.spec.box is not None:
                action = handle.spec.box.at(torch.rand(16, handle.spec.box.num_dimensions, generator=generator))
            else:
                action = torch.multinomial(step.legal.float(), 1, generator=generator)[:, 0]
            step = environment.step(action)
    finally:
        environment.close()
    return torch.cat(shown)


class TrainingState:
    """Networks, optimiser, games, replay, schedule. `state_dict` holds all that the future depends on."""

    def __init__(self, config: RunConfig):
        self.config = config
        network = MultiGameNetwork(config.network, seed=config.seed)
        averaged = MultiGameNetwork(config.network, seed=config.seed)
        self.learner = Learner(network, averaged.requires_grad_(False), config.learner, config.seed)
        self.schedule = Schedule(config.schedule, config.games)
        self.scales = ValueScales(noise_weight=config.search.noise_weight, by_hand=config.search.q_unit)
        self.games: dict[str, ActiveGame] = {}  # by the name in the game's spec
        self.generator = torch.Generator().manual_seed(label_seed(config.seed, "reanalyse"))
        self.steps = 0  # collecting steps made
        self.env_steps = 0  # moves played, all copies of all games
        self.updates_owed = 0.0

    @property
    def network(self) -> MultiGameNetwork:
        """The averaged network, which acts and is measured."""
        return self.learner.averaged

    @property
    def updates(self) -> int:
        """Optimiser updates made."""
        return self.learner.num_updates

    def add_game(self, name: str) -> ActiveGame:
        """Make room for a game everywhere; name: as in the registry."""
        config, handle = self.config, registry.make(name)
        spec = handle.spec
        self.learner.add_game(spec)
        self.learner.averaged.requires_grad_(False)
        if spec.observation.kind == ObservationKind.VECTOR:
            shown = random_observations(handle, CALIBRATION_STEPS, config.seed)
            for network in (self.learner.network, self.learner.averaged):
                network.encoders.calibrate_(network.games[spec.name], shown)
        copies = config.selfplay.copies_of(spec)
        environment = handle.environment(copies, label_seed(config.seed, "environment", spec.name) % 2**31)
        rules = rules_of(handle, config.search)
        buffer = ReplayBuffer(
            spec, copies, config.replay, config.learner.window, rules if config.learner.reanalyse else None,
            config.search.samples,
        )  # fmt: skip
        novelty = None
        if config.intrinsic.weight.get(spec.name):
            novelty = Novelty(
                spec, random_observations(handle, CALIBRATION_STEPS, config.seed), config.intrinsic, config.seed
            )
        collector = Collector(spec, environment, config.selfplay, config.seed, rules, novelty)
        self.games[spec.name] = ActiveGame(handle, collector, buffer)
        return self.games[spec.name]

    def ready_buffers(self) -> dict[str, ReplayBuffer]:
        """The buffers that hold enough to learn from."""
        start, window = self.config.learner.start_steps, self.config.learner.window
        return {
            name: game.buffer
            for name, game in self.games.items()
            if game.buffer.num_added * game.buffer.copies >= start and game.buffer.num_added >= 2 * window
        }

    def update_novelty(self, buffers: dict[str, ReplayBuffer]) -> None:
        """One update of what each curious game's moves are held to lead to, of those in `buffers`."""
        for name, buffer in buffers.items():
            novelty = self.games[name].collector.novelty
            if novelty is not None:
                novelty.update(buffer)

    def player(self, game: str, simulations: int, greedy: bool = True) -> NetworkPlayer | RulesPlayer:
        """The present agent as a player of `game`, searching as in self-play."""
        rules, scale = self.games[game].collector.rules, self.scales[game]
        if rules is not None and simulations:
            return network_player(self.network, rules.game, self.config.search, scale, simulations, greedy)
        return NetworkPlayer(
            self.network, self.games[game].handle.spec, self.config.search, scale, simulations, greedy
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Tensors and JSON values only."""
        return {
            "learner": self.learner.state_dict(),
            "games": {
                name: {
                    "made_from": game.handle.name,
                    "version": game.handle.spec.version,
                    "collector": game.collector.state_dict(),
                    "buffer": game.buffer.state_dict(),
                    "recent": game.recent,
                }
                for name, game in self.games.items()
            },
            "schedule": self.schedule.state_dict(),
            "scales": self.scales.state_dict(),
            "generator": self.generator.get_state(),
            "counters": {"steps": self.steps, "env_steps": self.env_steps, "updates_owed": self.updates_owed},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()` of a run with the same config; games join in their old order."""
        self.schedule.load_state_dict(state["schedule"])
        for name, saved in state["games"].items():
            game = self.add_game(saved["made_from"])
            if game.handle.spec.version != saved["version"]:
                raise ValueError(
                    f"{name} is version {game.handle.spec.version} now and was {saved['version']} when the run was "
                    "saved: its rules have changed; continue with the old version or start a new run"
                )
            game.collector.load_state_dict(saved["collector"])
            game.buffer.load_state_dict(saved["buffer"])
            game.recent = list(saved["recent"])
        self.learner.load_state_dict(state["learner"])
        self.scales.load_state_dict(state["scales"])
        self.generator.set_state(state["generator"])
        counters = state["counters"]
        self.steps, self.env_steps = counters["steps"], counters["env_steps"]
        self.updates_owed = counters["updates_owed"]

    def close(self) -> None:
        """Release the environments."""
        for game in self.games.values():
            game.collector.environment.close()
