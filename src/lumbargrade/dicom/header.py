"""Values of one file's header; each value is checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import IS, DSdecimal, DSfloat

from lumbargrade.dicom.opening import DECODE_ERRORS
from lumbargrade.domain.errors import BadDicom, one_line

T = TypeVar("T")

#: Characters of a value that a message shows.
_SHOWN = 60
#: Characters of a text that are kept; descriptions have at most 64.
_LONGEST_TEXT = 256

#: A number with a decimal comma, as programs with German or French settings write it.
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
#: Digits, and all bytes that numbers written as text may contain.
_DIGITS, _NUMBER_TEXT = frozenset(b"0123456789"), frozenset(b"0123456789+-.,eE\\ \0")


@dataclass(frozen=True, slots=True)
class Header:
    """Checked access to the header of a file or frame.

    Every method raises BadDicom if the element cannot be converted to the type that the method
    returns. An element without a value counts as absent.

    Attributes:
        path: the file.
        dataset: its elements, or those of one of its frames.
        frame: number of the frame, from 1; 0 for a single-frame file.
        remarks: notes on unusual values that could be read.
    """

    path: Path
    dataset: Dataset
    frame: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """File and frame, for messages."""
        return f"{self.path}: frame {self.frame}" if self.frame else str(self.path)

    def value(self, keyword: str) -> Any:
        """The value as pydicom converts it; None if absent."""
        tag, _ = _tag(keyword)
        if tag not in self.dataset:
            return None
        stored = self._stored(tag)
        try:
            value = self.dataset[tag].value
        except DECODE_ERRORS as error:
            raise self.bad(keyword, f"cannot be read ({one_line(error)})") from None
        if not _empty(value):
            return value
        if not _empty(stored):
            raise self.bad(keyword, "cannot be read")
        return None

    def number(self, keyword: str) -> float | None:
        """A finite number; None if absent."""
        stored = self._stored_bytes(keyword)
        value = self.value(keyword)
        if value is None:
            return None
        return self._numbers(keyword, [value], stored, "is not a number")[0]

    def whole(self, keyword: str) -> int | None:
        """A whole number of at most 32 bits; None if absent."""
        value = self.number(keyword)
        if value is None:
            return None
        if not value.is_integer() or abs(value) >= 2**31:
            raise self.bad(keyword, "is not a whole number of at most 32 bits")
        return int(value)

    def numbers(self, keyword: str, count: int) -> list[float]:
        """``count`` finite numbers; raises BadDicom if the element is absent."""
        stored = self._stored_bytes(keyword)
        value = self.value(keyword)
        if value is None:
            raise self.absent(keyword)
        # pydicom does not split the values of unlimited text (UT, LT, ST)
        items = value.split("\\") if isinstance(value, str) else value
        wrong = f"is not {count} finite numbers"
        if not isinstance(items, MultiValue | list) or len(items) != count:
            raise self.bad(keyword, wrong)
        return self._numbers(keyword, items, stored, wrong)

    def text(self, keyword: str) -> str:
        """The value as text, several values joined by backslashes; empty if absent."""
        return "\\".join(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values as text; an empty tuple if absent."""
        value = self.value(keyword)
        if value is None:
            return ()
        items = value if isinstance(value, MultiValue) else [value]
        if any(isinstance(item, Dataset | bytes) for item in items):
            raise self.bad(keyword, "is not text")
        return tuple(cleaned(str(item)) for item in items)

    def bad(self, keyword: str, why: str) -> BadDicom:
        """An error with file, keyword, tag, shortened value and reason."""
        return BadDicom(f"{self.where}: {self.named(keyword)} {why}")

    def absent(self, keyword: str, why: str = "") -> BadDicom:
        """The error for an absent element."""
        return BadDicom(f"{self.where}: has no {keyword} {_tag(keyword)[0]}{why}")

    def named(self, keyword: str) -> str:
        """An element's keyword, tag and shortened value."""
        tag, _ = _tag(keyword)
        return f"{keyword} {tag} {self._shown(tag)}"

    def _numbers(
        self, keyword: str, items: Sequence[object], stored: bytes, wrong: str
    ) -> list[float]:
        tag, representation = _tag(keyword)
        plain = _with_points(items)
        if plain is not None:
            items = plain
            self.remarks.append(f"{keyword} {tag} has decimal commas")
        try:
            numbers = [_number(item, representation, stored) for item in items]
        except (ArithmeticError, TypeError, ValueError):
            raise self.bad(keyword, wrong) from None
        if not np.isfinite(numbers).all():
            raise self.bad(keyword, wrong)
        return numbers

    def _stored_bytes(self, keyword: str) -> bytes:
        """The bytes of an element; empty if pydicom has already converted it."""
        tag, _ = _tag(keyword)
        stored = self._stored(tag) if tag in self.dataset else b""
        return stored if isinstance(stored, bytes) else b""

    def _stored(self, tag: BaseTag) -> Any:
        """The value of a present element: its bytes, unless pydicom has already converted it."""
        element = self.dataset.get_item(tag, keep_deferred=True)
        return cast(DataElement | RawDataElement, element).value

    def _shown(self, tag: BaseTag) -> str:
        value = self._stored(tag)
        if isinstance(value, bytes):
            text = value.decode("latin-1").strip(" \0")
        else:
            text = _text_of(value)
        plain = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[:_SHOWN])
        return f"'{plain}'" if len(text) <= _SHOWN else f"'{plain}...'"


