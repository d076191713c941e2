"""What can be set: every field of a configuration with its type, its default and the string under it."""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union

REQUIRED = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a configuration, as `describe` lists it."""

    key: str  # dotted, such as learner.lr
    type: str
    default: Any  # REQUIRED if it has none
    doc: str


def describe(cls: type, default: Any = REQUIRED, prefix: str = "") -> list[Setting]:
    """Every setting of a configuration in the order of its fields, sections opened.

    default: an instance whose values count instead of the class's own defaults.
    """
    found = []
    for name, (field, kind) in fields_of(cls).items():
        value = default_of(field) if default is REQUIRED or default is None else getattr(default, name)
        key = prefix + name
        section = section_of(kind)
        if section is not None:
            found += describe(section, value, f"{key}.")
        else:
            found.append(Setting(key, type_name(kind), value, _docs(cls).get(name, "")))
    return found


def format_settings(cls: type, width: int = 100) -> str:
    """Every setting with type, default and documentation, for `--help`."""
    lines = ["settings (in the YAML file, or KEY=VALUE on the command line):"]
    for setting in describe(cls):
        default = "required" if setting.default is REQUIRED else f"default {shown(plain_value(setting.default))}"
        lines.append(f"  {setting.key}  {setting.type}, {default}")
        lines += textwrap.wrap(setting.doc, width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def type_name(kind: Any) -> str:
    """A type hint as a reader writes it: `float`, `list[str]`, `one of 'a', 'b'`, `int or null`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is types.NoneType:
        return "null"
    if kind is Any:
        return "anything"
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(repr(member.value) for member in kind)
    if origin is not None:
        inside = ", ".join("..." if argument is Ellipsis else type_name(argument) for argument in arguments)
        return f"{origin.__name__}[{inside}]"
    if dataclasses.is_dataclass(kind):
        return f"a section ({', '.join(field.name for field in dataclasses.fields(kind))})"
    return kind.__name__


def alternatives(kind: Any) -> tuple:
    """The members of a union, or the type itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)


def section_of(kind: Any) -> type | None:
    """The dataclass that a hint stands for, also as `X | None`."""
    rest = [alternative for alternative in alternatives(kind) if alternative is not types.NoneType]
    return rest[0] if len(rest) == 1 and dataclasses.is_dataclass(rest[0]) else None  # type: ignore[return-value]


def fields_of(cls: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Name -> (field, resolved type hint) of every field that a configuration can set."""
    hints = _hints(cls)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(cls) if field.init}


_hints: Callable[[type], dict[str, Any]] = functools.cache(typing.get_type_hints)


def default_of(field: dataclasses.Field) -> Any:
    """A field's default, made anew where a factory makes it; REQUIRED if it has none."""
    return field.default_factory() if field.default_factory is not REQUIRED else field.default


@functools.cache
def _docs(cls: type) -> dict[str, str]:
    """The string literals under the fields of a dataclass and of those it inherits from."""
    docs: dict[str, str] = {}
    for ancestor in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(ancestor):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(ancestor))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                docs[field.target.id] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return docs


def plain_value(value: Any) -> Any:
    """Values as YAML and JSON can hold them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain_value(getattr(value, name)) for name in fields_of(type(value))}
    if isinstance(value, enum.Enum):
        return plain_value(value.value)
    if isinstance(value, Mapping):
        return {plain_value(name): plain_value(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def shown(value: Any) -> str:
    """A value in an error or a help text, cut to a line."""
    return textwrap.shorten("null" if value is None else repr(value), 80, placeholder=" ...")
