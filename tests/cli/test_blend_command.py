"""`blend` from the command line, and from `validate` through it to a submission."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.grading.blend_file import read_blend
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.scoring.submissions import read_submission
from oof_files import write_oof
from small_models import save_small_model
from small_studies import write_noise_study


def test_a_blend_of_two_files_is_told_as_tables_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_oof(tmp_path / "good", noise=0.8)
    poor = write_oof(tmp_path / "poor", noise=2.0, seed=2, conditions=[Condition.FORAMINAL])
    out = tmp_path / "blend.toml"
    assert main(["blend", str(good.parent), f"other={poor}", "--out", str(out), "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    text = "\n".join(lines)
    foraminal = told["conditions"]["neural_foraminal_narrowing"]
    blend = read_blend(out)
    assert told["members"] == ["good", "other"] == [m.name for m in blend.members]
    assert blend.conditions[Condition.FORAMINAL].weights == foraminal["weights"]
    assert foraminal["blend"] <= min(m["loss"] for m in foraminal["members"].values())
    assert f"{foraminal['nested']:.4f}" in text
    assert "spinal_canal_stenosis: the only member" in text
    assert told["any_severe"]["before"]["mean"] > 0
    assert "any-severe correction" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent"], 2, "absent: no such file"),
        (["a", "a"], 2, "two members are called a"),
        (["a", "--weights", "0.5", "0.5"], 2, "2 weights for 1 members"),
        (["a", "leak"], 3, "row 2: study 1 of fold 1 was predicted by made fold 4"),
        ([], 2, "give at least one"),
    ],
)
def test_what_cannot_be_blended_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_oof(Path("a"))
    leak = write_oof(Path("leak"))
    leak.write_text(leak.read_text().replace("made#1", "made#4", 1))
    assert main(["blend", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not Path("blend.toml").exists()


@pytest.fixture(scope="module")
def validated(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models of two folds, validated as two members, and their blend."""
    folder = tmp_path_factory.mktemp("blend")
    store = VolumeStore.open(small_store)
    for task in ("canal", "foraminal"):
        for fold in (2, 4):
            seen = [s for s, f in store.folds.items() if f != fold]
            save_small_model(folder / "runs" / f"{task}{fold}", task, fold, trained_on=seen)
    common = ["--store", str(small_store), "--pictures", "0"]
    whole, plain = folder / "whole", folder / "plain"
    assert main(["validate", str(folder / "runs"), *common, "--out", str(whole)]) == 0
    some = [str(folder / "runs" / f"foraminal{fold}") for fold in (2, 4)]
    assert main(["validate", *some, *common, "--no-flip", "--out", str(plain)]) == 0
    weights = ["--weights", "0.75", "0.25"]
    out = ["--out", str(folder / "blend.toml")]
    assert main(["blend", str(whole), str(plain), *out, *weights]) == 0
    return folder


def test_validate_names_its_models_and_the_blend_those_of_its_members(validated: Path) -> None:
    blend = read_blend(validated / "blend.toml")
    whole, plain = blend.members
    assert {Path(m.path).resolve() for m in whole.models} == {
        validated / "runs" / f"{task}{fold}" for task in ("canal", "foraminal") for fold in (2, 4)
    }
    assert {(m.recipe, m.fold) for m in plain.models} == {("small/foraminal", f) for f in (2, 4)}
    assert (whole.flip, plain.flip) == (True, False)


def test_submit_takes_the_blend_and_grade_shows_calibrated_probabilities(
    validated: Path, small_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = small_store.parent / "data", validated / "submission.csv"
    blend = ["--blend", str(validated / "blend.toml")]
    assert main(
        ["submit", str(data), "--split", "train", *blend, "--out", str(out), "--workers", "0"]
    ) in (0, 1)
    submission, said = read_submission(out), read_predictions(Path(f"{out}.findings.csv"))
    for study, prediction in said.items():
        for target, finding in prediction.findings.items():
            assert finding.probabilities == pytest.approx(submission[study][target], abs=2e-6)
    study = write_noise_study(validated / "anna")
    graded = validated / "graded"
    assert main(["grade", "--no-check-points", str(study), *blend, "--out", str(graded)]) in (0, 1)
    (folder,) = (p for p in graded.iterdir() if p.is_dir())
    told = json.loads((folder / "findings.json").read_text())
    with (folder / "findings.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    calibration = {c.value: o.calibration for c, o in read_blend(Path(blend[1])).conditions.items()}
    for finding, row in zip(told["findings"], rows, strict=True):
        assert (finding["calibrated"] is None) == (finding["grade"] is None)
        if finding["grade"] is not None:
            shown = [finding["calibrated"][g.column] for g in Grade]
            models = [finding["probabilities"][g.column] for g in Grade]
            assert calibration[finding["condition"]].apply(models) == pytest.approx(shown)
            assert finding["grade"] == Grade(shown.index(max(shown))).column
            assert float(row["calibrated_severe"]) == pytest.approx(shown[2], abs=1e-6)
    page = (folder / "report.html").read_text()
    assert "The probabilities are calibrated" in page
    assert "<th>model&#39;s probability</th>" in page
    # without a blend it says that they are not
    models = ["--models", str(validated / "runs")]
    assert main(["grade", "--no-check-points", str(study), *models, "--out", str(graded)]) in (0, 1)
    page = (folder / "report.html").read_text()
    assert "The probabilities are not calibrated" in page
    assert "<th>model&#39;s probability</th>" not in page
    assert (
        main(["grade", "--no-check-points", str(study), *models, *blend, "--out", str(graded)]) == 2
    )
    assert "either --models" in capsys.readouterr().err
