"""A finding without evidence is absent, with its reason, wherever the results of `grade` say it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from json_schemas import require_valid
from known_points import known_guide
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.views import cut_level
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Level,
    SeriesKind,
    Side,
    Target,
    plain_name,
)
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.blend_file import FORMAT, Blend, BlendMember, ConditionBlend, Measured
from lumbargrade.grading.ensembles import BlendedEnsembles, Ensemble
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.members import Member, load_member
from lumbargrade.grading.results import read_results
from lumbargrade.inference.base import Arrays, Engine
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.report.overview import GradingSummary, Overview, StudyEntry
from lumbargrade.report.study import grade_counts, write_study
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.scoring.calibration import Calibration, Method
from small_models import grade_unchecked, save_small_model

CPU = "cpu"
T1, T2, AXIAL = SeriesKind
CANAL, FORAMINAL, SUBARTICULAR = (
    TARGETS[c] for c in (Condition.CANAL, Condition.FORAMINAL, Condition.SUBARTICULAR)
)
Reasons = Mapping[Target, str]


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> VolumeStore:
    return VolumeStore.open(phantom_store)


@pytest.fixture(scope="module")
def study(store: VolumeStore) -> Study:
    number = store.series[0].study_id
    volumes = [store.volume(number, s.series_id) for s in store.series if s.study_id == number]
    return Study(str(number), tuple(v for k in SeriesKind for v in volumes if v.kind is k))


@pytest.fixture(scope="module")
def guides(store: VolumeStore) -> list[Member]:
    return [known_guide(store, "sagittal_t1"), known_guide(store, "sagittal_t2")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Member]:
    folder = tmp_path_factory.mktemp("models")
    for task in ("canal", "foraminal", "subarticular", "two_stage"):
        save_small_model(folder / task, task)
    return {p.name: load_member(p, CPU) for p in sorted(folder.iterdir())}


def without(study: Study, *kinds: SeriesKind) -> Study:
    return replace(study, volumes=tuple(v for v in study.volumes if v.kind not in kinds))


def upper_axial(study: Study, store: VolumeStore) -> Study:
    """The study with an axial stack that ends between L2/L3 and L3/L4."""
    (axial,) = study.of(AXIAL)
    known = {p.target: p.patient for p in store.points if p.study_id == study.study_id}
    near = [cut_level(known[t], [axial]).stacks[0].nearest.z for t in CANAL[1:3]]
    z = np.arange(len(axial.slices))
    upwards = axial.slices[-1].plane.position[2] > axial.slices[0].plane.position[2]
    kept = z[z > np.mean(near)] if upwards else z[z < np.mean(near)]
    short = replace(axial, pixels=axial.pixels[kept], slices=tuple(axial.slices[i] for i in kept))
    return replace(study, volumes=(*without(study, AXIAL).volumes, short))


class NoNumber:
    """An engine whose grades are NaN at some of its outputs."""

    def __init__(self, engine: Engine, at: Sequence[int]) -> None:
        self.engine, self.at, self.name = engine, list(at), engine.name

    def run(self, inputs: Arrays) -> Arrays:
        outputs = dict(self.engine.run(inputs))
        outputs["grade"] = outputs["grade"].copy()
        outputs["grade"][self.at] = np.nan
        return outputs


def blend_of(**weights: Mapping[str, float]) -> Blend:
    """Of conditions (by lower-case name) to weights of members."""
    plain = Calibration(Method.TEMPERATURE, scale=(1.0, 1.0, 1.0))
    measured = Measured(10, {}, 0.4, 0.3)
    conditions = {
        Condition[name.upper()]: ConditionBlend(dict(w), Origin.FITTED, plain, measured)
        for name, w in weights.items()
    }
    names = dict.fromkeys(n for w in weights.values() for n in w)
    return Blend(FORMAT, "abc", tuple(BlendMember(n, False, ()) for n in names), conditions)


@dataclass(frozen=True)
class Made:
    """What situations are made from."""

    study: Study
    store: VolumeStore
    models: Mapping[str, Member]
    guides: Sequence[Member]

    def grade(self, study: Study, *names: str) -> StudyPrediction:
        return grade_unchecked(study, [self.models[n] for n in names], guides=self.guides)

    def blended(self, study: Study, blend: Blend, **members: str) -> StudyPrediction:
        ensembles = {
            name: Ensemble([self.models[model]], guides=self.guides)
            for name, model in members.items()
        }
        return grade_unchecked(study, BlendedEnsembles(blend, ensembles))


@pytest.fixture(scope="module")
def made(
    study: Study, store: VolumeStore, models: Mapping[str, Member], guides: list[Member]
) -> Made:
    return Made(study, store, models, guides)


def no_model(*targets: Iterable[Target]) -> Reasons:
    return {
        t: f"none of the models grades {plain_name(t.condition)}"
        for group in targets
        for t in group
    }


def one_condition(m: Made) -> tuple[StudyPrediction, Reasons]:
    return m.grade(m.study, "canal"), no_model(FORAMINAL, SUBARTICULAR)


def no_t1(m: Made) -> tuple[StudyPrediction, Reasons]:
    expected = dict.fromkeys(FORAMINAL, "no usable Sagittal T1 series")
    names = ("canal", "foraminal", "subarticular")
    return m.grade(without(m.study, T1), *names), expected


def no_t2(m: Made) -> tuple[StudyPrediction, Reasons]:
    expected = dict.fromkeys(CANAL, "no usable Sagittal T2/STIR series")
    return m.grade(without(m.study, T2), "canal", "foraminal"), {
        **expected,
        **no_model(SUBARTICULAR),
    }


def no_axial(m: Made) -> tuple[StudyPrediction, Reasons]:
    expected = dict.fromkeys(SUBARTICULAR, "no usable Axial T2 series")
    names = ("canal", "foraminal", "subarticular")
    return m.grade(without(m.study, AXIAL), *names), expected


def levels_missed(m: Made) -> tuple[StudyPrediction, Reasons]:
    study = upper_axial(m.study, m.store)
    known = {p.target: p.patient for p in m.store.points if p.study_id == study.study_id}
    expected = {}
    for target in SUBARTICULAR:
        if target.level not in (Level.L1_L2, Level.L2_L3):
            centre = known[Target(Condition.CANAL, target.level)]
            away = cut_level(centre, study.of(AXIAL)).nearest
            expected[target] = (
                f"no axial slice cuts {target.level.label} "
                f"(the nearest slice is {away:.1f} mm away)"
            )
    assert len(set(expected.values())) == 3
    return m.grade(study, "canal", "foraminal", "subarticular"), expected


def no_level(m: Made) -> tuple[StudyPrediction, Reasons]:
    """Only the foramina's guide is left, and it sees no series."""
    reason = "no usable Sagittal T1 series to find the levels in"
    members = [m.models["subarticular"], m.models["canal"]]
    found = grade_unchecked(without(m.study, T1), members[1:])
    assert set(found.findings) == set(CANAL)
    blend = blend_of(canal={"c": 1.0}, subarticular={"s": 1.0})
    ensembles = {
        "c": Ensemble([m.models["canal"]]),
        "s": Ensemble([m.models["subarticular"]], guides=m.guides[:1]),
    }
    graded = grade_unchecked(without(m.study, T1), BlendedEnsembles(blend, ensembles))
    return graded, {**dict.fromkeys(SUBARTICULAR, reason), **no_model(FORAMINAL)}


