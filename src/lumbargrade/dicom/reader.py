"""A series folder to one volume, as the published system made it, with geometry for every slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.slices import SliceHeader, read_header, read_pixels
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice

Pixels = NDArray[np.generic]


@dataclass(frozen=True)
class SeriesResult:
    """A series that was read.

    Attributes:
        volume: all usable slices.
        problems: every file that could not be used, and what is odd about the rest.
    """

    volume: Volume
    problems: tuple[Problem, ...]


def read_series(
    folder: Path | str,
    *,
    series_id: str | None = None,
    study_id: str | None = None,
    kind: SeriesKind | None = None,
) -> SeriesResult:
    """Read every DICOM file of a folder as one series.

    Raises:
        BadDicom: if there is no usable slice.
    """
    folder = Path(folder)
    series_id = series_id or folder.name
    study_id = study_id or folder.parent.name
    if not folder.is_dir():
        raise BadDicom(f"{folder}: no such series folder")
    headers, problems = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        try:
            headers.append(read_header(path))
        except BadDicom as error:
            problems.append(_problem(study_id, series_id, path, str(error)))
    return build_series(headers, problems, study_id, series_id, kind, folder)


def _problem(study_id: str, series_id: str, path: Path, what: str) -> Problem:
    text = what.removeprefix(f"{path}: ")
    return Problem(text, study=study_id, series=series_id, file=str(path))


def build_series(
    headers: Sequence[SliceHeader],
    problems: Sequence[Problem],
    study_id: str,
    series_id: str,
    kind: SeriesKind | None,
    origin: Path,
) -> SeriesResult:
    """Decode, group, order and scale slices to one volume.

    Raises:
        BadDicom: if no slice can be used.
    """
    noted = list(problems)
    pairs: list[tuple[SliceHeader, Pixels]] = []
    for header in sorted(headers, key=lambda h: h.instance_number):
        try:
            pairs.append((header, read_pixels(header)))
        except BadDicom as error:
            noted.append(_problem(study_id, series_id, header.path, str(error)))
    if not pairs:
        reasons = "; ".join(str(p) for p in noted[:3]) or "it has no files"
        raise BadDicom(f"{origin}: no usable slice ({reasons})")
    groups: dict[tuple[float, ...], list[tuple[SliceHeader, Pixels]]] = defaultdict(list)
    for header, pixels in pairs:
        orientation = (*header.plane.row, *header.plane.column)
        groups[tuple(np.round(orientation, 3) + 0.0)].append((header, pixels))
    stacks = [sorted(g, key=lambda pair: pair[0].plane.projection) for g in groups.values()]
    normal = stacks[0][0][0].plane.normal
    axis = 0 if np.argmax(np.abs(normal)) == 0 else 2
    stacks.sort(key=lambda stack: stack[0][0].plane.position[axis])
    height = max(h.shape[0] for h, _ in pairs)
    width = max(h.shape[1] for h, _ in pairs)
    arrays, slices = [], []
    for group, stack in enumerate(stacks):
        scaled = to_uint8([p for _, p in stack])
        arrays += [_padded(p, height, width) for p in scaled]
        slices += [
            VolumeSlice(h.instance_number, h.plane, group, h.shape, h.path.name, h.sop_uid)
            for h, _ in stack
        ]
    volume = Volume(
        np.stack(arrays),
        tuple(slices),
        study_id,
        series_id,
        kind,
        pairs[0][0].frame_of_reference,
    )
    return SeriesResult(volume, tuple(noted))


def to_uint8(stack: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
    """Clip a stack to its 0.1 and 99.9 percentiles and scale to 0..255, truncating."""
    values = np.concatenate([p.ravel() for p in stack])
    low, high = np.percentile(values, (0.1, 99.9))
    span = high - low
    if span <= 0:
        return [np.zeros(p.shape, np.uint8) for p in stack]
    return [((np.clip(p, low, high) - low) / span * 255).astype(np.uint8) for p in stack]


def _padded(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    bottom, right = height - image.shape[0], width - image.shape[1]
    if not bottom and not right:
        return image
    padding = ((0, int(bottom)), (0, int(right)))
    if bottom < image.shape[0] and right < image.shape[1]:
        return np.pad(image, padding, mode="reflect")
    return np.pad(image, padding, mode="symmetric")
