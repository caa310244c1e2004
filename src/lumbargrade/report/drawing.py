"""Pictures of series with predicted and true points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.upright import Upright, pose_of
from lumbargrade.domain.vocabulary import Grade, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.files.writing import atomic_path
from lumbargrade.lsdc.store import VolumeStore

if TYPE_CHECKING:
    from lumbargrade.models.task import Row

#: Colours that colour-blind readers can tell apart (Okabe and Ito): mild, moderate, severe.
COLOURS: Mapping[Grade, tuple[int, int, int]] = {
    Grade.NORMAL_MILD: (86, 180, 233),
    Grade.MODERATE: (240, 228, 66),
    Grade.SEVERE: (255, 110, 60),
}
_UNKNOWN = (170, 170, 170)
PAPER = (230, 230, 230)

#: Longest side of a panel in pixels; slices are enlarged so that labels are legible.
PANEL = 640
_GAP = 4
_LINE = 19

#: Smallest part of the image that a panel shows, and margin around the outermost points, both as
#: fractions of the image size.
_SHOWN = 0.5
_AROUND = 0.15

#: Smallest width of a panel as a fraction of its height, so that labels fit.
_LABELLED = 0.85

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Mark:
    """One point to draw.

    Attributes:
        target: the target whose point it is.
        x, y, z: native voxel.
        grade: decides the colour; None is drawn grey.
        probability: probability of that grade, for the label; None for a true point.
        true: True for a true point (a cross), False for a predicted one (a ring).
    """

    target: Target
    x: float
    y: float
    z: float
    grade: Grade | None
    probability: float | None = None
    true: bool = False


@dataclass(frozen=True)
class Window:
    """The shown part of a slice in native pixels, and the factor by which it is enlarged."""

    left: int
    top: int
    width: int
    height: int
    scale: float

    def place(self, mark: Mark) -> tuple[float, float]:
        """Position of a mark's pixel centre in the panel."""
        return self.at(mark.x, mark.y)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Position of a pixel's centre in the panel."""
        return (x + 0.5 - self.left) * self.scale, (y + 0.5 - self.top) * self.scale

    @property
    def size(self) -> tuple[int, int]:
        return round(self.width * self.scale), round(self.height * self.scale)


def draw_series(
    volume: Volume, predicted: Sequence[Mark], true: Sequence[Mark] = (), most: int = 4
) -> RGB:
    """Draw the slices nearest to the points, side by side, as RGB.

    Slices are drawn upright, whatever their stored orientation. All panels show the same part of
    the slice, around the points. Each point is drawn on the nearest shown slice. Labels give the
    predicted grade and, if known, the true one.

    Args:
        volume: the series.
        predicted: predicted points.
        true: true points.
        most: largest number of slices.
    """
    upright = Upright.of(volume, pose_of(volume.kind))
    volume = upright.volume(volume)
    predicted, true = _moved(predicted, upright), _moved(true, upright)
    marks = [*true, *predicted]
    chosen = _nearest_slices([m.z for m in predicted or true], len(volume.slices), most)
    window = _window(marks, volume.slices[chosen[0]].shape)
    labels = _labels(predicted, true)
    shown: dict[int, list[Mark]] = {z: [] for z in chosen}
    for mark in marks:
        shown[min(chosen, key=lambda z: abs(z - mark.z))].append(mark)
    panels = [_draw_panel(volume, z, here, window, labels) for z, here in shown.items()]
    return side_by_side(panels)


def side_by_side(panels: Sequence[RGB]) -> RGB:
    """Join panels from left to right; smaller ones are padded at the bottom."""
    height = max(panel.shape[0] for panel in panels)
    gap = np.zeros((height, _GAP, 3), np.uint8)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 0), (0, 0))) for p in panels]
    row = [piece for panel in padded for piece in (panel, gap)]
    return np.concatenate(row[:-1], axis=1)


def view_of(volume: Volume, z: int, window: Window) -> Image.Image:
    """The part of a slice that a window shows, enlarged, as a picture to draw on."""
    w = window
    pixels = np.asarray(volume.pixels[z])[w.top : w.top + w.height, w.left : w.left + w.width]
    return Image.fromarray(pixels).resize(w.size, Image.Resampling.BICUBIC).convert("RGB")


