"""The result of a study as it is written to files and shown: prediction, series, origin, review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lumbargrade import __version__
from lumbargrade.dicom.choice import SeriesChoice
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import Grade, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.review_file import Review


@dataclass(frozen=True)
class ImageLine:
    """One image of a series.

    Attributes:
        instance_number: its number, which places and measurements refer to.
        sop_instance_uid: its SOPInstanceUID; empty if unknown.
    """

    instance_number: int
    sop_instance_uid: str


@dataclass(frozen=True)
class SeriesLine:
    """One series of a graded study.

    Attributes:
        series_id: its id.
        kind: one of the three kinds, or null.
        slices, rows, columns: its size.
        pictures: pictures by condition with side; paths are relative to the study's folder.
        images: its images in spatial order.
        number, description: SeriesNumber and SeriesDescription; empty if absent.
        used: whether it was graded.
        reason: why, or why not.
        cautions: what makes grades from it less certain.
    """

    series_id: str
    kind: SeriesKind | None
    slices: int
    rows: int
    columns: int
    pictures: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ImageLine, ...] = ()
    number: str = ""
    description: str = ""
    used: bool = True
    reason: str = ""
    cautions: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        volume: Volume,
        pictures: Mapping[str, str] | None = None,
        choice: SeriesChoice | None = None,
    ) -> SeriesLine:
        """Describe a volume, and whether it was chosen."""
        depth, rows, columns = volume.pixels.shape
        images = tuple(ImageLine(s.instance_number, s.sop_instance_uid) for s in volume.slices)
        size = (depth, rows, columns)
        line = cls(volume.series_id, volume.kind, *size, pictures or {}, images)
        if choice is None:
            return line
        return replace(
            line,
            number=choice.number,
            description=choice.description,
            used=choice.chosen,
            reason=choice.reason,
            cautions=choice.cautions,
        )


@dataclass(frozen=True)
class GradedStudy:
    """The result of a study: the content of a findings file.

    Attributes:
        prediction: the 25 findings, graded or absent, the models and the problems.
        series: the study's series.
        flip: whether predictions of any model were averaged with those of mirrored volumes.
        fingerprint: fingerprint of the images, models and settings.
        about: what a reader must know of the models; see `Predictor.about`.
        version: version of this package that graded the study.
        time: when it was graded, as ISO 8601 with time zone; empty if unknown.
        review: the reader's review that was applied, if any. Where the reader overruled a grade,
            `Finding.by_reader` has the reader's.
    """

    prediction: StudyPrediction
    series: tuple[SeriesLine, ...]
    flip: bool
    fingerprint: str
    about: str = ""
    version: str = __version__
    time: str = ""
    review: Review | None = None

    def _repr_html_(self) -> str:
        """How a notebook shows the result: its grid of findings."""
        return self.prediction._repr_html_()

    def grade(self, target: Target) -> Grade | None:
        """The grade of a target; None if neither the models nor the reader graded it."""
        if (finding := self.prediction.findings.get(target)) is not None:
            return finding.grade
        return None if self.review is None else self.review.by_target[target].after

    def sop_instance_uid(self, series_id: str, instance_number: int) -> str:
        """The SOPInstanceUID of an image; empty if unknown."""
        mine = (s.images for s in self.series if s.series_id == series_id)
        found = {i.instance_number: i.sop_instance_uid for images in mine for i in images}
        return found.get(instance_number, "")


def finding_or_reason(prediction: StudyPrediction, target: Target) -> tuple[Finding | None, str]:
    """Return the finding and an empty reason, or None and the reason.

    Raises:
        ValueError: if the target is neither graded nor absent.
    """
    if (finding := prediction.findings.get(target)) is not None:
        return finding, ""
    if target not in prediction.absent:
        raise ValueError(f"{target.column} is neither graded nor absent with a reason")
    return None, prediction.absent[target]
