"""Studies as hospitals export them, made from one phantom study: plain, and odd in one way each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from lumbargrade.phantom.dataset import Settings, make_dataset

Series = list[FileDataset]
Study = dict[str, Series]

#: name -> SeriesNumber, SeriesDescription, EchoTime.
_SERIES = {
    "sagt2": (3, "T2 TSE SAG", "100"),
    "axt2": (5, "T2 TSE TRA", "100"),
    "sagt1": (4, "T1 TSE SAG", "10"),
}

#: Every n-th pixel of the phantom is kept, so that a study is read in a moment.
_COARSER = 4


def phantom_study(folder: Path) -> Study:
    """One study with a series of each kind, at a quarter of the resolution, by series name."""
    make_dataset(folder, Settings(1, 1698, 0, "train", "explicit"))
    study: Study = {}
    for series in sorted((folder / "train_images").glob("*/*")):
        own = sorted((pydicom.dcmread(f) for f in series.iterdir()), key=lambda d: d.InstanceNumber)
        normal = np.cross(own[0].ImageOrientationPatient[:3], own[0].ImageOrientationPatient[3:])
        sagittal = abs(normal[0]) > 0.7
        name = "axt2" if not sagittal else "sagt1" if float(own[0].EchoTime) < 30 else "sagt2"
        study.setdefault(name, [_coarse(d) for d in own])
    return export_of(study, "control")


def _coarse(data: FileDataset) -> FileDataset:
    set_pixels(data, data.pixel_array[::_COARSER, ::_COARSER])
    data.PixelSpacing = [float(v) * _COARSER for v in data.PixelSpacing]
    return data


def export_of(base: Study, case: str) -> Study:
    """A copy with UIDs and descriptions as in an export."""
    study: Study = {}
    for name, slices in base.items():
        number, description, echo = _SERIES[name]
        study[name] = [copy.deepcopy(d) for d in slices]
        for i, data in enumerate(study[name], start=1):
            data.StudyInstanceUID = uid(case)
            data.SeriesInstanceUID = uid(case, name)
            data.FrameOfReferenceUID = uid(case, "frame")
            data.SeriesNumber, data.SeriesDescription = number, description
            data.EchoTime, data.InstanceNumber = echo, i
            rename(data, case, name, i)
    return study


def uid(*words: object) -> str:
    return str(generate_uid(prefix="2.25.", entropy_srcs=[str(w) for w in words]))


def rename(data: FileDataset, *words: object) -> FileDataset:
    """The same image under another SOP UID."""
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid(*words, "image")
    return data


def set_pixels(data: FileDataset, pixels: np.ndarray) -> None:
    data.Rows, data.Columns = pixels.shape
    data.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    data["PixelData"].VR = "OW"


def save(folder: Path, study: Study) -> Path:
    """A folder for each series, files by their place in the list."""
    for name, slices in study.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(slices, start=1):
            data.save_as(folder / name / f"IM{i:04d}.dcm", enforce_file_format=True)
    return folder


def again(
    slices: Iterable[FileDataset], case: str, change: Callable[[FileDataset], None]
) -> Series:
    """Further images at the same places, under UIDs of their own."""
    result = []
    for i, data in enumerate(slices):
        other = rename(copy.deepcopy(data), case, "again", i)
        change(other)
        result.append(other)
    return result


def brighter(data: FileDataset) -> None:
    """Other pixels of the same anatomy, as of a second scan."""
    set_pixels(data, np.clip(data.pixel_array.astype(int) + 20, 0, 4095))


def moved(data: FileDataset, case: str, millimetres: float, number: int = 100) -> FileDataset:
    """A further image of the same plane, so far along its normal."""
    other = rename(copy.deepcopy(data), case, "moved", millimetres)
    axes = np.array(data.ImageOrientationPatient, float)
    place = np.array(data.ImagePositionPatient, float)
    place += millimetres * np.cross(axes[:3], axes[3:])
    other.ImagePositionPatient = [round(float(v), 4) for v in place]
    other.InstanceNumber = number
    set_pixels(other, np.flipud(data.pixel_array))
    return other


def turned(data: FileDataset, axis: Sequence[float], degrees: float) -> None:
    """Turn the plane of an image about its middle; the pixels stay as they are."""
    unit = np.array(axis, float) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), unit)
    angle = np.radians(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    row, column = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
    dy, dx = (float(v) for v in data.PixelSpacing)
    arm = row * dx * (data.Columns - 1) / 2 + column * dy * (data.Rows - 1) / 2
    middle = np.array(data.ImagePositionPatient, float) + arm
    data.ImageOrientationPatient = [round(float(v), 9) for v in (*(turn @ row), *(turn @ column))]
    data.ImagePositionPatient = [round(float(v), 5) for v in middle - turn @ arm]


def rewritten(folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """Change the bytes of every file."""
    for file in folder.rglob("*.dcm"):
        file.write_bytes(change(file.read_bytes()))
    return folder


def with_value(keyword: str, text: str, representation: str = "DS") -> Callable[[bytes], bytes]:
    """A change of explicit little endian files: other text as an element's value."""
    value = text.encode() + b" " * (len(text) % 2)
    return with_bytes(keyword, lambda _: value, representation)