def level_not_found(m: Made) -> tuple[StudyPrediction, Reasons]:
    """The guide on T2 does not find L5/S1, and there is no other."""
    guide = m.guides[1]
    known = {k: v.copy() for k, v in guide.inference.known.items()}  # type: ignore[union-attr]
    for points in known.values():
        points[4] = np.nan
    inference = known_guide(m.store, "sagittal_t2").inference
    inference.known = known  # type: ignore[union-attr]
    members = [m.models["subarticular"]]
    graded = grade_unchecked(m.study, members, guides=[replace(guide, inference=inference)])
    lowest = [t for t in SUBARTICULAR if t.level is Level.L5_S1]
    reason = "no point of L5/S1 was found in the Axial T2 series"
    return graded, {**dict.fromkeys(lowest, reason), **no_model(CANAL, FORAMINAL)}


def not_finite(m: Made) -> tuple[StudyPrediction, Reasons]:
    canal = m.models["canal"]
    broken = replace(canal, engine=NoNumber(canal.engine, [1, 3]))
    reason = "the output of small/canal is not finite"
    expected = {CANAL[1]: reason, CANAL[3]: reason}
    return grade_unchecked(m.study, [broken]), {**expected, **no_model(FORAMINAL, SUBARTICULAR)}


def weights_not_finite(m: Made) -> tuple[StudyPrediction, Reasons]:
    """Models whose weights are NaN, as after a training that went wrong, beside a good one."""
    broken = []
    for name in ("foraminal", "subarticular", "two_stage"):
        engine = deepcopy(m.models[name].engine)
        assert isinstance(engine, TorchEngine)
        for parameter in engine.network.parameters():
            parameter.data.fill_(float("nan"))
        broken.append(replace(m.models[name], engine=engine))
    graded = grade_unchecked(m.study, [m.models["canal"], *broken], guides=m.guides)
    two = "the output of small/two_stage is not finite"
    expected = dict.fromkeys(FORAMINAL, f"the output of small/foraminal is not finite; {two}")
    recess = f"the output of small/subarticular is not finite; {two}"
    return graded, {**expected, **dict.fromkeys(SUBARTICULAR, recess)}


