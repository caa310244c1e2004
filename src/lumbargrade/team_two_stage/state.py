"""What is known of a study so far: its images, the outputs of networks, points from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.team_two_stage.decoding import (
    Values,
    axial_level_slices,
    flat_points,
    fractional_points,
    joint_t2_points,
    levels_of_series,
)
from lumbargrade.team_two_stage.faults import Faults
from lumbargrade.team_two_stage.members import Member, SetName
from lumbargrade.team_two_stage.series import Case, PublishedSeries
from lumbargrade.team_two_stage.volumes import SIDE, Slices, centre, nearest

Array = NDArray[Any]

#: Axial level network: centre that is read, side of its input, and slice spacing (mm).
_LEVEL_CENTRE, _LEVEL_SIDE, _LEVEL_SPACING = 384, 224, 3.0


def member_key(member: Member) -> str:
    """Return the name of a checkpoint in the release, which tells it from all others."""
    return f"{member.roots[0]}/{member.folder}/{member.file}"


def level_stack(series: PublishedSeries) -> Slices:
    """Return the slices of an axial series as the level network reads them."""
    depth = series.depth
    if series.spacing is not None:
        depth = max(1, int(depth * (series.spacing / _LEVEL_SPACING)))
    inner = centre(series.slices, _LEVEL_CENTRE)
    return nearest(inner, (depth, _LEVEL_SIDE, _LEVEL_SIDE))


@dataclass
class StudyState:
    """What the networks have said of a study so far.

    Attributes:
        case: the study.
        members: the networks that are used.
        set_name: the set of networks.
        faults: which published faults are reproduced.
        outputs: by `member_key`, what each network has said.
    """

    case: Case
    members: Sequence[Member]
    set_name: SetName = "8620"
    faults: Faults = field(default_factory=Faults)
    outputs: dict[str, Array] = field(default_factory=dict)
    _cache: dict[Any, Array] = field(default_factory=dict, repr=False)

    @property
    def axial(self) -> tuple[PublishedSeries, ...]:
        """The axial series in the order in which they are given."""
        return self.case.axial

    @property
    def level_order(self) -> list[int]:
        """Index in ``axial`` of each series, in the order in which the level network reads them."""
        order = range(len(self.axial))
        if self.faults.file_order:
            return list(order)
        return sorted(order, key=lambda i: -self.axial[i].head)

    @property
    def kinds(self) -> set[SeriesKind]:
        """The kinds of series that the study has."""
        found = {SeriesKind.AXIAL_T2} if self.case.axial else set()
        found |= {SeriesKind.SAGITTAL_T1} if self.case.t1 is not None else set()
        return found | ({SeriesKind.SAGITTAL_T2} if self.case.t2 is not None else set())

    def missing(self, group: str) -> SeriesKind | None:
        """Return the series without which a group cannot say anything; None if all are there.

        With `Faults.missing_views_fail`, only the axial series that the published code needs.
        """
        t1, t2, axial = SeriesKind.SAGITTAL_T1, SeriesKind.SAGITTAL_T2, SeriesKind.AXIAL_T2
        needs = {
            **dict.fromkeys(("axial_3d", "axial_level", "axial_2d", "axial", "fused"), axial),
            **dict.fromkeys(("sagittal_2d_t1", "sagittal_3d_t1", "t1"), t1),
            **dict.fromkeys(("sagittal_2d_t2", "sagittal_3d_t2", "sagittal_3d_both", "t2"), t2),
        }
        if group in ("sagittal_2d_t1", "sagittal_2d_t2"):
            # beside another view, the fused networks read a black image and its points
            return axial if axial not in self.kinds else None
        if self.faults.missing_views_fail and (needs[group] is not axial or group == "axial"):
            return None
        return None if needs[group] in self.kinds else needs[group]

    def cached(self, make: Callable[..., Array], *what: Any) -> Array:
        """Return inputs that several networks share; they are made once."""
        key = (make.__name__, *what)
        if key not in self._cache:
            self._cache[key] = make(self, *what)
        return self._cache[key]

    def _mean(self, group: str) -> Values:
        """Plain mean of a first-stage group's outputs."""
        return np.asarray(np.mean(self._said(group)[0], axis=0), float)

    def _said(self, group: str) -> tuple[list[Array], list[float]]:
        """The outputs of a group, and the weight of each."""
        mine = [m for m in self.members if m.group == group and member_key(m) in self.outputs]
        weights = [m.weight if self.faults.exchanged_weight else m.meant_weight for m in mine]
        return [self.outputs[member_key(m)] for m in mine], weights

    @property
    def flat_t1_points(self) -> Values:
        """(5, 2) on T1, pixels of the 512 frame; the same for both sides."""
        return flat_points(self._mean("sagittal_2d_t1"))

    @property
    def flat_t2_points(self) -> Values:
        """(5, 2) on T2, pixels of the 512 frame."""
        return flat_points(self._mean("sagittal_2d_t2"))

    @property
    def t1_points(self) -> Values:
        """(10, 3) on T1, fractions of frame and depth: left, then right."""
        return fractional_points(self._mean("sagittal_3d_t1"))

    @property
    def t2_points(self) -> Values:
        """(5, 3) on T2, fractions of frame and depth."""
        if self.set_name == "8620":
            return joint_t2_points(self._mean("sagittal_3d_both"))
        return fractional_points(self._mean("sagittal_3d_t2"))

    @property
    def level_slices(self) -> list[Values]:
        """The slice of each level in each axial series, for the fused networks."""
        outputs = self._mean("axial_3d")
        return [axial_level_slices(o, s.depth) for o, s in zip(outputs, self.axial, strict=True)]

    @property
    def axial_levels(self) -> Values:
        """(S, 2, 5, 2): slice as a fraction, and confidence, of each series, side and level."""
        order = self.level_order
        lengths = [len(level_stack(self.axial[i])) for i in order]
        windows = self.faults.third_series_window
        found = levels_of_series(self._mean("axial_level"), lengths, published_windows=windows)
        return np.asarray(found[np.argsort(order)])

    @property
    def axial_slices(self) -> list[NDArray[np.intp]]:
        """The slice (2, 5) of each series that shows each side and level."""
        found = zip(self.axial_levels[..., 0], self.axial, strict=True)
        return [np.clip(np.round(z * s.depth), 0, s.depth - 1).astype(np.intp) for z, s in found]

    @property
    def axial_places(self) -> Values:
        """(S, 2, 5, 2): x, y in each series, fractions of the frame."""
        return self._mean("axial_2d") / SIDE
