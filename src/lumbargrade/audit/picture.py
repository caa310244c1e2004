"""A suspect as a picture: labels as crosses, those in question marked, proposed places as rings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lumbargrade.audit.records import Chain, Suspect
from lumbargrade.domain.vocabulary import Side
from lumbargrade.lsdc.corrections import Correction, Fix

#: Side of a panel, pixels.
PANEL = 340
_MARGIN = 0.18
_PAPER, _LABEL, _SUSPECT, _PROPOSED = (24, 24, 28), (150, 190, 220), (255, 120, 60), (90, 220, 120)


def draw_suspect(
    suspect: Suspect, chain: Chain, pixels: NDArray[np.uint8] | None = None, caption: str = ""
) -> NDArray[np.uint8]:
    """One panel, RGB (PANEL, PANEL, 3).

    Args:
        chain: all points of the series.
        pixels: (H, W) the slice behind them; without, they stand on plain ground.
        caption: written at the top.
    """
    proposed = [c for c in suspect.corrections if c.fix is not Fix.DROP]
    window = _window(chain, proposed, None if pixels is None else pixels.shape)
    image = _ground(pixels, window)
    draw = ImageDraw.Draw(image)
    x0, y0, side = window
    scale = PANEL / side

    def at(xy: Sequence[float]) -> tuple[float, float]:
        return (xy[0] + 0.5 - x0) * scale, (xy[1] + 0.5 - y0) * scale

    for c in proposed:
        i = chain.targets.index(c.target)
        x, y = at((c.x, c.y))
        if i in chain.there:
            draw.line((*at(chain.xy[i].tolist()), x, y), fill=_PROPOSED, width=1)
        draw.ellipse((x - 8, y - 8, x + 8, y + 8), outline=_PROPOSED, width=2)
        if c.fix is Fix.ADD:
            _write(draw, (x + 11, y - 8), _name(chain, i), _PROPOSED)
    for i in chain.there.tolist():
        colour = _SUSPECT if chain.targets[i] in suspect.targets else _LABEL
        x, y = at(chain.xy[i].tolist())
        draw.line((x - 5, y - 5, x + 5, y + 5), fill=colour, width=2)
        draw.line((x - 5, y + 5, x + 5, y - 5), fill=colour, width=2)
        text = _name(chain, i)
        beside = -9 - _width(draw, text) if chain.targets[i].side is Side.RIGHT else 9
        _write(draw, (min(max(x + beside, 2), PANEL - 2 - _width(draw, text)), y - 7), text, colour)
    _write(draw, (6, 4), caption, (230, 230, 230))
    return np.asarray(image)


def _name(chain: Chain, i: int) -> str:
    target = chain.targets[i]
    return f"{target.side[0].upper()} {target.level.label}" if target.side else target.level.label


def _window(
    chain: Chain, proposed: Sequence[Correction], shape: tuple[int, ...] | None
) -> tuple[float, float, float]:
    """Left, top and side, in pixels, of the square that holds all points."""
    xy = np.array([*chain.xy[chain.there].tolist(), *([c.x, c.y] for c in proposed)])
    if shape is not None:
        xy = np.clip(xy, 0, [shape[1], shape[0]])
    low, high = xy.min(axis=0), xy.max(axis=0)
    side = float(max((high - low).max() * (1 + 2 * _MARGIN), 40))
    x0, y0 = ((low + high - side) / 2).tolist()
    return x0, y0, side


def _ground(pixels: NDArray[np.uint8] | None, window: tuple[float, float, float]) -> Image.Image:
    if pixels is None:
        return Image.new("RGB", (PANEL, PANEL), _PAPER)
    x0, y0, side = window
    box = (x0, y0, x0 + side, y0 + side)
    data = (box[0], box[1], box[0], box[3], box[2], box[3], box[2], box[1])
    picture = Image.fromarray(np.asarray(pixels))
    return picture.transform(
        (PANEL, PANEL), Image.Transform.QUAD, data, Image.Resampling.BICUBIC
    ).convert("RGB")


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int]
) -> None:
    draw.text(at, text, fill=colour, font=_font(), stroke_width=2, stroke_fill=(0, 0, 0))


def _width(draw: ImageDraw.ImageDraw, text: str) -> float:
    return draw.textlength(text, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)
