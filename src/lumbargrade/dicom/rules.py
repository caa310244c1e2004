"""How the slices of a series are numbered, grouped and scaled: two sets of rules.

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
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.typing import ArrayLike

from lumbargrade.dicom.places import parallel, partition, projections
from lumbargrade.dicom.slices import SliceHeader

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
