"""Read and predict the studies of a data set in the LSDC layout, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import LSDC
from lumbargrade.domain.errors import BadDicom, BadTable, Problem, UsageError, described
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.reasons import no_series
from lumbargrade.domain.vocabulary import FINDINGS, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.predictor import Predictor, explained
from lumbargrade.lsdc.completeness import (
    SAMPLE,
    sample_problems,
    sample_studies,
    unlisted_studies,
)
from lumbargrade.lsdc.tables import SeriesEntry, read_series_table, series_entries
from lumbargrade.team_two_stage.predictor import Unread

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

        With a sample submission, which names the studies, nothing else is required: rows of the
        table that cannot be used, and an absent table or image folder, are problems.

        Raises:
            UsageError: if the split is unknown, or missing in ``data``.
            BadTable: if the sample submission cannot be used; without one, if the table cannot.
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
        if "test" in wanted and (sample := sample_studies(data, "test")) is not None:
            return cls._of(data / "test_series_descriptions.csv", data / "test_images", sample)
        tables = " or ".join(f"{n}_series_descriptions.csv with {n}_images" for n in wanted)
        raise UsageError(f"{data} has no {tables}")

    @classmethod
    def _of(cls, table: Path, images: Path, sample: tuple[str, ...] | None) -> LsdcStudies:
        if sample is None:
            listed = _by_study(read_series_table(table))
            return cls(images, listed, tuple(unlisted_studies(images, listed, table.name)))
        entries, problems = _usable_entries(table)
        listed = _by_study(entries)
        if not images.is_dir():
            problems.append(Problem(f"no image folder beside {SAMPLE}", file=str(images)))
        problems += sample_problems(sample, listed, table.name)
        problems += unlisted_studies(images, {*listed, *sample}, table.name)
        return cls(images, {s: listed.get(s, []) for s in sample}, tuple(problems))

    def unread(self, studies: Iterable[str]) -> Iterator[Unread]:
        """Yield studies with what reads all their series."""
        for study_id in studies:
            yield study_id, partial(self._volumes, study_id)

    def _volumes(self, study_id: str) -> list[Volume]:
        return self.read(study_id, set(SeriesKind))[0]

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
            except Exception as error:  # the other series of the study are usable
                log.debug("series %s", series_id, exc_info=True)
                what = f"the series cannot be read ({described(error)})"
                problems.append(Problem(what, study=study_id, series=series_id))
                continue
            volumes.append(result.volume)
            problems += result.problems
        return volumes, problems


def predict_one(studies: LsdcStudies, predictor: Predictor, study_id: str) -> StudyPrediction:
    """Predict one study; each of its 25 targets is graded or absent with a reason."""
    kinds = predictor.kinds
    volumes, problems = studies.read(study_id, kinds)
    prediction = explained(predictor.predict(study_id, volumes), predictor.conditions)
    for kind in sorted(kinds - {v.kind for v in volumes}):
        problems.append(Problem(no_series([kind]), study=study_id, fatal=False))
    return replace(prediction, problems=(*prediction.problems, *problems))


def not_predicted(study_id: str, why: str) -> StudyPrediction:
    """A study without any finding, and the fatal problem that says why."""
    problem = Problem(why, study=study_id, advice="all its findings are filled")
    return StudyPrediction(study_id, {}, absent=dict.fromkeys(FINDINGS, why), problems=(problem,))


def _by_study(entries: Iterable[SeriesEntry]) -> dict[str, list[tuple[str, SeriesKind]]]:
    listed: dict[str, list[tuple[str, SeriesKind]]] = {}
    for entry in entries:
        listed.setdefault(entry.study_id, []).append((entry.series_id, entry.kind))
    return listed


def _usable_entries(table: Path) -> tuple[list[SeriesEntry], list[Problem]]:
    """The rows of a table of series descriptions that can be used, and a problem for the others."""
    entries: list[SeriesEntry] = []
    problems: list[Problem] = []
    try:
        for entry in series_entries(table):
            if isinstance(entry, BadTable):
                problems.append(Problem(str(entry), advice="its series is not used"))
            else:
                entries.append(entry)
    except (BadTable, OSError) as error:
        problems.append(Problem(str(error), advice="series after this row are not used"))
    return entries, problems
