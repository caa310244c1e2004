"""The submission: 25 rows per study, what is filled in is counted and named, never half a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.domain.errors import BadTable, Problem
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Target
from lumbargrade.report.submission import complete, write_submission
from lumbargrade.scoring.submissions import check_complete, read_submission

CONSTANTS = dict.fromkeys(FINDINGS, (0.7, 0.2, 0.1))
CANAL = TARGETS[Condition.CANAL]


def prediction(study: str, targets: tuple[Target, ...], seed: int = 0) -> StudyPrediction:
    rng = np.random.default_rng(seed)
    found = {}
    for target in targets:
        a, b, c = rng.dirichlet([2, 1, 1]).tolist()
        found[target] = Finding(target, (a, b, c))
    problem = Problem("a slice is damaged", study=study)
    return StudyPrediction(study, found, (ModelSource("cpu-small/canal", 1),), (problem,))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_rows_stand_by_study_number_then_in_the_order_of_the_sample_submission(
    tmp_path: Path,
) -> None:
    path = tmp_path / "submission.csv"
    write_submission(path, [prediction(s, CANAL) for s in ("1000", "99", "200")], CONSTANTS)
    expected = [f"{s}_{t.column}" for s in ("99", "200", "1000") for t in FINDINGS]
    assert [r["row_id"] for r in rows_of(path)] == expected


def test_row_order_is_that_of_the_real_sample_submission(shared: Path, tmp_path: Path) -> None:
    sample = rows_of(shared / "realdata" / "rsna2024" / "sample_submission.csv")
    study = sample[0]["row_id"].split("_")[0]
    path = tmp_path / "submission.csv"
    write_submission(path, [StudyPrediction(study, {})], CONSTANTS)
    ours = rows_of(path)
    assert [r["row_id"] for r in ours] == [r["row_id"] for r in sample]
    assert list(ours[0]) == list(sample[0])


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(FINDINGS)), st.integers(0, 99))
def test_predicted_rows_read_back_exactly_and_the_others_are_constants(
    tmp_path_factory: pytest.TempPathFactory, targets: set[Target], seed: int
) -> None:
    path = tmp_path_factory.mktemp("s") / "submission.csv"
    one = prediction("7", tuple(targets), seed)
    summary = write_submission(path, [one], CONSTANTS)
    found = read_submission(path)["7"]
    for target in FINDINGS:
        known = one.findings.get(target)
        assert found[target] == (known.probabilities if known else CONSTANTS[target])
    assert summary.filled == 25 - len(targets)


def test_what_is_filled_is_counted_and_named_beside_the_submission(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    rest = [t for t in FINDINGS if t not in CANAL]
    reasons = dict.fromkeys(rest, "none of the models grades it")
    gap = prediction("2", CANAL[:3]).without(dict.fromkeys(CANAL[3:], "no usable series"))
    studies = [prediction("1", CANAL).without(reasons), gap]
    summary = write_submission(path, studies, CONSTANTS)
    told = json.loads((tmp_path / "submission.csv.json").read_text())
    assert told["rows"] == 50
    assert told["filled"] == 20 + 22
    assert told["filled_by_condition"]["spinal_canal_stenosis"] == 2
    assert told["filled_by_condition"]["left_subarticular_stenosis"] == 10
    # Study 2 lacks what study 1 has; what no model predicts for anyone is no news of a study.
    assert told["filled_studies"] == {"2": [t.column for t in CANAL[3:]]}
    assert told["models"] == ["cpu-small/canal#1"]
    assert [p["study"] for p in told["problems"]] == ["1", "2"]
    assert (
        "42 rows that no model predicts, filled with the constant that minimises" in summary.text()
    )
    assert told["filled_because"] == {"2": {t.column: "no usable series" for t in CANAL[3:]}}
    why = "spinal canal stenosis at L4/L5, L5/S1: no usable series"
    assert f"study 2: 2 findings filled ({why})" in summary.text()


def test_a_complete_prediction_has_nothing_filled(tmp_path: Path) -> None:
    summary = write_submission(tmp_path / "s.csv", [prediction("1", FINDINGS)], CONSTANTS)
    assert summary.filled == 0
    assert "filled" not in summary.text()


def test_a_prediction_is_completed_with_constants() -> None:
    one = prediction("1", CANAL)
    found = complete(one, CONSTANTS)
    assert list(found) == list(FINDINGS)
    assert {t: found[t] for t in CANAL} == {t: f.probabilities for t, f in one.findings.items()}
    assert {found[t] for t in FINDINGS if t not in CANAL} == {CONSTANTS[CANAL[0]]}


def test_a_submission_passes_the_checks_of_score(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    write_submission(path, [prediction("1", CANAL), prediction("2", ())], CONSTANTS)
    check_complete(read_submission(path), ["1", "2"], path)


def test_a_study_twice_is_refused_and_the_earlier_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_submission(path, [prediction("1", CANAL)], CONSTANTS)
    before = path.read_bytes()
    with pytest.raises(BadTable, match="duplicate row_id"):
        write_submission(path, [prediction("1", CANAL), prediction("1", ())], CONSTANTS)
    assert path.read_bytes() == before
    names = ["submission.csv", "submission.csv.findings.csv", "submission.csv.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_a_disk_that_is_full_leaves_the_earlier_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "submission.csv"
    write_submission(path, [prediction("1", CANAL)], CONSTANTS)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_submission(path, [prediction("2", CANAL)], CONSTANTS)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3
