"""Fit a blend to out-of-fold files: weights, calibration, any-severe correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.vocabulary import TARGETS, Condition, Target
from lumbargrade.grading.blend_file import FORMAT, Blend, BlendMember, ConditionBlend, Measured
from lumbargrade.grading.model_record import OofRecord, oof_record_path, read_oof_record
from lumbargrade.grading.predictions_file import PredictionRow, read_rows
from lumbargrade.scoring.any_severe import AnySevere, AnySevereChoice, choose_any_severe
from lumbargrade.scoring.blend_weights import FixedWeights, WeightChoice, choose_weights
from lumbargrade.scoring.calibration import CalibrationChoice, choose_calibration

#: Name of the out-of-fold file that `validate` writes.
OOF_FILE = "oof.csv"

Key = tuple[str, Target]


@dataclass(frozen=True)
class OofMember:
    """One out-of-fold file.

    Attributes:
        name: its name in the blend.
        path: the file.
        rows: predictions by study and target.
        record: the models that made the file.
    """

    name: str
    path: Path
    rows: Mapping[Key, PredictionRow]
    record: OofRecord


@dataclass(frozen=True)
class ConditionTable:
    """Predictions of one condition by all members that grade it, with one row per finding.

    Attributes:
        names: names of the M members.
        keys: study and target of each of the N rows.
        probabilities: (M, N, 3), NaN if a member lacks a row; every row has a prediction.
        grades: (N,) reference grades, -1 if not graded.
        studies: (N,) study ids.
        folds: (N,) their folds.
    """

    names: tuple[str, ...]
    keys: tuple[Key, ...]
    probabilities: NDArray[np.float64]
    grades: NDArray[np.int_]
    studies: NDArray[np.str_]
    folds: NDArray[np.int_]


def find_member(text: str) -> tuple[str, Path]:
    """Return name and file of ``FILE``, ``FOLDER``, ``NAME=FILE`` or ``NAME=FOLDER``.

    Raises:
        UsageError: if there is no such file, or no name can be derived.
    """
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists():
        name, rest = "", text
    path = Path(rest)
    path = path / OOF_FILE if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path}: no such file (`lumbargrade validate` writes {OOF_FILE})")
    name = name.strip() or path.resolve().parent.name
    if not name:
        raise UsageError(f"{text}: no name can be derived for this member; give NAME={text}")
    return name, path


def read_member(path: Path, name: str) -> OofMember:
    """Read an out-of-fold file and the record beside it.

    Raises:
        BadTable: if a row used a model that was trained on its study, or lacks its fold or models;
            the text names the row.
        UsageError: if there is no record beside the file.
    """
    record = read_oof_record(path)
    known = {m.source for m in (*record.models, *record.guides)}
    rows: dict[Key, PredictionRow] = {}
    fold_of: dict[str, tuple[int, int]] = {}
    for row in read_rows(path):
        where = f"{path}, row {row.number}: study {row.study}"
        if row.fold is None:
            raise BadTable(f"{where} has no fold, so it is not an out-of-fold prediction")
        fold, first = fold_of.setdefault(row.study, (row.fold, row.number))
        if fold != row.fold:
            raise BadTable(f"{where} is in fold {row.fold}, but in fold {fold} in row {first}")
        if not row.finding.sources:
            raise BadTable(f"{where}: no models in column models")
        for source in row.finding.sources:
            if source.fold != row.fold:
                raise BadTable(
                    f"{where} of fold {row.fold} was predicted by {source.recipe} fold "
                    f"{source.fold}, which was trained on this study"
                )
            if source not in known:
                raise BadTable(
                    f"{where}: {source.recipe} fold {source.fold} is not in {oof_record_path(path)}"
                )
        rows[row.study, row.finding.target] = row
    if not rows:
        raise BadTable(f"{path}: no predictions")
    return OofMember(name, path, rows, record)


def require_same_folds(members: Sequence[OofMember]) -> None:
    """Check that members can be blended: same folds, same reference grades, different names.

    Raises:
        UsageError: if two members have the same name, or come from stores with different folds.
        BadTable: if two files disagree on a study's fold or on a reference grade; the text names
            both rows.
    """
    first: dict[Key, tuple[OofMember, PredictionRow]] = {}
    fold_of: dict[str, tuple[OofMember, PredictionRow]] = {}
    for number, member in enumerate(members):
        if member.name in {m.name for m in members[:number]}:
            raise UsageError(
                f"two members are called {member.name}; give one another name with NAME=FILE"
            )
        if member.record.folds != members[0].record.folds:
            raise UsageError(
                f"{member.path} and {members[0].path} are from stores with different folds, so "
                "models of one may have been trained on validation studies of the other; validate "
                "all models on one store"
            )
        for key, row in member.rows.items():
            here = f"{member.path}, row {row.number}: study {row.study}"
            other, same = fold_of.setdefault(row.study, (member, row))
            if same.fold != row.fold:
                raise BadTable(
                    f"{here} is in fold {row.fold}, but in fold {same.fold} in {other.path}, "
                    f"row {same.number}"
                )
            other, same = first.setdefault(key, (member, row))
            if same.truth != row.truth:
                raise BadTable(
                    f"{here}: reference grade of {key[1].column} differs from {other.path}, "
                    f"row {same.number}"
                )


def condition_table(members: Sequence[OofMember], condition: Condition) -> ConditionTable | None:
    """Collect the members' predictions of a condition; None if no member grades it."""
    targets = set(TARGETS[condition])
    graders = [m for m in members if any(t in targets for _, t in m.rows)]
    if not graders:
        return None
    found: dict[Key, PredictionRow] = {}
    for member in graders:
        for key, row in member.rows.items():
            if key[1] in targets:
                found.setdefault(key, row)
    keys = sorted(found, key=lambda key: (id_order(key[0]), key[1].column))
    probabilities = np.full((len(graders), len(keys), 3), np.nan)
    for m, member in enumerate(graders):
        for n, key in enumerate(keys):
            if key in member.rows:
                probabilities[m, n] = member.rows[key].finding.probabilities
    rows = [found[key] for key in keys]
    return ConditionTable(
        names=tuple(m.name for m in graders),
        keys=tuple(keys),
        probabilities=probabilities,
        grades=np.array([-1 if r.truth is None else int(r.truth) for r in rows], int),
        studies=np.array([study for study, _ in keys]),
        folds=np.array([r.fold for r in rows], int),
    )


