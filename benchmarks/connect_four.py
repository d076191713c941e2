"""Connect Four judged by a perfect solver: the checkpoints of a run, one after the other, as a curve over training.

    python benchmarks/connect_four.py --run runs/connect_four            every checkpoint and snapshot of the run
    python benchmarks/connect_four.py --run runs/connect_four --steps 40000 --mcts 100,300,1000,3000,10000
    python benchmarks/connect_four.py --player tactician2 --player mcts:200        what players without a run reach
    python benchmarks/connect_four.py --anchors                                    OpenSpiel's search against itself
    python benchmarks/connect_four.py --quick --run runs/connect_four              a small form: fewer games
    python benchmarks/connect_four.py                                              writes the report anew

A player is measured by
  quiet        1,000 positions of which two plies of looking ahead do not tell the right moves from the wrong ones: the
               share of moves that keep the value, that keep the distance to the end, too, and the value that is lost;
               the solver's scores are in positions/connect_four-quiet-1.json, no solver is needed
  positions    the same over 1,638 positions as games bring them, 1,000 of them decisive (a move can be wrong), most of
               those a matter of two plies; positions/connect_four-1.json
  tactician2   400 games against the 2-ply tactician from the empty board
  bitbully     200 games against a perfect player from 100 openings that are exact draws, each from both sides
               (needs bitbully: pip install 'gurgeh[solvers]')
  openspiel-mcts:N  the same against OpenSpiel's search (needs OpenSpiel: pip install 'gurgeh[openspiel]')
Each measurement of a player is a line of --results as soon as it is done; what is there already is not measured again.
Then the report and its figure are written from all lines of that file. Ratings are Bradley-Terry's, from the games
against OpenSpiel's search, with bootstrap intervals over openings; openspiel-mcts:1000 is 0, or else the highest level
that was played.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # this folder's search.py would hide the package `search`

from agents.ratings import rate  # noqa: E402
from envs import registry  # noqa: E402
from gurgeh.episodes import Opening, play_episodes  # noqa: E402
from gurgeh.evaluate import built_in, chosen_moves, is_built_in, mcts_simulations  # noqa: E402
from gurgeh.load import LoadedRun  # noqa: E402
from gurgeh.positions import judge, load_positions  # noqa: E402
from gurgeh.rundir import RunDirectory  # noqa: E402
from gurgeh.scores import summarize  # noqa: E402

SCHEMA = "connect_four/1"
POSITIONS = {
    "quiet": HERE / "positions" / "connect_four-quiet-1.json",
    "positions": HERE / "positions" / "connect_four-1.json",  # and the openings
}
BANDS = ((3, 8), (9, 14), (15, 20), (21, 26), (27, 36))
LEVELS = (100, 300, 1000, 3000, 10000)
ANCHOR = "openspiel-mcts:1000"  # Elo 0


class Subject(NamedTuple):
    """A player that is measured, and what its lines in the results begin with."""

    name: str
    player: object
    about: dict


def subjects_of_run(args, game):
    """The checkpoints and snapshots of a run, or those at --steps, oldest first; each is loaded when its turn comes."""
    run = RunDirectory.open(args.run)
    clock = [(record["update"], record["time"]["seconds"], record["env_steps"]) for record in run.records("metrics")]
    for step in args.steps or run.steps():
        loaded = LoadedRun(args.run, step)
        make = loaded.rules_player if args.rules else loaded.player
        player = make(game.spec.name, args.simulations)
        known = [entry for entry in clock if entry[0] <= step]
        digest = hashlib.sha256()
        for name, tensor in sorted(loaded.network.state_dict().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        about = {
            "run": run.path.name, "step": step, "seconds": known[-1][1] if known else 0.0,
            "env_steps": known[-1][2] if known else 0, "weights": digest.hexdigest()[:16],
            "simulations": args.simulations, "rules": args.rules,
        }  # fmt: skip
        yield Subject(player.name, player, about)


def measurements(subject, args, positions, game):
    """[(name, the positions or openings that it is made with, function that measures it)] of a subject."""
    given = positions["positions"]
    openings = [Opening(0, moves) for moves in given.openings[: args.openings]]

    def judged(name):
        return judge(chosen_moves(subject.player, positions[name], args.seed), positions[name], BANDS)

    def match(opponent, from_openings):
        number = 2 * len(openings) if from_openings else args.games
        episodes = play_episodes(
            game, [subject.player, built_in(opponent, game)], number, args.seed,
            openings=openings if from_openings else None,
        )  # fmt: skip
        found = {"against": opponent, "openings": len(openings) if from_openings else 0, **summarize(episodes)}
        if from_openings:
            points = [(episode.outcome[episode.seating.index(0)] + 1) / 2 for episode in episodes]
            found["points"] = [sum(points[i : i + 2]) for i in range(0, number, 2)]  # of 2, an opening from both sides
        return found

    # A name says what was measured: with other numbers it is another measurement.
    for name in POSITIONS:
        yield name, positions[name], lambda name=name: judged(name)
    yield f"tactician2, {args.games} games", given, lambda: match("tactician2", False)
    if args.solver:
        yield f"bitbully, {len(openings)} openings", given, lambda: match("bitbully", True)
    for level in args.mcts:
        opponent = f"openspiel-mcts:{level}"
        if subject.name != opponent:
            yield f"{opponent}, {len(openings)} openings", given, lambda opponent=opponent: match(opponent, True)


def key(record):
    """What makes two lines the same measurement."""
    return tuple(
        record.get(name) for name in ("player", "weights", "simulations", "rules", "measure", "seed", "sha256")
    )  # fmt: skip


def read(path):
    """The lines of a file of results; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    if any(record["schema"] != SCHEMA for record in records):
        raise SystemExit(f"{path} holds lines of another schema than {SCHEMA}; give another --results")
    return records


