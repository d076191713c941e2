"""A run of three games made by the real monitor on a network made by hand: from update 100 on a game and its
isomorphic twin are read along the same directions, need the same units and the same gradient; the scrambled twin
shares nothing."""

from pathlib import Path

import numpy as np

from gurgeh.rundir import RunDirectory
from monitor import Measure, Monitor, MonitorConfig
from monitor.pair_cause import Ablated, Gradients, Lookahead
from monitor.pairs import SCRAMBLED, TWIN, SharingMeasure

ROWS, WIDTH, UNITS, SIZE = 96, 20, 40, 60
GAME, TWINNED, SCRAMBLE = "nim", "twin:1:nim", "scrambled:1:nim"
GAMES = (GAME, TWINNED, SCRAMBLE)
FROM = 100
CONFIG = MonitorConfig(
    set_size=ROWS, medium_size=ROWS, small_size=32, sharing_size=ROWS, cause_size=64, ablation_units=UNITS
)


class Planted:
    """twin: whether the second game is the first one's twin; without, no two games share anything or have a ceiling."""

    def __init__(self, twin: bool):
        self.twin, self.update = twin, 0
        self.generator = np.random.default_rng(3)
        self.parts = {game: self.draw() for game in GAMES}
        self.blank = [{game: self.generator.normal(size=(6, WIDTH)) for game in GAMES} for _ in range(3)]
        self.factors = {game: self.generator.normal(size=(ROWS, 6)) for game in GAMES}
        self.factors[TWINNED] = self.factors[GAME] if twin else self.factors[TWINNED]

    def draw(self):
        """(mixing [6, D], which units are needed [U], gradient [P])."""
        gradient = self.generator.normal(size=SIZE)
        mixing = self.generator.normal(size=(6, WIDTH)) * 0.8 ** np.arange(6)[:, None]
        return mixing, np.exp(self.generator.normal(size=UNITS)), gradient / np.linalg.norm(gradient)

    def part(self, game):
        return self.parts[GAME if self.twin and game == TWINNED and self.update >= FROM else game]

    def latents(self, game, size):
        generator = np.random.default_rng([self.update, *game.encode()])
        clean = self.factors[game] @ self.part(game)[0]
        return (clean + 0.1 * generator.normal(size=clean.shape))[:size]

    def ablated(self, game, size, groups, shuffles, seed):
        generator = np.random.default_rng(seed)
        base = generator.random(64)
        rise = np.array([self.part(game)[1][list(group)].sum() for group in groups])
        noise = 0.3 * generator.normal(size=(len(groups), 64))
        generic = generator.normal(size=(shuffles, len(groups), 1)) * 0.1
        losses = base + rise[:, None] + noise
        return Ablated(base, losses, np.tile(base, (shuffles, 1)), base + generic + 0 * noise, np.ones(UNITS))

    def lookahead(self, game, targets, size, blocks, shuffles, seed):
        generator = np.random.default_rng(seed)
        others = generator.normal(size=(shuffles, SIZE))
        steps = np.concatenate([self.part(game)[2][None], others / np.linalg.norm(others, axis=1, keepdims=True)])
        noisy = steps[0] + 0.5 / np.sqrt(SIZE) * generator.normal(size=(blocks, SIZE))
        found = {}
        for target in targets:
            before = 1 + generator.random(64)
            gains = 0.1 * steps @ self.part(target)[2]
            after = before * (1 - gains[:, None] + 0.005 * generator.normal(size=(1 + shuffles, 64)))
            found[target] = Lookahead(before, after[0], after[1:])
        return Gradients(noisy, steps[1:]), found

    def relation(self, game, other):
        if not self.twin:
            return "none"
        return SCRAMBLED if SCRAMBLE in (game, other) else TWIN

    def paired(self, game, other, size, number):
        if self.relation(game, other) != TWIN:
            return None
        mixing = self.part(other)[0] if number is None else self.blank[number][other]
        return self.factors[game] @ mixing

    def measure(self):
        raw = {game: self.generator.normal(size=(ROWS, WIDTH)) for game in GAMES}
        sharing = SharingMeasure(
            relation=self.relation,
            labels=lambda game, size: {"value": self.factors[game][:, 0], "moves_to_end": self.factors[game][:, 1]},
            inputs=lambda game, size: raw[game],
            same_inputs=lambda game, other: True,
            untrained=lambda game, size, number: self.factors[game] @ self.blank[number][game],
            paired=self.paired,
            num_units=lambda: UNITS,
            ablated=self.ablated,
            lookahead=self.lookahead,
            gradients=lambda game, *numbers: self.lookahead(game, [], *numbers)[0],
        )
        return Measure(
            lambda game, size: {"reward@1": np.full(min(size, ROWS), 1 / (1 + self.update / 60))},
            lambda game, size: np.zeros(min(size, ROWS), int),
            self.latents,
            None,
            sharing,
        )


def make_sharing_run(path: Path, twin: bool = True, last: int = 520, seed: int = 1) -> Path:
    """A run at `path` with records of sharing; returns `path`."""
    with RunDirectory.create(path, {"seed": seed, "games": list(GAMES)}) as run:
        monitor = Monitor(CONFIG, run.append, path.name, seed, {"code": "0.1.0", "config": "0" * 64})
        planted = Planted(twin)
        measure = planted.measure()
        for game in GAMES:
            monitor.introduce(game, 0, 0, "f" * 64)
        for update in range(last + 1):
            planted.update = update
            monitor.observe(update, update, measure)
        monitor.finish(last, last, measure)
    return path
