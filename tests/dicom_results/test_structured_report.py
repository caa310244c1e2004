"""The structured report: it reads back, refers to its images, and suits viewers and archives."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pydicom
import pytest
from hypothesis import Phase, given, settings
from made_results import (
    SERIES_UID,
    all_placed,
    origin,
    placed,
    required_program,
    result,
    results,
)
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import plain
from lumbargrade.dicom_results.read_report import ReportedFinding, is_own, read_report
from lumbargrade.dicom_results.structured_report import make_report, write_report
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.findings import Finding
from lumbargrade.domain.measurement import SITES, Measurement, Quality
from lumbargrade.domain.vocabulary import FINDINGS, Grade, SeriesKind
from lumbargrade.grading.graded import GradedStudy


@pytest.mark.parametrize("frames", [False, True], ids=["images", "frames"])
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(graded=results())
def test_any_result_reads_back(
    tmp_path_factory: pytest.TempPathFactory, frames: bool, graded: GradedStudy
) -> None:
    path = tmp_path_factory.mktemp("report") / "sr.dcm"
    images = origin(frames)
    write_report(path, graded, images)
    read = read_report(path)
    assert read.fingerprint == graded.fingerprint
    assert not read.verified
    prediction = graded.prediction
    for target in FINDINGS:
        found = read.findings[target]
        finding = prediction.findings.get(target)
        if finding is None:
            assert found.grade is None
            assert found.reason == (plain(prediction.absent[target]) or "-")
            continue
        assert found.grade is finding.grade
        assert found.probabilities == finding.probabilities
        assert found.calibrated == finding.calibrated
        opinion = finding.opinion
        assert found.by_measurement is (opinion.grade if opinion else None)
        _same_place(found, finding, frames)


def _same_place(found: ReportedFinding, finding: Finding, frames: bool) -> None:
    if finding.point is None:
        assert found.image is None
        assert found.xy is None
        return
    number = finding.point.instance_number
    assert found.image == origin(frames).images[SERIES_UID, number]
    assert found.xy is not None
    # coordinates are stored in single precision
    np.testing.assert_allclose(found.xy, (finding.point.x, finding.point.y), atol=1e-4)


def test_report_is_provisional_and_refers_to_its_images(tmp_path: Path) -> None:
    images = origin()
    write_report(tmp_path / "sr.dcm", all_placed(), images)
    data = pydicom.dcmread(tmp_path / "sr.dcm")
    assert (data.PreliminaryFlag, data.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert data.StudyInstanceUID == images.study_uid
    assert is_own(data)
    assert read_report(tmp_path / "sr.dcm").evidence == tuple(images.images.values())


def test_tracking_uids_are_stable_and_instances_new() -> None:
    first, second = (make_report(all_placed(), origin()) for _ in range(2))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    uids = [[i.UID for i in _all_items(r) if i.ValueType == "UIDREF"] for r in (first, second)]
    assert uids[0] == uids[1]
    # the device, and each finding
    assert len(set(uids[0])) == 1 + len(FINDINGS)


def test_patient_of_the_images_is_that_of_the_report(tmp_path: Path) -> None:
    patient = Dataset()
    patient.PatientName, patient.PatientID = "Müller^Zoë=山田^太郎", "A 1"
    patient.PatientBirthDate, patient.StudyDate, patient.StudyID = "19700131", "20240503", "7"
    patient.IssuerOfPatientID, patient.AccessionNumber = "clinic", "ACC"
    write_report(tmp_path / "sr.dcm", all_placed(), origin(patient=patient))
    data = pydicom.dcmread(tmp_path / "sr.dcm")
    for element in patient:
        assert data[element.tag].value == element.value
    assert data.PatientSex == ""


def test_hostile_and_missing_values_do_not_spoil_the_report(tmp_path: Path) -> None:
    hostile = Dataset()
    for keyword, value in (
        ("PatientName", "<script>alert(1)</script>\x1b[31m" + "x" * 10_000),
        ("PatientSex", "neither of them"),
        ("StudyDate", "first of May"),
    ):
        representation = dictionary_VR(keyword)
        element = DataElement(keyword, representation, value, validation_mode=config.IGNORE)
        hostile[keyword] = element
    reason = "\x1b]0;title\x07<b>\x00" + "y" * 10_000
    absent = dict.fromkeys(FINDINGS[1:], reason)
    graded = result({FINDINGS[0]: placed(FINDINGS[0])}, absent)
    write_report(tmp_path / "sr.dcm", graded, origin(patient=hostile))
    data = pydicom.dcmread(tmp_path / "sr.dcm")
    assert "\x1b" not in str(data.PatientName)
    assert (data.PatientSex, data.StudyDate) == ("", "")
    found = read_report(tmp_path / "sr.dcm").findings[FINDINGS[1]]
    assert found.reason == "]0;title<b>" + "y" * 10_000


def _all_items(item: Dataset) -> list[Dataset]:
    inside = list(item.get("ContentSequence", ()))
    return inside + [deeper for one in inside for deeper in _all_items(one)]


def test_viewers_can_draw_every_group() -> None:
    """What the SR reader of OHIF needs; it fails on a group without a point."""
    report = make_report(all_placed(), origin())
    parts = {p.ConceptNameCodeSequence[0].CodeValue: p for p in report.ContentSequence}
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    # older versions fail without an image library
    assert parts["111028"].ContentSequence[0].ContentSequence[-1].ReferencedSOPSequence
    groups = parts["126010"].ContentSequence
    assert len(groups) == len(FINDINGS)
    for group in groups:
        inside = {i.ConceptNameCodeSequence[0].CodeValue: i for i in group.ContentSequence}
        assert inside["112039"].TextValue.startswith("Cornerstone3DTools@^0.1.0:ArrowAnnotate")
        assert inside["112040"].UID
        assert inside["121106"].TextValue
        numbers = [i for i in group.ContentSequence if i.ValueType == "NUM"]
        assert len(numbers) >= len(Grade)
        for number in numbers:
            (point,) = number.ContentSequence
            assert (point.ValueType, point.GraphicType) == ("SCOORD", "POINT")
            assert point.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID


def test_every_good_measurement_is_a_number_with_its_unit() -> None:
    expected = {}
    measured = []
    for k, site in enumerate(SITES):
        quality, remark = (Quality.DOUBTFUL, "blurred") if k % 7 == 0 else (Quality.GOOD, "")
        at = (site.quantity, site.level, site.side, 10 + k / 8)
        measured.append(
            Measurement(*at, SeriesKind.AXIAL_T2, SERIES_UID, 3, quality, remark=remark)
        )
        if quality is Quality.GOOD:
            expected[10 + k / 8] = (codes.QUANTITY[site.quantity], codes.UNIT[site.quantity.unit])
    graded = result({t: placed(t) for t in FINDINGS}, {}, tuple(measured))
    numbers = {
        i.value: (i.name, i.unit)
        for i in _all_items(make_report(graded, origin()))
        if i.ValueType == "NUM" and i.value >= 10
    }
    assert numbers == expected


def test_findings_without_a_place_are_in_no_group() -> None:
    graded = result({t: Finding(t, (0.2, 0.3, 0.5)) for t in FINDINGS}, {})
    report = make_report(graded, origin())
    concepts = [p.ConceptNameCodeSequence[0].CodeValue for p in report.ContentSequence]
    assert "126010" not in concepts
    assert "C0034375" in concepts


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    run = required_program("dciodvfy")
    absent = dict.fromkeys(FINDINGS[:3], "no model grades it")
    placeless = {t: Finding(t, (0.5, 0.3, 0.2)) for t in FINDINGS[3:5]}
    graded = result({**placeless, **{t: placed(t) for t in FINDINGS[5:]}}, absent)
    write_report(tmp_path / "sr.dcm", graded, origin())
    said = run(tmp_path / "sr.dcm")
    assert "Comprehensive3DSR" in said
    assert "Error" not in said


def test_dsrdump_reads_every_item(tmp_path: Path) -> None:
    run = required_program("dsrdump")
    write_report(tmp_path / "sr.dcm", all_placed(), origin())
    said = run(tmp_path / "sr.dcm")
    assert said.count('CONTAINER:(,,"Measurement Group")') == len(FINDINGS)
    assert not [line for line in said.splitlines() if line.startswith(("E:", "F:"))]


def test_other_files_are_not_reports(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("not DICOM")
    other = make_report(all_placed(), origin())
    other.Manufacturer = "another"
    other.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    cut = make_report(all_placed(), origin())
    del cut.ContentSequence[-2]
    cut.save_as(tmp_path / "cut.dcm", enforce_file_format=True)
    for name, words in (
        ("text.dcm", "not a structured report"),
        ("other.dcm", "did not write"),
        ("cut.dcm", "damaged"),
        ("missing.dcm", "No such file"),
    ):
        with pytest.raises(BadDicom, match=words) as caught:
            read_report(tmp_path / name)
        assert name in str(caught.value)


def test_public_codes_are_those_of_the_standard() -> None:
    known = {
        (scheme, value)
        for scheme, names in concepts.items()
        for entries in names.values()
        for value in entries
    }
    ours = [c for c in _codes(vars(codes)) if c.scheme_designator not in (codes.SCHEME, "UMLS")]
    assert len(ours) > 20
    assert not [c for c in ours if (c.scheme_designator, c.value) not in known]


def test_codes_are_distinct_and_short() -> None:
    ours = set(_codes(vars(codes)))
    assert len({(c.scheme_designator, c.value) for c in ours}) == len(ours)
    assert all(len(c.value) <= 16 and len(c.meaning) <= 64 for c in ours)


def _codes(names: dict[str, object]) -> list[Code]:
    found = []
    for value in names.values():
        if isinstance(value, Code):
            found.append(value)
        elif isinstance(value, MappingProxyType):
            found += [v for v in value.values() if isinstance(v, Code)]
    return found
