"""The records: one JSON object a line, each with its schema and version; the fields of each, and their check."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

LOSS, HEALTH, LEDGER, EVENT = "monitor.loss/1", "monitor.health/1", "monitor.ledger/1", "monitor.event/1"
SHARING = "monitor.sharing/1"
STREAMS = {LOSS: "monitor", HEALTH: "monitor", SHARING: "monitor", LEDGER: "ledger", EVENT: "events"}
"""The stream, that is the file RUN/STREAM.jsonl, in which the records of a schema are."""

EVENT_TYPES = (
    "rise", "plateau", "drop", "breakthrough", "knee", "sharing_onset", "meta_onset", "forgetting", "health",
)  # fmt: skip
STATUSES = ("warn", "alert", "confirmed", "rejected", "confounded", "suspended")

_NUMBER = (int, float)
_ENCODER = json.JSONEncoder(allow_nan=False)
_COMMON: dict[str, Any] = {"run": str, "seed": int, "seq": int, "update": int, "env_steps": int}
_MEASURED = _COMMON | {
    "game": str, "occasion": str, "subset": str, "positions": int, "since": int, "latest": str, "since_latest": int,
    "frozen_set": str,
}  # fmt: skip
FIELDS: dict[str, dict[str, Any]] = {
    LOSS: _MEASURED | {"targets": str, "losses": dict},
    HEALTH: _MEASURED
    | {
        "effective_rank": (*_NUMBER, type(None)),
        "effective_rank_centred": (*_NUMBER, type(None)),
        "dormant": (*_NUMBER, type(None)),
        "layers": dict,
        "latent_norm": (*_NUMBER, type(None)),
    },
    SHARING: _COMMON
    | {
        "game": str, "other_game": str, "relation": str, "occasion": str, "positions": int, "since": int, "latest": str,
        "since_latest": int, "frozen_sets": list, "family": int, "measure": str, "pillar": (str, type(None)),
        "value": (*_NUMBER, type(None)), "ci95": (list, type(None)), "nulls": dict, "excess": (dict, type(None)),
        "ceiling": (*_NUMBER, type(None)), "index": (dict, type(None)), "refused": (str, type(None)), "details": dict,
    },
    LEDGER: _COMMON
    | {"kind": str, "game": (str, type(None)), "before": object, "after": object, "confounder": bool, "note": str},
    EVENT: {
        "id": str, "run": str, "seed": int, "type": str, "status": str, "game": str, "other_game": (str, type(None)),
        "head": (str, type(None)), "stratum": str, "trigger": (str, type(None)), "step": int,
        "step_ci95": (list, type(None)), "effect": dict, "test": dict, "evidence": dict, "confounders": list,
        "health": dict, "versions": dict,
    },
}  # fmt: skip
"""Schema -> field -> its types. Every field is there in every record; no other field is."""


def validate(record: Mapping[str, Any]) -> None:
    """Raise ValueError, saying what is wrong, unless `record` has exactly the fields of its schema."""
    schema = record.get("schema")
    if schema not in FIELDS:
        raise ValueError(f"unknown record schema {schema!r}; known are {', '.join(FIELDS)}")
    fields = FIELDS[schema]
    missing, unknown = fields.keys() - record.keys(), record.keys() - fields.keys() - {"schema"}
    if missing or unknown:
        raise ValueError(f"{schema}: missing fields {sorted(missing)}, unknown fields {sorted(unknown)}")
    for name, kinds in fields.items():
        value = record[name]
        is_flag = isinstance(value, bool) and kinds not in (bool, object)  # bool is an int to isinstance
        if is_flag or not isinstance(value, kinds):
            raise ValueError(f"{schema}: field {name!r} is {value!r}, of type {type(value).__name__}")
    if schema == EVENT and (record["type"] not in EVENT_TYPES or record["status"] not in STATUSES):
        raise ValueError(f"{schema}: type {record['type']!r} or status {record['status']!r} is not one of the known")
    try:  # in C; the search below is for what it complains of
        _ENCODER.encode(record)
    except (ValueError, TypeError):
        _finite(record, schema)


def _finite(value: Any, where: str) -> None:
    """Raise ValueError for a NaN or an infinity: neither is JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} holds {value}, which JSON cannot say; write None")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _finite(inner, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            _finite(inner, where)


def in_order(*streams: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of several streams in the order in which they were written (by `seq`; events are left out)."""
    return sorted((r for stream in streams for r in stream if r["schema"] != EVENT), key=lambda record: record["seq"])
