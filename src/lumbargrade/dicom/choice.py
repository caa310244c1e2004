"""Choose the series of each kind that are graded, with the reason in words.

Of several sagittal series of a kind, the best one is used, and a further one only if it shows
another part of the spine. All axial series are used, except those that only repeat a better one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.views import Spaces, find_spaces
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice

#: Bumped when other series of the same study are chosen than before.
CHOICE_VERSION = 1

#: More height and width than this do not make a sagittal series better, mm: from T11 to the sacrum,
#: and from foramen to foramen with a slice on each side.
_HEIGHT, _WIDTH = 200.0, 48.0
#: Closer slices and finer pixels than these, mm, and less noise than this fraction of the grey
#: range do not make a series better. Interpolated images have less noise, and no more detail.
_GAP, _PIXEL, _NOISE = {True: 4.0, False: 3.0}, 0.6, 0.01
#: A series is worse if it covers less than this share of what another one covers, or if its slice
#: distance, pixel size or noise is larger than that of another one by this factor.
_LESS, _WIDER, _COARSER, _NOISIER = 0.75, 1.25, 1.3, 2.0
#: A sagittal series shows another part of the spine if it reaches this far beyond the others, mm:
#: two levels.
_BEYOND = 60.0
#: An axial series repeats another one if this share of its slices lies between the slices of the
#: other, which are parallel to them up to this angle, degrees. Stacks along the discs are not
#: repeats of a block through all of them: they cut the discs better.
_REPEATED, _ANGLE = 0.9, 5.0
#: Slices from the middle of a series in which noise is measured.
_MIDDLE = 3


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """Whether a volume is graded, and why.

    Attributes:
        series_id: its id.
        number, description: SeriesNumber and SeriesDescription; empty if absent.
        kind: one of the three kinds, or None if it is of none.
        chosen: whether it is graded.
        reason: why, or why not.
        identified: why it is of this kind, or of none.
        cautions: what makes grades from it less certain; see `dicom.scope`.
    """

    series_id: str
    number: str
    description: str
    kind: SeriesKind | None
    chosen: bool
    reason: str
    identified: str
    cautions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Number and description, or the id, for messages."""
        return series_name(self.series_id, self.number, self.description)


def series_name(series_id: str, number: str, description: str) -> str:
    """Number and description of a series, or its id if it has none."""
    parts = [number, f"({description})" if description else ""]
    return " ".join(p for p in parts if p) or series_id


