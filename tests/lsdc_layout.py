"""Small data sets in the LSDC layout, made in a fraction of a second: noise with real tags."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, SeriesKind

DEPTH = 4
SHAPE = (40, 32)
SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def series_ids(study: str) -> dict[SeriesKind, str]:
    return {kind: f"{study}{i}" for i, kind in enumerate(SeriesKind)}


def write_slice(
    path: Path,
    instance: int,
    position: list[float],
    orientation: list[float],
    shape: tuple[int, int] = SHAPE,
    seed: int = 0,
) -> None:
    rng = np.random.default_rng((instance, seed))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = MRImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=[path.parent.parent.name])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[path.parent.name])
    data.FrameOfReferenceUID = data.StudyInstanceUID
    data.InstanceNumber = instance
    data.ImagePositionPatient = position
    data.ImageOrientationPatient = orientation
    data.PixelSpacing = [0.7, 0.7]
    data.Rows, data.Columns = shape
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 0
    data.PixelData = rng.integers(0, 1000, shape, dtype=np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def point_of(condition: Condition, index: int) -> tuple[float, float]:
    """Where every study has its points: five levels down a slope, left and right half apart."""
    level, side = index % 5, index // 5
    return 10.0 + level + 0.5 * side, 5.0 + 6 * level


def write_lsdc(
    folder: Path,
    studies: int,
    *,
    split: str = "train",
    depth: int = DEPTH,
    shape: tuple[int, int] = SHAPE,
) -> list[str]:
    """Write a data set; returns the study ids. Instance n lies at (n - 1) x 4 mm."""
    ids = [str(1000 + 7 * i) for i in range(studies)]
    series, points, grades = [], [], []
    for n, study in enumerate(ids):
        for kind, series_id in series_ids(study).items():
            series.append([study, series_id, kind.value])
            for instance in range(1, depth + 1):
                away = 4.0 * (instance - 1)
                position = [away, -10.0, 30.0] if kind.sagittal else [-10.0, -10.0, away]
                write_slice(
                    folder / f"{split}_images" / study / series_id / f"{instance}.dcm",
                    instance,
                    position,
                    SAGITTAL if kind.sagittal else AXIAL,
                    shape,
                )
        by_condition = dict(zip(Condition, (1, 0, 2), strict=True))
        for condition, which in by_condition.items():
            series_id = list(series_ids(study).values())[which]
            for i, target in enumerate(TARGETS[condition]):
                x, y = point_of(condition, i)
                label = [target.coordinate_label, target.level.label]
                points.append([study, series_id, 1 + i % depth, *label, x, y])
        labels = ["Normal/Mild", "Moderate", "Severe", ""]
        grades.append([study, *(labels[(n + j) % 4] for j in range(len(FINDINGS)))])
    header = ["study_id", "series_id", "series_description"]
    write_table(folder / f"{split}_series_descriptions.csv", header, series)
    if split == "train":
        write_table(
            folder / "train_label_coordinates.csv",
            ["study_id", "series_id", "instance_number", "condition", "level", "x", "y"],
            points,
        )
        write_table(folder / "train.csv", ["study_id", *(t.column for t in FINDINGS)], grades)
    return ids
