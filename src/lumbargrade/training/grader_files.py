"""Export a trained grading network for the starter, with figures on held-out phantoms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.vocabulary import FINDINGS, Condition, plain_name
from lumbargrade.files.tables import finite, read_table
from lumbargrade.files.writing import sha256_of
from lumbargrade.inference.base import Arrays
from lumbargrade.inference.crops import level_inputs
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import load_model, save_model
from lumbargrade.models.grader_export import export_grader
from lumbargrade.networks.level_network import LevelNetwork
from lumbargrade.phantom.dataset import VERSION
from lumbargrade.sampling.study import cut_study
from lumbargrade.sampling.study_rows import study_rows
from lumbargrade.scoring.agreement import Agreement
from lumbargrade.starter.weights_file import (
    Figure,
    WeightRecord,
    manifest_to_extend,
    write_manifest,
)
from lumbargrade.training.grader_evaluation import evaluate_grader
from lumbargrade.training.initial import STARTER_GRADER
from lumbargrade.training.records import METRICS_FILE

GRADER_FILE = "grader.onnx"

#: Shifts of the labelled points in the evaluation, mm: none, and as far as points that the starter
#: finds in patients may be off.
JITTERS = (0.0, 3.0)

#: Number of held-out studies on which the exported network is compared with torch.
COMPARED = 4
_MEASURES = {"kappa": "kappa with quadratic weights", "log_loss": "log loss", "ece": "ECE"}


@dataclass(frozen=True)
class ExportedGrader:
    """An exported grading network.

    Attributes:
        path: the ONNX file.
        deviation: largest difference of a probability from torch's.
        agreements: agreement with held-out phantoms by shift of the labelled points, mm.
    """

    path: Path
    deviation: float
    agreements: dict[float, dict[Condition, Agreement]]


def package_grader(model: Path, held_out: VolumeStore, folder: Path) -> ExportedGrader:
    """Export a two-stage model as ``grader.onnx`` and enter it in the manifest of a folder.

    The model is also copied into the folder, for recipes that start from it (``init``).

    Args:
        model: model folder in a run of ``starter/grader``.
        held_out: phantom studies that the model was not trained on.
        folder: of the file; a manifest that is already there keeps its other files.

    Raises:
        BadModel: if there is no usable model, it was trained on the held-out studies, the exported
            network differs from it, or the manifest that is there is damaged.
        OSError: if a file cannot be written.
    """
    manifest = manifest_to_extend(folder)
    loaded = load_model(model, "two_stage")
    if seen := sorted(set(loaded.meta.provenance["trained_on"]) & set(held_out.folds)):
        raise BadModel(
            f"{model}: trained on study {seen[0]} of {held_out.path}; give studies of another seed"
        )
    network = loaded.network
    assert isinstance(network, LevelNetwork)
    path = folder / GRADER_FILE
    deviation = export_grader(
        network, loaded.meta.recipe.crop, path, list(_examples(loaded.meta, held_out))
    )
    save_model(folder / STARTER_GRADER.name, loaded, loaded.meta)
    engine = OnnxEngine(path)
    agreements = {mm: evaluate_grader(engine, held_out, jitter_mm=mm) for mm in JITTERS}
    exported = ExportedGrader(path, deviation, agreements)
    record = _record(exported, model, loaded.meta)
    write_manifest(folder, manifest.with_files({GRADER_FILE: record}))
    return exported


def _examples(meta: ModelMeta, store: VolumeStore) -> Iterator[Arrays]:
    for row in study_rows(store, FINDINGS)[:COMPARED]:
        volumes = [store.volume(s.study_id, s.series_id) for s in row.series]
        yield level_inputs(cut_study(volumes, row.guides, meta.recipe.crop))


def _record(exported: ExportedGrader, model: Path, meta: ModelMeta) -> WeightRecord:
    path, train = exported.path, meta.recipe.train
    epoch, studies = int(meta.provenance["epoch"]), len(meta.provenance["trained_on"])
    figures = [
        Figure(
            f"held-out phantoms, {_points(mm)}",
            f"{plain_name(condition)}: {measure}",
            round(found.measures[name].value, 4),
            found.studies,
        )
        for mm, agreements in exported.agreements.items()
        for condition, found in agreements.items()
        for name, measure in _MEASURES.items()
    ]
    figures.append(
        Figure(
            "random crops and phantoms",
            "largest difference of a probability between this file and torch",
            float(f"{exported.deviation:.2g}"),
            COMPARED,
        )
    )
    return WeightRecord(
        sha256_of(path),
        path.stat().st_size,
        meta.recipe.name,
        train.seed,
        f"studies {VERSION}",
        epoch * -(-studies // train.batch_size),
        _minutes(model.parent / METRICS_FILE, epoch),
        str(meta.provenance["device"]),
        tuple(figures),
    )


def _points(mm: float) -> str:
    return f"true points shifted by {mm:g} mm" if mm else "true points"


def _minutes(metrics: Path, epochs: int) -> float:
    rows = islice(read_table(metrics), epochs)
    return round(sum(row.read(finite, "seconds") for row in rows) / 60, 1)
