"""First weights of a network of one game, taken from a network that other games trained.

What games share is taken over: trunk, heads, the encoder of the game's kind of observation, the rows of actions whose
keys the other network knows. What is the game's own (planes or a first layer, new actions, a box of actions) begins as
always; its embedding begins as the mean of those of the other network's games, which says "some game" without noise.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from agents.encoders import BOARD_PLANES, GridEncoder, PixelEncoder, PlaceReadout, VectorEncoder
from agents.network import ACTION_BLOCK, CORE_PLAYERS, MultiGameNetwork, num_values
from envs.game import GameSpec, ObservationKind

_OWN = re.compile(r"game_embedding\.|boxes\.|encoders\.by_kind\.[^.]+\.(own_weight|first|center_|spread_)")
_BY_ACTION = re.compile(r"core\.(weight|bias)$|policy_blocks\.|action_blocks\.")


@torch.no_grad()
def transplant_(target: MultiGameNetwork, source: MultiGameNetwork) -> None:
    """Overwrite what `target` shares with the games of `source`. Optimisers and gradients are not touched.

    ValueError where the networks are of different kinds or sizes, or `source` knows no game.
    """
    check_same_network(target, source)
    shared = target.config.shared_encoders
    there = dict(source.named_parameters())
    for name, weights in target.named_parameters():
        own = _OWN.match(name) or (not shared and name.startswith(("encoders.", "command_encoders.")))
        if not own and not _BY_ACTION.match(name) and name in there:
            weights.copy_(there[name])
    scalars = slice(ACTION_BLOCK, None)  # of the core: all but the rows of actions
    target.core.weight[scalars], target.core.bias[scalars] = source.core.weight[scalars], source.core.bias[scalars]
    for key, row in target.action_index.items():
        if key in source.action_index:
            for mine, theirs in zip(_action_rows(target, row), _action_rows(source, source.action_index[key])):
                mine.copy_(theirs)
    mean = torch.stack(list(source.game_embedding)).mean(0)
    for embedding in target.game_embedding:
        embedding.copy_(mean)


def check_same_network(target: MultiGameNetwork, source: MultiGameNetwork) -> None:
    """ValueError saying what differs unless weights can be taken over."""
    if target.config != source.config:
        mine, theirs = vars(target.config), vars(source.config)
        other = [f"network.{name}={theirs[name]} and not {mine[name]}" for name in mine if mine[name] != theirs[name]]
        raise ValueError(f"weights can only be taken from a network of the same kind: the other has {', '.join(other)}")
    if not source.specs:
        raise ValueError("weights can only be taken from a network that has learnt a game; this one has none")


def _action_rows(network: MultiGameNetwork, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of an action's embedding [condition width], policy weights [H] and policy bias []."""
    head: nn.Module = network.core
    for place, block in enumerate(network.action_blocks):
        if row < len(block):
            head = network.core if place == 0 else network.policy_blocks[place - 1]
            weight, bias = head.weight, head.bias
            assert isinstance(weight, Tensor), "heads have weights"
            assert isinstance(bias, Tensor), "and biases"
            return block[row], weight[row], bias[row]
        row -= len(block)
    raise AssertionError(f"row {row} lies behind the last block of actions")


def undefined_zero_shot(source: MultiGameNetwork, spec: GameSpec) -> str | None:
    """Why a game cannot be played with weights that never saw it; None where it can: its encoder, its actions and the
    heads that it needs were all trained by other games."""
    if not source.config.shared_encoders:
        return "every game has an encoder and actions of its own (network.shared_encoders=false)"
    kind = str(spec.observation.kind)
    if kind not in source.encoders.by_kind:
        return f"no game that was trained shows observations of its kind ({kind})"
    encoder = source.encoders.by_kind[kind]
    if isinstance(encoder, VectorEncoder | PixelEncoder):
        return f"its encoder's first layer is its own, as for every game with observations of kind {kind}"
    if isinstance(encoder, GridEncoder):
        planes, height, width = spec.observation.shape
        own = planes - BOARD_PLANES if spec.board_planes else planes
        if own:
            return f"{own} of its {planes} planes are its own and were never trained"
        grids = [other.observation for other in source.specs if other.observation.kind is ObservationKind.GRID]
        boards = [grid.shape[-2:] for grid in grids]
        if isinstance(encoder.readout, PlaceReadout):
            new = sum(
                not any(row < tall and column < wide for tall, wide in boards)
                for row in range(height)
                for column in range(width)
            )
            if new:
                return f"{new} of its {height * width} cells lie outside every board that was trained"
    if spec.action_tokens and "shared" not in source.command_encoders:
        return "its actions are commands that vary, and no game that was trained has such"
    if spec.box is not None:
        return "its actions are continuous: what is said of them and the head of their policy are its own"
    keys = () if spec.action_tokens else spec.keys()
    unknown = [key for key in keys if key not in source.action_index]
    if unknown:
        return f"{len(unknown)} of its {spec.num_actions} actions were never trained ({unknown[0]} ...)"
    if num_values(spec) > 1 and str(num_values(spec)) not in source.value_heads:
        return f"no game that was trained has {num_values(spec)} values"
    if spec.num_players > CORE_PLAYERS and str(spec.num_players) not in source.mover_heads:
        return f"no game that was trained has {spec.num_players} players"
    return None
