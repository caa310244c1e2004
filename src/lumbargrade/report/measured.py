"""Measurements on the page of a study: tables with units and quality, and pictures of the lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from lumbargrade.domain.findings import Finding
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.measurement import Measurement, Opinion, Quality, Quantity
from lumbargrade.domain.upright import Upright, pose_of
from lumbargrade.domain.vocabulary import Level, Side, plain_name
from lumbargrade.domain.volume import Volume
from lumbargrade.report.drawing import (
    PAPER,
    RGB,
    Window,
    side_by_side,
    text_width,
    view_of,
    write_on,
)
from lumbargrade.report.page import Block, Table, Text
from lumbargrade.report.wording import DIGITS

#: Name of the picture of measurements among those of a series.
MEASURED = "measured"

#: Side of a panel, pixels; panels in a row; largest number of panels.
_PANEL, _IN_A_ROW, _MOST = 480, 3, 6
#: Smallest side of the shown part and margin around the lines, mm.
_LEAST_MM, _AROUND_MM = 80.0, 12.0

#: Colours of what is measured (Okabe and Ito, lightened).
_COLOURS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("sac", (86, 180, 233)),
    ("recess", (255, 140, 90)),
    ("foramen", (90, 220, 160)),
    ("listhesis", (230, 150, 200)),
    ("lordosis", (200, 200, 200)),
    ("disc", (240, 228, 66)),
)
#: Quantities whose lines repeat those of others.
NOT_DRAWN = {
    *(Quantity.DISC_HEIGHT_INDEX, Quantity.DISC_HEIGHT_RELATIVE),
    *(Quantity.DISC_SIGNAL, Quantity.DISC_TO_BODY, Quantity.LISTHESIS_SHARE),
}
_UNIT = {"mm2": "mm²", "degrees": "°"}


def measured_blocks(measurements: Sequence[Measurement]) -> list[Block]:
    """A table of all measurements, a row per quantity and a column per level, and their remarks."""
    by_row: dict[tuple[Quantity, Side | None], dict[Level, Measurement]] = {}
    blocks: list[Block] = []
    for m in measurements:
        if m.level is not None:
            by_row.setdefault((m.quantity, m.side), {})[m.level] = m
    order = sorted(by_row, key=lambda row: (list(Quantity).index(row[0]), row[1] or ""))
    rows = [
        [_name(quantity, side), _unit(quantity), *(_cell(by_row[quantity, side], v) for v in Level)]
        for quantity, side in order
    ]
    if rows:
        blocks.append(Table(("measured", "unit", *(v.label for v in Level)), rows))
    blocks += [
        Text(f"{_name(m.quantity, m.side).capitalize()}: {_value(m)} {_unit(m.quantity)}")
        for m in measurements
        if m.level is None
    ]
    doubtful = [m for m in measurements if m.quality is Quality.DOUBTFUL]
    if doubtful:
        blocks.append(Text("(?) is a doubtful measurement:"))
        remarks: dict[str, list[str]] = {}
        for m in doubtful:
            where = f" at {m.level.label}" if m.level else ""
            remarks.setdefault(m.remark, []).append(f"{_name(m.quantity, m.side)}{where}")
        said = [[why, ", ".join(what)] for why, what in remarks.items()]
        blocks.append(Table(("remark", "measurements"), said))
    return blocks


def opinion_table(findings: Sequence[Finding]) -> Table:
    """Grades beside those of the thresholds, with the measurement, the limits and the source."""
    rows = [
        [
            *(plain_name(f.target.sided_condition), f.target.level.label, f.grade.label),
            *(_second(f, f.opinion), f.opinion.reason),
        ]
        for f in findings
        if f.opinion is not None
    ]
    header = ("finding", "level", "grade", "by measurement", "why")
    return Table(header, rows, caption="Grades by measurement (thresholds from the literature)")


def _second(finding: Finding, opinion: Opinion) -> str:
    text = opinion.grade.label
    if opinion.quality is Quality.DOUBTFUL:
        text += " (?)"
    return f"{text}, disagrees" if finding.disputed else text


def _name(quantity: Quantity, side: Side | None) -> str:
    return f"{side} {plain_name(quantity)}" if side else plain_name(quantity)


def _unit(quantity: Quantity) -> str:
    return _UNIT.get(quantity.unit, quantity.unit)


def _value(m: Measurement) -> str:
    digits = DIGITS[m.quantity.unit]
    return f"{m.value:.{digits}f}" + (" (?)" if m.quality is Quality.DOUBTFUL else "")


def measured_label(m: Measurement) -> str:
    """A measurement in a line, for the image."""
    return f"{_name(m.quantity, m.side)} {_value(m)} {_unit(m.quantity)}"


def _cell(row: Mapping[Level, Measurement], level: Level) -> str:
    return _value(row[level]) if level in row else "–"


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A line in pixels (N, 2) of the upright image of a slice."""

    measurement: Measurement
    points: FloatArray

    @property
    def colour(self) -> tuple[int, int, int]:
        return next(c for word, c in _COLOURS if word in self.measurement.quantity)


