"""Splits by family: every game has one, and no family is on both sides."""

from __future__ import annotations

import pytest

from envs import registry, splits
from envs.game import MissingExtraError


def test_every_game_that_can_be_named_has_a_family():
    refused = set()
    for origin, names, missing in registry.groups():
        if missing or origin in ("plug-ins", "envpool"):  # EnvPool's import takes too long; see test_every_game.py
            continue
        for name in names if origin == "native" else names[:3]:
            try:
                family = registry.make(name).spec.family
            except MissingExtraError:
                continue
            except ValueError:  # is refused with its reason
                refused.add(origin)
                continue
            assert family not in ("", "other"), name
    assert "native" not in refused


@pytest.mark.parametrize("name", splits.names())
def test_the_splits_that_ship(name):
    split = splits.load(name)
    assert split.name == name
    assert not set(split.train) & set(split.held_out)
    assert "scrambled" not in split.train + split.held_out


def test_families_of_native_games_are_on_a_side_of_some_split():
    sides = {family for name in splits.names() for family in (*splits.load(name).train, *splits.load(name).held_out)}
    native = {
        registry.make(name).spec.family for name in next(iter(registry.groups()))[1] if not name.startswith("digits")
    }
    assert native - sides == {"2048", "aim", "dice", "scrambled", "classic_control", "matrix", "poker", "words"}


def test_sides():
    split = splits.load("connection")
    spec = {name: registry.make(name).spec for name in ("tictactoe", "hex:3", "twin:1:hex:3", "scrambled:1:hex:3")}
    assert [split.side(found) for found in spec.values()] == ["train", "held_out", "held_out", None]
    split.check([spec["tictactoe"]], [spec["hex:3"], spec["twin:1:hex:3"]])
    with pytest.raises(ValueError, match=r"twin:1:hex:3 \(family 'connection'\) is on the held-out side of the split"):
        split.check([spec["tictactoe"], spec["twin:1:hex:3"]])
    with pytest.raises(ValueError, match=r"scrambled:1:hex:3 .* is on neither side .* so it cannot be trained on"):
        split.check([spec["scrambled:1:hex:3"]])
    with pytest.raises(ValueError, match=r"tictactoe .* is on the train side .* so it cannot be called unseen"):
        split.check([], [spec["tictactoe"]])


GOOD = "name: mine\nversion: 1\ndescription: d\ntrain: [a]\nheld_out: [b]\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("train: [a]", "train: []"), "train is \\[\\]; write a list of one or more families"),
        (("train: [a]", "train: a"), "train is 'a'"),
        (("train: [a]", "train: [a, a]"), "train names a family twice"),
        (("train: [a]", "train: [b]"), "the family 'b' is on both sides"),
        (("version: 1", "version: 0"), "version is 0"),
        (("name: mine", "name: yours"), "the file must be called yours.yaml"),
        (("version: 1\n", ""), "a split has the keys description, held_out, name, train, version"),
        ((GOOD, "a: [b"), "not YAML"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, change, message):
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert splits.load(str(file)).hash == splits.load(str(file)).hash
    file.write_text(GOOD.replace(*change))
    with pytest.raises(ValueError, match=message):
        splits.load(str(file))


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown split 'nonsense'; there are arcade, boards, connection, misere"):
        splits.load("nonsense")


def test_the_hash_is_of_the_families_alone(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    first = splits.load(str(file)).hash
    file.write_text(GOOD.replace("description: d", "description: e"))
    assert splits.load(str(file)).hash == first
    file.write_text(GOOD.replace("[b]", "[b, c]"))
    assert splits.load(str(file)).hash != first
