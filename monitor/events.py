"""Events as a fold over the records: the live run and a re-reading of its logs give the same ones."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable
from typing import Any

from monitor.config import MonitorConfig
from monitor.fall_fold import FallFold
from monitor.forgetting import Z95, ForgettingTracker
from monitor.onset import OnsetFold
from monitor.records import EVENT, HEALTH, LEDGER, LOSS, SHARING
from monitor.series import plain


class EventFold:
    """Takes records in the order of writing and gives the events that each confirms.

    `state_dict()` is a JSON value; the thresholds come from the ledger's `start`, so that re-reading needs no more
    than the records.
    """

    def __init__(self, falls: bool | None = None) -> None:
        """falls: whether to look for sudden falls; None: as the ledger's `start` says (`monitor.falls`)."""
        self.seek_falls = falls
        self.config = MonitorConfig()
        self.versions: dict[str, Any] = {"code": None, "config": None}
        self.introductions: list[dict[str, Any]] = []  # {"game", "update"} in order
        self.confounders: list[dict[str, Any]] = []  # {"kind", "game", "update"} of the entries that can fake an event
        self.forgetting: dict[str, ForgettingTracker] = {}  # "game|series", since the last introduction
        self.sharing = OnsetFold()
        self.falls = FallFold()
        self.frozen: dict[str, str] = {}  # game -> hash of its frozen set
        self.health: dict[str, dict[str, Any]] = {}  # game -> {"reference", "now", "bad"}

    def state_dict(self) -> dict[str, Any]:
        """A JSON value."""
        return {
            "config": dataclasses.asdict(self.config),
            "versions": self.versions,
            "introductions": self.introductions,
            "confounders": self.confounders,
            "forgetting": {key: tracker.state for key, tracker in self.forgetting.items()},
            "sharing": self.sharing.state,
            "falls": self.falls.state,
            "frozen": self.frozen,
            "health": self.health,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.config = MonitorConfig(**state["config"])
        self.versions, self.introductions = state["versions"], state["introductions"]
        self.confounders, self.health = state["confounders"], state["health"]
        self.forgetting = {key: ForgettingTracker(inner) for key, inner in state["forgetting"].items()}
        self.sharing = OnsetFold(state.get("sharing"))  # runs of version 0.1 have none
        self.falls = FallFold(state.get("falls"))  # runs of version 0.1 have none
        self.frozen = state.get("frozen", {})

    def take(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """The events that `record` confirms. Raises ValueError for a schema that is no measurement."""
        schema = record["schema"]
        if schema == LEDGER:
            return self._take_ledger(record)
        if schema == LOSS:
            return self._take_loss(record)
        if schema == HEALTH:
            return self._take_health(record)
        if schema == SHARING:
            found = self.sharing.take(record)
            return self._shared(record, found) if found else []
        raise ValueError(f"events are made from loss, health, sharing and ledger records, not from {schema!r}")

    def _take_ledger(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        kind, game, update = record["kind"], record["game"], record["update"]
        if kind in ("start", "monitor_config"):
            self.config = MonitorConfig(**record["after"]["config"])
            self.versions = record["after"]["versions"]
        if record["confounder"]:
            self.confounders.append({"kind": kind, "game": game, "update": update})
        if kind == "game_added":
            self.introductions.append({"game": game, "update": update})
            self.forgetting.clear()  # forgetting is measured from the last introduction on
            self.sharing.restart()
        return []

    def _take_loss(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        if record["subset"] != "small":
            return []
        self.frozen[record["game"]] = record["frozen_set"]
        events = []
        if self.config.falls if self.seek_falls is None else self.seek_falls:
            found = self.falls.take(record, self.config, self.introductions)
            events = [self._fallen(record, finding) for finding in found]
        if not _is_old(record):
            return events
        for head, values in record["losses"].items():
            if values["change"] is None:
                continue
            tracker = self.forgetting.setdefault(f"{record['game']}|{head}", ForgettingTracker())
            found = tracker.take(record["since_latest"], record["update"], values["change"], self.config)
            if found:
                events.append(self._forgotten(record, head, found))
        return events

    def _forgotten(self, record: dict[str, Any], head: str, found: dict[str, Any]) -> dict[str, Any]:
        mean, error = found["change"]["mean"], found["change"]["se"]
        snr = plain(mean / error) if error > 0 else None
        effect = {
            "name": "rise_nats", "value": mean, "ci95": [plain(mean - Z95 * error), plain(mean + Z95 * error)],
            "snr": snr, "width_decades": None,
        }  # fmt: skip
        null = "no change of the loss, paired by position, since the last introduction"
        return self._event("forgetting", record, head, found["step"], effect, snr, null)

    def _shared(self, record: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
        """The onset of sharing between two games: one event, after a suspended one perhaps another."""
        pair = f"{record['game']}|{record['other_game']}"
        header = record | {"frozen_set": record["frozen_sets"]}
        nulls = "; ".join(found["nulls"])
        event = self._event("sharing_onset", header, None, found["step"], found["effect"], None, nulls)
        # That the two games themselves were introduced is what the event is about.
        own = [e for e in event["confounders"] if e["kind"] == "game_added" and e["game"] in pair.split("|")]
        near = [entry for entry in event["confounders"] if entry not in own]
        ill = [game for game in (record["game"], record["other_game"]) if self.health.get(game, {}).get("bad")]
        status = "suspended" if ill else "confounded" if near else "confirmed"
        if not self.sharing.say(pair, status):
            return []
        key = "|".join((record["run"], "sharing_onset", pair))
        return [event | {
            "id": hashlib.sha256(key.encode()).hexdigest()[:12],
            "status": status,
            "confounders": near,
            "other_game": record["other_game"],
            "step_ci95": None if found["before"] is None else [found["before"], found["step"]],
            "test": event["test"] | {"family": f"{record['family']} pairs, no correction"},
            "evidence": found["evidence"],
        }]  # fmt: skip

    def _fallen(self, record: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
        """The event of a finding of the falls; `record` may be of another game, at the end of a run."""
        game, step = finding["game"], finding["step"]
        before = [
            entry for entry in self.introductions if entry["update"] <= max(step, self.introductions[0]["update"])
        ]
        trigger, own = before[-1], next(entry for entry in self.introductions if entry["game"] == game)
        header = record | {"game": game, "latest": trigger["game"], "frozen_set": self.frozen.get(game)}
        event = self._event(
            finding["type"], header, finding["head"], step, finding["effect"], None, None,
            stratum=finding["stratum"], clock=own if finding["own_clock"] else trigger, after=trigger,
        )  # fmt: skip
        kind = "fall" if finding["type"] in ("drop", "breakthrough", "knee") else finding["type"]
        key = "|".join(map(str, (record["run"], kind, game, finding["head"], finding["stratum"], finding["number"])))
        confounded = finding["status"] == "confirmed" and event["confounders"]
        return event | {
            "id": hashlib.sha256(key.encode()).hexdigest()[:12],
            "status": "confounded" if confounded else finding["status"],
            "step_ci95": finding["step_ci95"],
            "test": event["test"] | finding["test"],
        }

    def _take_health(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        state = self.health.setdefault(record["game"], {"reference": None, "now": None, "bad": []})
        now = {"effective_rank": record["effective_rank"], "dormant": record["dormant"]}
        if record["occasion"] == "introduction" and _is_old(record):
            state["reference"], state["bad"] = now, []  # an old game is judged against the last introduction
        elif state["reference"] is None and record["since"] >= 10 * self.config.s_min:
            state["reference"] = now  # the newest game once its first decade is over
        state["now"] = now
        bad = self._bad_health(state["reference"], now)
        new = [name for name in bad if name not in state["bad"]]
        state["bad"] = list(bad)
        return [self._event("health", record, None, record["update"], bad[name], None, None) for name in new]

    def _bad_health(self, reference: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Name -> effect of each limit that is crossed."""
        ratio, rise = _against(reference, now)
        crossed = {}
        if ratio is not None and ratio < 1 - self.config.rank_fall:
            crossed["effective_rank_ratio"] = ratio
        if rise is not None and rise > self.config.dormant_rise:
            crossed["dormant_rise"] = rise
        return {
            name: {"name": name, "value": plain(value), "ci95": None, "snr": None, "width_decades": None}
            for name, value in crossed.items()
        }

    def _confounders(self, step: int, clock: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
        """Ledger entries within 0.05 decade of `step`, in updates since the introduction `clock`.

        after: the introduction that the event follows, which is none itself. What came in the first s_min updates,
        before the first checkpoint, counts as if it came at that checkpoint.
        """
        floor = self.config.s_min
        since = max(step - clock["update"], floor)
        near = []
        for other in self.confounders:
            if other["update"] < clock["update"] or other in ({"kind": "game_added", **e} for e in (after, clock)):
                continue
            distance = abs(math.log10(max(other["update"] - clock["update"], floor) / since))
            if distance <= self.config.confounder_decades + 1e-9:
                near.append({**other, "decades": plain(distance)})
        return near

    def _event(
        self, kind: str, record: dict[str, Any], head: str | None, step: int, effect: dict[str, Any],
        stat: float | None, null: str | None, stratum: str = "all", clock: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        latest = self.introductions[-1]
        trigger = f"add:{record['latest']}"
        confounders = self._confounders(step, clock or latest, after or latest)
        key = "|".join(map(str, (record["run"], kind, record["game"], head, stratum, trigger, step, effect["name"])))
        state = self.health.get(record["game"], {"reference": None, "now": None})
        ratio, _ = _against(state["reference"], state["now"])
        return {
            "schema": EVENT,
            "id": hashlib.sha256(key.encode()).hexdigest()[:12],
            "run": record["run"],
            "seed": record["seed"],
            "type": kind,
            "status": "confounded" if confounders else "confirmed",
            "game": record["game"],
            "other_game": record["latest"] if record["latest"] != record["game"] else None,
            "head": head,
            "stratum": stratum,
            "trigger": trigger,
            "step": step,
            "step_ci95": None,
            "effect": effect,
            "test": dict.fromkeys(("p", "q_bh", "surrogates", "phi", "family")) | {"stat": stat, "null": null},
            "evidence": {"geometry": None, "cause": None, "behaviour": None},
            "confounders": confounders,
            "health": {
                "effective_rank_ratio": None if ratio is None else plain(ratio),
                "dormant": (state["now"] or {}).get("dormant"),
            },
            "versions": {
                "code": self.versions.get("code"),
                "validation_set": record["frozen_set"],
                "config": self.versions.get("config"),
            },
        }


def _is_old(record: dict[str, Any]) -> bool:
    """Whether the record's game was there before the last introduction."""
    return record["since"] > record["since_latest"]


def _against(reference: dict[str, Any] | None, now: dict[str, Any] | None) -> tuple[float | None, float | None]:
    """Effective rank as a share of the reference's, and the rise of the dormant share; None where unknown."""
    if reference is None or now is None:
        return None, None
    ratio = rise = None
    if reference["effective_rank"] and now["effective_rank"] is not None:
        ratio = now["effective_rank"] / reference["effective_rank"]
    if reference["dormant"] is not None and now["dormant"] is not None:
        rise = now["dormant"] - reference["dormant"]
    return ratio, rise


def regenerate(records: Iterable[dict[str, Any]], falls: bool | None = None) -> list[dict[str, Any]]:
    """All events of a run from its loss, health, sharing and ledger records, given in the order of writing. falls:
    whether to look for sudden falls; None: as the run itself did (`monitor.falls`)."""
    fold = EventFold(falls)
    return [event for record in records for event in fold.take(record)]


def standing(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What stands in the end: the last line of each id (a warning becomes an alert, then a verdict), in order of
    step."""
    last = {event["id"]: event for event in events}
    return sorted(last.values(), key=lambda event: event["step"])
