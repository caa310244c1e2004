"""The self-test notices each kind of difference, and finds none where there must be none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from lumbargrade.dicom.scan import scan
from lumbargrade.dicom.study import read_study
from lumbargrade.dicom.variants import Way, load, mirror, turn
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Quantity
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, SeriesKind, Side, Target
from lumbargrade.grading.selftest import VARIANTS, Variant, compare, self_test
from small_studies import write_noise_study

MIRRORED = VARIANTS[0]
AS_IS = Variant("as it is")
LEFT = Target(Condition.FORAMINAL, Level.L4_L5, Side.LEFT)


def brightness(path: Path) -> StudyPrediction:
    """Grades a study by the intensities left and right of the patient's middle.

    Its findings depend on all pixels and on where they lie, so any mistake in pixels or geometry
    changes them.
    """
    study = read_study(path)
    (volume,) = study.of(SeriesKind.AXIAL_T2)
    z, y, x = np.indices(volume.pixels.shape).reshape(3, -1)
    where = volume.to_patient(np.stack([x, y, z], axis=-1))
    shares = volume.pixels.reshape(-1).astype(float)
    findings = {}
    for target in FINDINGS:
        if target.side is None:
            continue
        half = where[:, 0] > 0 if target.side is Side.LEFT else where[:, 0] < 0
        mine = where[half] * shares[half, None]
        centre = tuple((mine.sum(axis=0) / shares[half].sum()).tolist())
        bright = float(shares[half].mean() / 255)
        point = Point(target, volume.series_id, 1, (0.0, 0.0, 0.0), centre)
        findings[target] = Finding(target, (1 - bright, bright, 0.0), point)
    absent = {t: "not graded here" for t in FINDINGS if t not in findings}
    return StudyPrediction(study.study_id, findings, absent=absent)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise_study(tmp_path_factory.mktemp("study"))


def test_a_study_keeps_its_findings_however_it_is_stored(study: Path, tmp_path: Path) -> None:
    found = list(self_test(scan(study), brightness, tmp_path))
    assert [d.variant for d in found] == [v.name for v in VARIANTS]
    assert {d.variant: d.failed for d in found if d.failed} == {}
    for difference in found:
        assert difference.within, difference
        assert difference.probability <= 1e-9, difference
        assert difference.millimetres <= 1e-6, difference


def only_pixels(data: FileDataset) -> None:
    """Mirrors the pixels of axial images, but not the geometry."""
    geometry = {k: data[k].value for k in ("ImagePositionPatient", "ImageOrientationPatient")}
    turn(data, Way(columns=True))
    for key, value in geometry.items():
        setattr(data, key, value)


def wrong_spacing(data: FileDataset) -> None:
    data.PixelSpacing = [2 * float(v) for v in data.PixelSpacing]


@pytest.mark.parametrize(
    ("change", "mirrored"),
    [(only_pixels, False), (wrong_spacing, False), (mirror, False), (lambda data: None, True)],
)
def test_a_mistake_in_pixels_or_geometry_is_noticed(
    study: Path, tmp_path: Path, change: Callable[[FileDataset], None], mirrored: bool
) -> None:
    variant = Variant("wrong", change=change, mirrored=mirrored)
    (found,) = self_test(scan(study), brightness, tmp_path, [variant])
    assert not found.failed
    assert not found.within


def test_a_variant_that_cannot_be_made_is_named_and_the_others_are_tested(
    study: Path, tmp_path: Path
) -> None:
    def fail(data: FileDataset) -> None:
        raise RuntimeError("no encoder")

    found = list(self_test(scan(study), brightness, tmp_path, [Variant("a", change=fail), AS_IS]))
    assert [(d.failed, d.within) for d in found] == [
        ("RuntimeError: no encoder", False),
        ("", True),
    ]


def test_the_mirrored_image_of_a_pixel_lies_on_the_other_side(study: Path) -> None:
    for path in study.rglob("*.dcm"):
        data = load(path)
        mirrored = load(path)
        mirror(mirrored)
        before, after = corner(data), corner(mirrored)
        np.testing.assert_allclose(before * (-1, 1, 1), after, atol=1e-6)


def corner(data: FileDataset) -> np.ndarray:
    """Where the brightest pixel lies, LPS mm."""
    y, x = np.unravel_index(data.pixel_array.argmax(), data.pixel_array.shape)
    axes = np.array(data.ImageOrientationPatient, float)
    dy, dx = (float(v) for v in data.PixelSpacing)
    return np.array(data.ImagePositionPatient, float) + x * dx * axes[:3] + y * dy * axes[3:]


def prediction() -> StudyPrediction:
    found = {
        t: Finding(t, (0.6, 0.3, 0.1), Point(t, "1", 1, (0, 0, 0), (20.0, 0.0, 0.0)))
        for t in (LEFT, LEFT.mirror())
    }
    return StudyPrediction("1", found, absent={t: "x" for t in FINDINGS if t not in found})


def changed(**parts: object) -> StudyPrediction:
    one = prediction()
    return replace(one, findings={**one.findings, LEFT: replace(one.findings[LEFT], **parts)})


def test_each_kind_of_difference_is_reported() -> None:
    one = prediction()
    same = compare(AS_IS, one, one)
    assert same.within
    assert (same.probability, same.millimetres, same.measured) == (0, 0, 0)

    other = compare(AS_IS, one, changed(probabilities=(0.3, 0.6, 0.1)))
    assert (other.grades, other.within) == ((LEFT.column,), False)
    assert other.probability == pytest.approx(0.3)

    moved = Point(LEFT, "1", 1, (0, 0, 0), (20.0, 3.0, 4.0))
    other = compare(AS_IS, one, changed(point=moved))
    assert (other.millimetres, other.within) == (5, False)
    assert not compare(AS_IS, one, changed(point=None)).within

    other = compare(AS_IS, one, one.without({LEFT: "no slice"}))
    assert (other.graded_once, other.within) == ((LEFT.column,), False)

    depth = Measurement(
        Quantity.RECESS_DEPTH, Level.L4_L5, Side.LEFT, 12.0, SeriesKind.AXIAL_T2, "1", 1
    )
    measured = replace(one, measurements=(depth,))
    longer = replace(one, measurements=(replace(depth, value=15.0),))
    assert compare(AS_IS, measured, longer).measured == pytest.approx(0.2)
    assert compare(AS_IS, measured, one).measured_once == ("left_recess_depth_l4_l5",)
    right = replace(one, measurements=(replace(depth, side=Side.RIGHT),))
    assert compare(MIRRORED, measured, right).measured_once == ()
    # points that stayed where they were are 40 mm from where the mirrored patient has them
    assert compare(MIRRORED, measured, right).millimetres == pytest.approx(40)
