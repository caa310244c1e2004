"""`recalibrate`: a file that `grade` can use, before and after, and refusals with numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohorts import drawn, write_findings_table, write_labels
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, SeriesKind
from lumbargrade.grading.calibration_file import (
    FittedCalibration,
    LocalCalibration,
    read_calibration,
    write_calibration,
)
from lumbargrade.grading.results import read_results
from lumbargrade.scoring.calibration import Calibration, Method, log_loss
from small_models import save_small_model
from small_studies import write_noise_study

GRADED = drawn(60, sharpness=2)
SOFT = Calibration(Method.TEMPERATURE, scale=(0.5, 0.5, 0.5))
LOCAL = LocalCalibration(
    {Condition.CANAL: FittedCalibration(SOFT, 60, 300, 0.9, 0.7)}, ("small/canal",)
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    write_findings_table(tmp_path / "findings.csv", GRADED)
    models = [{"recipe": "small/canal", "fold": 0}, {"recipe": "small/canal", "fold": 1}]
    (tmp_path / "summary.json").write_text(json.dumps({"models": models}))
    write_labels(tmp_path / "labels.csv", GRADED)
    return tmp_path / "findings.csv", tmp_path / "labels.csv", tmp_path / "fit" / "local.toml"


def test_what_is_fitted_reads_back_and_predicts_the_fitted_studies_better(files, capsys) -> None:
    results, labels, out = files
    assert main(["recalibrate", str(results), str(labels), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    local = read_calibration(out)
    assert set(local.conditions) == set(Condition)
    assert local.recipes == ("small/canal",)
    for condition, one in local.conditions.items():
        told = said["conditions"][condition.value]
        assert told["used"]
        assert one.after == pytest.approx(told["after"]["log_loss"]["value"])
        assert one.before == pytest.approx(told["before"]["log_loss"]["value"])
        mine = GRADED.of(condition)
        assert log_loss(one.calibration.apply(mine.probabilities), mine.grades) < one.before
    assert "reliability" in Path(said["page"]).read_text()


def test_too_little_is_refused_with_its_numbers_and_leaves_no_file(files, capsys) -> None:
    results, labels, out = files
    names = sorted(set(GRADED.studies.tolist()))
    few = GRADED.where(np.isin(GRADED.studies, names[:30]))
    write_findings_table(results, few)
    write_labels(labels, few)
    assert main(["recalibrate", str(results), str(labels), "--out", str(out)]) == 3
    assert "30 studies, at least 50 are needed" in capsys.readouterr().err
    assert not out.exists()
    more = ["--minimum-studies", "30", "--minimum", "5"]
    assert main(["recalibrate", str(results), str(labels), "--out", str(out), *more]) == 0


def test_one_condition_that_is_too_small_is_named_and_the_others_fitted(files, capsys) -> None:
    results, labels, out = files
    canal = [FINDINGS.index(t) for t in TARGETS[Condition.CANAL]]
    kept = GRADED.where(~np.isin(GRADED.targets, canal) | (GRADED.grades < 2))
    write_labels(labels, kept)
    assert main(["recalibrate", str(results), str(labels), "--out", str(out)]) == 1
    assert "refused: 0 severe findings, at least 10 of each" in capsys.readouterr().out
    assert set(read_calibration(out).conditions) == {Condition.FORAMINAL, Condition.SUBARTICULAR}


def test_a_minimum_that_is_none_is_a_usage_error(files) -> None:
    results, labels, out = map(str, files)
    assert main(["recalibrate", results, labels, "--out", out, "--minimum", "0"]) == 2


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    write_calibration(tmp_path / "c.toml", LOCAL)
    local = read_calibration(tmp_path / "c.toml")
    assert local == LOCAL
    canal, foraminal = (TARGETS[c][0] for c in (Condition.CANAL, Condition.FORAMINAL))
    absent = {TARGETS[Condition.CANAL][1]: "no axial slice"}
    p = (0.1, 0.2, 0.7)
    findings = {
        canal: Finding(canal, p),
        foraminal: Finding(foraminal, p, calibrated=(0.3, 0.3, 0.4)),
    }
    applied = local.apply(StudyPrediction("7", findings, absent=absent))
    found = applied.findings
    assert found[canal].probabilities == p
    assert found[canal].calibrated == pytest.approx(SOFT.apply(p))
    assert found[foraminal] == findings[foraminal]
    assert applied.absent == absent


def test_grade_calibrates_by_the_file_and_warns_of_other_models(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_small_model(tmp_path / "model", "canal")
    write_noise_study(tmp_path / "study", (SeriesKind.SAGITTAL_T2,))
    write_calibration(tmp_path / "c.toml", replace(LOCAL, recipes=("other/canal",)))
    line = [
        "grade",
        "--no-check-points",
        tmp_path / "study",
        "--models",
        tmp_path / "model",
        "--device",
        "cpu",
    ]
    line += ["--calibration", tmp_path / "c.toml", "--out", tmp_path / "out"]
    assert main([str(word) for word in line]) == 0
    assert "was fitted to results of other/canal, not of small/canal" in caplog.text
    (prediction,) = read_results(tmp_path / "out").predictions.values()
    assert set(prediction.findings) == set(TARGETS[Condition.CANAL])
    for finding in prediction.findings.values():
        expected = SOFT.apply(finding.probabilities)
        assert finding.calibrated == pytest.approx(expected, abs=1e-5)
    assert set(prediction.absent) == set(FINDINGS) - set(TARGETS[Condition.CANAL])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "not a calibration file of format 1"),
        ('kind = "local calibration"', 'kind = "blend"', "not a calibration file"),
        (
            "studies = 60",
            "patients = 60",
            r"missing @ .*studies; extra fields found .patients",
        ),
        ("spinal_canal_stenosis]", "disc_height]", "disc_height"),
        ('method = "temperature"', 'method = "platt"', "platt"),
        ("format = 1", "format =", "not valid TOML"),
    ],
)
def test_a_file_that_is_none_is_a_usage_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "c.toml"
    write_calibration(path, LOCAL)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError, match=message):
        read_calibration(path)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no calibration file"):
        read_calibration(tmp_path / "c.toml")
