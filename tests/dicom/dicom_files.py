"""Small DICOM files for tests, right in every way unless a test spoils one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def made_slice(
    number: int,
    position: tuple[float, float, float],
    orientation: tuple[float, ...] = SAGITTAL,
    *,
    series: str = "series",
    study: str = "study",
    pixels: np.ndarray | None = None,
    **tags: object,
) -> FileDataset:
    """An MR slice of 12 stored bits; ``tags`` override or (None) remove what it says."""
    if pixels is None:
        pixels = np.random.default_rng(number).integers(0, 4096, (24, 20)).astype(np.uint16)
    data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
    names = [series, str(number), str(position), str(orientation), str(sorted(tags.items()))]
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(
        entropy_srcs=names
    )
    data.StudyInstanceUID = generate_uid(entropy_srcs=[study])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[study, series])
    data.FrameOfReferenceUID = data.StudyInstanceUID
    data.Modality = "MR"
    data.InstanceNumber = number
    data.ImagePositionPatient = list(position)
    data.ImageOrientationPatient = list(orientation)
    data.PixelSpacing = [0.7, 0.5]
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    return data


def save(data: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def save_stack(
    folder: Path,
    count: int = 4,
    orientation: tuple[float, ...] = SAGITTAL,
    *,
    gap: float = 4.0,
    first: int = 1,
    spoil: Callable[[FileDataset], None] | None = None,
    spoiled: int = 0,
    **tags: object,
) -> Path:
    """A regular stack; slice number ``spoiled`` (from 1) goes through ``spoil`` before writing."""
    normal = np.cross(orientation[:3], orientation[3:])
    for i in range(count):
        x, y, z = (np.array([-10.0, -30.0, 40.0]) + gap * i * normal).tolist()
        data = made_slice(first + i, (x, y, z), orientation, **tags)
        if spoil is not None and i + 1 == spoiled:
            spoil(data)
        save(data, folder / f"{first + i}.dcm")
    return folder
