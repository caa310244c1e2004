"""How a slice was acquired, as far as its header says."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sequence import Sequence

from lumbargrade.dicom.header import Header, if_usable


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a header says of how the image was made; empty or None where it does not say.

    Attributes:
        modality: DICOM modality, ``MR`` for usable images.
        description, protocol: SeriesDescription and ProtocolName.
        order: descriptions of the study and of the requested and performed procedure, as
            (tag, value), those that are there.
        body_part: BodyPartExamined, or the meaning of the code of AnatomicRegionSequence.
        echo_time, repetition_time, inversion_time: ms.
        sequence: ScanningSequence values, such as ``SE`` or ``GR``.
        image_type: ImageType values.
        agent: ContrastBolusAgent, which may say that there was none.
        repeats: what may tell images of one place apart, such as echo, acquisition number, temporal
            position and image type: keywords with their values as text.
    """

    modality: str = ""
    description: str = ""
    protocol: str = ""
    order: tuple[tuple[str, str], ...] = ()
    body_part: str = ""
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    sequence: frozenset[str] = frozenset()
    image_type: tuple[str, ...] = ()
    agent: str = ""
    repeats: tuple[tuple[str, str], ...] = ()


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


_ORDER_TAGS = (
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
)


def acquisition_of(header: Header) -> Acquisition:
    """Collect what a header says of the acquisition; a malformed value is taken as absent."""
    unknown: tuple[str, ...] = ()
    order = [(k, if_usable(header.text, k, "")) for k in _ORDER_TAGS]
    requested = _item_text(header, "RequestAttributesSequence", "RequestedProcedureDescription")
    order.append(("RequestedProcedureDescription", requested))
    region = _item_text(header, "AnatomicRegionSequence", "CodeMeaning")
    return Acquisition(
        modality=if_usable(header.text, "Modality", ""),
        description=if_usable(header.text, "SeriesDescription", ""),
        protocol=if_usable(header.text, "ProtocolName", ""),
        order=tuple((k, v) for k, v in order if v),
        body_part=if_usable(header.text, "BodyPartExamined", "") or region,
        echo_time=if_usable(header.number, "EchoTime", None),
        repetition_time=if_usable(header.number, "RepetitionTime", None),
        inversion_time=if_usable(header.number, "InversionTime", None),
        sequence=frozenset(if_usable(header.texts, "ScanningSequence", unknown)),
        image_type=if_usable(header.texts, "ImageType", unknown),
        agent=if_usable(header.text, "ContrastBolusAgent", "unreadable"),
        repeats=tuple((k, v) for k in _REPEAT_TAGS if (v := if_usable(header.text, k, ""))),
    )


def _item_text(header: Header, sequence: str, keyword: str) -> str:
    """A text of a sequence's first item, empty where absent or malformed."""
    items = if_usable(header.value, sequence, None)
    if not isinstance(items, Sequence) or not items:
        return ""
    return if_usable(Header(header.path, items[0]).text, keyword, "")
