"""A study's way through the two-stage system, network by network.

`StudyFlow.run` may be called for one network and many studies or for one study and many networks,
in the order of `groups.RUNS`. Outputs are small arrays, so that a study's progress can be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.team_two_stage.decoding import (
    Values,
    axial_level_slices,
    best_series,
    flat_points,
    fractional_points,
    joint_t2_points,
    levels_of_series,
)
from lumbargrade.team_two_stage.faults import Faults
from lumbargrade.team_two_stage.groups import RUNS, Array, Network, level_stack
from lumbargrade.team_two_stage.members import Member, SetName
from lumbargrade.team_two_stage.series import Case, PublishedSeries
from lumbargrade.team_two_stage.slices import ten_slices
from lumbargrade.team_two_stage.volumes import SIDE

#: Groups that grade, with what each grades.
GRADES: dict[str, tuple[Condition, ...]] = {
    "fused": tuple(Condition),
    "t1": (Condition.FORAMINAL,),
    "t2": (Condition.CANAL,),
    "axial": (Condition.SUBARTICULAR,),
}

#: Share of the fused networks in the logits of a condition; the group of one view has the rest.
FUSED_SHARE: dict[SetName, dict[Condition, float]] = {
    "8620": {Condition.CANAL: 0.5896, Condition.FORAMINAL: 0.09, Condition.SUBARTICULAR: 0.38},
    "666": {Condition.CANAL: 0.55, Condition.FORAMINAL: 0.10, Condition.SUBARTICULAR: 0.38},
}

#: Where the conditions are in the five rows of the fused networks' logits.
_FUSED_ROWS = {
    Condition.CANAL: slice(0, 1),
    Condition.FORAMINAL: slice(1, 3),
    Condition.SUBARTICULAR: slice(3, 5),
}

#: The sagittal series that the fused networks see a condition on.
_SAGITTAL = {
    Condition.CANAL: SeriesKind.SAGITTAL_T2,
    Condition.FORAMINAL: SeriesKind.SAGITTAL_T1,
    Condition.SUBARTICULAR: SeriesKind.SAGITTAL_T2,
}

#: The slices of the ten at the middle of what the fused networks see of canal, left and right.
_FUSED_MIDDLE = {"canal": 5, "left": 7, "right": 2}


def needed_groups(graded: Iterable[str], set_name: SetName) -> tuple[str, ...]:
    """Return the groups that graded groups need, these included, in the order of `RUNS`."""
    of_t2 = "sagittal_3d_both" if set_name == "8620" else "sagittal_3d_t2"
    needs = {
        "fused": ("sagittal_2d_t1", "sagittal_2d_t2", "axial_3d"),
        "t1": ("sagittal_3d_t1",),
        "t2": (of_t2,),
        "axial": (of_t2, "axial_level", "axial_2d"),
    }
    wanted = {group for name in graded for group in (name, *needs[name])}
    return tuple(group for group in RUNS if group in wanted)


def member_key(member: Member) -> str:
    """Return the name of a checkpoint in the release, which tells it from all others."""
    return f"{member.roots[0]}/{member.folder}/{member.file}"


@dataclass
class StudyFlow:
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

    @cached_property
    def axial(self) -> tuple[PublishedSeries, ...]:
        """The axial series in the order in which they are joined."""
        if self.faults.file_order:
            return self.case.axial
        return tuple(sorted(self.case.axial, key=lambda s: -s.head))

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

    def run(self, member: Member, network: Network) -> None:
        """Run a network on the study, if it has what the network needs, and keep its output."""
        key = member_key(member)
        if key not in self.outputs and self.missing(member.group) is None:
            self.outputs[key] = np.asarray(RUNS[member.group](self, member, network), np.float32)

    def done(self, member: Member) -> bool:
        """Return whether a network need not be run (any more)."""
        return member_key(member) in self.outputs or self.missing(member.group) is not None

    def cached(self, make: Callable[..., Array], *what: Any) -> Array:
        """Return inputs that several networks share; they are made once."""
        key = (make.__name__, *what)
        if key not in self._cache:
            self._cache[key] = make(self, *what)
        return self._cache[key]

    def forget_inputs(self) -> None:
        """Free the memory of shared inputs."""
        self._cache.clear()

    def _mean(self, group: str) -> Values:
        """Plain mean of a first-stage group's outputs."""
        return np.asarray(np.mean(self._said(group)[0], axis=0), float)

    def _said(self, group: str) -> tuple[list[Array], list[float]]:
        """The outputs of a group, and the weight of each."""
        mine = [m for m in self.members if m.group == group and member_key(m) in self.outputs]
        weights = [m.weight if self.faults.exchanged_weight else m.meant_weight for m in mine]
        return [self.outputs[member_key(m)] for m in mine], weights

    def group_logits(self, group: str) -> Values | None:
        """Weighted mean of a grading group's logits; None if none of its networks was run."""
        outputs, weights = self._said(group)
        if not outputs:
            return None
        return np.asarray(np.average(np.asarray(outputs, float), axis=0, weights=weights))

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
        lengths = [len(level_stack(series)) for series in self.axial]
        windows = self.faults.third_series_window
        return levels_of_series(self._mean("axial_level"), lengths, published_windows=windows)

    @property
    def axial_slices(self) -> list[NDArray[np.intp]]:
        """The slice (2, 5) of each series that shows each side and level."""
        found = zip(self.axial_levels[..., 0], self.axial, strict=True)
        return [np.clip(np.round(z * s.depth), 0, s.depth - 1).astype(np.intp) for z, s in found]

    @property
    def axial_places(self) -> Values:
        """(S, 2, 5, 2): x, y in each series, fractions of the frame."""
        return self._mean("axial_2d") / SIDE

    def logits(self, condition: Condition) -> tuple[Values, tuple[str, ...]] | None:
        """Return the logits (1 or 2 sides, 5 levels, 3) of a condition, and the groups behind them.

        None if no group graded it.
        """
        alone = next(g for g, graded in GRADES.items() if graded == (condition,))
        parts = {alone: self.group_logits(alone), "fused": None}
        sees = _SAGITTAL[condition] in self.kinds or self.faults.missing_views_fail
        if sees and (whole := self.group_logits("fused")) is not None:
            parts["fused"] = whole[_FUSED_ROWS[condition]]
        share = FUSED_SHARE[self.set_name][condition]
        shares = {alone: 1 - share, "fused": share}
        there = {name: logits for name, logits in parts.items() if logits is not None}
        if not there:
            return None
        weights = [shares[name] for name in there]
        return np.average(list(there.values()), axis=0, weights=weights), tuple(there)

    def places(self, condition: Condition) -> list[tuple[PublishedSeries, Values]] | None:
        """Return the series and the (x, y, slice) of each target of a condition, 512 frame.

        The places are the centres of the crops: those of the group of one view if it was run,
        otherwise those of the fused networks. None if there are none.
        """
        case = self.case
        ran: set[str] = {m.group for m in self.members if member_key(m) in self.outputs}
        if condition is Condition.SUBARTICULAR:
            return self._axial_places(ran)
        series = case.t2 if condition is Condition.CANAL else case.t1
        if series is None:
            return None
        first = {"sagittal_3d_both", "sagittal_3d_t2"}
        if condition is Condition.CANAL and ran & first:
            return [(series, p * (SIDE, SIDE, series.depth)) for p in self.t2_points]
        if condition is Condition.FORAMINAL and "sagittal_3d_t1" in ran:
            return [(series, p * (SIDE, SIDE, series.depth)) for p in self.t1_points]
        if not {"sagittal_2d_t1", "sagittal_2d_t2"} <= ran:
            return None
        ten = ten_slices(series.depth)
        if condition is Condition.CANAL:
            sides, flat = ["canal"], self.flat_t2_points
        else:
            sides, flat = ["left", "right"], self.flat_t1_points
        return [(series, np.array([*xy, ten[_FUSED_MIDDLE[s]]])) for s in sides for xy in flat]

    def _axial_places(self, ran: set[str]) -> list[tuple[PublishedSeries, Values]] | None:
        if "axial_2d" not in ran:
            return self._axial_3d_places() if "axial_3d" in ran else None
        best = best_series(self.axial_levels[..., 1], rounded=self.faults.rounded_confidence)
        xy, z = self.axial_places * SIDE, self.axial_slices
        return [
            (self.axial[s], np.array([*xy[s, side, level], z[s][side, level]]))
            for side, row in enumerate(best)
            for level, s in enumerate(row)
        ]

    def _axial_3d_places(self) -> list[tuple[PublishedSeries, Values]]:
        """The points of the axial 3-D networks in the series with most slices."""
        s = int(np.argmax([series.depth for series in self.axial]))
        points = self._mean("axial_3d")[s].reshape(10, 3)
        scale = (SIDE / 4, SIDE / 4, self.axial[s].depth / 16)
        return [(self.axial[s], point * scale) for point in points]
