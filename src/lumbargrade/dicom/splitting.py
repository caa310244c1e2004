"""Split a series of an export into its volumes, and exclude scouts and computed images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lumbargrade.dicom.duplicates import split_repeats
from lumbargrade.dicom.places import (
    Orientation,
    orientation_of,
    parallel,
    partition,
    planes,
    projections,
)
from lumbargrade.dicom.rules import one_place, single_place
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.geometry import FloatArray

#: Minimum number of frames of reference, one per place, that are ignored as anonymised.
_FRAMES = 3

Headers = list[SliceHeader]
Key = Callable[[SliceHeader], Hashable]


@dataclass(frozen=True)
class Part:
    """Images of a series that are one volume.

    Attributes:
        headers: in the order of their numbers.
        excluded: why they are not graded; empty if they may be.
        error: why they are not a volume; empty if they are.
    """

    headers: Headers
    excluded: str = ""
    error: str = ""


def split_series(headers: Sequence[SliceHeader]) -> list[Part]:
    """Split a series into volumes with one image per place; duplicates must be removed before.

    Images of one volume agree in series number, description, frame of reference, anatomical plane,
    kind of image, sequence, matrix and spacing. Images that agree are split into acquisitions, and
    scouts are excluded.
    """
    ordered = sorted(headers, key=lambda h: (h.instance_number, h.sop_uid, str(h.path), h.frame))
    ordered = _one_frame(ordered)
    if single_place(ordered):
        return [Part(ordered, error=one_place(ordered))]
    parts: list[Part] = []
    for own in _by_series(ordered):
        kinds = partition(own, _image_class)
        originals = max((len(k) for k in kinds if not _computed(k[0])), default=0)
        for kind in kinds:
            if _computed(kind[0]) and originals * 2 >= len(kind):
                words = "\\".join(kind[0].about.image_type)
                parts.append(Part(kind, f"computed from other images (ImageType {words})"))
            else:
                parts += _volumes(kind, own)
    first = {h: i for i, h in enumerate(ordered)}
    return sorted(parts, key=lambda p: (bool(p.excluded or p.error), first[p.headers[0]]))


def _volumes(headers: Headers, series: Headers) -> list[Part]:
    """The volumes among images of one kind; ``series`` is all images of the series."""
    parts: list[Part] = []
    planes = partition(headers, _patient_plane)
    for plane in planes:
        for sequence in _by_sequence(plane):
            for size in _by_size(sequence):
                rest = [h for h in series if h not in set(size)]
                if _minor(size, rest):
                    what = _difference(size, rest)
                    parts.append(Part(size, f"scout: images with a different {what}: {len(size)}"))
                else:
                    parts += _acquisitions(size)
    return parts


def _difference(part: Headers, rest: Headers) -> str:
    """The property in which a part differs from the other images of its series."""
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


def _acquisitions(headers: Headers) -> list[Part]:
    if single_place(headers):
        return [Part(headers, error=one_place(headers))]
    runs = split_repeats(headers)
    if runs is None:
        what = "several images at the same places, and no header value separates them"
        return [Part(headers, error=f"{what}: {_clash(headers)}")]
    parts: list[Part] = []
    main = max(runs, key=len)
    for run in runs:
        if run is not main and _minor(run, main):
            what = f"repeats {len(run)} of {len(main)} slices"
            parts.append(Part(run, what))
        else:
            parts += _without_strays(run)
    return parts


def _clash(headers: Headers) -> str:
    """Two images of one place, and what to do."""
    plane_of = planes(headers)
    first: dict[int, SliceHeader] = {}
    for one in headers:
        other = first.setdefault(plane_of[one], one)
        if other is not one:
            same = one.sop_uid and one.sop_uid == other.sop_uid
            why = ", which have the same SOPInstanceUID but other pixels" if same else ""
            return f"{other.path} and {one.path}{why}; keep one image of each place"
    return "keep one image of each place"


def _without_strays(headers: Headers) -> list[Part]:
    groups = parallel(headers)
    main = max(groups, key=len)
    axial = orientation_of(main[0].plane.normal) is Orientation.AXIAL
    # the stacks of an axial series may have few slices each
    tilted = [g for g in groups if g is not main and _minor(g, main) and not axial]
    parts = [Part(g, f"scout: images at a different angle: {len(g)}") for g in tilted]
    # parallel stacks of an axial series, one per disc, may have few slices too
    few = 1 if axial else _FEW
    off = [h for g in groups if g not in tilted for h in _off_the_stack(g, few)]
    if off:
        parts.append(Part(off, f"scout: images outside the regular stack: {len(off)}"))
    gone = {h for p in parts for h in p.headers}
    return [Part([h for h in headers if h not in gone]), *parts]


def _one_frame(headers: Headers) -> Headers:
    """Remove the frames of reference if every place has a different one.

    Then an anonymiser has replaced each UID, and they mean nothing.
    """
    parts = partition(headers, lambda h: h.frame_of_reference)
    if len(parts) < _FRAMES or not all(len(p) == 1 or single_place(p) for p in parts):
        return headers
    return [replace(h, frame_of_reference="") for h in headers]


def _patient_plane(header: SliceHeader) -> Hashable:
    return (header.frame_of_reference, orientation_of(header.plane.normal))


def _by_series(headers: Headers) -> list[Headers]:
    """Split images by series number and description; the series UID is ignored.

    A value that differs for every image belongs to the image, not to the series, and is ignored.
    """
    parts = [headers]
    keys: tuple[Key, ...] = (lambda h: h.series_number, lambda h: h.description)
    for key in keys:
        divided = [p for part in parts for p in partition(part, key)]
        if max(map(len, divided)) > 1:
            parts = divided
    return parts


#: ImageType values of images that were computed from other images.
_COMPUTED = frozenset(
    {"SUBTRACTION", "SUB", "MIP", "MINIP", "MIN IP", "MPR", "CPR", "PROJECTION IMAGE", "ADC", "FA"}
    | {"LOCALIZER", "MEAN", "AVERAGE", "STDDEV", "RATIO", "CSA MIP", "CSA MPR", "REFORMATTED"}
)


def _image_class(header: SliceHeader) -> tuple[bool, frozenset[str]]:
    """Whether an image is derived, and its ImageType values for computed images."""
    words = {w.strip().upper() for w in header.about.image_type}
    return header.derived, frozenset(words & _COMPUTED)


def _computed(header: SliceHeader) -> bool:
    return any(_image_class(header))


#: At most `_FEW` images can be scouts, and only if there are `_MAIN` times as many other images.
_FEW, _MAIN = 3, 3
#: Echo times that differ by more than this factor belong to different sequences.
_OTHER_ECHO = 1.5
#: Pixel spacings are different if they differ by more than this fraction.
_OTHER_SPACING = 1e-3
#: A slice does not belong to a stack if it is further away than this multiple of the median gap.
_FAR = 6.0
#: In a gap smaller than this fraction of the median gap, a slice does not belong to the stack.
_SHORT = 0.75
#: A gap is irregular if it differs by more than this fraction from every multiple of the median.
_UNEVEN = 0.15
#: Minimum number of slices for a meaningful median gap.
_ENOUGH = 5


def _minor(part: Sequence[SliceHeader], main: Sequence[SliceHeader]) -> bool:
    """Whether a part is so small, compared with the main images, that it may be scouts."""
    return len(part) <= _FEW and len(part) * _MAIN <= len(main)


def _by_sequence(headers: Sequence[SliceHeader]) -> list[Headers]:
    """Split images by echo time and by gradient echo, which never vary within one sequence."""
    times = sorted({h.about.echo_time for h in headers if h.about.echo_time})
    steps = [b for a, b in pairwise(times) if b > a * _OTHER_ECHO]
    return partition(
        headers,
        lambda h: (sum((h.about.echo_time or 0.0) >= s for s in steps), "GR" in h.about.sequence),
    )


def _by_size(headers: Sequence[SliceHeader]) -> list[Headers]:
    """Split images by matrix and pixel spacing if parallel images differ in them.

    A stack that also differs in orientation is not split off, because the stacks of an axial series
    may have different sizes; it is split off if it has too few images for a stack.
    """
    sizes = sorted(_sizes(headers), key=len, reverse=True)
    apart = []
    main = sizes[0]
    for size in sizes[1:]:
        angles = parallel([*main, *size])
        same_angle = [h for group in angles if not set(group) <= set(size) for h in group]
        within = set(same_angle) & set(size)
        if within or (len(size) < _FEW and _minor(size, main)):
            apart.append(size)
        else:
            main = main + size
    order = {h: i for i, h in enumerate(headers)}
    return [sorted(part, key=order.__getitem__) for part in (main, *apart)]


def _sizes(headers: Sequence[SliceHeader]) -> list[Headers]:
    sizes: list[Headers] = []
    for shape in partition(headers, lambda h: h.shape):
        left = sorted(shape, key=lambda h: h.plane.spacing)
        while left:
            spacing = left[0].plane.spacing
            near = [h for h in left if np.allclose(h.plane.spacing, spacing, rtol=_OTHER_SPACING)]
            sizes.append(near)
            left = [h for h in left if h not in near]
    return sizes


def _off_the_stack(group: Sequence[SliceHeader], few: int = _FEW) -> Headers:
    """The slices that do not belong to the regular stack of the others.

    These are slices far away from an end of the stack, and slices between the others if all gaps
    are regular without them. If they are too many to be scouts, none is returned.

    Args:
        group: parallel slices, one per plane.
        few: maximum number of slices far away from one end.
    """
    if len(group) < _ENOUGH:
        return []
    along = projections(group)
    order = np.argsort(along, kind="stable")
    usual = float(np.median(np.diff(along[order])))
    kept = _without_far_ends(order.tolist(), along, usual, few)
    kept = _without_short_gaps(kept, along, usual)
    lost = [group[i] for i in order if i not in set(kept)]
    rest = [group[i] for i in kept]
    return lost if lost and _minor(lost, rest) else []


def _without_far_ends(kept: list[int], along: FloatArray, usual: float, few: int) -> list[int]:
    far = np.flatnonzero(np.diff(along[kept]) > _FAR * usual)
    if not far.size:
        return kept
    begin, end = int(far[0]) + 1, int(far[-1]) + 1
    begin, end = (begin if begin <= few else 0), (end if len(kept) - end <= few else len(kept))
    return kept[begin:end]


def _without_short_gaps(kept: list[int], along: FloatArray, usual: float) -> list[int]:
    """Remove one slice of each short gap if all gaps are regular then; else remove none."""
    left = list(kept)
    for _ in range(_FEW):
        short = np.flatnonzero(np.diff(along[left]) < _SHORT * usual)
        if not short.size:
            break
        at = int(short[0])
        choices = [left[:i] + left[i + 1 :] for i in (at, at + 1)]
        left = min(choices, key=lambda c: _irregular(along[c], usual))
    return left if _irregular(along[left], usual) == 0 else kept


def _irregular(along: FloatArray, usual: float) -> int:
    """The number of gaps that are not a multiple of the median gap."""
    steps = np.diff(along) / usual
    whole = np.maximum(np.rint(steps), 1)
    return int((np.abs(steps - whole) > _UNEVEN * whole).sum())
