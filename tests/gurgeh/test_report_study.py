"""Figures 5 to 8 and the savings, on records that the real functions make of planted runs."""

import json

import numpy as np
import pytest
from report_page import Page, assert_honest, figure
from synthetic_run import make_run

from gurgeh.report import Options, write_report
from gurgeh.report_scale import probability_panels, scaling_panels
from gurgeh.report_search import elo_panel, ladders
from gurgeh.report_study import study_exhibits
from gurgeh.rundir import RunDirectory
from gurgeh.scale_data import scale_of
from monitor.adaptation import read_adaptation
from monitor.records import ADAPTATION, validate
from monitor.scale_records import ScaledRun, architectures_record, scale_records
from monitor.studies import transfer_records

UPDATES = (0, 1, 3, 10, 30, 100, 200, 400, 700, 1000)
PACE = {"scratch": 1.0, "pretrained": 6.0, "single": 2.0}


def adaptation_lines(game, arm, seed, source=()):
    """The records of one run: the loss falls from 2 to 0.1 nat, `PACE` times as fast as from scratch."""
    generator = np.random.default_rng([seed, *(game + arm + "".join(source)).encode()])
    lines = []
    for update in UPDATES:
        loss = 0.1 + 1.9 * np.exp(-update * PACE[arm] / 200) * np.exp(0.03 * generator.normal())
        origin = {
            "run": f"{'+'.join(source)}-{seed}", "update": 5000, "asked": "last", "games": list(source), "seed": seed,
            "sha256": "a" * 64, "config": "c" * 63 + str(len(source)), "parameters": 12345,
        }  # fmt: skip
        record = {
            "schema": ADAPTATION, "run": f"{game}-{arm}-{'-'.join(source)}-{seed}", "seed": seed, "update": update,
            "env_steps": 64 * update, "game": game, "version": 1, "arm": arm, "source": origin if source else None,
            "budget": 1000, "share": update / 1000, "shot": update in (0, 1, 3, 10, 30, 100), "zero_shot": None,
            "targets": "solver", "frozen_set": "f" * 64, "losses": {"policy": {"mean": loss, "se": 0.01, "n": 64}},
            "scores": {}, "parameters": 12345, "split": None, "code": "0.1.0",
        }  # fmt: skip
        validate(record)
        lines.append(record)
    return lines


def adapted(games=("hex5",), seeds=4, singles=("nim", "gomoku")):
    arms = [("scratch", ()), ("pretrained", ("nim", "gomoku", "othello")), *(("single", (name,)) for name in singles)]
    return [
        adaptation_lines(game, arm, seed, source) for game in games for arm, source in arms for seed in range(seeds)
    ]


def transfer(**how):
    return transfer_records([run for lines in adapted(**how) if (run := read_adaptation(lines))])


def scaled(seeds=5, sizes=(1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 3e5), games=("a",), architecture="mlp", outcome=None):
    runs = []
    for size in sizes:
        for seed in range(seeds):
            generator = np.random.default_rng([int(size), seed, len(games)])
            updates = (100, 300, 1000, 3000)
            losses = [
                (0.4 + 20 * size**-0.4 + 10 * d**-0.5) * float(np.exp(0.01 * generator.normal())) for d in updates
            ]
            happened = {} if outcome is None else {outcome: bool(generator.random() < len(games) / 8)}
            runs.append(ScaledRun(
                f"{architecture}-{size:g}-{len(games)}-{seed}", f"{architecture}-{size:g}-{len(games)}", seed,
                architecture, games, int(size), 6 * size * 64, updates, tuple(losses), happened,
            ))  # fmt: skip
    return runs


def arena(slope=60.0):
    """One checkpoint with the learned model and with the rules; `slope` Elo a doubling from one simulation on."""
    players = []
    for rules in (False, True):
        for simulations in (0, 1, 2, 4, 8, 16):
            if simulations == 0 and rules:
                continue
            elo = 500.0 + (0 if simulations == 0 else 30 + 20 * rules + slope * np.log2(simulations))
            players.append({
                "name": f"x:{simulations}{rules}", "elo": elo, "low": elo - 20, "high": elo + 20, "open_below": False,
                "open_above": False, "games": 10, "win": 5, "draw": 0, "loss": 5, "score": 0.5, "run": "runs/x",
                "step": 100, "simulations": simulations, "rules": rules,
            })  # fmt: skip
    players.append({"name": "random", "elo": 0.0, "low": None, "high": None, "open_below": False, "open_above": False})
    settings = {"games_per_pair": 100}
    return {"schema": "arena/1", "game": "connect_four", "players": players, "settings": settings}


