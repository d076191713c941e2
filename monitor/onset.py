"""The onset of sharing between two games, as a fold over the records of their measures.

A measure holds at a checkpoint when the lower end of the 95 % band of its excess over the worst null is above 0; a
pillar (geometry, cause, behaviour) is up once one of its measures has held at three of its checkpoints in a row. The
onset is when two pillars are up, which makes one of them cause or behaviour; its step is the first checkpoint of the
younger of the two rows. What was refused does not hold. Measurements at introductions and at the end are no
checkpoints, and an introduction breaks every row. Sign and not size decides: where the twin's ceiling is above the
null, the excess is above 0 exactly when the sharing index is.
"""

from __future__ import annotations

from typing import Any

IN_A_ROW = 3
PILLARS = ("geometry", "cause", "behaviour")


class OnsetFold:
    """Rows of checkpoints at which a measure held, by pair and measure; `state` is a JSON value."""

    def __init__(self, state: dict[str, Any] | None = None):
        self.state: dict[str, Any] = state if state is not None else {"rows": {}, "said": {}}

    def restart(self) -> None:
        """A game was introduced: what held before must hold again, so that an onset has one introduction before it."""
        self.state["rows"] = {}

    def take(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """A `monitor.sharing/1` record; what is found when two pillars are up with it.

        Returns {"step", "before", "evidence", "effect", "nulls"}, at every checkpoint for as long as they are: the
        caller says it once. before: the last checkpoint at which the younger pillar did not yet hold, or None.
        """
        if record["occasion"] != "checkpoint" or record["pillar"] is None:
            return None
        pair = f"{record['game']}|{record['other_game']}"
        rows = self.state["rows"].setdefault(pair, {})
        new = {"pillar": record["pillar"], "count": 0, "first": None, "before": None}
        row = rows.setdefault(record["measure"], new)
        if record["excess"] is None or record["excess"]["low"] is None or record["excess"]["low"] <= 0:
            row |= {"count": 0, "first": None, "before": record["update"]}
            return None
        if row["count"] == 0:
            row["first"] = record["update"]
        row |= {"count": row["count"] + 1, "now": {name: record[name] for name in ("value", "excess", "index")}}
        return self._found(rows)

    def _found(self, rows: dict[str, Any]) -> dict[str, Any] | None:
        up: dict[str, tuple[str, dict[str, Any]]] = {}
        for measure, row in rows.items():
            oldest = up.get(row["pillar"])
            if row["count"] >= IN_A_ROW and (oldest is None or row["first"] < oldest[1]["first"]):
                up[row["pillar"]] = measure, row
        if len(up) < 2:
            return None
        younger = sorted(up.values(), key=lambda entry: entry[1]["first"])[1][1]
        weakest_name, weakest = min(up.values(), key=lambda entry: entry[1]["now"]["excess"]["low"])
        evidence = {
            pillar: {"measure": up[pillar][0], "since": up[pillar][1]["first"], **up[pillar][1]["now"]}
            if pillar in up
            else None
            for pillar in PILLARS
        }
        kind = "index" if weakest["now"]["index"] else "excess"
        numbers = weakest["now"][kind]
        return {
            "step": younger["first"],
            "before": younger["before"],
            "evidence": evidence,
            "effect": {
                "name": f"{kind}_{weakest_name}", "value": numbers["value"], "ci95": [numbers["low"], numbers["high"]],
                "snr": None, "width_decades": None,
            },
            "nulls": [row["now"]["excess"]["null"] for _, row in up.values()],
        }  # fmt: skip

    def say(self, pair: str, status: str) -> bool:
        """Whether an event of this status is news: once each, and nothing after one that is not suspended."""
        said = self.state["said"].setdefault(pair, [])
        if status in said or any(other != "suspended" for other in said):
            return False
        said.append(status)
        return True
