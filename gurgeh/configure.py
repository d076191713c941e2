"""Configurations: YAML files and `key=value` overrides over frozen dataclasses, checked by their type hints.

A component owns a frozen dataclass and writes a string under each field; that string is its documentation:

    @dataclasses.dataclass(frozen=True)
    class LearnerConfig:
        lr: float = 1e-3
        \"""Learning rate of AdamW.\"""

Types: bool, int, float, str, Path, Enum, Literal, Any, `T | None`, list[T], tuple[T, ...], tuple[T, U], dict[str, T]
and other such dataclasses.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import enum
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from gurgeh.settings import (
    REQUIRED,
    alternatives,
    default_of,
    describe,
    fields_of,
    plain_value,
    section_of,
    shown,
    type_name,
)  # fmt: skip

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that its reader can put right; the message names key, expected type and value found."""


# Reading


def load_config(cls: type[T], source: str | Path | Mapping[str, Any] | None, overrides: Sequence[str] = ()) -> T:
    """The configuration `cls` from a YAML file or plain values (None: the defaults) and overrides `learner.lr=3e-4`.

    ConfigError for an unknown key (with a suggestion) and a wrong type; FileNotFoundError if there is no such file.
    """
    if isinstance(source, str | Path):
        data, named = _read_file(Path(source)), f"{source}: "
    else:
        data, named = copy.deepcopy(dict(source or {})), ""
    for override in overrides:
        _override(cls, data, override)
    try:
        return from_dict(cls, data)
    except ConfigError as error:
        raise ConfigError(f"{named}{error}") from error


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """The configuration `cls` from plain values, as `to_dict` gives them; what is left out keeps its default."""
    return _convert(cls, data, "", REQUIRED)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values that YAML and JSON can hold; `from_dict` gives an equal configuration."""
    plain = plain_value(config)
    assert isinstance(plain, dict), f"to_dict needs a dataclass, found {config!r}"
    return plain


def parse_yaml(text: str) -> Any:
    """YAML as plain values. `3e-4` is a number and a key given twice is an error, both unlike plain PyYAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from error


def dump_yaml(data: Any) -> str:
    """Plain values as YAML that `parse_yaml` reads back as they were."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


# Conversion by type


def _convert(kind: Any, value: Any, key: str, default: Any) -> Any:
    """`value` as the type `kind`; `default` is what it was, named in the error and the base of a section."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    before = (
        "" if default is REQUIRED or dataclasses.is_dataclass(default) else f"; it was {shown(plain_value(default))}"
    )
    found = f"found {shown(value)} ({type(value).__name__})"
    wrong = ConfigError(f"{key or 'the configuration'}: expected {type_name(kind)}, {found}{before}")
    if kind is Any:
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _convert_section(kind, value, key, default, wrong)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, key, default, wrong)
    if origin is Literal:
        chosen = [argument for argument in arguments if type(argument) is type(value) and argument == value]
        if not chosen:
            raise _suggest(wrong, value, arguments)
        return chosen[0]
    if origin in (list, tuple):
        return _convert_sequence(origin, arguments, value, key, wrong)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise wrong
        return {
            _convert(arguments[0], name, f"{key}.{name}", REQUIRED): _convert(
                arguments[1], entry, f"{key}.{name}", REQUIRED
            )
            for name, entry in value.items()
        }
    if issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            raise _suggest(wrong, value, [member.value for member in kind]) from None
    return _convert_leaf(kind, value, wrong)


def _convert_leaf(kind: type, value: Any, wrong: ConfigError) -> Any:
    """bool, int, float, str, Path and None, nothing taken for something else except 1e5 for an int."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)
    if kind is int and number and value == value // 1:  # false for NaN and infinity
        return int(value)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind in (bool, str, types.NoneType) and type(value) is kind:
        return value
    assert kind in (float, int, Path, bool, str, types.NoneType), f"configurations cannot hold {kind}"
    raise wrong


def _convert_union(arguments: tuple, value: Any, key: str, default: Any, wrong: ConfigError) -> Any:
    """The first alternative that takes the value; a section's own error if that is the only alternative to null."""
    if value is None and types.NoneType in arguments:
        return None
    rest = [argument for argument in arguments if argument is not types.NoneType]
    if len(rest) == 1 and section_of(rest[0]) is not None:
        return _convert(rest[0], value, key, REQUIRED if default is None else default)
    for argument in rest:
        try:
            return _convert(argument, value, key, default)
        except ConfigError:
            continue
    raise wrong


def _convert_sequence(origin: type, arguments: tuple, value: Any, key: str, wrong: ConfigError) -> Any:
    """Lists and tuples, entry by entry; a text is not taken for a list of letters."""
    if not isinstance(value, list | tuple):
        raise wrong
    if origin is list or arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(value)
    else:
        kinds = list(arguments)
        if len(kinds) != len(value):
            raise wrong
    return origin(
        _convert(kind, entry, f"{key}[{i}]", REQUIRED) for i, (kind, entry) in enumerate(zip(kinds, value, strict=True))
    )


