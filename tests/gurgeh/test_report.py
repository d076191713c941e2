"""The report and `gurgeh monitor` on a synthetic run: self-contained, complete, escaped; events found again."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from synthetic_run import make_run

from gurgeh import cli
from gurgeh.report import write_report

GAMES = {"tictactoe": 0, "CartPole-v1": 800, "evil <b>&": 2000}


class Page(HTMLParser):
    """Tags in order, the text of table cells by row, and every address that the page mentions."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.rows, self.addresses = [], [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.addresses += [value for name, value in attributes if name in ("href", "src", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "demo", GAMES, last=3000)


@pytest.fixture(scope="module")
def page(run):
    return write_report([run])


def test_the_page_is_well_formed_and_needs_no_network(page, run):
    assert page == run / "report" / "index.html"
    text = page.read_text()
    found = Page(text)
    assert not re.search(r"@import|url\(\s*['\"]?http|<script|<iframe", text)
    local = [address for address in found.addresses if not address.startswith(("#", "data:"))]
    assert local
    assert all((page.parent / address).exists() for address in local), local
    assert found.tags.count("svg") == 6 + 2 + 2  # two a game, one an introduction, rank and dormancy


def test_names_are_escaped(page):
    text = page.read_text()
    assert "<b>&" not in text
    assert "evil &lt;b&gt;&amp;" in text


def test_tables_show_the_records(page):
    rows = Page(page.read_text()).rows
    assert ["tictactoe", "perfect", "97.5% [91.0%, 99.3%]", "212 [200, 223]", "99.56% of 4,520", "100", "3,000",
            "episodes"] in rows  # fmt: skip
    assert any(row[:5] == ["2,070", "forgetting", "confirmed", "tictactoe", "policy"] for row in rows)
    assert any(row[0] == "800" and row[2:4] == ["game added", "CartPole-v1"] for row in rows)


def test_every_figure_is_also_a_file(page):
    svgs = sorted(page.parent.glob("figures/*.svg"))
    assert len(svgs) == 10
    for svg in svgs:
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
        assert svg.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_several_runs_on_one_page_and_the_same_records_give_the_same_page(tmp_path):
    runs = [make_run(tmp_path / name, {"tictactoe": 0}, last=120, forget=False) for name in ("one", "two")]
    page, again = (write_report(runs, tmp_path / name) for name in ("both", "more"))
    assert Page(page.read_text()).tags.count("h1") == 2
    assert (tmp_path / "both/figures/2-loss-tictactoe-heads.svg").exists()
    assert page.read_text() == again.read_text()


def test_a_run_that_has_recorded_nothing_yet_still_has_a_page(tmp_path):
    from gurgeh.rundir import RunDirectory

    RunDirectory.create(tmp_path / "new", {"seed": 0}).close()
    text = write_report([tmp_path / "new"]).read_text()
    assert "was not evaluated" in text
    Page(text)


def test_monitor_finds_the_events_of_the_live_run_again(run, capsys):
    assert cli.main(["monitor", str(run), "--json"]) == 10
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    live = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert answer["events"] == live
    assert sum(e["type"] == "forgetting" for e in live) == 7  # policy, value, dynamics_1 to dynamics_5
    assert answer["identical"] is True
    assert shown.err == ""


def test_monitor_says_in_words_what_happened(run, capsys):
    assert cli.main(["monitor", str(run)]) == 10
    out = capsys.readouterr().out
    assert re.search(r"update +2,070  confirmed forgetting: tictactoe policy, rise_nats 0\.29", out)
    assert re.search(r"update +800  game_added CartPole-v1", out)


def test_monitor_warns_when_the_logs_say_something_else(run, tmp_path, capsys):
    changed = shutil.copytree(run, tmp_path / "changed")
    lines = (changed / "events.jsonl").read_text().splitlines(keepends=True)
    (changed / "events.jsonl").write_text("".join(lines[1:]))
    assert cli.main(["monitor", str(changed)]) == 10
    shown = capsys.readouterr()
    assert f"the {len(lines)} events found again are not the {len(lines) - 1} of the live run" in shown.err
    assert shown.out.count("confirmed forgetting") == 7


def test_nothing_found_is_exit_code_0(tmp_path, capsys):
    run = make_run(tmp_path / "calm", {"tictactoe": 0, "CartPole-v1": 200}, last=600, forget=False)
    assert cli.main(["monitor", str(run)]) == 0
    assert "no events" in capsys.readouterr().out


def test_bad_runs_are_one_line_and_exit_code_2(run, tmp_path, capsys):
    assert cli.main(["monitor", str(tmp_path / "nowhere")]) == 2
    assert cli.main(["report", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.yaml").write_text("seed: 0\n")
    assert cli.main(["monitor", str(tmp_path / "broken")]) == 2
    (tmp_path / "broken/monitor.jsonl").write_text('{"schema":"monitor.loss/1"}\n')
    assert cli.main(["monitor", str(tmp_path / "broken")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    assert "no records of the monitor" in lines[2]
    assert "line 1" in lines[3]
