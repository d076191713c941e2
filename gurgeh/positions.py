"""Positions of a game that is too large to solve whole, with a solver's score of every move: to judge players by.

The scores lie in a file, so judging needs no solver. A score takes the view of the player to move; its sign is the
outcome under perfect play and its size prefers the sooner win and the later loss.

Shape legend: M positions, A actions, O openings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.game import Game, NativeGame
from gurgeh.evaluate import Chosen

SCHEMA = "judged_positions/1"
ILLEGAL = -1000  # stands for the score of a move that is not legal
_FIELDS = {"schema", "game", "game_version", "solver", "made_by", "positions", "openings", "sha256"}


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedPositions:
    """M positions in which somebody is to move and a score for each move, and O openings for games."""

    game: str
    sha256: str  # of the positions and openings: names the set in records
    state: Any = dataclasses.field(repr=False)  # M states of the game's own type
    observation: Tensor  # [M, *shape] of the spec's dtype
    legal: Tensor  # [M, A] bool
    to_play: Tensor  # [M] int64
    ply: Tensor  # [M] int64: moves since the first position
    score: Tensor  # [M, A] int64; ILLEGAL where not legal
    openings: tuple[tuple[int, ...], ...]  # O lists of moves to positions that are a draw under perfect play

    def __len__(self) -> int:
        return len(self.ply)

    @property
    def value(self) -> Tensor:
        """[M] int64: -1, 0 or 1, the outcome for the player to move under perfect play."""
        return self.score.amax(1).sign()

    @property
    def optimal(self) -> Tensor:
        """[M, A] bool: legal moves that keep the outcome."""
        return self.legal & (self.score.sign() == self.value[:, None])

    @property
    def strongest(self) -> Tensor:
        """[M, A] bool: moves of the best score, which keep the distance to the end, too."""
        return self.score == self.score.amax(1, keepdim=True)

    @property
    def decisive(self) -> Tensor:
        """[M] bool: a legal move loses value and one keeps it: where a choice can be wrong."""
        return (self.legal & ~self.optimal).any(1)


def fingerprint(positions: Sequence[Any], openings: Sequence[Any]) -> str:
    """sha256 of the content of a file of positions."""
    return hashlib.sha256(json.dumps([positions, openings], separators=(",", ":")).encode()).hexdigest()


def save_positions(
    path: Path, game: Game, solver: str, made_by: str,
    positions: Sequence[tuple[Sequence[int], Sequence[int | None]]], openings: Sequence[Sequence[int]],
) -> None:  # fmt: skip
    """Write a file of positions, one a line: the moves from the first position, the A scores (None: illegal)."""
    listed = [[list(moves), list(scores)] for moves, scores in positions]
    starts = [list(moves) for moves in openings]
    head = {
        "schema": SCHEMA, "game": game.spec.name, "game_version": game.spec.version, "solver": solver,
        "made_by": made_by, "sha256": fingerprint(listed, starts),
    }  # fmt: skip
    rows = {
        name: ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
        for name, entries in (("positions", listed), ("openings", starts))
    }
    body = ",\n".join(f'"{name}": [\n{text}\n]' for name, text in rows.items())
    path.write_text(json.dumps(head, indent=1).removesuffix("\n}") + ",\n" + body + "\n}\n")


def load_positions(path: str | Path, game: Game) -> JudgedPositions:
    """The positions of a file for `game`, played out by its native rules.

    ValueError for a damaged file, one of another game or version, or one whose moves are not legal.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or set(content) != _FIELDS:
        raise ValueError(f"{path} is no file of judged positions: expected schema {SCHEMA} with {sorted(_FIELDS)}")
    found = fingerprint(content["positions"], content["openings"])
    if found != content["sha256"]:
        raise ValueError(f"{path} is damaged: expected sha256 {content['sha256']}, found {found}")
    if (content["game"], content["game_version"]) != (game.spec.name, game.spec.version):
        raise ValueError(
            f"{path} has positions of {content['game']} version {content['game_version']}, "
            f"expected {game.spec.name} version {game.spec.version}"
        )
    if game.native is None:
        raise ValueError(f"{game.name} has no native rules, with which positions are played out")
    moves = [entry[0] for entry in content["positions"]]
    score = torch.tensor([[ILLEGAL if s is None else s for s in entry[1]] for entry in content["positions"]])
    state = play_out(game.native, moves)
    legal = game.native.legal(state)
    if not torch.equal(legal, score != ILLEGAL):
        row = int((legal != (score != ILLEGAL)).any(1).nonzero()[0])
        raise ValueError(f"{path}: position {row} ({moves[row]}) has scores for other moves than the legal ones")
    return JudgedPositions(
        game.spec.name, found, state, game.native.observe(state), legal, game.native.to_play(state),
        torch.tensor([len(entry) for entry in moves]), score, tuple(map(tuple, content["openings"])),
    )  # fmt: skip


