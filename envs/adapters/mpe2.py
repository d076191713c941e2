"""Multi-particle environments, once PettingZoo's own (`pip install 'gurgeh[mpe]'`): `mpe2/simple_spread_v3`.

Agents move at once: they commit in turn and see nothing of the others' moves until all have. Observations and actions
of agents that have fewer than others are filled up; the seat is shown (envs/aec.py). Discrete actions, as is the
default.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path

from envs.aec import AecEnvironment, describe
from envs.game import Game, GameSpec, installed

PACKAGE = ("mpe2", "mpe2", "mpe")  # module, distribution, extra


def names() -> list[str]:
    """Every environment of the package; nothing when it is missing."""
    return [f"mpe2/{name}" for name in _ids()]


def make(rest: str) -> Game:
    """ID, such as simple_tag_v3."""
    installed(*PACKAGE)
    if rest not in _ids():
        from envs.registry import unknown

        raise ValueError(unknown(f"mpe2/{rest}", names()))
    maker = importlib.import_module(f"mpe2.{rest}").raw_env
    made = maker()
    view = describe(made, f"mpe2/{rest}", seats=True)
    spec = GameSpec(
        name=f"mpe2/{rest}",
        observation=view.observation,
        num_actions=view.num_actions,
        num_players=len(made.possible_agents),
        perfect_information=False,  # moves are simultaneous
        max_length=made.unwrapped.max_cycles * len(made.possible_agents),
        family="mpe",
    )
    made.close()
    return Game(spec.name, spec, functools.partial(AecEnvironment, spec, maker, view))


@functools.cache
def _ids() -> tuple[str, ...]:
    """Read from the package's folder, without importing it."""
    package = importlib.util.find_spec("mpe2")
    if package is None or package.origin is None:
        return ()
    return tuple(sorted(file.stem for file in Path(package.origin).parent.glob("*_v*.py")))
