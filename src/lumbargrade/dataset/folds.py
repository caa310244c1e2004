"""Cross-validation folds, as the published runs drew them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

FOLDS = 5
SEED = 42


def assign_folds(study_ids: Iterable[int]) -> dict[int, int]:
    """Study -> fold 0..4: one draw per study id, ascending, from ``RandomState(42)``.

    ``study_ids`` are those of ``train.csv``; a study of fold f is validated by models of fold f.
    """
    studies = sorted(set(study_ids))
    # The published folds come from the legacy generator; default_rng would draw others.
    drawn = np.random.RandomState(SEED).choice(FOLDS, len(studies))
    return {study: int(fold) for study, fold in zip(studies, drawn, strict=True)}


def fold_sizes(folds: dict[int, int]) -> list[int]:
    """Number of studies in each fold."""
    return [sum(f == fold for f in folds.values()) for fold in range(FOLDS)]
