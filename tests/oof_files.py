"""Out-of-fold files with known content: drawn grades, members with noise of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade, Target
from lumbargrade.grading.model_record import FORMAT, ModelRecord, OofRecord, write_oof_record
from lumbargrade.grading.predictions_file import write_predictions

BOTH = (Condition.CANAL, Condition.FORAMINAL)


def write_oof(
    folder: Path,
    *,
    noise: float = 1.0,
    seed: int = 1,
    studies: int = 60,
    conditions: Sequence[Condition] = BOTH,
    keep: Callable[[int, Target], bool] = lambda study, target: True,
    fold_of: Callable[[int], int] = lambda study: study % 5,
    recipe: str = "made",
    folds: str = "abc",
    flip: bool = True,
) -> Path:
    """Write ``oof.csv`` and ``oof.json``; the truth is the same whatever the member's seed.

    Args:
        noise: standard deviation that a member adds to the logits that grades are drawn by.
        keep: which findings the member predicts.
        fold_of: fold of each study, which all models named are of.
        folds: fingerprint of the store.
    """
    truth, own = np.random.default_rng(0), np.random.default_rng(seed)
    targets = [t for c in BOTH for t in TARGETS[c]]
    predictions, grades = [], {}
    for study in range(1, studies + 1):
        logits = truth.normal([1.5, 0, -0.5], 1.5, (len(targets), 3))
        u = truth.random((len(targets), 1))
        known = (u > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1).clip(0, 2)
        p = softmax(logits + own.normal(0, noise, logits.shape) + np.log([1, 2, 4]), axis=1)
        source = (ModelSource(recipe, fold_of(study)),)
        findings = {}
        for target, q in zip(targets, p.tolist(), strict=True):
            if target.condition in conditions and keep(study, target):
                findings[target] = Finding(target, (q[0], q[1], q[2]), sources=source)
        grades[str(study)] = {t: Grade(g) for t, g in zip(targets, known, strict=True)}
        predictions.append(StudyPrediction(str(study), findings, source))
    table = folder / "oof.csv"
    numbers = range(1, studies + 1)
    write_predictions(table, predictions, {str(s): fold_of(s) for s in numbers}, grades)
    models = tuple(
        ModelRecord(str(folder / f"fold{f}"), recipe, f, "0" * 64)
        for f in sorted({fold_of(s) for s in numbers})
    )
    write_oof_record(table, OofRecord(FORMAT, folds, flip, models))
    return table
