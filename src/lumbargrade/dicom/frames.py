"""Enhanced multi-frame files: give every frame a header like that of a single-frame file.

An enhanced file (PS3.3 C.7.6.16) stores shared values in one sequence of functional groups and the
values of each frame in another. Here the shared groups, then those of the frame, override the
file's elements. So a frame is checked and read like any single image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from lumbargrade.dicom.header import Header
from lumbargrade.dicom.opening import DECODE_ERRORS

_SHARED, _EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"

#: Files with more frames are refused: no series has so many, and every header needs memory.
MOST_FRAMES = 20_000

#: Keywords of enhanced files -> keywords of single-frame files with the same meaning.
_ORDINARY = {
    "EffectiveEchoTime": "EchoTime",
    "InversionTimes": "InversionTime",
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}

#: EchoPulseSequence -> ScanningSequence.
_ECHOES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


def is_enhanced(dataset: FileDataset) -> bool:
    """Whether a file has functional groups per frame."""
    return _EACH in dataset


def frame_headers(file: Header) -> Iterator[Header]:
    """The header of every frame of an enhanced file, in order; InstanceNumber is the frame number.

    Raises:
        BadDicom: if the number of functional groups is not the number of frames.
    """
    groups = file.value(_EACH)
    count = file.whole("NumberOfFrames") or 1
    found = len(groups) if isinstance(groups, Sequence) else 0
    if found != count or count > MOST_FRAMES:
        raise file.bad("NumberOfFrames", f"does not match {_EACH}, which has {found} items")
    common = _common(file)
    for number, group in enumerate(groups, start=1):
        frame = Dataset()
        for dataset in (common, *_macros(group)):
            _lay_over(frame, dataset)
        _ordinary_words(frame)
        _put(frame, "InstanceNumber", number)
        _put(frame, "NumberOfFrames", 1)
        yield Header(file.path, frame, number, list(file.remarks))


def _common(file: Header) -> Dataset:
    """Elements of all frames: those of the file, overridden by the shared groups."""
    common = Dataset()
    groups = {tag_for_keyword(k) for k in (_SHARED, _EACH)}
    for tag in set(file.dataset.keys()) - groups:
        element = file.dataset.get_item(tag, keep_deferred=True)
        if element.value is not None:
            # converted here once, not for every frame; a bad value raises when it is read
            with contextlib.suppress(*DECODE_ERRORS):
                element = file.dataset[tag]
        common[tag] = element
    if agents := file.value("ContrastBolusAgentSequence"):
        _put(common, "ContrastBolusAgent", str(agents[0].get("CodeMeaning", "named")))
    for shared in file.value(_SHARED) or ():
        for dataset in _macros(shared):
            _lay_over(common, dataset)
    return common


def _macros(group: Dataset) -> list[Dataset]:
    """The first item of every sequence of a functional group."""
    sequences = [e.value for e in group if e.VR == "SQ"]
    return [items[0] for items in sequences if items]


def _lay_over(below: Dataset, above: Dataset) -> None:
    for tag in list(above.keys()):
        below[tag] = above.get_item(tag, keep_deferred=True)


def _ordinary_words(frame: Dataset) -> None:
    """Add the elements that single-frame files use for the same values."""
    for enhanced, ordinary in _ORDINARY.items():
        value = frame.get(enhanced)
        if value is not None and value != "":
            several = enhanced == "InversionTimes" and not isinstance(value, float)
            _put(frame, ordinary, value[0] if several else value)
    echo = _ECHOES.get(str(frame.get("EchoPulseSequence", "")), [])
    inverted = ["IR"] if frame.get("InversionRecovery") == "YES" else []
    if echo or inverted:
        _put(frame, "ScanningSequence", echo + inverted)


def _put(dataset: Dataset, keyword: str, value: object) -> None:
    """Set a new element: existing element objects may be shared with other data sets."""
    tag = Tag(keyword)
    dataset[tag] = DataElement(tag, dictionary_VR(tag), value)
