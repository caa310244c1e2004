"""Where the results of a run of `grade` go: a folder of this machine, or a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.urls import Place, fetch_file, list_folder, remove, upload
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.report.grading import known_result
from lumbargrade.report.overview import Overview
from lumbargrade.report.overview_page import FURTHER_PAGE
from lumbargrade.report.study import FINDINGS_FILE


@dataclass(frozen=True)
class Results:
    """The folders of the results of all studies.

    Attributes:
        out: the folder of all of them.
        scratch: a local folder for results that are uploaded.
    """

    out: Place
    scratch: Path

    def known(self, folder: str, fingerprint: str) -> GradedStudy | None:
        """Return the result of a study, if it was made from these images and models."""
        if isinstance(self.out, Path):
            return known_result(self.out / folder, fingerprint)
        with self._temporary() as temporary:
            try:
                fetch_file(self.out / folder / FINDINGS_FILE, temporary / FINDINGS_FILE)
            except BadInput:
                return None
            return known_result(temporary, fingerprint)

    def has_earlier(self, folder: str) -> bool:
        """Whether there are findings of an earlier run."""
        if isinstance(self.out, Path):
            return (self.out / folder / FINDINGS_FILE).exists()
        with suppress(BadInput):
            return FINDINGS_FILE in list_folder(self.out / folder)[1]
        return False

    @contextmanager
    def writing(self, folder: str) -> Iterator[Path]:
        """Yield a local folder to write the results of a study to; at a URL, upload it at the end.

        The findings come last, so an interrupted upload is no result.
        """
        if isinstance(self.out, Path):
            yield self.out / folder
            return
        with self._temporary() as temporary:
            yield temporary
            upload(temporary, self.out / folder, last=FINDINGS_FILE)

    @contextmanager
    def overview(self) -> Iterator[Overview]:
        """Yield the overview; at a URL, upload what it has written at the end."""
        if isinstance(self.out, Path):
            yield Overview(self.out)
            return
        with self._temporary() as temporary:
            yield Overview(temporary, self.out)
            written = {path.name for path in temporary.iterdir()}
            if not written:
                return
            upload(temporary, self.out)
            for name in list_folder(self.out)[1]:
                if FURTHER_PAGE.fullmatch(name) and name not in written:
                    remove(self.out / name)  # of an earlier run with more studies

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        self.scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="result-", dir=self.scratch) as temporary:
            yield Path(temporary)
