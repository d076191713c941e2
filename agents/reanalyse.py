"""Reanalysis: search stored positions again with the present network (Schrittwieser et al. 2021)."""

from __future__ import annotations

import torch

from agents.acting import Query, SearchConfig, ValueScales
from agents.alphazero import States, search_games
from agents.network import MultiGameNetwork, pad_last
from agents.replay import ReplayBuffer


def reanalyse_(
    network: MultiGameNetwork,
    buffers: dict[str, ReplayBuffer],
    scales: ValueScales,
    config: SearchConfig,
    count: int,
    generator: torch.Generator,
) -> None:
    """Search `count` stored positions of each game, all in one batch, and overwrite their policy and value."""
    widest = network.tables.exists.shape[1]
    places = {name: buffer.draw_positions(count, generator) for name, buffer in buffers.items()}
    stored = {name: buffers[name].read(index) for name, index in places.items()}
    rules = {name: buffers[name].rules for name in places}
    query = Query(
        legal=torch.cat([pad_last(legal, widest) for _, legal, _ in stored.values()]),
        to_play=torch.cat([to_play for _, _, to_play in stored.values()]),
        seed=torch.randint(2**62, (count * len(places),), generator=generator),
        value_scale=torch.cat([torch.full((count,), scales[name]) for name in places]),
        config=config,
        num_simulations=config.simulations,
        greedy=False,
    )
    observations = [(name, observation) for name, (observation, _, _) in stored.items()]
    exact = {name: States(known, buffers[name].states(places[name])) for name, known in rules.items() if known}
    result = search_games(network, observations, exact, query)
    for number, (name, index) in enumerate(places.items()):
        rows, spec = slice(number * count, (number + 1) * count), buffers[name].spec
        samples = result.samples.get(name)
        choices = spec.num_actions if samples is None else samples.shape[1]
        policy, value = result.policy_target[rows, :choices], result.root_value[rows, : spec.num_players]
        buffers[name].write_(index, policy, value, samples)
