"""From phantom studies to a scored submission, by the commands alone; and what goes wrong there."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsdc_layout import series_ids, write_lsdc
from lumbargrade.cli.main import main
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    SeriesKind,
    target_from_column,
)
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.inference.model_folder import MODEL_WEIGHTS, read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.scoring.fill import fill_constants
from lumbargrade.scoring.submissions import read_solution, read_submission
from published_files import published_weights, write_published
from small_models import save_small_model

RECIPES = ("cpu-small/canal", "cpu-small/foraminal")
FOLDS = (2, 4)
CANAL, FORAMINAL = TARGETS[Condition.CANAL], TARGETS[Condition.FORAMINAL]


@dataclass(frozen=True)
class Pipeline:
    """Folders and files of a run through all commands, and the last lines of those with --json."""

    root: Path
    validated: dict[str, Any]
    submitted: dict[str, Any]
    scored: dict[str, Any]

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def test(self) -> Path:
        return self.root / "test"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def submission(self) -> Path:
        return self.root / "out" / "submission.csv"


def last_line(arguments: list[object], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    """The JSON object at the end of what a command prints."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    line = capsys.readouterr().out.splitlines()[-1]
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Eight studies to train on, two held out; both small recipes, two folds, one epoch."""
    root = tmp_path_factory.mktemp("pipeline")
    data, test, store, runs = (root / name for name in ("data", "test", "store", "runs"))
    lines: dict[str, Any] = {}

    def run(*arguments: object) -> None:
        assert main([str(a) for a in arguments]) == 0, arguments

    def last(name: str, *arguments: object) -> None:
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()) as out:
            run(*arguments, "--json")
        lines[name] = json.loads(out.getvalue().splitlines()[-1], parse_constant=pytest.fail)

    run("phantom", data, "--studies", 8, "--workers", 1)
    run("phantom", test, "--studies", 2, "--first", 1000, "--split", "test", "--workers", 1)
    run("prepare", data, "--out", store, "--workers", 1, "--kinds", "sagittal-t1", "sagittal-t2")
    for recipe in RECIPES:
        small = ("--data.size", 64, "--train.epochs", 1, "--pictures", 1)
        run("train", recipe, "--store", store, "--out", runs, "--folds", "2,4", *small)
    last("validate", "validate", runs, "--store", store, "--out", root / "oof", "--pictures", 1)
    submission = root / "out" / "submission.csv"
    last("submit", "submit", test, "--models", runs, "--out", submission)
    last("score", "score", submission, test / "solution.csv")
    yield Pipeline(root, lines["validate"], lines["submit"], lines["score"])
    shutil.rmtree(root)


def test_out_of_fold_has_each_study_condition_and_level_once_by_the_model_of_its_fold(
    pipeline: Pipeline,
) -> None:
    store = VolumeStore.open(pipeline.store)
    with (pipeline.root / "oof" / "oof.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    expected = Counter(
        (row.study_id, target.column)
        for condition in (Condition.CANAL, Condition.FORAMINAL)
        for row in store.rows(condition)
        if row.fold in FOLDS
        for target in TARGETS[condition]
    )
    assert Counter((r["study_id"], r["finding"]) for r in rows) == expected
    assert len(rows) == pipeline.validated["rows"]
    for row in rows:
        assert int(row["fold"]) == store.folds[row["study_id"]]
        models = row["models"].split(";")
        assert {name.rsplit("#", 1)[1] for name in models} == {row["fold"]}
        graded = "canal" if "canal" in row["finding"] else "foraminal"
        assert {name.rsplit("#", 1)[0] for name in models} == {f"cpu-small/{graded}"}
        assert np.isclose(sum(float(row[g]) for g in ("normal_mild", "moderate", "severe")), 1)


def test_validation_says_a_score_for_each_model_and_fold(pipeline: Pipeline) -> None:
    scores = pipeline.validated["scores"]
    assert {(s["model"], s["fold"]) for s in scores} == {
        (recipe, fold) for recipe in RECIPES for fold in ("2", "4", "mean", "pooled")
    }
    assert all(np.isfinite(s["score"]) for s in scores)
    for score in scores:
        if score["fold"].isdecimal():
            meta = read_meta(pipeline.runs / score["model"] / f"fold{score['fold']}" / "model")
            assert score["score"] == pytest.approx(meta.scores["score"], rel=1e-5)
    assert set(pipeline.validated["points"]) == {Condition.CANAL, Condition.FORAMINAL}
    written = {p.name for p in (pipeline.root / "oof").iterdir()}
    tables = {"oof.csv", "oof-points.csv", "scores.csv", "points.csv", "metrics.csv"}
    assert written == {*tables, "oof.json", "index.html", "pictures"}


def test_validation_measures_agreement_and_calibration_of_what_was_out_of_fold(
    pipeline: Pipeline,
) -> None:
    parts = pipeline.validated["agreement"]
    whole = {part["condition"]: part for part in parts if part["by"] == "all"}
    assert set(whole) == {Condition.CANAL, Condition.FORAMINAL}
    with (pipeline.root / "oof" / "oof.csv").open(newline="") as lines:
        graded = Counter(
            target_from_column(row["finding"]).condition
            for row in csv.DictReader(lines)
            if row["true_grade"]
        )
    assert {c: part["findings"] for c, part in whole.items()} == graded
    with (pipeline.root / "oof" / "metrics.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == sum(len(part["measures"]) for part in parts)
    page = (pipeline.root / "oof" / "index.html").read_text()
    assert "reliability: observed share of each grade" in page
    assert "kappa between readers" in page


def test_the_submission_has_25_rows_a_study_and_counts_what_was_filled(pipeline: Pipeline) -> None:
    truth = read_solution(pipeline.test / "solution.csv")
    submission = read_submission(pipeline.submission)
    assert list(submission) == sorted(truth, key=int)
    assert all(set(found) == set(FINDINGS) for found in submission.values())
    sidecar = json.loads(pipeline.submission.with_name("submission.csv.json").read_text())
    assert sidecar == pipeline.submitted
    assert (sidecar["studies"], sidecar["rows"], sidecar["filled"]) == (2, 50, 20)
    assert sidecar["filled_by_condition"] == {
        "left_subarticular_stenosis": 10,
        "right_subarticular_stenosis": 10,
    }
    assert sidecar["filled_studies"] == {}
    assert sorted(sidecar["models"]) == sorted(f"{r}#{f}" for r in RECIPES for f in FOLDS)
    constants = fill_constants(VolumeStore.open(pipeline.store).grades)
    for found in submission.values():
        for target in TARGETS[Condition.SUBARTICULAR]:
            assert found[target] == pytest.approx(constants[target])


def test_what_the_models_said_stands_beside_the_submission(pipeline: Pipeline) -> None:
    said = read_predictions(pipeline.submission.with_name("submission.csv.findings.csv"))
    submission = read_submission(pipeline.submission)
    for study, prediction in said.items():
        assert set(prediction.findings) == {*CANAL, *FORAMINAL}
        for target, finding in prediction.findings.items():
            assert finding.probabilities == pytest.approx(submission[study][target], abs=2e-6)
            assert finding.point is not None
            assert finding.point.patient is not None


def test_the_score_is_finite_and_of_every_study(pipeline: Pipeline) -> None:
    assert pipeline.scored["studies"] == 2
    assert 0 < pipeline.scored["official"] < 5
    parts = [part["official"] for part in pipeline.scored["parts"].values()]
    assert pipeline.scored["official"] == pytest.approx(np.mean(parts))


def test_light_commands_never_import_torch(pipeline: Pipeline, tmp_path: Path) -> None:
    lines = [
        ["recipes", "--json"],
        ["inspect", pipeline.data, "--json"],
        ["inspect", pipeline.test / "test_images", "--json"],
        ["score", pipeline.submission, pipeline.test / "solution.csv"],
        ["phantom", tmp_path / "p", "--studies", 1, "--workers", 1],
        ["combine", pipeline.submission, pipeline.submission, "--out", tmp_path / "c.csv"],
    ]
    code = (
        "import sys; from lumbargrade.cli.main import main\n"
        f"codes = [main(line) for line in {[[str(a) for a in line] for line in lines]}]\n"
        "print(codes, [m for m in ('torch', 'timm', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0, 0] []", done.stderr


def test_the_same_commands_again_give_the_same_submission(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--data.size", "64", "--train.epochs", "1", "--pictures", "1", "--folds", "2,4")
    where = ("--store", str(pipeline.store), "--out", str(pipeline.runs))
    assert main(["train", RECIPES[0], *where, *small]) == 0
    before = pipeline.submission.read_bytes()
    line = ["submit", pipeline.test, "--models", pipeline.runs, "--out", pipeline.submission]
    assert last_line([*line, "--workers", 0], capsys) == pipeline.submitted
    assert pipeline.submission.read_bytes() == before


def test_models_of_other_folds_are_not_validated(
    pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The studies of a larger data set fall into other folds."""
    model = pipeline.runs / "cpu-small" / "canal" / "fold4"
    store = tmp_path / "store"
    shutil.copytree(pipeline.store, store)
    _move_every_study_to_the_next_fold(store)
    line = ["validate", str(model), "--store", str(store), "--out", str(tmp_path / "v")]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert "cpu-small/canal fold 4 was trained on" in said
    assert "use the store with the folds it was trained with" in said


