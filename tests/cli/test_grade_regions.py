"""Grading what is no lumbar spine: nothing, with the tag that says so and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from lumbargrade.cli.main import main
from small_models import save_small_model
from small_studies import write_noise_study


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_small_model(folder / "foraminal", "foraminal")
    return folder


def write_study(folder: Path, **tags: str) -> Path:
    for path in write_noise_study(folder).rglob("*.dcm"):
        data = pydicom.dcmread(path)
        for tag, value in tags.items():
            setattr(data, tag, value)
        data.save_as(path)
    return folder


def grade(models: Path, out: Path, *studies: Path) -> int:
    options = ("--models", models, "--out", out, "--json", "--no-check-points")
    return main(["grade", *map(str, (*studies, *options))])


REGIONS = [
    ({"BodyPartExamined": "KNEE"}, "BodyPartExamined 'KNEE'"),
    ({"StudyDescription": "MRT Schädel nativ"}, "StudyDescription 'MRT Schädel nativ'"),
    ({"SeriesDescription": "T1 T2 SAG HWS"}, "SeriesDescription 'T1 T2 SAG HWS'"),
    ({"RequestedProcedureDescription": "IRM genou"}, "RequestedProcedureDescription 'IRM genou'"),
]


@pytest.mark.parametrize(("tags", "reason"), REGIONS)
def test_another_region_is_not_graded_and_the_tag_is_named(tags, reason, models, tmp_path, capsys):
    study = write_study(tmp_path / "study", SpecificCharacterSet="ISO_IR 100", **tags)
    assert grade(models, tmp_path / "out", study) == 3
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert f"{reason} names another region than the lumbar spine" in json.dumps(
        summary, ensure_ascii=False
    )
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_a_knee_beside_a_lumbar_spine_is_left_out_with_exit_code_1(models, tmp_path, capsys):
    knee = write_study(tmp_path / "knee", BodyPartExamined="KNEE")
    spine = write_study(tmp_path / "spine", BodyPartExamined="LSPINE")
    assert grade(models, tmp_path / "out", knee, spine) == 1
    assert "KNEE" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*/findings.csv"))) == 1