def write(path, record):
    """Add a line; what a kill left of one goes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(json.dumps(record, allow_nan=False).encode() + b"\n")


def measure(subject, args, positions, game, only=None):
    """Measure what is not in the results yet; `only`: names of measurements (default: all)."""
    done = {key(record) for record in read(args.results)}
    for name, given, function in measurements(subject, args, positions, game):
        if only is not None and name not in only:
            continue
        record = {
            "schema": SCHEMA, "player": subject.name, **subject.about, "measure": name, "seed": args.seed,
            "sha256": given.sha256,
        }  # fmt: skip
        if key(record) in done:
            continue
        began = time.monotonic()
        record["result"] = function()
        record["took"] = round(time.monotonic() - began, 1)
        record["date"] = datetime.date.today().isoformat()
        write(args.results, record)
        print(f"{subject.name}: {name}: {short(record)} ({record['took']:.0f} s)", flush=True)


def short(record):
    """A measurement in a few words."""
    found = record["result"]
    if record["measure"] in POSITIONS:
        part = found["decisive"]
        raw = f", raw {part['raw']['optimal']:.1%}" if "raw" in part else ""
        return f"{part['optimal']:.1%} optimal{raw}"
    return f"{found['win']['count']} won, {found['draw']['count']} drawn, {found['loss']['count']} lost"


# -- the report ---------------------------------------------------------------------------------------------------


def ratings(records):
    """(player -> (Elo, low, high), openings, player with Elo 0) from all games against OpenSpiel's search over the
    most common number of openings; that player is ANCHOR, or else the highest level that was played."""
    games = [r for r in records if "points" in r["result"] and r["result"]["against"].startswith("openspiel-mcts:")]
    if not games:
        return {}, 0, ANCHOR
    counts = [record["result"]["openings"] for record in games]
    openings = max(set(counts), key=lambda n: (counts.count(n), n))
    games = [record for record in games if record["result"]["openings"] == openings]
    names = sorted({label(record) for record in games} | {record["result"]["against"] for record in games})
    levels = {record["result"]["against"] for record in games}
    anchor = ANCHOR if ANCHOR in levels else max(levels, key=lambda name: mcts_simulations(name) or 0)
    names = _connected(names, games, anchor)
    units = np.zeros((openings, len(names), len(names)))
    for record in games:
        if label(record) not in names:
            continue
        mine, other = names.index(label(record)), names.index(record["result"]["against"])
        points = np.asarray(record["result"]["points"])
        units[:, mine, other] += points
        units[:, other, mine] += 2 - points
    found = rate(units, anchor=(names.index(anchor), 0.0), names=names)
    return {name: (found.elo[i], found.low[i], found.high[i]) for i, name in enumerate(names)}, openings, anchor


def _connected(names, games, anchor):
    """Those of the players that games connect with the anchor."""
    reached, before = {anchor}, set()
    while reached != before:
        before = set(reached)
        for record in games:
            pair = {label(record), record["result"]["against"]}
            if pair & reached:
                reached |= pair
    return [name for name in names if name in reached]


def label(record):
    """A player as the report names it: with the simulations of its search."""
    if "simulations" not in record:
        return record["player"]
    return f"{record['player']}, {record['simulations']} simulations"


def players(records):
    """label -> its newest line of each measurement; runs in order of step, built-in players first."""
    found = {}
    for record in records:
        found.setdefault(label(record), {})[record["measure"]] = record
    first = {name: next(iter(lines.values())) for name, lines in found.items()}
    order = sorted(
        found, key=lambda n: (first[n].get("run", ""), first[n].get("simulations", 0), first[n].get("step", 0), n)
    )
    return {name: found[name] for name in order}


def percent(value):
    """Of a share; "-" where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def match_cell(lines, prefix):
    """Score in percent with its interval, of the match with the most openings."""
    found = [record["result"] for name, record in lines.items() if name.startswith(prefix + ",")]
    if not found:
        return "-"
    best = max(found, key=lambda r: r["episodes"])
    score = best["score"]
    return f"{percent(score['mean'])} ({percent(score['low'])} .. {percent(score['high'])})"


