"""`demo` draws a phantom, grades it and says where the page is."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind
from lumbargrade.starter.model import open_starter
from made_weights import write_weights


class Graded:
    """Grades everything as moderate."""

    sources = (ModelSource("starter/sagittal", -1),)
    conditions = frozenset(Condition)
    kinds = frozenset(SeriesKind)
    flips = calibrated = False
    about = "Only phantoms."

    def predict(self, study_id: str, volumes: object) -> StudyPrediction:
        return StudyPrediction(study_id, {t: Finding(t, (0.2, 0.6, 0.2)) for t in FINDINGS})

    def fingerprint(self) -> str:
        return "graded"


def test_the_demo_ends_with_the_page_of_a_phantom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("lumbargrade.starter.model.open_starter", lambda *, shift: Graded())
    monkeypatch.setattr(webbrowser, "open", opened.append)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    (page,) = (out / "result").glob("*/report.html")
    assert str(page.resolve()) in capsys.readouterr().out
    assert "Only phantoms." in page.read_text(encoding="utf-8")
    assert (out / "study" / "solution.csv").is_file()
    assert opened == []
    assert main(["demo", "--out", str(out), "--open"]) == 0
    assert opened == [page.resolve().as_uri()]


def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo").touch()
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err


def test_a_study_without_findings_is_exit_code_3_and_names_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_weights(tmp_path / "weights")
    monkeypatch.setattr(
        "lumbargrade.starter.model.open_starter", lambda *, shift: open_starter(weights)
    )
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 3
    assert "open" not in capsys.readouterr().out