def draw_measurements(volume: Volume, measurements: Iterable[Measurement]) -> RGB:
    """Draw the slices in which something was measured, with the lines and outlines.

    Up to six slices are drawn, those with most lines, each upright and cut to its lines, from the
    highest level down.

    Args:
        volume: the series.
        measurements: those taken in this series.

    Raises:
        ValueError: if none of them has a line.
    """
    upright = Upright.of(volume, pose_of(volume.kind))
    shown = upright.volume(volume)
    by_slice: dict[int, list[_Drawn]] = {}
    for m in measurements:
        if m.line and m.quantity not in NOT_DRAWN:
            z = _slice_of(shown, m)
            points = shown.slices[z].plane.from_patient(np.array(m.line))[:, :2]
            by_slice.setdefault(z, []).append(_Drawn(m, points))
    if not by_slice:
        raise ValueError(f"series {volume.series_id}: no measurement to draw")
    most = sorted(by_slice, key=lambda z: -len(by_slice[z]))[:_MOST]
    most.sort(key=lambda z: _first_level(by_slice[z]))
    panels = [_panel(shown, z, by_slice[z]) for z in most]
    rows = [side_by_side(panels[i : i + _IN_A_ROW]) for i in range(0, len(panels), _IN_A_ROW)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(r, ((0, 4), (0, width - r.shape[1]), (0, 0))) for r in rows])


def _first_level(lines: Sequence[_Drawn]) -> int:
    """Return the place of the highest level that was measured in a slice."""
    levels = [line.measurement.level for line in lines if line.measurement.level is not None]
    return min(map(list(Level).index, levels), default=len(Level))


def _slice_of(volume: Volume, m: Measurement) -> int:
    if m.instance_number >= 0:
        return volume.slice_of_instance(m.instance_number)
    middle = np.mean(m.line, axis=0)
    return int(volume.nearest_slices(volume.from_patient([middle])[:, 2])[0])


def _panel(volume: Volume, z: int, lines: Sequence[_Drawn]) -> RGB:
    window = _window(volume, z, np.concatenate([line.points for line in lines]))
    image = view_of(volume, z, window)
    draw = ImageDraw.Draw(image)
    for line in lines:
        corners = [window.at(x, y) for x, y in line.points.tolist()]
        if line.measurement.closed:
            corners.append(corners[0])
        draw.line(corners, fill=(0, 0, 0), width=4)
        draw.line(corners, fill=line.colour, width=2)
    _write_levels(draw, lines, window)
    number = volume.slices[z].instance_number
    write_on(draw, (8, 6), f"instance {number}", PAPER)
    return np.asarray(image)


def _write_levels(draw: ImageDraw.ImageDraw, lines: Sequence[_Drawn], window: Window) -> None:
    """Write the name of each level beside the lines of its disc, or its other lines."""
    levels: dict[Level, list[_Drawn]] = {}
    for line in lines:
        if line.measurement.level is not None:
            levels.setdefault(line.measurement.level, []).append(line)
    for level, mine in levels.items():
        discs = [d for d in mine if d.measurement.quantity.startswith("disc")]
        points = np.concatenate([line.points for line in discs or mine])
        x, y = window.at(float(points[:, 0].min()), float(points[:, 1].mean()))
        width = text_width(draw, level.label)
        write_on(draw, (max(4.0, x - width - 10), y - 10), level.label, PAPER)


def _window(volume: Volume, z: int, points: FloatArray) -> Window:
    """The part of a slice that shows all points."""
    mm = np.array(volume.slices[z].plane.spacing[::-1])
    height, width = volume.slices[z].shape
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(_LEAST_MM, float(((high - low) * mm).max()) + 2 * _AROUND_MM)
    size = np.minimum(np.ceil(side / mm), [width, height]).astype(int)
    first = np.rint((low + high) / 2 - size / 2).astype(int)
    left, top = np.clip(first, 0, np.array([width, height]) - size).tolist()
    columns, rows = size.tolist()
    return Window(left, top, columns, rows, _PANEL / max(rows, columns))