def bound(value):
    return f"{value:+.0f}" if np.isfinite(value) else "open"


def report(records, figure):
    """The report as Markdown."""
    everybody = players(records)
    elo, openings, anchor = ratings(records)
    levels = sorted({r["measure"].split(",")[0] for r in records if r["measure"].startswith("openspiel-mcts:")},
                    key=lambda name: mcts_simulations(name) or 0)  # fmt: skip
    head = ["player", "training s", "env steps", "quiet: search", "raw", "strongest", "regret", "decisive: search",
            "raw", "tactician2", "bitbully", *levels, "Elo"]  # fmt: skip
    out = [
        f"# Connect Four, judged by a solver, {datetime.date.today()}", "",
        "`python benchmarks/connect_four.py` (its head says how everything is measured), "
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}.", "",
        "quiet: share in percent of moves that keep the outcome under perfect play, where two plies of looking ahead "
        "do not tell which those are; with search, and the likeliest move of the raw policy. strongest: of moves that "
        "keep the distance to the end, too. regret: mean loss of value a move (win 1, draw 0, loss -1). decisive: as "
        "quiet, over positions as games bring them in which a move can be wrong. Then scores in percent, a draw "
        "counting half, with 95 % intervals (Wilson), and the Elo rating.", "",
        "| " + " | ".join(head) + " |", "|" + "---|" * len(head),
    ]  # fmt: skip
    for name, lines in everybody.items():
        first = next(iter(lines.values()))
        cells = [name, f"{first['seconds']:.0f}" if "seconds" in first else "-", f"{first.get('env_steps', '-')}"]
        for name_of_set, fields in (("quiet", ("strongest", "regret")), ("positions", ())):
            part = lines[name_of_set]["result"]["decisive"] if name_of_set in lines else {}
            cells += [percent(part.get("optimal")), percent(part.get("raw", {}).get("optimal"))]
            cells += [f"{part[f]:.3f}" if f == "regret" and part else percent(part.get(f)) for f in fields]
        cells += [match_cell(lines, opponent) for opponent in ("tactician2", "bitbully", *levels)]
        if name in elo:
            middle, low, high = elo[name]
            cells.append("0" if name == anchor else f"{middle:+.0f} ({bound(low)} .. {bound(high)})")
        else:
            cells.append("-")
        out.append("| " + " | ".join(cells) + " |")
    note = "Elo: no games against OpenSpiel's search yet."
    if elo:
        note = f'Elo: Bradley-Terry over {openings} openings, {anchor} = 0; "open": no bound from these games.'
    out += ["", note, ""]
    out += _bands(everybody, "quiet") + _bands(everybody, "positions")
    if figure:
        out += [f"![the curve]({figure})", ""]
    return "\n".join(out)


