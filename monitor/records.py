"""The records: one JSON object a line, each with its schema and version; the fields of each, and their check."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

LOSS, HEALTH, LEDGER, EVENT = "monitor.loss/1", "monitor.health/1", "monitor.ledger/1", "monitor.event/1"
SHARING = "monitor.sharing/1"
ADAPTATION, TRANSFER, MATRIX = "monitor.adaptation/1", "monitor.transfer/1", "monitor.transfer_matrix/1"
AGGREGATE, LEARNING_CURVE, SEQUENCE = "monitor.aggregate/1", "monitor.learning_curve/1", "monitor.sequence/1"
SCALING, PROBABILITY, ARCHITECTURES = "monitor.scaling/1", "monitor.probability/1", "monitor.architectures/1"
STREAMS = {LOSS: "monitor", HEALTH: "monitor", SHARING: "monitor", LEDGER: "ledger", EVENT: "events",
           ADAPTATION: "adaptation"}  # fmt: skip
"""The stream, that is the file RUN/STREAM.jsonl, in which the records of a schema are; those over several runs have
none: they are found again from the runs' own (docs/transfer.md)."""

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
    ADAPTATION: {
        "run": str, "seed": int, "update": int, "env_steps": int, "game": str, "version": int, "arm": str,
        "source": (dict, type(None)), "budget": int, "share": _NUMBER, "shot": bool, "zero_shot": (str, type(None)),
        "targets": str, "frozen_set": str, "losses": dict, "scores": dict, "parameters": int,
        "split": (dict, type(None)), "code": str,
    },
    TRANSFER: {
        "game": str, "series": str, "unit": str, "budget": int, "source": dict, "nearest": (dict, type(None)),
        "seeds": list, "zero_shot": (str, type(None)), "threshold": dict, "curve": list, "scratch_curve": list,
        "nearest_curve": (list, type(None)), "against_scratch": dict, "against_nearest": (dict, type(None)),
    },
    MATRIX: {
        "series": str, "from": list, "to": list, "mean": list, "low": list, "high": list, "certain": list, "seeds": int,
        "cells": int, "level": float, "refused": (str, type(None)),
    },
    AGGREGATE: {
        "series": str, "source": dict, "games": list, "seeds": int, "iqm": dict, "better_than_scratch": dict,
        "better_than_nearest": dict,
    },
    LEARNING_CURVE: {
        "series": str, "points": list, "thresholds": dict, "runs": int, "beta": dict, "progress_ratio": dict,
    },
    SEQUENCE: {
        "run": str, "seed": int, "update": int, "series": str, "games": list, "results": list, "untrained": list,
        "backward_transfer": dict, "forward_transfer": dict, "forgetting": dict, "continual_world": dict,
    },
    SCALING: {
        "series": str, "games": list, "architecture": str, "size": str, "data": str, "points": list, "fit": dict,
        "held_out": dict, "break": dict, "refused": (str, type(None)),
    },
    PROBABILITY: {
        "outcome": str, "points": list, "at_size": _NUMBER, "k50": dict, "per_doubling": (*_NUMBER, type(None)),
        "per_tenfold": (*_NUMBER, type(None)), "curve": list, "refused": (str, type(None)),
    },
    ARCHITECTURES: {
        "series": str, "games": list, "one": str, "other": str, "flops": str, "overlap": (list, type(None)),
        "exponents": dict, "difference": dict, "points": list, "frontier": dict, "refused": (str, type(None)),
    },
    EVENT: {
        "id": str, "run": str, "seed": int, "type": str, "status": str, "game": str, "other_game": (str, type(None)),
        "head": (str, type(None)), "stratum": str, "trigger": (str, type(None)), "step": int,
        "step_ci95": (list, type(None)), "effect": dict, "test": dict, "evidence": dict, "confounders": list,
        "health": dict, "versions": dict,
    },
}  # fmt: skip
"""Schema -> field -> its types. Every field is there in every record; no other field is."""


def validate(record: Mapping[str, Any], numbers: bool = True) -> None:
    """Raise ValueError, saying what is wrong, unless `record` has exactly the fields of its schema. numbers: look for
    NaN and infinities too, which costs more than all the rest."""
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
    if not numbers:
        return
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
