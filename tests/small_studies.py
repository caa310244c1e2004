"""Studies of noise outside any data set: small images whose headers tell the kind of series."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pydicom

from lsdc_layout import AXIAL, SAGITTAL, write_slice
from lumbargrade.domain.vocabulary import SeriesKind

DESCRIPTIONS = {
    SeriesKind.SAGITTAL_T1: "Sag T1 TSE",
    SeriesKind.SAGITTAL_T2: "Sag T2 TSE",
    SeriesKind.AXIAL_T2: "Ax T2 TSE",
}


def write_noise_study(
    folder: Path, kinds: Iterable[SeriesKind] = SeriesKind, *, named: bool = True, depth: int = 4
) -> Path:
    """Write one series folder per kind and return the study's folder.

    Args:
        folder: the study; its UID follows from the folder's name.
        kinds: series to write; one that is given twice becomes two series.
        named: whether the files carry study and series UIDs.
        depth: slices per series, 4 mm apart.
    """
    for number, kind in enumerate(kinds):
        for instance in range(1, depth + 1):
            away = 4.0 * (instance - 1)
            path = folder / f"{folder.name}-{number}" / f"{instance}.dcm"
            position = [away, -10.0, 30.0] if kind.sagittal else [-10.0, -10.0, away]
            orientation = SAGITTAL if kind.sagittal else AXIAL
            write_slice(path, instance, position, orientation, seed=number)
            data = pydicom.dcmread(path)
            data.SeriesDescription = DESCRIPTIONS[kind]
            if not named:
                del data.StudyInstanceUID, data.SeriesInstanceUID
            data.save_as(path)
    return folder
