"""The vocabulary: conditions, levels, sides, grades, series kinds and the 25 findings.

All other modules take names and orders from here. Names follow the RSNA 2024 LSDC tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum


def plain_name(name: str) -> str:
    """A condition, with or without its side, or a part of the score, in words.

    Examples:
        >>> plain_name("spinal_canal_stenosis")
        'spinal canal stenosis'
    """
    return name.replace("_", " ")


class Condition(StrEnum):
    """A condition that is graded at a level; the value is the name in LSDC column names."""

    CANAL = "spinal_canal_stenosis"
    FORAMINAL = "neural_foraminal_narrowing"
    SUBARTICULAR = "subarticular_stenosis"

    @property
    def sided(self) -> bool:
        """Whether left and right are graded separately."""
        return self is not Condition.CANAL


class Side(StrEnum):
    """The patient's side."""

    LEFT = "left"
    RIGHT = "right"

    def mirror(self) -> Side:
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


class Level(StrEnum):
    """A lumbar disc level, top to bottom."""

    L1_L2 = "l1_l2"
    L2_L3 = "l2_l3"
    L3_L4 = "l3_l4"
    L4_L5 = "l4_l5"
    L5_S1 = "l5_s1"

    @property
    def label(self) -> str:
        """Spelling of the coordinate table, for example ``L1/L2``."""
        return self.value.upper().replace("_", "/")


class Grade(IntEnum):
    """Severity; the integer is the class index in networks and probabilities."""

    NORMAL_MILD = 0
    MODERATE = 1
    SEVERE = 2

    @property
    def column(self) -> str:
        """Submission column, for example ``normal_mild``."""
        return self.name.lower()

    @property
    def label(self) -> str:
        """Spelling of ``train.csv``, for example ``Normal/Mild``."""
        return self.name.replace("_", "/").title()


class SeriesKind(StrEnum):
    """The three kinds of series of an LSDC study; the value is the LSDC series description."""

    SAGITTAL_T1 = "Sagittal T1"
    SAGITTAL_T2 = "Sagittal T2/STIR"
    AXIAL_T2 = "Axial T2"

    @property
    def sagittal(self) -> bool:
        return self is not SeriesKind.AXIAL_T2


@dataclass(frozen=True, slots=True)
class Target:
    """One of the 25 gradable targets: a condition at a level, with a side if the condition has one.

    Examples:
        >>> target = Target(Condition.FORAMINAL, Level.L4_L5, Side.LEFT)
        >>> target.column
        'left_neural_foraminal_narrowing_l4_l5'
        >>> target.mirror().side
        <Side.RIGHT: 'right'>
    """

    condition: Condition
    level: Level
    side: Side | None = None

    def __post_init__(self) -> None:
        if self.condition.sided != (self.side is not None):
            need = "needs a side" if self.condition.sided else "has no side"
            raise ValueError(f"{self.condition.value} {need}, got side {self.side!r}")

    @property
    def sided_condition(self) -> str:
        """The LSDC condition with its side, for example ``left_neural_foraminal_narrowing``."""
        return self.condition.value if self.side is None else f"{self.side}_{self.condition}"

    @property
    def column(self) -> str:
        """Column of ``train.csv``, which is also the end of a submission row id."""
        return f"{self.sided_condition}_{self.level}"

    @property
    def coordinate_label(self) -> str:
        """Condition in the spelling of ``train_label_coordinates.csv``."""
        return plain_name(self.sided_condition).title()

    def mirror(self) -> Target:
        """Return the same target in the left-right mirrored patient."""
        return self if self.side is None else replace(self, side=self.side.mirror())


def _targets(condition: Condition, sides: Sequence[Side | None]) -> tuple[Target, ...]:
    return tuple(Target(condition, level, side) for side in sides for level in Level)


_BOTH = (Side.LEFT, Side.RIGHT)

