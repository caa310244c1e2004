"""The same DICOM images stored in another way: turned, mirrored, renumbered or encoded otherwise.

These functions change a dataset of pydicom in place. Pixels must be uncompressed (`load`); where
each pixel lies in the patient stays, except in `mirror`. Single-frame and enhanced multi-frame
images are supported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from lumbargrade.domain.errors import BadDicom


@dataclass(frozen=True)
class Way:
    """How the pixels of an image are stored, from how they are: transposed, then reversed.

    Attributes:
        transpose: exchange columns and rows.
        columns, rows: reverse the order of the columns or rows.
        numbers: whether the instance numbers run the other way; `renumber` does it.
    """

    transpose: bool = False
    columns: bool = False
    rows: bool = False
    numbers: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether the slices then face the other way, so that readers order them so."""
        return (self.transpose + self.columns + self.rows) % 2 == 1


#: Eight ways in the plane, half of which face the other way; each numbered in either direction.
WAYS = tuple(Way(*each) for each in product((False, True), repeat=4))


def load(path: Path) -> FileDataset:
    """Read a file and decompress its pixels.

    Raises:
        BadDicom: if it is big-endian.
        Exception: of pydicom or its decoders, if the file is damaged.
    """
    data = pydicom.dcmread(path)
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        data.decompress(generate_instance_uid=False)
    elif not syntax.is_little_endian:
        raise BadDicom(f"{path}: is stored in {syntax.name}, which cannot be changed here")
    return data


def turn(data: Dataset, way: Way) -> None:
    """Store the pixels in another order, and change the geometry to match."""
    pixels = data.pixel_array
    rows, columns = pixels.shape[-2:]
    new: list[tuple[_Plane, NDArray[np.float64], NDArray[np.float64]]] = []
    spacings = {}
    for plane in _planes(data):
        row, column, position = plane.row, plane.column, plane.position
        (dy, dx), (height, width) = plane.spacing, (rows, columns)
        if way.transpose:
            row, column, dy, dx, height, width = column, row, dx, dy, width, height
        if way.columns:
            position, row = position + row * dx * (width - 1), -row
        if way.rows:
            position, column = position + column * dy * (height - 1), -column
        new.append((plane, np.concatenate([row, column]), position))
        spacings[id(plane.measures)] = (plane.measures, (dy, dx))
    if way.transpose:
        pixels = pixels.swapaxes(-1, -2)
    pixels = pixels[..., ::-1] if way.columns else pixels
    pixels = pixels[..., ::-1, :] if way.rows else pixels
    data.Rows, data.Columns = pixels.shape[-2:]
    _set_pixels(data, pixels)
    for plane, axes, position in new:
        _set_plane(plane, axes, position)
    for measures, (dy, dx) in spacings.values():
        measures.PixelSpacing = [_decimal(dy), _decimal(dx)]
    data.pop("PatientOrientation", None)


def mirror(data: Dataset) -> None:
    """Exchange left and right of the patient, about the plane x = 0.

    Images whose rows run from left to right get their columns reversed, so that they keep the
    usual direction, as a scanner would store the images of a mirrored patient.
    """
    planes = list(_planes(data))
    sign = np.array([-1.0, 1.0, 1.0])
    changed = [
        (p, np.concatenate([p.row * sign, p.column * sign]), p.position * sign) for p in planes
    ]
    for plane, axes, position in changed:
        _set_plane(plane, axes, position)
    data.pop("PatientOrientation", None)
    if abs(planes[0].row[0]) > 0.5:
        turn(data, Way(columns=True))


def encode(data: FileDataset, syntax: UID) -> None:
    """Store the dataset in another transfer syntax; compression must be lossless.

    Raises:
        Exception: of pydicom or its encoders, if the pixels cannot be stored so.
    """
    if syntax.is_encapsulated:
        with _quiet():
            data.compress(syntax, generate_instance_uid=False)
    else:
        data.file_meta.TransferSyntaxUID = syntax
        data["PixelData"].VR = "OW"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what a library in C writes to stderr: OpenJPEG writes a line per image."""
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def save(data: FileDataset, path: Path) -> None:
    """Write a file in the transfer syntax of its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


@dataclass(frozen=True)
class _Plane:
    """The plane of an image or of a frame, and the datasets that hold its parts."""

    at: Dataset
    orientation: Dataset
    measures: Dataset

    @property
    def position(self) -> NDArray[np.float64]:
        return np.array(self.at.ImagePositionPatient, float)

    @property
    def row(self) -> NDArray[np.float64]:
        return np.array(self.orientation.ImageOrientationPatient, float)[:3]

    @property
    def column(self) -> NDArray[np.float64]:
        return np.array(self.orientation.ImageOrientationPatient, float)[3:]

    @property
    def spacing(self) -> tuple[float, float]:
        dy, dx = (float(v) for v in self.measures.PixelSpacing)
        return dy, dx


def _planes(data: Dataset) -> Iterator[_Plane]:
    """The plane of each frame; a frame of an enhanced image has it in its functional groups."""
    if "PerFrameFunctionalGroupsSequence" not in data:
        yield _Plane(data, data, data)
        return
    shared = data.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for frame in data.PerFrameFunctionalGroupsSequence:
        names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        yield _Plane(*((frame if n in frame else shared[0])[n].value[0] for n in names))


def _set_plane(plane: _Plane, axes: NDArray[np.float64], position: NDArray[np.float64]) -> None:
    plane.orientation.ImageOrientationPatient = [_decimal(v) for v in axes.tolist()]
    plane.at.ImagePositionPatient = [_decimal(v) for v in position.tolist()]


def _set_pixels(data: Dataset, pixels: NDArray[np.generic]) -> None:
    content = np.ascontiguousarray(pixels).tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)
    data["PixelData"].VR = "OW"


def _decimal(value: float) -> str:
    """A DICOM decimal string of at most 16 characters."""
    return f"{value:.12f}"[:16]
