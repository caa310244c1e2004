"""One picture with all findings of a study, for archives that show nothing but images."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import TABLE_ORDER, Grade, Level, Target, plain_name
from lumbargrade.grading.findings_file import NOTICE
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.report.drawing import COLOURS, PAPER, RGB

_WIDTH, _HEIGHT = 1200, 1024
_LEFT, _TOP, _CELL = 310, 150, (172, 84)
_GAP = 6
_DARK, _GREY = (16, 16, 16), (70, 70, 70)
#: Characters of a line of text, and height of a line.
_LETTERS, _LINE = 118, 26
#: Largest number of lines below the table.
_MOST = 16


def draw_summary(graded: GradedStudy) -> RGB:
    """Draw the grid of the 25 findings, with notes below it, uint8 (H, W, 3).

    Neither the patient nor the study is named, so the picture may be seen beside other data.
    """
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _DARK)
    draw = ImageDraw.Draw(image)
    _write(draw, (30, 24), "Lumbar spine MRI: findings by lumbargrade", 32)
    reader = graded.review.reader if graded.review is not None else ""
    _write(draw, (30, 68), f"Reviewed by {reader}." if reader else "Not reviewed by a reader.", 22)
    for column, level in enumerate(Level):
        _write(draw, (_LEFT + column * _CELL[0] + 50, _TOP - 34), level.label, 24)
    rows = list(dict.fromkeys(t.sided_condition for t in TABLE_ORDER))
    for row, name in enumerate(rows):
        _write(draw, (30, _TOP + row * _CELL[1] + 28), plain_name(name), 18)
    for target in TABLE_ORDER:
        row, column = rows.index(target.sided_condition), list(Level).index(target.level)
        _cell(draw, graded, target, (_LEFT + column * _CELL[0], _TOP + row * _CELL[1]))
    top = _TOP + len(rows) * _CELL[1] + 24
    lines = _notes(graded)
    if len(lines) > _MOST:
        lines = [*lines[: _MOST - 1], "... (findings.json has all)"]
    for number, line in enumerate(lines):
        _write(draw, (30, top + number * _LINE), line, 19)
    return np.asarray(image)


def _cell(
    draw: ImageDraw.ImageDraw, graded: GradedStudy, target: Target, at: tuple[int, int]
) -> None:
    x, y = at
    box = (x, y, x + _CELL[0] - _GAP, y + _CELL[1] - _GAP)
    grade = graded.grade(target)
    if grade is None:
        draw.rectangle(box, outline=_GREY, width=2)
        _write(draw, (x + 14, y + 26), "not graded", 20)
        return
    draw.rectangle(box, fill=COLOURS[grade])
    _write(draw, (x + 14, y + 12), grade.label, 24, _DARK)
    _write(draw, (x + 14, y + 44), _detail(graded, target, grade), 18, _DARK)


def _detail(graded: GradedStudy, target: Target, grade: Grade) -> str:
    finding = graded.prediction.findings.get(target)
    if finding is None or finding.by_reader is not None:
        return "by the reader"
    return f"probability {finding.shown[grade]:.0%}"


def _notes(graded: GradedStudy) -> list[str]:
    """The lines below the table."""
    prediction = graded.prediction
    texts = [f"Not graded: {named(t)}: {why}." for why, t in by_reason(prediction.absent).items()]
    if (numbering := prediction.numbering) is not None and not numbering.certain:
        texts.append("Numbering uncertain: the levels may be named wrongly.")
    texts += [graded.about, NOTICE, f"lumbargrade {graded.version}, {graded.time}"]
    return [line for text in texts for line in textwrap.wrap(text, _LETTERS)]


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int] = PAPER,
) -> None:
    # the font of Pillow has no other letters
    known = text.encode("latin-1", "replace").decode("latin-1")
    draw.text(at, known, fill=colour, font=ImageFont.load_default(size=size))
