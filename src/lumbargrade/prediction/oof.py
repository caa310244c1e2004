"""Out-of-fold files as members of a blend: read with every leak refused, aligned row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition, Target
from lumbargrade.prediction.origin import OofRecord, origin_path, read_origin
from lumbargrade.prediction.table import PredictionRow, read_rows

#: What `validate` calls its out-of-fold file.
OOF_FILE = "oof.csv"

Key = tuple[str, Target]


@dataclass(frozen=True)
class OofMember:
    """One out-of-fold file.

    Attributes:
        name: what the blend calls it.
        path: the file.
        rows: by study and target.
        record: the models that made it.
    """

    name: str
    path: Path
    rows: Mapping[Key, PredictionRow]
    record: OofRecord


@dataclass(frozen=True)
class ConditionTable:
    """Predictions of one condition by the members that grade it, row by row the same finding.

    Attributes:
        names: of the members, M.
        keys: study and target of each of N rows.
        probabilities: (M, N, 3), nan where a member lacks a row; no row lacks all.
        grades: (N,) true grade, -1 where not graded.
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
    """Name and file of a member given as ``FILE``, ``FOLDER``, ``NAME=FILE`` or ``NAME=FOLDER``.

    Raises:
        UsageError: if there is no such file, or no name can be made.
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
        raise UsageError(f"{text}: name it, as NAME={text}")
    return name, path


def read_member(path: Path, name: str) -> OofMember:
    """Read an out-of-fold file and the record beside it.

    Raises:
        BadTable: with the row, if a model took part in it that was trained on its study, or if the
            file does not say which fold the study is in or which models took part.
        UsageError: if there is no record beside it.
    """
    record = read_origin(path)
    known = {(m.recipe, m.fold) for m in (*record.models, *record.guides)}
    rows: dict[Key, PredictionRow] = {}
    fold_of: dict[str, tuple[int, int]] = {}
    for row in read_rows(path):
        where = f"{path}, row {row.number}: study {row.study}"
        if row.fold is None:
            raise BadTable(f"{where} has no fold, so this is not an out-of-fold prediction")
        fold, first = fold_of.setdefault(row.study, (row.fold, row.number))
        if fold != row.fold:
            raise BadTable(f"{where} is in fold {row.fold}, but in fold {fold} in row {first}")
        if not row.finding.sources:
            raise BadTable(f"{where}: no models named")
        for source in row.finding.sources:
            if source.fold != row.fold:
                raise BadTable(
                    f"{where} of fold {row.fold} was predicted by {source.recipe} fold "
                    f"{source.fold}, which was trained on it"
                )
            if (source.recipe, source.fold) not in known:
                raise BadTable(
                    f"{where}: {source.recipe} fold {source.fold} is not in {origin_path(path)}"
                )
        rows[row.study, row.finding.target] = row
    if not rows:
        raise BadTable(f"{path}: no predictions")
    return OofMember(name, path, rows, record)


def require_same_folds(members: Sequence[OofMember]) -> None:
    """Make sure that members can be blended: same folds, same truth, names of their own.

    Raises:
        UsageError: if two members have one name, or come from stores with other folds.
        BadTable: if two files disagree on a study's fold or on a true grade, naming both rows.
    """
    first: dict[Key, tuple[OofMember, PredictionRow]] = {}
    fold_of: dict[str, tuple[OofMember, PredictionRow]] = {}
    for number, member in enumerate(members):
        if member.name in {m.name for m in members[:number]}:
            raise UsageError(f"two members are called {member.name}; give NAME=FILE")
        if member.record.folds != members[0].record.folds:
            raise UsageError(
                f"{member.path} and {members[0].path} are from stores with other folds; a model of "
                "one may have been trained on what a model of the other is judged on"
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
                    f"{here}: true grade of {key[1].column} is not that of {other.path}, "
                    f"row {same.number}"
                )


def condition_table(members: Sequence[OofMember], condition: Condition) -> ConditionTable | None:
    """What the members say of a condition; None where none grades it."""
    targets = set(TARGETS[condition])
    mine = [m for m in members if any(t in targets for _, t in m.rows)]
    if not mine:
        return None
    found: dict[Key, PredictionRow] = {}
    for member in mine:
        for key, row in member.rows.items():
            if key[1] in targets:
                found.setdefault(key, row)
    keys = sorted(found, key=lambda key: (len(key[0]), key[0], key[1].column))
    probabilities = np.full((len(mine), len(keys), 3), np.nan)
    for m, member in enumerate(mine):
        for n, key in enumerate(keys):
            if key in member.rows:
                probabilities[m, n] = member.rows[key].finding.probabilities
    rows = [found[key] for key in keys]
    return ConditionTable(
        names=tuple(m.name for m in mine),
        keys=tuple(keys),
        probabilities=probabilities,
        grades=np.array([-1 if r.truth is None else int(r.truth) for r in rows], int),
        studies=np.array([study for study, _ in keys]),
        folds=np.array([r.fold for r in rows], int),
    )