def _moved(marks: Sequence[Mark], upright: Upright) -> list[Mark]:
    """The marks in voxels of the upright volume."""
    points = upright.points(np.array([(m.x, m.y, m.z) for m in marks]).reshape(-1, 3)).tolist()
    return [replace(m, x=x, y=y, z=z) for m, (x, y, z) in zip(marks, points, strict=True)]


def save_image(path: Path, image: RGB) -> None:
    """Write a PNG or JPEG atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


def _nearest_slices(zs: Sequence[float], depth: int, most: int) -> list[int]:
    """Up to ``most`` slices nearest to the points; the middle slice if there are no points."""
    near = sorted({int(np.clip(round(z), 0, depth - 1)) for z in zs}) or [depth // 2]
    if len(near) <= most:
        return near

    def distance(chosen: tuple[int, ...]) -> float:
        return sum(min(abs(z - c) for c in chosen) for z in zs)

    best = min(combinations(near, most), key=distance)
    return list(best)


def _window(marks: Sequence[Mark], shape: tuple[int, int]) -> Window:
    """The part of a slice of this shape that contains the marks, with a margin."""
    height, width = shape
    top, rows = _span([m.y for m in marks], height, _SHOWN * height)
    left, columns = _span([m.x for m in marks], width, max(_SHOWN * width, _LABELLED * rows))
    return Window(left, top, columns, rows, PANEL / max(rows, columns))


def _span(values: Sequence[float], size: int, least: float) -> tuple[int, int]:
    """First pixel and length of the shown part along one axis: all values, at least ``least``."""
    inside = [float(np.clip(v, 0, size - 1)) for v in values] or [0.0, size - 1.0]
    low, high = min(inside), max(inside)
    length = min(size, round(max(least, high - low + 2 * _AROUND * size)))
    first = round((low + high) / 2 - length / 2)
    return int(np.clip(first, 0, size - length)), length


def _labels(predicted: Sequence[Mark], true: Sequence[Mark]) -> dict[Mark, str]:
    """Labels of all predicted marks, and of the true marks that have no prediction."""
    truth = {m.target: m for m in true}
    labels = {}
    for mark in [*predicted, *true]:
        seen = any(p.target == mark.target for p in predicted)
        if mark.grade is None or (mark.true and seen):
            continue
        text = f"{mark.target.level.label} {'true ' if mark.true else ''}{_word(mark.grade)}"
        if mark.probability is not None:
            text += f" {mark.probability:.0%}"
        same = truth.get(mark.target)
        if not mark.true and same is not None and same.grade is not None:
            text += f", true {_word(same.grade)}"
        labels[mark] = text
    return labels


def _word(grade: Grade) -> str:
    return grade.label.lower().split("/")[-1]


def _draw_panel(
    volume: Volume, z: int, marks: Sequence[Mark], window: Window, labels: Mapping[Mark, str]
) -> RGB:
    """One slice with its marks, labels, instance number and directions."""
    w = window
    image = view_of(volume, z, w)
    draw = ImageDraw.Draw(image)
    for mark in marks:
        _draw_point(draw, mark, window.place(mark))
    _draw_labels(draw, [m for m in marks if m in labels], window, labels)
    sides = sorted({m.target.side.value for m in marks if m.target.side is not None})
    caption = f"{'/'.join(sides)}  instance {volume.slices[z].instance_number}".strip()
    write_on(draw, (8, 6), caption, PAPER)
    plane = volume.slices[z].plane
    bottom = w.size[1] - _LINE - 6
    write_on(draw, (8, bottom), direction_letter([-v for v in plane.row]), PAPER)
    letter = direction_letter(plane.row)
    write_on(draw, (w.size[0] - 8 - text_width(draw, letter), bottom), letter, PAPER)
    return np.asarray(image)


def direction_letter(direction: Sequence[float]) -> str:
    """Letter of the patient direction nearest to an LPS vector: L, R, A, P, H (head), F (foot)."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]


def _draw_point(draw: ImageDraw.ImageDraw, mark: Mark, at: tuple[float, float]) -> None:
    x, y = at
    colour = COLOURS[mark.grade] if mark.grade is not None else _UNKNOWN
    if mark.true:
        r = 6
        for line in ((x - r, y - r, x + r, y + r), (x - r, y + r, x + r, y - r)):
            draw.line(line, fill=(0, 0, 0), width=4)
            draw.line(line, fill=colour, width=2)
        return
    draw.ellipse((x - 12, y - 12, x + 12, y + 12), outline=(0, 0, 0), width=4)
    draw.ellipse((x - 11, y - 11, x + 11, y + 11), outline=colour, width=2)


