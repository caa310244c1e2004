"""Images that are there more than once, so that each counts once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lumbargrade.dicom.pixels import pixel_digest
from lumbargrade.dicom.places import partition, planes, same_place
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom


def split_same_file(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[SliceHeader]]:
    """(images, further files of one of them): of the same UID and number, at the same place."""
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
    """(images, further files of one of them): of the same pixels at the same place.

    UIDs and numbers do not matter: exports and anonymisers give copies new ones. Pixels are looked
    at only where a place is imaged more than once. Which copy is used does not depend on the order
    of the headers: an original one, with the lowest number.
    """
    if len(headers) < 2:
        return list(headers), []
    copies: set[SliceHeader] = set()
    for place in _places(headers):
        if len(place) < 2:
            continue
        # the same stored bytes are the same pixels only in the same coding
        stored = len({h.syntax for h in place}) == 1 and not any(h.frame for h in place)
        images = partition(place, lambda h: _identity(h, stored))  # noqa: B023  # called at once
        for image in images:
            copies |= set(sorted(image, key=_preference)[1:])
    return _divided(headers, copies)


def _places(headers: Sequence[SliceHeader]) -> Iterable[list[SliceHeader]]:
    """Images that begin at one place of one plane, and cover it with as many pixels."""
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
