"""Predict all studies of a data set in the LSDC layout, with one study in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import LSDC
from lumbargrade.domain.errors import BadDicom, NothingDone, Problem, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.reasons import no_series
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.predictor import Predictor, explained
from lumbargrade.lsdc.completeness import sample_problems, sample_studies, unlisted_studies
from lumbargrade.lsdc.tables import read_series_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LsdcStudies:
    """The studies of a data set in the LSDC layout; images are read on demand.

    Attributes:
        images: folder ``train_images`` or ``test_images``.
        series: study id -> its (series id, kind) pairs from the descriptions table. If a test table
            has a sample submission beside it, the studies are those of the sample submission, with
            no pairs if the table does not list them. Otherwise they are those of the table.
        problems: studies that are missing from the sample submission, the table or the images.
    """

    images: Path
    series: dict[str, list[tuple[str, SeriesKind]]]
    problems: tuple[Problem, ...] = field(default=())

    @classmethod
    def open(cls, data: Path, split: str = "auto") -> LsdcStudies:
        """Find the images and the table of a split.

        Raises:
            UsageError: if the split is unknown, or missing in ``data``.
            BadTable: if the descriptions table or the sample submission cannot be used.
        """
        if split not in ("auto", "test", "train"):
            raise UsageError(f"--split {split!r}: unknown split; use test, train or auto")
        if not data.is_dir():
            raise UsageError(f"{data} is not a folder")
        wanted = ("test", "train") if split == "auto" else (split,)
        for name in wanted:
            table = data / f"{name}_series_descriptions.csv"
            if table.exists() and (data / f"{name}_images").is_dir():
                return cls._of(table, data / f"{name}_images", sample_studies(data, name))
        tables = " or ".join(f"{n}_series_descriptions.csv with {n}_images" for n in wanted)
        raise UsageError(f"{data} has no {tables}")

    @classmethod
    def _of(cls, table: Path, images: Path, wanted: tuple[str, ...] | None) -> LsdcStudies:
        listed: dict[str, list[tuple[str, SeriesKind]]] = {}
        for row in read_series_table(table):
            pairs = listed.setdefault(row.study_id, [])
            pairs.append((row.series_id, row.kind))
        if wanted is None:
            return cls(images, listed, tuple(unlisted_studies(images, listed, table.name)))
        problems = sample_problems(wanted, listed, table.name)
        problems += unlisted_studies(images, {*listed, *wanted}, table.name)
        return cls(images, {s: listed.get(s, []) for s in wanted}, tuple(problems))

    def read(self, study_id: str, kinds: set[SeriesKind]) -> tuple[list[Volume], list[Problem]]:
        """Read the series of some kinds of a study; return volumes and problems."""
        volumes, problems = [], []
        for series_id, kind in self.series[study_id]:
            if kind not in kinds:
                continue
            folder = self.images / study_id / series_id
            try:
                result = read_series(
                    folder, study_id=study_id, series_id=series_id, kind=kind, rules=LSDC
                )
            except BadDicom as error:
                problems.append(Problem(str(error), study=study_id, series=series_id))
                continue
            volumes.append(result.volume)
            problems += result.problems
        return volumes, problems


def predict_studies(studies: LsdcStudies, predictor: Predictor) -> Iterator[StudyPrediction]:
    """Predict every study; each of its 25 targets is graded or absent with a reason.

    Raises:
        NothingDone: if the table lists no study.
    """
    if not studies.series:
        raise NothingDone("the table of series descriptions lists no study")
    kinds = predictor.kinds
    for study_id in tqdm(studies.series, desc="studies", unit="study", disable=None):
        volumes, problems = studies.read(study_id, kinds)
        prediction = explained(predictor.predict(study_id, volumes), predictor.conditions)
        for kind in sorted(kinds - {v.kind for v in volumes}):
            problems.append(Problem(no_series([kind]), study=study_id, fatal=False))
        yield replace(prediction, problems=(*prediction.problems, *problems))
