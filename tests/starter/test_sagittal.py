"""Levels of a study from a network that is right: every point comes back, in every storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from oracle import Oracle, Outputs, Places, outputs, places_of, slices_of, volume_of

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import SEGMENT_OF, Mark, Segment, Structure
from lumbargrade.domain.upright import SAGITTAL, Turn
from lumbargrade.domain.vocabulary import KIND_OF, Condition, Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.phantom.study import plan_study
from lumbargrade.starter.sagittal import BATCH, HIDDEN, SagittalStudy, find_levels, is_sagittal
from made_stacks import make_series, make_stack, stored

CANALS = [Target(Condition.CANAL, v) for v in Level]
FORAMINA = [Target(Condition.FORAMINAL, v, s) for v in Level for s in Side]


@dataclass(frozen=True)
class Case:
    """A study whose true places are known."""

    places: Places
    volumes: tuple[Volume, ...]
    outputs: tuple[Outputs, ...]

    def find(self, volumes: Sequence[Volume] | None = None, *, shift: int = 0) -> SagittalStudy:
        oracle = Oracle(*self.outputs)
        found = find_levels(self.volumes if volumes is None else volumes, oracle, shift=shift)
        assert oracle.done
        assert max(oracle.asked) <= BATCH
        return found

    def only(self, kind: SeriesKind) -> Case:
        pairs = [p for p in zip(self.volumes, self.outputs, strict=True) if p[0].kind is kind]
        volumes, made = zip(*pairs, strict=True)
        return replace(self, volumes=volumes, outputs=made)


@cache
def case(number: int = 0) -> Case:
    """A phantom study with its two sagittal series (the second may be oblique to the first)."""
    plan = plan_study(3, number)
    places = places_of(plan.anatomy)
    volumes = tuple(volume_of(plan, s) for s in plan.series if s.kind.sagittal)
    return Case(places, volumes, tuple(outputs(v, places) for v in volumes))


def check(found: SagittalStudy, places: Places, targets: Sequence[Target]) -> None:
    """Every target lies within half a pixel of the grid in the plane, and within one slice."""
    volumes = {s.series_id: s.grid.volume for s in found.series}
    assert set(found.points) == set(targets)
    for target in targets:
        point = found.points[target]
        assert point.patient is not None
        volume = volumes[point.series_id]
        normal = volume.slices[0].plane.normal
        off = np.array(point.patient) - places.targets[target]
        side = float(off @ normal)
        assert np.linalg.norm(off - side * normal) < 0.75
        z = round(point.z)
        assert volume.slices[z].instance_number == point.instance_number
        gap = abs(volume.slices[1].plane.projection - volume.slices[0].plane.projection)
        assert abs(side) <= gap
        np.testing.assert_allclose(volume.to_patient(point.voxel), point.patient, atol=1e-6)
        assert 0 < found.scores[target] <= 1


@pytest.mark.parametrize("number", range(3))
def test_all_points_of_a_study_come_back_in_the_series_they_are_graded_in(number: int) -> None:
    study = case(number)
    found = study.find()
    check(found, study.places, CANALS + FORAMINA)
    assert found.numbering.certain
    assert not found.absent
    kinds = {s.series_id: s.grid.volume.kind for s in found.series}
    assert all(kinds[p.series_id] is KIND_OF[t.condition] for t, p in found.points.items())
    named = {d.segment: d for d in found.discs}
    assert set(SEGMENT_OF.values()) <= set(named)
    for segment, place in zip(study.places.segments, study.places.marks[Mark.DISC], strict=True):
        if segment is not Segment.HIGHER:
            assert np.linalg.norm(np.array(named[segment].centre) - place) < 3
    for one in found.series:
        assert set(one.canals) == set(Level)
        assert len(one.foramina) == 10
        for (level, side), lps in one.foramina.items():
            assert (lps[0] > one.canals[level][0]) == (side is Side.LEFT)


@pytest.mark.parametrize(
    ("turn", "backwards"),
    [(Turn(*t), b) for *t, b in product((False, True), repeat=4)],
)
def test_every_storage_gives_the_same_points(turn: Turn, backwards: bool) -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    upright = study.volumes[0]
    slices = tuple(upright.slices)
    if np.subtract(slices[-1].plane.position, slices[0].plane.position) @ SAGITTAL.slices < 0:
        backwards = not backwards
    other = stored(upright, turn, backwards=backwards)
    first, second = study.find(), study.find([other])
    assert set(second.points) == set(CANALS + FORAMINA)
    for target, point in second.points.items():
        np.testing.assert_allclose(point.patient, first.points[target].patient, atol=1e-6)
        assert point.instance_number == first.points[target].instance_number


def test_without_the_usual_kind_points_lie_in_the_other() -> None:
    for kind in (SeriesKind.SAGITTAL_T1, SeriesKind.SAGITTAL_T2):
        study = case().only(kind)
        found = study.find()
        check(found, study.places, CANALS + FORAMINA)
        assert {p.series_id for p in found.points.values()} == {study.volumes[0].series_id}


def test_a_series_of_unknown_kind_is_used_if_it_is_sagittal() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    found = study.find([replace(study.volumes[0], kind=None)])
    check(found, study.places, CANALS + FORAMINA)
    assert not is_sagittal(make_series(make_stack()))
    assert not is_sagittal(replace(make_series(make_stack()), kind=None))


def test_a_single_slice_gives_canal_points_and_says_why_there_are_no_foramina() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    whole = study.volumes[0]
    middle = int(np.rint(study.find().points[CANALS[2]].z))
    single = replace(
        whole, pixels=whole.pixels[middle : middle + 1], slices=(whole.slices[middle],)
    )
    k = int(np.flatnonzero(study.find().series[0].grid.maps.zs == middle)[0])
    found = replace(study, outputs=(slices_of(study.outputs[0], [k]),)).find([single])
    assert set(found.points) == set(CANALS)
    assert all(p.instance_number == middle + 1 for p in found.points.values())
    assert found.absent[FORAMINA[0]] == "the left foramen at L1/L2 was not found"


def test_a_patient_who_moved_between_series_keeps_the_points_of_each() -> None:
    """The second series shows everything 6 mm further to the head and 4 mm to the back."""
    study = case()
    move = np.array([0, 4.0, 6.0])
    marks = {m: p + move for m, p in study.places.marks.items()}
    moved = replace(study.places, marks=marks)
    volumes = study.volumes
    found = replace(study, outputs=(study.outputs[0], outputs(volumes[1], moved))).find()
    for target in CANALS + FORAMINA:
        point = found.points[target]
        true = study.places.targets[target]
        if point.series_id == volumes[1].series_id:
            true = true + move
        off = np.abs(np.subtract(point.patient, true))
        assert np.hypot(off[1], off[2]) < 1.5
    assert found.numbering.certain
    assert all(len(d.series) == 2 for d in found.discs)


def test_series_in_other_spaces_are_named_by_themselves() -> None:
    study = case()
    far = np.array([0, 0, 500.0])
    one, two = study.volumes
    planes = [
        SlicePlane(tuple((np.array(s.plane.position) + far).tolist()), *_axes(s.plane))
        for s in two.slices
    ]
    slices = tuple(replace(s, plane=p) for s, p in zip(two.slices, planes, strict=True))
    other = replace(two, slices=slices, frame_of_reference="g")
    found = study.find([one, replace(other)])
    true = {
        t: p + far * (found.points[t].series_id == two.series_id)
        for t, p in study.places.targets.items()
    }
    check(found, replace(study.places, targets=true), CANALS + FORAMINA)
    assert all(len(d.series) == 1 for d in found.discs)
    kinds = {v.series_id: v.kind for v in study.volumes}
    assert all(kinds[p.series_id] is KIND_OF[t.condition] for t, p in found.points.items())


def _axes(
    plane: SlicePlane,
) -> tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float]]:
    return plane.row, plane.column, plane.spacing


def test_a_disc_seen_in_one_series_only_is_found_and_its_points_are_moved_to_the_usual_one() -> (
    None
):
    """The T2 series lacks L3/L4: disc, canal and foramina."""
    study = case()
    at = list(study.places.segments).index(Segment.L3_L4)
    marks = dict(study.places.marks)
    marks[Mark.DISC] = np.delete(marks[Mark.DISC], at, axis=0)
    marks[Mark.CANAL] = np.delete(marks[Mark.CANAL], 2, axis=0)
    lacking = replace(
        study.places,
        marks=marks,
        segments=tuple(s for s in study.places.segments if s is not Segment.L3_L4),
    )
    kinds = [v.kind for v in study.volumes]
    t2 = kinds.index(SeriesKind.SAGITTAL_T2)
    made = list(study.outputs)
    made[t2] = outputs(study.volumes[t2], lacking)
    found = replace(study, outputs=tuple(made)).find()
    check(found, study.places, CANALS + FORAMINA)
    assert found.points[CANALS[2]].series_id == study.volumes[t2].series_id
    assert Level.L3_L4 not in found.series[t2].canals


def test_a_field_that_ends_above_l4_lacks_the_levels_below_and_says_so() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    keep = [i for i, s in enumerate(study.places.segments) if s <= Segment.L3_L4]
    high = replace(
        study.places,
        marks={
            Mark.DISC: study.places.marks[Mark.DISC][keep],
            Mark.BODY: study.places.marks[Mark.BODY][: len(keep) + 1],
            Mark.CANAL: study.places.marks[Mark.CANAL][:3],
            Mark.FORAMEN: study.places.marks[Mark.FORAMEN][:6],
        },
        segments=tuple(study.places.segments[i] for i in keep),
        sacral=study.places.sacral[: len(keep) + 1],
    )
    found = replace(study, outputs=(outputs(study.volumes[0], high),)).find()
    check(found, study.places, CANALS[:3] + FORAMINA[:6])
    assert found.absent[CANALS[4]] == "the disc L5/S1 was not found"
    assert found.numbering.reason.startswith("the field ends at L3/L4")


def test_no_spine_no_series_no_points() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    black = {n: np.zeros_like(o) for n, o in study.outputs[0].items()}
    black["marks"] = np.full_like(black["marks"], -9)
    for found in (replace(study, outputs=(black,)).find(), find_levels([], Oracle())):
        assert not found.points
        assert set(found.absent) == set(CANALS + FORAMINA)
    assert found.absent[CANALS[0]] == "the study has no sagittal series"
    none = replace(study, outputs=(black,)).find()
    assert none.absent[CANALS[0]].startswith("no lumbar spine: ")


def test_marks_far_from_their_disc_are_not_taken() -> None:
    """The canal mark of L3/L4 lies 40 mm too far back, its left foramen on the wrong side."""
    study = case().only(SeriesKind.SAGITTAL_T2)
    marks = {m: p.copy() for m, p in study.places.marks.items()}
    marks[Mark.CANAL][2] += [0, 40, 0]
    marks[Mark.FORAMEN][4] -= [60, 0, 0]
    stray = replace(study.places, marks=marks)
    found = replace(study, outputs=(outputs(study.volumes[0], stray),)).find()
    assert found.absent == {FORAMINA[4]: "the left foramen at L3/L4 was not found"}
    # the canal is placed by those above and below, and its low score says so
    hidden = found.points[CANALS[2]]
    assert hidden.patient is not None
    assert np.linalg.norm(np.array(hidden.patient) - study.places.targets[CANALS[2]]) < 5
    assert (
        found.scores[CANALS[2]] == HIDDEN < min(found.scores[t] for t in CANALS if t != CANALS[2])
    )


def test_a_canal_with_one_neighbour_is_not_placed() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    marks = {m: p.copy() for m, p in study.places.marks.items()}
    marks[Mark.CANAL][:] += [0, 40, 0]
    marks[Mark.CANAL][4] -= [0, 40, 0]
    stray = replace(study.places, marks=marks)
    found = replace(study, outputs=(outputs(study.volumes[0], stray),)).find()
    assert CANALS[4] in found.points
    assert all(target in found.absent for target in CANALS[:4])


def test_a_shift_moves_points_to_the_next_level() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    plain, lower = study.find(), study.find(shift=1)
    for above, below in pairwise(CANALS):
        assert lower.points[below].patient == plain.points[above].patient
    # no canal is marked beside T12/L1, which is L1/L2 now
    assert lower.scores[CANALS[0]] == HIDDEN
    assert lower.numbering.shift == 1


def test_structures_come_back_as_probabilities() -> None:
    study = case().only(SeriesKind.SAGITTAL_T2)
    one = study.find().series[0]
    k = len(one.structures) // 2
    sacrum = one.probability(Structure.SACRUM, k)
    total = sum(one.probability(s, k) for s in list(Structure)[:6])
    np.testing.assert_allclose(total, 1, atol=0.02)
    inside = study.outputs[0]["structures"][k, Structure.SACRUM] > 0
    assert sacrum[inside].min() > 0.95
    assert sacrum[~inside].max() < 0.2
