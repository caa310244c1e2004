"""How a slice was acquired, and which of the three kinds of series that makes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from numpy.typing import ArrayLike

from lumbargrade.dicom.header import Header, if_usable
from lumbargrade.dicom.orientation import Orientation, orientation_of
from lumbargrade.domain.vocabulary import SeriesKind


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a header says of how the image was made; empty or None where it does not say.

    Attributes:
        modality: DICOM modality, ``MR`` for usable images.
        description: SeriesDescription and ProtocolName.
        echo_time, repetition_time, inversion_time: ms.
        sequence: ScanningSequence values, such as ``SE`` or ``GR``.
        image_type: ImageType values.
        contrast: whether a contrast agent is named.
        repeats: what may tell images of one place apart, such as echo, acquisition number, temporal
            position and image type: keywords with their values as text.
    """

    modality: str
    description: str
    echo_time: float | None
    repetition_time: float | None
    inversion_time: float | None
    sequence: frozenset[str]
    image_type: tuple[str, ...]
    contrast: bool
    repeats: tuple[tuple[str, str], ...]


_REPEAT_TAGS = (
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "ImageType",
    "AcquisitionNumber",
    "InversionTime",
    "ComplexImageComponent",
    "ScanningSequence",
    "SequenceName",
    "FlipAngle",
    "StackID",
)


def acquisition_of(header: Header) -> Acquisition:
    """Collect what a header says of the acquisition; a malformed value is taken as absent."""
    words = [if_usable(header.text, k, "") for k in ("SeriesDescription", "ProtocolName")]
    unknown: tuple[str, ...] = ()
    agent = if_usable(header.text, "ContrastBolusAgent", "unreadable")
    return Acquisition(
        modality=if_usable(header.text, "Modality", ""),
        description=" ".join(w for w in words if w),
        echo_time=if_usable(header.number, "EchoTime", None),
        repetition_time=if_usable(header.number, "RepetitionTime", None),
        inversion_time=if_usable(header.number, "InversionTime", None),
        sequence=frozenset(if_usable(header.texts, "ScanningSequence", unknown)),
        image_type=if_usable(header.texts, "ImageType", unknown),
        contrast=bool(agent.strip()),
        repeats=tuple((k, v) for k in _REPEAT_TAGS if (v := if_usable(header.text, k, ""))),
    )


_SCOUT = re.compile(r"loc(ali[sz]er)?\b|\bscout|survey|\b3.?pl(ane)?\b", re.IGNORECASE)
_CONTRAST = re.compile(r"\bgd\b|gad|\+\s*c\b|\bpost\b|\bc\+|contrast|\bkm\b", re.IGNORECASE)
_T1 = re.compile(r"(?<![a-z0-9])t1", re.IGNORECASE)
_T2 = re.compile(r"(?<![a-z0-9])t2|stir|tirm", re.IGNORECASE)

#: Echo time, ms: shorter than the first is T1 (with a short TR), longer than the second is T2.
_SHORT_ECHO, _LONG_ECHO = 30.0, 60.0
#: Repetition time, ms, below which a spin echo of short echo time is T1-weighted.
_SHORT_REPETITION = 1200.0
#: Inversion times, ms, that null fat.
_FAT_NULL = (80.0, 300.0)


def classify(about: Acquisition, normal: ArrayLike) -> tuple[SeriesKind | None, str]:
    """The kind of a series, or None, with the reason in words.

    The description decides where it names a weighting, else echo, repetition and inversion time.
    A series of unknown weighting is not guessed.
    """
    plane = orientation_of(normal)
    if about.modality not in ("", "MR"):
        return None, f"modality {about.modality}, not MR"
    if plane is Orientation.CORONAL:
        return None, "coronal"
    if "LOCALIZER" in about.image_type or _SCOUT.search(about.description):
        return None, "localizer"
    if about.contrast or _CONTRAST.search(about.description):
        return None, "after contrast agent"
    weighting, why = _weighting(about)
    if not weighting:
        return None, f"{plane}, {why}"
    if plane is Orientation.AXIAL:
        if weighting == "T1":
            return None, "axial T1"
        return SeriesKind.AXIAL_T2, why
    return (SeriesKind.SAGITTAL_T1 if weighting == "T1" else SeriesKind.SAGITTAL_T2), why


def _weighting(about: Acquisition) -> tuple[str, str]:
    t1, t2 = _T1.search(about.description), _T2.search(about.description)
    if t1 and t2:
        return "", f"description {about.description!r} names T1 and T2"
    if t1 or t2:
        return ("T1" if t1 else "T2"), f"description {about.description!r}"
    te, tr, ti = about.echo_time, about.repetition_time, about.inversion_time
    if "GR" in about.sequence and "SE" not in about.sequence:
        return "", "gradient echo of unknown weighting"
    if "IR" in about.sequence and ti is not None and _FAT_NULL[0] <= ti <= _FAT_NULL[1]:
        return "T2", f"inversion time {ti:g} ms"
    if te is not None and te >= _LONG_ECHO:
        return "T2", f"echo time {te:g} ms"
    if te is not None and tr is not None and te <= _SHORT_ECHO and tr <= _SHORT_REPETITION:
        return "T1", f"echo time {te:g} ms, repetition time {tr:g} ms"
    return "", "unknown weighting"
