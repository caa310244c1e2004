"""Numbering, measurements and second opinions on the page of a study, and the drawn lines."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.dicom.study import Study
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Opinion, Quality, Quantity
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, SeriesKind, Side
from lumbargrade.domain.volume import Volume
from lumbargrade.report.measured import draw_measurements
from lumbargrade.report.study import write_study
from made_series import make_volume

T2 = SeriesKind.SAGITTAL_T2
NUMBERING = Numbering(0.97, "one level lower", 0.02, 0.9, "sacrum seen below")
AREA = Opinion(Grade.SEVERE, Quantity.SAC_AREA, 61.5, 100.0, 75.0, "A 1985", reason="61 mm²; A")
BLUE = (86, 180, 233)


def volume() -> Volume:
    return replace(make_volume(seed=1), kind=T2)


def line_in(v: Volume, *pixels: tuple[float, float], z: int = 1) -> tuple:
    return tuple(map(tuple, v.slices[z].plane.to_patient(pixels).tolist()))


def measurement(v: Volume, quantity: Quantity, level: Level, value: float, **more) -> Measurement:
    number = v.slices[1].instance_number
    side = Side.LEFT if quantity.sided else None
    return Measurement(quantity, level, side, value, T2, v.series_id, number, **more)


def prediction(v: Volume, numbering: Numbering = NUMBERING) -> StudyPrediction:
    canal = next(t for t in FINDINGS if t.condition is Condition.CANAL)
    found = {canal: Finding(canal, (0.7, 0.2, 0.1), opinion=AREA)}
    absent = {t: "no point" for t in FINDINGS if t not in found}
    doubtful = {"quality": Quality.DOUBTFUL, "remark": "the disc is cut"}
    square = line_in(v, (5, 5), (15, 5), (15, 15), (5, 15))
    measured = (
        measurement(v, Quantity.SAC_AREA, Level.L3_L4, 141.6, line=square, closed=True),
        measurement(v, Quantity.DISC_HEIGHT_BACK, Level.L3_L4, 7.25, **doubtful),
        measurement(v, Quantity.FORAMEN_WIDTH, Level.L5_S1, 5.04),
        Measurement(Quantity.LORDOSIS, None, None, 43.4, T2, v.series_id, -1),
    )
    source = (ModelSource("starter/sagittal", -1),)
    return StudyPrediction("1", found, source, (), absent, {}, measured, numbering)


def page_of(tmp_path: Path, numbering: Numbering = NUMBERING, about: str = "Phantoms only.") -> str:
    v = volume()
    study = Study("1", (v,))
    found = prediction(v, numbering)
    write_study(tmp_path, study, found, flip=False, about=about, fingerprint="x")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_says_what_the_models_are(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "<p>Phantoms only.</p>" in page
    assert "trained on phantoms only" in page
    assert "starter/sagittal" in page
    assert "flip averaging" not in page
    assert "over-predict" not in page
    other = page_of(tmp_path, about="")
    assert "trained on phantoms only" not in other
    assert "over-predict" in other


def test_the_page_has_a_row_per_quantity_and_marks_what_is_doubtful(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    rows = {
        cells[0]: cells[1:]
        for row in re.findall(r"<tr>(.*?)</tr>", page)
        if (cells := re.findall(r"<td[^>]*>(.*?)</td>", row))
    }
    assert rows["dural sac area"] == ["mm²", "–", "–", "142", "–", "–"]
    assert rows["disc height back"] == ["mm", "–", "–", "7.2 (?)", "–", "–"]
    assert rows["left foramen width"] == ["mm", "–", "–", "–", "–", "5.0"]
    assert rows["the disc is cut"] == ["disc height back at L3/L4"]
    assert "Lordosis: 43 °" in page
    assert (tmp_path / "measurements.csv").is_file()
    assert 'href="pictures/sagittal-t2-1-measured.jpg"' in page


def test_a_disagreement_is_in_the_cell_and_in_the_table(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert '<small class="severe">by measurement: Severe</small>' in page
    assert "Severe, disagrees" in page
    assert "61 mm²; A" in page


def test_the_numbering_stands_on_the_page_with_what_to_do(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "confidence of 97% (certain from 90%): sacrum seen below." in page
    assert "next probable numbering is one level lower (2.0%)" in page
    assert "<code>--shift-levels 1</code>" in page
    assert "Numbering uncertain" not in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"confidence": 0.5}, "Numbering uncertain"),
        ({"shift": -1}, "The user moved the names by -1 (<code>--shift-levels -1</code>)"),
        ({"lumbar_bodies": 6}, "6 lumbar vertebral bodies"),
    ],
)
def test_what_is_unusual_about_the_numbering_stands_out(
    tmp_path: Path, change: dict[str, float], said: str
) -> None:
    page = page_of(tmp_path, replace(NUMBERING, **change))
    warnings = re.findall(r'<p class="warning"><span aria-hidden="true">⚠</span> (.*?)</p>', page)
    assert any(said in warning for warning in warnings)
    assert len(warnings) == 1


def test_a_closed_line_is_drawn_around_and_an_open_one_is_not() -> None:
    v = volume()
    square = line_in(v, (5, 5), (25, 5), (25, 25), (5, 25))

    def blue(*, closed: bool) -> int:
        one = measurement(v, Quantity.SAC_AREA, Level.L3_L4, 1.0, line=square, closed=closed)
        image = draw_measurements(v, [one])
        return int((np.abs(image.astype(int) - BLUE).sum(axis=-1) < 6).sum())

    assert blue(closed=True) == pytest.approx(4 / 3 * blue(closed=False), rel=0.1)


def test_a_panel_per_slice_and_none_without_lines() -> None:
    v = volume()
    mine = [
        replace(
            measurement(
                v, Quantity.SAC_AREA, Level.L3_L4, 1.0, line=line_in(v, (5, 5), (9, 9), z=z)
            ),
            instance_number=v.slices[z].instance_number,
        )
        for z in (0, 2)
    ]
    one, two = draw_measurements(v, mine[:1]), draw_measurements(v, mine)
    assert two.shape[1] > 1.9 * one.shape[1]
    with pytest.raises(ValueError, match="no measurement to draw"):
        draw_measurements(v, [measurement(v, Quantity.SAC_AREA, Level.L3_L4, 1.0)])
