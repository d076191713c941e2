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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
