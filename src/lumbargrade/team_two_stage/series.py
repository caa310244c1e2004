"""A study as the two-stage networks read it, and the way back to our voxels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.header import Header
from lumbargrade.dicom.opening import read_head
from lumbargrade.dicom.pixels import read_pixels, release
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import Xyz
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.team_two_stage.volumes import (
    LARGE_SIDE,
    SIDE,
    Slices,
    centre,
    published_volume,
    spatial_order,
)

log = logging.getLogger(__name__)

#: The largest spacing of slices that is believed, mm: the level network reads a slice per 3 mm.
_WIDEST = 30.0


@dataclass(frozen=True)
class PublishedSeries:
    """A series in the published form.

    Attributes:
        volume: the same series in ours.
        order: index in ``volume`` of each slice.
        slices: uint8 (D, SIDE, SIDE).
        large: axial only: centre of the volume of `LARGE_SIDE`, (D, SIDE, SIDE); None if not read.
        spacing: SpacingBetweenSlices of the first slice, mm; None if absent.
    """

    volume: Volume
    order: tuple[int, ...]
    slices: Slices
    large: Slices | None
    spacing: float | None

    @property
    def depth(self) -> int:
        return len(self.slices)

    @property
    def head(self) -> float:
        """How far towards the head its first slice is, mm."""
        return self.volume.slices[self.order[0]].plane.position[2]

    def voxel(self, point: NDArray[np.floating]) -> Xyz:
        """Return the voxel in ``volume`` of (x, y) pixels of the 512 frame and a slice index."""
        index = self.order[int(np.clip(np.round(point[2]), 0, self.depth - 1))]
        height, width = self.volume.slices[index].shape
        x, y = (np.asarray(point[:2], float) + 0.5) * (width / SIDE, height / SIDE) - 0.5
        return triple((float(x), float(y), float(index)))


@dataclass(frozen=True)
class Case:
    """A study in the published form.

    Attributes:
        study_id: the study.
        t1, t2: the sagittal series that are read: the first of each kind; None if there is none.
        axial: all axial series, in the order in which they are given.
        problems: what was unusual in reading.
    """

    study_id: str
    t1: PublishedSeries | None
    t2: PublishedSeries | None
    axial: tuple[PublishedSeries, ...]
    problems: tuple[Problem, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the networks see."""
        found = sha256()
        for series in (self.t1, self.t2, *self.axial):
            found.update(b"|" if series is None else f"|{series.spacing}".encode())
            if series is not None:
                found.update(series.slices.data)
        return found.hexdigest()


def read_case(study_id: str, volumes: Sequence[Volume], *, large: bool) -> Case:
    """Read a study's stored values again, from the files of its volumes.

    A volume whose files are not there, such as one of a study at a URL, is made from its 8-bit
    pixels instead, and a note says so.

    Args:
        study_id: the study.
        volumes: its series; of each sagittal kind the first is read, as published.
        large: also make the larger axial volume, which only the axial networks need.
    """
    of = {kind: [v for v in volumes if v.kind is kind] for kind in SeriesKind}
    problems: list[Problem] = []

    def first(kind: SeriesKind) -> PublishedSeries | None:
        return read_series(of[kind][0], problems) if of[kind] else None

    t1, t2 = first(SeriesKind.SAGITTAL_T1), first(SeriesKind.SAGITTAL_T2)
    axial = [read_series(v, problems, large=large) for v in of[SeriesKind.AXIAL_T2]]
    return Case(study_id, t1, t2, tuple(axial), tuple(problems))


def read_series(volume: Volume, problems: list[Problem], *, large: bool = False) -> PublishedSeries:
    """Read a series in the published form; notes on it are added to ``problems``."""
    sagittal = volume.kind is None or volume.kind.sagittal
    # ties stay in the order of the files' numbers
    numbers = np.argsort([s.instance_number for s in volume.slices], kind="stable")
    positions = [volume.slices[i].plane.position for i in numbers]
    order = tuple(numbers[spatial_order(positions, sagittal=sagittal)].tolist())
    images, spacing = _images(volume, order, problems)
    slices = published_volume(images)
    wide = centre(published_volume(images, LARGE_SIDE), SIDE) if large else None
    return PublishedSeries(volume, order, slices, wide, spacing)


def _images(
    volume: Volume, order: Sequence[int], problems: list[Problem]
) -> tuple[list[NDArray[Any]], float | None]:
    """Stored values of the slices in this order, and SpacingBetweenSlices of the first."""
    try:
        headers = _headers(volume, order)
        images = [read_pixels(header)[0] for header in headers]
        release(headers)
        return images, _spacing(headers[0].path)
    except (BadDicom, OSError) as error:
        # not in the note: a copy's path differs from run to run
        log.debug("series %s: %s", volume.series_id, error)
        what = (
            "the two-stage networks read its 8-bit pixels, because its files cannot be read again"
        )
        problems.append(Problem(what, volume.study_id, volume.series_id, fatal=False))
    shapes = (volume.slices[i].shape for i in order)
    return [volume.pixels[i, :h, :w] for i, (h, w) in zip(order, shapes, strict=True)], None


def _headers(volume: Volume, order: Sequence[int]) -> list[SliceHeader]:
    """The headers of the slices, read again.

    Raises:
        BadDicom: if the files are unknown, or are not those that the volume was read from.
    """
    if not volume.files:
        raise BadDicom(f"series {volume.series_id}: its files are not known")
    files: dict[Path, list[SliceHeader]] = {}
    found = []
    for index in order:
        path, wanted = volume.files[index], volume.slices[index]
        if path not in files:
            files[path] = read_headers(path)[0]
        same = [
            h
            for h in files[path]
            if h.shape == wanted.shape and h.frame in (0, wanted.instance_number)
        ]
        if not same:
            raise BadDicom(f"{path}: changed while the study was graded")
        found.append(same[0])
    return found


def _spacing(path: Path) -> float | None:
    """SpacingBetweenSlices, mm; None if it is absent or cannot be that of a lumbar series."""
    head = read_head(path)
    try:
        value = None if head is None else Header(path, head).number("SpacingBetweenSlices")
    except BadDicom:
        return None
    return value if value is not None and 0 < value <= _WIDEST else None
