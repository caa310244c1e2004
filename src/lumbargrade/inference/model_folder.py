"""Model folders: where their weights are, and the metadata that every model has.

A model for torch is a folder with ``model.safetensors``, whose header holds the metadata, and
``model.json``, a copy of the metadata. An exported model is a folder with ``model.json`` and the
files that this names, such as ``model.onnx``. Exports may lie in the folder of the model that they
were made from, in subfolders named after the engine (`EXPORTS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lumbargrade import __version__
from lumbargrade.config import Recipe, recipe_to_dict, require_in_range
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.files.binary import safetensors_metadata
from lumbargrade.files.structures import parse_plain, plain, read_plain, structured
from lumbargrade.files.writing import sha256_of
from lumbargrade.inference.registry import get_inference

MODEL_WEIGHTS = "model.safetensors"
MODEL_META = "model.json"

#: Folder of a run with the models of selected epochs (``train.keep``), beside the best model.
KEPT_FOLDER = "kept-epochs"

#: Version of the model format; bumped when older programs could misread a newer model.
FORMAT = 1

#: Key of the metadata in the header of the weight file.
HEADER = "lumbargrade"

#: What an exported model is made for: ONNX Runtime or OpenVINO.
ExportedFor = Literal["onnx", "openvino"]

#: How weights and arithmetic of an exported model are rounded: not at all; arithmetic to bf16 on
#: processors that compute in it (OpenVINO); weights to 8 bits; weights and arithmetic to 8 bits.
Precision = Literal["fp32", "bf16", "int8_weights", "int8_calibrated"]

#: Names of the subfolders of a model folder that hold its exports.
EXPORTS: tuple[ExportedFor, ...] = get_args(ExportedFor)


@dataclass(frozen=True)
class Export:
    """How a model was exported, and how far it is from torch.

    Attributes:
        engine: what runs it.
        precision: see `Precision`.
        files: name -> SHA-256 of each file beside the metadata.
        source: SHA-256 of the weight file it was made from.
        probability_deviation: largest difference of a probability from torch in fp32.
        point_deviation: largest distance of a point from torch's, pixels of the network's input.
        log_loss: weighted log loss of torch and of this model on phantoms; None without grades.
        compared: what both were compared on.
        versions: of the packages that were used.
    """

    engine: ExportedFor
    precision: Precision
    files: Mapping[str, str]
    source: str
    probability_deviation: float
    point_deviation: float
    log_loss: tuple[float | None, float | None]
    compared: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ModelMeta:
    """Metadata of a model.

    Attributes:
        recipe: the recipe with every setting that the model was trained with.
        fold: the validation fold, which the model has not seen; -1 if unknown.
        data: fingerprint of the store it was trained on; empty if unknown.
        scores: validation scores by name.
        provenance: further information as plain JSON data.
        version: version of this package that wrote the model.
        export: how the model was exported; None if it is a model for torch.
    """

    recipe: Recipe
    fold: int = -1
    data: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__
    export: Export | None = None

    @property
    def source(self) -> ModelSource:
        """The model's identity: recipe and fold."""
        return ModelSource(self.recipe.name, self.fold)

    @property
    def targets(self) -> tuple[str, ...]:
        """Column names of the model's targets, in the order of its outputs."""
        return tuple(t.column for t in get_inference(self.recipe).targets)


def read_meta(path: Path | str) -> ModelMeta:
    """Read the metadata of a model folder without reading its weights.

    Raises:
        BadModel: if it is not a model, is damaged or has another format.
    """
    if (exported := _exported_meta(Path(path))) is not None:
        return exported
    file = weight_file(path)
    try:
        metadata = safetensors_metadata(file)
    except OSError as error:
        raise BadModel(f"{file}: {error.strerror}") from None
    text = metadata.get(HEADER)
    if text is None:
        if others := [key for key in metadata if key.startswith(f"{HEADER}-")]:
            kind = others[0].removeprefix(f"{HEADER}-")
            raise BadModel(f"{file}: a network of {kind}, which cannot be used alone here")
        raise BadModel(f"{file}: weights without lumbargrade metadata, so the recipe is not known")
    return meta_from_dict(parse_plain(text, file, BadModel, json_text=True), str(file))


def _exported_meta(folder: Path) -> ModelMeta | None:
    """Return the metadata of an exported model; None if the folder holds no exported model."""
    file = folder / MODEL_META
    if not file.is_file() or (folder / MODEL_WEIGHTS).exists():
        return None
    content = read_plain(file, BadModel)
    return meta_from_dict(content, str(file)) if "export" in content else None


def weight_file(path: Path | str) -> Path:
    """Return the weight file of a model folder for torch, or the file itself.

    Raises:
        BadModel: if there is none.
    """
    path = Path(path)
    file = path / MODEL_WEIGHTS if path.is_dir() else path
    if not file.is_file():
        below = sorted(f for depth in ("*", "*/*") for f in path.glob(f"{depth}/{MODEL_WEIGHTS}"))
        what = below[0].parent if below else f"a folder that holds {MODEL_WEIGHTS}"
        raise BadModel(f"{path}: no model there; give {what}")
    return file


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a model's weight file; of an export, that of the model it is made from.

    Raises:
        BadModel: if there is no model.
    """
    exported = _exported_meta(path)
    if exported is not None and exported.export is not None:
        return exported.export.source
    return sha256_of(weight_file(path))


def changing_files(path: Path) -> list[Path]:
    """Return the files of a model folder that change if the model changes."""
    here = (path / MODEL_WEIGHTS, path / MODEL_META)
    exports = (path / name / MODEL_META for name in EXPORTS)
    return [file for file in (*here, *exports) if file.is_file()]


def meta_to_dict(meta: ModelMeta) -> dict[str, Any]:
    """Return metadata as plain JSON data."""
    return {
        "format": FORMAT,
        "lumbargrade": meta.version,
        "recipe": recipe_to_dict(meta.recipe),
        "fold": meta.fold,
        "data": meta.data,
        "targets": list(meta.targets),
        "scores": dict(meta.scores),
        "provenance": dict(meta.provenance),
    } | ({"export": plain(meta.export)} if meta.export else {})


@dataclass(frozen=True)
class _Content:
    """Metadata as it is stored."""

    format: int
    lumbargrade: str
    recipe: Recipe
    fold: int
    data: str
    targets: tuple[str, ...]
    scores: dict[str, float]
    provenance: dict[str, Any]
    export: Export | None = None


def meta_from_dict(data: Mapping[str, Any], origin: str) -> ModelMeta:
    """Return the metadata in plain JSON data.

    Args:
        data: the JSON data.
        origin: where it comes from, for the text of errors.

    Raises:
        BadModel: if it is not the metadata of a model, or has another format.
    """
    writer = data.get("lumbargrade", "?")
    if data.get("format") != FORMAT:
        raise BadModel(
            f"{origin}: model format {data.get('format')} written by lumbargrade {writer}; "
            f"this is {__version__} and reads format {FORMAT}"
        )
    try:
        content = structured(data, _Content, origin, "model", partial=True)
        require_in_range(content.recipe, origin)
        meta = ModelMeta(
            content.recipe,
            content.fold,
            content.data,
            content.scores,
            content.provenance,
            content.lumbargrade,
            content.export,
        )
        targets = meta.targets
    except UsageError as error:
        raise BadModel(
            f"{error} (written by lumbargrade {writer}, this is {__version__})"
        ) from None
    if content.targets != targets:
        task = content.recipe.task
        raise BadModel(f"{origin}: grades {list(content.targets)}, but {task} is {targets}")
    return meta
