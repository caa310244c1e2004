"""A reader's review of a result becomes the next result, which is sent like the first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.writing import atomic_folder
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import read_review
from lumbargrade.grading.reviewing import reviewed
from lumbargrade.report.reissue import write_reviewed
from lumbargrade.report.study import FINDINGS_FILE, grade_counts
from lumbargrade.serve.inbox import Folders, dicom_files
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import Settings
from lumbargrade.serve.states import result_folder

log = logging.getLogger(__name__)


@dataclass
class Reviews:
    """Applies reviews, one at a time.

    Attributes:
        settings, folders, queue: of the node.
    """

    settings: Settings
    folders: Folders
    queue: Queue
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, number: int, content: bytes) -> None:
        """Write a result with a review applied, and send it.

        Args:
            number: of the study.
            content: the review, as `report.html` exports it.

        Raises:
            BadInput: if it is not a review of the study's last result, or there is none.
            OSError: if the results cannot be written.
        """
        with self._lock:
            study = self.queue.study(number)
            if study is None or not study.reviewable:
                raise BadInput("the study has no result at present that could be reviewed")
            earlier = self.folders.results / result_folder(number, study.result)
            with TemporaryDirectory(dir=self.folders.scratch) as scratch:
                file = Path(scratch, "review.json")
                file.write_bytes(content)
                try:
                    review = read_review(file)
                except BadInput as error:
                    raise BadInput(str(error).replace(str(file), "the review")) from None
            graded = reviewed(read_findings(earlier / FINDINGS_FILE), review)
            new = self.folders.results / result_folder(number, study.result + 1)
            with atomic_folder(new) as folder:
                write_reviewed(folder, earlier, graded, review)
            told = self.queue.reviewed(
                study, dicom_files(new), self.settings.tried_for, summary_of(graded)
            )
        if not told:
            raise BadInput("images have arrived meanwhile; the study is graded again first")
        log.info("reviewed", extra={"study": number, "result": study.result + 1})


def summary_of(graded: GradedStudy) -> str:
    """The result in a few words."""
    return in_words(grade_counts(graded.prediction))


def in_words(counts: Mapping[str, int]) -> str:
    """Numbers of findings by grade in a few words; normal ones are not told."""
    told = [(counts[key], key.replace("_", " ")) for key in ("severe", "moderate", "not_graded")]
    return ", ".join(f"{count} {name}" for count, name in told if count) or "all normal or mild"