def _move_every_study_to_the_next_fold(store: Path) -> None:
    from lumbargrade.lsdc.store import store_fingerprint, table_digest

    path, index = store / "grades.csv", json.loads((store / "store.json").read_text())
    head, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    moved = [",".join([c[0], str((int(c[1]) + 1) % 5), *c[2:]]) for c in cells]
    path.write_text("\n".join([head, *moved]) + "\n")
    index["tables"]["grades.csv"] = table_digest(path.read_text())
    index["fingerprint"] = store_fingerprint(index["tables"])
    (store / "store.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test studies of noise (1000, 1007) in ``data``, untrained models in ``models``."""
    folder = tmp_path_factory.mktemp("small")
    write_lsdc(folder / "data", 2, split="test")
    for task in ("canal", "foraminal"):
        save_small_model(folder / "models" / task, task)
    return folder


@pytest.fixture
def data(small: Path, tmp_path: Path) -> Path:
    """The studies, to be spoiled."""
    return Path(shutil.copytree(small / "data", tmp_path / "data"))


def test_a_study_whose_series_is_truncated_is_named_and_still_submitted(
    small: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    series = series_ids("1007")[SeriesKind.SAGITTAL_T1]
    for path in (data / "test_images" / "1007" / str(series)).iterdir():
        path.write_bytes(path.read_bytes()[:-800])
    out = tmp_path / "submission.csv"
    summary = last_line(
        ["submit", data, "--models", small / "models", "--out", out, "--workers", 0], capsys, 1
    )
    assert set(summary["filled_studies"]) == {"1007"}
    assert {target_from_column(c) for c in summary["filled_studies"]["1007"]} == set(FORAMINAL)
    assert summary["filled"] == 2 * 10 + 10
    fatal = [p for p in summary["problems"] if p["fatal"]]
    assert fatal
    assert {(p["study"], p["series"]) for p in fatal} == {("1007", str(series))}
    assert f"study 1007, series {series}" in caplog.text
    why = "left and right neural foraminal narrowing: no usable Sagittal T1 series"
    assert f"study 1007: 10 findings filled ({why})" in caplog.text
    assert set(summary["filled_because"]["1007"].values()) == {"no usable Sagittal T1 series"}
    assert len(read_submission(out)) == 2


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    small: Path,
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("began to work")

    monkeypatch.setattr("lumbargrade.grading.ensembles.predict_study", work)
    monkeypatch.setattr("lumbargrade.validation.out_of_fold.load_member", work)
    file = tmp_path / "file"
    file.touch()
    submit = ["submit", str(small / "data"), "--models", str(small / "models"), "--workers", "0"]
    submit.append("--out")
    validate = ["validate", str(pipeline.runs), "--store", str(pipeline.store), "--out"]
    train = ["train", RECIPES[0], "--store", str(pipeline.store), "--folds", "2", "--out"]
    for line in (
        [*submit, str(file / "submission.csv")],
        [*submit, str(tmp_path)],
        [*validate, str(file / "v")],
        [*validate, str(file)],
        [*train, str(file / "runs")],
    ):
        assert main(line) == 3, line
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(f"lumbargrade {line[0]}: ")
        assert str(file) in said or str(tmp_path) in said
        assert "Traceback" not in said


def test_a_full_disk_leaves_the_old_submission(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "submission.csv"
    line = ["submit", str(small / "data"), "--models", str(small / "models"), "--out", str(out)]
    line += ["--workers", "0"]
    assert main(line) == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write = Path.write_text

    def full(self: Path, text: str, *more: Any, **named: Any) -> int:
        write(self, text[: len(text) // 2], *more, **named)
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    assert main([*line, "--no-flip"]) == 3
    assert "lumbargrade submit: No space left on device" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_models_and_stores_that_cannot_be_used_are_said_in_a_line(
    small: Path, pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(code: int, *line: object) -> str:
        assert main([str(a) for a in line]) == code
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"lumbargrade {line[0]}: ")
        return error

    out = ("--out", tmp_path / "out" / "x.csv", "--workers", 0)
    assert "give either --models" in said(2, "submit", small / "data", *out)
    assert "holds no model" in said(2, "submit", small / "data", "--models", tmp_path, *out)
    broken = Path(shutil.copytree(small / "models" / "canal", tmp_path / "broken"))
    (broken / MODEL_WEIGHTS).write_bytes((broken / MODEL_WEIGHTS).read_bytes()[:-9])
    assert "damaged" in said(3, "submit", small / "data", "--models", broken, *out)
    assert "has no test_series" in said(2, "submit", tmp_path, "--models", small / "models", *out)
    assert len(read_submission(tmp_path / "out" / "x.csv")) == 2  # the draft, all filled

    store = Path(shutil.copytree(pipeline.store, tmp_path / "store"))
    index = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(index | {"version": 99}))
    train = ("train", RECIPES[0], "--store", store, "--folds", 2, "--out", tmp_path / "runs")
    assert "store of version 99" in said(3, *train)
    validate = ("validate", pipeline.runs, "--store", store, "--out", tmp_path / "v")
    assert "store of version 99" in said(3, *validate)


def test_a_run_is_not_continued_by_another_recipe_under_its_name(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--data.size", "64", "--train.epochs", "1", "--folds", "2")
    where = ("--store", str(pipeline.store), "--out", str(pipeline.runs))
    line = ["train", "cpu-small/foraminal", *where, *small, "--name", "cpu-small/canal"]
    assert main(line) == 3
    assert "--restart" in capsys.readouterr().err
    kept = read_meta(pipeline.runs / "cpu-small" / "canal" / "fold2" / "model")
    assert kept.recipe.task == "canal"


def test_a_published_checkpoint_is_imported_and_submits(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, recipe = "scs-tf_efficientnet_b4.ns_jft_in1k", "one-stage-scs/effnet_b4-decoder2d-01"
    file = write_published(tmp_path / "fold3.pth", published_weights(shared, name))
    model = tmp_path / "models" / "scs-3"
    line = ["import-weights", str(file), "--recipe", recipe, "--out", str(model), "--fold", "3"]
    assert main(line) == 0
    meta = read_meta(model)
    assert (meta.recipe.name, meta.fold, meta.recipe.task) == (recipe, 3, "canal")
    assert meta.provenance["imported_from"] == "fold3.pth"

    write_lsdc(tmp_path / "data", 1, split="test")
    out = tmp_path / "s.csv"
    summary = last_line(
        ["submit", tmp_path / "data", "--models", model, "--out", out, "--workers", 0], capsys
    )
    assert summary["models"] == [f"{recipe}#3"]
    assert summary["filled"] == 20
    submission = read_submission(out)
    assert all(np.isfinite(p).all() for found in submission.values() for p in found.values())

    other = ["import-weights", str(file), "--recipe", "one-stage-scs/pvt_v2_b4-decoder2d-01"]
    assert main([*other, "--out", str(tmp_path / "other")]) == 3
    assert "is not a checkpoint of one-stage-scs/pvt_v2_b4" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
