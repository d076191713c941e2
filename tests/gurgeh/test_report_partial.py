"""Bad or partial records: the page is written all the same, and says what is missing in a clear sentence."""

import json
import shutil

import pytest
from report_page import Page, figure
from synthetic_run import make_run

from gurgeh import cli
from gurgeh.report import Options, write_report
from gurgeh.report_exhibits import guarded


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("whole") / "r",
        {"tictactoe": 0, "CartPole-v1": 300},
        last=500,
        forget=False,
        falls=False,
    )


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "r")


def edited(run, stream, change):
    """The page after `change` of the list of a stream's lines."""
    file = run / f"{stream}.jsonl"
    file.touch()
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))
    text = write_report([run]).read_text()
    Page(text)
    return text


def test_damaged_lines_are_left_out_and_counted(run):
    text = edited(run, "monitor", lambda lines: [lines[0], "{half\n", '{"schema":"monitor.loss/1"}\n', *lines[1:]])
    assert "monitor.jsonl: 2 lines cannot be read and are left out (line 2: " in text
    assert figure(text, 1).pictures


def test_a_line_that_is_being_written_is_no_damage(run):
    assert "What could not be read" not in edited(run, "monitor", lambda lines: [*lines, '{"schema":'])


def test_games_that_the_ledger_does_not_know_are_left_out(run):
    text = edited(run, "ledger", lambda lines: [line for line in lines if '"CartPole-v1"' not in line])
    assert "records are of games that the ledger does not introduce (CartPole-v1)" in text
    assert {picture.anchor for picture in figure(text, 1).pictures} == {
        "loss-tictactoe-heads",
        "loss-tictactoe-dynamics",
    }


def test_without_a_ledger_there_is_a_page(run):
    text = edited(run, "ledger", lambda lines: [])
    assert "No frozen losses were recorded" in figure(text, 1).text


def test_records_that_cannot_be_drawn_cost_one_figure_and_no_page(run):
    def change(lines):
        records = [json.loads(line) for line in lines]
        for record in records:
            if record["schema"] == "monitor.loss/1":
                record["losses"] = {"policy": 3}
        return [json.dumps(record) + "\n" for record in records]

    text = edited(run, "monitor", change)
    assert "could not be drawn from these records" in figure(text, 1).text
    assert "Health of the representation" in text
    assert 'id="figure-health-effective-rank"' in text


def test_a_short_run_says_why_it_has_no_null(run):
    text = edited(run, "monitor", lambda lines: lines[:20])
    heads = figure(text, 1).pictures[0]
    assert "No null for policy" in heads.caption
    assert "at least 40 points" in heads.caption


def test_damaged_events_evaluations_and_versions_are_said(run):
    (run / "versions.json").write_text("[1")
    (run / "evaluations/x.json").write_text('{"schema":"evaluation/1"}')
    (run / "evaluations/y.json").write_text("{")
    text = edited(run, "events", lambda lines: [*lines, '{"schema":"monitor.event/1"}\n'])
    assert "events.jsonl: 1 line cannot be read and is left out" in text
    assert "versions.json: " in text
    assert "evaluations/x.json: has no game, players" in text
    assert "evaluations/y.json: not an evaluation" in text


def test_a_config_that_cannot_be_read_is_said(run):
    (run / "config.yaml").write_text("seed: [0\n")
    assert "config.yaml: " in write_report([run]).read_text()


def test_bad_files_of_records_and_arenas_are_said(run, tmp_path):
    (tmp_path / "records.jsonl").write_text('{"schema":"monitor.scaling/1"}\nnot json\n')
    (tmp_path / "arena").mkdir()
    (tmp_path / "arena/arena.json").write_text("{")
    options = Options(arenas=(tmp_path / "arena",), records=(tmp_path / "records.jsonl",))
    text = write_report([run], options=options).read_text()
    assert "records.jsonl, line 1: monitor.scaling/1: missing fields" in text
    assert "records.jsonl, line 2" in text
    assert "not a report of an arena" in text


def test_places_that_are_not_there_are_one_line_and_exit_code_2(run, tmp_path, capsys):
    for option in ("--arena", "--records"):
        assert cli.main(["report", str(run), option, str(tmp_path / "nowhere")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert all("nowhere" in line for line in lines)


def test_an_error_of_one_figure_names_itself():
    def fail():
        raise KeyError("excess")

    (sentence,) = guarded(3, fail).missing
    assert "KeyError: 'excess'" in sentence


def test_the_command_writes_figures_where_it_is_told(run, tmp_path, capsys):
    assert cli.main(["report", str(run), "--output", str(tmp_path / "page"), "--figures"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page/index.html")
    assert (tmp_path / "page/figures/loss-tictactoe-heads.png").exists()
    assert (
        cli.main(["report", str(run), "--figures", str(tmp_path / "elsewhere"), "--output", str(tmp_path / "p2")]) == 0
    )
    assert 'href="../elsewhere/loss-tictactoe-heads.svg"' in (tmp_path / "p2/index.html").read_text()


def test_falls_are_looked_for_on_request(tmp_path, monkeypatch):
    run = make_run(tmp_path / "r", {"tictactoe": 0}, last=400, forget=False, falls=False)
    assert "were not looked for in this run" in figure(write_report([run]).read_text(), 1).text
    asked = []
    monkeypatch.setattr("gurgeh.report_data.regenerate", lambda records, falls: asked.append(falls) or [])
    assert write_report([run], options=Options(falls=True))
    assert asked == [True]