def _draw_labels(
    draw: ImageDraw.ImageDraw, marks: Sequence[Mark], window: Window, labels: Mapping[Mark, str]
) -> None:
    """Draw labels beside their points, outside of left-right pairs; move overlapping ones down."""
    middle = float(np.mean([m.x for m in marks])) if marks else 0.0
    paired = len({m.target.side for m in marks}) > 1
    floor = {False: 0.0, True: 0.0}
    for mark in sorted(marks, key=lambda m: m.y):
        x, y = window.place(mark)
        text, colour = labels[mark], COLOURS[mark.grade] if mark.grade is not None else _UNKNOWN
        width = text_width(draw, text)
        fits = x + 18 + width <= window.size[0] - 4
        to_left = mark.x < middle if paired else not fits and x - 18 - width >= 4
        tx = x - 18 - width if to_left else x + 18
        tx = min(max(tx, 4), window.size[0] - width - 4)
        ty = min(max(y - _LINE / 2, floor[to_left]), window.size[1] - _LINE)
        floor[to_left] = ty + _LINE
        write_on(draw, (tx, ty), text, colour)


def text_width(draw: ImageDraw.ImageDraw, text: str) -> float:
    return draw.textlength(text, font=_font())


def write_on(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int]
) -> None:
    draw.text(at, text, fill=colour, font=_font(), stroke_width=2, stroke_fill=(0, 0, 0))


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=16)


def predicted_marks(prediction: StudyPrediction, series_id: str) -> list[Mark]:
    """A ring per predicted point in a series, with its most probable grade; grey if ungraded."""
    marks = []
    for target, point in prediction.points.items():
        if point.series_id == series_id:
            found = prediction.findings.get(target)
            said = (None, None) if found is None else (found.grade, found.shown[found.grade])
            marks.append(Mark(target, *point.voxel, *said))
    return marks


def finding_marks(findings: Iterable[Finding], series_id: str) -> list[Mark]:
    """A ring per finding whose point lies in a series."""
    return [
        Mark(f.target, *f.point.voxel, f.grade, f.shown[f.grade])
        for f in findings
        if f.point is not None and f.point.series_id == series_id
    ]


def true_marks(row: Row, series_id: str) -> list[Mark]:
    """A cross per labelled point in a series; grey if its grade is unknown."""
    grades = {t: Grade(int(g)) for t, g in zip(row.targets, row.grades, strict=True) if g >= 0}
    return [
        Mark(p.target, *p.voxel, grades.get(p.target), true=True)
        for p in row.labelled
        if p.series_id == series_id
    ]


def series_shown(row: Row, prediction: StudyPrediction) -> list[str]:
    """The series that contain predicted or labelled points, in the order of the targets."""
    placed = [prediction.points[t] for t in row.targets if t in prediction.points]
    return list(dict.fromkeys(p.series_id for p in (*placed, *row.labelled)))


class EpochPictures:
    """Draws the same validation series after each epoch, to show how a network learns.

    Args:
        store: volumes.
        folder: the run's folder; the picture of the first epoch is ``epochs/001.png`` in it.
        count: how many series are drawn.
    """

    def __init__(self, store: VolumeStore, folder: Path, count: int) -> None:
        self.store = store
        self.folder = folder / "epochs"
        self.count = count

    def __call__(
        self,
        epoch: int,
        rows: Sequence[Row],
        predictions: Sequence[StudyPrediction],
    ) -> None:
        """Draw the first series of the fold below one another."""
        lines: list[RGB] = []
        for row, prediction in zip(rows, predictions, strict=True):
            for series in series_shown(row, prediction):
                if len(lines) < self.count:
                    volume = self.store.volume(row.study_id, series)
                    marks = predicted_marks(prediction, series)
                    lines.append(draw_series(volume, marks, true_marks(row, series), most=2))
        if not lines:
            return
        width = max(line.shape[1] for line in lines)
        padded = [np.pad(v, ((0, 4), (0, width - v.shape[1]), (0, 0))) for v in lines]
        save_image(self.folder / f"{epoch:03d}.png", np.concatenate(padded))