@dataclass(frozen=True, eq=False)
class Candidate:
    """A volume of one of the three kinds that may be graded.

    Attributes:
        volume: the volume.
        number, description: SeriesNumber and SeriesDescription; empty if absent.
        fat_suppressed: whether fat is dark.
        requested: whether the user named it.
    """

    volume: Volume
    number: str = ""
    description: str = ""
    fat_suppressed: bool = False
    requested: bool = False

    @property
    def name(self) -> str:
        return series_name(self.volume.series_id, self.number, self.description)

    @cached_property
    def box(self) -> FloatArray:
        """Smallest and largest LPS mm of its images, (2, 3)."""
        corners = self.volume.corners().reshape(-1, 3)
        return np.array([corners.min(axis=0), corners.max(axis=0)])

    @cached_property
    def stacks(self) -> list[tuple[FloatArray, FloatArray]]:
        """The normal of each stack (3,), and the places of its slices along it, mm, sorted."""
        slices = self.volume.slices
        found = []
        for group in sorted({s.group for s in slices}):
            own = [s for s in slices if s.group == group]
            normal = own[0].plane.normal
            found.append((normal, np.sort([np.asarray(s.plane.position) @ normal for s in own])))
        return found

    @cached_property
    def gap(self) -> float:
        """Median distance between slices, mm; infinite if every stack is one slice."""
        gaps = np.concatenate([np.diff(places) for _, places in self.stacks])
        return float(np.median(gaps)) if gaps.size else float("inf")

    @property
    def height(self) -> float:
        """Extent from head to feet, mm."""
        return float(self.box[1, 2] - self.box[0, 2])

    @property
    def width(self) -> float:
        """Extent from left to right, mm, with half a slice distance at each end."""
        extent = float(self.box[1, 0] - self.box[0, 0])
        return extent + (self.gap if np.isfinite(self.gap) else 0.0)

    @property
    def pixel(self) -> float:
        """Pixel size, mm: the geometric mean of both directions."""
        dy, dx = self.volume.slices[0].plane.spacing
        return float(np.sqrt(dy * dx))

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the noise as a fraction of the grey range.

        From the median of second differences in the middle slices where there is signal, by the
        mask of Immerkaer (1996), which does not respond to planes and edges along the axes.
        """
        depth = len(self.volume.pixels)
        first = max((depth - _MIDDLE) // 2, 0)
        image = np.asarray(self.volume.pixels[first : first + _MIDDLE], np.float32)
        if min(image.shape[1:]) < 3:
            return 0.0
        across = image[:, :, :-2] - 2 * image[:, :, 1:-1] + image[:, :, 2:]
        mask = across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]
        signal = mask[image[:, 1:-1, 1:-1] > np.mean(image)]
        if not signal.size:
            return 0.0
        # the mask multiplies the deviation by 6; a median of magnitudes is 0.6745 deviations
        return float(np.median(np.abs(signal)) / 0.6745 / 6 / 255)


@dataclass(frozen=True)
class _Criterion:
    """What makes a series better than another one.

    Attributes:
        value: of a series; larger is better.
        worse: the factor of the best value below which a series is worse.
        words: says the value.
    """

    value: Callable[[Candidate], float]
    worse: float
    words: Callable[[Candidate], str]


def _criteria(sagittal: bool, partners: Callable[[Candidate], float]) -> list[_Criterion]:
    """The criteria in the order in which they decide."""
    space = _Criterion(
        partners,
        1.0,
        lambda c: (
            "shares a patient space with "
            + (f"{partners(c):.0f} series of other kinds" if partners(c) else "no other series")
        ),
    )
    cover = [
        _Criterion(
            lambda c: min(c.height, _HEIGHT),
            _LESS,
            lambda c: f"covers {c.height:.0f} mm from head to feet",
        ),
        _Criterion(
            lambda c: min(c.width, _WIDTH),
            _LESS,
            lambda c: f"covers {c.width:.0f} mm from left to right",
        ),
    ]
    fat = _Criterion(
        lambda c: float(not c.fat_suppressed),
        1.0,
        lambda c: "has fat suppression" if c.fat_suppressed else "has no fat suppression",
    )
    fine = [
        _Criterion(
            lambda c: 1 / max(c.gap, _GAP[sagittal]),
            1 / _WIDER,
            lambda c: f"has slices {c.gap:.1f} mm apart",
        ),
        _Criterion(
            lambda c: 1 / max(c.pixel, _PIXEL),
            1 / _COARSER,
            lambda c: f"has pixels of {c.pixel:.2f} mm",
        ),
        _Criterion(
            lambda c: 1 / max(c.noise, _NOISE),
            1 / _NOISIER,
            lambda c: f"has noise of {c.noise:.1%} of its grey range",
        ),
    ]
    return [space, *cover, fat, *fine] if sagittal else [space, fat, *fine]


def choose(candidates: Sequence[Candidate]) -> dict[str, tuple[bool, str]]:
    """Decide which volumes of a study are graded: series id -> (chosen, reason).

    Criteria decide one after the other: a series that is clearly worse than another one by a
    criterion is out, whatever later criteria say. Between series that no criterion separates, the
    one with the higher SeriesNumber is used, because scans are repeated where the first is bad.
    The order of the candidates does not matter. Series that the user requested are used, and no
    others of their kind.

    Args:
        candidates: the volumes of the three kinds.
    """
    decided: dict[str, tuple[bool, str]] = {}
    spaces = find_spaces([c.volume for c in sorted(candidates, key=_by_id)])
    for kind in SeriesKind:
        own = sorted((c for c in candidates if c.volume.kind is kind), key=_by_id)
        if any(c.requested for c in own):
            for c in own:
                why = "requested" if c.requested else "not requested"
                decided[c.volume.series_id] = (c.requested, why)
            continue
        others = [c for c in candidates if c.volume.kind is not kind]

        def partners(c: Candidate, others: list[Candidate] = others) -> float:
            mine = c.volume.series_id
            return float(sum(spaces.shared(mine, o.volume.series_id) for o in others))

        if kind.sagittal:
            decided |= _sagittal(own, _criteria(True, partners), spaces)
        else:
            decided |= _axial(own, _criteria(False, partners))
    return decided


def _by_id(candidate: Candidate) -> tuple[str, str]:
    return candidate.volume.study_id, candidate.volume.series_id


def _sagittal(
    own: Sequence[Candidate], criteria: Sequence[_Criterion], spaces: Spaces
) -> dict[str, tuple[bool, str]]:
    """The best series, and further ones that show another part of the spine."""
    used: dict[Candidate, str] = {}
    out: dict[Candidate, str] = {}
    left = list(own)
    while left:
        best, why, lost = _best(left, criteria)
        if used:
            why = f"shows another part of the spine than {next(iter(used)).name}"
        used[best] = why
        out = lost | out
        left = [c for c in lost if _extends(c, list(used), spaces)]
    return _decisions(used, out)


def _axial(own: Sequence[Candidate], criteria: Sequence[_Criterion]) -> dict[str, tuple[bool, str]]:
    """All series except those that repeat a better one."""
    used: dict[Candidate, str] = {}
    out: dict[Candidate, str] = {}
    left = list(own)
    while left:
        best, why, lost = _best(left, criteria)
        repeats = {c: reason for c, reason in lost.items() if _repeats(c, best)}
        used[best] = why if repeats or len(own) == 1 else "no other series shows the same slices"
        out |= repeats
        left = [c for c in lost if c not in repeats]
    return _decisions(used, out)


def _decisions(
    used: dict[Candidate, str], out: dict[Candidate, str]
) -> dict[str, tuple[bool, str]]:
    refused = {c.volume.series_id: (False, why) for c, why in out.items() if c not in used}
    return {c.volume.series_id: (True, why) for c, why in used.items()} | refused


def _best(
    candidates: Sequence[Candidate], criteria: Sequence[_Criterion]
) -> tuple[Candidate, str, dict[Candidate, str]]:
    """The best candidate, why it is the best, and why each other one is not."""
    if len(candidates) == 1:
        return candidates[0], "the only one of its kind", {}
    left = list(candidates)
    decisive: dict[Candidate, _Criterion] = {}
    for criterion in criteria:
        limit = criterion.worse * max(map(criterion.value, left))
        worse = [c for c in left if criterion.value(c) < limit]
        decisive |= dict.fromkeys(worse, criterion)
        left = [c for c in left if c not in worse]
    best = max(left, key=_order)
    lost = {
        c: f"{decisive[c].words(c)}; {best.name} {decisive[c].words(best)}"
        if c in decisive
        else f"no better than {best.name}"
        for c in candidates
        if c is not best
    }
    merits = dict.fromkeys(criterion.words(best) for criterion in decisive.values())
    return best, f"the best of {len(candidates)}: {', '.join(merits) or 'the last one made'}", lost


def _order(candidate: Candidate) -> tuple[int, str]:
    """Later series, by SeriesNumber and id, come last."""
    number = candidate.number
    return int(number) if number.isdecimal() else -1, candidate.volume.series_id


def _extends(candidate: Candidate, used: Sequence[Candidate], spaces: Spaces) -> bool:
    """Whether a series shows much of the spine that the chosen ones do not."""
    if not spaces.shared(candidate.volume.series_id, used[0].volume.series_id):
        return False
    low = min(u.box[0, 2] for u in used)
    high = max(u.box[1, 2] for u in used)
    return bool(max(low - candidate.box[0, 2], candidate.box[1, 2] - high) >= _BEYOND)


def _repeats(candidate: Candidate, other: Candidate) -> bool:
    """Whether nearly all slices lie between slices of another series that are parallel to them."""
    inside = [_between(s, other) for s in candidate.volume.slices]
    return sum(inside) >= _REPEATED * len(inside)


def _between(one: VolumeSlice, other: Candidate) -> bool:
    height, width = one.shape
    centre = one.plane.to_patient([(width - 1) / 2, (height - 1) / 2])
    margin = other.gap if np.isfinite(other.gap) else 0.0
    if (centre < other.box[0] - margin).any() or (centre > other.box[1] + margin).any():
        return False
    for normal, stack in other.stacks:
        along = float(centre @ normal)
        near = abs(float(normal @ one.plane.normal)) >= np.cos(np.radians(_ANGLE))
        if near and stack[0] - margin / 2 <= along <= stack[-1] + margin / 2:
            return True
    return False
