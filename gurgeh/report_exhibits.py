"""The eight figures of MONITOR.md, section 6, for one run: pictures with what they show, their null and their limits,
or a sentence that says what would be needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from gurgeh import report_losses, report_search, report_sharing
from gurgeh.figures import Picture
from gurgeh.report_data import RunData

SHOWN_PAIRS = 8  # the rest is folded away

TITLES = {
    1: "Loss of each game beside smooth learning",
    2: "Rise, plateau and fall after introductions",
    3: "Sharing between games",
    4: "Games against games",
    5: "Adaptation to games that were held out",
    6: "How likely, against the number of games",
    7: "Loss against size and data",
    8: "Elo against simulations",
}


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """One of the eight figures: one or more pictures of a kind."""

    number: int
    words: str = ""  # what is drawn
    null: str = ""  # what is drawn beside it as nothing happening
    limits: str = ""  # what it does not show
    pictures: tuple[Picture, ...] = ()
    folded: tuple[Picture, ...] = ()  # more of the same, shown on a click
    missing: tuple[str, ...] = ()  # what the data does not support, and what would be needed

    @property
    def title(self) -> str:
        return TITLES[self.number]

    @property
    def all_pictures(self) -> tuple[Picture, ...]:
        return (*self.pictures, *self.folded)


def guarded(number: int, build: Callable[[], Exhibit]) -> Exhibit:
    """What `build` makes; where records that look whole cannot be drawn, a sentence instead of no page at all."""
    try:
        shown = build()
        for picture in shown.all_pictures:
            picture.svg  # noqa: B018  # drawn now, where an error costs no more than this figure
        return shown
    except Exception as error:  # whatever is wrong with one record, the rest of the page stands
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        return Exhibit(number, missing=(
            f"It could not be drawn from these records ({what}). gurgeh monitor RUN checks them; if they are as they "
            "were written, this is an error of the program.",
        ))  # fmt: skip


def run_exhibits(run: RunData) -> list[Exhibit]:
    """Figures 1 to 4, from one run."""
    return [
        guarded(1, lambda: losses(run)),
        guarded(2, lambda: aligned(run)),
        guarded(3, lambda: sharing(run)),
        guarded(4, lambda: matrices(run)),
    ]


# -- 1 ------------------------------------------------------------------------------------------------------------


def losses(run: RunData) -> Exhibit:
    """Figure 1."""
    curves, events = _curves(run), run.called
    pictures = [
        picture
        for game in run.games
        for picture in report_losses.loss_panels(
            game, curves, [r for r in run.losses if r["game"] == game], run.ledger, events
        )
    ]
    if not pictures:
        return Exhibit(1, missing=(NO_LOSSES,))
    return Exhibit(
        1,
        words="Measured on positions that are fixed when a game joins and never change, with the averaged (EMA) "
        f"weights. {target_words(run)} Both axes are logarithmic. Lines: the first {_size(run, 'small')} positions; "
        "dots: the whole set, at introductions and at the end. Dashed verticals: another game joined; red ticks: "
        "another entry of the ledger; numbered triangles: events (hollow: confounded or suspended), by their numbers "
        f"in the table of events. Losses under {run.monitor_config.loss_floor:g} nat are drawn and judged as that.",
        null="Each shaded band is what smooth learning would look like: the best mixture of decays that only ever "
        "slow down, from the game's introduction and anew from each later one, fitted to the curve when this page was "
        "written, with the scatter of its own noise (95 % of single points). It follows the curve by construction. "
        "Beside a confirmed fall it is fitted without the fall and drawn without it.",
        limits="One point in twenty lies outside a band by chance, and neighbours go together, so leaving the band is "
        "no event: whether a fall is one is decided by the scan with its surrogates, p and q in the table of events. "
        + _falls_words(run),
        pictures=tuple(pictures),
    )


NO_LOSSES = "No frozen losses were recorded yet; they need monitor.enabled=true and at least monitor.s_min updates."


def _curves(run: RunData) -> list[report_losses.Curve]:
    config = run.monitor_config
    return [
        curve
        for game in run.games
        for curve in report_losses.curves_of(
            game, [r for r in run.losses if r["game"] == game], run.added, run.called, config
        )
    ]


def _falls_words(run: RunData) -> str:
    if any(event["type"] in ("drop", "breakthrough", "knee", "plateau") for event in run.events):
        return ""
    if run.monitor_config.falls:
        return "Sudden falls were looked for; none was found."
    return (
        "Sudden falls were not looked for in this run (monitor.falls=false), so that none is named here says nothing: "
        "gurgeh report RUN --falls looks for them."
    )


def target_words(run: RunData) -> str:
    """Which games have a solver's targets."""
    solved = list(dict.fromkeys(r["game"] for r in run.losses if r["targets"] != "none"))
    others = [game for game in run.games if game not in solved]
    words = []
    if solved:
        words.append(f"For {', '.join(solved)} a solver says which moves are optimal and what a position is worth.")
    if others:
        words.append(
            f"For {', '.join(others)} nothing does, so that there is no policy and no value loss: reward, continuation "
            "and the mover alone are judged, on positions from random play."
        )
    return " ".join(words)


