"""Ways to read a series, and series to read in every transfer syntax.

The images are smooth anatomy-like texture with noise, so that codecs do realistic work.
``python -m benchmarks.reading`` profiles lumbargrade: where the time of each transfer syntax goes.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import gdcm
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from lumbargrade.dicom.reader import read_series

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG-LS": JPEGLSLossless,
    "lossless JPEG": JPEGLosslessSV1,
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
        elif syntax == ImplicitVRLittleEndian:
            data.file_meta.TransferSyntaxUID = syntax
        elif syntax not in (ExplicitVRLittleEndian, JPEGLosslessSV1):
            data.compress(syntax, generate_instance_uid=False)
        path = folder / f"{z + 1}.dcm"
        data.save_as(path, enforce_file_format=True)
        if syntax == JPEGLosslessSV1:
            to_lossless_jpeg(path)


def to_lossless_jpeg(path: Path) -> None:
    """Compress a file with GDCM; pydicom has no encoder for it."""
    reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    if not reader.Read():
        raise OSError(f"{path}: GDCM cannot read it")
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise OSError(f"{path}: GDCM cannot compress it")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    if not writer.Write():
        raise OSError(f"{path}: GDCM cannot write it")


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


WAYS: tuple[Callable[[Path], Any], ...] = (
    *(bare_pydicom, simple_itk, pydicom_to_volume, lumbargrade),
)


def reading(way: str, folder: str) -> Callable[[], object]:
    """A way of reading, by its name, as work for a child process."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    read = {f.__name__: f for f in WAYS}[way]
    return lambda: read(Path(folder))


def profiled(folder: Path, rounds: int = 5) -> pstats.Stats:
    """Where the time of reading a series goes."""
    lumbargrade(folder)
    with cProfile.Profile() as profile:
        for _ in range(rounds):
            lumbargrade(folder)
    return pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats("tottime")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as made:
        for name, uid in SYNTAXES.items():
            write_series(Path(made) / name, uid, 20, 512)
            print(f"{name}: five readings of 20 slices of 512 x 512")
            profiled(Path(made) / name).print_stats(12)
