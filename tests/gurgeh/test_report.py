"""The report and `gurgeh monitor` on a synthetic run: self-contained, complete, escaped; events found again."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
from report_page import Page, assert_honest, figure
from synthetic_run import make_run

from gurgeh import cli
from gurgeh.report import Options, write_report

GAMES = {"tictactoe": 0, "CartPole-v1": 800, "evil <b>&": 2000}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "demo", GAMES, last=3000)


@pytest.fixture(scope="module")
def page(run):
    return write_report([run], options=Options(figures=run / "report" / "figures"))


def test_the_page_is_well_formed_and_needs_no_network(page, run):
    assert page == run / "report" / "index.html"
    text = page.read_text()
    found = Page(text)
    assert not re.search(r"@import|url\(\s*['\"]?(http|//)|<script|<iframe|<metadata", text)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert not [address for address in found.addresses if re.match(r"[a-z]+:|//", address) and address != "data:,"]
    local = [address for address in found.addresses if not address.startswith(("#", "data:"))]
    assert local
    assert all((page.parent / address).exists() for address in local), local
    # Losses: two a game; aligned: one a game, one an introduction; rank and dormancy.
    assert found.tags.count("svg") == 6 + 3 + 2 + 2


def test_every_link_on_the_page_leads_somewhere_and_no_id_is_there_twice(page):
    found = Page(page.read_text())
    assert len(found.ids) == len(set(found.ids))
    inside = {address[1:] for address in found.addresses if address.startswith("#")}
    assert inside
    assert inside <= set(found.ids)


def test_losses_stand_beside_smooth_learning_with_their_events(page):
    section = figure(page.read_text(), 1)
    assert_honest(section)
    heads = next(picture for picture in section.pictures if picture.anchor == "loss-tictactoe-heads")
    assert {"null-policy", "null-value", "null-reward", "null-continuation"} <= set(heads.marks)
    assert "outside them lie policy" in heads.caption
    assert {mark for mark in heads.marks if mark.startswith("introduction")} == {
        "introduction-CartPole-v1", "introduction-evil__b__",
    }  # fmt: skip
    assert heads.events
    assert {f"event-{anchor[6:]}" for anchor in heads.events} <= set(heads.marks)


def test_what_came_after_an_introduction_stands_beside_no_change(page):
    section = figure(page.read_text(), 2)
    assert_honest(section)
    change = next(picture for picture in section.pictures if picture.anchor == "change-after-evil__b__")
    assert {"null-unchanged", "threshold"} <= set(change.marks)
    rows = {row[0]: row for row in Page(page.read_text()).rows}
    forgotten = [anchor for anchor in change.events if rows[anchor.removeprefix("event-")][2] == "forgetting"]
    assert len(forgotten) == 7, "policy, value, dynamics_1 to dynamics_5"


def test_every_event_is_in_the_table_with_its_null_and_links_to_its_figures(page, run):
    text = page.read_text()
    live = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    called = {e["id"] for e in live if e["status"] in ("confirmed", "confounded", "suspended")}
    rows = re.findall(r'<tr id="event-(\d+)">(.*?)</tr>', text)
    assert [int(number) for number, _ in rows] == list(range(1, len(called) + 1))
    for number, row in rows:
        cells = re.findall(r"<td>(.*?)</td>", row)
        assert cells[7], f"event {number} has no null: {cells}"
        links = re.findall(r'href="#figure-([^"]+)"', cells[10])
        assert links, f"event {number} is in no figure: {cells}"
        for link in links:
            assert f'id="{link}.event-{number}"' in text
    assert '<a xlink:href="#event-1"' in text, "numbers in the pictures lead to the table"


def test_events_of_games_whose_names_have_commas_are_kept(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "r")
    name = "openspiel/hex(num_cols=3,num_rows=4)"
    for file in copy.glob("*.jsonl"):
        file.write_text(file.read_text().replace("tictactoe", name))
    text = write_report([copy]).read_text()
    assert "of unknown games" not in text
    events = [row for row in Page(text).rows if "forgetting" in row]
    assert events
    assert {row[4] for row in events} == {name}


def test_what_the_data_does_not_support_is_said_with_what_would_be_needed(page):
    text = page.read_text()
    for number, needed in ((3, "monitor.sharing=true"), (4, "monitor.sharing=true"), (5, "gurgeh adapt"),
                           (6, "5 seeds"), (7, "4 sizes"), (8, "--arena")):  # fmt: skip
        section = figure(text, number)
        assert not section.pictures
        assert "Not here." in section.text
        assert needed in section.text, section.text


def test_names_are_escaped(page):
    text = page.read_text()
    assert "<b>&" not in text
    assert "evil &lt;b&gt;&amp;" in text


def test_tables_show_the_records(page):
    rows = Page(page.read_text()).rows
    assert ["tictactoe", "perfect", "97.5% [91.0%, 99.3%]", "212 [200, 223]", "99.56% of 4,520", "100", "3,000",
            "episodes"] in rows  # fmt: skip
    assert any(row[1:6] == ["2,070", "forgetting", "confirmed", "tictactoe", "policy"] for row in rows)
    assert any(row[0] == "800" and row[2:4] == ["game added", "CartPole-v1"] for row in rows)


def test_every_figure_is_also_a_file_on_request(page):
    text = page.read_text()
    names = set(re.findall(r'<figure id="figure-([^"]+)">', text))
    svgs = sorted(page.parent.glob("figures/*.svg"))
    assert {svg.stem for svg in svgs} == names
    for svg in svgs:
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
        assert svg.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert f'href="figures/{svg.name}"' in text


def test_several_runs_on_one_page_and_the_same_records_give_the_same_page(tmp_path):
    runs = [make_run(tmp_path / name, {"tictactoe": 0}, last=120, forget=False, falls=False) for name in ("one", "two")]
    page, again = (write_report(runs, tmp_path / name) for name in ("both", "more"))
    text = page.read_text()
    found = Page(text)
    assert found.tags.count("h1") == 3  # all together, and one each
    assert len(found.ids) == len(set(found.ids))
    assert "figure-r2-loss-tictactoe-heads" in found.ids
    assert not (tmp_path / "both/figures").exists(), "nobody asked for files"
    assert "SVG</a>" not in text
    assert text == again.read_text()


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
