"""TensorBoard files from records, written by tensorboard's own record writer; no TensorFlow, no thread.

The files are a picture of the log streams, never the other way round. After a resume the steps behind the checkpoint
are not doubled: a new file begins with a mark that makes TensorBoard drop what older files say of later steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.records import EVENT, HEALTH, LOSS, SHARING


class ScalarWriter:
    """Writes scalars into a new event file in `folder`.

    resumed_at: the update of the checkpoint that the run continues from; later steps of older files are dropped.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore  # protobuf makes both at import
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("events.out.tfevents.*"))) + 1
        # TensorBoard reads files in the order of their names. Its own names hold the host's name; ours do not.
        self.path = folder / f"events.out.tfevents.{number:010d}.gurgeh"
        self._event = Event
        self._writer = RecordWriter(self.path.open("xb"))
        self._write(Event(file_version="brain.Event:2"))
        if resumed_at is not None:
            self._write(Event(step=resumed_at + 1, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def add(self, step: int, record: Mapping[str, Any], prefix: str = "") -> None:
        """Write every number of a record at `step`; nested names are joined by `/`, everything else is left out."""
        event = self._event(step=step)
        for tag, value in scalars(record, prefix):
            event.summary.value.add(tag=tag, simple_value=value)
        if event.summary.value:
            self._write(event)

    def add_monitor(self, update: int, record: Mapping[str, Any]) -> None:
        """Write what a record of the monitor says at `update`: its scalars, and an event also as text.

        An event is written where it was found, not where it began, which may lie before a checkpoint that the run is
        resumed from; its text says both.
        """
        event = self._event(step=update)
        for tag, value in monitor_scalars(record):
            event.summary.value.add(tag=tag, simple_value=value)
        if record["schema"] == EVENT:
            said = event.summary.value.add(tag="monitor/events")
            said.metadata.plugin_data.plugin_name = "text"
            said.tensor.dtype = 7  # DT_STRING
            said.tensor.tensor_shape.dim.add(size=1)
            said.tensor.string_val.append(event_text(record).encode())
        if event.summary.value:
            self._write(event)

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())

    def flush(self) -> None:
        """Let a TensorBoard that looks on see everything so far."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def scalars(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """(tag, value) of every finite number in a nested record, its own step left out."""
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        tag = f"{prefix}/{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            found += scalars(value, tag)
        elif tag not in ("step", "update") and _is_number(value):
            found.append((tag, float(value)))
    return found


def monitor_scalars(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """(tag, value) of what the report draws of a record of the monitor; of the ledger and of other subsets nothing."""
    schema, found = record["schema"], {}
    if schema == LOSS and record["subset"] in ("small", "full"):
        where = "loss" if record["subset"] == "small" else "loss_whole_set"
        found = {f"{where}/{record['game']}/{head}": part.get("mean") for head, part in record["losses"].items()}
    elif schema == HEALTH:
        names = ("effective_rank", "dormant", "latent_norm")
        found = {f"health/{record['game']}/{name}": record[name] for name in names}
    elif schema == SHARING:
        where = f"sharing/{record['game']}+{record['other_game']}/{record['measure']}"
        excess, index = record["excess"] or {}, record["index"] or {}
        null = (record["nulls"].get(excess.get("null")) or {}).get("mean")
        found = {
            f"{where}/value": record["value"], f"{where}/worst_null": null, f"{where}/ceiling": record["ceiling"],
            f"{where}/excess": excess.get("value"), f"{where}/excess_low": excess.get("low"),
            f"{where}/index": index.get("value"), f"{where}/index_low": index.get("low"),
        }  # fmt: skip
    elif schema == EVENT:
        where = f"{record['type']}/{record['game']}" + (f"/{record['head']}" if record["head"] else "")
        found = {f"event_size/{where}/{record['stratum']}/{record['status']}": record["effect"]["value"]}
    return [(f"monitor/{tag}", float(value)) for tag, value in found.items() if _is_number(value)]


def event_text(event: Mapping[str, Any]) -> str:
    """An event in one line, for TensorBoard's page of texts (Markdown)."""
    effect, test = event["effect"], event["test"]
    other = f" and {event['other_game']}" if event["type"] == "sharing_onset" else ""
    head = "".join(
        f", {part}" for part in (event["head"], event["stratum"] if event["stratum"] != "all" else None) if part
    )
    size = "" if effect["value"] is None else f": {effect['name']} {effect['value']:.3g}"
    if effect["ci95"]:
        size += f" [{effect['ci95'][0]:.3g}, {effect['ci95'][1]:.3g}]"
    null = f"; null: {test['null']}" if test.get("null") else ""
    words = f"{event['status']} {event['type']} of {event['game']}{other}{head} at update {event['step']}{size}{null}"
    return words.replace("_", r"\_").replace("<", "&lt;")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
