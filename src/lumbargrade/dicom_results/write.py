"""Write the DICOM objects of a study."""

from __future__ import annotations

from pathlib import Path

from lumbargrade.dicom.study import Study
from lumbargrade.dicom_results.origin import Origin, origin_of, origin_of_report
from lumbargrade.dicom_results.read_report import read_report
from lumbargrade.dicom_results.segmentation import write_segmentations
from lumbargrade.dicom_results.structured_report import REPORT_FILE, write_report
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.files.timing import stage
from lumbargrade.grading.graded import GradedStudy


def origin_or_note(study: Study) -> tuple[Origin | None, tuple[Problem, ...]]:
    """What the objects of a study refer to, or a note that it gets none and why."""
    try:
        return origin_of(study), ()
    except BadDicom as error:
        return None, (Problem(f"no DICOM results: {error}", study.study_id, fatal=False),)


def write_objects(
    folder: Path, study: Study, graded: GradedStudy, origin: Origin
) -> tuple[Problem, ...]:
    """Write the objects of a study.

    Returns:
        Notes on objects that cannot be made.

    Args:
        folder: gets ``sr.dcm``, and ``seg-1.dcm`` and so on if the models outline.
        study: its series.
        graded: the result.
        origin: what the objects refer to.

    Raises:
        OSError: if they cannot be written.
    """
    with stage("write the DICOM results"):
        write_report(folder / REPORT_FILE, graded, origin)
        return write_segmentations(folder, study, graded, origin)


def rewrite_objects(folder: Path, graded: GradedStudy, earlier: Path) -> None:
    """Write the objects of a result again, for example after a review, without the images.

    The new report names the earlier one as its predecessor.

    Args:
        folder: gets ``sr.dcm``.
        graded: the result now.
        earlier: the report of the result before.

    Raises:
        BadDicom: if the earlier report cannot be read, or is not of this study.
        OSError: if the objects cannot be written.
    """
    report = read_report(earlier)
    origin = origin_of_report(report.dataset, graded)
    write_report(folder / REPORT_FILE, graded, origin, previous=report.dataset)
