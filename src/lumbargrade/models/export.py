"""Export models for engines that need no torch, and verify each export against torch."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch

from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.writing import sha256_of, write_text
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
    meta_to_dict,
    read_meta,
    weights_digest,
)
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.export_inputs import (
    SLICE_COUNTS,
    compared_inputs,
    phantoms_of,
)
from lumbargrade.models.graphs import Graph, graph_of
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.models.tracing import traced
from lumbargrade.models.verification import Deviation, deviation

log = logging.getLogger(__name__)

#: Largest accepted difference of a probability from torch's in single precision.
MOST_PROBABILITY = 1e-3

#: Largest accepted distance of a point from torch's in single precision, pixels of the input.
MOST_POINT = 0.1


def export_model(path: Path, to: ExportedFor, out: Path | None = None) -> ModelMeta:
    """Export a model and verify it on real-shaped inputs.

    Args:
        path: the model's folder.
        to: the engine to export for.
        out: folder to write; None: a folder named after the engine in the model's folder. An
            earlier export there is replaced if the new one is verified.

    Returns:
        The metadata of the exported model.

    Raises:
        BadModel: if the model is damaged, or the exported one differs from torch by more than
            `MOST_PROBABILITY` or `MOST_POINT`; nothing is written then.
        UsageError: if the model is an exported one, ``out`` holds something else, or the engine is
            not installed.
        OSError: if the folder cannot be written.
    """
    meta = read_meta(path)
    if meta.export is not None:
        raise UsageError(f"{path}: an exported model; give the model that it was made from")
    out = out or path / to
    _require_replaceable(out)
    task = get_task(meta.recipe)
    reference = TorchEngine(task, load_model(path).network)
    inputs = compared_inputs(task.inference, next(phantoms_of(task.inference, 1)))
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        engine = write_network(folder, to, traced_network(task, reference, inputs))
        found = deviation(task.inference, reference, engine, inputs)
        _require_close(out, found)
        export = Export(
            engine=to,
            precision="fp32",
            files={file.name: sha256_of(file) for file in sorted(folder.iterdir())},
            source=weights_digest(path),
            probability_deviation=found.probability,
            point_deviation=found.point,
            compared=_compared(task, inputs),
            versions={
                "onnx": onnx.__version__,
                "torch": torch.__version__,
                engine.name.rpartition(" ")[0]: engine.name.rpartition(" ")[2],
            },
        )
        exported = replace(meta, export=export)
        write_text(folder / MODEL_META, json.dumps(meta_to_dict(exported), indent=1) + "\n")
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return exported


def _require_replaceable(out: Path) -> None:
    """Check that a folder is new, empty or an earlier export."""
    if out.is_file():
        raise UsageError(f"--out {out} is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if (out / MODEL_WEIGHTS).exists() or not (out / MODEL_META).is_file():
        raise UsageError(f"--out {out} holds something else; give a new folder")


def _replace(folder: Path, out: Path) -> None:
    """Move a complete export to its place; an earlier one is removed."""
    folder.chmod(0o755)
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        out.rename(old / out.name)
        try:
            folder.rename(out)
        except OSError:
            (old / out.name).rename(out)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(out)


def traced_network(
    task: AnyTask, reference: TorchEngine, inputs: Sequence[Arrays]
) -> onnx.ModelProto:
    """Trace the network of a torch engine, with the inputs and outputs of its inference."""
    graph: Graph = graph_of(task, reference.network)
    # a size of 1 would not stay free
    example = max(inputs, key=lambda one: len(next(iter(one.values()))))
    values = tuple(torch.from_numpy(example[name]) for name in graph.inputs)
    return traced(graph, values, graph.inputs, graph.outputs, graph.free or None)


def write_network(folder: Path, to: ExportedFor, model: onnx.ModelProto) -> Engine:
    """Write a network for an engine, and open it."""
    path = folder / MODEL_FILE[to]
    if to == "onnx":
        onnx.save(model, path)
        return OnnxEngine(path)
    openvino = openvino_package()
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "model.onnx"
        onnx.save(model, source)
        converted = openvino.convert_model(source)
        openvino.save_model(converted, path, compress_to_fp16=False)
        del converted
    return OpenVinoEngine(path)


def _require_close(out: Path, found: Deviation) -> None:
    if found.probability > MOST_PROBABILITY or found.point > MOST_POINT:
        raise BadModel(
            f"{out}: the exported network differs from torch: probabilities by "
            f"{found.probability:.2g} (accepted: {MOST_PROBABILITY:g}), points by "
            f"{found.point:.2g} px (accepted: {MOST_POINT:g}); not written"
        )


def _compared(task: AnyTask, inputs: Sequence[Arrays]) -> str:
    if task.needs_guides:
        return f"{len(inputs)} sets of crops of a phantom, whole and in part"
    return f"series of a phantom with {', '.join(map(str, SLICE_COUNTS))} slices"
