"""Grade a study from crops of all its views around the levels that were found.

The network is a second stage (`lumbargrade.inference.crops.LevelInference`) that was exported to
ONNX without heatmaps. Its file says how large its crops are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lumbargrade.config import CropConfig, Recipe
from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.volume import Volume
from lumbargrade.files.structures import parse_plain, structured
from lumbargrade.inference.crops import LevelInference
from lumbargrade.inference.engines import OnnxEngine

#: Key of the file's metadata with the size of the crops (`CropConfig` as JSON).
CROPS_KEY = "lumbargrade-crops"


def crop_config(engine: OnnxEngine) -> CropConfig:
    """Return the size of the crops that a network was trained on.

    Raises:
        BadModel: if the file does not say it.
    """
    origin = f"metadata {CROPS_KEY} of the grading network"
    text = engine.metadata.get(CROPS_KEY, "")
    content: dict[str, Any] = parse_plain(text, origin, BadModel, json_text=True)
    return structured(content, CropConfig, origin, "crops", BadModel)


def grade_levels(
    engine: OnnxEngine, study_id: str, volumes: Sequence[Volume], points: Sequence[Point]
) -> StudyPrediction:
    """Grade all targets of which a view shows the level; each target is graded or absent.

    Args:
        engine: the network.
        study_id: the study.
        volumes: its series, each with its kind.
        points: canal points and foramina that were found, with patient coordinates.

    Raises:
        BadModel: if the network's file does not say how large its crops are.
    """
    recipe = Recipe("the grading network", "two_stage", crop=crop_config(engine))
    (found,) = LevelInference(recipe).predict(engine, study_id, volumes, points)
    return found
