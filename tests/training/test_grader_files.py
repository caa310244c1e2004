"""The packaged grader: its file, its manifest, and its figures on held-out phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition
from lumbargrade.files.tables import write_table
from lumbargrade.inference.model_folder import ModelMeta, read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import save_model
from lumbargrade.phantom.dataset import VERSION
from lumbargrade.sampling.study_rows import study_rows
from lumbargrade.starter.grader import CROPS_KEY
from lumbargrade.starter.weights_file import (
    Manifest,
    WeightRecord,
    open_weights,
    read_manifest,
    write_manifest,
)
from lumbargrade.training.grader_evaluation import evaluate_grader
from lumbargrade.training.grader_files import package_grader
from small_graders import level_network
from small_models import small_recipe


class Knows:
    """An engine that knows the grades of a store's studies, in their order."""

    metadata = {  # noqa: RUF012 (as of an ONNX file)
        CROPS_KEY: '{"axial_size": 32, "axial_mm": 64.0, "sagittal_size": 32, "sagittal_mm": 64.0,'
        ' "lateral_mm": 10.0, "neighbours": 1}'
    }

    def __init__(self, store, wrong=0.0):
        self.rows = iter(study_rows(store, FINDINGS))
        self.wrong, self.inputs = wrong, []

    def run(self, inputs):
        self.inputs.append(inputs)
        row = next(self.rows)
        shown = [dict(zip(row.targets, row.grades.tolist(), strict=True))[t] for t in FINDINGS]
        p = dict(zip(FINDINGS, 0.1 + 0.7 * np.eye(3)[shown], strict=True))
        return {c.name.lower(): np.array([[p[t] for t in TARGETS[c]]]) for c in Condition}


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> VolumeStore:
    return VolumeStore.open(phantom_store)


def run_folder(folder: Path, trained_on) -> Path:
    """A run of a grader with its model and three epochs of ten minutes; the second is the best."""
    place = {"epoch": 2, "phase": 1, "trained_on": trained_on, "device": "cpu"}
    meta = ModelMeta(small_recipe("two_stage"), 0, provenance=place)
    save_model(folder / "model", level_network(), meta)
    write_table(folder / "metrics.csv", ["epoch", "seconds"], [[e, 600.0] for e in (1, 2, 3)])
    return folder / "model"


def test_the_grades_of_a_perfect_network_agree_with_those_of_the_store(store):
    for condition, found in evaluate_grader(Knows(store), store).items():
        assert found.studies == 4
        assert found.measures["log_loss"].value == pytest.approx(-np.log(0.8))
        assert np.trace(found.confusion) == found.findings == 4 * len(TARGETS[condition])


def test_points_are_shifted_by_the_jitter_and_always_in_the_same_way(store):
    def crops(**settings):
        session = Knows(store)
        evaluate_grader(session, store, **settings)
        return np.stack([i["axial_t2"] for i in session.inputs])

    exact = crops()
    np.testing.assert_array_equal(exact, crops(jitter_mm=0.0, seed=1))
    assert (crops(jitter_mm=3.0) != exact).any()
    np.testing.assert_array_equal(crops(jitter_mm=3.0), crops(jitter_mm=3.0))
    assert (crops(jitter_mm=3.0) != crops(jitter_mm=3.0, seed=1)).any()


def test_the_manifest_says_what_the_file_is_and_how_well_it_grades(store, tmp_path):
    weights = tmp_path / "weights"
    other = WeightRecord("0" * 64, 1, "starter/axial", 1, "stream 1", 2, 3.0, "CPU")
    weights.mkdir()
    write_manifest(weights, Manifest({"axial.onnx": other}))
    exported = package_grader(run_folder(tmp_path, ["1", "2", "3", "4", "5"]), store, weights)
    assert exported.deviation < 2e-3
    files = read_manifest(weights).files
    assert files["axial.onnx"] == other
    record = files["grader.onnx"]
    assert record.bytes == (weights / "grader.onnx").stat().st_size
    assert (record.recipe, record.steps, record.minutes) == ("small/two_stage", 4, 20.0)
    assert (record.device, record.phantoms) == ("cpu", f"studies {VERSION}")
    measures = {(f.data, f.measure): f for f in record.evaluation}
    assert len(measures) == len(record.evaluation) == 2 * 3 * 3 + 1
    shifted = measures[
        "held-out phantoms, true points shifted by 3 mm", "spinal canal stenosis: log loss"
    ]
    assert shifted.cases == 4
    assert read_meta(weights / "grader").recipe.name == "small/two_stage"
    write_manifest(weights, Manifest({"grader.onnx": record}))
    assert set(open_weights(weights, ("grader",)).networks) == {"grader"}


def test_studies_that_the_network_was_trained_on_are_refused(store, tmp_path):
    seen = next(iter(store.folds))
    with pytest.raises(BadModel, match=f"trained on study {seen}"):
        package_grader(run_folder(tmp_path, ["1", seen]), store, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_the_command_needs_the_grader_and_its_held_out_studies(tmp_path, capsys):
    out = ["--out", str(tmp_path / "weights")]
    assert main(["package-starter", "--grader", str(tmp_path), *out]) == 2
    assert main(["package-starter", *out]) == 2
    said = capsys.readouterr().err
    assert "--grader and --held-out go together" in said
    assert "nothing to package" in said
