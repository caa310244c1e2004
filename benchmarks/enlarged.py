"""A study with more slices or larger images, and the starter's work on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from lumbargrade.dicom.study import read_study
from lumbargrade.domain.geometry import SlicePlane, triple
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.starter.model import open_starter


def with_slices(volume: Volume, count: int) -> Volume:
    """A volume of so many slices at the same places of the patient: the nearest ones, repeated."""
    places = np.linspace(0, len(volume.slices) - 1, count)
    near = np.rint(places).astype(int)
    slices = tuple(
        replace(volume.slices[z], instance_number=i + 1, plane=_between(volume, place))
        for i, (z, place) in enumerate(zip(near, places, strict=True))
    )
    return replace(volume, pixels=volume.pixels[near], slices=slices)


def _between(volume: Volume, place: float) -> SlicePlane:
    low = min(int(place), len(volume.slices) - 2)
    first, second = (np.array(volume.slices[z].plane.position) for z in (low, low + 1))
    position = first + (place - low) * (second - first)
    return replace(volume.slices[low].plane, position=triple(position))


def with_size(volume: Volume, size: int) -> Volume:
    """A volume whose longer side has so many pixels; the field of view stays the same."""
    height, width = volume.pixels.shape[1:]
    by = size / max(height, width)
    shape = round(height * by), round(width * by)
    pixels = np.stack([cv2.resize(image, shape[::-1]) for image in volume.pixels])
    slices = tuple(_scaled(one, shape) for one in volume.slices)
    return replace(volume, pixels=pixels, slices=slices)


def _scaled(one: VolumeSlice, shape: tuple[int, int]) -> VolumeSlice:
    rows, columns = (old / new for new, old in zip(shape, one.shape, strict=True))
    dy, dx = one.plane.spacing
    return replace(one, plane=replace(one.plane, spacing=(dy * rows, dx * columns)), shape=shape)


def prepared(study: str, slices: str, size: str) -> Callable[[], object]:
    """Grading a study with the starter, from volumes to findings.

    Args:
        study: folder of a DICOM study.
        slices: slices of every sagittal series, 0: as they are.
        size: pixels of the longer side of every image, 0: as they are.
    """
    read = read_study(Path(study))
    volumes = [with_size(v, int(size)) if int(size) else v for v in read.volumes]
    if int(slices):
        volumes = [
            with_slices(v, int(slices)) if v.kind and v.kind.sagittal else v for v in volumes
        ]
    starter = open_starter()

    def work() -> None:
        found = starter.predict(read.study_id, volumes)
        assert found.findings, found.absent

    return work
