"""Many predictions of a study to one: the mean, in no particular order, at a place of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, ModelSource, Place, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Target
from lumbargrade.grading.combine import average, settle, study_prediction
from lumbargrade.models.inference import locate
from lumbargrade.models.task import SeriesPrediction
from lumbargrade.validation.out_of_fold import mean_of
from made_series import make_volume
from made_stacks import SAGITTAL, make_series, make_stack, turned

CANAL = TARGETS[Condition.CANAL]
RECESS = TARGETS[Condition.SUBARTICULAR][0]


def prediction(
    seed: int, targets: tuple[Target, ...] = CANAL, series: str = "7"
) -> StudyPrediction:
    rng = np.random.default_rng(seed)
    findings = {}
    for target in targets:
        a, b, c = rng.dirichlet([1, 1, 1]).tolist()
        x, y, z = rng.uniform(0, 6, 3).tolist()  # all within AGREE of each other
        place = Place(series, round(z) + 1, x, y, z, (z, x, y))
        findings[target] = Finding(target, (a, b, c), place)
    return StudyPrediction("1", findings, (ModelSource("r", seed),))


def mean(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


Members = st.lists(
    st.builds(
        prediction,
        st.integers(0, 10**6),
        st.sets(st.sampled_from(FINDINGS), min_size=1).map(lambda s: tuple(sorted(s, key=str))),
        st.sampled_from(["7", "8", "9"]),
    ),
    min_size=1,
    max_size=6,
)


def close(one: StudyPrediction, other: StudyPrediction) -> bool:
    def numbers(p: StudyPrediction) -> list[float]:
        found = []
        for finding in p.findings.values():
            assert finding.place is not None
            assert finding.place.patient is not None
            at = finding.place
            found += [*finding.probabilities, at.x, at.y, at.z, *finding.place.patient]
        return found

    same_series = all(
        f.place and g.place and f.place.series_id == g.place.series_id
        for f, g in zip(one.findings.values(), other.findings.values(), strict=True)
    )
    return (
        list(one.findings) == list(other.findings)
        and same_series
        and np.allclose(numbers(one), numbers(other), atol=1e-12)
    )


@given(Members)
def test_probabilities_are_the_plain_mean_over_those_who_predict(
    members: list[StudyPrediction],
) -> None:
    together = average(members)
    assert list(together.findings) == [t for t in FINDINGS if any(t in m.findings for m in members)]
    for target, finding in together.findings.items():
        theirs = [m.findings[target] for m in members if target in m.findings]
        for grade in range(3):
            expected = mean([f.probabilities[grade] for f in theirs])
            assert finding.probabilities[grade] == pytest.approx(expected, abs=1e-12)


@given(Members)
def test_a_place_is_the_mean_in_the_series_with_most_votes(members: list[StudyPrediction]) -> None:
    for target, finding in average(members).findings.items():
        places = [m.findings[target].place for m in members if target in m.findings]
        votes = [p.series_id for p in places if p]
        at = finding.place
        assert at is not None
        most = max(votes.count(s) for s in votes)
        assert at.series_id == next(s for s in votes if votes.count(s) == most)
        there = [p for p in places if p and p.series_id == at.series_id]
        for axis in ("x", "y", "z"):
            assert getattr(at, axis) == pytest.approx(mean([getattr(p, axis) for p in there]))


@given(Members, st.randoms())
def test_order_changes_nothing_but_ties(members: list[StudyPrediction], random: object) -> None:
    shuffled = [*members]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = average(members), average(shuffled)
    for target, finding in one.findings.items():
        theirs = other.findings[target]
        assert np.allclose(finding.probabilities, theirs.probabilities, atol=1e-12)
        votes = [m.findings[target].place for m in members if target in m.findings]
        ids = [p.series_id for p in votes if p]
        if len({ids.count(i) for i in set(ids)}) == len(set(ids)):  # no tie
            assert finding.place is not None
            assert theirs.place is not None
            assert finding.place.series_id == theirs.place.series_id
            assert finding.place.x == pytest.approx(theirs.place.x)
    assert set(one.sources) == set(other.sources)


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_copies_average_to_themselves(seed: int, copies: int) -> None:
    one = prediction(seed, FINDINGS)
    assert close(average([one] * copies), one)
    assert average([one] * copies).sources == one.sources


def test_what_is_absent_stays_so_only_if_nobody_predicts_it() -> None:
    target = CANAL[0]
    one = StudyPrediction("1", {}, absent={target: "no T2", RECESS: "no axial slice"})
    other = StudyPrediction("1", {}, absent={target: "no T2; no point"})
    nobody = average([one, other, one])
    assert nobody.findings == {}
    assert nobody.absent == {target: "no T2; no point", RECESS: "no axial slice"}
    both = average([one, prediction(1)])
    assert both.findings[target] == average([prediction(1)]).findings[target]
    assert both.absent == {RECESS: "no axial slice"}


def test_an_output_that_is_no_number_is_absent_with_the_name_of_its_model() -> None:
    one = SeriesPrediction(
        study_id="1",
        series_id="7",
        targets=CANAL,
        probabilities=np.array([[0.2, 0.3, 0.5], [np.nan] * 3, [np.inf, 0, 0], *[[0, 0, 1]] * 2]),
        voxels=np.zeros((5, 3)),
        patient=np.zeros((5, 3)),
        instances=np.ones(5, np.int64),
        absent={CANAL[0]: "never used", CANAL[1]: "no slice"},
    )
    found = study_prediction(one, (ModelSource("r", 3),))
    assert set(found.findings) == {CANAL[0], CANAL[3], CANAL[4]}
    assert found.absent == {CANAL[1]: "no slice", CANAL[2]: "the output of r is not finite"}
    pointing = study_prediction(one, (ModelSource("r", 3),), grades=False)
    assert (pointing.findings, pointing.absent) == ({}, {})


def test_sources_and_problems_are_kept_each_once() -> None:
    bad = replace(prediction(1), problems=(Problem("a slice is damaged"),))
    together = average([bad, prediction(2), bad])
    assert together.sources == (ModelSource("r", 1), ModelSource("r", 2))
    assert together.problems == bad.problems


def test_predictions_of_two_studies_have_no_mean() -> None:
    with pytest.raises(ValueError, match=r"studies \['1', '2'\]"):
        average([prediction(1), replace(prediction(1), study_id="2")])
    with pytest.raises(ValueError, match="cannot average"):
        average([])


def placed(z: float, instance: int) -> StudyPrediction:
    place = Place("100", instance, 10.0, 20.0, z, (-4 * z, 10.0, -20.0))
    return StudyPrediction("1", {CANAL[0]: Finding(CANAL[0], (0.5, 0.3, 0.2), place)})


def test_a_mean_lies_on_the_slice_that_is_nearest_to_it() -> None:
    """Members on slices 2, 2 and 5 meet at slice 3, which none of them names."""
    volume = make_volume(depth=9)  # slices 4 mm apart, instances from 1
    together = average([placed(2, 3), placed(2, 3), placed(5, 6)])
    at = settle(together, {"100": volume}).findings[CANAL[0]].place
    assert at is not None
    assert (at.z, at.instance_number) == (3.0, 4)
    assert at.patient == (-12.0, 10.0, -20.0)
    assert settle(together, {}) == together
    outside = settle(placed(11, 9), {"100": volume}).findings[CANAL[0]].place
    assert outside is not None
    assert outside.instance_number == 9


def series_prediction(seed: int, series: str = "100") -> SeriesPrediction:
    rng = np.random.default_rng(seed)
    voxels = rng.uniform(0, 8, (5, 3))
    patient, instances = locate(make_volume(), voxels)
    probabilities = rng.dirichlet([1, 1, 1], 5)
    return SeriesPrediction("1", series, CANAL, probabilities, voxels, patient, instances)


def test_a_series_prediction_becomes_findings_with_places() -> None:
    one = series_prediction(0)
    study = study_prediction(one, (ModelSource("r", 3),))
    assert list(study.findings) == list(CANAL)
    for i, target in enumerate(CANAL):
        finding = study.findings[target]
        assert finding.probabilities == tuple(one.probabilities[i])
        assert finding.place is not None
        assert (finding.place.x, finding.place.y, finding.place.z) == tuple(one.voxels[i])
        assert finding.place.patient == tuple(one.patient[i])
        assert finding.place.instance_number == one.instances[i]
    assert study.sources == (ModelSource("r", 3),)


def test_the_mean_over_models_is_taken_series_by_series_as_of_findings() -> None:
    first = [series_prediction(1, "100"), series_prediction(2, "200"), series_prediction(3, "300")]
    second = [series_prediction(5, "300"), series_prediction(4, "100")]  # another order, one less
    found = mean_of([first, second])
    assert [p.series_id for p in found] == ["100", "300"]
    for one, a, b in zip(found, (first[0], first[2]), (second[1], second[0]), strict=True):
        np.testing.assert_allclose(one.probabilities, (a.probabilities + b.probabilities) / 2)
        # places that lie on different levels are not averaged, here as in the findings
        together = average([study_prediction(a), study_prediction(b)])
        for i, target in enumerate(CANAL):
            at = together.findings[target].place
            assert at is not None
            assert (at.x, at.y, at.z) == tuple(one.voxels[i])
            assert at.patient == tuple(one.patient[i])
            assert at.instance_number == one.instances[i]
    near = [replace(first[0], voxels=first[0].voxels + d) for d in (0.0, 0.5)]
    near = [replace(p, patient=make_volume().to_patient(p.voxels)) for p in near]
    (middle,) = mean_of([[p] for p in near])
    np.testing.assert_allclose(middle.voxels, first[0].voxels + 0.25)
    (alone,) = mean_of([[first[0]]])
    np.testing.assert_array_equal(alone.voxels, first[0].voxels)
    np.testing.assert_array_equal(alone.instances, first[0].instances)


def test_a_mean_of_places_in_two_stacks_lies_between_them_in_the_patient() -> None:
    """Slice coordinates of different stacks have no mean, in whatever order the stacks are."""
    near = make_stack(SAGITTAL, (10.0, 0, 0), 3, 4.0)
    far = make_stack(turned(0, 0, 5) @ SAGITTAL, (0.0, 0, 0), 3, 4.0, group=1, first=4)
    for slices in (near + far, [*far, *near]):
        order = {g: i for i, g in enumerate(dict.fromkeys(s.group for s in slices))}
        volume = make_series([replace(s, group=order[s.group]) for s in slices], "100")
        zs = [float(volume.slice_of_instance(n)) for n in (3, 5)]
        members = []
        for z in zs:
            voxel = (20.0, 30.0, z)
            patient = tuple(volume.to_patient(voxel).tolist())
            place = Place("100", volume.slices[round(z)].instance_number, *voxel, patient)
            members.append(StudyPrediction("1", {CANAL[0]: Finding(CANAL[0], (1, 0, 0), place)}))
        expected = np.mean([volume.to_patient((20, 30, z)) for z in zs], axis=0)
        at = settle(average(members), {"100": volume}).findings[CANAL[0]].place
        assert at is not None
        assert np.linalg.norm(np.subtract(at.patient, expected)) < 2
        np.testing.assert_allclose(volume.to_patient((at.x, at.y, at.z)), at.patient)
