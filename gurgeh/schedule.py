"""When games join: at given updates, or when the newest one has settled."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from agents.bounds import at_least, at_most


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How long a run is and when its games join. Games join in the order of `games`; the first is there at once."""

    updates: int = 10_000
    """Optimiser updates of the whole run."""
    rule: Literal["at", "settled"] = "at"
    """at: games join at the updates in `at`. settled: a game joins when the loss of the last one no longer falls."""
    at: list[int] = dataclasses.field(default_factory=list)
    """Rule at: the update at which the second, third ... game joins; games left over join with the one before
    them. Empty: all games are there from the beginning."""
    window: int = 500
    """Rule settled: updates over which losses are averaged; two windows in a row are compared."""
    tolerance: float = 0.02
    """Rule settled: a relative fall of the loss below this counts as none."""
    longest: int = 10_000
    """Rule settled: the next game joins after this many updates at the latest."""
    stop_after_met: int = 0
    """The run ends when this many short evaluations in a row have met all `goals`; 0: it makes all its updates."""

    def __post_init__(self) -> None:
        at_least("schedule", self, updates=1, stop_after_met=0, window=1, longest=1, tolerance=0)
        at_most("schedule", self, tolerance=1)
        if list(self.at) != sorted(self.at) or any(update < 0 for update in self.at):
            raise ValueError(f"schedule.at must rise from 0 on, found {list(self.at)}")


class Schedule:
    """Which games have joined, and which are due."""

    def __init__(self, config: ScheduleConfig, games: list[str]):
        """games: registry names in order of introduction."""
        if len(config.at) >= len(games) > 0 and config.rule == "at" and config.at:
            raise ValueError(
                f"schedule.at has {len(config.at)} updates for {len(games)} games; the first game needs none, so give "
                f"at most {len(games) - 1}"
            )
        self.config, self.games = config, list(games)
        self.joined: list[tuple[str, int]] = []
        self._window = [0.0, 0]  # sum and count of the newest game's losses in the present window
        self._previous: float | None = None
        self._settled = False

    def due(self, update: int) -> list[str]:
        """Games that join now, before update number `update` + 1 is made."""
        waiting = self.games[len(self.joined) :]
        if not waiting:
            return []
        if not self.joined:
            return waiting if self.config.rule == "at" and not self.config.at else waiting[:1] + self._timed(1, update)
        if self.config.rule == "at":
            return self._timed(len(self.joined), update)
        late = update - self.joined[-1][1] >= self.config.longest
        return waiting[:1] if self._settled or late else []

    def _timed(self, first: int, update: int) -> list[str]:
        if self.config.rule != "at":
            return []
        due = []
        for number in range(first, len(self.games)):
            # Entry i of `at` is the time of game i + 1; games without an entry were asked for later (--add-game).
            time = self.config.at[number - 1] if number <= len(self.config.at) else update
            if time > update:
                break
            due.append(self.games[number])
        return due

    def join(self, game: str, update: int) -> None:
        """Note that `game` has joined."""
        self.joined.append((game, update))
        self._window, self._previous, self._settled = [0.0, 0], None, False

    def observe(self, loss: float) -> None:
        """The newest game's training loss of one update."""
        if self.config.rule != "settled" or len(self.joined) == len(self.games):
            return
        self._window[0] += loss
        self._window[1] += 1
        if self._window[1] == self.config.window:
            mean = self._window[0] / self._window[1]
            if self._previous is not None:
                fall = self.config.tolerance * (1 if self._previous > 0 else -1)  # losses of densities may be negative
                self._settled |= mean > self._previous * (1 - fall)
            self._previous, self._window = mean, [0.0, 0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "joined": [list(entry) for entry in self.joined],
            "window": self._window,
            "previous": self._previous,
            "settled": self._settled,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        joined = [(str(game), int(update)) for game, update in state["joined"]]
        names = [game for game, _ in joined]
        if names != self.games[: len(names)]:
            raise ValueError(
                f"the run already plays {', '.join(names)}, so `games` must begin with them in this order; found "
                f"{', '.join(self.games)}: to add one use --add-game"
            )
        self.joined = joined
        self._window, self._previous, self._settled = list(state["window"]), state["previous"], state["settled"]
