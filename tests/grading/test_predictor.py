"""A blend file survives writing; it runs the models it was fitted with, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lumbargrade.config import load_recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind, Target
from lumbargrade.grading.blend_file import (
    FORMAT,
    Blend,
    BlendMember,
    ConditionBlend,
    Measured,
    read_blend,
    write_blend,
)
from lumbargrade.grading.combine import combine, correct_any_severe
from lumbargrade.grading.ensembles import (
    Ensemble,
    load_blend,
    open_ensembles,
    opened_for_submission,
    use_gpu,
)
from lumbargrade.grading.model_record import ModelRecord, record_of
from lumbargrade.grading.predictor import Predictor
from lumbargrade.inference.model_folder import ModelMeta, read_meta
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import get_task
from lumbargrade.scoring.any_severe import AnySevere, Rule
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.scoring.calibration import COMPETITION_WEIGHTS, Calibration, Method
from made_series import make_volume
from small_models import save_small_model

CPU = "cpu"
CANAL, FORAMINAL = TARGETS[Condition.CANAL], TARGETS[Condition.FORAMINAL]
CALIBRATION = Calibration(Method.VECTOR, COMPETITION_WEIGHTS, (1.1, 1.2, 1.3), (0.1, 0.0, -0.1))


def condition_blend(spare: tuple[str, ...] = (), **weights: float) -> ConditionBlend:
    measured = Measured(10, dict.fromkeys(weights, 0.5), 0.4, 0.3, 0.25)
    return ConditionBlend(weights, Origin.FITTED, CALIBRATION, measured, spare)


@pytest.fixture
def blend(tmp_path: Path) -> Blend:
    """Two members: `both` of two canal models and a foraminal one, `side` of the latter alone."""
    folder = tmp_path / "runs"
    canal = [save_small_model(folder / f"c{fold}", "canal", fold) for fold in (0, 1)]
    foraminal = save_small_model(folder / "f0", "foraminal", 0)

    records = [record_of(path, read_meta(path)) for path in (*canal, foraminal)]
    return blend_of(*records)


def blend_of(*records: ModelRecord) -> Blend:
    members = (BlendMember("both", True, records), BlendMember("side", False, records[-1:]))
    conditions = {
        Condition.CANAL: condition_blend(both=1.0),
        Condition.FORAMINAL: condition_blend(both=0.25, side=0.75),
    }
    return Blend(FORMAT, "abc", members, conditions, AnySevere(Rule.UNION, 0.5))


def test_a_blend_survives_its_file_and_the_file_may_move_with_its_models(
    blend: Blend, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "blend.toml"
    write_blend(path, blend)
    assert read_blend(path) == blend
    assert str(tmp_path) not in path.read_text()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("out", "runs"):
        (tmp_path / name).rename(moved / name)
    members = load_blend(moved / "out" / "blend.toml", CPU).members
    assert {m.path for m in members} == {moved / "runs" / n for n in ("c0", "c1", "f0")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "not a blend file of format 1"),
        ("format = 1", "format = 1\ncolour = 3", "colour"),
        ('origin = "fitted"', 'origin = "guessed"', "guessed"),
        ('method = "vector"', 'method = "vektor"', "vektor"),
        ("side = 0.75", "side = 0.8", "sum to 1"),
        ("side = 0.75", "other = 0.75", "unknown members other"),
        ('name = "side"', 'name = "both"', "duplicate member names"),
        ("strength = 0.5", "strength = 1.5", "strength"),
        ("    1.1,", "    0.0,", "not positive"),
        ("    1.1,", "", "scale"),
        ("[any_severe]", "[any_severe", "not valid TOML"),
        ("[conditions.spinal_canal_stenosis]", "[conditions.knee]", "knee"),
    ],
)
def test_a_damaged_file_is_refused_with_the_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "blend.toml"
    write_blend(path, blend_of(ModelRecord("m", "small/canal", 0, "0" * 64)))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        read_blend(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such blend file"):
        read_blend(tmp_path / "b.toml")


def test_a_model_that_is_gone_or_another_is_refused(blend: Blend, tmp_path: Path) -> None:
    path = tmp_path / "blend.toml"
    write_blend(path, blend)
    folder = tmp_path / "runs" / "c1"
    load_blend(path, CPU)
    save_small_model(folder, "canal", 1, note="trained anew")
    with pytest.raises(UsageError, match=r"blend.toml: model .*c1 has changed since"):
        load_blend(path, CPU)
    save_small_model(folder, "canal", 2)
    with pytest.raises(UsageError, match=r"model .*c1: fold 2, not 1 as measured"):
        load_blend(path, CPU)
    save_small_model(folder, "foraminal", 1)
    with pytest.raises(UsageError, match=r"model .*c1: recipe small/foraminal, not small/canal"):
        load_blend(path, CPU)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"blend.toml: .*c1: no model there"):
        load_blend(path, CPU)


def test_a_model_that_no_weight_asks_for_is_not_loaded(blend: Blend, tmp_path: Path) -> None:
    path = tmp_path / "blend.toml"
    alone = blend.conditions | {Condition.FORAMINAL: condition_blend(both=0.0, side=1.0)}
    write_blend(path, replace(blend, conditions=alone))
    loaded = load_blend(path, CPU)
    assert {n: len(e.members) for n, e in loaded.ensembles.items()} == {"both": 2, "side": 1}
    spare = blend.conditions | {Condition.FORAMINAL: condition_blend(("both",), both=0.0, side=1.0)}
    write_blend(path, replace(blend, conditions=spare))
    loaded = load_blend(path, CPU)
    assert {n: len(e.members) for n, e in loaded.ensembles.items()} == {"both": 3, "side": 1}
    assert len(loaded.members) == 3


def test_a_blend_predicts_the_weighted_mean_of_its_members(blend: Blend, tmp_path: Path) -> None:
    path = tmp_path / "blend.toml"
    write_blend(path, blend)
    loaded = load_blend(path, CPU)
    assert isinstance(loaded, Predictor)
    volumes = [replace(make_volume(seed=n), kind=k) for n, k in enumerate(list(SeriesKind)[:2])]
    made = loaded.predict("1", volumes)
    canal = [m for m in loaded.members if m.inference.conditions == (Condition.CANAL,)]
    (side,) = [m for m in loaded.members if m.inference.conditions == (Condition.FORAMINAL,)]
    flipped = Ensemble([side], True).predict("1", volumes).findings
    plain = Ensemble([side], False).predict("1", volumes).findings
    means = Ensemble(canal).predict("1", volumes).findings
    for target in (*CANAL, *FORAMINAL):
        expected = (
            means[target].probabilities
            if target in means
            else 0.25 * np.array(flipped[target].probabilities)
            + 0.75 * np.array(plain[target].probabilities)
        )
        finding = made.findings[target]
        assert finding.probabilities == pytest.approx(expected, abs=1e-6)
        assert finding.calibrated == pytest.approx(CALIBRATION.apply(finding.probabilities))
        assert finding.grade == int(np.argmax(finding.calibrated))
    assert {s.fold for s in made.findings[CANAL[0]].sources} == {0, 1}
    off = load_blend(path, CPU, flip=False)
    assert off.fingerprint() != loaded.fingerprint()
    assert not off.flips


def said(
    probabilities: tuple[float, float, float], *targets: Target, fold: int = 0, series: str = ""
) -> StudyPrediction:
    source = (ModelSource("r", fold),)
    findings = {}
    for t in targets:
        point = Point(t, series, 1, (1.0, 2.0, 3.0)) if series else None
        findings[t] = Finding(t, probabilities, point, sources=source)
    return StudyPrediction("1", findings, source)


def simple(**weights: float) -> Blend:
    members = tuple(BlendMember(n, True, ()) for n in weights)
    return Blend(FORMAT, "abc", members, {Condition.CANAL: condition_blend(**weights)})


def test_weights_are_renormalised_over_the_members_that_see_a_finding() -> None:
    blend = simple(a=0.5, b=0.3, c=0.2)
    one, two = CANAL[0], CANAL[1]
    made = combine(
        blend,
        {
            "a": said((1, 0, 0), one, fold=0),
            "b": said((0, 1, 0), one, two, fold=1, series="7"),
            "c": said((0, 0, 1), two, fold=2, series="8"),
        },
    ).findings
    assert made[one].probabilities == pytest.approx((0.625, 0.375, 0))
    assert made[two].probabilities == pytest.approx((0, 0.6, 0.4))
    assert {s.fold for s in made[one].sources} == {0, 1}
    assert made[one].point is not None  # the heaviest member has none
    assert made[one].point.series_id == "7"
    assert set(made) == {one, two}


def test_members_without_weight_stand_in_where_no_other_sees_a_finding() -> None:
    blend = simple(a=1.0, b=0.0)
    made = combine(blend, {"a": said((1, 0, 0), CANAL[0]), "b": said((0, 1, 0), *CANAL[:2])})
    assert made.findings[CANAL[0]].probabilities == (1, 0, 0)
    assert made.findings[CANAL[1]].probabilities == (0, 1, 0)


def test_what_the_blend_was_not_fitted_to_is_left_out() -> None:
    made = combine(simple(a=1.0), {"a": said((1, 0, 0), CANAL[0], FORAMINAL[0])})
    assert set(made.findings) == {CANAL[0]}


def test_the_any_severe_correction_raises_one_level_of_the_submission_only() -> None:
    made = combine(simple(a=1.0), {"a": said((0.5, 0.2, 0.3), *CANAL[:3])})
    raised = correct_any_severe(made, AnySevere(Rule.UNION, 1.0)).findings
    severe = [raised[t].probabilities[2] for t in CANAL[:3]]
    assert severe == pytest.approx([1 - 0.7**3, 0.3, 0.3])
    for target, finding in raised.items():
        assert finding.calibrated == made.findings[target].calibrated
    assert set(raised) == set(CANAL[:3])
    assert opened_for_submission(lambda: Ensemble([]), 0).corrected(made) is made


@pytest.mark.parametrize(("count", "chosen"), [(0, []), (1, []), (3, [1, 2, 0, 1])])
def test_processes_of_a_machine_use_its_gpus_in_turn(
    monkeypatch: pytest.MonkeyPatch, count: int, chosen: list[int]
) -> None:
    used: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    for place in range(5):  # the first uses the GPU that it finds
        use_gpu(place)
    assert used == chosen


def test_either_models_or_a_blend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"either --models .* or --blend"):
        open_ensembles([], None, CPU, flip=True)
    with pytest.raises(UsageError, match=r"no such blend file"):
        open_ensembles([tmp_path], tmp_path / "b.toml", CPU, flip=True)


def test_models_are_used_without_flips_one_by_one(tmp_path: Path) -> None:
    """A submission may average some networks with their mirror and others not."""
    runs = tmp_path / "runs"
    for fold in (0, 1):
        save_small_model(runs / f"side{fold}", "foraminal", fold)
    volumes = [replace(make_volume(seed=0), kind=SeriesKind.SAGITTAL_T1)]

    def opened(*, flip: bool = True, unflipped: Sequence[Path] = ()) -> Ensemble:
        return open_ensembles([runs], None, CPU, flip=flip, unflipped=unflipped)

    def predicted(predictor: Predictor) -> np.ndarray:
        findings = predictor.predict("1", volumes).findings
        places = [findings[t].point for t in FORAMINAL]
        return np.array([(p.x, p.y, p.z) for p in places if p is not None])

    one = opened(unflipped=[runs / "side1"])
    assert [m.flips for m in one.members] == [True, False]
    both, none = opened(), opened(flip=False)
    singles = [open_ensembles([runs / f"side{f}"], None, CPU, flip=f == 0) for f in (0, 1)]
    expected = np.mean([predicted(p) for p in singles], axis=0)
    np.testing.assert_allclose(predicted(one), expected, atol=1e-9)
    assert np.abs(predicted(one) - predicted(both)).max() > 1e-3
    np.testing.assert_allclose(predicted(opened(unflipped=[runs])), predicted(none), atol=1e-12)
    # results that were made in another way are not taken for these
    assert len({p.fingerprint() for p in (one, both, none)}) == 3
    alone = open_ensembles([], None, CPU, flip=True, unflipped=[runs])
    assert [m.flips for m in alone.members] == [False, False]


def test_models_of_whole_series_guide_those_of_crops_even_without_weight(
    blend: Blend, tmp_path: Path
) -> None:
    recipe = load_recipe("cpu-small/two-stage")
    network = get_task(recipe).build_network(pretrained=False)
    folder = tmp_path / "runs" / "t0"
    save_model(folder, network, ModelMeta(recipe, fold=0))
    second = record_of(folder, read_meta(folder))
    first, _, guide = blend.members[0].models
    members = (BlendMember("two", False, (first, second), (guide,)), blend.members[1])
    conditions = {
        Condition.SUBARTICULAR: condition_blend(two=1.0),
        Condition.FORAMINAL: condition_blend(two=0.75, side=0.25),
    }
    path = tmp_path / "blend.toml"
    write_blend(path, replace(blend, members=members, conditions=conditions))
    two = load_blend(path, CPU).ensembles["two"]
    assert [m.path for m in two.members] == [folder]
    assert [m.path.name for m in two.guides] == ["c0", "f0"]
    with pytest.raises(UsageError, match="which names its guides"):
        open_ensembles([], path, CPU, flip=True, guides=[folder])
    with pytest.raises(UsageError, match="the blend names its models; omit --models"):
        open_ensembles([folder], path, CPU, flip=True)


def test_a_model_that_is_also_a_guide_takes_part_once(tmp_path: Path) -> None:
    """However it is reached; its points would weigh twice."""
    save_small_model(tmp_path / "runs" / "canal", "canal")
    save_small_model(tmp_path / "guides" / "side", "foraminal")
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    guides = [tmp_path / "guides", tmp_path / "link", tmp_path / "runs" / "canal"]
    found = open_ensembles([tmp_path / "runs"], None, CPU, flip=True, guides=guides)
    assert isinstance(found, Ensemble)
    assert [m.path.name for m in found.members] == ["canal"]
    assert [m.path.name for m in found.guides] == ["side"]
