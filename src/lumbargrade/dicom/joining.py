"""Series of one image each that are one series: exports that give every image a series UID."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from lumbargrade.dicom.orientation import orientation_of
from lumbargrade.dicom.places import parallel, partition, projections
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.dicom.stacks import single_place

#: Fewest slices that can be told to be a stack by their gaps, and by how much these may differ.
_STACK, _EVEN = 4, 0.1

Headers = list[SliceHeader]


def join_single_images(parts: Iterable[Sequence[SliceHeader]]) -> list[Headers]:
    """The series that are made of several series of one place each.

    They must agree in study, description, anatomical plane, matrix, spacing, echo, repetition and
    inversion time, sequence and kind of image, and in frame of reference unless each has its own.
    That is not enough, since scouts agree in all this too: their series numbers or instance
    numbers must be those of one series, or the images a regular stack.

    Args:
        parts: the images of every series, none of them empty.
    """
    single = {p[0]: p for p in parts if len(p) == 1 or single_place(p)}
    return [
        [h for first in own for h in single[first]]
        for alike in partition(single, _looks)
        for frame in _divided(alike, [h.frame_of_reference for h in alike])
        for own in _divided(frame, [h.series_number for h in frame])
        if _is_series(own)
    ]


def _looks(header: SliceHeader) -> Hashable:
    about = header.about
    return (
        (header.study_uid, header.description, about.description, about.modality),
        (orientation_of(header.plane.normal), header.shape, *np.round(header.plane.spacing, 4)),
        (about.echo_time, about.repetition_time, about.inversion_time),
        (about.sequence, about.image_type),
    )


def _divided(headers: Headers, values: Iterable[str]) -> list[Headers]:
    """Headers by a value of a series; together where each has its own, which tells nothing."""
    of = dict(zip(headers, values, strict=True))
    parts = partition(headers, of.__getitem__)
    return [headers] if len(parts) == len(headers) else parts


def _is_series(images: Headers) -> bool:
    if len(images) < 2:
        return False
    series, numbers = {h.series_number for h in images}, {h.instance_number for h in images}
    if (len(series) == 1 and "" not in series) or len(numbers) == len(images):
        return True
    stack = max(parallel(images), key=len)
    gaps = np.diff(np.sort(projections(stack)))
    return len(stack) >= _STACK and bool(np.ptp(gaps) <= _EVEN * gaps.mean())
