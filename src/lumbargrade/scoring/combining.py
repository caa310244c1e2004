"""Submission files blended by condition, with the checks of `score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Target
from lumbargrade.files.writing import sha256_of
from lumbargrade.scoring.blending import FixedWeights
from lumbargrade.scoring.official import Submission, check_complete, read_submission


@dataclass(frozen=True)
class SubmissionFile:
    """One submission.

    Attributes:
        path: the file.
        sha256: of its bytes.
        rows: study -> finding -> probabilities as in the file; all 25 of each study.
    """

    path: Path
    sha256: str
    rows: Submission


def read_submissions(paths: Sequence[Path]) -> list[SubmissionFile]:
    """Read submissions of the same studies.

    Raises:
        BadTable: if a file is no complete submission, or has other studies than the first one;
            it names the file and the first row that differs.
        OSError: if a file cannot be read.
    """
    files = []
    for path in paths:
        if path.exists() and not path.is_file():
            raise BadTable(f"{path}: not a file; a submission from a pipe must be saved first")
        rows = read_submission(path)
        if not rows:
            raise BadTable(f"{path}: no rows")
        check_complete(rows, list(rows), path)
        files.append(SubmissionFile(path, sha256_of(path), rows))
    first = files[0]
    for other in files[1:]:
        check_complete(other.rows, list(first.rows), other.path, first.path)
    return files


def condition_weights(given: FixedWeights, count: int) -> dict[Condition, tuple[float, ...]]:
    """A weight per file for every condition; each row sums to 1.

    Args:
        given: weights of some conditions, of all, or of none.
        count: number of files.

    Returns:
        Equal weights if none are given. If some conditions have weights, the others get weight 1
        for the first file and 0 for the rest.
    """
    rest = [1.0] * count if not given else [1.0, *[0.0] * (count - 1)]
    chosen = {c: np.array(given.get(c, rest), float) for c in Condition}
    return {c: tuple((w / w.sum()).tolist()) for c, w in chosen.items()}


def combine(
    submissions: Sequence[Submission], weights: Mapping[Condition, Sequence[float]]
) -> dict[str, dict[Target, Probabilities]]:
    """Weighted mean of complete submissions of the same studies.

    Rows are normalised before they are averaged, as the score does. If one file has all the weight,
    its rows are copied unchanged.

    Args:
        submissions: as read from files.
        weights: condition -> a weight per submission, summing to 1.
    """

    def mixed(study: str, target: Target) -> Probabilities:
        used = [
            (w, s[study][target])
            for w, s in zip(weights[target.condition], submissions, strict=True)
            if w > 0
        ]
        if len(used) == 1:
            return used[0][1]
        a, b, c = (sum(w * (row[k] / sum(row)) for w, row in used) for k in range(3))
        return a, b, c

    return {study: {t: mixed(study, t) for t in FINDINGS} for study in submissions[0]}
