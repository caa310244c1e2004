"""Enhanced multi-frame files: the header of every frame, as if it were a file of its own.

An enhanced file (PS3.3 C.7.6.16) has what all its frames share in one sequence of functional
groups, and what each has of its own in another. Here the groups are laid over the file's elements,
those of the frame last, so that a frame is checked and read as an ordinary image is.
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

#: More frames than any series has; every frame costs memory before its pixels are read.
MOST_FRAMES = 20_000

#: Enhanced keywords, and those that an ordinary image has for the same.
_ORDINARY = {
    "EffectiveEchoTime": "EchoTime",
    "InversionTimes": "InversionTime",
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}

#: EchoPulseSequence values as ScanningSequence has them.
_ECHOES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


def is_enhanced(dataset: FileDataset) -> bool:
    """Whether a file has functional groups for its frames."""
    return _EACH in dataset


def frame_headers(file: Header) -> Iterator[Header]:
    """The header of every frame of an enhanced file, in order; its InstanceNumber is the frame's.

    Raises:
        BadDicom: if the file has not one functional group for every frame.
    """
    groups = file.value(_EACH)
    count = file.whole("NumberOfFrames") or 1
    found = len(groups) if isinstance(groups, Sequence) else 0
    if found != count or count > MOST_FRAMES:
        raise file.bad("NumberOfFrames", f"is not the {found} items of {_EACH}")
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
    """What every frame has: the file's elements, and the shared groups."""
    common = Dataset()
    groups = {tag_for_keyword(k) for k in (_SHARED, _EACH)}
    for tag in set(file.dataset.keys()) - groups:
        element = file.dataset.get_item(tag, keep_deferred=True)
        if element.value is not None:
            # converted here once, not for every frame; whoever asks for a bad value is told
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
    """Add the elements of an ordinary image for enhanced ones that say the same."""
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
    """Give a data set an element of its own: those that it has may belong to others too."""
    tag = Tag(keyword)
    dataset[tag] = DataElement(tag, dictionary_VR(tag), value)
