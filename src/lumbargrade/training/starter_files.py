"""Export finished networks of the starter to ONNX, with a manifest of where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.writing import sha256_of
from lumbargrade.models.starter_export import export_starter
from lumbargrade.models.starter_weights import StarterMeta, load_starter
from lumbargrade.starter.weights_file import (
    Figure,
    WeightRecord,
    manifest_to_extend,
    write_manifest,
)
from lumbargrade.training.phantom_items import Phantoms, item_maker
from lumbargrade.training.starter_evaluation import EVALUATION_SEED, measure

#: Number of held-out phantoms on which an exported network is compared with torch.
COMPARED = 4


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        path: the ONNX file.
        meta: how the network was trained.
        deviation: largest difference of a probability from torch's.
    """

    path: Path
    meta: StarterMeta
    deviation: float


def export_run(run: Path, folder: Path, phantoms: Phantoms) -> Exported:
    """Export the model of a run as ``sagittal.onnx`` or ``axial.onnx``.

    Args:
        run: the run, or a model folder.
        folder: folder of the file.
        phantoms: held-out ones are compared, beside random images.

    Raises:
        BadModel: if there is no usable model, or the exported network differs from it.
        OSError: if the file cannot be written.
    """
    network, meta = load_starter(run)
    make = item_maker(meta.recipe.task, phantoms, None)
    images = [make(EVALUATION_SEED, number).images.numpy() for number in range(COMPARED)]
    path = folder / _file_name(meta)
    return Exported(path, meta, export_starter(network, path, images))


def _file_name(meta: StarterMeta) -> str:
    return f"{meta.recipe.task.removeprefix('starter_')}.onnx"


def package(runs: Sequence[Path], folder: Path, phantoms: Phantoms) -> list[Exported]:
    """Export the models of several runs into a folder that the starter can be opened from.

    A manifest that is already there keeps its other files.

    Args:
        runs: runs, or model folders, of different networks.
        folder: folder of the files and their manifest.
        phantoms: see `export_run`.

    Raises:
        UsageError: if two runs are of the same network.
        BadModel: as `export_run`, or if the manifest that is there is damaged.
        OSError: if a file cannot be written.
    """
    names = [_file_name(load_starter(run)[1]) for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two of the runs give {twice[0]}; give one of them")
    manifest = manifest_to_extend(folder)
    exported = [export_run(run, folder, phantoms) for run in runs]
    new = {e.path.name: _record(e) for e in exported}
    write_manifest(folder, manifest.with_files(new))
    return exported


def _record(exported: Exported) -> WeightRecord:
    meta, train = exported.meta, exported.meta.recipe.train
    series = train.evaluation_series
    figures = [
        Figure(f"{series} held-out phantom series", measure(name), round(value, 4), series)
        for name, value in meta.evaluation.items()
    ]
    figures.append(
        Figure(
            "random images and phantoms",
            "largest difference of a probability between this file and torch",
            float(f"{exported.deviation:.2g}"),
            COMPARED,
        )
    )
    return WeightRecord(
        sha256_of(exported.path),
        exported.path.stat().st_size,
        meta.recipe.name,
        train.seed,
        f"stream {meta.phantoms}",
        meta.steps,
        meta.minutes,
        meta.device,
        tuple(figures),
    )