def play_out(native: NativeGame, moves: Sequence[Sequence[int]]) -> Any:
    """M lists of moves -> the M states after them; ValueError for a move that is not legal, or a game that is over."""
    longest = max(map(len, moves), default=0)
    state = native.initial(torch.zeros(len(moves), dtype=torch.int64))
    for ply in range(longest):
        rows = [row for row, entry in enumerate(moves) if len(entry) > ply]
        index, action = torch.tensor(rows), torch.tensor([moves[row][ply] for row in rows])
        before = type(state)(*(part[index] for part in state))
        legal = native.legal(before)
        least, most = int(action.min()), int(action.max())
        if least < 0 or most >= legal.shape[1]:
            raise ValueError(f"moves must be 0 to {legal.shape[1] - 1}, found {least if least < 0 else most}")
        played = native.play(before, action)
        wrong = ~legal.gather(1, action[:, None])[:, 0] | played.terminated
        if bool(wrong.any()):
            row = rows[int(wrong.nonzero()[0])]
            raise ValueError(f"move {ply} of {list(moves[row])} is not legal or ends the game")
        state = type(state)(*(part.index_copy(0, index, new) for part, new in zip(state, played.state)))
    return state


def judge(chosen: Chosen, positions: JudgedPositions, bands: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """How good the moves in the M positions are, as JSON values: over all positions, the decisive ones, and by ply.

    bands: (first, last) ply of each line of `bands`. Each part has `positions`; `optimal` and `strongest`, shares of
    moves; `regret`, the mean loss of value, 0 to 2; the same of the raw policy as `raw`, where there is one; and
    `random`, the share of optimal moves that choosing with equal chances would have.
    """
    decisive = positions.decisive
    everywhere = torch.ones_like(decisive)
    return {
        "sha256": positions.sha256,
        "all": _part(chosen, positions, everywhere),
        "decisive": _part(chosen, positions, decisive),
        "bands": [
            {"ply": list(band), **_part(chosen, positions, decisive & _within(positions.ply, *band))} for band in bands
        ],
        "plies": [
            {"ply": ply, **_part(chosen, positions, decisive & (positions.ply == ply))}
            for ply in positions.ply[decisive].unique().tolist()
        ],
    }


def _within(ply: Tensor, first: int, last: int) -> Tensor:
    return (ply >= first) & (ply <= last)


def _part(chosen: Chosen, positions: JudgedPositions, rows: Tensor) -> dict[str, Any]:
    """The numbers of the positions `rows` [M] bool."""
    if not bool(rows.any()):
        return {"positions": 0}
    chance = (positions.optimal.sum(1) / positions.legal.sum(1))[rows].double().mean()
    found = {"positions": int(rows.sum()), **_shares(chosen.action, positions, rows), "random": _short(chance)}
    if chosen.likeliest is not None:
        found["raw"] = _shares(chosen.likeliest, positions, rows)
    return found


def _shares(action: Tensor, positions: JudgedPositions, rows: Tensor) -> dict[str, float]:
    def of(mask: Tensor) -> Tensor:
        return mask.gather(1, action[:, None])[rows, 0].double()

    regret = positions.value[rows].double() - of(positions.score.sign())
    return {
        "optimal": _short(of(positions.optimal).mean()),
        "strongest": _short(of(positions.strongest).mean()),
        "regret": _short(regret.mean()),
    }


def _short(value: Tensor) -> float:
    return round(float(value), 6)
