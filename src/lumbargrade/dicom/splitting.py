"""Series of an export to the volumes in them.

A series that holds several volumes is split; series of one image each are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lumbargrade.dicom.copies import split_repeats
from lumbargrade.dicom.places import Orientation, orientation_of, parallel, partition, projections
from lumbargrade.dicom.slice_order import single_place
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.dicom.strays import FEW, by_sequence, by_size, minor, off_the_stack

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


#: Fewest frames of reference in a series that are taken for those of its images.
_FRAMES = 3

Key = Callable[[SliceHeader], Hashable]


@dataclass(frozen=True)
class Part:
    """Images of a series that are one volume.

    Attributes:
        headers: in the order of their numbers.
        aside: for what reason they are no volume to grade; empty for those that may be.
        error: for what reason they are no volume at all.
    """

    headers: list[SliceHeader]
    aside: str = ""
    error: str = ""


def split_series(headers: Sequence[SliceHeader]) -> list[Part]:
    """The volumes of a series, each with every place once; copies must be gone already.

    Images are one volume only if they agree in series number, description, frame of reference,
    anatomical plane, kind of image, sequence, matrix and spacing. Of what agrees, further
    acquisitions of the same places are told apart, and scouts are set aside.
    """
    ordered = sorted(headers, key=lambda h: (h.instance_number, h.sop_uid, str(h.path), h.frame))
    ordered = _one_frame(ordered)
    if single_place(ordered):
        return [Part(ordered, error=f"{len(ordered)} images at one place are not a volume")]
    parts: list[Part] = []
    for own in _by_series(ordered):
        kinds = partition(own, _image_class)
        originals = max((len(k) for k in kinds if not _computed(k[0])), default=0)
        for kind in kinds:
            if _computed(kind[0]) and originals * 2 >= len(kind):
                words = "\\".join(kind[0].about.image_type)
                parts.append(Part(kind, f"computed from the others (ImageType {words})"))
            else:
                parts += _volumes(kind, own)
    first = {h: i for i, h in enumerate(ordered)}
    return sorted(parts, key=lambda p: (bool(p.aside or p.error), first[p.headers[0]]))


def _volumes(headers: list[SliceHeader], series: list[SliceHeader]) -> list[Part]:
    """The volumes among images of one kind; ``series`` are all images beside them."""
    parts: list[Part] = []
    planes = partition(headers, _patient_plane)
    for plane in planes:
        for sequence in by_sequence(plane):
            for size in by_size(sequence):
                rest = [h for h in series if h not in set(size)]
                if minor(size, rest):
                    what = _difference(size, rest)
                    parts.append(Part(size, f"scout: {len(size)} images of another {what}"))
                else:
                    parts += _acquisitions(size)
    return parts


def _difference(part: list[SliceHeader], rest: list[SliceHeader]) -> str:
    """In what a part differs from the other images of its series."""
    differences: dict[str, Key] = {
        "plane": _patient_plane,
        "kind": _image_class,
        "matrix": lambda h: h.shape,
        "pixel spacing": lambda h: h.plane.spacing,
    }
    for name, key in differences.items():
        if key(part[0]) not in {key(h) for h in rest}:
            return name
    return "sequence"


def _acquisitions(headers: list[SliceHeader]) -> list[Part]:
    if single_place(headers):
        return [Part(headers, error=f"{len(headers)} images at one place are not a volume")]
    runs = split_repeats(headers)
    if runs is None:
        what = "several images of the same places, with nothing to tell them apart"
        return [Part(headers, error=what)]
    parts: list[Part] = []
    main = max(runs, key=len)
    for run in runs:
        if run is not main and minor(run, main):
            what = f"repeats {len(run)} of {len(main)} slices"
            parts.append(Part(run, what))
        else:
            parts += _without_strays(run)
    return parts


def _without_strays(headers: list[SliceHeader]) -> list[Part]:
    groups = parallel(headers)
    main = max(groups, key=len)
    axial = orientation_of(main[0].plane.normal) is Orientation.AXIAL
    # the stacks of an axial series may be of few slices each
    tilted = [g for g in groups if g is not main and minor(g, main) and not axial]
    parts = [Part(g, f"scout: {len(g)} images at another angle") for g in tilted]
    # so may be parallel stacks of an axial series, each at its disc
    few = 1 if axial else FEW
    off = [h for g in groups if g not in tilted for h in off_the_stack(g, few)]
    if off:
        parts.append(Part(off, f"scout: {len(off)} images off the stack of the others"))
    gone = {h for p in parts for h in p.headers}
    return [Part([h for h in headers if h not in gone]), *parts]


def _one_frame(headers: list[SliceHeader]) -> list[SliceHeader]:
    """The images without their frames of reference, where every place has its own.

    An anonymiser has replaced UIDs one by one then, and they tell nothing.
    """
    parts = partition(headers, lambda h: h.frame_of_reference)
    if len(parts) < _FRAMES or not all(len(p) == 1 or single_place(p) for p in parts):
        return headers
    return [replace(h, frame_of_reference="") for h in headers]


def _patient_plane(header: SliceHeader) -> Hashable:
    return (header.frame_of_reference, orientation_of(header.plane.normal))


def _by_series(headers: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Images that belong to one series by number and description, whatever their UID.

    A value that is another for every image tells of the image, not of the series.
    """
    parts = [headers]
    keys: tuple[Key, ...] = (lambda h: h.series_number, lambda h: h.description)
    for key in keys:
        divided = [p for part in parts for p in partition(part, key)]
        if max(map(len, divided)) > 1:
            parts = divided
    return parts


#: Words of ImageType for what was computed from other images.
_COMPUTED = frozenset(
    {"SUBTRACTION", "SUB", "MIP", "MINIP", "MIN IP", "MPR", "CPR", "PROJECTION IMAGE", "ADC", "FA"}
    | {"LOCALIZER", "MEAN", "AVERAGE", "STDDEV", "RATIO", "CSA MIP", "CSA MPR", "REFORMATTED"}
)


def _image_class(header: SliceHeader) -> tuple[bool, frozenset[str]]:
    """Whether an image is derived, and the words for what it was computed as."""
    words = {w.strip().upper() for w in header.about.image_type}
    return header.derived, frozenset(words & _COMPUTED)


def _computed(header: SliceHeader) -> bool:
    return any(_image_class(header))
