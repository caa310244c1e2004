"""Slices with points and grades drawn on them: predicted as rings, true as crosses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lumbargrade.domain.files import atomic_path
from lumbargrade.domain.vocabulary import Grade, Target
from lumbargrade.domain.volume import Volume

#: Colours that stay apart for colour-blind readers (Okabe and Ito): mild, moderate, severe.
COLOURS: Mapping[Grade, tuple[int, int, int]] = {
    Grade.NORMAL_MILD: (86, 180, 233),
    Grade.MODERATE: (240, 228, 66),
    Grade.SEVERE: (255, 110, 60),
}

#: Longest side of a drawn panel, pixels; smaller slices are enlarged so that labels stay legible.
PANEL = 560

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Mark:
    """One point to draw.

    Attributes:
        target: what it marks.
        x, y, z: native voxel.
        grade: colours it; None is drawn grey.
        probability: of that grade, for the label; None where the mark is the truth.
        true: whether this is the truth (a cross) or a prediction (a ring).
    """

    target: Target
    x: float
    y: float
    z: float
    grade: Grade | None
    probability: float | None = None
    true: bool = False


def draw_slice(volume: Volume, z: int, marks: Sequence[Mark], caption: str = "") -> RGB:
    """One slice with its marks, RGB."""
    pixels = np.asarray(volume.pixels[z])
    height, width = volume.slices[z].shape
    scale = PANEL / max(height, width)
    size = (round(width * scale), round(height * scale))
    image = Image.fromarray(pixels[:height, :width]).resize(size, Image.Resampling.BICUBIC)
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    for mark in marks:
        _draw_mark(draw, mark, scale, size)
    top = f"{caption}  instance {volume.slices[z].instance_number}".strip()
    _text(draw, (6, 4), top, (230, 230, 230))
    return np.asarray(image)


def _draw_mark(draw: ImageDraw.ImageDraw, mark: Mark, scale: float, size: tuple[int, int]) -> None:
    x, y = (mark.x + 0.5) * scale, (mark.y + 0.5) * scale
    colour = COLOURS[mark.grade] if mark.grade is not None else (170, 170, 170)
    if mark.true:
        r = 6
        draw.line((x - r, y - r, x + r, y + r), fill=colour, width=2)
        draw.line((x - r, y + r, x + r, y - r), fill=colour, width=2)
        return
    r = 10
    draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=2)
    if mark.grade is None:
        return
    label = f"{mark.target.level.label} {mark.grade.label.lower()}"
    if mark.probability is not None:
        label += f" {mark.probability:.0%}"
    left, _, right, _ = draw.textbbox((0, 0), label, font=_font())
    tx = x + r + 6
    if tx + right - left > size[0]:
        tx = x - r - 6 - (right - left)
    _text(draw, (tx, y - 8), label, colour)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int]
) -> None:
    draw.text(at, text, fill=colour, font=_font(), stroke_width=2, stroke_fill=(0, 0, 0))


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)


def draw_series(
    volume: Volume, predicted: Sequence[Mark], true: Sequence[Mark] = (), most: int = 4
) -> RGB:
    """The slices that hold most of the predicted points, side by side, RGB.

    Each point is drawn on the shown slice nearest to it; a true point counts as much as a
    predicted one where there is no prediction.

    Args:
        volume: the series.
        predicted: predicted points.
        true: true points, drawn as crosses.
        most: how many slices at most.
    """
    chosen = _best_slices([m.z for m in predicted or true], len(volume.slices), most)
    shown: dict[int, list[Mark]] = {z: [] for z in chosen}
    for mark in [*true, *predicted]:
        shown[min(chosen, key=lambda z: abs(z - mark.z))].append(mark)
    panels = []
    for z, marks in shown.items():
        sides = {m.target.side for m in marks if m.target.side is not None and not m.true}
        caption = "/".join(s.value for s in sorted(sides)) or ""
        panels.append(draw_slice(volume, z, marks, caption))
    height = max(p.shape[0] for p in panels)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 4), (0, 0))) for p in panels]
    return np.concatenate(padded, axis=1)


def _best_slices(zs: Sequence[float], depth: int, most: int) -> list[int]:
    """Slices near the points: rounded, and the most crowded ones if they are too many."""
    rounded = [int(np.clip(round(z), 0, depth - 1)) for z in zs] or [depth // 2]
    counts = {z: rounded.count(z) for z in rounded}
    best = sorted(counts, key=lambda z: (-counts[z], z))[:most]
    return sorted(best)


def save_image(path: Path, image: RGB) -> None:
    """Write a PNG or JPEG atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
