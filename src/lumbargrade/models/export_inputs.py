"""Real-shaped inputs of networks, to compare engines on and to calibrate int8 with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count as counter
from itertools import islice
from pathlib import Path

import numpy as np

from lumbargrade.dicom.study import read_study
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Grade, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.inference.base import Arrays, Inference
from lumbargrade.inference.crops import CropInference, LevelInference, RecessInference, level_inputs
from lumbargrade.inference.series import SeriesInference
from lumbargrade.phantom.dataset import make_study
from lumbargrade.phantom.study import plan_study
from lumbargrade.sampling.study import cut_study

#: Seed of the phantoms; their numbers count from 0.
SEED = 2024

#: Slice counts of the compared series: one slice, usual series, and a thin-sliced one.
SLICE_COUNTS = (1, 15, 22)


@dataclass(frozen=True, eq=False)
class MarkedStudy:
    """Volumes of a study, points to cut crops around, and its grades if they are known."""

    volumes: tuple[Volume, ...]
    points: tuple[Point, ...] = ()
    grades: Mapping[Target, Grade] = field(default_factory=dict)


def phantom_study(number: int) -> MarkedStudy:
    """Return phantom ``number`` as it is read from DICOM files, with its true points."""
    with tempfile.TemporaryDirectory() as folder:
        plan, _ = make_study((SEED, number, Path(folder), "explicit", "usual"))
        kinds = {s.series_id: s.kind for s in plan.series}
        study = read_study(Path(folder) / plan.study_id, kinds=kinds)
    points = tuple(
        Point(p.target, p.series_id, p.instance_number, p.voxel, triple(place))
        for p in plan.points
        for place in [plan.anatomy.landmark(p.target)]
    )
    return MarkedStudy(study.volumes, points, plan.grades)


def phantoms_of(inference: Inference, count: int, skip: int = 0) -> Iterator[MarkedStudy]:
    """Yield phantoms that have every kind of series that a network sees, after the first ones."""
    wanted = set(inference.kinds)
    fit = (n for n in counter() if wanted <= {s.kind for s in plan_study(SEED, n).series})
    for number in islice(fit, skip, skip + count):
        yield phantom_study(number)


def inputs_of(inference: Inference, study: MarkedStudy) -> Iterator[Arrays]:
    """Yield what a network sees of a study."""
    if isinstance(inference, SeriesInference):
        for volume in study.volumes:
            if volume.kind is inference.kind:
                yield {"slices": inference.sample(volume).image}
        return
    assert isinstance(inference, CropInference)
    crops = cut_study(study.volumes, study.points, inference.recipe.crop, kinds=inference.views)
    if isinstance(inference, LevelInference):
        yield level_inputs(crops)
    elif isinstance(inference, RecessInference) and crops.covered[SeriesKind.AXIAL_T2].any():
        yield inference.inputs(crops)


def compared_inputs(inference: Inference, study: MarkedStudy) -> list[Arrays]:
    """Return real-shaped inputs on which an exported network is compared with torch.

    Series have `SLICE_COUNTS` slices. Studies of crops are whole, without each view, and without
    some crops and slices.
    """
    whole = next(inputs_of(inference, study))
    if isinstance(inference, SeriesInference):
        return [{"slices": _of_depth(whole["slices"], n)} for n in SLICE_COUNTS]
    if isinstance(inference, RecessInference):
        some = {name: values[:3].copy() for name, values in whole.items()}
        some["valid"][:, -1] = False
        some["slices"][:, -1] = 0
        return [whole, some, {name: values[:1] for name, values in whole.items()}]
    return [whole, *(_without(whole, kind) for kind in SeriesKind), _with_gaps(whole)]


def _of_depth(slices: np.ndarray, depth: int) -> np.ndarray:
    """Return ``depth`` slices from the middle of a series, which is repeated if it has fewer."""
    wanted = np.arange(depth) + len(slices) // 2 - depth // 2
    return np.ascontiguousarray(slices[np.abs(wanted) % len(slices)])


def _without(inputs: Arrays, kind: SeriesKind) -> Arrays:
    name = kind.name.lower()
    return {k: np.zeros_like(v) if k.startswith(name) else v for k, v in inputs.items()}


def _with_gaps(inputs: Arrays) -> Arrays:
    """Return the inputs without the crops of one level and the last slices of another."""
    found = {name: values.copy() for name, values in inputs.items()}
    for kind in SeriesKind:
        image, mask = kind.name.lower(), f"{kind.name.lower()}_valid"
        found[mask][:, [0, 5]] = False
        found[mask][:, 1, -1] = False
        found[mask][:, 6, 0] = False  # on T2 this is the same slice in the opposite order
        found[image][~found[mask]] = 0
    return found
