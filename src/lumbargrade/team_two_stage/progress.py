"""What networks have said of studies, kept in files, so that an interrupted run resumes."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from lumbargrade.files.writing import atomic_path
from lumbargrade.team_two_stage.state import Array

#: Name of the array that holds what the outputs depend on.
_KEY = "key"


@dataclass(frozen=True)
class Progress:
    """A folder with a file of outputs per study.

    Attributes:
        folder: the folder; created if missing.
    """

    folder: Path

    def load(self, study_id: str, key: str) -> dict[str, Array]:
        """Return the stored outputs of a study by name.

        Outputs that depended on something else are ignored, and so is a damaged file.

        Args:
            study_id: the study.
            key: what the outputs depend on.
        """
        path = self._path(study_id)
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = dict(stored)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return {}
        return found if str(found.pop(_KEY, "")) == key else {}

    def save(self, study_id: str, key: str, outputs: dict[str, Array]) -> None:
        """Store the outputs of a study atomically.

        Raises:
            OSError: if the folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(self._path(study_id)) as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, allow_pickle=False, **{_KEY: np.array(key), **outputs})

    def _path(self, study_id: str) -> Path:
        # the digest tells studies apart whose names differ in unsafe characters only
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", study_id)[:80]
        return self.folder / f"{plain}-{sha256(study_id.encode()).hexdigest()[:8]}.npz"