def page_with(tmp_path, records=(), arenas=()):
    run = make_run(tmp_path / "r", {"tictactoe": 0}, last=60, forget=False, falls=False)
    file = tmp_path / "study.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    for number, report in enumerate(arenas):
        (tmp_path / "arenas" / str(number)).mkdir(parents=True)
        (tmp_path / "arenas" / str(number) / "arena.json").write_text(json.dumps(report))
    where = (tmp_path / "arenas",) if arenas else ()
    return write_report([run], options=Options(records=(file,), arenas=where)).read_text()


def test_adaptation_stands_beside_scratch_and_the_nearest_single_game(tmp_path):
    text = page_with(tmp_path, transfer(games=("hex5", "breakthrough")))
    section = figure(text, 5)
    assert_honest(section)
    first = section.pictures[0]
    assert {"null-scratch", "null-nearest", "source", "threshold", "null-scratch-band"} <= set(first.marks)
    assert "4 seeds" in first.caption
    assert "Against scratch: advantage +" in first.caption
    assert "Against the nearest single game" in first.caption
    assert "(null: 0)" in first.caption
    assert len(section.pictures) == 2 * 3, "two held-out games, three sources; single games are folded away"
    rows = Page(text).rows
    assert any("null 0.5" in cell for row in rows for cell in row)
    assert any(row[0] == "nim + gomoku + othello" and row[1] == "breakthrough, hex5" for row in rows), rows


def test_without_single_games_it_is_said_what_is_not_shown():
    exhibit = study_exhibits(transfer(singles=()), [])[0]
    assert "more than the nearest one is not shown" in " ".join(exhibit.missing)
    assert "nothing says that several games gave more than one" in exhibit.pictures[0].caption
    assert "null-nearest" not in exhibit.pictures[0].svg


def test_what_was_not_learnt_from_scratch_is_drawn_without_a_threshold(tmp_path):
    """From scratch nothing gets better: no threshold, no savings, no advantage, and the page says so."""
    runs = [lines for lines in adapted() if lines[0]["arm"] != "scratch"]
    for seed in range(4):
        lines = adaptation_lines("hex5", "scratch", seed)
        for line in lines:
            line["losses"]["policy"]["mean"] = 1.0 + line["update"] / 1000
        runs.append(lines)
    text = page_with(tmp_path, transfer_records([run for lines in runs if (run := read_adaptation(lines))]))
    section = figure(text, 5)
    assert_honest(section)
    assert "threshold" not in section.pictures[0].marks
    assert "does not get better within the budget" in section.pictures[0].caption
    assert "Savings from" in figure(text, 4).text
    assert "are not known" in figure(text, 4).text


def test_too_few_seeds_are_said_in_the_caption():
    exhibit = study_exhibits(transfer(seeds=2), [])[0]
    assert "2 seeds; an interval needs at least 3" in exhibit.pictures[0].caption


def test_savings_are_a_matrix_beside_their_null(tmp_path):
    text = page_with(tmp_path, transfer(games=("hex5", "breakthrough")))
    savings = [picture for picture in figure(text, 4).pictures if picture.anchor == "matrix-savings"]
    assert len(savings) == 1
    assert "Null: 0, no faster than from scratch" in savings[0].caption
    assert {f"certain-{i}-{j}" for i in (0, 1) for j in (0, 1)} <= set(savings[0].marks), "all four save half"
    assert "Savings from game to game need" not in figure(text, 4).text


@pytest.fixture(scope="module")
def scale():
    grid = [run for count in (1, 2, 4, 8) for run in
            scaled(sizes=(1e4,), games=tuple("abcdefgh"[:count]), outcome="sharing")]  # fmt: skip
    return scale_records([*scaled(), *grid], "policy")


def test_probabilities_stand_beside_what_chance_would_call(tmp_path, scale):
    text = page_with(tmp_path, scale)
    section = figure(text, 6)
    assert_honest(section)
    (sharing,) = section.pictures
    assert {"null-chance", "fit", "k50"} <= set(sharing.marks)
    assert "20 runs" in sharing.caption
    assert "half of the runs from" in sharing.caption
    assert "breakthrough: no run says whether breakthrough happened" in section.text


