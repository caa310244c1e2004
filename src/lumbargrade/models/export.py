"""Export models for engines that need no torch, and verify each export against torch."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch

from lumbargrade.dicom.study import read_study
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.writing import atomic_folder, sha256_of, write_text
from lumbargrade.inference.base import Arrays, Engine
from lumbargrade.inference.engines import (
    MODEL_FILE,
    OnnxEngine,
    OpenVinoEngine,
    openvino_package,
)
from lumbargrade.inference.model_folder import (
    MODEL_META,
    MODEL_WEIGHTS,
    Export,
    ExportedFor,
    ModelMeta,
    Precision,
    meta_to_dict,
    read_meta,
    weights_digest,
)
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.export_inputs import (
    SLICE_COUNTS,
    MarkedStudy,
    compared_inputs,
    inputs_of,
    phantoms_of,
)
from lumbargrade.models.graphs import graph_of
from lumbargrade.models.quantised import calibrated, with_int8_weights
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.models.tracing import traced
from lumbargrade.models.verification import Deviation, deviation, log_loss

log = logging.getLogger(__name__)

#: Largest accepted difference of a probability from torch's in single precision.
MOST_PROBABILITY = 1e-3

#: Number of phantoms on which models of reduced precision are scored, and of others on which they
#: are calibrated.
PHANTOMS, CALIBRATED = 4, 2

#: Largest accepted distance of a point from torch's in single precision, pixels of the input.
MOST_POINT = 0.1


def export_model(
    path: Path,
    to: ExportedFor,
    out: Path | None = None,
    *,
    precision: Precision = "fp32",
    calibrate: Sequence[Path] = (),
) -> ModelMeta:
    """Export a model, and compare it with torch on real-shaped inputs.

    Args:
        path: the model's folder.
        to: the engine to export for.
        out: folder to write; None: a folder named after the engine in the model's folder. An
            earlier export there is replaced if the new one is verified.
        precision: of weights and arithmetic. Only ``fp32`` must agree with torch; of the others, it
            is measured and stored how far they are from it.
        calibrate: folders of studies to calibrate ``int8_calibrated`` on; phantoms if empty.

    Returns:
        The metadata of the exported model.

    Raises:
        BadModel: if the model is damaged, or the exported one differs from torch by more than
            `MOST_PROBABILITY` or `MOST_POINT` (in ``fp32``) or its output is not finite; nothing is
            written then.
        BadDicom: if a study to calibrate on cannot be read.
        UsageError: if the model is an exported one, ``out`` holds something else, the engine is not
            installed, or the options do not fit together.
        OSError: if the folder cannot be written.
    """
    meta = read_meta(path)
    if meta.export is not None:
        raise UsageError(f"{path}: an exported model; give the model that it was made from")
    if precision == "bf16" and to != "openvino":
        raise UsageError("--precision bf16 needs --to openvino")
    out = out or path / to
    _require_replaceable(out)
    task = get_task(meta.recipe)
    reference = TorchEngine(task, load_model(path).network)
    own = _own_inputs(task, calibrate, precision)
    studies = list(phantoms_of(task.inference, 1 if precision == "fp32" else PHANTOMS))
    inputs = compared_inputs(task.inference, studies[0])
    model = _rounded(traced_network(task, reference, inputs), task, precision, own)
    with atomic_folder(out) as folder:
        engine = write_network(folder, to, model, precision)
        found = deviation(task.inference, reference, engine, inputs)
        _require_close(out, found, precision)
        export = Export(
            engine=to,
            precision=precision,
            files={file.name: sha256_of(file) for file in sorted(folder.iterdir())},
            source=weights_digest(path),
            probability_deviation=found.probability,
            point_deviation=found.point,
            log_loss=(
                log_loss(task.inference, reference, studies),
                log_loss(task.inference, engine, studies),
            ),
            compared=_compared(task, inputs, len(studies)),
            versions=_versions(engine),
        )
        exported = replace(meta, export=export)
        write_text(folder / MODEL_META, json.dumps(meta_to_dict(exported), indent=1) + "\n")
    return exported


def _rounded(
    model: onnx.ModelProto, task: AnyTask, precision: Precision, own: Sequence[Arrays]
) -> onnx.ModelProto:
    """Round a graph to 8 bits if the precision asks for it; calibrate on phantoms without ``own``.

    The engine rounds to bf16.
    """
    if precision == "int8_weights":
        return with_int8_weights(model)
    if precision == "int8_calibrated":
        others = phantoms_of(task.inference, CALIBRATED, skip=PHANTOMS)
        return calibrated(model, own or [i for s in others for i in inputs_of(task.inference, s)])
    return model


def _versions(engine: Engine) -> dict[str, str]:
    """Return the versions of the packages that make and run an export."""
    name, _, version = engine.name.rpartition(" ")
    return {"onnx": onnx.__version__, "torch": torch.__version__, name: version}


def _own_inputs(task: AnyTask, folders: Sequence[Path], precision: Precision) -> list[Arrays]:
    """Return the inputs from studies of the user.

    Raises:
        UsageError: if they are given for nothing, or hold no series that the network sees.
    """
    if not folders:
        return []
    if precision != "int8_calibrated":
        raise UsageError("--calibrate needs --precision int8_calibrated")
    if task.needs_guides:
        raise UsageError(
            f"--calibrate: {task.recipe.name} sees crops around points, which are not known of "
            "these studies; omit it to calibrate on phantoms"
        )
    studies = (MarkedStudy(read_study(folder).volumes) for folder in folders)
    found = [one for study in studies for one in inputs_of(task.inference, study)]
    if not found:
        kinds = " or ".join(task.kinds)
        raise UsageError(f"--calibrate: no {kinds} series in {', '.join(map(str, folders))}")
    return found


def _require_replaceable(out: Path) -> None:
    """Check that a folder is new, empty or an earlier export."""
    if out.is_file():
        raise UsageError(f"--out {out} is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if (out / MODEL_WEIGHTS).exists() or not (out / MODEL_META).is_file():
        raise UsageError(f"--out {out} holds something else; give a new folder")


def traced_network(
    task: AnyTask, reference: TorchEngine, inputs: Sequence[Arrays]
) -> onnx.ModelProto:
    """Trace the network of a torch engine, with the inputs and outputs of its inference."""
    graph = graph_of(task, reference.network)
    # a size of 1 would not stay free
    example = max(inputs, key=lambda one: len(next(iter(one.values()))))
    values = tuple(torch.from_numpy(example[name]) for name in graph.inputs)
    return traced(graph, values, graph.inputs, graph.outputs, graph.free or None)


def write_network(
    folder: Path, to: ExportedFor, model: onnx.ModelProto, precision: Precision = "fp32"
) -> Engine:
    """Write a network for an engine, and open it."""
    path = folder / MODEL_FILE[to]
    if to == "onnx":
        onnx.save(model, path)
        return OnnxEngine(path, precision=precision)
    openvino = openvino_package()
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "model.onnx"
        onnx.save(model, source)
        converted = openvino.convert_model(source)
        openvino.save_model(converted, path, compress_to_fp16=False)
        del converted
    return OpenVinoEngine(path, precision=precision)


def _require_close(out: Path, found: Deviation, precision: Precision) -> None:
    exact = precision == "fp32"
    most = (MOST_PROBABILITY, MOST_POINT) if exact else (1.0, float("inf"))
    if found.probability <= most[0] and found.point < most[1] * (1 + 1e-9):
        return
    raise BadModel(
        f"{out}: the exported network differs from torch: probabilities by "
        f"{found.probability:.2g}, points by {found.point:.2g} px (accepted: {most[0]:g} and "
        f"{most[1]:g} px); not written"
    )


def _compared(task: AnyTask, inputs: Sequence[Arrays], studies: int) -> str:
    what = f"series of a phantom with {', '.join(map(str, SLICE_COUNTS))} slices"
    if task.needs_guides:
        what = f"{len(inputs)} sets of crops of a phantom, whole and in part"
    return f"{what}; log loss on {studies} phantom{'s' if studies > 1 else ''}"
