"""Write a model in a form that needs no torch, or that other programs read.

`--to onnx` and `--to openvino` write a model folder that `grade` and `submit` use without torch,
with ONNX Runtime or OpenVINO. Every model can be exported; series may have any number of slices.
The exported network is compared with torch on real-shaped inputs, and refused if a probability
differs by more than 0.001 or a point by more than 0.1 pixels. The largest differences are stored in
the folder and in all results. With another --precision than fp32, they are only measured, together
with the log loss on phantoms. Without --out the folder lies in that of the model, where `grade` and
`submit` find it; they use another precision than fp32 only if --engine names it or the folder
itself is given.

`--to pth` writes a checkpoint with the parameter names of the published system, for its code or
for `lumbargrade import-weights`. This works only for one-stage foraminal and canal models with the
structure of a published network. The file holds weights but no settings: settings that change how
the network's output is read are logged if they differ from the published ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade export`."""

    model: tyro.conf.Positional[Path]
    """folder of the model to export"""
    out: Path | None = None
    """folder to write, or file with --to pth; by default the folder MODEL/onnx or MODEL/openvino"""
    to: Literal["pth", "onnx", "openvino"] = "pth"
    """onnx, openvino: a model folder for that engine; pth: a checkpoint as the published system's
    code saves it"""
    precision: Literal["fp32", "bf16", "int8_weights", "int8_calibrated"] = "fp32"
    """fp32 must agree with torch. The others are faster or smaller and differ from it; how far is
    measured, stored, and shown with every result. bf16: arithmetic in 16 bits on processors that
    have it (openvino); int8_weights: weights are stored in 8 bits; int8_calibrated: weights and
    arithmetic in 8 bits"""
    calibrate: list[Path] = field(default_factory=list)
    """folders of studies to calibrate int8_calibrated on; by default these are phantoms"""


def run(options: Options) -> int:
    if options.to == "pth":
        return _to_pth(options)
    from lumbargrade.models.export import export_model

    meta = export_model(
        options.model,
        options.to,
        options.out,
        precision=options.precision,
        calibrate=options.calibrate,
    )
    export = meta.export
    assert export is not None
    log.info(
        "%s: %s, fold %d, %s; probabilities within %.2g and points within %.2g px of torch (%s)",
        options.out or options.model / options.to,
        meta.recipe.name,
        meta.fold,
        export.precision,
        export.probability_deviation,
        export.point_deviation,
        export.compared,
    )
    if None not in export.log_loss:
        log.info("weighted log loss on phantoms: torch %.4f, exported %.4f", *export.log_loss)
    return 0


def _to_pth(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.inference.model_folder import read_meta
    from lumbargrade.models.published import export_published, unsaved_settings

    if options.out is None:
        raise UsageError("--to pth needs --out, the file to write")
    published = export_published(options.model, options.out)
    meta = read_meta(options.model)
    log.info("%s: weights of %s, fold %d", options.out, meta.recipe.name, meta.fold)
    log.info("to read it, use import-weights --recipe %s --fold %d", published.name, meta.fold)
    for setting in unsaved_settings(meta.recipe, published):
        log.warning(
            "this setting is not stored in the file and differs from that of %s: %s",
            published.name,
            setting,
        )
    return 0
