"""Find and load models, and predict studies with them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import EngineUse, ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.volume import Volume
from lumbargrade.files.extras import needs_extra
from lumbargrade.files.folders import walk
from lumbargrade.inference.base import Engine, Inference
from lumbargrade.inference.engines import ENGINE_NAMES, is_installed, open_exported
from lumbargrade.inference.model_folder import (
    EXPORTS,
    KEPT_FOLDER,
    MODEL_META,
    ExportedFor,
    ModelMeta,
    read_meta,
    weights_digest,
)
from lumbargrade.inference.registry import get_inference

log = logging.getLogger(__name__)

#: What runs models: a named engine, or the best that a model is made for.
EngineChoice = Literal["auto", "torch", "onnx", "openvino"]


@dataclass(frozen=True)
class Member:
    """One loaded model.

    Attributes:
        path: the model's folder.
        meta: recipe, fold, scores and provenance.
        inference: makes inputs and decodes outputs.
        engine: runs the network.
        flip: if False, the model is never averaged with flips.
    """

    path: Path
    meta: ModelMeta
    inference: Inference
    engine: Engine
    flip: bool = True

    @property
    def flips(self) -> bool:
        """Whether predictions may be averaged with the mirrored volume: see `Inference.flips`."""
        return self.flip and self.inference.flips

    @property
    def source(self) -> ModelSource:
        return self.meta.source

    @property
    def use(self) -> EngineUse:
        """What runs the model, and how far it is from torch."""
        export = self.meta.export
        if export is None:
            return EngineUse(self.source, self.engine.name)
        return EngineUse(
            self.source,
            self.engine.name,
            export.precision,
            export.probability_deviation,
            export.point_deviation,
        )

    def predict(
        self,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict a study: see `Inference.predict`."""
        both = flip and self.flips
        return self.inference.predict(self.engine, study_id, volumes, guide_points, flip=both)


def find_models(paths: Iterable[Path | str]) -> list[Path]:
    """Find the model folders at or below the paths, without duplicates.

    Kept epochs of a run (``train.keep``) are included only if a path is the folder of one, or the
    folder of all of them. Exports in the folder of their model are part of that model. Links to
    folders are followed.

    Raises:
        UsageError: if a path does not exist or holds no model.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        models = sorted(_below(path))
        here = [m for m in models if KEPT_FOLDER not in m.relative_to(path).parts]
        if models and not here:
            raise UsageError(
                f"{path} holds no model except kept epochs; to use one, give its folder, for "
                f"example {models[0]}"
            )
        if not here:
            raise UsageError(
                f"{path} holds no model; give a folder that has {MODEL_META} in it or below it"
            )
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _below(path: Path) -> Iterator[Path]:
    """Yield model folders at or below a path."""
    for folder, inside, files in walk(path) if path.is_dir() else ():
        if MODEL_META in files:
            inside[:] = [name for name in inside if name not in EXPORTS]
            yield folder


def load_member(
    path: Path, device: str = "auto", *, engine: EngineChoice = "auto", flip: bool = True
) -> Member:
    """Load a model folder.

    Args:
        path: a model for torch, or an exported model.
        device: device of torch: auto, cpu, cuda or cuda:N. Exported models run on the CPU.
        engine: what runs the model. ``auto``: an exported model runs on the engine that it was
            exported for; a model for torch runs on an export in its folder if there is one in fp32
            and no CUDA device is asked for, otherwise on torch.
        flip: if False, the model is never averaged with the mirrored volume.

    Raises:
        BadModel: if the model is damaged.
        UsageError: if the model cannot run on the engine, or the engine is not installed.
    """
    meta = read_meta(path)
    if meta.export is None and engine != "torch":
        wanted = EXPORTS if engine == "auto" else (engine,)
        if not device.startswith("cuda") and (beside := _export_beside(path, wanted, engine)):
            folder, meta = beside
            return _exported(path, folder, meta, flip=flip)
    elif meta.export is not None:
        if engine not in ("auto", meta.export.engine):
            raise UsageError(
                f"{path}: exported for {ENGINE_NAMES[meta.export.engine]}, so it cannot run with "
                f"--engine {engine}; omit the option, or give a model for it"
            )
        return _exported(path, path, meta, flip=flip)
    if engine not in ("auto", "torch"):
        raise UsageError(
            f"{path}: --engine {engine} needs a model that was exported for it, on the CPU; run "
            f"`lumbargrade export {path} --to {engine}` first"
        )
    with needs_extra(f"{path}: a model that was not exported"):
        from lumbargrade.models.checkpoint import load_model
        from lumbargrade.models.device import choose_device
        from lumbargrade.models.registry import get_task
        from lumbargrade.models.torch_engine import TorchEngine

        task = get_task(meta.recipe)
        network = load_model(path).to(choose_device(device)).eval()
        return Member(path, meta, task.inference, TorchEngine(task, network), flip)


def _exported(path: Path, folder: Path, meta: ModelMeta, *, flip: bool) -> Member:
    inference = get_inference(meta.recipe)
    return Member(path, meta, inference, open_exported(folder, meta), flip)


def _export_beside(
    path: Path, wanted: Sequence[ExportedFor], engine: EngineChoice
) -> tuple[Path, ModelMeta] | None:
    """Return an export in the folder of its model; None if there is none that can be used."""
    for name in wanted:
        folder = path / name
        if not (folder / MODEL_META).is_file() or (engine == "auto" and not is_installed(name)):
            continue
        meta = read_meta(folder)
        if meta.export is None or meta.export.engine != name:
            continue
        if meta.export.source != weights_digest(path):
            log.warning(
                "%s was exported from other weights than those of %s, so it is not used; run "
                "`lumbargrade export %s --to %s` again", folder, path, path, name,
            )  # fmt: skip
        elif engine != "auto" or meta.export.precision == "fp32":
            return folder, meta
    return None
