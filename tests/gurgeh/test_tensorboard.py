"""TensorBoard's own reader finds what was written, and no step twice after a resume."""

import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gurgeh.tensorboard import ScalarWriter, monitor_scalars, scalars


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


def sharing(**more):
    return {
        "schema": "monitor.sharing/1", "game": "nim", "other_game": "hex5", "measure": "tag", "value": 0.5,
        "nulls": {"shuffled targets": {"mean": 0.2, "reach": 0.1, "draws": 3}, "other": {"mean": 0.1}},
        "excess": {"value": 0.3, "low": 0.1, "high": 0.5, "null": "shuffled targets"}, "ceiling": 0.8,
        "index": {"value": 0.5, "low": 0.2, "high": 0.9},
    } | more  # fmt: skip


def test_the_monitors_records_become_its_scalars():
    loss = {
        "schema": "monitor.loss/1",
        "game": "nim",
        "subset": "small",
        "losses": {"policy": {"mean": 0.25, "se": 1.0}},
    }
    assert monitor_scalars(loss) == [("monitor/loss/nim/policy", 0.25)]
    assert monitor_scalars(loss | {"subset": "full"}) == [("monitor/loss_whole_set/nim/policy", 0.25)]
    assert monitor_scalars(loss | {"subset": "medium"}) == []
    health = {"schema": "monitor.health/1", "game": "nim", "effective_rank": 7.5, "dormant": None, "latent_norm": 2.0}
    assert monitor_scalars(health) == [
        ("monitor/health/nim/effective_rank", 7.5),
        ("monitor/health/nim/latent_norm", 2.0),
    ]
    where = "monitor/sharing/nim+hex5/tag"
    assert monitor_scalars(sharing()) == [
        (f"{where}/value", 0.5), (f"{where}/worst_null", 0.2), (f"{where}/ceiling", 0.8), (f"{where}/excess", 0.3),
        (f"{where}/excess_low", 0.1), (f"{where}/index", 0.5), (f"{where}/index_low", 0.2),
    ]  # fmt: skip
    assert monitor_scalars(sharing(value=None, nulls={}, excess=None, ceiling=None, index=None)) == []
    assert monitor_scalars({"schema": "monitor.ledger/1", "kind": "start"}) == []


def test_events_are_scalars_and_texts_where_they_were_found(tmp_path):
    event = {
        "schema": "monitor.event/1", "type": "forgetting", "status": "confirmed", "game": "<b>nim", "other_game": None,
        "head": "dynamics_5", "stratum": "all", "step": 70,
        "effect": {"name": "rise_nats", "value": 0.25, "ci95": [0.125, 0.5]}, "test": {"null": "no change"},
    }  # fmt: skip
    writer = ScalarWriter(tmp_path)
    writer.add_monitor(100, event)
    writer.add_monitor(101, {"schema": "monitor.ledger/1"})
    writer.close()
    assert read(tmp_path, "monitor/event_size/forgetting/<b>nim/dynamics_5/all/confirmed") == [(100, 0.25)]
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    (text,) = accumulator.Tensors("monitor/events")
    assert text.step == 100
    assert text.tensor_proto.string_val == [
        b"confirmed forgetting of &lt;b>nim, dynamics\\_5 at update 70: rise\\_nats 0.25 [0.125, 0.5]; null: no change"
    ]
    assert accumulator.SummaryMetadata("monitor/events").plugin_data.plugin_name == "text"
