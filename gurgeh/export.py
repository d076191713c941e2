"""An episode as a file: moving picture, text, or data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.game import Game, GameSpec, ObservationKind
from gurgeh.drawing import BAR, MOST_NUMBERS, PALETTE, STONES, Drawer, action_label
from gurgeh.records import Episode, Header
from gurgeh.replay import Frame, frames

KINDS = (".gif", ".json", ".txt", ".html", ".svg")
SIDE = 320  # pixels of a picture's longer side, about
GRAY, WHITE, BLACK = (70, 74, 82), (235, 235, 235), (16, 18, 22)
STONE_COLORS = ((240, 90, 90), (80, 170, 255))


def export(game: Game, header: Header, episode: Episode, path: Path, milliseconds: int | None = None) -> None:
    """Write one episode to `path`, whose suffix says how; ValueError for a suffix that is not in `KINDS`.

    milliseconds: how long a picture of a .gif stands; None: as long as the length of the game suggests.
    """
    if path.suffix not in KINDS:
        raise ValueError(f"cannot export to {path.name!r}: expected a name that ends in {', '.join(KINDS)}")
    if path.suffix == ".gif":
        stands = milliseconds or (700 if len(episode) < 60 else 100)
        pictures = [_picture(game.spec, episode, frame) for frame in frames(game, episode)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=stands, loop=0)
    elif path.suffix == ".json":
        content = {
            "schema": "replay/1", "game": header.game, "players": header.players, "seed": episode.seed,
            "outcome": episode.outcome, "frames": [_data(game.spec, episode, frame) for frame in frames(game, episode)],
        }  # fmt: skip
        path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    else:
        path.write_text(_text(game, header, episode, path.suffix), encoding="utf-8")


def _text(game: Game, header: Header, episode: Episode, suffix: str) -> str:
    """What the terminal would show."""
    import io

    from rich.console import Console

    console = Console(record=True, width=110, file=io.StringIO(), color_system="truecolor", highlight=False)
    drawer = Drawer(game.spec, header, episode, color=suffix != ".txt")
    for frame in frames(game, episode):
        console.print(drawer.draw(frame))
    if suffix == ".txt":
        return console.export_text()
    return console.export_html() if suffix == ".html" else console.export_svg(title=game.spec.name)


def _data(spec: GameSpec, episode: Episode, frame: Frame) -> dict[str, Any]:
    content: dict[str, Any] = {
        "move": frame.move, "to_play": frame.to_play, "observation": frame.observation.tolist(), "reward": frame.reward,
    }  # fmt: skip
    if frame.action is not None:
        content |= {"action": frame.action, "action_key": action_label(spec, frame.action, frame.observation)}
        for name in ("value", "policy", "prior", "visits"):
            if getattr(episode, name):
                content[name] = getattr(episode, name)[frame.move]
    return content


def _picture(spec: GameSpec, episode: Episode, frame: Frame) -> Any:
    """A PIL image of one frame with a line of text below."""
    from PIL import Image, ImageDraw, ImageFont

    kind = spec.observation.kind
    if kind is ObservationKind.GRID and spec.board_planes and spec.num_players == 2:
        image = _board_picture(frame)
    elif kind is ObservationKind.GRID:
        image = _cells(_plane_colors(frame.observation))
    elif kind is ObservationKind.PIXELS:
        colors = frame.observation if len(frame.observation) == 3 else frame.observation[-1:].repeat(3, 1, 1)
        image = _cells(colors.permute(1, 2, 0))
    else:
        image = _bars(frame.observation)
    whole = Image.new("RGB", (max(image.width, 300), image.height + 24), BLACK)
    whole.paste(image, (0, 0))
    value = episode.value[frame.move] if episode.value and frame.action is not None else None
    parts = [f"{frame.move}/{len(episode)}"]
    parts += [f"value {value[frame.to_play]:+.2f}"] if value is not None else []
    parts += [f"plays {action_label(spec, frame.action, frame.observation)}"] if frame.action is not None else [
        "outcome " + ", ".join(f"{outcome:g}" for outcome in episode.outcome)]  # fmt: skip
    ImageDraw.Draw(whole).text((6, image.height + 4), "   ".join(parts), WHITE, ImageFont.load_default(14))
    return whole


def _board_picture(frame: Frame) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    height, width = frame.observation.shape[1:]
    cell = max(12, SIDE // max(height, width))
    image = Image.new("RGB", (width * cell, height * cell), BLACK)
    draw = ImageDraw.Draw(image)
    for row in range(height):
        for column in range(width):
            left, top = column * cell, row * cell
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=GRAY)
            for plane in (0, 1):
                if frame.observation[plane, row, column] > 0:
                    seat = frame.to_play ^ plane
                    edge = cell // 8
                    draw.ellipse((left + edge, top + edge, left + cell - edge, top + cell - edge), STONE_COLORS[seat])
                    middle = (left + cell / 2, top + cell / 2)
                    draw.text(middle, STONES[seat], BLACK, ImageFont.load_default(cell // 3), anchor="mm")
    return image


def _plane_colors(observation: Tensor) -> Tensor:
    """[C, H, W] planes -> [H, W, 3] uint8: each cell in the colour of its highest plane."""
    colors = torch.tensor([BLACK, *(PALETTE[i % len(PALETTE)] for i in range(len(observation)))], dtype=torch.uint8)
    number = torch.arange(1, len(observation) + 1)[:, None, None]
    return colors[((observation > 0) * number).amax(0)]


def _cells(colors: Tensor) -> Any:
    """[H, W, 3] uint8 as an image, every cell a square."""
    from PIL import Image

    size = max(1, SIDE // max(colors.shape[:2]))
    image = Image.fromarray(colors.contiguous().numpy())
    return image.resize((image.width * size, image.height * size), Image.Resampling.NEAREST)


def _bars(observation: Tensor) -> Any:
    """Numbers as bars from the middle; a bar is full at 1 (tanh: larger ones still fit)."""
    from PIL import Image, ImageDraw

    values = observation.double().flatten()[:MOST_NUMBERS]
    image = Image.new("RGB", (SIDE, max(1, len(values)) * BAR), BLACK)
    draw = ImageDraw.Draw(image)
    for i, value in enumerate(values.tanh().tolist()):
        ends = sorted((SIDE / 2, SIDE / 2 * (1 + value)))
        draw.rectangle((ends[0], i * BAR + 2, ends[1], (i + 1) * BAR - 3), PALETTE[i % len(PALETTE)])
    return image
