"""Positions from episodes of uniformly random legal moves, for the frozen sets of games that nobody solves.

Shape legend: T steps, B copies, N positions, K moves that follow, A actions, P players.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.game import Game, GameSpec, Timestep
from envs.tokens import PADDING

NUM_PHASES = 3  # opening, middle, end: thirds of the episode
_NUM_COPIES = 32
_ENOUGH = 4  # times the set's size: positions to choose from, half of them distinct
_AT_MOST = 8  # times the set's size: steps after which episodes are cut off, however long they are


def stratified_order(phase: Tensor, generator: torch.Generator) -> Tensor:
    """[M] int64: a shuffle of M positions in which the phases take turns, so that every prefix is stratified.

    phase: [M] int64. Where a phase runs out the others go on alone.
    """
    shuffle = torch.randperm(len(phase), generator=generator)
    shuffled = phase[shuffle]
    turn = torch.zeros_like(phase)
    for stratum in range(NUM_PHASES):
        mine = shuffled == stratum
        turn[mine] = torch.arange(int(mine.sum()))
    return shuffle[torch.argsort(turn * NUM_PHASES + shuffled, stable=True)]


@dataclasses.dataclass
class _Play:
    """What happened in B copies, kept without the observations: those of a screen would fill the memory."""

    to_play: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B], before the move
    legal: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B, A]
    action: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B]
    reward: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B, P]
    terminated: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B]
    ended: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B]
    next_to_play: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B], after the move, same episode
    digest: list[list[bytes]] = dataclasses.field(default_factory=list)  # T of B: which observation it is
    command: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B, tokens]: what was said, if that varies
    point: list[Tensor] = dataclasses.field(default_factory=list)  # T of [B, D]: what was played of a box

    def note(self, spec: GameSpec, before: Timestep, action: Tensor, after: Timestep) -> None:
        """One step of all copies. Wrapped environments may reuse their arrays, so everything is copied."""
        ended = after.terminated | after.truncated
        self.to_play.append(before.to_play.clone())
        self.legal.append(before.legal.clone())
        self.action.append(action if spec.box is None else torch.zeros(len(action), dtype=torch.int64))
        if spec.box is not None:
            self.point.append(action)
        self.reward.append(after.reward.float().clone())
        self.terminated.append(after.terminated.clone())
        self.ended.append(ended.clone())
        self.next_to_play.append(torch.where(ended, after.final_to_play, after.to_play))
        if spec.action_tokens:
            self.command.append(spec.commands(before.observation)[torch.arange(len(action)), action])


def random_positions(handle: Game, size: int, unroll: int, seed: int) -> dict[str, Any]:
    """Fields of a frozen set without policy and value targets: at most `size` distinct positions, by phase.

    Every copy plays the same number of whole episodes, else short ones would be too frequent. Episodes are played
    twice with the same seeds and moves: to choose the positions, then to keep their observations. Raises ValueError
    where the second time shows something else, for then the game breaks the contract of seeds.
    """
    generator = torch.Generator().manual_seed(seed)
    play = _play(handle, size, seed, generator)
    ply, length, episode = _episodes(torch.stack(play.ended).numpy())
    whole = episode.max(0).min()  # complete episodes of the copy that has fewest
    allowed = episode < whole if whole else np.ones_like(episode, bool)
    phase = np.minimum(ply * NUM_PHASES // length, NUM_PHASES - 1)

    seen: set[bytes] = set()
    distinct: list[tuple[int, int]] = []
    for step, copy in zip(*np.nonzero(allowed)):
        if play.digest[step][copy] not in seen:
            seen.add(play.digest[step][copy])
            distinct.append((step, copy))
    at = torch.tensor(distinct)
    phases = torch.as_tensor(phase)[at[:, 0], at[:, 1]]
    chosen = stratified_order(phases, generator)[:size]
    step, copy = at[chosen].T
    return {
        "observation": _observations(handle, play, step, copy, seed),
        "legal": torch.stack(play.legal)[step, copy],
        "phase": phases[chosen],
        "plies": torch.as_tensor(length - ply)[step, copy].float(),  # a cut-off episode's to the cut
        **_following(play, step, copy, unroll),
    }


def _play(handle: Game, size: int, seed: int, generator: torch.Generator) -> _Play:
    """Random play until whole episodes of all copies hold enough positions, or it has gone on for long enough."""
    play = _Play()
    environment = handle.environment(_NUM_COPIES, seed)
    now = environment.reset()
    episodes = np.zeros(_NUM_COPIES, np.int64)
    distinct: set[bytes] = set()
    lengths: list[list[int]] = [[0] for _ in range(_NUM_COPIES)]
    for _ in range(max(_AT_MOST * size // _NUM_COPIES, NUM_PHASES)):
        if handle.spec.box is not None:
            chance = torch.rand(_NUM_COPIES, handle.spec.box.num_dimensions, generator=generator)
            action = handle.spec.box.at(chance)
        else:
            chance = torch.rand(now.legal.shape, generator=generator)
            action = torch.where(now.legal.cpu(), chance, -1.0).argmax(1)
        play.digest.append([hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in now.observation.numpy()])
        distinct.update(play.digest[-1])
        before = now._replace(to_play=now.to_play.clone(), legal=now.legal.clone())
        if handle.spec.action_tokens:
            before = before._replace(observation=now.observation.clone())
        now = environment.step(action)
        play.note(handle.spec, before, action, now)
        for copy, ended in enumerate(play.ended[-1].tolist()):
            lengths[copy][-1] += 1
            if ended:
                lengths[copy].append(0)
        episodes += play.ended[-1].numpy()
        whole = episodes.min()
        enough = whole and sum(sum(copy[:whole]) for copy in lengths) >= _ENOUGH * size
        if enough and len(distinct) >= _ENOUGH * size // 2:
            break
    environment.close()
    return play


def _episodes(ended: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ply within the episode, its length (as far as seen) and its number: each [T, B] int64; ended: [T, B] bool."""
    num_steps, num_copies = ended.shape
    episode = np.cumsum(ended, 0) - ended
    ply, length = np.zeros_like(episode), np.zeros_like(episode)
    for copy in range(num_copies):
        starts = np.flatnonzero(np.diff(episode[:, copy], prepend=-1))
        for start, stop in zip(starts, [*starts[1:], num_steps]):
            ply[start:stop, copy] = np.arange(stop - start)
            length[start:stop, copy] = stop - start
    return ply, length, episode


