"""A study's way through the two-stage system, network by network.

`StudyFlow.run` may be called for one network and many studies or for one study and many networks,
in the order of `groups.RUNS`. Outputs are small arrays, so that a study's progress can be stored.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.team_two_stage.decoding import Values, best_series
from lumbargrade.team_two_stage.groups import RUNS, Network
from lumbargrade.team_two_stage.members import Member, SetName
from lumbargrade.team_two_stage.series import PublishedSeries
from lumbargrade.team_two_stage.slices import ten_slices
from lumbargrade.team_two_stage.state import StudyState, member_key
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


class StudyFlow(StudyState):
    """A study and the networks that are run on it."""

    def run(self, member: Member, network: Network) -> None:
        """Run a network on the study, if it has what the network needs, and keep its output."""
        key = member_key(member)
        if key not in self.outputs and self.missing(member.group) is None:
            self.outputs[key] = np.asarray(RUNS[member.group](self, member, network), np.float32)

    def done(self, member: Member) -> bool:
        """Return whether a network need not be run (any more)."""
        return member_key(member) in self.outputs or self.missing(member.group) is not None

    def group_logits(self, group: str) -> Values | None:
        """Weighted mean of a grading group's logits; None if none of its networks was run."""
        outputs, weights = self._said(group)
        if not outputs:
            return None
        return np.asarray(np.average(np.asarray(outputs, float), axis=0, weights=weights))

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
