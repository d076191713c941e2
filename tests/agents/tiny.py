"""Small things that the tests of agents/ build on: toy games, tiny networks, specs of every kind."""

from __future__ import annotations

from pathlib import Path

import torch

from agents.network import MultiGameNetwork, NetworkConfig
from envs import registry
from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, cell_keys

GAMES = Path(__file__).parents[1] / "games"


def toy(name: str) -> Game:
    """A game of tests/games, else of the registry."""
    path = GAMES / f"{name}.py"
    return registry.make(str(path) if path.exists() else name)


def tiny_config(trunk: str = "mlp", **changes) -> NetworkConfig:
    settings = dict(trunk=trunk, width=16, hidden=32, channels=4, latent_grid=3, value_bins=21)
    return NetworkConfig(**{**settings, **changes})


def tiny_network(names: list[str], seed: int = 0, noise: float = 0.3, **changes) -> MultiGameNetwork:
    """A network on the named games, its weights shaken so that no head is zero."""
    network = MultiGameNetwork(tiny_config(**changes), [toy(name).spec for name in names], seed=seed)
    return shaken(network, noise)


def shaken(network: MultiGameNetwork, noise: float = 0.3) -> MultiGameNetwork:
    """The same network, its weights moved at random (heads begin at zero, which would hide mistakes)."""
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * noise * 0.3)
    return network.requires_grad_(True)


def grid(name: str, planes: int, height: int, width: int, board: bool = True, **changes) -> GameSpec:
    settings = dict(
        name=name,
        observation=ObservationSpec(ObservationKind.GRID, (planes, height, width), torch.uint8),
        num_actions=height * width,
        num_players=2,
        zero_sum=True,
        board_planes=board,
        action_keys=cell_keys(height, width),
    )
    return GameSpec(**{**settings, **changes})


def vector(name: str, size: int, actions: int, **changes) -> GameSpec:
    return GameSpec(
        name=name, observation=ObservationSpec(ObservationKind.VECTOR, (size,)), num_actions=actions, **changes
    )


def pixels(name: str, channels: int, side: int, actions: int, **changes) -> GameSpec:
    shape = ObservationSpec(ObservationKind.PIXELS, (channels, side, side), torch.uint8)
    return GameSpec(name=name, observation=shape, num_actions=actions, **changes)


def observations(spec: GameSpec, batch: int, generator: torch.Generator) -> torch.Tensor:
    """[B, *shape] random observations of the spec's type."""
    shape = (batch, *spec.observation.shape)
    if spec.observation.dtype == torch.uint8:
        high = 256 if spec.observation.kind == ObservationKind.PIXELS else 2
        return torch.randint(high, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator)