def _size(run: RunData, subset: str) -> str:
    sizes = sorted({record["positions"] for record in run.losses if record["subset"] == subset})
    return " or ".join(map(str, sizes)) or "few"


# -- 2 ------------------------------------------------------------------------------------------------------------


def aligned(run: RunData) -> Exhibit:
    """Figure 2."""
    events, config = run.called, run.monitor_config
    own = report_losses.aligned_panels(run.games, _curves(run), run.added, events)
    old = report_losses.change_panels(run.games, run.losses, config, run.added, events)
    if not own:
        return Exhibit(2, missing=(NO_LOSSES,))
    kinds = {event.record["type"] for event in events}
    lacking = [name for name, found in (
        ("rise", "rise" in kinds), ("plateau", "plateau" in kinds), ("sudden fall", kinds & {"drop", "breakthrough"}),
    ) if not found]  # fmt: skip
    none_found = f"No {' and no '.join(lacking)} was called in this run. " if lacking else ""
    return Exhibit(
        2,
        words="All curves begin where a game joined. First each game after its own introduction (the policy loss where "
        "there is a solver, else the summed loss after one imagined move); then what each newcomer did to the games "
        "that were there before: the difference of their frozen loss from its value at that introduction, position by "
        "position, with its 95 % interval over positions. Triangles are events by their numbers.",
        null="For a game after its own introduction: smooth learning, as in figure 1. For the old games: no change, "
        "the line at 0; a band that holds 0 shows no change. Above the red dashes for 0.15 decade with the band above "
        "0 is called forgetting; below 0 is further learning, for old games stay in training.",
        limits=none_found + _falls_words(run) + " One run is one seed: what happened once after an introduction need "
        "not have happened because of it.",
        pictures=(*own, *old),
        missing=() if len(run.games) > 1 else (
            "What an introduction does to games that were there before needs a run in which a second game joins.",
        ),
    )  # fmt: skip


# -- 3 and 4 ------------------------------------------------------------------------------------------------------


