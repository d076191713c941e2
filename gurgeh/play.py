"""`gurgeh games play`: a person at the terminal, or a script of moves, against a player or alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch
from rich.console import Console
from rich.text import Text

from agents.player import StatePlayer
from envs.batch import NativeEnvironment
from envs.game import Box, Environment, Game, Timestep, episode_seed
from gurgeh.drawing import STONES, Drawer, action_label
from gurgeh.episodes import DECISIONS, EPISODES, AnyPlayer, untouched_randomness
from gurgeh.replay import Frame

QUIT, HELP, MOVES = ("q", "quit", "exit"), ("h", "help", "?"), ("m", "moves")
MOST_SHOWN = 40  # legal moves that are listed without being asked for


class Input(NamedTuple):
    """Where moves come from."""

    words: Iterator[str]
    script: bool  # what is wrong ends the game, with an error; else the person is asked again


def typed(console: Console, prompt: str) -> Iterator[str]:
    """Moves that a person types, until the end of input."""
    while True:
        try:
            line = console.input(prompt)
        except EOFError:
            console.print()
            return
        yield line.strip()


def scripted(stream: TextIO | str) -> Iterator[str]:
    """Moves of a script: one a line, or several with commas between them; # begins a comment."""
    for line in [stream] if isinstance(stream, str) else stream:
        for word in line.partition("#")[0].split(","):
            if word.strip():
                yield word.strip()


def find_move(text: str, game: Game, legal: list[int], observation: torch.Tensor | None = None) -> Any:
    """The legal action that `text` means: its number, its label, or for a cell the row and the column; where actions
    are continuous a list of as many numbers, with spaces between them.

    observation: [*shape] of the position, which says what the actions are where commands vary.

    ValueError with the reason, and what would do.
    """
    spec = game.spec
    if spec.box is not None:
        return _find_point(text, spec.box)
    labels = {action_label(spec, action, observation).lower(): action for action in range(spec.num_actions)}
    wanted = " ".join(text.lower().split())
    action = labels.get(wanted, labels.get(f"cell {wanted}", labels.get(f"column {wanted}")))
    if action is None and len(text) == 1 and not text.isdigit():
        action = labels.get(f"byte {ord(text)}")
    if action is None and wanted.isascii() and wanted.isdigit() and int(wanted) < spec.num_actions:
        action = int(wanted)
    if action is None:
        begun = [label for label in labels if label.startswith(wanted) and labels[label] in legal]
        action = labels[begun[0]] if len(begun) == 1 and wanted else None
    if action is None:
        separate = " (moves are separated by commas or lines)" if " " in wanted else ""
        raise ValueError(f"{text!r} is no move: type a number from 0 to {spec.num_actions - 1} or a label{separate}")
    if action not in legal:
        raise ValueError(f"{action_label(spec, action, observation) or action} is not legal here")
    return action


def _find_point(text: str, box: Box) -> list[float]:
    try:
        point = [float(word) for word in text.split()]
    except ValueError:
        point = []
    if len(point) != box.num_dimensions or not bool(box.contains(torch.tensor(point))):
        raise ValueError(f"{text!r} is no move: type {_numbers(box)}")
    return point


def _numbers(box: Box) -> str:
    """What is typed for a move where actions are continuous."""
    within = ", ".join(f"{low:g} to {high:g}" for low, high in zip(box.low, box.high, strict=True))
    return f"a number, {within}" if len(box.low) == 1 else f"{len(box.low)} numbers with spaces between, {within}"


