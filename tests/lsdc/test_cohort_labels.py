"""Labels of your own cohort: two layouts, properties to group by, faults with their row."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import Condition, Grade, Level, Side, Target
from lumbargrade.lsdc.cohort_labels import NOT_GIVEN, CohortLabels, groups_of, read_labels

CANAL = Target(Condition.CANAL, Level.L1_L2)
LEFT = Target(Condition.FORAMINAL, Level.L4_L5, Side.LEFT)
UID = "1.2.840.113619.2.1"


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_wide_table_has_any_of_the_findings_and_any_study_ids(tmp_path: Path) -> None:
    text = (
        f"vendor,study_id,{CANAL.column},{LEFT.column}\n"
        f"GE,{UID},Normal/Mild,severe\n"
        f",0042,,MODERATE\n"
    )
    labels = read_labels(table(tmp_path, text))
    assert labels.grades == {
        UID: {CANAL: Grade.NORMAL_MILD, LEFT: Grade.SEVERE},
        "0042": {LEFT: Grade.MODERATE},
    }
    assert labels.properties == {"vendor": {UID: "GE", "0042": ""}}


@pytest.mark.parametrize(
    "rows",
    [
        "study_id,condition,level,side,grade\n"
        "7,neural_foraminal_narrowing,l4_l5,left,Severe\n7,spinal_canal_stenosis,l1_l2,,moderate\n",
        "grade,level,condition,study_id\n"
        "severe,L4/L5,Left Neural Foraminal Narrowing,7\nModerate,L1-L2,Spinal Canal Stenosis,7\n",
    ],
)
def test_a_long_table_says_the_same(tmp_path: Path, rows: str) -> None:
    labels = read_labels(table(tmp_path, rows))
    assert labels.grades == {"7": {LEFT: Grade.SEVERE, CANAL: Grade.MODERATE}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study,grade\n1,Severe\n", "neither a column of train.csv"),
        (f"study_id,{CANAL.column}\n1,Severe\n2,Sever\n", r"row 3, spinal_.*unknown grade 'Sever'"),
        (
            f"study_id,{CANAL.column}\n1,Severe\n1,Severe\n",
            "row 3: duplicate study_id 1, also in row 2",
        ),
        (f"study_id,{CANAL.column}\n,Severe\n", "row 2, study_id: the cell is empty"),
        (f"study_id,{CANAL.column}\n1\n", "row 2: 1 values for 2 columns"),
        (f"id,{CANAL.column}\n1,Severe\n", "missing columns: study_id"),
        (
            f"study_id,{CANAL.column},spinal_canal_stenosis_l6_s1\n1,Severe,Severe\n",
            "column spinal_canal_stenosis_l6_s1 is none of the 25",
        ),
        (
            "study_id,condition,level,grade\n1,disc_height,l1_l2,Severe\n",
            "row 2, condition, level: unknown condition 'disc_height'",
        ),
        (
            "study_id,condition,level,grade\n1,neural_foraminal_narrowing,l1_l2,Severe\n",
            "row 2, condition, level: unknown condition",
        ),
        (
            "study_id,condition,level,grade\n"
            "1,spinal_canal_stenosis,l1_l2,Severe\n1,spinal_canal_stenosis,L1/L2,Severe\n",
            "row 3: duplicate spinal_canal_stenosis_l1_l2 of study 1, also in row 2",
        ),
        (
            "study_id,condition,level,grade,vendor\n"
            "1,spinal_canal_stenosis,l1_l2,Severe,GE\n1,spinal_canal_stenosis,l2_l3,Severe,Other\n",
            "row 3, vendor: differs from an earlier row of study 1",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_row(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(BadTable, match=message):
        read_labels(table(tmp_path, text))


def labels_with(column: str, values: list[str]) -> CohortLabels:
    studies = {str(i): v for i, v in enumerate(values)}
    return CohortLabels({s: {} for s in studies}, {column: studies})


def test_groups_are_values_in_order_with_the_missing_last() -> None:
    labels = labels_with("tesla", ["3", "", "0.55", "1.5", "3"])
    groups = groups_of(labels, ["tesla"])["tesla"]
    assert list(groups) == ["0.55", "1.5", "3", NOT_GIVEN]
    assert groups["3"] == ("0", "4")
    assert groups[NOT_GIVEN] == ("1",)


def test_many_numbers_are_cut_into_quarters_that_hold_every_study_once() -> None:
    labels = labels_with("age", [str(20 + i) for i in range(40)])
    groups = groups_of(labels, ["age"])["age"]
    assert list(groups) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59"]
    assert sorted(s for studies in groups.values() for s in studies) == sorted(map(str, range(40)))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("scanner", r"no such column in the labels \(there: name\)"),
        ("name", "40 different values are too many"),
        ("level", "rename the column"),
    ],
)
def test_a_column_that_is_no_group_is_a_usage_error(column: str, message: str) -> None:
    labels = labels_with("name", [f"patient {i}" for i in range(40)])
    with pytest.raises(UsageError, match=message):
        groups_of(labels, [column])