def with_bytes(
    keyword: str, change: Callable[[bytes], bytes], representation: str = "DS"
) -> Callable[[bytes], bytes]:
    """A change of explicit little endian files: an element's value by what it was."""
    tag = Tag(keyword)
    mark = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")

    def changed(file: bytes) -> bytes:
        at = file.index(mark, 132)
        length = int.from_bytes(file[at + 6 : at + 8], "little")
        value = change(file[at + 8 : at + 8 + length])
        long = representation in ("UT", "UN")
        size = b"\0\0" + len(value).to_bytes(4, "little") if long else b""
        head = representation.encode() + (size or len(value).to_bytes(2, "little"))
        return file[: at + 4] + head + value + file[at + 8 + length :]

    return changed


def without_preamble(implicit: bool = True, little: bool = True) -> Callable[[bytes], bytes]:
    """Nothing but the data set itself, in this encoding."""

    def changed(file: bytes) -> bytes:
        return encoded(file, FileMetaDataset(), implicit, little)[1]

    return changed


def encoded(
    file: bytes, meta: FileMetaDataset, implicit: bool, little: bool
) -> tuple[FileDataset, bytes]:
    """(parsed file, its data set in another encoding without preamble and meta)."""
    data = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file))
    pixels = data.pixel_array
    data.file_meta = meta
    data.preamble = None
    data.PixelData = pixels.astype("<u2" if little else ">u2").tobytes()
    stream = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(
        stream, data, implicit_vr=implicit, little_endian=little, enforce_file_format=False
    )
    content = stream.getvalue()
    return data, content[132:] if content[128:132] == b"DICM" else content


def without_syntax(compressed: bool = False, implicit: bool = False) -> Callable[[bytes], bytes]:
    """Preamble and file meta, but no transfer syntax in it."""

    def changed(file: bytes) -> bytes:
        data = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file))
        if compressed:
            data.compress(RLELossless, generate_instance_uid=False)
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        stream = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(
            stream, data, implicit_vr=implicit, little_endian=True, enforce_file_format=False
        )
        return stream.getvalue()

    return changed


def object_without_image(case: str, kind: str, modality: str) -> FileDataset:
    """A DICOM object of the study that holds no image, of this SOP class."""
    data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    data.Modality = modality
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(case), uid(case, kind, "series")
    return rename(data, case, kind)


def enhanced(
    slices: Series,
    *,
    slopes: Sequence[float] = (),
    compressed: bool = False,
    pixels: bytes | None = None,
) -> FileDataset:
    """One enhanced multi-frame file of a series, frames in the order of the slices.

    Args:
        slices: ordinary images.
        slopes: a rescale slope for every frame.
        compressed: RLE, a fragment for each frame.
        pixels: instead of those of the slices, as they are stored.
    """
    first = slices[0]
    data = copy.deepcopy(first)
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("EchoTime", "RepetitionTime", "ScanningSequence", "SliceLocation", "InstanceNumber"),
        *("RescaleSlope", "RescaleIntercept"),
    ):
        if keyword in data:
            delattr(data, keyword)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    data.NumberOfFrames = len(slices)
    data.EchoPulseSequence, data.InversionRecovery = "SPIN", "NO"
    timing = Dataset()
    timing.RepetitionTime = float(first.get("RepetitionTime", 3000))
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence = [timing]
    shared.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [
        _frame_groups(d, i, slopes[i - 1] if slopes else None)
        for i, d in enumerate(slices, start=1)
    ]
    if pixels is not None:
        data.PixelData = pixels
        return data
    data.PixelData = b"".join(d.pixel_array.astype("<u2").tobytes() for d in slices)
    data["PixelData"].VR = "OW"
    if compressed:
        data.compress(RLELossless, generate_instance_uid=False)
    return data


def _frame_groups(data: FileDataset, number: int, slope: float | None) -> Dataset:
    group = Dataset()
    for sequence, values in {
        "PlanePositionSequence": {"ImagePositionPatient": data.ImagePositionPatient},
        "PlaneOrientationSequence": {"ImageOrientationPatient": data.ImageOrientationPatient},
        "MREchoSequence": {"EffectiveEchoTime": float(data.EchoTime)},
        "MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "M", "NONE"]},
        "FrameContentSequence": {"StackID": "1", "InStackPositionNumber": number},
        "PixelValueTransformationSequence": (
            {}
            if slope is None
            else {"RescaleSlope": slope, "RescaleIntercept": 0, "RescaleType": "US"}
        ),
    }.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        if values:
            setattr(group, sequence, [item])
    return group
