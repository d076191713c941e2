"""The monitor in a training loop: it measures what is due and emits records; it never changes training."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor import cadence, health, ledger
from monitor.config import MonitorConfig
from monitor.events import EventFold
from monitor.pairs import PairMeasures, SharingMeasure
from monitor.records import HEALTH, LEDGER, LOSS, SHARING, STREAMS, validate
from monitor.series import STRATA, named_series, plain, summaries


@dataclasses.dataclass(frozen=True)
class Measure:
    """How the monitor reaches the network: each function measures the EMA weights on the first `size` frozen
    positions of a game, N of them, and leaves weights, modes and random state as they were."""

    losses: Callable[[str, int], Mapping[str, np.ndarray]]  # (game, size) -> "head@k" -> [N] nats; NaN: no target
    phase: Callable[[str, int], np.ndarray]  # (game, size) -> [N] int: 0 opening, 1 middle, 2 end
    latents: Callable[[str, int], np.ndarray] | None = None  # (game, size) -> [N, L * D]
    activations: Callable[[str, int], Mapping[str, np.ndarray]] | None = None  # (game, size) -> layer -> [N, units]
    sharing: SharingMeasure | None = None  # how two games are compared; needs latents
    moment: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    """All measurements of one update are made inside: the weights stay as they are, and the loop may keep what several
    of them need."""
    losses_together: Callable[[Sequence[str], int], Mapping[str, Mapping[str, np.ndarray]]] | None = None
    """(games, size) -> `losses` of each, where measuring them in one pass is cheaper; equal up to rounding."""


class Monitor:
    """Frozen losses, rank, dormancy, sharing, ledger and events of one run.

    Every method takes the run's count of optimiser updates, which never falls. The loop calls, in this order,
    `introduce` for a new game, `settings` with what it trains with, and `observe` after every update (and after an
    introduction before the next update), and `finish` at the end.
    """

    def __init__(
        self,
        config: MonitorConfig,
        emit: Callable[[str, dict[str, Any]], None],
        run: str,
        seed: int,
        versions: Mapping[str, Any] | None = None,
    ):
        """emit(stream, record) writes a record; streams: monitor, ledger, events. versions: {"code", "config"}."""
        self.config, self._emit_line, self.run, self.seed = config, emit, run, seed
        self.versions = {"code": None, "config": None} | dict(versions or {})
        self._fold = EventFold()
        self._pairs = PairMeasures(config, seed)
        self._seq = 0
        self._observed = -1  # the last update at which something was measured
        self._next: int | None = None  # the first update after it at which something may be due, once worked out
        self._games: dict[str, dict[str, Any]] = {}  # game -> {"update", "frozen_set", "targets"}, in order
        self._pending = False  # an introduction waits for its measurement
        self._finished = -1
        self._reference: dict[str, dict[str, list[float | None]]] = {}  # game -> series -> [small] at the introduction
        self._settings: dict[str, Any] = {}
        self._peak_rate = 0.0

    def introduce(
        self, game: str, update: int, env_steps: int, frozen_hash: str, targets: str = "none", note: str = ""
    ) -> None:
        """A game joins the run at `update`; `observe` at the same update must follow before training goes on.

        frozen_hash: of its frozen validation set. targets: where its policy and value targets come from ("solver",
        the name of a teacher, "none"). Raises ValueError for a game that was introduced before.
        """
        if not self.config.enabled:
            return
        if game in self._games:
            raise ValueError(f"the monitor already has {game!r}, introduced at update {self._games[game]['update']}")
        if not self._games:
            settings = {"config": dataclasses.asdict(self.config), "versions": self.versions}
            self.ledger("start", update, env_steps, after=settings)
        self._games[game] = {"update": update, "frozen_set": frozen_hash, "targets": targets}
        self._next = None
        self.ledger("game_added", update, env_steps, game=game, after={"frozen_set": frozen_hash}, note=note)
        self._pending = True

    def ledger(
        self,
        kind: str,
        update: int,
        env_steps: int,
        game: str | None = None,
        before: Any = None,
        after: Any = None,
        note: str = "",
    ) -> None:
        """Write down a discontinuity; kinds: monitor.ledger.KINDS. before, after: JSON values."""
        if not self.config.enabled:
            return
        record = ledger.entry(kind, update, env_steps, game, before, after, note)
        self._emit(record, counted=kind != "resume")  # a resumed run's other records are as if it had not stopped

    def settings(self, update: int, env_steps: int, **now: Any) -> None:
        """What training uses from this update on; jumps go to the ledger, smooth schedules do not.

        now: any of learning_rate, batch_size, replay_size (capacity), simulations, sampling_weights (game -> weight).
        Raises ValueError for another name.
        """
        if not self.config.enabled:
            return
        unknown = now.keys() - set(ledger.WATCHED)
        if unknown:
            raise ValueError(f"unknown settings {sorted(unknown)}; the ledger watches {', '.join(ledger.WATCHED)}")
        for kind, before, after in ledger.discontinuities(self._settings, now, update, self._peak_rate):
            self.ledger(kind, update, env_steps, before=before, after=after)
        self._settings.update(now)
        self._peak_rate = max(self._peak_rate, now.get("learning_rate", 0.0))

    def observe(self, update: int, env_steps: int, measure: Measure) -> bool:
        """Measure what is due at `update` and emit it; whether anything was measured.

        A game is measured at the checkpoints of the last introduction, and before the first of them at those of its
        own. Raises ValueError where an introduction was followed by training before it was observed.
        """
        if not self.config.enabled or not self._games:
            return False
        latest = next(reversed(self._games))
        if self._pending and update != self._games[latest]["update"]:
            raise ValueError(
                f"{latest!r} was introduced at update {self._games[latest]['update']} but the monitor is first "
                f"asked at update {update}; call observe() right after introduce(), before the next update"
            )
        if not self._pending and update < self._next_due():
            return False
        occasion = "introduction" if self._pending else "checkpoint"
        if self._pending:
            self._pending = False
            self._reference.clear()
        with measure.moment():
            if occasion == "introduction":
                measured = self._measure_all(update, env_steps, measure, occasion)
            else:
                measured = self._measure_due(update, env_steps, measure)
            measured |= self._measure_sharing(update, env_steps, measure, occasion)
        self._observed, self._next = update, None
        return measured

    def _measure_due(self, update: int, env_steps: int, measure: Measure) -> bool:
        """The games whose checkpoint has come: small sets, and medium ones with their health at the sparse ones."""
        sparse = {game: self._due(game, update, self.config.health_points_per_decade) for game in self._games}
        sizes = {
            game: self.config.medium_size if sparse[game] else self.config.small_size
            for game in self._games
            if sparse[game] or self._due(game, update, self.config.loss_points_per_decade)
        }
        losses: dict[str, Mapping[str, np.ndarray]] = {}
        if measure.losses_together is not None:
            for size in dict.fromkeys(sizes.values()):
                losses |= measure.losses_together([game for game in sizes if sizes[game] == size], size)
        for game, size in sizes.items():
            found = losses[game] if game in losses else measure.losses(game, size)
            self._take_losses(game, update, env_steps, found, measure.phase(game, size), "checkpoint", size)
            if sparse[game]:
                self._measure_health(game, update, env_steps, measure, "checkpoint")
        return bool(sizes)

    def _measure_all(self, update: int, env_steps: int, measure: Measure, occasion: str) -> bool:
        """Every game on its full set."""
        for game in self._games:
            size = self.config.set_size
            losses, phase = measure.losses(game, size), measure.phase(game, size)
            self._take_losses(game, update, env_steps, losses, phase, occasion, size)
            self._measure_health(game, update, env_steps, measure, occasion)
        return True

    def finish(self, update: int, env_steps: int, measure: Measure) -> None:
        """The last measurement of every game, on the full sets; once for an update, however often it is called."""
        if not self.config.enabled or not self._games or self._finished == update:
            return
        self._finished = update
        with measure.moment():
            self._measure_all(update, env_steps, measure, "end")
            self._measure_sharing(update, env_steps, measure, "end")

    def state_dict(self) -> dict[str, Any]:
        """A JSON value; `load_state_dict` of it continues with identical records."""
        state = {
            "config": dataclasses.asdict(self.config), "fold": self._fold.state_dict(), "seq": self._seq,
            "observed": self._observed, "games": list(self._games.items()), "pending": self._pending,
            "finished": self._finished, "reference": self._reference, "settings": self._settings,
            "peak_rate": self._peak_rate,
        }  # fmt: skip
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any], update: int = 0, env_steps: int = 0) -> None:
        """Continue from `state_dict()`; a changed configuration is entered in the ledger at `update`."""
        state = copy.deepcopy(state)
        self._fold.load_state_dict(state["fold"])
        self._seq, self._observed, self._games = state["seq"], state["observed"], dict(state["games"])
        self._pending, self._finished = state["pending"], state["finished"]
        self._reference, self._settings = state["reference"], state["settings"]
        self._peak_rate, self._next = state["peak_rate"], None
        now = dataclasses.asdict(self.config)
        if now != state["config"] and self._games:
            after = {"config": now, "versions": self.versions}
            self.ledger("monitor_config", update, env_steps, before={"config": state["config"]}, after=after)

    def _clocks(self, game: str, update: int) -> set[int]:
        """The introductions whose checkpoints a game is measured at, as updates: the latest one's, which are closer
        together than its own ever are, and until the first of them its own."""
        own, latest = self._games[game]["update"], self._latest()
        return {own} if update < latest + self.config.s_min else {latest}

    def _due(self, game: str, update: int, points: int) -> bool:
        return any(
            cadence.due(self._observed - start, update - start, self.config.s_min, points)
            for start in self._clocks(game, update)
        )

    def _next_due(self) -> int:
        """The first update after the last one observed at which something may be due."""
        if self._next is not None:
            return self._next
        config, latest = self.config, self._latest()
        cadences = {
            config.loss_points_per_decade, config.health_points_per_decade, config.sharing_points_per_decade,
            config.cause_points_per_decade,
        }  # fmt: skip
        self._next = found = min(
            start + cadence.following(self._observed - start, config.s_min, points)
            for start in {game["update"] for game in self._games.values()}
            for points in cadences
            if start == latest or self._observed < latest + config.s_min
        )
        return found

    def _latest(self) -> int:
        """The update of the latest introduction."""
        return self._games[next(reversed(self._games))]["update"]

    def _header(self, game: str, update: int, env_steps: int, occasion: str, subset: str, positions: int) -> dict:
        latest = next(reversed(self._games))
        return {
            "update": update, "env_steps": env_steps, "game": game, "occasion": occasion, "subset": subset,
            "positions": positions, "since": update - self._games[game]["update"], "latest": latest,
            "since_latest": update - self._games[latest]["update"], "frozen_set": self._games[game]["frozen_set"],
        }  # fmt: skip

    def _take_losses(
        self, game: str, update: int, env_steps: int, losses: Mapping[str, np.ndarray], phase: np.ndarray,
        occasion: str, size: int,
    ) -> None:  # fmt: skip
        """Losses measured on `size` positions: a record for them and each nested subset."""
        series, phase = named_series(losses), np.asarray(phase)
        if occasion == "introduction":
            small = self.config.small_size
            self._reference[game] = {name: [plain(x) for x in values[:small]] for name, values in series.items()}
        subsets = {
            "full": self.config.set_size, "medium": self.config.medium_size, "small": self.config.small_size
        }  # fmt: skip
        for subset, count in subsets.items():
            if count > size or (subset == "medium" and occasion != "checkpoint"):
                continue
            shown = self._statistics(game, {name: row[:count] for name, row in series.items()}, phase[:count], subset)
            header = self._header(game, update, env_steps, occasion, subset, min(count, len(phase)))
            self._emit({"schema": LOSS, **header, "targets": self._games[game]["targets"], "losses": shown})

    def _statistics(
        self, game: str, series: Mapping[str, np.ndarray], phase: np.ndarray, subset: str
    ) -> dict[str, dict[str, Any]]:
        """Mean and error of each of `series` [N], by stratum, and (small subset) the paired change since the
        introduction."""
        if not series:
            return {}
        values = np.stack(list(series.values()))
        if values.shape[1:] != phase.shape:
            raise ValueError(
                f"{game}: {values.shape[1]} losses for {len(phase)} phases; measure both on the same positions"
            )
        groups = np.stack([np.ones(len(phase), bool), *(phase == index for index in range(len(STRATA)))])
        found = {
            name: every | {"strata": dict(zip(STRATA, strata, strict=True)), "change": None}
            for name, (every, *strata) in zip(series, summaries(values, groups), strict=True)
        }
        before = self._reference.get(game, {}) if subset == "small" else {}
        changed = [name for name in series if name in before]
        if changed:
            rows = np.stack([series[name] - np.array(before[name], np.float64) for name in changed])
            for name, (change,) in zip(changed, summaries(rows, groups[:1]), strict=True):
                found[name]["change"] = change
        return found

    def _measure_health(self, game: str, update: int, env_steps: int, measure: Measure, occasion: str) -> None:
        """Rank, norm and dormancy on the medium subset; None for what the loop does not offer."""
        size, tau = self.config.medium_size, self.config.dormant_tau
        if measure.latents is None and measure.activations is None:
            return
        rank = centred = norm = dormant = None
        positions, layers = size, {}
        if measure.latents is not None:
            latents = np.asarray(measure.latents(game, size), np.float64)
            positions = len(latents)
            if np.isfinite(latents).all():
                rank = plain(health.effective_rank(latents))
                centred = plain(health.effective_rank(latents - latents.mean(0)))
                norm = plain(health.latent_norm(latents))
        if measure.activations is not None:
            total, shares = health.dormant_ratio(dict(measure.activations(game, size)), tau)
            dormant = None if total is None else plain(total)
            layers = {name: plain(share) for name, share in shares.items()}
        header = self._header(game, update, env_steps, occasion, "medium", positions)
        self._emit({
            "schema": HEALTH, **header, "effective_rank": rank, "effective_rank_centred": centred, "dormant": dormant,
            "layers": layers, "latent_norm": norm,
        })  # fmt: skip

    def _measure_sharing(self, update: int, env_steps: int, measure: Measure, occasion: str) -> bool:
        """All pairs of games at the checkpoints of the latest introduction, at introductions and at the end; whether
        anything was measured. After the health of the same update, on which claims depend."""
        if not self.config.sharing or measure.sharing is None or measure.latents is None or len(self._games) < 2:
            return False
        latest = next(reversed(self._games))
        start = self._games[latest]["update"]
        geometry, cause = (
            occasion != "checkpoint" or cadence.due(self._observed - start, update - start, self.config.s_min, points)
            for points in (self.config.sharing_points_per_decade, self.config.cause_points_per_decade)
        )
        if not geometry and not cause:
            return False
        bodies = self._pairs.measure(update, list(self._games), measure.latents, measure.sharing, geometry, cause)
        for body in bodies:
            sets = [self._games[body[side]]["frozen_set"] for side in ("game", "other_game")]
            header = self._header(body["other_game"], update, env_steps, occasion, "", 0)
            of_latents = body["measure"] in ("probe", "subspace", "cka")
            size = self.config.sharing_size if of_latents else self.config.cause_size
            size = min(len(measure.phase(body[side], size)) for side in ("game", "other_game"))  # a game may have fewer
            for field in ("game", "subset", "frozen_set"):
                del header[field]
            family = len({(other["game"], other["other_game"]) for other in bodies})
            self._emit({"schema": SHARING, **header, **body, "positions": size, "frozen_sets": sets, "family": family})
        return True

    def _emit(self, record: dict[str, Any], counted: bool = True) -> None:
        """Number, check and write a record, then the events that it confirms."""
        record = {"schema": record["schema"], "run": self.run, "seed": self.seed, "seq": self._seq} | record
        self._seq += counted
        validate(record, numbers=record["schema"] != LOSS)  # the statistics of losses are all `plain`
        self._emit_line(STREAMS[record["schema"]], record)
        if record["schema"] == LEDGER and record["kind"] == "resume":
            return
        for event in self._fold.take(record):
            validate(event)
            self._emit_line(STREAMS[event["schema"]], event)
