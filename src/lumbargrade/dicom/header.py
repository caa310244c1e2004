"""Values of one file's header, each checked when it is read.

pydicom converts an element when it is first asked for, so any access can fail on damaged bytes,
with many kinds of exception. Every header value of this package is read here, and a malformed one
is a BadDicom that names the file, the tag and its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import IS, DSdecimal, DSfloat

from lumbargrade.dicom.decode_errors import DECODE_ERRORS, one_line
from lumbargrade.domain.errors import BadDicom

T = TypeVar("T")

#: Characters of a value that a message shows.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Header:
    """Checked access to a parsed file.

    Every method raises BadDicom for an element that cannot be converted or has another type than
    the method returns. An element without a value counts as absent.
    """

    path: Path
    dataset: Dataset

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
        value = self.value(keyword)
        return None if value is None else self._numbers(keyword, [value], "is not a number")[0]

    def whole(self, keyword: str) -> int | None:
        """A whole number of at most 32 bits; None if absent."""
        value = self.number(keyword)
        if value is None:
            return None
        if not value.is_integer() or abs(value) >= 2**31:
            raise self.bad(keyword, "is not a whole number of at most 32 bits")
        return int(value)

    def numbers(self, keyword: str, count: int) -> list[float]:
        """``count`` finite numbers; an absent element is an error too."""
        value = self.value(keyword)
        if value is None:
            raise BadDicom(f"{self.path}: has no {keyword}")
        wrong = f"is not {count} finite numbers"
        if not isinstance(value, MultiValue) or len(value) != count:
            raise self.bad(keyword, wrong)
        return self._numbers(keyword, value, wrong)

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
        return tuple(str(item) for item in items)

    def bad(self, keyword: str, why: str) -> BadDicom:
        """The error for an element: file, keyword, tag, shortened value, and the reason."""
        tag, _ = _tag(keyword)
        return BadDicom(f"{self.path}: {keyword} {tag} {self._shown(tag)} {why}")

    def _numbers(self, keyword: str, items: Iterable[object], wrong: str) -> list[float]:
        _, representation = _tag(keyword)
        try:
            numbers = [_number(item, representation) for item in items]
        except (ArithmeticError, TypeError, ValueError):
            raise self.bad(keyword, wrong) from None
        if not np.isfinite(numbers).all():
            raise self.bad(keyword, wrong)
        return numbers

    def _stored(self, tag: BaseTag) -> Any:
        """The value of a present element: its bytes, unless pydicom converted it before."""
        element = self.dataset.get_item(tag, keep_deferred=True)
        return cast(DataElement | RawDataElement, element).value

    def _shown(self, tag: BaseTag) -> str:
        value = self._stored(tag)
        if isinstance(value, bytes):
            text = value.decode("latin-1").strip(" \0")
        else:
            # the text of a sequence would convert every element in it
            text = f"{len(value)} items" if isinstance(value, Sequence) else str(value)
        plain = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[:_SHOWN])
        return f"'{plain}'" if len(text) <= _SHOWN else f"'{plain}...'"


def if_usable(read: Callable[[str], T], keyword: str, otherwise: T) -> T:
    """Read an element that the images do not depend on; ``otherwise`` if it is malformed."""
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


def _number(item: object, representation: str) -> float:
    """One value as a number.

    Raises:
        TypeError, ValueError: if it is not a number, or if the standard has text here (``DS``,
            ``IS``) and the file has binary data: text with a damaged value representation.
    """
    if isinstance(item, DSfloat | DSdecimal | IS | str):
        text = str(getattr(item, "original_string", item))
        if "_" in text:  # Python reads 1_5 as 15
            raise ValueError(text)
        return float(item)
    if representation in ("DS", "IS") or not isinstance(item, int | float):
        raise TypeError(f"{type(item).__name__} for {representation}")
    return float(item)
