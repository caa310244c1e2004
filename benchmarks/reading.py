"""Reading a series to the volume, against bare pydicom decoding and against SimpleITK.

The image is smooth anatomy-like texture with noise, so that codecs do realistic work. Ours does
more than either baseline: it checks headers, orders slices and scales to uint8.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from lumbargrade.dicom.reader import read_series

SLICES, SIDE, REPEATS = 20, 512, 5

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG-LS": JPEGLSLossless,
}


def write_series(folder: Path, syntax: UID) -> None:
    """A sagittal series of ``SLICES`` images of 12 bits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    study, series = generate_uid(), generate_uid()
    for z in range(SLICES):
        texture = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), 12)
        image = 900 + 12000 * texture + rng.normal(0, 15, texture.shape)
        data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.Modality = series, "MR"
        data.InstanceNumber = z + 1
        data.ImagePositionPatient = [4.0 * z, -100, 100]
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        data.PixelSpacing = [0.5, 0.5]
        data.SliceThickness = 4.0
        data.Rows = data.Columns = SIDE
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.PixelData = np.clip(image, 0, 4095).astype(np.uint16).tobytes()
        if syntax != ExplicitVRLittleEndian:
            data.compress(syntax, generate_instance_uid=False)
        data.save_as(folder / f"{z + 1}.dcm", enforce_file_format=True)


def bare_pydicom(folder: Path) -> None:
    """The least that a reader must do: decode every file."""
    for path in sorted(folder.iterdir()):
        pydicom.dcmread(path).pixel_array  # noqa: B018  # decoding happens on access


def simple_itk(folder: Path) -> None:
    """SimpleITK's series reader, which also orders the slices."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.GetArrayFromImage(reader.Execute())


def _best(functions: dict[str, Callable[[Path], Any]], folder: Path) -> dict[str, float]:
    """Best of several runs; the functions take turns, so that a slow moment strikes all."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.perf_counter()
            function(folder)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def run() -> list[dict[str, Any]]:
    """One row per transfer syntax and baseline; ``ratio`` is ours over the baseline."""
    threads = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    functions = {"ours": read_series, "pydicom": bare_pydicom, "SimpleITK": simple_itk}
    rows: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, syntax in SYNTAXES.items():
                series = Path(folder) / name
                write_series(series, syntax)
                best = _best(functions, series)
                rows += [
                    {
                        "name": f"read {SLICES} x {SIDE} x {SIDE}, {name}",
                        "ours_s": best["ours"],
                        "baseline": baseline,
                        "baseline_s": best[baseline],
                        "ratio": best["ours"] / best[baseline],
                    }
                    for baseline in ("pydicom", "SimpleITK")
                ]
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return rows


def main() -> None:
    for row in run():
        ours, other = row["ours_s"] * 1e3, row["baseline_s"] * 1e3
        print(f"{row['name']}: {ours:.0f} ms, {row['baseline']} {other:.0f} ms, {row['ratio']:.2f}")


if __name__ == "__main__":
    main()