def _bands(everybody, measure):
    """The table by plies of one set of positions."""
    judged = {name: lines[measure]["result"] for name, lines in everybody.items() if measure in lines}
    if not judged:
        return []
    some = next(iter(judged.values()))
    heads = [f"plies {a}-{b}" for a, b in BANDS]
    out = [f"## Optimal moves by ply: {'quiet' if measure == 'quiet' else 'decisive'} positions", "",
           "With search / raw policy, in percent.", "",
           "| player | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]  # fmt: skip
    rows = {"random, expected": [percent(band.get("random")) for band in some["bands"]]}
    for name, result in judged.items():
        rows[name] = [
            percent(band.get("optimal")) + (f" / {percent(band['raw']['optimal'])}" if "raw" in band else "")
            for band in result["bands"]
        ]
    out += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    counts = ", ".join(f"{head}: {band['positions']}" for head, band in zip(heads, some["bands"]))
    return [
        *out,
        "",
        f"Positions: {counts}; {some['decisive']['positions']} decisive of {some['all']['positions']}.",
        "",
    ]


def draw(records, path):
    """The curve over training as PNG; False where no run was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    everybody = players(records)
    runs = {}
    for lines in everybody.values():
        first = next(iter(lines.values()))
        if "run" in first:
            runs.setdefault((first["run"], first["simulations"]), []).append(lines)
    if not runs:
        return False
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(BANDS)))
    for number, ((run, simulations), curve) in enumerate(runs.items()):
        style = dict(color=f"C{number}", marker="o", markersize=3)
        judged = [lines["quiet"] for lines in curve if "quiet" in lines]
        hours = [record["seconds"] / 3600 for record in judged]
        parts = [record["result"] for record in judged]
        left.plot(hours, [100 * p["decisive"]["optimal"] for p in parts], **style, label=f"{run}, search {simulations}")
        raw = [100 * p["decisive"]["raw"]["optimal"] if "raw" in p["decisive"] else np.nan for p in parts]
        left.plot(hours, raw, **style, linestyle="--", label=f"{run}, raw policy")
        if number == len(runs) - 1:  # one run's bands: the last one's
            for b, (first, last) in enumerate(BANDS):
                values = [100 * p["bands"][b].get("optimal", np.nan) for p in parts]
                middle.plot(hours, values, color=colours[b], marker="o", markersize=3, label=f"plies {first}-{last}")
            middle.set_title(f"quiet positions by ply, with search ({run})")
        for k, opponent in enumerate(_opponents(curve)):
            points = [(lines[m]["seconds"] / 3600, 100 * lines[m]["result"]["score"]["mean"])
                      for lines in curve for m in lines if m.startswith(opponent + ",")]  # fmt: skip
            right.plot(*zip(*points), color=f"C{k}", marker="o", markersize=3, linestyle="-" if number == 0 else ":",
                       label=f"{opponent} ({run})" if len(runs) > 1 else opponent)  # fmt: skip
    for name, dots in (("random", (0, (1, 1))), ("tactician2", (0, (4, 2)))):
        found = everybody.get(name, {}).get("quiet")
        if found:
            share = 100 * found["result"]["decisive"]["optimal"]
            left.axhline(share, color="grey", linewidth=1, linestyle=dots, label=name)
    left.set_title("quiet positions")
    right.set_title("score against")
    right.axhline(50, color="grey", linewidth=0.5)
    for axes, what in ((left, "optimal moves, %"), (middle, "optimal moves, %"), (right, "score, %")):
        axes.set_xlabel("hours of training")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper left", framealpha=0.6)  # where a curve that rises is not
        axes.set_ylim(-3 if axes is right else 35, 102)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return True


def _opponents(curve):
    names = {measure.split(",")[0] for lines in curve for measure in lines if measure not in POSITIONS}
    return sorted(names, key=lambda name: (mcts_simulations(name) or 0, name))


# -- the command --------------------------------------------------------------------------------------------------


def arguments(given=None):
    """The options; --quick changes defaults only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of a run that plays connect_four")
    parser.add_argument("--steps", type=lambda text: [int(part) for part in text.split(",")], metavar="A,B,...",
                        help="these checkpoints or snapshots (default: all of the run)")  # fmt: skip
    parser.add_argument("--player", action="append", default=[], help="a player without a run, such as mcts:200")
    parser.add_argument("--anchors", action="store_true", help="OpenSpiel's search at neighbouring --mcts levels")
    parser.add_argument("--simulations", type=int, default=64, help="of the run's search; its raw policy comes along")
    parser.add_argument("--rules", action="store_true", help="the run searches with the exact rules")
    parser.add_argument("--mcts", help="levels of OpenSpiel's search (default 100,1000; with --anchors all five)")
    parser.add_argument("--no-solver", dest="solver", action="store_false", help="no games against bitbully")
    parser.add_argument("--games", type=int, help="against tactician2 (default 400)")
    parser.add_argument("--openings", type=int, help="of the other matches, each twice (default 100)")
    parser.add_argument("--quick", action="store_true", help="40 games against tactician2, 10 openings, mcts 100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "connect_four.jsonl")
    parser.add_argument("--out", type=Path, help="the report (default: DATE-connect-four.md beside the results)")
    args = parser.parse_args(given)
    args.games = args.games or (40 if args.quick else 400)
    args.openings = args.openings or (10 if args.quick else 100)
    usual = ",".join(map(str, LEVELS)) if args.anchors else "100" if args.quick else "100,1000"
    args.mcts = [int(part) for part in (args.mcts or usual).split(",") if part]
    args.out = args.out or args.results.with_name(f"{datetime.date.today()}-connect-four.md")
    return args


def main(given=None) -> int:
    args = arguments(given)
    torch.set_num_threads(args.threads)
    game = registry.make("connect_four")
    try:
        positions = {name: load_positions(path, game) for name, path in POSITIONS.items()}
        for name in args.player:
            if not is_built_in(name):
                raise ValueError(f"--player {name}: not a built-in player; give the folder of a run with --run")
            measure(Subject(name, built_in(name, game), {}), args, positions, game)
        if args.anchors:
            for low, high in zip(args.mcts, args.mcts[1:]):
                name = f"openspiel-mcts:{low}"
                only = [f"openspiel-mcts:{high}, {args.openings} openings"]
                measure(Subject(name, built_in(name, game), {}), args, positions, game, only)
        for subject in subjects_of_run(args, game) if args.run else ():
            measure(subject, args, positions, game)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    records = read(args.results)
    if not records:
        print("error: nothing was measured yet; give --run or --player", file=sys.stderr)
        return 2
    picture = args.out.with_suffix(".png")
    drawn = draw(records, picture)
    args.out.write_text(report(records, picture.name if drawn else None))
    print(f"report: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
