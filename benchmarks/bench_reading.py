"""Reading a series to the volume, against bare pydicom, SimpleITK, and pydicom doing all of it.

The images are smooth anatomy-like texture with noise, so that codecs do realistic work. Bare
pydicom neither orders the slices nor checks or scales anything, and SimpleITK only orders them.
lumbargrade also checks every header before it decodes, and keeps the plane of every slice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import SimpleITK
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


def lumbargrade(folder: Path) -> NDArray[np.uint8]:
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


@pytest.fixture(scope="module", params=SYNTAXES)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny: bool
) -> tuple[str, Path]:
    """A transfer syntax and a series in it."""
    folder = tmp_path_factory.mktemp("series") / "1"
    write_series(folder, SYNTAXES[request.param], *((3, 64) if tiny else (20, 512)))
    return request.param, folder


@pytest.fixture
def series(written: tuple[str, Path], benchmark: Any) -> Path:
    """The folder of a series; benchmarks of one syntax are one group."""
    benchmark.group = f"reading a series, {written[0]}"
    return written[1]


def bench_bare_pydicom(benchmark: Any, series: Path) -> None:
    benchmark(bare_pydicom, series)


def bench_simpleitk(benchmark: Any, series: Path) -> None:
    benchmark(simple_itk, series)


def bench_pydicom_to_the_same_volume(benchmark: Any, series: Path) -> None:
    benchmark(pydicom_to_volume, series)


def bench_lumbargrade(benchmark: Any, series: Path) -> None:
    volume = benchmark(lumbargrade, series)
    np.testing.assert_array_equal(volume, pydicom_to_volume(series))