#: Targets of each condition in the order of network outputs: left L1/L2 to L5/S1, then right.
TARGETS: dict[Condition, tuple[Target, ...]] = {
    c: _targets(c, _BOTH if c.sided else (None,)) for c in Condition
}

#: The kind of series a condition is labelled and graded on.
KIND_OF: dict[Condition, SeriesKind] = {
    Condition.FORAMINAL: SeriesKind.SAGITTAL_T1,
    Condition.CANAL: SeriesKind.SAGITTAL_T2,
    Condition.SUBARTICULAR: SeriesKind.AXIAL_T2,
}

#: All 25 findings in the order of the columns of train.csv.
TABLE_ORDER: tuple[Target, ...] = tuple(t for c in Condition for t in TARGETS[c])

#: All 25 findings in submission order: alphabetical by row name, like the sample submission.
FINDINGS: tuple[Target, ...] = tuple(sorted(TABLE_ORDER, key=lambda t: t.column))

#: Sample weight of each grade in the official score and in the published losses.
GRADE_WEIGHTS: dict[Grade, int] = {Grade.NORMAL_MILD: 1, Grade.MODERATE: 2, Grade.SEVERE: 4}

_BY_COLUMN = {t.column: t for t in FINDINGS}
_GRADE_BY_LABEL = {g.label: g for g in Grade}


def mirror(targets: Sequence[Target]) -> tuple[int, ...]:
    """Return the index of each target's mirror image: ``mirrored[i] = values[mirror(targets)[i]]``.

    Raises:
        ValueError: if the mirror image of a target is not among ``targets``.

    Examples:
        >>> mirror(TARGETS[Condition.FORAMINAL])
        (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)
    """
    position = {t: i for i, t in enumerate(targets)}
    try:
        return tuple(position[t.mirror()] for t in targets)
    except KeyError as missing:
        raise ValueError(f"targets are not closed under mirroring: {missing} is absent") from None


def target_from_column(column: str) -> Target:
    """Return the target of a ``train.csv`` column such as ``spinal_canal_stenosis_l1_l2``.

    Raises:
        ValueError: if the name, which the text quotes, is not one of the 25.

    Examples:
        >>> target_from_column("spinal_canal_stenosis_l1_l2").level.label
        'L1/L2'
    """
    try:
        return _BY_COLUMN[column]
    except KeyError:
        raise ValueError(f"unknown condition and level {column!r}") from None


def target_from_labels(condition: str, level: str) -> Target:
    """Return the target of a coordinate-table row, in either spelling (``L1/L2`` or ``l1_l2``).

    Raises:
        ValueError: if the condition or level, which the text quotes, is unknown.

    Examples:
        >>> target_from_labels("Right Subarticular Stenosis", "L5/S1").column
        'right_subarticular_stenosis_l5_s1'
    """
    column = f"{condition.strip().replace(' ', '_')}_{level.strip().replace('/', '_')}".lower()
    if column not in _BY_COLUMN:
        raise ValueError(f"unknown condition {condition!r} or level {level!r}")
    return _BY_COLUMN[column]


def grade_from_label(label: str) -> Grade:
    """Return the grade that ``train.csv`` spells ``Normal/Mild``, ``Moderate`` or ``Severe``.

    Raises:
        ValueError: for any other text.

    Examples:
        >>> grade_from_label("Moderate")
        <Grade.MODERATE: 1>
    """
    try:
        return _GRADE_BY_LABEL[label]
    except KeyError:
        expected = ", ".join(_GRADE_BY_LABEL)
        raise ValueError(f"unknown grade {label!r}; expected one of {expected}") from None


def grade_from_name(text: str) -> Grade:
    """Return the grade of a text such as ``Normal/Mild`` or ``normal_mild``, in any case.

    Raises:
        ValueError: for any other text.
    """
    name = text.strip().upper().replace("/", "_")
    if name not in Grade.__members__:
        expected = ", ".join(g.column for g in Grade)
        raise ValueError(f"unknown grade {text!r}; expected one of {expected}")
    return Grade[name]
