"""Find duplicate images, and separate several acquisitions of the same places.

Of duplicates, one image is used. If each place has several different images, they are split into
parts with one image per place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from lumbargrade.dicom.pixels import pixel_digest
from lumbargrade.dicom.places import centres, most_in_one_plane, partition, planes, same_place
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom


def split_same_file(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[SliceHeader]]:
    """(images, duplicates): duplicates have the same UID, number and place."""
    alike = partition(headers, lambda h: (h.sop_uid, h.instance_number))
    copies = {
        copy
        for group in alike
        if group[0].sop_uid and len(group) > 1
        for place in _places(group)
        for copy in place[1:]
    }
    return _divided(headers, copies)


def split_same_pixels(
    headers: Sequence[SliceHeader],
) -> tuple[list[SliceHeader], list[SliceHeader]]:
    """(images, duplicates): duplicates have the same pixels at the same place.

    UIDs and numbers are ignored, because exports and anonymisers give duplicates new ones. Pixels
    are compared only if a place is imaged more than once. The original image with the lowest
    number is kept, so the result does not depend on the order of the headers.
    """
    if len(headers) < 2:
        return list(headers), []
    copies: set[SliceHeader] = set()
    for place in _places(headers):
        if len(place) < 2:
            continue
        # equal stored bytes mean equal pixels only within one transfer syntax
        stored = len({h.syntax for h in place}) == 1 and not any(h.frame for h in place)
        images = partition(place, lambda h: _identity(h, stored))  # noqa: B023  # called at once
        for image in images:
            copies |= set(sorted(image, key=_preference)[1:])
    return _divided(headers, copies)


def _places(headers: Sequence[SliceHeader]) -> Iterable[list[SliceHeader]]:
    """Groups of images with the same corner, plane, matrix and spacing."""
    plane_of = planes(headers)
    for plane in partition(headers, lambda h: (plane_of[h], h.shape, h.plane.spacing)):
        left = plane
        while left:
            here = [h for h in left if same_place(h, left[0])]
            yield here
            left = [h for h in left if h not in here]


def _identity(header: SliceHeader, stored: bool) -> object:
    try:
        digest = pixel_digest(header, stored=stored)
    except BadDicom:  # reported when the image is decoded
        return header
    return (digest, header.rescale, header.inverse)


def _preference(header: SliceHeader) -> tuple[object, ...]:
    return (header.derived, header.instance_number, header.sop_uid, str(header.path))


def _divided(
    headers: Sequence[SliceHeader], copies: set[SliceHeader]
) -> tuple[list[SliceHeader], list[SliceHeader]]:
    return [h for h in headers if h not in copies], [h for h in headers if h in copies]


Parts = list[list[SliceHeader]]

#: Images in one plane belong to different stations if their centres are further apart, mm.
_STATION = 20.0


def split_repeats(headers: Sequence[SliceHeader]) -> Parts | None:
    """Split images into parts with one image per plane; None if nothing separates them.

    These are tried in order: the position within the plane (stations of a long spine), header
    values that differ between acquisitions, the acquisition time, and the instance numbers (the
    second acquisition follows the first or is interleaved with it).
    """
    plane_of = planes(headers)
    most = most_in_one_plane(headers, plane_of)
    if most < 2:
        return [list(headers)]
    keys = [_station_of(headers), *_values(headers)]
    for key in keys:
        parts = partition(headers, key)
        if 1 < len(parts) <= most and _single(parts, plane_of):
            return parts
    by_number = _by_number(headers, plane_of)
    for ordered in (_by_time(headers, plane_of), by_number):
        if ordered is not None:
            runs = _runs(ordered, plane_of)
            if len(runs) == most:
                return runs
    for key in keys:
        parts = partition(headers, key)
        # more parts than images per plane: the parts cover different planes
        if len(parts) > 1 and min(map(len, parts)) > 1 and _single(parts, plane_of):
            return parts
    return None if by_number is None else _ranks(by_number, plane_of)


def _single(parts: Parts, plane_of: Mapping[SliceHeader, int]) -> bool:
    return all(most_in_one_plane(p, plane_of) == 1 for p in parts)


def _station_of(headers: Sequence[SliceHeader]) -> Callable[[SliceHeader], Hashable]:
    """A key: the station of an image, by its position within its plane."""
    firsts: list[np.ndarray] = []
    station: dict[SliceHeader, int] = {}
    for header, centre in zip(headers, centres(headers), strict=True):
        normal = header.plane.normal
        within = centre - (centre @ normal) * normal
        near = [i for i, f in enumerate(firsts) if np.linalg.norm(f - within) <= _STATION]
        if not near:
            firsts.append(within)
        station[header] = near[0] if near else len(firsts) - 1
    return station.__getitem__


def _values(headers: Sequence[SliceHeader]) -> list[Callable[[SliceHeader], Hashable]]:
    """Keys: each header value alone, then all header values together."""
    values = {h: dict(h.about.repeats) for h in headers}
    names = sorted({name for own in values.values() for name in own})
    single: list[Callable[[SliceHeader], Hashable]] = [
        lambda h, name=name: values[h].get(name, "")  # type: ignore[misc]  # bound now
        for name in names
    ]
    return [*single, lambda h: h.about.repeats]


def _by_time(
    headers: Sequence[SliceHeader], plane_of: Mapping[SliceHeader, int]
) -> list[SliceHeader] | None:
    """Images by acquisition time; None if two images of a plane have the same time or none."""
    timed = all(h.acquired for h in headers)
    return _in_order(headers, plane_of, lambda h: (h.acquired,)) if timed else None


def _by_number(
    headers: Sequence[SliceHeader], plane_of: Mapping[SliceHeader, int]
) -> list[SliceHeader] | None:
    """Images by instance number; None if two images of a plane have the same number."""
    return _in_order(headers, plane_of, lambda h: (h.instance_number,))


def _in_order(
    headers: Sequence[SliceHeader],
    plane_of: Mapping[SliceHeader, int],
    key: Callable[[SliceHeader], tuple[Hashable, ...]],
) -> list[SliceHeader] | None:
    if len({(plane_of[h], key(h)) for h in headers}) < len(headers):
        return None
    return sorted(headers, key=lambda h: (*key(h), h.instance_number))


def _runs(ordered: Sequence[SliceHeader], plane_of: Mapping[SliceHeader, int]) -> Parts:
    """Runs of consecutive images; a new run begins when a plane would repeat within the run."""
    runs: Parts = []
    seen: set[int] = set()
    for header in ordered:
        if not runs or plane_of[header] in seen:
            runs.append([])
            seen = set()
        runs[-1].append(header)
        seen.add(plane_of[header])
    return runs


def _ranks(ordered: Sequence[SliceHeader], plane_of: Mapping[SliceHeader, int]) -> Parts:
    """Parts: the first image of every plane, the second of every plane, and so on."""
    parts: Parts = []
    count: dict[int, int] = defaultdict(int)
    for header in ordered:
        rank = count[plane_of[header]]
        count[plane_of[header]] += 1
        if rank == len(parts):
            parts.append([])
        parts[rank].append(header)
    return parts
