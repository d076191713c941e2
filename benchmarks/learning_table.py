"""The experiments of benchmarks/learning.py: one table, and the ablations made from another.

An experiment says what is trained, what must be reached and how long that may take; everything that it does not name
keeps its default.
"""

from __future__ import annotations

from benchmarks.learning_rules import Experiment, at_end, kept, reached, scored, solved

MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
LARGER = ("network.width=128", "network.hidden=256", "network.channels=32", "network.encoder_blocks=1")
BOARDS = ("hex:3", "hex:4", "mnk:4x4x3", "mnk:3x3x3:gravity", "mnk:4x4x3:gravity")


def _every(updates: int, episodes: int = 100) -> tuple[str, str]:
    return f"logging.evaluate_every_updates={updates}", f"logging.evaluate_episodes={episodes}"


def _board(name: str, seconds: float, updates: int, seeds: int, need: int) -> Experiment:
    return Experiment(
        name, (name,), (f"{name} optimal >= 1",), solved, seeds=seeds, need=need, limit=seconds, running=1, stop=True,
        updates=updates, settings=_every(200),
    )  # fmt: skip


TARGETS = (
    _board("tictactoe", 120, 10_000, seeds=10, need=9),
    *(_board(name, 600, 30_000, seeds=3, need=3) for name in BOARDS),
    Experiment(  # LightZero's own rule: its CartPole ends at 200 moves, its evaluation has 3 episodes
        "cartpole", ("CartPole-v0",), ("CartPole-v0 return >= 200",), reached, limit=30, running=2, stop=True,
        updates=10_000, settings=_every(25, 3),
    ),
    Experiment(
        "cartpole-v1", ("CartPole-v1",), ("CartPole-v1 return >= 475",), reached, limit=120, stop=True,
        updates=20_000, settings=_every(100),
    ),
    Experiment(
        "cartpole-v1:kept", ("CartPole-v1",), ("CartPole-v1 return >= 475",), kept, limit=120, after=300,
        updates=100_000, settings=_every(500),
    ),
    Experiment(
        "acrobot", ("Acrobot-v1",), ("Acrobot-v1 return >= -100",), reached, limit=300, stop=True, updates=30_000,
        settings=_every(200), seeds=3, need=3,
    ),
    Experiment(
        "mountaincar", ("MountainCar-v0",), ("MountainCar-v0 return >= -110",), reached, limit=600, stop=True,
        updates=60_000, settings=_every(500), seeds=3, need=3,
    ),
    Experiment(
        "mountaincar:curious", ("MountainCar-v0",), ("MountainCar-v0 return >= -110",), reached, limit=600, stop=True,
        updates=60_000, settings=(*_every(500), "intrinsic.weight.MountainCar-v0=100"), seeds=3, need=3,
    ),
    Experiment(
        "lunarlander", ("LunarLander-v3",), ("LunarLander-v3 return >= 200",), reached, limit=1200, stop=True,
        updates=100_000, settings=_every(1000, 50), seeds=3, need=3,
    ),
    Experiment(  # continuous actions; a good policy loses about 150
        "pendulum", ("Pendulum-v1",), ("Pendulum-v1 return >= -200",), at_end, limit=600, updates=5_000,
        settings=_every(500, 20), seeds=3, need=3,
    ),
    Experiment(
        "connect_four", ("connect_four",), ("connect_four win against tactician2 >= 0.95",), at_end, limit=600,
        updates=12_000, settings=_every(500, 200), seeds=3, need=3, episodes=1000,
    ),
    *(
        Experiment(  # what Connect Four gains by a larger network, and by its rules in the search
            f"connect_four:{name}", ("connect_four",), ("connect_four win against tactician2 >= 0.95",), at_end,
            limit=600, updates=10_000, seeds=3, need=3, episodes=1000,
            settings=(*_every(2500, 200), *LARGER, "evaluation.simulations=64", *settings),
        )
        for name, settings in (("larger", ()), ("rules", ("search.model=rules", "learner.unroll=0")))
    ),
    Experiment(
        "breakout", ("minatar/breakout",), ("minatar/breakout return >= 7",), at_end, limit=300, env_steps=60_000,
        settings=_every(250, 30), seeds=3, need=3,
    ),
    *(
        Experiment(
            f"minatar:{name}", (f"minatar/{name}",), (), scored, limit=900, updates=5_000, settings=_every(500, 30),
            seeds=3, need=3,
        )
        for name in MINATAR
    ),
    Experiment(  # the same updates, and so the same positions and steps of each game
        "minatar:joint", tuple(f"minatar/{name}" for name in MINATAR), (), scored, limit=3600, updates=5_000,
        settings=_every(500, 30), seeds=3, need=3,
    ),
)  # fmt: skip