def member_without(m: Made) -> tuple[StudyPrediction, Reasons]:
    """One member of a blend has no axial series, the other grades from the rest."""
    both = blend_of(subarticular={"crops": 0.5, "views": 0.5}, canal={"views": 1.0})
    graded = m.blended(without(m.study, AXIAL), both, crops="subarticular", views="two_stage")
    reason = "the blend has no weights for neural foraminal narrowing"
    return graded, dict.fromkeys(FORAMINAL, reason)


def members_without(m: Made) -> tuple[StudyPrediction, Reasons]:
    """The only member of a blend that grades a condition cannot."""
    blend = blend_of(subarticular={"crops": 1.0}, canal={"series": 1.0})
    graded = m.blended(without(m.study, AXIAL), blend, crops="subarticular", series="canal")
    expected = dict.fromkeys(SUBARTICULAR, "no usable Axial T2 series")
    return graded, {**expected, **no_model(FORAMINAL)}


SITUATIONS = [
    *(one_condition, no_t1, no_t2, no_axial, levels_missed, no_level, level_not_found),
    *(not_finite, weights_not_finite, member_without, members_without),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.__name__)
def test_what_has_no_evidence_is_absent_with_its_reason_everywhere(
    situation: Callable[[Made], tuple[StudyPrediction, Reasons]], made: Made, tmp_path: Path
) -> None:
    prediction, expected = situation(made)
    assert prediction.absent == expected
    assert set(prediction.findings) == set(FINDINGS) - set(expected)
    graded = write_study(tmp_path / "1", made.study, prediction, flip=False, fingerprint="x")
    require_same_everywhere(tmp_path / "1", graded)
    summary = overview_of(tmp_path, graded)
    (entry,) = summary.as_dict()["studies"]
    assert entry["not_graded"] == len(expected)
    assert table_of(tmp_path / "findings.csv") == table_of(tmp_path / "1" / "findings.csv")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    lost = {t.sided_condition for t in expected} - {t.sided_condition for t in prediction.findings}
    assert page.count("<td>not graded</td>") == len(lost)
    partly = [t for t in expected if t.sided_condition not in lost]
    assert page.count("; not graded: ") == len({t.sided_condition for t in partly})
    assert f'<td class="n">{len(expected)}</td>' in page


def test_the_overview_names_levels_unless_all_have_the_grade(tmp_path: Path) -> None:
    foramina = [t for t in FINDINGS if t.condition is Condition.FORAMINAL]
    severe = [t for t in foramina if t.side is Side.LEFT or t.level is Level.L4_L5]
    found = {t: Finding(t, (0.1, 0.2, 0.7) if t in severe else (0.7, 0.2, 0.1)) for t in foramina}
    absent = dict.fromkeys([t for t in FINDINGS if t not in found], "no models")
    graded = GradedStudy(StudyPrediction("1", found).without(absent), (), False, "x")
    overview_of(tmp_path, graded)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert (
        page.count(
            '<td class="severe">Severe (all levels)</td><td class="severe">Severe (L4/L5)</td>'
        )
        == 1
    )


def overview_of(out: Path, graded: GradedStudy) -> GradingSummary:
    """Write the overview of one study, whose folder is called 1."""
    overview = Overview(out)
    overview.add(StudyEntry.of("1", graded))
    return overview.finish(["1"], (), ())


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return [{k: v for k, v in row.items() if k != "folder"} for row in csv.DictReader(lines)]


