"""Configurations: what fits is taken as written, what does not is refused by key, expected type and value found."""

from __future__ import annotations

import dataclasses
import enum
import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gurgeh.configure import ConfigError, dump_yaml, from_dict, load_config, parse_yaml, to_dict
from gurgeh.settings import REQUIRED, describe, format_settings


class Trunk(enum.StrEnum):
    MLP = "mlp"
    RESNET = "resnet"


@dataclasses.dataclass(frozen=True)
class Base:
    every: int = 10
    """How often,
    in updates."""


@dataclasses.dataclass(frozen=True)
class Learner(Base):
    lr: float = 1e-3
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    """Clip the norm."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, found {self.lr}")


@dataclasses.dataclass(frozen=True)
class Stage:
    game: str
    at: int = 0


@dataclasses.dataclass(frozen=True)
class Config:
    games: list[str]
    """Which games."""
    seed: int = 0
    """Seed of everything."""
    name: str = "run"
    note: str | None = None
    tensorboard: bool = True
    trunk: Trunk = Trunk.MLP
    mode: Literal["a", "b", 3] = "a"
    path: Path = Path("x")
    weights: dict[str, float] = dataclasses.field(default_factory=lambda: {"policy": 1.0})
    sizes: tuple[int, ...] = (1, 2)
    stages: list[Stage] = dataclasses.field(default_factory=list)
    extra: Any = None
    learner: Learner = dataclasses.field(default_factory=lambda: Learner(every=7))
    probe: Learner | None = None
    either: int | str = 1


def load(*overrides):
    return load_config(Config, None, ["games=tictactoe", *overrides])


def test_file_and_overrides(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text("games: [tictactoe, 'CartPole-v1', ale/Pong:100k]\nlearner:\n  lr: 3e-4\n  clip: 5\nseed: 3\n")
    config = load_config(Config, path, ["learner.lr=1e-2", "seed=4", "seed=5"])
    assert config.games == ["tictactoe", "CartPole-v1", "ale/Pong:100k"]
    assert config.learner == Learner(every=7, lr=0.01, clip=5.0)
    assert isinstance(config.learner.clip, float)
    assert config.seed == 5


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("learner.lr=3e-4", "lr", 3e-4),
        ("learner.lr=3", "lr", 3.0),
        ("learner.lr=.inf", "lr", math.inf),
        ("learner.every=1e5", "every", 100000),
        ("learner.betas=[0.5, 1]", "betas", (0.5, 1.0)),
        ("learner.betas=0.5,1e-1", "betas", (0.5, 0.1)),
        ("learner.clip=null", "clip", None),
        ("learner={lr: 2}", "lr", 2.0),
    ],
)
def test_overrides_of_a_section(override, key, value):
    found = getattr(load(override).learner, key)
    assert found == value
    assert type(found) is type(value)
    assert load(override).learner.every == (100000 if key == "every" else 7), "the section's other fields stay"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("games=a,b", "games", ["a", "b"]),
        ("games=a,openspiel/y(b=1,c=2),d", "games", ["a", "openspiel/y(b=1,c=2)", "d"]),
        ("games=[ale/Pong:100k, 'x']", "games", ["ale/Pong:100k", "x"]),
        ("games=game.py:Name", "games", ["game.py:Name"]),
        ("name=123", "name", "123"),
        ("name=a=b", "name", "a=b"),
        ("note=null", "note", None),
        ("note=no", "note", "no"),
        ("tensorboard=false", "tensorboard", False),
        ("trunk=resnet", "trunk", Trunk.RESNET),
        ("mode=3", "mode", 3),
        ("path=/a/b", "path", Path("/a/b")),
        ("sizes=4", "sizes", (4,)),
        ("sizes=[]", "sizes", ()),
        ("weights.policy=2", "weights", {"policy": 2.0}),
        ("weights.value=2", "weights", {"policy": 1.0, "value": 2.0}),
        ("weights.my_game.py/CartPole-v1.x=2", "weights", {"policy": 1.0, "my_game.py/CartPole-v1.x": 2.0}),
        ("stages=[{game: a, at: 3}]", "stages", [Stage("a", 3)]),
        ("extra={a: [1, x]}", "extra", {"a": [1, "x"]}),
        ("probe={}", "probe", Learner()),
        ("probe.lr=1", "probe", Learner(lr=1.0)),
        ("either=word", "either", "word"),
    ],
)
def test_overrides_by_type(override, key, value):
    found = getattr(load(override), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.lr=fast", r"^learner\.lr=fast: learner\.lr: expected float, found 'fast' \(str\); it was 0\.001$"),
        ("learner.lr=true", r"learner\.lr: expected float, found True \(bool\)"),
        ("seed=1.5", r"seed: expected int, found 1\.5 \(float\); it was 0"),
        ("seed=.nan", r"seed: expected int"),
        ("seed=.inf", r"seed: expected int"),
        ("seed=", r"seed: expected int, found null"),
        ("tensorboard=1", r"tensorboard: expected bool, found 1 \(int\); it was True"),
        ("trunk=resnett", r"trunk: expected one of 'mlp', 'resnet'.*did you mean 'resnet'\?"),
        ("mode=c", r"mode: expected one of 'a', 'b', 3, found 'c'"),
        ("learner.betas=1", r"learner\.betas: expected tuple\[float, float\]"),
        ("learner.clip=x", r"learner\.clip: expected float or null, found 'x' \(str\); it was null"),
        ("learner=3", r"learner: expected a section \(every, lr, betas, clip\), found 3"),
        ("sizes=1,x", r"sizes\[1\]: expected int, found 'x'"),
        ("stages=[{gam: a}]", r"unknown key 'stages\[0\]\.gam'; did you mean 'stages\[0\]\.game'\?"),
        ("stages=[{at: 1}]", r"stages\[0\]\.game is required: give it as str"),
        ("weights.policy=x", r"weights\.policy: expected float"),
        ("probe={lrr: 1}", r"unknown key 'probe\.lrr'; did you mean 'probe\.lr'"),
        ("learner.lrr=1", r"unknown key 'learner\.lrr'; did you mean 'learner\.lr'\?"),
        ("learnr.lr=1", r"unknown key 'learnr\.lr'; did you mean 'learner\.lr'\?"),
        ("lr=1", r"unknown key 'lr'; did you mean 'learner\.lr' or 'probe\.lr'\?"),
        ("sead=1", r"unknown key 'sead'; did you mean 'seed'\?"),
        ("qqqqqq=1", r"unknown key 'qqqqqq'; the configuration has: games, seed"),
        ("seed.x=1", r"unknown key 'seed\.x': seed is int and has no settings inside"),
        ("seed.=1", r"unknown key 'seed\.'"),
        ("learner.=1", r"unknown key 'learner\.'"),
        ("seed", r"expected KEY=VALUE such as learner\.lr=3e-4, found 'seed'"),
        ("seed=[1", r"not valid YAML"),
        ("learner.lr=-1", r"learner: lr must be positive, found -1\.0"),
    ],
)
def test_what_does_not_fit_is_refused(override, message):
    with pytest.raises(ConfigError, match=message) as error:
        load(override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nlearnr: {lr: 1}", r"demo\.yaml: unknown key 'learnr'; did you mean 'learner'\?"),
        ("learner: {seed: 1}", r"demo\.yaml: unknown key 'learner\.seed'"),
        ("learner: {lr: '1'}", r"demo\.yaml: learner\.lr: expected float, found '1' \(str\); it was 0\.001"),
        ("seed: 1\nseed: 2", r"demo\.yaml: not valid YAML.*'seed' is given twice.*line 2"),
        ("a: [", r"demo\.yaml: not valid YAML"),
        ("- a", r"demo\.yaml: expected settings such as 'seed: 0', found \['a'\] \(list\)"),
        ("games: tictactoe", r"demo\.yaml: games: expected list\[str\], found 'tictactoe'"),
        ("x: !!python/object/apply:os.system ['true']", r"demo\.yaml: not valid YAML"),
        ("? [a]\n: 1", r"demo\.yaml: not valid YAML"),
        ("seed: 1", r"games is required: give it as list\[str\]"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "demo.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(Config, path)
    assert "\n" not in str(error.value)


def test_an_override_mends_a_files_value(tmp_path):
    (tmp_path / "demo.yaml").write_text("games: [a]\nseed: x\n")
    assert load_config(Config, tmp_path / "demo.yaml", ["seed=2"]).seed == 2


def test_plain_values_can_be_overridden_and_stay_as_they_were():
    saved = to_dict(load("learner.lr=2"))
    changed = load_config(Config, saved, ["learner.lr=3", "weights.value=1", "probe.lr=4"])
    assert (changed.learner.lr, changed.weights["value"], changed.probe.lr) == (3.0, 1.0, 4.0)
    assert changed.learner.every == 7
    assert saved == to_dict(load("learner.lr=2"))


def test_a_missing_file_suggests_one(tmp_path):
    (tmp_path / "demo.yaml").write_text("")
    with pytest.raises(
        FileNotFoundError, match=r"there is no configuration file .*dmo\.yaml; did you mean .*demo\.yaml"
    ):
        load_config(Config, tmp_path / "dmo.yaml")


def test_an_empty_section_keeps_the_defaults(tmp_path):
    (tmp_path / "demo.yaml").write_text("games: [a]\nlearner:\n")
    assert load_config(Config, tmp_path / "demo.yaml").learner == Learner(every=7)


def test_defaults_are_not_shared_or_changed():
    load("weights.value=2")
    assert load().weights == {"policy": 1.0}


configs = st.builds(
    Config,
    games=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x85"), max_size=5), max_size=3),
    seed=st.integers(),
    name=st.sampled_from(
        ["3e-4", "null", "yes", "1", "1e5", "a: b", "", "ü", "1_0e3", "+1E5", "12:30:45", "2020-01-01"]
    ),
    note=st.none() | st.just("~"),
    trunk=st.sampled_from(Trunk),
    mode=st.sampled_from(["a", 3]),
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    learner=st.builds(Learner, lr=st.floats(min_value=1e-300), clip=st.none() | st.floats(allow_nan=False)),
    probe=st.none() | st.builds(Learner),
    stages=st.lists(st.builds(Stage, game=st.just("g")), max_size=2),
)


@given(config=configs)
def test_resolved_configs_come_back_equal(config):
    assert from_dict(Config, parse_yaml(dump_yaml(to_dict(config)))) == config


def test_every_field_is_described_with_its_own_default():
    settings = {setting.key: setting for setting in describe(Config)}
    assert settings["games"].default is REQUIRED
    assert settings["games"].doc == "Which games."
    assert settings["learner.every"].doc == "How often, in updates.", "inherited, on one line"
    assert settings["learner.every"].default == 7, "the section's own default, not the class's"
    assert settings["learner.betas"].doc == ""
    assert settings["probe.clip"].type == "float or null"
    assert list(settings)[:2] == ["games", "seed"]
    assert "learner" not in settings


def test_help_shows_type_default_and_text():
    text = format_settings(Config)
    assert "  games  list[str], required\n      Which games." in text
    assert "  learner.lr  float, default 0.001\n      Learning rate." in text
    assert "  note  str or null, default null" in text