class Table:
    """One game being played, and what is shown of it."""

    def __init__(self, game: Game, players: list[AnyPlayer | None], seed: int, console: Console):
        """players: one a seat; None is the person."""
        self.game, self.players, self.console, self.seed = game, players, console, seed
        size = (max(16, min(96, console.width - 4)), max(8, console.height - 6) if console.is_terminal else 24)
        color = console.color_system is not None and not console.no_color
        self.drawer = Drawer(game.spec, None, None, color, size)
        self.total = np.zeros(game.spec.num_players)
        self.moves = 0

    def play(self, source: Input) -> bool:
        """Play one episode; whether it came to its end."""
        environment = self.game.environment(1, self.seed)
        try:
            now = environment.reset(episode_seed(self.seed, np.zeros(1, np.int64), EPISODES))
            shown = -1  # moves that had been played when the position was last drawn
            while True:
                seat = int(now.to_play[0])
                player = self.players[seat]
                if player is None:
                    if shown != self.moves:
                        self._show(now, seat)
                        shown = self.moves
                    action = self._ask(source, now)
                    if action is None:
                        self.console.print(f"stopped after {self.moves} moves")
                        return False
                else:
                    action = self._decide(player, environment, now)
                    mover = f"{self._seat(seat)} ({player.name})"
                    # Where information is hidden, others' moves may be part of it: what a seat knows is what it sees.
                    hidden = not self.game.spec.perfect_information
                    what = "(hidden)" if hidden else action_label(self.game.spec, action, now.observation[0])
                    self.console.print(Text(f"{mover} plays {what}"))
                now = environment.step(torch.tensor([action]))
                self.moves += 1
                self._reward(now)
                if bool(now.terminated[0] | now.truncated[0]):
                    self._end(now)
                    return True
        finally:
            environment.close()

    def _ask(self, source: Input, now: Timestep) -> Any:
        """The person's next move; None to stop."""
        legal = torch.nonzero(now.legal[0]).flatten().tolist()
        for text in source.words:
            if text.lower() in QUIT:
                return None
            if text.lower() in HELP:
                self.console.print("a move is its number or label (a cell also ROW COLUMN); m lists moves, q quits")
            elif text.lower() in MOVES:
                self._list(legal, len(legal), now.observation[0])
            elif text:
                try:
                    return find_move(text, self.game, legal, now.observation[0])
                except ValueError as error:
                    if source.script:
                        raise ValueError(f"move {self.moves + 1} of the script: {error}") from error
                    self.console.print(Text(f"{error}; m lists the legal moves", style="yellow"))
        return None

    def _decide(self, player: AnyPlayer, environment: Environment, now: Timestep) -> Any:
        seed = torch.as_tensor(episode_seed(self.seed, np.zeros(1, np.int64), DECISIONS + self.moves))
        with untouched_randomness():
            if isinstance(player, StatePlayer):
                assert isinstance(environment, NativeEnvironment), "checked when the players were made"
                return player.act_on_state(environment.state, seed).action.tolist()[0]
            return player.act(now.observation, now.legal, now.to_play, seed).action.tolist()[0]

    def _show(self, now: Timestep, seat: int) -> None:
        """The position as `seat` sees it, and its legal moves."""
        self.console.print()
        if self.game.spec.num_players > 1:
            self.console.print(Text(f"move {self.moves + 1}, {self._seat(seat)} to move", style="bold"))
        else:
            so_far = f", reward so far {self.total[0]:g}" if self.moves else ""
            self.console.print(Text(f"move {self.moves + 1}{so_far}", style="bold"))
        self.console.print(self.drawer.position(self._frame(now.observation[0], seat)))
        legal = torch.nonzero(now.legal[0]).flatten().tolist()
        self._list(legal, MOST_SHOWN, now.observation[0])

    def _list(self, legal: list[int], most: int, observation: torch.Tensor) -> None:
        """`moves: 0, 1, 2` where numbers say it all, else with labels; cells as ROW COLUMN."""
        spec = self.game.spec
        if spec.box is not None:
            self.console.print(Text(f"move: {_numbers(spec.box)}", style="dim"))
            return
        labels = {action: action_label(spec, action, observation) for action in legal}
        cells = all(label.startswith("cell ") for label in labels.values())
        shown = []
        for action, label in labels.items():
            short = label.removeprefix("cell ") if cells else label.removeprefix("column ")
            if label == f"byte {action}":
                short = chr(action) if chr(action).isprintable() and action not in (32, 44) else str(action)
            plain = cells or short == str(action) or label == f"byte {action}"
            shown.append(short if plain else f"{action} {short}")
        rest = f" ... {len(shown) - most} more (m lists all)" if len(shown) > most else ""
        what = "cells (row column)" if cells else "moves"
        self.console.print(Text(f"{what}: {', '.join(shown[:most])}{rest}", style="dim"))

    def _frame(self, observation: torch.Tensor, seat: int) -> Frame:
        return Frame(self.moves, observation, seat, None, None, None, None, [], [])

    def _reward(self, now: Timestep) -> None:
        reward = now.reward[0].double().numpy()
        self.total += reward
        if reward.any() and len(reward) == 1:
            self.console.print(Text(f"reward {reward[0]:g}"))
        elif reward.any():
            each = ", ".join(f"{self._seat(seat)} {value:+g}" for seat, value in enumerate(reward.tolist()))
            self.console.print(Text(f"reward {each}"))

    def _end(self, now: Timestep) -> None:
        """The last position and the result."""
        self.console.print()
        self.console.print(self.drawer.position(self._frame(now.final_observation[0], int(now.final_to_play[0]))))
        how = "the end" if bool(now.terminated[0]) else "cut off by the game's limit"
        best = np.flatnonzero(self.total == self.total.max())
        if len(self.total) == 1:
            result = f"return {self.total[0]:g}"
        elif len(best) == 1:
            result = f"{self._seat(int(best[0]))} wins"
        else:
            result = "drawn"
        self.console.print(Text(f"{how} after {self.moves} moves: {result}", style="bold"))

    def _seat(self, seat: int) -> str:
        boards = self.game.spec.board_planes and self.game.spec.num_players == 2
        who = STONES[seat] if boards else f"seat {seat}"
        return f"{who} (you)" if self.players[seat] is None and self.players.count(None) == 1 else who


def seat_players(game: Game, opponent: str | None, seat: int | None, simulations: int | None) -> list[AnyPlayer | None]:
    """Who sits where: the person (None) at `seat` and `opponent` everywhere else; `self`: the person everywhere."""
    seats = game.spec.num_players
    if seats == 1:
        if opponent not in (None, "self") or seat not in (None, 0):
            raise ValueError(f"{game.name} is for one player: leave --opponent and --seat out")
        return [None]
    if seat is not None and not 0 <= seat < seats:
        raise ValueError(f"--seat must be from 0 to {seats - 1} in {game.name}, found {seat}")
    if opponent == "self":
        if seat is not None:
            raise ValueError("--opponent self plays all seats by hand: leave --seat out")
        return [None] * seats
    from gurgeh.evaluate import EvaluationConfig, named_player

    config = EvaluationConfig() if simulations is None else EvaluationConfig(simulations=simulations)
    player = named_player(opponent or "random", game, config)
    players: list[AnyPlayer | None] = [player] * seats
    players[seat or 0] = None
    return players


def source_of(script: str | None, console: Console) -> Input:
    """Moves from the option `--moves`, else from what is piped in, else from the keyboard."""
    if script is not None:
        return Input(scripted(script), True)
    if not sys.stdin.isatty():
        return Input(scripted(sys.stdin), True)
    return Input(typed(console, "your move> "), False)


def introduce(game: Game, players: list[Any], console: Console) -> None:
    """What is played, by whom, and how to stop."""
    others = sorted({player.name for player in players if player is not None})
    against = f" against {' and '.join(others)}" if others else ""
    console.print(Text(f"{game.spec.name}{against}", style="bold"))
