"""What is asked of board games besides: planes, placements, seats, symmetries (see envs.check)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from envs.game import GameSpec
from envs.trial import Finding, Skip, Trial, first_row, guard, rows_equal

NO_PLACES = "only for boards whose action_keys are `cell ROW COLUMN` or `column COLUMN`"


def symmetry_tables(spec: GameSpec) -> Iterator[Finding]:
    """What is wrong with the tables themselves."""
    assert spec.symmetries is not None, "asked only of games with symmetries"
    cells = int(np.prod(spec.observation.shape[1:]))
    for name, table, size in (
        ("cells", spec.symmetries.cells, cells),
        ("actions", spec.symmetries.actions, spec.num_actions),
    ):
        for number, row in enumerate(table):
            if sorted(row) != list(range(size)):
                yield Finding(f"symmetries.{name}[{number}] is no permutation of {size} numbers", "List each once")
        if table and tuple(table[0]) != tuple(range(size)):
            yield Finding(f"symmetries.{name}[0] is not the identity", "Put the identity first")


def reward_seats(trial: Trial) -> Iterator[Finding]:
    """Rewards go to seats, not to movers: seen from who made the last move of decided games."""
    if trial.spec.num_players != 2 or not trial.spec.zero_sum:
        raise Skip("only for zero-sum games of two players")
    wins = np.zeros((2, 2), np.int64)  # [who made the last move, who won]
    where = {}
    for step, copy in trial.endings():
        reward = trial.play.shown[step].reward[copy]
        if float(reward[0]) != 0:
            mover, winner = int(trial.play.shown[step - 1].to_play[copy]), int(reward.argmax())
            wins[mover, winner] += 1
            where.setdefault((mover, winner), (copy, step))
    if wins.sum(1).min() < 5:
        raise Skip(f"too few decided games ({wins.sum()}) to tell")
    for seat in (0, 1):
        if wins[:, seat].sum() == wins.sum():
            yield Finding(
                f"seat {seat} got the win in all {wins.sum()} decided games, also in the {wins[1 - seat].sum()} that "
                "the other seat ended",
                "reward[b, p] is what seat p received, whoever moved: turn it round when seat 1 moves",
                *where[1 - seat, seat],
            )
            return
    if wins[0, 0] + wins[1, 1] == 0:
        known = trial.spec.family == "m,n,k"
        yield Finding(
            f"the seat that made the last move lost in all {wins.sum()} decided games (wrong sign?)",
            "In an m,n,k game who completes a line wins: change the sign of the reward" if known
            else "Change the sign of the reward, unless the last mover is meant to lose",
            *where[0, 1], broken=known,
        )  # fmt: skip


def board(trial: Trial) -> Iterator[Finding]:
    """mine and theirs change places when the turn does."""
    if not trial.spec.board_planes:
        raise Skip("only for games with board_planes")
    if trial.spec.scrambles:
        raise Skip("a scrambled game's boards mean nothing")
    wrong = {True: 0, False: 0}
    seen = {True: 0, False: 0}
    where: dict[bool, tuple[int, int]] = {}
    for step, copy, before, after in trial.moves():
        mine, theirs = before.observation[copy, 0].float(), before.observation[copy, 1].float()
        now_mine, now_theirs = after.final_observation[copy, 0].float(), after.final_observation[copy, 1].float()
        straight = float((now_mine - mine).abs().sum() + (now_theirs - theirs).abs().sum())
        swapped = float((now_theirs - mine).abs().sum() + (now_mine - theirs).abs().sum())
        turned = bool(before.to_play[copy] != after.final_to_play[copy])
        seen[turned] += straight != swapped
        if (swapped > straight) if turned else (straight > swapped):
            wrong[turned] += 1
            where.setdefault(turned, (copy, step))
    for turned in (True, False):
        if wrong[turned] > seen[turned] / 2:  # single moves that turn over half the board may look like it
            yield Finding(
                "planes 0 and 1 keep their owners though the turn passed to the other seat" if turned
                else "planes 0 and 1 change owners though the same seat moves again",
                "Plane 0 is the stones of the seat in to_play, plane 1 those of the other; final_observation is seen "
                "by final_to_play",
                *where[turned],
            )  # fmt: skip


def masks(trial: Trial) -> Iterator[Finding]:
    """Moves with the shared keys are what they say: on a free cell."""
    spec = trial.spec
    cells = _cells_of(spec)
    if not spec.board_planes or not cells:
        raise Skip(NO_PLACES)
    for step, copy, before, _ in trial.moves():
        taken = before.observation[copy, :2].bool().any(0)
        for action in torch.nonzero(before.legal[copy]).flatten().tolist():
            if action in cells and bool(taken[cells[action]].all()):
                yield Finding(
                    f"action {action} ({spec.keys()[action]!r}) is legal, but its place is taken",
                    "Correct `legal`; or use keys of the game's own for moves that are not placements",
                    copy, step - 1,
                )  # fmt: skip
                return


def placements(trial: Trial) -> Iterator[Finding]:
    """After a placement the mover's stone stands there, also in the last position of an episode."""
    spec = trial.spec
    cells = _cells_of(spec)
    if not spec.board_planes or not cells:
        raise Skip(NO_PLACES)
    for step, copy, before, after in trial.moves():
        taken = before.observation[copy, :2].bool().any(0)
        action, mover = int(trial.play.actions[step - 1][copy]), int(before.to_play[copy])
        if action in cells:
            plane = 0 if int(after.final_to_play[copy]) == mover else 1
            added = after.final_observation[copy, plane].bool() & ~taken
            if not bool(added[cells[action]].any()):
                over = bool(after.terminated[copy] | after.truncated[copy])
                yield Finding(
                    f"after action {action} ({spec.keys()[action]!r}) of seat {mover} "
                    f"{'final_observation' if over else 'the observation'} shows no new stone of that seat there",
                    "Show the position after the move; final_observation is the last one of the episode that ended, "
                    "seen by final_to_play" if over else "Show the position after the move, seen by to_play",
                    copy, step,
                )  # fmt: skip
                return


