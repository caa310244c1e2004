"""Which series of a study share one patient space, so that a point of one can be found in another.

DICOM says that series with the same FrameOfReferenceUID do, and those with different ones do not
(PS3.3 C.7.4.1). Anonymised data (LSDC among them) often give every series a frame of its own: then
no two series share one, the UIDs tell nothing, and series whose images meet in space are taken for
one space. As soon as two series do share a frame, UIDs are believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.volume import Volume


@dataclass(frozen=True, slots=True)
class Spaces:
    """Spaces of the series of a study.

    Attributes:
        of_series: series id -> number of its space; equal numbers share one.
        problems: what a reader of the result should know; none is fatal.
    """

    of_series: Mapping[str, int]
    problems: tuple[Problem, ...] = ()

    def shared(self, first: str, second: str) -> bool:
        """Whether two series lie in one space; False for a series that is not known."""
        a, b = self.of_series.get(first), self.of_series.get(second)
        return a is not None and a == b


def find_spaces(volumes: Sequence[Volume]) -> Spaces:
    """Group the series of one study by the space they lie in.

    A series without a frame of reference belongs to the first series that its images meet.
    """
    frames = {v.series_id: v.frame_of_reference for v in volumes}
    named = Counter(f for f in frames.values() if f)
    believed = len(named) == 1 or any(count > 1 for count in named.values())
    numbers: dict[str, int] = {}
    for i, volume in enumerate(volumes):
        before = volumes[:i]
        same = [o for o in before if _one_space(volume, o, believed)]
        numbers[volume.series_id] = (
            numbers[same[0].series_id] if same else max(numbers.values(), default=-1) + 1
        )
    return Spaces(numbers, _notes(volumes, numbers, believed and len(named) > 1))


def _one_space(first: Volume, second: Volume, believed: bool) -> bool:
    a, b = first.frame_of_reference, second.frame_of_reference
    if believed and a and b:
        return a == b
    return images_meet(first, second)


def images_meet(first: Volume, second: Volume) -> bool:
    """Whether the boxes around the images of two series (along the patient axes) overlap."""
    a, b = first.corners().reshape(-1, 3), second.corners().reshape(-1, 3)
    return bool((a.min(0) <= b.max(0)).all() and (b.min(0) <= a.max(0)).all())


def _notes(
    volumes: Sequence[Volume], numbers: Mapping[str, int], by_frame: bool
) -> tuple[Problem, ...]:
    if len(set(numbers.values())) < 2:
        return ()
    most = Counter(numbers.values()).most_common(1)[0][0]
    reason = "in another frame of reference" if by_frame else "apart in space"
    return tuple(
        Problem(
            f"{v.kind or 'series'} lies {reason} than the study's other series: no point of theirs "
            "can be found in it; it is read on its own",
            study=v.study_id,
            series=v.series_id,
            fatal=False,
        )
        for v in volumes
        if numbers[v.series_id] != most
    )
