"""Reading a series to the volume, against bare pydicom, SimpleITK, and pydicom doing all of it.

The image is smooth anatomy-like texture with noise, so that codecs do realistic work.
``python -m benchmarks.reading`` prints the section of docs/benchmarks.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import SimpleITK
from benchmarks.common import Row, Section, against, main, medians, number, one_thread, ratio
from numpy.typing import NDArray
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

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG-LS": JPEGLSLossless,
}


def write_series(folder: Path, syntax: UID, slices: int, side: int) -> None:
    """A sagittal series of images of 12 bits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    study, series = generate_uid(), generate_uid()
    for z in range(slices):
        texture = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 12)
        image = 900 + 12000 * texture + rng.normal(0, 15, texture.shape)
        data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.Modality = series, "MR"
        data.InstanceNumber = z + 1
        data.ImagePositionPatient = [-4.0 * z, -100, 100]
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        data.PixelSpacing = [0.5, 0.5]
        data.SliceThickness = 4.0
        data.Rows = data.Columns = side
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.PixelData = np.clip(image, 0, 4095).astype(np.uint16).tobytes()
        if syntax == RLELossless:
            # pydicom's encoder: GDCM's aborts on some shapes
            data.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        elif syntax != ExplicitVRLittleEndian:
            data.compress(syntax, generate_instance_uid=False)
        data.save_as(folder / f"{z + 1}.dcm", enforce_file_format=True)


def ours(folder: Path) -> NDArray[np.uint8]:
    """The volume, with its planes and its problems beside it."""
    return read_series(folder).volume.pixels


def bare_pydicom(folder: Path) -> list[NDArray[Any]]:
    """The least that a reader must do: decode every file."""
    return [pydicom.dcmread(path).pixel_array for path in folder.iterdir()]


def pydicom_to_volume(folder: Path) -> NDArray[np.uint8]:
    """The specification in a few lines: order the slices, clip to percentiles, scale to uint8."""
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    row, column = np.reshape(files[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(row, column)
    files.sort(key=lambda f: float(np.dot(f.ImagePositionPatient, normal)))
    stack = np.stack([f.pixel_array for f in files])
    low, high = np.percentile(stack, (0.1, 99.9))
    return ((np.clip(stack, low, high) - low) / (high - low) * 255).astype(np.uint8)


def simple_itk(folder: Path) -> NDArray[Any]:
    """SimpleITK's series reader, which also orders the slices."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return SimpleITK.GetArrayFromImage(reader.Execute())


READERS: dict[str, Callable[[Path], Any]] = {
    "ours": ours,
    "pydicom": bare_pydicom,
    "SimpleITK": simple_itk,
    "pydicom to volume": pydicom_to_volume,
}


def run(quick: bool = False) -> list[Row]:
    """One row per transfer syntax, with the median milliseconds of every reader.

    Raises:
        ValueError: if the readers do not agree on the pixels.
    """
    slices, side, rounds = (4, 64, 1) if quick else (20, 512, 5)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, one_thread():
        for name, syntax in SYNTAXES.items():
            series = Path(folder) / name
            write_series(series, syntax, slices, side)
            if not np.array_equal(ours(series), pydicom_to_volume(series)):
                raise ValueError(f"{name}: our volume is not the published one")
            seconds = medians({n: partial(r, series) for n, r in READERS.items()}, rounds)
            ms = {reader: 1e3 * s for reader, s in seconds.items()}
            rows.append({"slices": slices, "side": side, "syntax": name, "ms": ms})
    return rows


def sections(rows: list[Row]) -> list[Section]:
    """One table: ours in milliseconds, every baseline in milliseconds with the ratio to it."""
    baselines = {
        "pydicom": "bare pydicom",
        "SimpleITK": "SimpleITK",
        "pydicom to volume": "pydicom to the same volume",
    }
    cells = []
    for row in rows:
        ms = row["ms"]
        line = [row["syntax"], number(ms["ours"])]
        for name in baselines:
            line += [number(ms[name]), ratio(ms["ours"] / ms[name])]
        cells.append(line)
    header = ["syntax", "ours, ms"]
    for title in baselines.values():
        header += [f"{title}, ms", "ours / that"]
    return [
        Section(
            f"Reading a series of {rows[0]['slices']} x {rows[0]['side']} x {rows[0]['side']}",
            _shows(rows),
            "each of three readers, named over its column",
            "*Bare pydicom* is `pixel_array` of every file: slices are not ordered, nothing is "
            "checked, nothing is scaled. *SimpleITK* is its series reader, which orders the "
            "slices. *pydicom to the same volume* is the specification in a few lines of NumPy; "
            "its pixels are compared with ours. Ours also checks every header before it decodes, "
            "and keeps the plane of every slice. Medians of runs that take turns, one thread "
            "each, files in the page cache.",
            header,
            cells,
        )
    ]


def _shows(rows: list[Row]) -> str:
    texts = []
    for row in rows:
        ms, note = row["ms"], " (as LSDC)" if row["syntax"] == "RLE" else ""
        bare = against(ms["ours"] / ms["pydicom"], "bare pydicom")
        itk = against(ms["ours"] / ms["SimpleITK"], "SimpleITK")
        texts.append(f"{row['syntax']}{note}: {bare}, {itk}.")
    whole = [row["ms"]["ours"] / row["ms"]["pydicom to volume"] for row in rows]
    return (
        "Ours also checks, orders and scales, which costs most where decoding is cheap. "
        + " ".join(text[0].upper() + text[1:] for text in texts)
        + f" Against pydicom code that makes the same volume it takes {ratio(min(whole))} to "
        f"{ratio(max(whole))} of the time."
    )


if __name__ == "__main__":
    main("benchmarks.reading", run, sections)
