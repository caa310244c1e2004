"""Images of a series that are no slices of its volume: scouts of the same plane, mostly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lumbargrade.dicom.places import parallel, partition, projections
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.geometry import FloatArray

#: As many images, or fewer, may be scouts, if there are at least `_MAIN` times as many others.
FEW, _MAIN = 3, 3
#: Echo times that differ by more than this factor are of different sequences.
_OTHER_ECHO = 1.5
#: Pixel spacings that differ by more than this share of them are different.
_OTHER_SPACING = 1e-3
#: A slice this many times the usual gap away from all others is not one of a stack with gaps.
_FAR = 6.0
#: A gap smaller than this share of the usual one means that a slice lies off the stack's grid.
_SHORT = 0.75
#: Gaps that differ by more than this share of the usual one (or of a multiple) are irregular.
_UNEVEN = 0.15
#: Fewest slices in which a usual gap can be told.
_ENOUGH = 5


def minor(part: Sequence[SliceHeader], main: Sequence[SliceHeader]) -> bool:
    """Whether images beside others are so few that they may be scouts."""
    return len(part) <= FEW and len(part) * _MAIN <= len(main)


def by_sequence(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Images by echo time and whether they are gradient echoes: what no one sequence mixes."""
    times = sorted({h.about.echo_time for h in headers if h.about.echo_time})
    steps = [b for a, b in pairwise(times) if b > a * _OTHER_ECHO]
    return partition(
        headers,
        lambda h: (sum((h.about.echo_time or 0.0) >= s for s in steps), "GR" in h.about.sequence),
    )


def by_size(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Images of one matrix and pixel spacing each, where parallel images differ in them.

    A stack that differs from the others in orientation too stays with them: the stacks of an
    axial series may be of different size. Too few images for a stack do not.
    """
    sizes = sorted(_sizes(headers), key=len, reverse=True)
    apart = []
    main = sizes[0]
    for size in sizes[1:]:
        angles = parallel([*main, *size])
        same_angle = [h for group in angles if not set(group) <= set(size) for h in group]
        within = set(same_angle) & set(size)
        if within or (len(size) < FEW and minor(size, main)):
            apart.append(size)
        else:
            main = main + size
    order = {h: i for i, h in enumerate(headers)}
    return [sorted(part, key=order.__getitem__) for part in (main, *apart)]


def _sizes(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    sizes: list[list[SliceHeader]] = []
    for shape in partition(headers, lambda h: h.shape):
        left = sorted(shape, key=lambda h: h.plane.spacing)
        while left:
            spacing = left[0].plane.spacing
            near = [h for h in left if np.allclose(h.plane.spacing, spacing, rtol=_OTHER_SPACING)]
            sizes.append(near)
            left = [h for h in left if h not in near]
    return sizes


def off_the_stack(group: Sequence[SliceHeader], few: int = FEW) -> list[SliceHeader]:
    """Parallel slices, each in a plane of its own, that do not belong to the regular rest.

    Those are slices far off at an end, and slices between the others without which all gaps are
    regular. None, where the rest would not be regular, or they are too many to be scouts.

    Args:
        group: the slices.
        few: how many together may be far off.
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
    return lost if lost and minor(lost, rest) else []


def _without_far_ends(kept: list[int], along: FloatArray, usual: float, few: int) -> list[int]:
    far = np.flatnonzero(np.diff(along[kept]) > _FAR * usual)
    if not far.size:
        return kept
    begin, end = int(far[0]) + 1, int(far[-1]) + 1
    begin, end = (begin if begin <= few else 0), (end if len(kept) - end <= few else len(kept))
    return kept[begin:end]


def _without_short_gaps(kept: list[int], along: FloatArray, usual: float) -> list[int]:
    """The slices left when each short gap has lost the slice without which gaps are regular."""
    left = list(kept)
    for _ in range(FEW):
        short = np.flatnonzero(np.diff(along[left]) < _SHORT * usual)
        if not short.size:
            break
        at = int(short[0])
        choices = [left[:i] + left[i + 1 :] for i in (at, at + 1)]
        left = min(choices, key=lambda c: _irregular(along[c], usual))
    return left if _irregular(along[left], usual) == 0 else kept


def _irregular(along: FloatArray, usual: float) -> int:
    """How many gaps are no multiple of the usual one."""
    steps = np.diff(along) / usual
    whole = np.maximum(np.rint(steps), 1)
    return int((np.abs(steps - whole) > _UNEVEN * whole).sum())
