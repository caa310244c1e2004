"""Write a data set of phantom studies in the LSDC layout, with several processes.

The DICOM files are valid MR images with the tags that LSDC files carry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.vocabulary import FINDINGS, TABLE_ORDER, Grade, SeriesKind, Target
from lumbargrade.files.pool import run_jobs
from lumbargrade.files.tables import write_table
from lumbargrade.files.writing import atomic_path, write_text
from lumbargrade.phantom.anatomy import Anatomy
from lumbargrade.phantom.render import acquire
from lumbargrade.phantom.study import STUDIES, SeriesPlan, StudyPlan, plan_study, study_number, uid
from lumbargrade.phantom.wide import acquire_wide

#: Version of the studies, bumped with the generator.
VERSION = 5

TransferSyntax = Literal["explicit", "rle"]
Contrasts = Literal["usual", "wide"]


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
        header: from `series_header`; the elements of the instance are overwritten.
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


def series_header(study_id: str, plan: SeriesPlan) -> Dataset:
    """Elements that all instances of a series share; there are many, so they are made once."""
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
    ds.PatientID = study_id
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
    """Set the elements that describe the MR sequence."""
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


#: File with the settings of a phantom data set; it is written first, `complete` is set last.
MARKER = "phantom.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that determine a phantom data set."""

    studies: int
    seed: int
    first: int
    split: Literal["train", "test"]
    transfer_syntax: TransferSyntax
    contrast: Contrasts = "usual"
    version: int = VERSION


def make_dataset(out: Path, settings: Settings, *, workers: int = 1) -> int:
    """Write a phantom data set, unless a complete one with the same settings is there.

    Args:
        out: folder to write into: new, empty, or a phantom data set with the same settings.
        settings: what to make.
        workers: number of processes; 0: one per processor.

    Returns:
        The number of image files.

    Raises:
        UsageError: if the folder holds something else, or the settings cannot be.
        OSError: if the folder cannot be written.
    """
    if settings.studies < 1:
        raise UsageError(f"--studies must be at least 1, got {settings.studies}")
    study_number(settings.seed, settings.first)
    if settings.first + settings.studies > STUDIES:
        raise UsageError(f"study numbers must stay below {STUDIES}")
    known = _claim(out, settings)
    if known is not None:
        return known
    images = out / f"{settings.split}_images"
    jobs = [
        (settings.seed, settings.first + i, images, settings.transfer_syntax, settings.contrast)
        for i in range(settings.studies)
    ]
    made = run_jobs(make_study, jobs, workers, task="phantom", unit="study")
    plans, files = [plan for plan, _ in made], sum(count for _, count in made)
    _write_tables(out, settings.split, sorted(plans, key=lambda p: id_order(p.study_id)))
    write_text(out / MARKER, json.dumps({**asdict(settings), "complete": True, "files": files}))
    return files


def _claim(out: Path, settings: Settings) -> int | None:
    """Create the marker file; return the number of files if the data set is already complete."""
    marker = out / MARKER
    if marker.is_file():
        try:
            there = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            raise UsageError(f"{marker} is damaged; delete {out} and rerun") from None
        if {k: there.get(k) for k in asdict(settings)} != asdict(settings):
            raise UsageError(
                f"{out} holds a phantom data set with other settings "
                f"({ {k: there.get(k) for k in asdict(settings)} }); choose another folder"
            )
        return int(there["files"]) if there.get("complete") else None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty and not a phantom data set; choose another folder")
    write_text(marker, json.dumps({**asdict(settings), "complete": False}))
    return None


Job = tuple[int, int, Path, TransferSyntax, Contrasts]


def make_study(job: Job) -> tuple[StudyPlan, int]:
    """Plan, acquire and write one study."""
    cv2.setNumThreads(1)
    seed, number, images, syntax, contrast = job
    plan = plan_study(seed, number)
    count = 0
    for place, series in enumerate(plan.series):
        folder = images / plan.study_id / series.series_id
        header = series_header(plan.study_id, series)
        key = [seed, number, 2, place]
        for i, image in enumerate(_acquired(plan.anatomy, series, contrast, key), 1):
            pixels = np.rint(image).astype(np.uint16)
            write_instance(folder / f"{i}.dcm", header, series, i, pixels, syntax)
            count += 1
    return plan, count


def _acquired(
    anatomy: Anatomy, series: SeriesPlan, contrast: Contrasts, key: list[int]
) -> Iterable[NDArray[np.floating[Any]]]:
    """Render the slices of a series."""
    if contrast == "wide":
        return acquire_wide(anatomy, series, np.random.default_rng(key))
    look, faults, pixel = series.contrast, series.faults, series.pixel
    return (
        acquire(
            *(anatomy, plane, series.shape, look, faults),
            np.random.default_rng([*key, i]),
            pixel=pixel,
        )
        for i, plane in enumerate(series.planes)
    )


def _write_tables(out: Path, split: Literal["train", "test"], plans: list[StudyPlan]) -> None:
    """Write the tables; the reference grades of a test set are in solution.csv."""
    truth = "train.csv" if split == "train" else "solution.csv"
    header = ["study_id", *(t.column for t in TABLE_ORDER)]
    write_table(out / truth, header, ([p.study_id, *_labels(p.grades)] for p in plans))
    write_table(
        out / f"{split}_series_descriptions.csv",
        ["study_id", "series_id", "series_description"],
        ([p.study_id, s.series_id, s.kind.value] for p in plans for s in p.series),
    )
    points = "train_label_coordinates.csv" if split == "train" else "solution_coordinates.csv"
    write_table(
        out / points,
        ["study_id", "series_id", "instance_number", "condition", "level", "x", "y"],
        (
            [
                *(plan.study_id, p.series_id, p.instance_number),
                *(p.target.coordinate_label, p.target.level.label, p.x, p.y),
            ]
            for plan in plans
            for p in plan.points
        ),
    )
    if split == "test":
        third = repr(1 / 3)
        write_table(
            out / "sample_submission.csv",
            ["row_id", *(g.column for g in Grade)],
            ([f"{p.study_id}_{t.column}", third, third, third] for p in plans for t in FINDINGS),
        )


def _labels(grades: dict[Target, Grade]) -> list[str]:
    return [grades[t].label if t in grades else "" for t in TABLE_ORDER]
