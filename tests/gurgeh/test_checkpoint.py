"""Checkpoints: every leaf comes back to the bit, damage is named, shared storage is no obstacle."""

import json
import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gurgeh import checkpoint

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int64, torch.bool]


def round_trip(folder, state):
    folder.mkdir()
    checkpoint.write(folder, 3, state, {"metrics": 12})
    manifest, loaded = checkpoint.read(folder)
    assert manifest["step"] == 3
    assert manifest["logs"] == {"metrics": 12}
    return loaded


def assert_same(found, expected):
    """Independent of the code: type by type, tensors by their bytes."""
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert torch.equal(
            found.contiguous().flatten().view(torch.uint8), expected.contiguous().flatten().view(torch.uint8)
        )
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found)
    else:
        assert type(found) is type(expected)
        assert found == expected


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back_to_the_bit(tmp_path, dtype):
    bits = torch.randint(0, 2 if dtype == torch.bool else 256, (7, 5, 8), dtype=torch.uint8)
    state = {"replay": {"planes": bits.flatten().view(dtype)}, "scalar": torch.ones((), dtype=dtype)}
    state["empty"] = torch.zeros(0, 3, dtype=dtype)
    assert_same(round_trip(tmp_path / "c", state), state)


def test_nan_payloads_and_signed_zero_survive(tmp_path):
    state = {"weights": {"w": torch.tensor([0x7FC12345, -2147483648], dtype=torch.int32).view(torch.float32)}}
    assert_same(round_trip(tmp_path / "c", state), state)


keys = st.text().filter(lambda key: key not in ("$tensor", "$float"))  # the markers, refused below
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)


@given(state=st.dictionaries(st.from_regex(r"[A-Za-z0-9_]+", fullmatch=True), json_values, max_size=4))
def test_plain_values_come_back(tmp_path_factory, state):
    assert_same(round_trip(tmp_path_factory.mktemp("any") / "c", state), state)


def test_shared_storage_views_and_parameters(tmp_path):
    """Tied weights, overlapping views, transposes and parameters, none of which safetensors takes as it is."""
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "weights": {
            "tied": base,
            "again": base,
            "row": base[1],
            "turned": base.t(),
            "parameter": torch.nn.Parameter(base),
        }
    }
    assert_same(round_trip(tmp_path / "c", state), state)
    assert base.is_contiguous()


def test_names_of_files_and_tensors_are_the_readers_own(tmp_path):
    """Weights can be read by anything that reads safetensors, under the module's own names."""
    from safetensors.torch import load_file

    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    (tmp_path / "c").mkdir()
    checkpoint.write(tmp_path / "c", 0, {"weights": network.state_dict()}, {})
    assert load_file(tmp_path / "c" / "weights.safetensors").keys() == network.state_dict().keys()


def test_whoever_may_read_the_folder_may_read_every_file(tmp_path):
    before = os.umask(0o027)
    try:
        round_trip(tmp_path / "c", {"weights": {"w": torch.ones(3)}})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "c").iterdir()} == {0o640}


def test_loaded_tensors_do_not_write_to_the_file(tmp_path):
    state = {"weights": {"w": torch.ones(1000)}}
    loaded = round_trip(tmp_path / "c", state)
    loaded["weights"]["w"].zero_()
    assert_same(checkpoint.read(tmp_path / "c")[1], state)


@pytest.mark.parametrize("name", ["weights.safetensors", "replay.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_any_damage_is_named(tmp_path, name, damage):
    folder = tmp_path / "c"
    round_trip(folder, {"weights": {"w": torch.ones(9)}, "replay": {"r": torch.zeros(5)}, "step": 3})
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        position = content.index(b'"step": 3') + 8 if name == "manifest.json" else len(content) // 2
        content[position] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        checkpoint.read(folder)


def test_another_format_is_refused(tmp_path):
    round_trip(tmp_path / "c", {})
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    manifest["format"] = "gurgeh-checkpoint/99"
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="expected format gurgeh-checkpoint/1, found 'gurgeh-checkpoint/99'"):
        checkpoint.read(tmp_path / "c")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": [1, {2, 3}]}}, r"a\.b\[1\] is a set"),
        ({"a": {1: 2}}, "the key 1 at a"),
        ({"a/b": 1}, "top-level key 'a/b'"),
        ({"a": {"$tensor": 1}}, "marker"),
        ({"a": {"x": {"y": torch.ones(1)}, "x/y": torch.ones(1)}}, "two tensors are called 'x/y'"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, state, message):
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=message):
        checkpoint.write(tmp_path / "c", 0, state, {})


def test_optimizer_continues_to_the_bit(tmp_path):
    def build():
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 3)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    def update(layer, optimizer, seed):
        optimizer.zero_grad()
        layer(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()

    layer, optimizer = build()
    for seed in range(3):
        update(layer, optimizer, seed)
    (tmp_path / "c").mkdir()
    checkpoint.write(
        tmp_path / "c",
        3,
        {"weights": layer.state_dict(), "optimizer": checkpoint.optimizer_to_state(optimizer)},
        {},
    )
    again, second = build()
    state = checkpoint.read(tmp_path / "c")[1]
    again.load_state_dict(state["weights"])
    checkpoint.optimizer_from_state(second, state["optimizer"])
    for seed in range(3, 6):
        update(layer, optimizer, seed)
        update(again, second, seed)
    assert_same(dict(again.state_dict()), dict(layer.state_dict()))