def sharing(run: RunData) -> Exhibit:
    """Figure 3."""
    why = _no_sharing(run)
    if why:
        return Exhibit(3, missing=(why,))
    events, health = run.called, report_sharing.health_of(run.in_order)
    pairs = report_sharing.pairs_of(run.sharing, events)
    found = [report_sharing.pair_panel(pair, run.sharing, run.added, health, events) for pair in pairs]
    pictures = [picture for picture in found if picture is not None]
    missing = []
    if not pictures:
        return Exhibit(3, missing=(
            "Sharing was measured, but at no two checkpoints: train for longer than monitor.s_min updates after the "
            "last introduction.",
        ))  # fmt: skip
    if not any(r["relation"] == "twin" for r in run.sharing):
        missing.append(
            "There is no sharing index, for no game of this run has an isomorphic twin to say how much sharing is "
            "possible: add twin:SEED:GAME to its games. What is drawn are the measures against their nulls."
        )
    if not any(r["relation"] == "scrambled" for r in run.sharing):
        missing.append(
            "There is no negative control: add scrambled:SEED:GAME, which looks like a game and has not its rules."
        )
    refused = {r["measure"]: r["refused"] for r in run.sharing if r["refused"]}
    values = {r["measure"] for r in run.sharing if r["value"] is not None}
    missing += [f"{name} is refused: {why}." for name, why in refused.items() if name not in values]
    return Exhibit(
        3,
        words="One picture a pair of games, one row a measure, from the introduction of the later game on. Coloured: "
        "the measure with its 95 % interval over positions; green line: the same measure between a game and its "
        "isomorphic twin, the ceiling. Where there is a ceiling the first row is the sharing index: (value - worst "
        "null) / (ceiling - worst null). An onset needs the lower ends above every null at three checkpoints in a row "
        "in two pillars (geometry: probe, subspace; cause: ablation, TAG; behaviour: transfer).",
        null="Grey dashes: the worst of the measure's nulls (random networks, raw input, shuffled labels or targets, "
        "chance directions, units permuted), with the reach of one more draw of it shaded above. Index 0 is that null.",
        limits="An excess says that two games have more in common in this layer than those nulls; not that one was "
        "learnt because of the other. The ceiling is taken as known. Intervals are over positions of one run: "
        "networks of other seeds scatter more. Nothing is corrected for the number of pairs.",
        pictures=tuple(pictures[:SHOWN_PAIRS]),
        folded=tuple(pictures[SHOWN_PAIRS:]),
        missing=tuple(missing),
    )


MATRIX_WORDS = (
    "The newest measurement of every pair of games. Red: above the worst null, blue: below. In the matrix of savings "
    "rows are where the network comes from, columns the game that it then learns.",
    "The small number in each cell is the worst null of that measure there; for savings it is 0, learning from "
    "scratch. A cell is framed only if its interval lies above every null, for savings if it leaves 0 out.",
    "With many cells some are framed by chance: those of the measures are not corrected for their number, those of "
    "savings are. Cells of different measures have different units and cannot be compared.",
)


def matrices(run: RunData) -> Exhibit:
    """Figure 4."""
    why = _no_sharing(run)
    pictures = [] if why else report_sharing.matrix_panels(run.games, run.sharing)
    return Exhibit(
        4,
        *MATRIX_WORDS,
        pictures=tuple(pictures),
        missing=(why,) if why else (),
    )


def _no_sharing(run: RunData) -> str:
    """Why there is nothing on sharing; "" where there is."""
    if run.sharing:
        return ""
    if len(run.games) < 2:
        return "Sharing between games needs a run with at least two games; this one has " + (
            f"one ({run.games[0]})." if run.games else "none yet."
        )
    return (
        "Sharing was not measured in this run; it needs monitor.sharing=true and at least monitor.s_min updates after "
        "the second game joined."
    )


# -- 8 ------------------------------------------------------------------------------------------------------------


def search(arenas: Sequence[dict[str, Any]]) -> Exhibit:
    """Figure 8."""
    pictures = [picture for report in arenas if (picture := report_search.elo_panel(report)) is not None]
    if not pictures:
        need = "at least two numbers of simulations for one checkpoint" if arenas else "an arena"
        return Exhibit(8, missing=(
            f"It needs {need}: benchmarks/play_time_search.py RUN (or gurgeh arena with RUN:simulations={{0,1,4,16}}) "
            "plays one checkpoint with 0, 1, 2, 4 ... simulations, then gurgeh report RUN --arena ITS_FOLDER.",
        ))  # fmt: skip
    return Exhibit(
        8,
        words="One checkpoint plays against itself with different numbers of simulations a move; ratings are Bradley "
        "and Terry's. What a doubling is worth is fitted by weighted least squares from one simulation on.",
        null="The dashed line at 0: search is worth nothing.",
        limits="The ratings are relative to this checkpoint's own raw policy and say nothing of its strength against "
        "others. The fit takes the errors of players as independent, though they met in the same games. Elo "
        "illustrates; it never decides an event.",
        pictures=tuple(pictures),
    )
