"""Validate the released two-stage networks on the folds that they were trained with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lumbargrade.domain.errors import BadTable, NothingDone, UsageError, described
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import Condition, Grade, Target
from lumbargrade.files.tables import id_text, read_table, real
from lumbargrade.grading.lsdc_studies import LsdcStudies, predict_one
from lumbargrade.grading.two_stage import TwoStageUse, open_two_stage, sweep
from lumbargrade.lsdc.tables import FOLDS, read_grade_table
from lumbargrade.scoring.cohort import pair
from lumbargrade.scoring.local import OFFICIAL_CLIP, any_severe, local_score
from lumbargrade.team_two_stage.members import SetName

log = logging.getLogger(__name__)

#: Studies of folds 0 to 4 of set 8620; other counts mean another file.
PUBLISHED_COUNTS = (393, 396, 395, 399, 392)

#: The seed of set 666, which is its name.
_SEED = 666

Grades = Mapping[str, Mapping[Target, Grade]]


def read_folds(path: Path) -> dict[str, int]:
    """Read study -> fold from a table with a row per study and series or level.

    Of set 8620 this is ``folds_t2s_each.csv`` in the repository of the published code.

    Raises:
        BadTable: if a column is missing, a fold is not 0 to 4, or a study is in two folds.
    """
    folds: dict[str, int] = {}
    for row in read_table(path, ("study_id", "fold")):
        study, fold = row.read(id_text, "study_id"), row.read(_fold, "fold")
        if folds.setdefault(study, fold) != fold:
            raise BadTable(
                f"{path}, row {row.number}: study {study} is in fold {fold}, but in fold "
                f"{folds[study]} above"
            )
    counts = Counter(folds.values())
    found = tuple(counts[fold] for fold in range(FOLDS))
    if found != PUBLISHED_COUNTS:
        log.warning(
            "%s: %s studies in folds 0 to 4, the published file has %s",
            *(path, "/".join(map(str, found)), "/".join(map(str, PUBLISHED_COUNTS))),
        )
    return folds


def _fold(text: str) -> int:
    value = real(text)
    if value not in range(FOLDS):
        raise ValueError(f"{text!r} is not a fold from 0 to {FOLDS - 1}")
    return int(value)


def shuffled_folds(studies: Sequence[str]) -> dict[str, int]:
    """Return the folds of set 666: those of scikit-learn's KFold(5, shuffle, random_state 666).

    Args:
        studies: in the order of the rows of train.csv.
    """
    order = np.arange(len(studies))
    np.random.RandomState(_SEED).shuffle(order)
    parts = np.array_split(order, FOLDS)
    return {studies[i]: fold for fold, part in enumerate(parts) for i in part.tolist()}


@dataclass(frozen=True)
class HeldOut:
    """Predictions of studies by networks that have not seen them.

    Attributes:
        predictions: one per study; those that failed are not among them.
        folds: study -> fold.
        grades: study -> target -> reference grade.
        failed: study -> why.
    """

    predictions: Sequence[StudyPrediction]
    folds: Mapping[str, int]
    grades: Grades
    failed: Mapping[str, str]

    def rows(self) -> list[list[Any]]:
        """Scores of each fold, their mean, and scores of all studies together.

        A row has the studies, the loss of each condition, of any severe, and their mean. Losses are
        those of the official score; targets without prediction are not counted.
        """
        by_fold: dict[str, list[StudyPrediction]] = {}
        for prediction in self.predictions:
            by_fold.setdefault(f"fold {self.folds[prediction.study_id]}", []).append(prediction)
        scores = {name: _scores(part, self.grades) for name, part in sorted(by_fold.items())}
        count, whole = len(self.predictions), _scores(self.predictions, self.grades)
        mean = np.mean(list(scores.values()), axis=0).tolist()
        folds = [[name, len(by_fold[name]), *losses] for name, losses in scores.items()]
        return [*folds, ["mean of folds", count, *mean], ["all studies", count, *whole]]


def _scores(predictions: Sequence[StudyPrediction], grades: Grades) -> list[float]:
    found = {p.study_id: p for p in predictions}
    paired = pair(found, {s: g for s, g in grades.items() if s in found}).predicted
    losses = []
    for condition in Condition:
        mine = paired.of(condition)
        losses.append(local_score(mine.probabilities, mine.grades, OFFICIAL_CLIP).weighted)
    canal = paired.of(Condition.CANAL)
    codes, studies = canal.study_codes
    columns = np.unique(canal.targets, return_inverse=True)[1]
    severe, truth = np.full((studies, 5), np.nan), np.full((studies, 5), -1)
    severe[codes, columns] = canal.probabilities[:, 2]
    truth[codes, columns] = canal.grades
    losses.append(any_severe(severe, truth, official=True))
    return [*losses, float(np.mean(losses))]


def predict_held_out(
    folders: Sequence[Path],
    data: Path,
    folds_file: Path | None,
    device: str,
    use: TwoStageUse,
) -> HeldOut:
    """Predict every study of the training data with the grading networks of its own fold.

    Points are those of first-stage networks of the same fold as well, as far as there are any: the
    axial 3-D networks were released for folds 0 to 2 and the level network for fold 0 only, so
    other folds use what there is.

    Args:
        folders: model folders of released networks.
        data: folder in the LSDC layout with train.csv and the training images.
        folds_file: table of folds (see `read_folds`), for set 8620; those of 666 are computed.
        device: device of torch.
        use: which networks are used, and how.

    Raises:
        UsageError: if options contradict each other or networks are missing.
        BadTable: if a table cannot be used.
        NothingDone: if no study of the folds has images that can be predicted.
    """
    if any(name.startswith("fold") for name in use.networks):
        raise UsageError("--networks: every study is predicted by its own fold; name no fold")
    set_name: SetName = use.set_name or "8620"
    if (set_name == "8620") != (folds_file is not None):
        need = "give --folds folds_t2s_each.csv" if set_name == "8620" else "omit --folds"
        raise UsageError(f"set {set_name}: {need}; see docs/published.md")
    grades = read_grade_table(data / "train.csv")
    folds = shuffled_folds(list(grades)) if folds_file is None else read_folds(folds_file)
    studies = LsdcStudies.open(data, "train")
    predictions, failed = [], {}
    for fold in range(FOLDS):
        mine = [study for study in studies.series if folds.get(study) == fold]
        if not mine:
            continue
        chosen = replace(use, networks=(*use.networks, f"fold{fold}"))
        system = replace(open_two_stage(folders, device, chosen), fold=fold)
        sweep(system, studies.unread(mine))
        for study in tqdm(mine, f"fold {fold}", unit="study", disable=None):
            try:
                predictions.append(predict_one(studies, system, study))
            except Exception as error:  # the other studies can be predicted
                log.debug("study %s", study, exc_info=True)
                failed[study] = described(error)
    if not predictions:
        why = f": {next(iter(failed.values()))}" if failed else ""
        raise NothingDone(f"{data}: no study of the folds could be predicted{why}")
    return HeldOut(predictions, folds, grades, failed)