def test_where_no_curve_is_carried_the_points_and_the_reason_stand():
    runs = [run for count in (1, 2, 4) for run in
            scaled(seeds=2, sizes=(1e4,), games=tuple("abcd"[:count]), outcome="breakthrough")]  # fmt: skip
    (picture,) = probability_panels(scale_records(runs, "policy"))
    assert "No curve is fitted: a configuration has 2 runs and at least 5 seeds are needed" in picture.caption
    assert "null-chance" in picture.svg
    assert ".fit" not in picture.svg


def test_scaling_fits_are_judged_on_what_was_held_out(tmp_path, scale):
    section = figure(page_with(tmp_path, scale), 7)
    assert_honest(section)
    first = section.pictures[0]
    assert {"fit-0", "held-out-0", "predicted", "null-0"} <= set(first.marks)
    assert "a law fitted without it is off by" in first.caption
    assert "Null (the largest is no better than the next smaller): off by" in first.caption
    assert "No bend is accepted" in first.caption


def test_architectures_stand_beside_equal_gain():
    """Planted alike, so that the interval of the difference of exponents holds its null."""
    record = architectures_record(scaled(seeds=1), scaled(seeds=1, architecture="resnet"), "policy")
    (picture,) = scaling_panels([record])
    assert 'compute-1-mlp-resnet.null-equal"' in picture.svg
    assert "null: 0, both gain alike" in picture.caption
    assert "the interval holds 0" in picture.caption


def test_the_null_of_scale_is_what_no_gain_would_be(scale):
    picture = scaling_panels(scale)[0]
    # Planted: from 1e5 to 3e5 parameters the loss falls by 20 * (1e-2 - 3e5^-.4) = 0.071.
    loss = 0.4 + 20 * np.array([1e5, 3e5]) ** -0.4
    gains = [np.log((loss[0] + 10 * d**-0.5) / (loss[1] + 10 * d**-0.5)) for d in (100, 300, 1000, 3000)]
    off = float(picture.caption.split("next smaller): off by ")[1].split("%")[0])
    assert off == pytest.approx(100 * np.mean(gains), abs=1.5)


def test_elo_stands_beside_search_being_worth_nothing(tmp_path):
    section = figure(page_with(tmp_path, arenas=[arena()]), 8)
    assert_honest(section)
    (picture,) = section.pictures
    assert "null-search" in picture.marks
    assert "learned model: +60 Elo [" in picture.caption
    assert "no bend shown" in picture.caption


def test_only_players_of_one_checkpoint_make_a_ladder():
    report = arena()
    assert [(key, rules, [p["simulations"] for p in players]) for key, rules, players in ladders(report)] == [
        ("x@100", False, [0, 1, 2, 4, 8, 16]), ("x@100", True, [0, 1, 2, 4, 8, 16]),
    ]  # fmt: skip
    report["players"] = [p for p in report["players"] if p.get("simulations") in (0, None)]
    assert elo_panel(report) is None


def adapting_runs(place, studies):
    """A run directory for each run of `studies`."""
    folders = []
    for number, lines in enumerate(studies):
        folder = place / f"adapt{number}"
        with RunDirectory.create(folder, {"seed": lines[0]["seed"]}) as run:
            for line in lines:
                run.append("adaptation", line)
        folders.append(folder)
    return folders


def test_why_it_is_not_known_whether_unseen_games_are_learnt_faster_is_said(tmp_path):
    folders = adapting_runs(tmp_path, [*adapted(seeds=1), *adapted(seeds=1)])  # two studies, each from scratch too
    refused = {r["outcome"]: r["refused"] for r in scale_of(folders, "policy")}
    assert "the same arm of hex5 with the same seed 0" in refused["faster"]
    assert refused["sharing"] == "no run says whether sharing happened"


def test_adaptation_runs_given_to_the_report_are_compared(tmp_path):
    folders = adapting_runs(tmp_path, adapted(singles=("nim",), seeds=3))
    text = write_report(folders, tmp_path / "page").read_text()
    assert_honest(figure(text, 5))
    assert [picture.anchor for picture in figure(text, 4).pictures] == ["matrix-savings"]
    assert ["adapt0", "0", "", "0", "adaptation", "none"] in Page(text).rows