def _convert_section(cls: type, value: Any, key: str, default: Any, wrong: ConfigError) -> Any:
    """A nested dataclass from a mapping; fields left out come from `default`, an instance, or from the class."""
    if isinstance(value, cls):
        return value
    if value is None and default is not REQUIRED:
        value = {}  # `learner:` with nothing below it
    if not isinstance(value, Mapping):
        raise wrong
    fields = fields_of(cls)
    arguments = {}
    for name, entry in value.items():
        full = f"{key}.{name}" if key else str(name)
        if name not in fields:
            prefix = f"{key}." if key else ""
            raise _unknown_key(full, key, list(fields), [setting.key for setting in describe(cls, prefix=prefix)])
        field, kind = fields[name]
        old = getattr(default, name) if default is not REQUIRED else default_of(field)
        arguments[name] = _convert(kind, entry, full, old)
    if default is not REQUIRED:
        arguments = {name: getattr(default, name) for name, (field, _) in fields.items() if field.init} | arguments
    missing = [name for name, (field, _) in fields.items() if name not in arguments and default_of(field) is REQUIRED]
    if missing:
        name = f"{key}.{missing[0]}" if key else missing[0]
        raise ConfigError(f"{name} is required: give it as {type_name(fields[missing[0]][1])}")
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except ValueError as error:  # the section's own __post_init__
        named = not key or str(error).startswith(f"{key}:")
        raise ConfigError(str(error) if named else f"{key}: {error}") from error


def _unknown_key(full: str, section: str, names: Sequence[str], everywhere: Sequence[str]) -> ConfigError:
    """The error for a key that does not exist: the nearest in its section, the same name elsewhere, the nearest."""
    last = full.rsplit(".", 1)[-1]
    prefix = f"{section}." if section else ""
    near = [prefix + name for name in difflib.get_close_matches(full.removeprefix(prefix), names, n=1)]
    same = [key for key in everywhere if key.rsplit(".", 1)[-1] == last]
    if same:
        near = difflib.get_close_matches(full, same, n=1, cutoff=0) if "." in full else same[:3]
    near = near or difflib.get_close_matches(full, everywhere, n=1)
    names_it = f"did you mean {' or '.join(map(repr, near))}?"
    hint = names_it if near else f"{section or 'the configuration'} has: {', '.join(names)}"
    return ConfigError(f"unknown key {full!r}; {hint}")


# Overrides


def _override(cls: type, data: dict[str, Any], override: str) -> None:
    """Put `a.b=value` into the plain values `data`, after checking that key and value fit."""
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not key:
        raise ConfigError(f"expected KEY=VALUE such as learner.lr=3e-4, found {override!r}")
    kind, default, target, name = _locate(cls, data, key)
    value = _parse_value(kind, text)
    try:
        _convert(kind, value, key, _converted_or(kind, target.get(name, default), default))
    except ConfigError as error:
        raise ConfigError(f"{override}: {error}") from error
    section = section_of(kind) is not None and isinstance(value, dict) and isinstance(target.get(name), dict)
    target[name] = target[name] | value if section else value


def _locate(cls: type, data: dict[str, Any], key: str) -> tuple[Any, Any, dict[str, Any], str]:
    """(type, default, mapping that holds it, name there) of a dotted key; makes the mappings on the way."""
    kind: Any = cls
    default: Any = REQUIRED
    target, above, rest = data, "", key
    while True:
        section = section_of(kind)
        if section is not None:
            name, dot, rest = rest.partition(".")
            fields = fields_of(section)
            if name not in fields:
                raise _unknown_key(key, above, list(fields), [setting.key for setting in describe(cls)])
            field, kind = fields[name]
            default = getattr(default, name) if dataclasses.is_dataclass(default) else default_of(field)
        elif typing.get_origin(kind) is dict:
            name, dot = rest, ""  # the rest as it stands: names of games and files hold dots
            kind = typing.get_args(kind)[1]
            default = default.get(name, REQUIRED) if isinstance(default, dict) else REQUIRED
        else:
            raise ConfigError(f"unknown key {key!r}: {above} is {type_name(kind)} and has no settings inside")
        if not dot:
            return kind, default, target, name
        if not isinstance(target.get(name), dict):
            target[name] = dict(default) if isinstance(default, dict) else {}
        target, above = target[name], f"{above}.{name}" if above else name


def _parse_value(kind: Any, text: str) -> Any:
    """The text of an override: as it stands for a text field, `a,b` for a list, else YAML."""
    kinds = alternatives(kind)
    null = types.NoneType in kinds and text in ("null", "~", "")
    if not null and any(alternative in (str, Path) for alternative in kinds):
        return text
    is_list = any(typing.get_origin(alternative) in (list, tuple) for alternative in kinds)
    if is_list and not null and not text.startswith("["):
        entries = split_list(text)
        entry_kind = next(typing.get_args(k)[0] for k in kinds if typing.get_origin(k) in (list, tuple))
        return [_parse_value(entry_kind, entry) for entry in entries]
    return parse_yaml(text)


def split_list(text: str) -> list[str]:
    """The entries of a list that is written with commas."""
    return [part.strip() for part in _split(text) if part.strip()]


def _split(text: str) -> list[str]:
    """At commas, but not within brackets: `hex:3,openspiel/hex(num_rows=3,num_cols=4)` is two games."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _converted_or(kind: Any, value: Any, default: Any) -> Any:
    """The value that an override replaces, for its error message; the default if the file's own value is wrong."""
    try:
        return value if value is REQUIRED else _convert(kind, value, "", default)
    except ConfigError:
        return default


# Files


def _suggest(wrong: ConfigError, value: Any, choices: Sequence[Any]) -> ConfigError:
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return ConfigError(f"{wrong}; did you mean {near[0]!r}?") if near else wrong


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = difflib.get_close_matches(path.name, [entry.name for entry in folder.glob("*.yaml")], n=1)
        hint = f"; did you mean {folder / near[0]}?" if near else ""
        raise FileNotFoundError(f"there is no configuration file {path}{hint}")
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected settings such as 'seed: 0', found {shown(data)} ({type(data).__name__})")
    return data


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2 exponents and without silent duplicates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None) or key in seen:
                what = "twice" if isinstance(key, str | int | float | bool | None) else "as a key"
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given {what}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: a text such as 3e-4 gets quotation marks."""


_EXPONENT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
