"""The picture of all findings as a DICOM image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from made_results import all_placed, origin, placed, required_program, result
from pydicom.dataset import Dataset

from lumbargrade.dicom_results.capture import write_capture
from lumbargrade.domain.vocabulary import FINDINGS
from lumbargrade.report.drawing import COLOURS
from lumbargrade.report.summary_picture import draw_summary


def test_every_graded_finding_has_a_coloured_cell() -> None:
    shares = {0: (0.8, 0.1, 0.1), 1: (0.1, 0.8, 0.1), 2: (0.1, 0.1, 0.8)}
    graded = {t: placed(t, shares[i % 3]) for i, t in enumerate(FINDINGS[:20])}
    study = result(graded, dict.fromkeys(FINDINGS[20:], "no axial series"))
    pixels = draw_summary(study).astype(int)
    whole = draw_summary(all_placed()).astype(int)
    cell = sum((whole == c).all(axis=-1).sum() for c in COLOURS.values()) / len(FINDINGS)
    for grade, colour in COLOURS.items():
        expected = sum(f.grade is grade for f in graded.values())
        assert round((pixels == colour).all(axis=-1).sum() / cell) == expected


def test_picture_does_not_name_the_patient_or_fail_on_any_text() -> None:
    study = result({}, dict.fromkeys(FINDINGS, "$x^2$ \U0001f9b4 山田 <b>\x1b[31m" + "y" * 5000))
    named = replace(study, prediction=replace(study.prediction, study_id="Doe^Jane"))
    assert np.array_equal(draw_summary(study), draw_summary(named))


def test_capture_is_lossless_and_valid(tmp_path: Path) -> None:
    patient = Dataset()
    patient.PatientName, patient.PatientID = "Doe^Jane", "7"
    pixels = draw_summary(all_placed())
    write_capture(tmp_path / "summary.dcm", pixels, origin(patient=patient), "1.0")
    data = pydicom.dcmread(tmp_path / "summary.dcm")
    assert np.array_equal(data.pixel_array, pixels)
    assert (data.PatientName, data.BurnedInAnnotation) == ("Doe^Jane", "NO")
    assert (tmp_path / "summary.dcm").stat().st_size < 700_000
    said = required_program("dciodvfy")(tmp_path / "summary.dcm")
    assert "Error" not in said