def cleaned(text: str) -> str:
    """A text of a header on one line, without characters that control a terminal, and not longer
    than any text of the standard that is used."""
    plain = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= _LONGEST_TEXT else f"{plain[:_LONGEST_TEXT]}..."


def if_usable(read: Callable[[str], T], keyword: str, otherwise: T) -> T:
    """Read an optional element; return ``otherwise`` if it is malformed."""
    try:
        return read(keyword)
    except BadDicom:
        return otherwise


def _empty(value: object) -> bool:
    if isinstance(value, bytes):
        return not value.strip(b" \0")
    if isinstance(value, str):
        return not value.strip(" \0")
    return value is None or (isinstance(value, MultiValue) and not value)


@cache
def _tag(keyword: str) -> tuple[BaseTag, str]:
    """(tag, value representation) of a keyword of the standard."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return Tag(tag), dictionary_VR(tag)


def _text_of(value: object) -> str:
    """A converted value as text, as the file stores it."""
    if isinstance(value, DicomSequence):  # str() would convert every element in it
        return f"{len(value)} items"
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _with_points(items: Sequence[object]) -> list[str] | None:
    """The values with decimal points instead of commas; None unless all commas are decimal."""
    texts = [_text(item) for item in items]
    commas = [t for t in texts if _DECIMAL_COMMA.fullmatch(t)]
    if not commas or any("." in t for t in texts):
        return None
    return [t.replace(",", ".") for t in texts]


def _text(item: object) -> str:
    return str(getattr(item, "original_string", item)).strip(" \0")


def _number(item: object, representation: str, stored: bytes) -> float:
    """One value as a number.

    Raises:
        TypeError, ValueError: if it is not a number, or if the file declares it binary although
            the standard has text here (``DS``, ``IS``) and the bytes are text. Then only the
            representation is damaged, and the binary number would be wrong.
    """
    if isinstance(item, DSfloat | DSdecimal | IS | str):
        text = _text(item)
        if "_" in text:  # Python reads 1_5 as 15
            raise ValueError(text)
        return float(text)
    if type(item) not in (int, float):
        raise TypeError(f"{type(item).__name__} for {representation}")
    if representation in ("DS", "IS") and _is_number_text(stored):
        raise TypeError(f"text in binary for {representation}")
    return float(item)  # type: ignore[arg-type]  # one of the two


def _is_number_text(stored: bytes) -> bool:
    content = set(stored)
    return content <= _NUMBER_TEXT and bool(content & _DIGITS)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How the image was acquired, from the header; absent values are empty or None.

    Attributes:
        modality: DICOM modality, ``MR`` for usable images.
        description, protocol: SeriesDescription and ProtocolName.
        order: descriptions of the study and of the requested and performed procedure that are
            present, as (tag, value).
        body_part: BodyPartExamined, or the meaning of the code of AnatomicRegionSequence.
        echo_time, repetition_time, inversion_time: ms.
        sequence: ScanningSequence values, such as ``SE`` or ``GR``.
        image_type: ImageType values.
        agent: ContrastBolusAgent; the text may mean that no agent was given.
        thickness: SliceThickness, mm.
        repeats: (keyword, value as text) of tags that may differ between acquisitions of one
            place, such as echo, acquisition number, temporal position and image type.
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
    thickness: float | None = None
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
    """Collect the acquisition values of a header; a malformed value counts as absent."""
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
        thickness=if_usable(header.number, "SliceThickness", None),
        repeats=tuple((k, v) for k in _REPEAT_TAGS if (v := if_usable(header.text, k, ""))),
    )


def _item_text(header: Header, sequence: str, keyword: str) -> str:
    """A text from a sequence's first item; empty if absent or malformed."""
    items = if_usable(header.value, sequence, None)
    if not isinstance(items, DicomSequence) or not items:
        return ""
    return if_usable(Header(header.path, items[0]).text, keyword, "")