def require_same_everywhere(folder: Path, graded: GradedStudy) -> None:
    """JSON, CSV, page and pictures say of every finding what the prediction says."""
    prediction = graded.prediction
    assert read_findings(folder / "findings.json") == graded
    told = json.loads((folder / "findings.json").read_text())
    assert told["format"] == 4
    require_valid(folder / "findings.json", "findings")
    rows = table_of(folder / "findings.csv")
    page = unescape((folder / "report.html").read_text(encoding="utf-8"))
    for target, entry, row in zip(FINDINGS, told["findings"], rows, strict=True):
        assert entry["finding"] == row["finding"] == target.column
        assert "filled" not in {*entry, *row}
        if target in prediction.findings:
            finding = prediction.findings[target]
            assert entry["grade"] == row["grade"] == finding.grade.column
            assert entry["not_graded"] is None
            assert row["not_graded"] == ""
            continue
        reason = prediction.absent[target]
        assert entry["not_graded"] == row["not_graded"] == reason
        kept = ("finding", "condition", "side", "level", "not_graded", "models")
        assert all(value is None for key, value in entry.items() if key not in kept)
        kept = ("study_id", *kept)
        assert all(value == "" for key, value in row.items() if key not in kept)
        assert f": {reason}</li>" in page
    reasons = [f'title="not graded: {r}">not graded' for r in prediction.absent.values()]
    assert page.count('<td class="absent"') == len(reasons)
    assert all(page.count(r) == reasons.count(r) for r in reasons)
    assert page.count("\N{NARROW NO-BREAK SPACE}%<br>") == len(prediction.findings)
    placed = {t.sided_condition for t, f in prediction.findings.items() if f.point is not None}
    assert {name for line in graded.series for name in line.pictures} == placed
    results = read_results(folder / "findings.csv").predictions[prediction.study_id]
    assert results.absent == prediction.absent
    assert set(results.findings) == set(prediction.findings)
    assert grade_counts(prediction)["not_graded"] == len(prediction.absent)


def test_one_member_of_a_blend_with_a_finding_beats_the_reason_of_another(made: Made) -> None:
    graded, _ = member_without(made)
    alone = made.grade(without(made.study, AXIAL), "two_stage")
    for target in SUBARTICULAR:
        ours = graded.findings[target]
        np.testing.assert_allclose(ours.probabilities, alone.findings[target].probabilities)
        assert {s.recipe for s in ours.sources} >= {"small/two_stage"}
        assert "small/subarticular" not in {s.recipe for s in ours.sources}
    assert "small/subarticular" not in {s.recipe for s in graded.sources}


def test_the_reasons_of_all_models_are_given_where_none_grades(made: Made) -> None:
    """Two models that would grade the foramina, each for want of something else."""
    canal_only = without(made.study, T1, AXIAL)
    blend = blend_of(canal={"c": 1.0}, foraminal={"f": 0.5, "v": 0.5})
    ensembles = {
        "c": Ensemble([made.models["canal"]]),
        "f": Ensemble([made.models["foraminal"]]),
        "v": Ensemble([made.models["two_stage"]], guides=made.guides[:1]),
    }
    graded = grade_unchecked(canal_only, BlendedEnsembles(blend, ensembles))
    reasons = {graded.absent[t] for t in FORAMINAL}
    assert reasons == {
        "no usable Sagittal T1 series; no usable Sagittal T1 series to find the levels in"
    }


def test_a_study_in_which_nothing_is_graded_names_every_reason(made: Made) -> None:
    canal = made.models["canal"]
    broken = replace(canal, engine=NoNumber(canal.engine, range(5)))
    with pytest.raises(NothingDone) as error:
        grade_unchecked(without(made.study, T1), [broken, made.models["foraminal"]])
    text = str(error.value)
    assert "spinal canal stenosis: the output of small/canal is not finite" in text
    assert "left and right neural foraminal narrowing: no usable Sagittal T1 series" in text
    assert "subarticular stenosis: none of the models grades subarticular stenosis" in text


def test_the_volumes_of_a_situation_are_what_it_says(made: Made) -> None:
    (whole,), (short,) = (s.of(AXIAL) for s in (made.study, upper_axial(made.study, made.store)))
    assert isinstance(short, Volume)
    assert 0 < len(short.slices) < len(whole.slices)
