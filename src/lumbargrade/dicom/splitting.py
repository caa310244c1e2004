"""A series of an export to the volumes that are in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from lumbargrade.dicom.orientation import Orientation, orientation_of
from lumbargrade.dicom.places import parallel, partition
from lumbargrade.dicom.repeats import split_repeats
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.dicom.stacks import single_place
from lumbargrade.dicom.strays import FEW, by_sequence, by_size, minor, off_the_stack

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
