"""Many predictions of a study to one: the mean, in no particular order, at a place of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Target
from lumbargrade.domain.volume import locate
from lumbargrade.grading.combine import average, settle
from lumbargrade.inference.base import as_prediction
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.validation.judged import FoldPredictions, JudgedRows, ensemble_of
from made_series import make_row, make_volume
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
        place = Point(target, series, round(z) + 1, (x, y, z), (z, x, y))
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
            assert finding.point is not None
            assert finding.point.patient is not None
            at = finding.point
            found += [*finding.probabilities, at.x, at.y, at.z, *finding.point.patient]
        return found

    same_series = all(
        f.point and g.point and f.point.series_id == g.point.series_id
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
        places = [m.findings[target].point for m in members if target in m.findings]
        votes = [p.series_id for p in places if p]
        at = finding.point
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
        votes = [m.findings[target].point for m in members if target in m.findings]
        ids = [p.series_id for p in votes if p]
        if len({ids.count(i) for i in set(ids)}) == len(set(ids)):  # no tie
            assert finding.point is not None
            assert theirs.point is not None
            assert finding.point.series_id == theirs.point.series_id
            assert finding.point.x == pytest.approx(theirs.point.x)
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
    probabilities = np.array([[0.2, 0.3, 0.5], [np.nan] * 3, [np.inf, 0, 0], *[[0, 0, 1]] * 2])
    points = locate(make_volume(), CANAL, np.zeros((5, 3)))
    found = as_prediction("r", "1", CANAL, probabilities, points)
    assert set(found.findings) == {CANAL[0], CANAL[3], CANAL[4]}
    assert set(found.absent) == {CANAL[1], CANAL[2]}
    known = found.without({CANAL[1]: "no slice"})  # a task that knows why says so
    assert set(known.findings) == {CANAL[0], CANAL[3], CANAL[4]}
    assert known.absent == {CANAL[1]: "no slice", CANAL[2]: "the output of r is not finite"}
    pointing = as_prediction("r", "1", CANAL, None, points)
    assert (pointing.findings, pointing.absent) == ({}, {})
    assert set(pointing.points) == set(CANAL)


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
    place = Point(CANAL[0], "100", instance, (10.0, 20.0, z), (-4 * z, 10.0, -20.0))
    return StudyPrediction("1", {CANAL[0]: Finding(CANAL[0], (0.5, 0.3, 0.2), place)})


def test_a_mean_lies_on_the_slice_that_is_nearest_to_it() -> None:
    """Members on slices 2, 2 and 5 meet at slice 3, which none of them names."""
    volume = make_volume(depth=9)  # slices 4 mm apart, instances from 1
    together = average([placed(2, 3), placed(2, 3), placed(5, 6)])
    at = settle(together, {"100": volume}).findings[CANAL[0]].point
    assert at is not None
    assert (at.z, at.instance_number) == (3.0, 4)
    assert at.patient == (-12.0, 10.0, -20.0)
    assert settle(together, {}) == together
    outside = settle(placed(11, 9), {"100": volume}).findings[CANAL[0]].point
    assert outside is not None
    assert outside.instance_number == 9


def drawn(seed: int) -> tuple[FloatArray, FloatArray]:
    """Probabilities and voxels of the canal's targets."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet([1, 1, 1], 5), rng.uniform(0, 8, (5, 3))


def series_prediction(seed: int, series: str = "100", shift: float = 0.0) -> StudyPrediction:
    probabilities, voxels = drawn(seed)
    points = locate(replace(make_volume(), series_id=series), CANAL, voxels + shift)
    return as_prediction("r", "1", CANAL, probabilities, points)


def test_numbers_of_a_series_become_findings_with_points() -> None:
    probabilities, voxels = drawn(0)
    patient = make_volume().to_patient(voxels)
    study = series_prediction(0).with_sources([ModelSource("r", 3)])
    assert list(study.findings) == list(CANAL)
    for i, target in enumerate(CANAL):
        finding = study.findings[target]
        assert finding.probabilities == tuple(probabilities[i])
        assert finding.point is not None
        assert (finding.point.x, finding.point.y, finding.point.z) == tuple(voxels[i])
        assert finding.point.patient == tuple(patient[i])
        nearest = make_volume().slices[round(voxels[i, 2])]
        assert finding.point.instance_number == nearest.instance_number
        assert finding.sources == (ModelSource("r", 3),)
    assert study.sources == (ModelSource("r", 3),)
    assert study.points == {t: f.point for t, f in study.findings.items()}
    np.testing.assert_array_equal(study.probability_rows(CANAL), probabilities)
    np.testing.assert_array_equal(study.point_rows(CANAL, patient=False), voxels)
    np.testing.assert_array_equal(study.point_rows(CANAL, patient=True), patient)
    nothing = study.probability_rows([RECESS]), study.point_rows([RECESS], patient=True)
    assert all(np.isnan(rows).all() and rows.shape == (1, 3) for rows in nothing)


def test_a_point_that_is_nowhere_is_no_point() -> None:
    voxels = drawn(0)[1]
    voxels[2, 1] = np.nan
    assert set(locate(make_volume(), CANAL, voxels)) == {*CANAL[:2], *CANAL[3:]}


def mean_of(members: list[dict[str, StudyPrediction]]) -> dict[str, StudyPrediction]:
    """Series -> the mean of what models say of it, as `ensemble_of` has it."""
    row, meta = make_row(Condition.CANAL), ModelMeta(Recipe("r", "canal"), 3)
    folds = []
    for said in members:
        rows = [replace(row, series_id=series) for series in said]
        folds.append(FoldPredictions(meta, JudgedRows(rows, list(said.values()))))
    judged = ensemble_of(folds)[3]
    return dict(zip((row.key[1] for row in judged.rows), judged.plain, strict=True))


def test_the_mean_over_models_is_taken_series_by_series_as_of_findings() -> None:
    first = {series: series_prediction(int(series), series) for series in ("1", "2", "3")}
    second = {
        "3": series_prediction(5, "3"),
        "1": series_prediction(4, "1"),
    }  # other order, one less
    found = mean_of([first, second])
    assert list(found) == ["1", "3"]
    for series, one in found.items():
        a, b = first[series], second[series]
        both = (a.probability_rows(CANAL) + b.probability_rows(CANAL)) / 2
        np.testing.assert_allclose(one.probability_rows(CANAL), both)
        # points that lie on different levels are not averaged, here as in the findings
        together = average([a, b])
        for target in CANAL:
            assert together.findings[target].point == one.points[target]
    near = [{"1": series_prediction(1, "1", shift)} for shift in (0.0, 0.5)]
    middle = mean_of(near)["1"].point_rows(CANAL, patient=False)
    np.testing.assert_allclose(middle, drawn(1)[1] + 0.25)
    alone = mean_of([first])["1"]
    assert alone.points == first["1"].points


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
            place = Point(CANAL[0], "100", volume.slices[round(z)].instance_number, voxel, patient)
            members.append(StudyPrediction("1", {CANAL[0]: Finding(CANAL[0], (1, 0, 0), place)}))
        expected = np.mean([volume.to_patient((20, 30, z)) for z in zs], axis=0)
        at = settle(average(members), {"100": volume}).findings[CANAL[0]].point
        assert at is not None
        assert np.linalg.norm(np.subtract(at.patient, expected)) < 2
        np.testing.assert_allclose(volume.to_patient((at.x, at.y, at.z)), at.patient)
