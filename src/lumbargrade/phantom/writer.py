"""DICOM files of a study: valid MR images with the tags that LSDC files carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless

from lumbargrade.domain.files import atomic_path
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.phantom.identity import uid
from lumbargrade.phantom.study import SeriesPlan

TransferSyntax = Literal["explicit", "rle"]


def write_instance(
    path: Path,
    header: Dataset,
    plan: SeriesPlan,
    instance: int,
    pixels: NDArray[np.uint16],
    syntax: TransferSyntax,
) -> None:
    """Write one slice, atomically.

    Args:
        path: file to write.
        header: from `series_header`; its instance's elements are overwritten.
        plan: the series.
        instance: instance number, from 1.
        pixels: stored values, 0 to 4095, (rows, columns).
        syntax: ``explicit`` (uncompressed) or ``rle`` (as LSDC).
    """
    ds = header
    _instance_elements(ds, plan, instance)
    low, high = np.percentile(pixels[::4, ::4], [2, 99.5])
    ds.WindowCenter = str(int((low + high) / 2))
    ds.WindowWidth = str(max(int(high - low), 1))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    raw = np.ascontiguousarray(pixels, "<u2").tobytes()
    if syntax == "rle":
        meta.TransferSyntaxUID = RLELossless
        ds.PixelData = encapsulate([_rle(raw, pixels.shape)])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    else:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.PixelData = raw
        ds["PixelData"].VR = "OW"
    ds.file_meta = meta
    with atomic_path(path) as temporary:
        ds.save_as(temporary, enforce_file_format=True)


def _rle(raw: bytes, shape: tuple[int, ...]) -> bytes:
    options: dict[str, Any] = {
        "rows": shape[0],
        "columns": shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": 12,
        "pixel_representation": 0,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
    }
    return get_encoder(RLELossless).encode(raw, index=0, **options)


def series_header(study_id: int, plan: SeriesPlan) -> Dataset:
    """The elements that all instances of a series share, made once because they are many."""
    plane = plan.planes[0]
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.SOPClassUID = MRImageStorage
    ds.StudyDate = ds.ContentDate = "20240503"
    ds.StudyTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Modality = "MR"
    ds.Manufacturer = "lumbargrade phantom"
    ds.ReferringPhysicianName = ""
    ds.SeriesDescription = "T1" if plan.kind is SeriesKind.SAGITTAL_T1 else "T2"
    ds.PatientName = "Phantom"
    ds.PatientID = str(study_id)
    ds.PatientBirthDate = ds.PatientSex = ""
    _mr_image(ds, plan)
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = uid(study_id)
    ds.SeriesInstanceUID = uid(study_id, plan.series_id)
    ds.StudyID = ""
    ds.SeriesNumber = "1"
    ds.FrameOfReferenceUID = uid(study_id, 0)
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = plan.shape
    ds.PixelSpacing = [_decimal(s) for s in plane.spacing]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def _instance_elements(ds: Dataset, plan: SeriesPlan, instance: int) -> None:
    plane = plan.planes[instance - 1]
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{instance}"
    ds.InstanceNumber = str(instance)
    ds.ImagePositionPatient = [_decimal(c) for c in plane.position]
    ds.ImageOrientationPatient = [_decimal(c) for c in (*plane.row, *plane.column)]
    ds.SliceLocation = _decimal(plane.projection)


def _mr_image(ds: Dataset, plan: SeriesPlan) -> None:
    """What an MR image must say of its sequence."""
    t1, stir = plan.kind is SeriesKind.SAGITTAL_T1, plan.contrast.name == "STIR"
    ds.BodyPartExamined = "LSPINE"
    ds.ScanningSequence = ["SE", "IR"] if stir else "SE"
    ds.SequenceVariant = "SK"
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "2D"
    ds.SliceThickness = _decimal(plan.thickness)
    ds.RepetitionTime = "550" if t1 else "3500"
    ds.EchoTime = "10" if t1 else "100"
    if stir:
        ds.InversionTime = "160"
    ds.SpacingBetweenSlices = _decimal(plan.interval)
    ds.EchoTrainLength = "3" if t1 else "16"


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters."""
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return text[:16] if text not in ("", "-0") else "0"
