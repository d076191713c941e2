"""A position as text for the terminal: boards, planes, pixels, numbers, and what the player thought beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from envs import tokens
from envs.game import GameSpec, ObservationKind
from gurgeh.records import Episode, Header
from gurgeh.replay import Frame

STONES = ("X", "O")
STONE_STYLES = ("bold bright_red", "bold bright_cyan", "bold bright_yellow", "bold bright_green")
# One colour a plane, apart from each other on dark and light backgrounds, repeated when there are more planes.
PALETTE = (
    (64, 160, 255), (255, 200, 60), (240, 90, 90), (110, 220, 120), (200, 130, 255), (255, 150, 80), (90, 220, 220),
    (240, 120, 190), (190, 190, 110), (170, 170, 190),
)  # fmt: skip
RAMP = " .:-=+*#%@"  # dark to bright, where there are no colours
MOST_MOVES, MOST_NUMBERS = 10, 24  # rows of the tables
BAR = 16  # characters


class Drawer:
    """Draws the frames of one episode in order; it remembers the last one, to mark what is new."""

    def __init__(
        self,
        spec: GameSpec,
        header: Header | None,
        episode: Episode | None,
        color: bool,
        size: tuple[int, int] = (64, 24),
    ):
        """header, episode: None where only positions are drawn. size: most characters (width, height) of an image."""
        self.spec, self.color, self.size = spec, color, size
        self._record = header, episode
        self._before: Tensor | None = None  # occupied cells of the last frame
        self._largest: Tensor | None = None  # of each number so far

    @property
    def header(self) -> Header:
        """Of the recorded episode."""
        assert self._record[0] is not None, "only positions are drawn"
        return self._record[0]

    @property
    def episode(self) -> Episode:
        """The recorded one."""
        assert self._record[1] is not None, "only positions are drawn"
        return self._record[1]

    def draw(self, frame: Frame) -> RenderableType:
        """The position on the left, the player's thoughts on the right."""
        grid = Table.grid(padding=(0, 3))
        # A picture keeps its width on a narrow terminal; the table of moves gives way.
        wide = self.spec.observation.kind is ObservationKind.PIXELS
        grid.add_column(no_wrap=True, min_width=self.size[0] if wide else None)
        grid.add_column()
        grid.add_row(self.position(frame), self._thoughts(frame))
        return Group(self._title(frame), grid, "")

    def position(self, frame: Frame) -> RenderableType:
        """What is seen; of the frame only the observation and who is to move."""
        kind = self.spec.observation.kind
        if kind is ObservationKind.GRID and self.spec.board_planes and self._stones(frame) is not None:
            return self._board(frame)
        if kind is ObservationKind.GRID:
            return self._planes(frame.observation)
        if kind is ObservationKind.PIXELS:
            return self._pixels(frame.observation)
        if kind is ObservationKind.VECTOR:
            return self._numbers(frame.observation)
        return Text(tokens.decode(self.spec.text(frame.observation)))

    def _stones(self, frame: Frame) -> Tensor | None:
        """[P, H, W] bool by seat, from what the mover sees; None where it does not say whose a stone is.

        For two: mine, theirs. For more, planes 2 and on are the other seats' one by one, beginning with the next.
        """
        seats, planes = self.spec.num_players, frame.observation > 0
        if seats == 2:
            return planes[:2] if frame.to_play == 0 else planes[:2].flip(0)
        if len(planes) < seats + 1:
            return None
        return torch.cat([planes[:1], planes[2 : seats + 1]]).roll(frame.to_play, 0)

    def _board(self, frame: Frame) -> Text:
        """Stones by seat; the newest in brackets."""
        stones = self._stones(frame)
        assert stones is not None, "asked before"
        marks = STONES if len(stones) == 2 else [str(seat) for seat in range(len(stones))]
        taken = stones.any(0)
        new = taken & ~self._before if self._before is not None else torch.zeros_like(taken)
        self._before = taken
        height, width = taken.shape
        text = Text()
        text.append("   " + "".join(f"{column % 100:^3}" for column in range(width)) + "\n", style="dim")
        for row in range(height):
            text.append(f"{row:>2} ", style="dim")
            for column in range(width):
                owners = stones[:, row, column].nonzero()
                seat = int(owners[0]) if len(owners) else None
                mark = "·" if seat is None else marks[seat]
                shown = f"[{mark}]" if new[row, column] else f" {mark} "
                text.append(shown, style="dim" if seat is None else STONE_STYLES[seat % len(STONE_STYLES)])
            text.append("\n")
        return text

    def _planes(self, observation: Tensor) -> Text:
        """A block a cell in the colour of its highest plane, or that plane's number."""
        on = observation > 0
        number = torch.arange(1, len(on) + 1)[:, None, None]
        top = (on * number).amax(0) - 1  # -1: no plane
        text = Text()
        for row in top.tolist():
            for plane in row:
                if plane < 0:
                    text.append(" ·", style="dim")
                elif self.color:
                    text.append("██", style=_rgb(PALETTE[plane % len(PALETTE)]))
                else:
                    text.append(f" {plane % 10}")
            text.append("\n")
        text.append("planes ", style="dim")
        for plane in range(len(on)):
            text.append(f" {plane}" + ("■" if self.color else ""), style=_rgb(PALETTE[plane % len(PALETTE)]))
        return text

    def _pixels(self, observation: Tensor) -> Text:
        """Two pixels a character, one above the other; of stacked screens the newest."""
        colors = observation.shape[0] == 3
        screen = observation.float() if colors else observation[-1:].float().repeat(3, 1, 1)
        height, width = screen.shape[1:]
        shrink = max(width / self.size[0], height / (2 * self.size[1]), 1.0)
        target = max(2, int(height / shrink) // 2 * 2), max(1, int(width / shrink))
        small = torch.nn.functional.interpolate(screen[None], target, mode="area")[0].round().int()
        text = Text()
        for upper, lower in zip(small[:, ::2].permute(1, 2, 0).tolist(), small[:, 1::2].permute(1, 2, 0).tolist()):
            for above, below in zip(upper, lower):
                if self.color:
                    text.append("▀", style=f"{_rgb(above)} on {_rgb(below)}")
                else:
                    text.append(RAMP[int(sum(above + below) / 6 / 256 * len(RAMP))])
            text.append("\n")
        return text

    def _numbers(self, observation: Tensor) -> RenderableType:
        """Numbers with bars; a full bar is the largest that was seen so far."""
        values = observation.double().flatten()
        largest = values.abs() if self._largest is None else torch.maximum(self._largest, values.abs())
        self._largest = largest
        shown = range(len(values))
        if len(values) > MOST_NUMBERS:  # a one-hot or a long vector: what is not zero
            shown = values.nonzero()[:MOST_NUMBERS, 0].tolist()
        table = Table.grid(padding=(0, 1))
        for i in shown:
            share = float(values[i] / largest[i].clamp(min=1e-12))
            length = round(abs(share) * BAR / 2)
            bar = ("█" * length).rjust(BAR // 2) + "│" + " " * (BAR // 2) if share < 0 else (
                " " * (BAR // 2) + "│" + ("█" * length).ljust(BAR // 2))  # fmt: skip
            table.add_row(Text(str(i), style="dim"), f"{float(values[i]):+.3f}", Text(bar, style="blue"))
        if len(shown) < len(values):
            return Group(table, Text(f"{len(values)} numbers, {len(shown)} shown", style="dim"))
        return table

    def _title(self, frame: Frame) -> Text:
        text = Text(f"episode {self.episode.index}, move {frame.move} of {len(self.episode)}", style="bold")
        if frame.action is not None and self.spec.num_players > 1:
            text.append(f", {self._seat(frame.to_play)} to move")
        return text

    def _seat(self, seat: int) -> str:
        """X (agent), or seat 2 (agent) where seats have no stones."""
        who = self.header.players[self.episode.seating[seat]]
        boards = self.spec.board_planes and self.spec.num_players == 2
        return f"{STONES[seat]} ({who})" if boards else f"seat {seat} ({who})"

    def _thoughts(self, frame: Frame) -> RenderableType:
        """Rewards, then the value and the moves that were considered, or how it ended."""
        text = Text()
        if self.spec.num_players == 1 and frame.last_action is not None:
            text.append(f"reward {frame.reward[0]:g}, so far {frame.total[0]:g}\n")
        elif any(frame.reward):
            text.append(f"reward {self._per_seat(frame.reward, '+g')}\n")
        if frame.action is None:
            text.append(self._ending(), style="bold")
            return text
        values = _entry(self.episode.value, frame.move)
        if values is not None and self.spec.num_players == 1:
            text.append(f"value {values[0]:.2f}\n")
        elif values is not None:
            text.append(f"value {self._per_seat(values, '+.2f')}\n")
        return Group(text, self._moves(frame)) if text else self._moves(frame)

    def _per_seat(self, values: Sequence[float], form: str) -> str:
        """X +1, O -1."""
        names = STONES if self.spec.board_planes and self.spec.num_players == 2 else range(len(values))
        return ", ".join(f"{name} {value + 0.0:{form}}" for name, value in zip(names, values))

    def _ending(self) -> str:
        how = "the end" if self.episode.terminated else "cut off by the game's limit" if self.episode.truncated else (
            "stopped by the evaluation")  # fmt: skip
        if self.spec.num_players == 1:
            return f"{how}: {self.episode.outcome[0]:g} in {len(self.episode)} moves"
        best = max(self.episode.outcome)
        winners = [self._seat(seat) for seat, outcome in enumerate(self.episode.outcome) if outcome == best]
        return f"{how}: {winners[0]} wins" if len(winners) == 1 else f"{how}: drawn"

    def _moves(self, frame: Frame) -> Table:
        """The moves with their probabilities and visits; the chosen one is marked."""
        move = frame.move
        columns = {
            "policy": _entry(self.episode.policy, move), "raw": _entry(self.episode.prior, move),
            "visits": _entry(self.episode.visits, move),
        }  # fmt: skip
        columns = {name: values for name, values in columns.items() if values is not None}
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("move")
        for name in columns:
            table.add_column(name, justify="right")
        main = columns.get("policy", columns.get("raw"))
        if main is not None:
            table.add_column("", min_width=BAR, style="green")
        for action in self._shown(frame, main):
            row = [("▶ " if action == frame.action else "  ") + action_label(self.spec, action, frame.observation)]
            row += [str(values[action]) if name == "visits" else f"{values[action] * 100:.1f} %"
                    for name, values in columns.items()]  # fmt: skip
            if main is not None:
                row.append("█" * round(main[action] * BAR))
            table.add_row(*row, style="bold" if action == frame.action else "")
        return table

    def _shown(self, frame: Frame, weights: Sequence[float] | None) -> list[Any]:
        """The likeliest legal moves, in the order of the actions; always the chosen one."""
        assert frame.legal is not None, "the last frame has no moves"
        assert frame.action is not None, "the last frame has no move"
        if self.spec.box is not None:
            return [frame.action]
        legal = frame.legal.nonzero()[:, 0].tolist()
        if len(legal) > MOST_MOVES and weights is not None:
            best = sorted(legal, key=lambda action: -weights[action])
            legal = sorted({frame.action, *best[: MOST_MOVES - 1]})
        return legal[: 2 * MOST_MOVES] if weights is not None else [frame.action]


def action_label(spec: GameSpec, action: Any, observation: Tensor | None = None) -> str:
    """What the action says in the position (observation [*shape]) where commands vary, the numbers where actions are
    continuous, else its key, without the game's name before it, or that it is a command."""
    if spec.box is not None:
        return " ".join(f"{number:.4g}" for number in action)
    if spec.action_tokens and observation is not None:
        return tokens.decode(spec.commands(observation)[action])
    return spec.keys()[action].removeprefix(f"{spec.name} ").removeprefix("command ")


def _entry(entries: Sequence, move: int):
    """What was recorded for a move, if anything was."""
    return entries[move] if entries else None


def _rgb(color: Sequence[int]) -> str:
    return f"rgb({color[0]},{color[1]},{color[2]})"