def _cells_of(spec: GameSpec) -> dict[int, Any]:
    """Index into [H, W] of the place of every placement."""
    places: dict[int, Any] = {}
    for action, key in enumerate(spec.keys()):
        kind, *numbers = key.split(" ")
        if kind == "cell" and len(numbers) == 2:
            places[action] = (int(numbers[0]), int(numbers[1]))
        elif kind == "column" and len(numbers) == 1:
            places[action] = (slice(None), int(numbers[0]))
    return places


def symmetries(trial: Trial) -> Iterator[Finding]:
    """Playing the renamed moves gives the renamed boards."""
    spec = trial.spec
    if spec.symmetries is None:
        raise Skip("the spec names no symmetries")
    if spec.stochastic:
        raise Skip("chance need not be symmetric")
    if any(True for _ in symmetry_tables(spec)):
        raise Skip("its tables are wrong")
    first = trial.play.shown[0].observation
    if not bool(rows_equal(first, first[:1].expand_as(first)).all()):
        raise Skip("the first position is drawn, and need not be symmetric")
    for number, (cells, actions) in enumerate(zip(spec.symmetries.cells, spec.symmetries.actions, strict=True)):
        renamed = torch.tensor(actions)
        environment = trial.environment(trial.num_copies)
        shown = [environment.reset()]
        for step, action in enumerate(trial.play.actions, start=1):
            before = trial.play.shown[step - 1]
            board = before.observation.flatten(2)[:, :, torch.tensor(cells)]
            pairs = {
                "the board": (board, shown[-1].observation.flatten(2)),
                "the legal moves": (before.legal, shown[-1].legal[:, renamed]),
                "the reward": (before.reward, shown[-1].reward),
                "the end": (before.terminated, shown[-1].terminated),
            }
            for what, (one, other) in pairs.items():
                if not bool(rows_equal(one, other).all()):
                    yield Finding(
                        f"symmetry {number} does not hold: {what} differs when its renamed moves are played",
                        "cells[s] and actions[s] must describe the same turn of the board (see envs.game.Symmetries)",
                        first_row(~rows_equal(one, other)), step - 1,
                    )  # fmt: skip
                    return
            play = functools.partial(environment.step, renamed[action])
            shown.append(guard(play, f"a move renamed by symmetry {number}", step))
        environment.close()
