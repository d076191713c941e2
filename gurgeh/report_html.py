"""The pieces of HTML that a report is put together from. Text is escaped here, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from gurgeh.figures import Picture
from gurgeh.report_exhibits import Exhibit


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


def part(title: str, content: str, anchor: str = "") -> str:
    name = f' id="{escape(anchor)}"' if anchor else ""
    return f"<section{name}><h2>{escape(title)}</h2>{content}</section>"


def words(text: str, raw: bool = False, lead: str = "") -> str:
    """A paragraph; lead: its first word or two, in bold."""
    bold = f"<b>{escape(lead)}</b> " if lead else ""
    return f'<p class="words">{bold}{text if raw else escape(text)}</p>'


def notice(lines: Sequence[str], title: str) -> str:
    """A box with what the reader must know before reading on; nothing where there is nothing."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="notice"><b>{escape(title)}</b><ul>{items}</ul></div>'


def fold(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def table(names: list[str], rows: list[list[Any]], anchors: Sequence[str] = ()) -> str:
    """anchors: an id for each row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        (f'<tr id="{escape(anchors[place])}">' if anchors else "<tr>")
        + "".join(f"<td>{c if isinstance(c, Raw) else escape(str(c))}</td>" for c in row)
        + "</tr>"
        for place, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def anchor_of(picture: Picture) -> str:
    """The id of a picture's place on the page."""
    return f"figure-{picture.name}"


def link(anchor: str, text: str) -> Raw:
    return Raw(f'<a href="#{escape(anchor)}">{escape(text)}</a>')


def grid(pictures: Sequence[Picture], prefix: str = "", address: Callable[[Picture, str], str] | None = None) -> str:
    """Pictures side by side as far as there is room.

    prefix: of the ids of events. address: (picture, svg or png) -> where its file lies, seen from the page.
    """
    figures = []
    for picture in pictures:
        links = "".join(f" {link(f'{prefix}event-{n}', f'event {n}')}" for n in picture.marked)
        files = "" if address is None else " ".join(
            f'<a href="{escape(address(picture, kind))}">{kind.upper()}</a>' for kind in ("svg", "png")
        )  # fmt: skip
        figures.append(
            f'<figure id="{escape(anchor_of(picture))}"><div role="img" aria-label="{escape(picture.title)}">'
            f"{picture.svg}</div><figcaption>{escape(picture.caption)}"
            + (f'<span class="marked">Marked:{links}</span>' if links else "")
            + (f' <span class="files">{files}</span>' if files else "")
            + "</figcaption></figure>"
        )
    return f'<div class="grid">{"".join(figures)}</div>' if figures else ""


def exhibit(
    shown: Exhibit, prefix: str, address: Callable[[Picture, str], str] | None, extra: str = ""
) -> str:  # fmt: skip
    """One of the eight figures with its words; extra: HTML after its pictures."""
    content = ""
    if shown.pictures:
        content += words(shown.words)
        content += words(shown.null, lead="The null.")
        content += words(shown.limits, lead="Not shown.")
        content += grid(shown.pictures, prefix, address)
        if shown.folded:
            content += fold(f"{len(shown.folded)} more", grid(shown.folded, prefix, address))
    for sentence in shown.missing:
        content += words(sentence, lead="Not here." if not shown.pictures else "Also missing.")
    return part(f"Figure {shown.number}. {shown.title}", content + extra, f"{prefix}figure-{shown.number}")
