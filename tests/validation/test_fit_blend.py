"""A blend is fitted to predictions of unseen studies only, and says what it is worth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level
from lumbargrade.grading.model_record import oof_record_path
from lumbargrade.scoring.blend_weights import Origin, fixed_weights
from lumbargrade.scoring.calibration import Method
from lumbargrade.validation.fit_blend import (
    by_level,
    condition_table,
    find_member,
    fit_blend,
    read_member,
)
from oof_files import write_oof

CANAL, FORAMINAL = Condition.CANAL, Condition.FORAMINAL


def test_a_good_member_weighs_more_and_the_blend_is_no_worse_than_it(tmp_path: Path) -> None:
    members = [
        read_member(write_oof(tmp_path / "good", noise=0.7), "good"),
        read_member(write_oof(tmp_path / "poor", noise=3.0, seed=2), "poor"),
    ]
    fit = fit_blend(members)
    for condition in (CANAL, FORAMINAL):
        one = fit.conditions[condition]
        assert one.members == ("good", "poor")
        assert one.weights.weights[0] > one.weights.weights[1]
        assert one.weights.blend <= min(one.weights.members)
        assert one.calibration.nested is not None
        assert one.calibration.nested < one.calibration.before
        assert one.calibration.calibration.method is not Method.IDENTITY
    blend = fit.blend()
    assert blend.folds == "abc"
    assert [m.name for m in blend.members] == ["good", "poor"]
    assert len(blend.members[0].models) == 5
    assert sum(blend.conditions[CANAL].weights.values()) == pytest.approx(1)


def test_a_member_may_lack_a_condition_and_single_findings(tmp_path: Path) -> None:
    whole = write_oof(tmp_path / "whole", keep=lambda study, target: study != 7)
    part = write_oof(
        tmp_path / "part",
        seed=2,
        conditions=[FORAMINAL],
        keep=lambda study, target: target.level is not Level.L1_L2,
    )
    members = [read_member(whole, "whole"), read_member(part, "part")]
    fit = fit_blend(members)
    assert fit.conditions[CANAL].members == ("whole",)
    assert fit.conditions[CANAL].weights.weights == (1.0,)
    assert fit.conditions[FORAMINAL].weights.counts == (590, 480)
    assert Condition.SUBARTICULAR not in fit.conditions
    table = condition_table(members, FORAMINAL)
    assert table is not None
    assert len(table.keys) == 590 + 8
    assert np.isfinite(table.probabilities).all(axis=2).any(axis=0).all()


def test_a_member_without_weight_stands_in_only_where_it_is_needed(tmp_path: Path) -> None:
    lacking = write_oof(tmp_path / "a", noise=0.1, keep=lambda study, target: study != 7)
    poor = write_oof(tmp_path / "b", noise=5.0, seed=2)
    members = [read_member(lacking, "a"), read_member(poor, "b")]
    fixed = {CANAL: [1.0, 0.0], FORAMINAL: [0.0, 1.0]}
    blend = fit_blend(members, fixed).blend()
    assert blend.conditions[CANAL].spare == ("b",)
    assert blend.conditions[CANAL].needs("b")
    assert blend.conditions[FORAMINAL].spare == ()
    assert not blend.conditions[FORAMINAL].needs("a")


def test_published_weights_are_used_as_given_and_shared_by_those_that_grade(tmp_path: Path) -> None:
    members = [
        read_member(write_oof(tmp_path / "two"), "two"),
        read_member(write_oof(tmp_path / "one", seed=2, conditions=[FORAMINAL]), "one"),
    ]
    blend = fit_blend(members, fixed_weights(["0.75", "0.25"], 2)).blend()
    assert blend.conditions[FORAMINAL].weights == {"two": 0.75, "one": 0.25}
    assert blend.conditions[CANAL].weights == {"two": 1.0}
    assert blend.conditions[FORAMINAL].origin is Origin.FIXED
    with pytest.raises(UsageError, match="the weights of two, which grade it, sum to 0"):
        fit_blend(members, fixed_weights(["canal=0,1"], 2))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["0.7"], "^--weights 0.7: 1 weights for 2 members; give one for each"),
        (["foraminal=0.7,0.2,0.1"], "^--weights foraminal=0.7,0.2,0.1: 3 weights for 2 members"),
        (["knee=0.5,0.5"], "'knee' is not one of canal, foraminal"),
        (["a", "b"], "not numbers"),
        (["-1", "2"], "not negative"),
        (["0", "0"], "not all zero"),
        (["nan", "1"], "not negative"),
        (["foraminal=1,0", "neural_foraminal_narrowing=0,1"], "is given twice"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fixed_weights(texts, 2)


def test_weights_may_be_given_for_some_conditions() -> None:
    assert fixed_weights([], 2) == {}
    assert fixed_weights(["foraminal=0.7,0.3"], 2) == {FORAMINAL: [0.7, 0.3]}
    both = fixed_weights(["0.75", "0.25", "spinal_canal_stenosis=1,0"], 2)
    assert both[CANAL] == [1, 0]
    assert both[FORAMINAL] == [0.75, 0.25]


def damaged(path: Path, row: int, **cells: str) -> Path:
    """The same file with cells of a row (counted as a spreadsheet does) replaced."""
    lines = path.read_text().splitlines()
    names, values = lines[0].split(","), lines[row - 1].split(",")
    for name, value in cells.items():
        values[names.index(name)] = value
    lines[row - 1] = ",".join(values)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"models": "made#3"}, "row 5: study 1 of fold 1 was predicted by made fold 3, .* trained"),
        ({"models": "made#1;made#0"}, "row 5: study 1 of fold 1 was predicted by made fold 0"),
        ({"models": ""}, "row 5: study 1: no models in column models"),
        ({"models": "other#1"}, "row 5: study 1: other fold 1 is not in .*oof.json"),
        ({"fold": ""}, "row 5: study 1 has no fold"),
        ({"fold": "2"}, "row 5: study 1 is in fold 2, but in fold 1 in row 2"),
        ({"true_grade": "bad"}, "row 5, true_grade: unknown grade 'bad'"),
    ],
)
def test_a_leak_is_refused_with_file_and_row(
    tmp_path: Path, cells: dict[str, str], message: str
) -> None:
    path = damaged(write_oof(tmp_path), 5, **cells)
    with pytest.raises(BadTable, match=message) as error:
        read_member(path, "m")
    assert str(path) in str(error.value)


def test_members_of_other_folds_or_truth_are_refused(tmp_path: Path) -> None:
    def pair(**other: object) -> None:
        a = write_oof(tmp_path / "a")
        b = write_oof(tmp_path / "b", **other)  # type: ignore[arg-type]
        fit_blend([read_member(a, "a"), read_member(b, "b")])

    with pytest.raises(
        UsageError, match=r"b/oof.csv and .*a/oof.csv are from stores with different"
    ):
        pair(folds="other")
    with pytest.raises(BadTable, match=r"b/oof.csv, row 2: study 1 is in fold 2, but in fold 1 in"):
        pair(fold_of=lambda study: (study + 1) % 5)
    a, b = write_oof(tmp_path / "a"), damaged(write_oof(tmp_path / "b"), 2, true_grade="severe")
    with pytest.raises(
        BadTable, match=r"b/oof.csv, row 2: study 1: reference grade of left_neural"
    ):
        fit_blend([read_member(a, "a"), read_member(b, "b")])
    with pytest.raises(UsageError, match=r"two members are called a; give .* NAME=FILE"):
        fit_blend([read_member(a, "a"), read_member(a, "a")])


def test_a_file_without_its_record_or_with_another_is_refused(tmp_path: Path) -> None:
    table = write_oof(tmp_path)
    origin = oof_record_path(table)
    content = json.loads(origin.read_text())
    for text, message in (
        ("{", "not valid JSON"),
        ("[]", "not a table of keys"),
        (json.dumps(content | {"format": 99}), "of format 1"),
        (json.dumps(content | {"colour": "red"}), "colour"),
        (json.dumps({k: v for k, v in content.items() if k != "models"}), "models"),
    ):
        origin.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_member(table, "m")
    origin.unlink()
    with pytest.raises(UsageError, match=r"no oof.json beside it"):
        read_member(table, "m")


def test_files_without_truth_give_nothing_to_fit_to(tmp_path: Path) -> None:
    table = write_oof(tmp_path)
    lines = [line.split(",") for line in table.read_text().splitlines()]
    column = lines[0].index("true_grade")
    for line in lines[1:]:
        line[column] = ""
    table.write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(UsageError, match="no reference grades"):
        fit_blend([read_member(table, "m")])


def test_members_are_named_by_their_folder_or_as_given(tmp_path: Path) -> None:
    table = write_oof(tmp_path / "small")
    assert find_member(str(table)) == ("small", table)
    assert find_member(str(tmp_path / "small")) == ("small", table)
    assert find_member(f"best={tmp_path / 'small'}") == ("best", table)
    with pytest.raises(UsageError, match="absent: no such file"):
        find_member(f"best={tmp_path / 'absent'}")


def test_canal_rows_by_level_stand_where_they_belong(tmp_path: Path) -> None:
    table = write_oof(
        tmp_path, keep=lambda study, target: (study, target.level) != (3, Level.L5_S1)
    )
    found = condition_table([read_member(table, "m")], CANAL)
    assert found is not None
    p, grades, studies, folds = by_level(found, found.probabilities[0])
    assert p.shape == (60, 5, 3)
    assert np.isnan(p).any(axis=2).sum() == 1
    at = {key: n for n, key in enumerate(found.keys)}
    for s, study in enumerate(studies):
        assert folds[s] == int(study) % 5
        for level, target in enumerate(TARGETS[CANAL]):
            if (study, target) in at:
                assert np.array_equal(p[s, level], found.probabilities[0, at[study, target]])
                assert grades[s, level] == found.grades[at[study, target]]
            else:
                assert grades[s, level] == -1
