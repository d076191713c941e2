"""The pieces of HTML that a report is put together from. Text is escaped here, once."""

from __future__ import annotations

from html import escape
from typing import Any

from gurgeh.figures import Picture


class Raw(str):
    """Text that is HTML already."""


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def interval(bounds: dict[str, Any], percent: bool = False) -> str:
    """A mean and its interval; a bound that is not known is left out."""
    form = (lambda x: f"{x:.1%}") if percent else number
    text = form(bounds["mean"])
    if bounds["low"] is not None and bounds["high"] is not None:
        text += f" [{form(bounds['low'])}, {form(bounds['high'])}]"
    return text


def part(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def words(text: str, raw: bool = False) -> str:
    return f'<p class="words">{text if raw else escape(text)}</p>'


def fold(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def table(names: list[str], rows: list[list[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{c if isinstance(c, Raw) else escape(str(c))}</td>" for c in row) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def grid(pictures: list[Picture], prefix: str) -> str:
    if not pictures:
        return words("Nothing was recorded for this yet.")
    figures = []
    for picture in pictures:
        files = " ".join(
            f'<a href="figures/{escape(prefix + picture.name)}.{kind}">{kind.upper()}</a>' for kind in ("svg", "png")
        )
        figures.append(
            f'<figure role="img" aria-label="{escape(picture.title)}">{picture.svg}'
            f"<figcaption>{escape(picture.caption)} <span>{files}</span></figcaption></figure>"
        )
    return f'<div class="grid">{"".join(figures)}</div>'
