"""A page of a report read back: its tags, rows, links, and its figures with their words and the ids in their SVG."""

import dataclasses
import re
from html import unescape
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags in order, the text of table cells by row, every id, and every address that the page mentions."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.rows, self.addresses, self.ids = [], [], [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._note(attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self._note(attributes)

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def _note(self, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src", "xlink:href")]
        self.ids += [value for name, value in attributes if name == "id"]


@dataclasses.dataclass(frozen=True)
class Shown:
    """One picture on the page."""

    anchor: str
    caption: str
    marks: tuple[str, ...]  # ids of its SVG, without the picture's own name
    events: tuple[str, ...]  # anchors that its caption links to


@dataclasses.dataclass(frozen=True)
class Section:
    """One of the eight figures."""

    text: str  # words without tags and pictures
    pictures: tuple[Shown, ...]


def figure(text: str, number: int, prefix: str = "") -> Section:
    """Figure `number` of a page."""
    found = re.search(rf'<section id="{prefix}figure-{number}">(.*?)</section>', text, re.DOTALL)
    assert found, f"no figure {number}"
    pictures = []
    for picture in re.finditer(r'<figure id="figure-([^"]+)">(.*?)</figure>', found[1], re.DOTALL):
        name, body = picture[1], picture[2]
        caption = re.search(r"<figcaption>(.*?)</figcaption>", body, re.DOTALL)
        assert caption, name
        marks = re.findall(r'\bid="([^"]+)"', body)
        assert all(mark.startswith(f"{name}.") for mark in marks), name
        pictures.append(Shown(
            name, unescape(re.sub(r"<[^>]+>", "", caption[1])), tuple(mark[len(name) + 1 :] for mark in marks),
            tuple(re.findall(r'href="#([^"]+)"', caption[1])),
        ))  # fmt: skip
    words = re.sub(r"<figure.*?</figure>", "", found[1], flags=re.DOTALL)
    return Section(unescape(re.sub(r"<[^>]+>", " ", words)), tuple(pictures))


def assert_honest(section: Section, ceiling: bool = False) -> None:
    """Every picture has its null, a caption of its own that speaks of the null, and the section says what it does not
    show; ceiling: every picture has one."""
    assert section.pictures
    for picture in section.pictures:
        assert any(mark.startswith("null") for mark in picture.marks), f"{picture.anchor} has no null"
        assert re.search(r"[Nn]ull", picture.caption), f"{picture.anchor}: {picture.caption}"
        assert not ceiling or any(mark.startswith("ceiling") for mark in picture.marks), f"{picture.anchor}: no ceiling"
    said = re.search(r"The null\.\s+(.+?)\s+Not shown\.\s+(\S.+)", section.text, re.DOTALL)
    assert said, section.text
    assert len(said[1]) > 40
    assert len(said[2]) > 40
