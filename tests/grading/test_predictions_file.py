"""Predictions survive their CSV file; distances of held-out points are those of a plain loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Grade
from lumbargrade.grading.findings_tables import write_findings_csv
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.predictions_file import (
    COLUMNS,
    distribution,
    read_predictions,
    write_predictions,
)
from lumbargrade.grading.results import read_results
from lumbargrade.lsdc.store_tables import StoredPoint
from lumbargrade.lsdc.tables import TablePoint
from lumbargrade.validation.held_out import distance_errors, true_points
from made_series import make_volume

CANAL = TARGETS[Condition.CANAL]


def made(study: str, seed: int = 0, patient: bool = True) -> StudyPrediction:
    rng = np.random.default_rng(seed)
    findings = {}
    sources = (ModelSource("cpu-small/canal", 0), ModelSource("one#odd/name", 3))
    for target in FINDINGS:
        a, b, c = rng.dirichlet([2, 1, 1]).tolist()
        x, y, z = rng.uniform(0, 300, 3).tolist()
        place = Point(
            target,
            "77",
            int(rng.integers(1, 20)),
            (x, y, z),
            (x, -y, z) if patient else None,
        )
        mine = sources if target.condition is Condition.CANAL else sources[:1]
        shown = place if seed % 2 == 0 else None
        findings[target] = Finding(target, (a, b, c), shown, sources=mine)
    return StudyPrediction(study, findings, sources)


@pytest.mark.parametrize("patient", [True, False])
def test_predictions_survive_writing_and_reading(tmp_path: Path, patient: bool) -> None:
    path = tmp_path / "oof.csv"
    before = [made("10", 1), made("9", 2, patient)]
    grades = {"9": {CANAL[0]: Grade.SEVERE}}
    assert write_predictions(path, before, {"9": 4}, grades) == 50
    after = read_predictions(path)
    assert list(after) == ["9", "10"]
    for one in before:
        same = after[one.study_id]
        assert set(same.sources) == set(one.sources)
        for target, finding in one.findings.items():
            other = same.findings[target]
            assert other.sources == finding.sources
            assert other.probabilities == finding.probabilities
            assert other.point == finding.point


@given(st.lists(st.floats(-300, 0), min_size=3, max_size=3), st.booleans())
def test_probabilities_read_back_exactly_however_small(
    tmp_path_factory: pytest.TempPathFactory, logs: list[float], calibrated: bool
) -> None:
    """0.0000003 as 0 would cost as much as a sure mistake, in whichever file it stands."""
    p = np.exp(np.array(logs) - np.logaddexp.reduce(logs))
    a, b, c = (float(v) for v in p)
    shown = (c, b, a) if calibrated else None
    finding = Finding(CANAL[0], (a, b, c), sources=(ModelSource("r", 0),), calibrated=shown)
    path = tmp_path_factory.mktemp("exact")
    write_predictions(path / "oof.csv", [StudyPrediction("1", {CANAL[0]: finding})])
    assert read_predictions(path / "oof.csv")["1"].findings[CANAL[0]].probabilities == (a, b, c)
    whole = StudyPrediction("1", {t: replace(finding, target=t) for t in FINDINGS})
    write_findings_csv(path / "findings.csv", GradedStudy(whole, (), False, "abc"))
    for t, other in read_results(path / "findings.csv").predictions["1"].findings.items():
        assert (other.probabilities, other.calibrated) == ((a, b, c), shown), t


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0.333333", "0.333333", "0.333333"], (1 / 3, 1 / 3, 1 / 3)),
        (["0.1", "0.2", "0.7"], (0.1, 0.2, 0.7)),
        (["0.3", "0.3", "0.3"], "add up to 0.9"),
        (["-0.1", "0.4", "0.7"], "-0.1 is not a probability"),
        (["nan", "0.4", "0.6"], "add up to nan"),
        (["inf", "0.4", "0.6"], "add up to inf"),
        (["much", "0.4", "0.6"], "'much' is not a number"),
    ],
)
def test_rounded_probabilities_are_normalised_and_others_refused(
    cells: list[str], expected: tuple[float, float, float] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            distribution(*cells)
    else:
        assert distribution(*cells) == pytest.approx(expected, abs=1e-15)


def test_truth_and_fold_stand_beside_their_finding(tmp_path: Path) -> None:
    path = tmp_path / "oof.csv"
    write_predictions(path, [made("9")], {"9": 4}, {"9": {CANAL[2]: Grade.MODERATE}})
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert tuple(rows[0]) == COLUMNS
    truth = {r[2]: r[6] for r in rows[1:]}
    assert truth.pop(CANAL[2].column) == "moderate"
    assert set(truth.values()) == {""}
    assert {r[1] for r in rows[1:]} == {"4"}


def test_an_absent_finding_is_no_prediction(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    absent = StudyPrediction("1", {}, absent={CANAL[0]: "no usable series"})
    assert write_predictions(path, [absent]) == 0
    assert read_predictions(path) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("spinal_canal_stenosis_l1_l2", "no_such_finding", "row 2, finding: unknown"),
        (
            "spinal_canal_stenosis_l1_l2",
            "spinal_canal_stenosis_l2_l3",
            "row 3: duplicate spinal",
        ),
        ("cpu-small/canal#0", "cpu-small/canal#x", "row 2, models: 'cpu-small/canal#x'"),
        ("study_id", "study", "missing columns: study_id"),
        ("\n1,", "\n,", "row 2, study_id: the cell is empty"),
        ("\n1,", "\n1,\n1,", "row 2: 2 values for 16 columns"),
        ("study_id", "\0", "missing columns: study_id"),
    ],
)
def test_a_damaged_file_is_refused_with_its_row(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "p.csv"
    one = made("1")
    write_predictions(
        path, [StudyPrediction("1", {t: one.findings[t] for t in CANAL}, one.sources)]
    )
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BadTable, match=message):
        read_predictions(path)


def test_a_label_is_in_patient_space_where_its_pixel_is() -> None:
    volume = make_volume(depth=5)
    labels = [
        TablePoint("1", "100", 3, CANAL[0], 10.0, 20.0),
        TablePoint("1", "100", 99, CANAL[1], 10.0, 20.0),  # no such instance
        TablePoint("1", "555", 3, CANAL[2], 10.0, 20.0),  # another series
    ]
    # slices 4 mm apart, column is foot-wards
    at = (10.0, 20.0, 2.0)
    point = StoredPoint(CANAL[0], "100", 3, at, (-8.0, 10.0, -20.0), study_id="1")
    assert true_points(labels, volume) == [(point, (-1.0, 0.0, 0.0))]


def test_a_point_that_was_not_found_is_never_within() -> None:
    at = (1.0, 2.0, 3.0)
    truth = {"1": [(Point(t, "7", 1, (0, 0, 0), at), (1.0, 0.0, 0.0)) for t in CANAL]}
    near = Point(CANAL[0], "7", 1, (0, 0, 0), (1.0, 2.0, 7.0))
    far_across = Point(CANAL[1], "7", 1, (0, 0, 0), (11.0, 2.0, 3.0))
    third = (0.5, 0.3, 0.2)
    findings = {
        CANAL[0]: Finding(CANAL[0], third, near),
        CANAL[1]: Finding(CANAL[1], third, far_across),
        CANAL[2]: Finding(CANAL[2], third),
    }
    errors = distance_errors(truth, {"1": StudyPrediction("1", findings)})[Condition.CANAL]
    assert errors.count == 5
    assert errors.within_mm == (0.0, 0.0, 0.0, 0.2)
    assert errors.in_plane_within_mm == (0.2, 0.2, 0.2, 0.4)
    nothing = distance_errors(truth, {})[Condition.CANAL]
    assert nothing.within_mm == (0.0,) * 4


def test_what_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    """With a byte-order mark, other line ends and empty lines."""
    path = tmp_path / "p.csv"
    write_predictions(path, [made("1")])
    before = read_predictions(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert read_predictions(path) == before


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(BadTable, match=r"p\.csv: not a CSV table"):
        read_predictions(path)
