"""The placebo of a native game, `placebo:GAME`: the very same game under another name, the control of sudden falls.

Introduced while a network already plays the original it brings nothing to learn: planes, actions, rules, chance and
symmetries are the original's, and so are the keys of its actions, so that the network shares their embeddings. What is
its own is what every game has of its own: a game embedding and, for planes other than "mine" and "theirs", vectors and
pixels, the weights that read them. In a game whose planes are only those two (tic-tac-toe, Connect Four, `mnk`) the
placebo therefore looks to the network like the original but for the embedding.
"""

from __future__ import annotations

import copy
import dataclasses

from envs import registry
from envs.game import NativeGame

FAMILY = "placebo"
SYNTAX = "placebo:GAME with the name of a native game, as in placebo:connect_four"
EXAMPLES = ("placebo:tictactoe",)


def make(settings: str) -> NativeGame:
    """`placebo:GAME`. ValueError where the game is not known, has no native rules, or has commands that vary."""
    if not settings:
        raise ValueError("the game is missing")
    original = registry.make(settings)
    if original.native is None:
        raise ValueError(f"{settings} is a wrapped environment; only games with native rules have placebos")
    spec = original.spec
    if spec.action_tokens:
        raise ValueError(f"{settings} has commands that vary; it has no placebo")
    rules = copy.copy(original.native)
    rules.spec = dataclasses.replace(
        spec, name=f"{FAMILY}:{spec.name}", action_keys=spec.keys(), twin_of=spec.twin_of or spec.name
    )
    return rules
