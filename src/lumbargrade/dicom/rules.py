"""How the slices of a series are numbered, grouped, ordered and scaled: two sets of rules.

The LSDC tables name slices by file, and the published system was trained on volumes that its own
reader made, so series in the LSDC layout are read exactly as it reads them: :data:`LSDC`. For any
other DICOM series, rules that are right for the image are used: :data:`EXPORT`.

Both sets differ from the published reader in cases that the LSDC data does not contain:

* rescale slope and intercept and MONOCHROME1 are applied (it reads none of these tags);
* files that cannot be used are excluded and reported, and a series whose images all lie at one
  place is refused (it would stop, or use them);
* files of another series, and further copies of an image under the same number, are excluded and
  reported (it would use them);
* a file whose name is not a number is numbered by InstanceNumber, with a note (it would stop);
* slices, and groups, at one place are ordered by their numbers (its order of such slices depends on
  the processor, and groups at one place stop it).
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

#: Bumped when the same files give other pixels, planes or numbers than before.
READER_VERSION = 3

#: Slices are numbered by 64-bit integers.
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """The decisions in which reading an LSDC series differs from reading any other.

    Attributes:
        file_numbers: slices are numbered by their file's name (``12.dcm`` is 12), not by
            InstanceNumber.
        groups: slices to groups of one orientation, in the order in which they are first seen.
        projections: orders the slices of a group, mm, one for each.
        leader: the slice of an ordered group whose position orders the groups.
        pad_before_scaling: whether the percentiles of a group are those of its slices after
            padding to the series' largest size, rather than of the real pixels alone.
    """

    file_numbers: bool
    groups: Callable[[Sequence[SliceHeader]], list[list[SliceHeader]]]
    projections: Callable[[Sequence[SliceHeader]], ArrayLike]
    leader: Callable[[Sequence[SliceHeader]], SliceHeader]
    pad_before_scaling: bool

    def numbered(self, headers: Iterable[SliceHeader]) -> list[SliceHeader]:
        """The headers, their slices numbered by these rules."""
        if not self.file_numbers:
            return list(headers)
        # the slices of a multi-frame file have the numbers of their frames
        numbers = ((h, None if h.frame else file_number(h.path)) for h in headers)
        return [h if n is None else replace(h, instance_number=n) for h, n in numbers]


def file_number(path: Path) -> int | None:
    """The number that is a file's name without its suffix, or None where the name is no number.

    A number has at most 18 digits.
    """
    return int(path.stem) if _NUMBER.fullmatch(path.stem) else None


def _published_orientation(header: SliceHeader) -> Hashable:
    # the text, in which -0.0 differs from 0.0, of the values as the file gives them
    return str([round(v, 3) for v in header.orientation])


def _published_projection(header: SliceHeader) -> float:
    # from the axes as the file gives them, in the order of operations of the published reader
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

#: A gap this many times the usual one means that slices are missing.
_MISSING = 1.5
#: Gaps that differ by more than this share of the usual one are uneven.
_UNEVEN = 0.1
#: Usual in-plane shift between neighbours, as a share of the gap, above which a stack is sheared.
_SHEAR = 0.2
#: Slices whose planes are closer than this, mm, show one place.
_APART = 0.01


def spatial_stacks(
    headers: Iterable[SliceHeader], kind: SeriesKind | None, rules: ReadingRules
) -> list[Stack]:
    """Orientation groups of a series in spatial order, by the rules for its layout.

    Inside a group, slices follow their projection on the normal; groups follow the position of
    their leading slice, by x for sagittal and z for axial series (by the orientation of the slice
    with the lowest number where the kind is unknown). Equal places follow the slices' numbers.
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
    """Whether several slices all lie in one place, so that they are no volume."""
    if len(headers) < 2:
        return False
    plane_of, first = planes(headers), headers[0]
    return all(plane_of[h] == plane_of[first] and same_place(h, first) for h in headers)


def oddities(stacks: Sequence[Stack], kind: SeriesKind | None, rules: ReadingRules) -> list[str]:
    """Notes on an unusual series; the plane of every slice is right nevertheless."""
    notes = []
    headers = [h for stack in stacks for h in stack]
    if len(headers) == 1:
        notes.append("has one slice")
    if rules.file_numbers:
        notes += _numbering_oddities(headers)
    numbers = Counter(h.instance_number for h in headers)
    if twice := sorted(n for n, count in numbers.items() if count > 1):
        notes.append(f"instance numbers used more than once: {_listed(twice)}")
    if repeated := sum(n > 1 for n in Counter(planes(headers).values()).values()):
        notes.append(f"{repeated} places hold more than one slice")
    anatomical = {orientation_of(s[0].plane.normal).value for s in stacks}
    if len(anatomical) > 1:
        notes.append(f"mixes {' and '.join(sorted(anatomical))} slices")
    elif kind is not None and anatomical != {"sagittal" if kind.sagittal else "axial"}:
        notes.append(f"is called {kind.value} but its slices are {anatomical.pop()}")
    if len({h.frame_of_reference for h in headers}) > 1:
        notes.append("slices have different frames of reference")
    if len({h.plane.spacing for h in headers}) > 1:
        notes.append("slices have different pixel spacing")
    for stack in stacks:
        notes += _stack_oddities(stack)
    return notes


def _numbering_oddities(headers: Sequence[SliceHeader]) -> list[str]:
    """Notes on files whose name is not a number, or not the number in their header."""
    notes = []
    named = [(h, file_number(h.path)) for h in headers]
    if nameless := [h.path.name for h, n in named if n is None]:
        notes.append(
            f"{len(nameless)} of {len(headers)} file names are not numbers, such as {nameless[0]}; "
            "their InstanceNumber counts"
        )
    other = [h for h, n in named if n is not None and h.header_number not in (None, n)]
    if other:
        notes.append(
            f"InstanceNumber differs from the file name in {len(other)} of {len(headers)} files, "
            f"such as {other[0].path.name} ({other[0].header_number}); the file name counts"
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
