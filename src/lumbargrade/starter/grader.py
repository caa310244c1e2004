"""Grade a study from crops of all its views around the levels that were found.

The network is the second stage of `lumbargrade.models.two_stage`, exported to ONNX. Its inputs are,
for every kind of series, ten crops (left L1/L2 to L5/S1, then right) and which of their slices are
valid; its outputs are probabilities. A view that is absent has no weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import CropConfig
from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import not_finite
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.files.structures import parse_plain, structured
from lumbargrade.files.timing import stage
from lumbargrade.sampling.study import StudyCrops, cut_study

#: Key of the file's metadata with the size of the crops (`CropConfig` as JSON).
CROPS_KEY = "lumbargrade-crops"

#: Outputs of the network: probabilities (1, 5, 3), (1, 10, 3) and (1, 10, 3).
OUTPUTS = tuple(condition.name.lower() for condition in Condition)


class Session(Protocol):
    """What is needed of a session of ONNX Runtime."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """Return the outputs of these names."""

    def get_modelmeta(self) -> Any:
        """Return an object whose ``custom_metadata_map`` is the file's metadata."""


@dataclass(frozen=True, eq=False)
class Grades:
    """The grades of a study; each of the 25 targets is in ``probabilities`` or in ``absent``.

    Attributes:
        probabilities: of normal/mild, moderate and severe.
        seen_in: the views with a crop of the target.
        absent: why a target is not graded, see `lumbargrade.domain.reasons`.
    """

    probabilities: Mapping[Target, Probabilities]
    seen_in: Mapping[Target, tuple[SeriesKind, ...]]
    absent: Mapping[Target, str]


def input_names() -> tuple[str, ...]:
    """Return the names of the inputs.

    First come the crops of each kind of series, uint8 (1, 10, D, S, S), then their valid slices,
    bool (1, 10, D).
    """
    kinds = [kind.name.lower() for kind in SeriesKind]
    return (*kinds, *(f"{kind}_valid" for kind in kinds))


def crop_config(session: Session) -> CropConfig:
    """Return the size of the crops that a network was trained on.

    Raises:
        BadModel: if the file does not say it.
    """
    text = session.get_modelmeta().custom_metadata_map.get(CROPS_KEY, "")
    origin = f"metadata {CROPS_KEY} of the grading network"
    content: dict[str, Any] = parse_plain(text, origin, BadModel, json_text=True)
    return structured(content, CropConfig, origin, "crops", BadModel)


def inputs_of(crops: StudyCrops) -> dict[str, NDArray[Any]]:
    """Return the inputs of the network for the crops of a study."""
    values: list[NDArray[Any]] = [crops.images(k)[None] for k in SeriesKind]
    values += [crops.valid(k)[None] for k in SeriesKind]
    return dict(zip(input_names(), values, strict=True))


def grade_levels(session: Session, volumes: Sequence[Volume], points: Sequence[Point]) -> Grades:
    """Grade all targets of which a view shows the level.

    Args:
        session: the network.
        volumes: the study's series, each with its kind.
        points: canal points and foramina that were found, with patient coordinates.

    Raises:
        BadModel: if the network's file does not say how large its crops are.
    """
    with stage("cut the crops"):
        crops = cut_study(volumes, points, crop_config(session))
    there = {v.kind for v in volumes}
    with stage("network grader"):
        outputs = session.run(OUTPUTS, inputs_of(crops))
    probabilities: dict[Target, Probabilities] = {}
    seen_in: dict[Target, tuple[SeriesKind, ...]] = {}
    absent: dict[Target, str] = {}
    for condition, rows in zip(Condition, outputs, strict=True):
        for target, row in zip(TARGETS[condition], np.asarray(rows[0], float), strict=True):
            views = tuple(crops.seen_in(target))
            if not views:
                absent[target] = crops.why_unseen(target, there)
            elif not np.isfinite(row).all():
                absent[target] = not_finite("the grading network")
            else:
                mild, moderate, severe = (row / row.sum()).tolist()
                probabilities[target] = (mild, moderate, severe)
                seen_in[target] = views
    return Grades(probabilities, seen_in, absent)