def _observations(handle: Game, play: _Play, step: Tensor, copy: Tensor, seed: int) -> Tensor:
    """[N, *shape]: what was seen at (step, copy) [N], by playing the same moves again."""
    environment = handle.environment(_NUM_COPIES, seed)
    now = environment.reset()
    kept: dict[int, Tensor] = {}
    for moment in range(int(step.max()) + 1):
        for index in (step == moment).nonzero().ravel().tolist():
            row = now.observation[copy[index]].clone()
            if hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest() != play.digest[moment][copy[index]]:
                raise ValueError(
                    f"{handle.name}: the same seed and moves showed another observation the second time (step "
                    f"{moment}, copy {int(copy[index])}); run `gurgeh games check {handle.name}`"
                )
            kept[index] = row
        now = environment.step((play.point or play.action)[moment])
    environment.close()
    return torch.stack([kept[index] for index in range(len(step))])


def _following(play: _Play, step: Tensor, copy: Tensor, unroll: int) -> dict[str, Tensor]:
    """The `unroll` moves that follow (step, copy) [N] within its episode: the fields of a frozen set."""
    num_steps = len(play.action)
    stacked = {
        name: torch.stack(getattr(play, name))
        for name in ("to_play", "action", "reward", "terminated", "ended", "next_to_play", "command", "point")
        if getattr(play, name)
    }
    alive = torch.ones(len(step), dtype=torch.bool)
    to_play = [stacked["to_play"][step, copy]]
    columns: dict[str, list[Tensor]] = {name: [] for name in ("action", "reward", "continues", "valid")}
    for offset in range(unroll):
        alive = alive & (step + offset < num_steps)
        here = (step + offset).clamp(max=num_steps - 1), copy
        columns["valid"].append(alive)
        columns["action"].append(torch.where(alive, stacked["action"][here], 0))
        columns["reward"].append(torch.where(alive[:, None], stacked["reward"][here], 0.0))
        columns["continues"].append(alive & ~stacked["terminated"][here])
        if play.command:
            columns.setdefault("command", []).append(torch.where(alive[:, None], stacked["command"][here], PADDING))
        if play.point:
            columns.setdefault("point", []).append(torch.where(alive[:, None], stacked["point"][here], 0.0))
        goes_on = alive & ~stacked["terminated"][here]
        to_play.append(torch.where(goes_on, stacked["next_to_play"][here], to_play[-1]))
        alive = alive & ~stacked["ended"][here]
    return {name: torch.stack(parts, 1) for name, parts in (columns | {"to_play": to_play}).items()}
