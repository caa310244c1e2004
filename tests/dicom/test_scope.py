"""Studies that are not graded, and what makes grades less certain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_choice import axial, sagittal

import hospital_exports as made
from lumbargrade.cli.main import main
from lumbargrade.dicom.choice import Candidate
from lumbargrade.dicom.requests import Request
from lumbargrade.dicom.scope import cautions
from lumbargrade.dicom.study import read_study
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import SeriesKind


@pytest.mark.parametrize(("tag", "other"), [("PatientID", "B"), ("PatientBirthDate", "19500101")])
def test_two_patients_in_one_study_are_refused(base, tmp_path, capsys, tag, other):
    study = made.export_of(base, "mixed")
    for name, slices in study.items():
        for data in slices:
            data.PatientID, data.PatientBirthDate = "A", "19400101"
            if name == "axt2":
                setattr(data, tag, other)
    folder = made.save(tmp_path, study)
    with pytest.raises(BadDicom) as raised:
        read_study(folder)
    said = str(raised.value)
    assert (
        f"images of 2 patients in one study: {tag} differs between series 3, 4 and series 5" in said
    )
    assert "19400101" not in said
    assert main(["inspect", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "T2 TSE SAG" in shown
    assert said.partition(": ")[2] in shown
    assert main(["grade", str(folder), "--out", str(tmp_path / "out")]) == 3
    mended = read_study(folder, request=Request.parse((), [f"{tag}=A"]))
    assert len(mended.volumes) == 3


def test_spellings_of_one_patient_are_not_two(base, tmp_path):
    study = made.export_of(base, "spelt")
    for name, slices in study.items():
        for data in slices:
            data.PatientID = {"axt2": " a7 ", "sagt1": ""}.get(name, "A7")
            data.PatientName = {"axt2": "DOE JANE", "sagt1": "Jane^Doe"}.get(name, "DOE^JANE")
    read = read_study(made.save(tmp_path / "one", study))
    assert len(read.volumes) == 3
    assert not any("PatientName" in p.what for p in read.problems)
    for data in study["sagt2"]:
        data.PatientName = "ROE^RICHARD"
    read = read_study(made.save(tmp_path / "two", study))
    (note,) = [p for p in read.problems if "PatientName" in p.what]
    assert not note.fatal
    assert "ROE" not in str(note)


def test_images_with_the_uid_of_others_and_other_pixels_are_told(base, tmp_path):
    study = made.export_of(base, "uids")
    copies = made.again(study["sagt2"], "copies", lambda data: None)
    changed = made.again(study["sagt2"], "changed", made.brighter)
    for image, copy, other in zip(study["sagt2"], copies, changed, strict=True):
        copy.SOPInstanceUID = other.SOPInstanceUID = image.SOPInstanceUID
        other.AcquisitionNumber = 2
    same = read_study(made.save(tmp_path / "same", study | {"copies": copies}))
    assert not any("SOPInstanceUID" in p.what for p in same.problems)
    mixed = read_study(made.save(tmp_path / "mixed", study | {"changed": changed}))
    (note,) = [p for p in mixed.problems if "SOPInstanceUID" in p.what]
    assert note.series == made.uid("uids", "sagt2")
    count = 2 * len(changed)
    assert note.what.startswith(f"{count} images have the SOPInstanceUID of other images of the")
    assert not note.fatal


def test_series_whose_images_are_numbered_anew_are_ordinary(base, tmp_path):
    study = made.export_of(base, "anew")
    for slices in study.values():
        for number, data in enumerate(slices, start=1):
            data.SOPInstanceUID = f"1.2.{number}"
    read = read_study(made.save(tmp_path, study))
    assert not any("SOPInstanceUID" in p.what for p in read.problems)


def test_images_too_coarse_to_show_anything_are_not_graded(base, tmp_path):
    study = made.export_of(base, "coarse")
    for data in study["sagt1"]:
        data.PixelSpacing = [4.5, 4.5]
    folder = made.save(tmp_path, study)
    kind = SeriesKind.SAGITTAL_T1
    read = read_study(folder)
    assert kind not in {v.kind for v in read.used}
    (why,) = [c.reason for c in read.choices if c.kind is kind]
    assert why == "quality too low: pixels of 4.5 mm"
    assert kind in {v.kind for v in read_study(folder, request=Request.parse(["t1=4"])).used}


USUAL = sagittal()


@pytest.mark.parametrize(
    ("volume", "thickness", "said"),
    [
        (USUAL, 4.0, []),
        (axial(), None, []),
        (USUAL, 8.0, ["slices of 8.0 mm"]),
        (sagittal(pixel=1.5), None, ["pixels of 1.50 mm"]),
        (sagittal(gap=7.0, count=7), None, ["slices 7.0 mm apart"]),
        (sagittal(height=120.0), None, ["120 mm from head to feet"]),
        (sagittal(count=5), None, ["22 mm from left to right"]),
        (sagittal(count=1), None, ["a single slice"]),
        (axial(gap=9.0), None, ["slices 9.0 mm apart"]),
    ],
)
def test_poor_quality_is_a_caution(volume, thickness, said):
    found = cautions(Candidate(volume), thickness)
    assert [text.partition(" (")[0] for text in found] == said


def test_noise_is_a_caution():
    rng = np.random.default_rng(0)
    noisy = np.clip(USUAL.pixels + rng.normal(0, 60, USUAL.pixels.shape), 0, 255).astype(np.uint8)
    (said,) = cautions(Candidate(replace(USUAL, pixels=noisy)), None)
    assert said.startswith("noise of ")
