"""Describe NIfTI files in BIDS names, as `dicom.inspect` describes DICOM files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lumbargrade.bids.read import find_bids
from lumbargrade.dicom.inspect import FolderSummary, summarise_volume
from lumbargrade.dicom.requests import Request
from lumbargrade.domain.errors import BadDicom, Problem


def summarise_bids(path: Path, images: Iterable[Path], request: Request) -> FolderSummary:
    """Describe the studies among NIfTI files. All images are read, one study at a time.

    Args:
        path: what was searched.
        images: the NIfTI files in it.
        request: which series the user wants.

    Raises:
        UsageError: if nibabel is not installed.
    """
    studies, problems = find_bids(images, request)
    summaries = []
    for found in studies:
        try:
            study = found.read()
        except BadDicom as error:
            problems.append(Problem(str(error), study=found.study_id))
            continue
        choices = {c.series_id: c for c in study.choices}
        volumes = (*study.volumes, *study.other)
        summaries += [summarise_volume(v, choices[v.series_id]) for v in volumes]
        problems += study.problems
    return FolderSummary(str(path), tuple(summaries), tuple(problems))
