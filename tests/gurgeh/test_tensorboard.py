"""TensorBoard's own reader finds what was written, and no step twice after a resume."""

import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gurgeh.tensorboard import ScalarWriter, scalars


def read(folder, tag):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, round(event.value, 4)) for event in accumulator.Scalars(tag)]


def test_numbers_of_a_record_are_found_under_their_names(tmp_path):
    writer = ScalarWriter(tmp_path)
    for update in range(3):
        record = {"schema": "metrics/1", "update": update, "loss": update / 2, "games": {"ale/Pong": {"score": update}}}
        writer.add(update, record)
    writer.add(3, {"schema": "metrics/1"})
    writer.close()
    assert read(tmp_path, "loss") == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert read(tmp_path, "games/ale/Pong/score") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_resume_doubles_no_step(tmp_path):
    """Killed at update 9 after a checkpoint at update 5, and once more."""
    writer = ScalarWriter(tmp_path)
    for update in range(10):
        writer.add(update, {"loss": 1.0, "rare": 1.0} if update != 7 else {"loss": 1.0})
    writer.flush()  # a kill: the file is never closed
    for resumed_at, end, value in ((5, 9, 2.0), (7, 12, 3.0)):
        writer = ScalarWriter(tmp_path, resumed_at=resumed_at)
        for update in range(resumed_at + 1, end):
            writer.add(update, {"loss": value})
        writer.close()
    expected = [(u, 1.0) for u in range(6)] + [(u, 2.0) for u in (6, 7)] + [(u, 3.0) for u in range(8, 12)]
    assert read(tmp_path, "loss") == expected
    assert read(tmp_path, "rare") == [(u, 1.0) for u in range(6)], "also what was not written again"


def test_only_finite_numbers_are_scalars():
    record = {"a": 1, "b": True, "c": None, "d": "1", "e": [1], "f": float("inf"), "g": {"h": 0.5, "update": 4}}
    assert scalars(record) == [("a", 1.0), ("g/h", 0.5), ("g/update", 4.0)]


def test_no_tensorflow_and_no_host_name(tmp_path):
    import socket

    code = (
        "import sys, pathlib; from gurgeh.tensorboard import ScalarWriter; "
        "assert 'tensorboard' not in sys.modules; "
        "ScalarWriter(pathlib.Path(sys.argv[1])).close(); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    (path,) = tmp_path.iterdir()
    assert socket.gethostname().encode() not in path.read_bytes() + path.name.encode()
