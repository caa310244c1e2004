"""Lets complete studies wait for grading, and removes old ones."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from lumbargrade.serve.inbox import Folders
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import StudySettings

log = logging.getLogger(__name__)

_PAUSE = 0.5

_DAY = 86_400.0


@dataclass
class Keeper:
    """Looks at the clock."""

    settings: StudySettings
    folders: Folders
    queue: Queue

    def step(self) -> float:
        """Look for studies that are complete; a step of a `Loop`."""
        settings = self.settings
        for study in self.queue.complete(settings.quiet_seconds, settings.expected_instances):
            log.info("complete", extra={"study": study, "count": len(self.queue.instances(study))})
        return _PAUSE

    def remove_old(self) -> float:
        """Remove studies that ended long ago; a step of a `Loop`."""
        if self.settings.keep_days:
            for study in self.queue.expired(_DAY * self.settings.keep_days):
                self.remove(study.id)
        return 60.0

    def remove(self, study: int) -> None:
        """Remove the images of a study, and its results unless one of them was not sent."""
        old = []
        with self.queue.lock:  # an instance that arrives now gets a new folder
            complete = self.queue.forget_images(study)
            for folder in (
                self.folders.images_of(study),
                *([self.folders.results_of(study)] if complete else []),
            ):
                if folder.exists():
                    old.append(self._to_trash(folder))
        for folder in old:
            shutil.rmtree(folder)
        if complete:
            log.info("removed", extra={"study": study})

    def _to_trash(self, folder: Path) -> Path:
        self.folders.trash.mkdir(exist_ok=True)
        target = self.folders.trash / f"{folder.parent.name}-{folder.name}-{uuid4().hex}"
        return folder.rename(target)
