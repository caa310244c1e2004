"""How the slices of a series are numbered, grouped, ordered and scaled: two sets of rules.

:data:`LSDC`: series in the LSDC layout are read exactly as the published system reads them, because
the LSDC tables name slices by file, and the published models were trained on such volumes.
:data:`EXPORT`: any other DICOM series is read as is right for the image.

Both sets differ from the published reader in cases that the LSDC data does not contain:

* rescale slope and intercept and MONOCHROME1 are applied (the published reader ignores them);
* files that cannot be used are excluded and reported, and a series whose images are all at one
  place is refused (the published reader fails, or uses them);
* files of another series, and duplicates of an image with the same number, are excluded and
  reported (the published reader uses them);
* a file whose name is not a number is numbered by InstanceNumber, with a note (the published reader
  fails);
* slices and groups at the same place are ordered by their numbers (in the published reader, the
  order of such slices depends on the processor, and such groups make it fail).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lumbargrade.dicom.places import (
    Orientation,
    orientation_of,
    parallel,
    partition,
    planes,
    projections,
    same_place,
)
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.vocabulary import SeriesKind

#: Bumped when the same files give different pixels, planes or numbers than before.
READER_VERSION = 3

#: A file name that is a number; 18 digits fit into 64 bits.
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """The decisions that differ between LSDC series and other series.

    Attributes:
        file_numbers: slices are numbered by the name of the file (``12.dcm`` is 12), not by
            InstanceNumber.
        groups: splits slices into orientation groups, in the order of their first slices.
        projections: positions (mm) that order the slices of a group.
        leader: the slice of an ordered group whose position orders the groups.
        pad_before_scaling: compute the percentiles of a group after padding its slices to the
            largest size in the series, not from the real pixels alone.
    """

    file_numbers: bool
    groups: Callable[[Sequence[SliceHeader]], list[list[SliceHeader]]]
    projections: Callable[[Sequence[SliceHeader]], ArrayLike]
    leader: Callable[[Sequence[SliceHeader]], SliceHeader]
    pad_before_scaling: bool

    def numbered(self, headers: Iterable[SliceHeader]) -> list[SliceHeader]:
        """The headers with instance numbers by these rules."""
        if not self.file_numbers:
            return list(headers)
        # slices of a multi-frame file keep their frame numbers
        numbers = ((h, None if h.frame else file_number(h.path)) for h in headers)
        return [h if n is None else replace(h, instance_number=n) for h, n in numbers]


def file_number(path: Path) -> int | None:
    """The file name without suffix as a number; None if it is not a number of 1 to 18 digits."""
    return int(path.stem) if _NUMBER.fullmatch(path.stem) else None


def _published_orientation(header: SliceHeader) -> Hashable:
    # text of the values in the file; as text, -0.0 differs from 0.0
    return str([round(v, 3) for v in header.orientation])


def _published_projection(header: SliceHeader) -> float:
    # from the axes in the file, with the order of operations of the published reader
    a, b, c, d, e, f = header.orientation
    x, y, z = header.plane.position
    return (b * f - c * e) * x + (c * d - a * f) * y + (a * e - b * d) * z


#: Series in the LSDC layout, bit for bit as the published system reads them.
LSDC = ReadingRules(
    file_numbers=True,
    groups=lambda headers: partition(headers, _published_orientation),
    projections=lambda group: [_published_projection(h) for h in group],
    leader=lambda stack: min(stack, key=lambda h: h.instance_number),
    pad_before_scaling=True,
)

#: Any other DICOM series.
EXPORT = ReadingRules(
    file_numbers=False,
    groups=parallel,
    projections=projections,
    leader=lambda stack: stack[0],
    pad_before_scaling=False,
)


Stack = list[SliceHeader]

#: Slices are missing in a gap of more than this multiple of the median gap.
_MISSING = 1.5
#: Gaps are uneven if they differ by more than this fraction of the median gap.
_UNEVEN = 0.1
#: A stack is sheared if the median in-plane shift per gap is more than this fraction of the gap.
_SHEAR = 0.2
#: Slices are at one place if their planes are closer than this, mm.
_APART = 0.01


def spatial_stacks(
    headers: Iterable[SliceHeader], kind: SeriesKind | None, rules: ReadingRules
) -> list[Stack]:
    """Orientation groups of a series in spatial order, by the rules for its layout.

    Slices of a group are ordered by their projection on the normal. Groups are ordered by the
    position of their leading slice: by x for sagittal and by z for axial series (if the kind is
    unknown, the slice with the lowest number decides). Equal positions are ordered by number.
    """
    ordered = sorted(headers, key=lambda h: h.instance_number)
    if not ordered:
        return []
    if kind is None:
        sagittal = orientation_of(ordered[0].plane.normal) is Orientation.SAGITTAL
    else:
        sagittal = kind.sagittal
    axis = 0 if sagittal else 2
    stacks = [_sorted(group, rules) for group in rules.groups(ordered)]
    return sorted(stacks, key=lambda stack: rules.leader(stack).plane.position[axis])


def _sorted(group: Stack, rules: ReadingRules) -> Stack:
    return [group[i] for i in np.argsort(rules.projections(group), kind="stable")]


def single_place(headers: Sequence[SliceHeader]) -> bool:
    """Whether there are several slices, all at one place, so that they are not a volume."""
    if len(headers) < 2:
        return False
    if not all(same_place(h, headers[0]) for h in headers):
        return False
    return len(set(planes(headers).values())) == 1


def one_place(headers: Sequence[SliceHeader]) -> str:
    """The message for images of which `single_place` is true."""
    return f"all {len(headers)} images are at one place, so they are not a volume"


def oddities(stacks: Sequence[Stack], kind: SeriesKind | None, rules: ReadingRules) -> list[str]:
    """Notes on an unusual series; the plane of every slice is still correct."""
    notes = []
    headers = [h for stack in stacks for h in stack]
    if len(headers) == 1:
        notes.append("has one slice")
    if rules.file_numbers:
        notes += _numbering_oddities(headers)
    numbers = Counter(h.instance_number for h in headers)
    if twice := sorted(n for n, count in numbers.items() if count > 1):
        notes.append(f"duplicate instance numbers: {_listed(twice)}")
    if repeated := sum(n > 1 for n in Counter(planes(headers).values()).values()):
        notes.append(f"places with several slices: {repeated}")
    anatomical = {orientation_of(s[0].plane.normal).value for s in stacks}
    if len(anatomical) > 1:
        notes.append(f"mixes {' and '.join(sorted(anatomical))} slices")
    elif kind is not None and anatomical != {"sagittal" if kind.sagittal else "axial"}:
        notes.append(f"is listed as {kind.value}, but its slices are {anatomical.pop()}")
    if len({h.frame_of_reference for h in headers}) > 1:
        notes.append("slices have different frames of reference")
    if len({h.plane.spacing for h in headers}) > 1:
        notes.append("slices have different pixel spacings")
    for stack in stacks:
        notes += _stack_oddities(stack)
    return notes


def _numbering_oddities(headers: Sequence[SliceHeader]) -> list[str]:
    """Notes on files whose name is not a number, or not their InstanceNumber."""
    notes = []
    named = [(h, file_number(h.path)) for h in headers]
    if nameless := [h.path.name for h, n in named if n is None]:
        notes.append(
            f"{len(nameless)} of {len(headers)} file names are not numbers, such as {nameless[0]}; "
            "their InstanceNumber is used"
        )
    other = [h for h, n in named if n is not None and h.header_number not in (None, n)]
    if other:
        notes.append(
            f"InstanceNumber differs from the file name in {len(other)} of {len(headers)} files, "
            f"such as {other[0].path.name} ({other[0].header_number}); the file name is used"
        )
    return notes


def _listed(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:8]))
    return text if len(numbers) <= 8 else f"{text} and {len(numbers) - 8} more"


def _stack_oddities(stack: Stack) -> list[str]:
    positions = np.array([h.plane.position for h in stack])
    normal = stack[0].plane.normal
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    apart = along > _APART
    if not apart.any():
        return []
    notes = []
    usual = float(np.median(along[apart]))
    if (gaps := np.flatnonzero(along > _MISSING * usual)).size:
        between = ", ".join(
            f"{stack[i].instance_number} and {stack[i + 1].instance_number}" for i in gaps[:4]
        )
        notes.append(
            f"slices seem to be missing between instances {between} "
            f"(gap up to {along.max():.2f} mm, usually {usual:.2f} mm)"
        )
    elif np.abs(along[apart] - usual).max() > _UNEVEN * usual:
        notes.append(f"slice gaps are uneven ({along[apart].min():.2f} to {along.max():.2f} mm)")
    shift = np.linalg.norm(steps - along[:, None] * normal, axis=1)
    if np.median(shift[apart] / along[apart]) > _SHEAR:
        notes.append(
            f"slices are shifted in-plane by {np.median(shift[apart]):.2f} mm per slice "
            "(sheared stack, as with a tilted gantry)"
        )
    return notes
