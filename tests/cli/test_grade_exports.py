"""The same findings however a study is exported, by the grade command."""

from __future__ import annotations

import numpy as np
import pytest

import hospital_exports as made
from export_cases import CASES
from lumbargrade.cli.main import main
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from small_models import save_small_model


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GradedStudy]:
    """The findings of the plain export and of every situation, by an untrained model."""
    folder = tmp_path_factory.mktemp("graded")
    base = made.phantom_study(folder / "phantom")
    made.save(folder / "in" / "control", made.export_of(base, "control"))
    for name, write in CASES.items():
        write(made.export_of(base, name), folder / "in" / name)
    save_small_model(folder / "models" / "foraminal", "foraminal")
    save_small_model(folder / "models" / "canal", "canal")
    arguments = ("--models", folder / "models", "--out", folder / "out", "--device", "cpu")
    code = main(
        ["grade", "--no-check-points", *map(str, (*arguments, *sorted((folder / "in").iterdir())))]
    )
    assert code == 0
    return {
        name: read_findings(folder / "out" / made.uid(name) / "findings.json")
        for name in ("control", *CASES)
    }


@pytest.mark.parametrize("name", CASES)
def test_findings_are_those_of_the_plain_export(graded: dict[str, GradedStudy], name: str) -> None:
    """Probabilities within 0.02 and points within 1 mm, of what was found in the images."""
    ours, control = graded[name].prediction.findings, graded["control"].prediction.findings
    found = [t for t, f in control.items() if f.point is not None]
    assert len(found) == 15
    assert found == [t for t, f in ours.items() if f.point is not None]
    for target in found:
        one, other = ours[target], control[target]
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=0.02)
        assert one.point is not None
        assert other.point is not None
        np.testing.assert_allclose(one.point.patient, other.point.patient, atol=1.0)