# What ablations start from: game, updates. About 40 s a run on one core.
ABLATED = (
    ("tictactoe", "tictactoe", 2_500),
    ("cartpole", "CartPole-v1", 2_500),
    ("breakout", "minatar/breakout", 2_500),
)
FACTORS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    **{f"gumbel-{n}": (f"search.simulations={n}",) for n in (2, 4, 8, 16, 50)},
    **{f"puct-{n}": ("search.policy=puct", f"search.simulations={n}") for n in (2, 4, 8, 16, 50)},
    "reanalyse-0": ("learner.reanalyse=0",),
    "reanalyse-64": ("learner.reanalyse=64",),
    "consistency-0": ("learner.consistency_loss=0",),
    "consistency-2": ("learner.consistency_loss=2",),
    "priorities-off": ("replay.priority_exponent=0",),
    "priorities-1": ("replay.priority_exponent=1",),
    "n_step-3": ("learner.n_step=3",),
    "n_step-5": ("learner.n_step=5",),
    "n_step-12": ("learner.n_step=12",),
    "n_step-30": ("learner.n_step=30",),
    "search_share-0.5": ("learner.search_share=0.5",),
    "stored-values": ("learner.fresh_values=false",),
    "ema-0": ("learner.ema=0",),
    "ema-0.9": ("learner.ema=0.9",),
    "ema-0.999": ("learner.ema=0.999",),
}
ABLATIONS = tuple(
    Experiment(
        f"ablation:{short}:{factor}", (game,), (), scored, limit=600, updates=updates, seeds=3, need=3,
        settings=(*_every(updates // 5, 30), *settings),
    )
    for short, game, updates in ABLATED
    for factor, settings in FACTORS.items()
)  # fmt: skip
# The unit of Q that searches find for themselves against units set by hand: game, updates, opponents, units.
UNITS = (
    ("tictactoe", "tictactoe", 2_500, (), (0.03, 0.1, 0.3, 1.0)),
    ("cartpole", "CartPole-v1", 2_500, (), (0.3, 1.0, 3.0, 10.0)),
    ("breakout", "minatar/breakout", 2_500, (), (0.1, 0.3, 1.0, 3.0)),
    ("connect_four", "connect_four", 2_500, ("tactician1",), (0.03, 0.1, 0.3, 1.0)),
)
Q_UNITS = tuple(
    Experiment(
        f"q_unit:{short}:{unit or 'automatic'}", (game,), (), scored, limit=600, updates=updates, seeds=3, need=3,
        episodes=200, opponents=opponents,
        settings=(*_every(updates // 5, 30), *((f"search.q_unit.{game}={unit}",) if unit else ())),
    )
    for short, game, updates, opponents, units in UNITS
    for unit in (0, *units)
)  # fmt: skip
SETS = {"targets": TARGETS, "ablations": ABLATIONS, "q_unit": Q_UNITS}
EXPERIMENTS = {experiment.name: experiment for experiment in (*TARGETS, *ABLATIONS, *Q_UNITS)}