@dataclass(frozen=True)
class ConditionFit:
    """The fit of one condition.

    Attributes:
        members: names of the members that grade it.
        weights: weights and losses of these members, in the same order.
        calibration: calibration of the blend's probabilities.
        spare: members with weight 0 that predict findings that no member with a weight predicts.
    """

    members: tuple[str, ...]
    weights: WeightChoice
    calibration: CalibrationChoice
    spare: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlendFit:
    """A fitted blend with its measurements.

    Attributes:
        members: the out-of-fold files.
        conditions: fits of the conditions that a member grades and that have reference grades.
        any_severe: correction of the canal; None if no member grades the canal.
    """

    members: tuple[OofMember, ...]
    conditions: Mapping[Condition, ConditionFit]
    any_severe: AnySevereChoice | None

    def blend(self) -> Blend:
        """Return the content of the blend file."""
        correction = AnySevere() if self.any_severe is None else self.any_severe.correction
        return Blend(
            format=FORMAT,
            folds=self.members[0].record.folds,
            members=tuple(
                BlendMember(m.name, m.record.flip, m.record.models, m.record.guides)
                for m in self.members
            ),
            conditions={c: _condition_blend(fit) for c, fit in self.conditions.items()},
            any_severe=correction,
        )


def fit_blend(members: Sequence[OofMember], fixed: FixedWeights | None = None) -> BlendFit:
    """Fit a blend to out-of-fold predictions.

    Args:
        members: out-of-fold files; a member may lack conditions or single findings.
        fixed: weights of conditions that are not fitted.

    Raises:
        UsageError: if the files have different folds, equal names, or no reference grade.
        BadTable: if they disagree on a fold or a reference grade.
    """
    require_same_folds(members)
    fits: dict[Condition, ConditionFit] = {}
    any_severe = None
    for condition in Condition:
        table = condition_table(members, condition)
        if table is None or not (table.grades >= 0).any():
            continue
        given = (fixed or {}).get(condition)
        weights = choose_weights(
            table.probabilities,
            table.grades,
            table.studies,
            table.folds,
            None if given is None else _of_those_present(given, members, table, condition),
        )
        known = table.grades >= 0
        calibration = choose_calibration(
            weights.mixed[known], table.grades[known], table.studies[known], table.folds[known]
        )
        spare = _spare(table, weights.weights)
        fits[condition] = ConditionFit(table.names, weights, calibration, spare)
        if condition is Condition.CANAL:
            any_severe = choose_any_severe(*by_level(table, weights.mixed))
    if not fits:
        raise UsageError("no reference grades in the out-of-fold files, so no blend can be fitted")
    return BlendFit(tuple(members), fits, any_severe)


def by_level(
    table: ConditionTable, mixed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.str_], NDArray[np.int_]]:
    """Arrange canal rows by study and level.

    Returns:
        Probabilities (S, 5, 3), NaN if missing; grades (S, 5), -1 if not graded; study ids (S,);
        folds (S,).
    """
    levels = {t: n for n, t in enumerate(TARGETS[Condition.CANAL])}
    studies, first, number = np.unique(table.studies, return_index=True, return_inverse=True)
    probabilities = np.full((len(studies), len(levels), 3), np.nan)
    grades = np.full((len(studies), len(levels)), -1)
    column = [levels[target] for _, target in table.keys]
    probabilities[number, column] = mixed
    grades[number, column] = table.grades
    return probabilities, grades, studies, table.folds[first]


def _of_those_present(
    given: Sequence[float],
    members: Sequence[OofMember],
    table: ConditionTable,
    condition: Condition,
) -> list[float]:
    by_name = dict(zip((m.name for m in members), given, strict=True))
    weights = [by_name[name] for name in table.names]
    if sum(weights) <= 0:
        raise UsageError(
            f"{condition}: the weights of {', '.join(table.names)}, which grade it, sum to 0; "
            "give one of them a weight"
        )
    return weights


def _spare(table: ConditionTable, weights: Sequence[float]) -> tuple[str, ...]:
    present: NDArray[np.bool_] = np.isfinite(table.probabilities[..., 0])
    lacking = ~present[[w > 0 for w in weights]].any(axis=0)
    return tuple(
        name
        for name, weight, has in zip(table.names, weights, present, strict=True)
        if weight == 0 and (has & lacking).any()
    )


def _condition_blend(fit: ConditionFit) -> ConditionBlend:
    def named(values: Sequence[float]) -> dict[str, float]:
        return dict(zip(fit.members, values, strict=True))

    return ConditionBlend(
        weights=named(fit.weights.weights),
        origin=fit.weights.origin,
        calibration=fit.calibration.calibration,
        measured=Measured(
            findings=fit.calibration.findings,
            members=named(fit.weights.members),
            blend=fit.weights.blend,
            log_loss=fit.calibration.before,
            calibrated=fit.calibration.nested,
        ),
        spare=fit.spare,
    )
