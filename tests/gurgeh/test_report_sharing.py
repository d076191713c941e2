"""Figures 3 and 4 on records of a planted run: nulls, the twin's ceiling, the health strip, onsets; without a twin."""

import json
import re

import numpy as np
import pytest
from planted_sharing import CONFIG, GAME, SCRAMBLE, TWINNED, make_sharing_run
from report_page import Page, assert_honest, figure

from gurgeh.figures import Marked
from gurgeh.report import write_report
from gurgeh.report_data import read_run
from gurgeh.report_sharing import health_of, latest_cells, pair_panel
from monitor.ledger import entry
from monitor.records import HEALTH


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_sharing_run(tmp_path_factory.mktemp("sharing") / "twins")


@pytest.fixture(scope="module")
def text(run):
    return write_report([run]).read_text()


def test_each_pair_is_shown_with_nulls_the_ceiling_and_the_health_strip(text):
    section = figure(text, 3)
    assert_honest(section, ceiling=True)
    assert [picture.anchor for picture in section.pictures] == [
        "sharing-nim-twin_1_nim", "sharing-nim-scrambled_1_nim", "sharing-twin_1_nim-scrambled_1_nim",
    ]  # fmt: skip
    for picture in section.pictures:
        assert {"null-probe", "null-subspace", "null-ablation", "null-tag", "null-index"} <= set(picture.marks)
        assert {"ceiling-probe", "ceiling-ablation", "ceiling-index"} <= set(picture.marks)
        assert any(mark.startswith("health-healthy") for mark in picture.marks)
    twin, scrambled, _ = section.pictures
    assert "cka" in " ".join(twin.marks)
    assert "isomorphic twin" in twin.caption
    assert "negative control" in scrambled.caption


def test_the_onset_is_marked_and_linked_both_ways(text, run):
    onsets = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    onsets = [event for event in onsets if event["type"] == "sharing_onset"]
    assert [(event["game"], event["other_game"]) for event in onsets] == [(GAME, TWINNED)]
    twin, *others = figure(text, 3).pictures
    assert len(twin.events) == 1
    assert twin.events[0] in Page(text).ids
    assert any(mark.startswith("event-") for mark in twin.marks)
    assert not any(mark.startswith("event-") for picture in others for mark in picture.marks)
    row = re.search(rf'<tr id="{twin.events[0]}">(.*?)</tr>', text)
    assert row
    assert f"{GAME} and {TWINNED}" in row[1]
    assert f'href="#figure-{twin.anchor}"' in row[1]


def test_captions_count_the_checkpoints_above_every_null(run):
    data = read_run(run)
    pair = GAME, TWINNED
    picture = pair_panel(pair, data.sharing, data.added, health_of(data.in_order), data.called)
    assert picture
    mine = [r for r in data.sharing if (r["game"], r["other_game"]) == pair and r["occasion"] == "checkpoint"]
    above = sum(r["excess"]["low"] > 0 for r in mine if r["measure"] == "tag")
    assert f"TAG {above} of {sum(r['measure'] == 'tag' for r in mine)}" in picture.caption


def test_matrices_show_the_newest_value_beside_its_null(text, run):
    section = figure(text, 4)
    assert_honest(section)
    assert [picture.anchor for picture in section.pictures] == ["matrix-probe", "matrix-ablation", "matrix-tag"]
    for picture in section.pictures:
        assert sum(mark.startswith("null-") for mark in picture.marks) == 6
        assert "Ceiling" in picture.caption
        assert {"certain-0-1", "certain-1-0"} <= set(picture.marks), "nim and its twin share"
    data = read_run(run)
    cells = latest_cells(data.games, data.sharing, "tag")
    newest = [r for r in data.sharing if r["measure"] == "tag" and r["other_game"] == SCRAMBLE and r["game"] == GAME][
        -1
    ]
    assert cells.value[0, 2] == cells.value[2, 0] == newest["value"]
    assert cells.null[2, 0] == newest["nulls"][newest["excess"]["null"]]["mean"]
    assert cells.certain[0, 2] == (newest["excess"]["low"] > 0)
    assert np.isnan(np.diag(cells.value)).all()
    assert "Savings from game to game need" in section.text


def test_without_a_twin_there_is_no_ceiling_and_it_is_said(tmp_path):
    text = write_report([make_sharing_run(tmp_path / "alone", twin=False, last=200)]).read_text()
    section = figure(text, 3)
    assert_honest(section)
    assert "no game of this run has an isomorphic twin" in section.text
    assert "no negative control" in section.text
    for picture in section.pictures:
        assert not any(mark.startswith("ceiling") for mark in picture.marks)
        assert "No ceiling and no index" in picture.caption
    assert "No ceiling: no game has a twin" in figure(text, 4).pictures[0].caption


def test_a_collapse_of_rank_is_red_in_the_strip_by_the_rule_of_the_events():
    def health(update, rank):
        return {
            "schema": HEALTH, "run": "r", "seed": 0, "seq": update, "update": update, "env_steps": 0, "game": "a",
            "occasion": "checkpoint", "subset": "medium", "positions": 32, "since": update, "latest": "a",
            "since_latest": update, "frozen_set": "f", "effective_rank": rank, "effective_rank_centred": rank,
            "dormant": 0.1, "layers": {}, "latent_norm": 1.0,
        }  # fmt: skip

    after = {"config": CONFIG.__dict__, "versions": {"code": "1", "config": "c"}}
    head = {"run": "r", "seed": 0, "seq": 0}
    start = [head | entry("start", 0, 0, None, None, after, ""), head | entry("game_added", 0, 0, "a", None, None, "")]
    found = health_of([*start, health(100, 9.0), health(500, 10.0), health(700, 8.5), health(900, 7.9)])
    assert found["a"] == [(100, None, None), (500, 1.0, False), (700, 0.85, False), (900, 0.79, True)]


def test_an_event_outside_the_axis_is_not_marked(run):
    data = read_run(run)
    far = Marked(7, "event-7", data.called[0].record | {"step": 10**6})
    picture = pair_panel((GAME, TWINNED), data.sharing, data.added, health_of(data.in_order), [far])
    assert picture
    assert picture.marked == ()
