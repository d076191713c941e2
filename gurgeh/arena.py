"""Players against each other: openings played from both sides, every game recorded, Bradley-Terry ratings.

An arena lies in a folder: `settings.json`, what all its games share; `games/`, one record file a piece of a pairing;
`arena.json`, the result. A piece is written as a whole when its last game is over, and its games depend on the settings
and the two players alone. So an arena that was killed goes on where it was, and one that has more players or more games
than before plays only what is new: whole pieces, so that games_per_pair has to stay a multiple of copies for that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.ratings import Ratings, rate
from envs.game import Game
from gurgeh.entrants import Contestant
from gurgeh.episodes import Opening, play_episodes
from gurgeh.openings import draw_openings
from gurgeh.records import Episode, Header, RecordError, read_records, write_records
from gurgeh.rundir import versions, write_text

SCHEMA, SETTINGS = "arena/1", "arena_settings/1"
MODEL = "Bradley-Terry, draws as half wins, maximum likelihood, 400 log10(odds)"


@dataclasses.dataclass(frozen=True)
class ArenaConfig:
    """How games are played; the same for every pairing."""

    games_per_pair: int = 100
    """Games of every two players; each opening is played twice, with sides swapped."""
    opening_plies: int = 2
    """Random legal moves that every game begins with. The more, the more games are decided by their opening."""
    simulations: int | None = None
    """Of the searches of runs that do not name theirs; None: what the run's own evaluation uses."""
    seed: int = 0
    """Of the openings, the moves and the resampling."""
    copies: int = 128
    """Games that are played at once and recorded together."""
    max_moves: int = 30_000
    """Moves after which a game that does not end counts as it stands."""
    threads: int = 1
    """Of torch and the search."""

    def __post_init__(self) -> None:
        if self.games_per_pair < 2 or self.games_per_pair % 2:
            raise ValueError(
                f"games_per_pair must be even and at least 2, for every opening is played from both sides; found "
                f"{self.games_per_pair}"
            )
        if self.copies < 2 or self.copies % 2:
            raise ValueError(f"copies must be even and at least 2, found {self.copies}")
        for name, least in (("opening_plies", 0), ("seed", 0), ("max_moves", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}")
        if self.simulations is not None and self.simulations < 0:
            raise ValueError(f"simulations must be at least 0, found {self.simulations}")

    @property
    def shared(self) -> dict[str, Any]:
        """What must not change while an arena goes on. Simulations belong to the players' names."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name not in ("games_per_pair", "simulations")}


class Pairing(NamedTuple):
    """All games of two contestants."""

    first: int  # numbers of the contestants; of the two names, the first one's comes first in the alphabet
    second: int
    records: list[Path]
    episodes: list[Episode]  # of `first` as player 0 of the record


@dataclasses.dataclass(frozen=True)
class Result:
    """What an arena found."""

    report: dict[str, Any]  # schema arena/1, JSON values
    ratings: Ratings
    path: Path  # of arena.json


def play_arena(
    game: Game,
    contestants: Sequence[Contestant],
    config: ArenaConfig,
    directory: Path,
    *,
    anchor: tuple[str, float] | None = None,
    prior: float | None = None,
    resamples: int = 1000,
    neighbours: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Result:
    """Play what `directory` does not hold yet, rate, and write `directory`/arena.json.

    anchor: (name of a contestant, its Elo); None: mean 0. prior: see `agents.ratings.fit`. neighbours: everybody meets
    only so many that follow it in `contestants`; None: all. progress is told what is being played.

    ValueError: a game that is not for two, fewer than two players, or a directory whose games were played otherwise.
    """
    if game.spec.num_players != 2:
        raise ValueError(f"an arena is for games for two; {game.name} has {game.spec.num_players} player(s)")
    if len(contestants) < 2:
        raise ValueError(f"an arena needs at least 2 players, found {len(contestants)}")
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, found {neighbours}")
    names = [contestant.name for contestant in contestants]
    if anchor is not None and anchor[0] not in names:
        raise ValueError(f"the anchor {anchor[0]!r} does not play; the players are {', '.join(names)}")
    _claim(directory, game, config)
    openings = draw_openings(game, config.opening_plies, config.games_per_pair // 2, config.seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        pairs = [(i, j) for j in range(len(names)) for i in range(max(0, j - (neighbours or j)), j)]
        pairings = []
        for number, (i, j) in enumerate(pairs, 1):
            progress(f"pairing {number} of {len(pairs)}: {names[i]} against {names[j]}")
            pairings.append(_play_pairing(game, contestants, (i, j), config, openings, directory / "games"))
    finally:
        torch.set_num_threads(threads)
    units = _units(pairings, openings, len(names))
    hung = None if anchor is None else (names.index(anchor[0]), anchor[1])
    ratings = rate(units, resamples=resamples, seed=config.seed, prior=prior, anchor=hung, names=names)
    report = _report(game, contestants, config, openings, pairings, ratings, anchor, neighbours)
    path = directory / "arena.json"
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return Result(report, ratings, path)


def _claim(directory: Path, game: Game, config: ArenaConfig) -> None:
    """Make the folder, or see that the games in it are of the same kind."""
    settings = {"schema": SETTINGS, "game": game.name, "version": game.spec.version, **config.shared}
    path = directory / "settings.json"
    if not path.exists():
        if directory.is_dir() and any(directory.iterdir()):
            raise FileExistsError(f"{directory} holds something else than an arena; choose another folder with --out")
        directory.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(settings, indent=1) + "\n")
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}); restore it or choose another folder with --out") from error
    for name, value in settings.items():
        if found.get(name) != value:
            raise ValueError(
                f"the games in {directory} were played with {name} {found.get(name)}, now it is {value}; use the same "
                "or choose another folder with --out"
            )


def _play_pairing(
    game: Game,
    contestants: Sequence[Contestant],
    pair: tuple[int, int],
    config: ArenaConfig,
    openings: Sequence[Opening],
    directory: Path,
) -> Pairing:
    """All games of two contestants: those on disk, and the pieces that are missing."""
    # By name: the games are the same whatever the order of the players.
    sides = sorted((contestants[k] for k in pair), key=lambda contestant: contestant.name)
    stem = "--".join(_file_name(side.name) for side in sides)
    records, episodes = [], []
    for start in range(0, config.games_per_pair, config.copies):
        count = min(config.copies, config.games_per_pair - start)
        path = directory / f"{stem}--{start}-{start + count - 1}.jsonl.gz"
        header = Header(
            game.name, game.spec.version, tuple(side.name for side in sides), config.seed,
            settings={**config.shared, "players": [side.about for side in sides]}, code=versions(),
        )  # fmt: skip
        if path.exists():
            episodes += _recorded(path, header, openings, range(start, start + count))
        else:
            played = play_episodes(
                game, [side.player for side in sides], count, config.seed, num_copies=config.copies,
                max_moves=config.max_moves, openings=openings, first=start,
            )  # fmt: skip
            write_records(path, header, played)
            episodes += played
        records.append(path)
    if sides[0] is contestants[pair[1]]:
        pair = pair[1], pair[0]
    return Pairing(*pair, records, episodes)


def _recorded(path: Path, header: Header, openings: Sequence[Opening], indices: range) -> list[Episode]:
    """The games of a piece that was played before; ValueError if they are not those that would be played now."""
    try:
        found, episodes = read_records(path)
    except RecordError as error:
        raise RecordError(f"{error}; remove the file to have its games played again") from error
    expected = dataclasses.replace(header, code=found.code)
    if _identity(found) != _identity(expected):
        raise ValueError(
            f"{path} holds games of other players or settings than now, though of the same names (another checkpoint "
            "of that step?); remove it or choose another folder with --out"
        )
    given = [(e.index, e.seed, tuple(e.actions[: e.opening])) for e in episodes]
    if given != [(i, openings[i // 2].seed, openings[i // 2].actions) for i in indices]:
        raise ValueError(f"{path} holds games from other openings; remove it or choose another folder with --out")
    return episodes


def _identity(header: Header) -> str:
    """What says which games a file holds: everything but where the runs lie."""
    plain = dataclasses.asdict(header)
    players = [dict(about, run=None) for about in plain["settings"]["players"]]
    return json.dumps(plain | {"settings": plain["settings"] | {"players": players}}, sort_keys=True)


def _file_name(name: str) -> str:
    """`name` for a file: readable, and different for different names."""
    plain = re.sub(r"[^A-Za-z0-9_@.=,+]+", "-", name).strip("-")[-60:]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def points_of(episode: Episode) -> float:
    """What player 0 of a game for two took: 1 for a higher outcome than the other's, 0.5 for the same."""
    mine, other = (episode.outcome[episode.seating.index(player)] for player in (0, 1))
    return 0.5 if mine == other else float(mine > other)


def _units(pairings: Sequence[Pairing], openings: Sequence[Opening], num_players: int) -> np.ndarray:
    """[U, N, N]: the points by opening. All games of one opening are one unit, for they are not independent."""
    unit = {opening: number for number, opening in enumerate(dict.fromkeys(openings))}
    units = np.zeros((len(unit), num_players, num_players))
    for pairing in pairings:
        for episode in pairing.episodes:
            points, u = points_of(episode), unit[openings[episode.index // 2]]
            units[u, pairing.first, pairing.second] += points
            units[u, pairing.second, pairing.first] += 1 - points
    return units


def _report(
    game: Game,
    contestants: Sequence[Contestant],
    config: ArenaConfig,
    openings: Sequence[Opening],
    pairings: Sequence[Pairing],
    ratings: Ratings,
    anchor: tuple[str, float] | None,
    neighbours: int | None,
) -> dict[str, Any]:
    """Schema arena/1: players by rating, pairings in the order in which they were played."""
    entries = [_pairing_entry(pairing, contestants) for pairing in pairings]
    players = []
    for k, contestant in enumerate(contestants):
        counts = dict.fromkeys(("win", "draw", "loss"), 0)
        for entry in entries:
            if contestant.name in entry["players"]:
                mine = entry["players"].index(contestant.name)
                for name, key in zip(counts, ("win", "draw", "loss") if mine == 0 else ("loss", "draw", "win")):
                    counts[name] += entry[key]
        games = sum(counts.values())
        low, high = float(ratings.low[k]), float(ratings.high[k])
        players.append({
            "name": contestant.name, "elo": float(ratings.elo[k]),
            "low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None,
            "open_below": low == -np.inf, "open_above": high == np.inf,
            "games": games, **counts, "score": (counts["win"] + counts["draw"] / 2) / games, **contestant.about,
        })  # fmt: skip
    players.sort(key=lambda player: (-player["elo"], player["name"]))
    return {
        "schema": SCHEMA, "game": game.name, "version": game.spec.version,
        "settings": {"games_per_pair": config.games_per_pair, **config.shared, "neighbours": neighbours},
        "ratings": {
            "model": MODEL, "unit": "Elo", "interval": "95 %, percentiles of a bootstrap over openings",
            "anchor": None if anchor is None else {"player": anchor[0], "elo": anchor[1]},
            "prior_draws": ratings.prior, "resamples": ratings.resamples,
            "resamples_with_prior": ratings.resamples_with_prior,
        },
        "distinct_openings": len(set(openings)),
        "openings": [{"seed": opening.seed, "actions": list(opening.actions)} for opening in openings],
        "players": players, "pairings": entries,
    }  # fmt: skip


def _pairing_entry(pairing: Pairing, contestants: Sequence[Contestant]) -> dict[str, Any]:
    """The games of two players in numbers, seen by the first."""
    points = [points_of(episode) for episode in pairing.episodes]
    both = [points[i] + points[i + 1] for i in range(0, len(points), 2)]
    return {
        "players": [contestants[pairing.first].name, contestants[pairing.second].name],
        "games": len(points), **{name: points.count(p) for name, p in (("win", 1.0), ("draw", 0.5), ("loss", 0.0))},
        "score": sum(points) / len(points),
        "openings": {str(p): both.count(p) for p in (0.0, 0.5, 1.0, 1.5, 2.0)},  # by points from both sides
        "cut": sum(episode.cut for episode in pairing.episodes),
        "records": [f"games/{path.name}" for path in pairing.records],
    }  # fmt: skip
