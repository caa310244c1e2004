"""What the user decides about reading: which series are used, and values of broken headers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from lumbargrade.dicom.choice import series_name
from lumbargrade.domain.errors import BadDicom, UsageError
from lumbargrade.domain.vocabulary import SeriesKind

#: Names of the kinds in options.
KIND_NAMES = {
    "t1": SeriesKind.SAGITTAL_T1,
    "t2": SeriesKind.SAGITTAL_T2,
    "axial": SeriesKind.AXIAL_T2,
}

#: Elements whose value can be set, with the number of their values if they are numbers. Others are
#: of one image alone, or say how pixels are stored.
_NUMBERS = {
    "PixelSpacing": 2,
    "ImageOrientationPatient": 6,
    "SliceThickness": 1,
    "RescaleSlope": 1,
    "RescaleIntercept": 1,
    "EchoTime": 1,
    "RepetitionTime": 1,
    "InversionTime": 1,
}
_TEXTS = (
    *("Modality", "SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined"),
    *("ContrastBolusAgent", "ImageType", "ScanningSequence", "FrameOfReferenceUID"),
    *("PatientID", "PatientName", "PatientBirthDate"),
)
#: Numbers that must be positive.
_POSITIVE = frozenset(_NUMBERS) - {"ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"}
_LONGEST = 1024


@dataclass(frozen=True)
class HeaderValue:
    """A header value that replaces that of the files.

    Attributes:
        keyword: of the element.
        value: several values are joined by backslashes; empty: the element is removed.
        series: SeriesNumber or SeriesInstanceUID of the files; empty for all files.
    """

    keyword: str
    value: str
    series: str = ""

    @classmethod
    def parse(cls, text: str) -> HeaderValue:
        r"""Parse ``[SERIES:]KEYWORD=VALUE``, such as ``PixelSpacing=0.5\0.5``.

        Raises:
            UsageError: if the keyword cannot be set, or the value does not fit it.
        """
        left, equals, value = text.partition("=")
        series, _, keyword = left.rpartition(":")
        if not equals or not keyword:
            raise UsageError(f"--set {text}: write KEYWORD=VALUE or SERIES:KEYWORD=VALUE")
        if keyword not in _NUMBERS and keyword not in _TEXTS:
            known = ", ".join((*_NUMBERS, *_TEXTS))
            raise UsageError(f"--set {text}: {keyword} cannot be set; give one of {known}")
        value = value.strip().replace("\\\\", "\\")
        if not value.isprintable() or len(value) > _LONGEST:
            raise UsageError(f"--set {keyword}: give at most {_LONGEST} printable characters")
        if value and keyword in _NUMBERS:
            _check_numbers(text, keyword, value)
        return cls(keyword, value, series)

    def __str__(self) -> str:
        return (
            f"{self.series}:{self.keyword}={self.value}"
            if self.series
            else (f"{self.keyword}={self.value}")
        )

    def fits(self, dataset: Dataset) -> bool:
        """Whether the series of a data set is meant."""
        names = (dataset.get("SeriesNumber"), dataset.get("SeriesInstanceUID"))
        return not self.series or self.series in map(str, names)

    def apply(self, dataset: Dataset) -> str:
        """Set the value in a data set; return a note that says it."""
        tag = tag_for_keyword(self.keyword)
        assert tag is not None  # all keywords that can be set are known
        if self.value:
            dataset[tag] = DataElement(tag, dictionary_VR(tag), self.value)
        elif tag in dataset:
            del dataset[tag]
        what = f"set to '{self.value}'" if self.value else "removed"
        return f"{self.keyword} was {what} by the user"


def _check_numbers(text: str, keyword: str, value: str) -> None:
    count = _NUMBERS[keyword]
    try:
        numbers = [float(part) for part in value.split("\\")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        example = "\\".join(["0.5"] * count)
        what = f"{count} numbers, such as {example}" if count > 1 else "a number"
        raise UsageError(f"--set {text}: {keyword} is {what}")
    if keyword in _POSITIVE and min(numbers) <= 0:
        raise UsageError(f"--set {text}: {keyword} must be positive")
    if keyword == "RescaleSlope" and numbers == [0]:
        raise UsageError(f"--set {text}: {keyword} must not be zero")


@dataclass(frozen=True)
class Request:
    """What the user decides about reading a study.

    Attributes:
        series: kind -> SeriesInstanceUIDs or SeriesNumbers of the series to use for it.
        headers: header values that replace those of the files.
    """

    series: Mapping[SeriesKind, tuple[str, ...]] = field(default_factory=dict)
    headers: tuple[HeaderValue, ...] = ()

    @classmethod
    def parse(cls, series: Iterable[str] = (), headers: Iterable[str] = ()) -> Request:
        """Parse the options ``--series`` and ``--set``.

        Raises:
            UsageError: if one of them is malformed.
        """
        found: dict[SeriesKind, tuple[str, ...]] = {}
        for text in series:
            name, _, ids = text.partition("=")
            wanted = tuple(dict.fromkeys(part.strip() for part in ids.split(",")))
            if name not in KIND_NAMES or not all(wanted):
                names = ", ".join(f"{n}=SERIES" for n in KIND_NAMES)
                raise UsageError(
                    f"--series {text}: write {names}, with the SeriesInstanceUID or SeriesNumber"
                )
            kind = KIND_NAMES[name]
            found[kind] = tuple(dict.fromkeys((*found.get(kind, ()), *wanted)))
        seen = [wanted for ids in found.values() for wanted in ids]
        if doubled := [w for w in seen if seen.count(w) > 1]:
            raise UsageError(f"--series: {doubled[0]} is given for two kinds; keep one of them")
        return cls(found, tuple(map(HeaderValue.parse, headers)))

    @property
    def fingerprint(self) -> str:
        """Changes with what is requested; empty if nothing is."""
        series = [f"{kind}={ids}" for kind, ids in sorted(self.series.items())]
        return "|".join([*series, *map(str, self.headers)])

    def kinds(self, there: Sequence[SeriesLabel]) -> dict[str, SeriesKind]:
        """Series id -> requested kind.

        Args:
            there: the series of the study.

        Raises:
            BadDicom: if a request fits no series, or its number fits several.
        """
        found: dict[str, SeriesKind] = {}
        for kind, ids in self.series.items():
            for wanted in ids:
                found[_only(kind, wanted, there)] = kind
        return found

    def require_used(self, there: Sequence[SeriesLabel]) -> None:
        """Check that every header value was meant for a series that there is.

        Raises:
            BadDicom: if one was not.
        """
        for value in self.headers:
            known = {name for s in there for name in (s.uid, s.number)}
            if value.series and value.series not in known:
                raise BadDicom(f"--set {value}: no series {value.series}; {_listed(there)}")


@dataclass(frozen=True)
class SeriesLabel:
    """A series of a study, as a user can name it: by id, UID or number."""

    series_id: str
    uid: str
    number: str
    description: str

    def __str__(self) -> str:
        name = series_name("", self.number, self.description)
        return f"{name} {self.series_id}".strip()


def _only(kind: SeriesKind, wanted: str, there: Sequence[SeriesLabel]) -> str:
    name = next(n for n, k in KIND_NAMES.items() if k is kind)
    base = wanted.partition("#")[0]  # a part of a series that was split
    if named := [s.series_id for s in there if base in (s.series_id, s.uid)]:
        return wanted.replace(base, named[0])
    numbered = [s for s in there if s.number == wanted]
    if len(numbered) == 1:
        return numbered[0].series_id
    if numbered:
        ids = ", ".join(s.series_id for s in numbered)
        raise BadDicom(f"--series {name}={wanted}: {len(numbered)} series have this number ({ids})")
    raise BadDicom(f"--series {name}={wanted}: no such series; {_listed(there)}")


def _listed(there: Sequence[SeriesLabel]) -> str:
    ordered = sorted(there, key=lambda s: (s.number.zfill(9), s.series_id))
    return f"the study has the series {'; '.join(map(str, ordered)) or 'none'}"


#: Nothing is requested.
NOTHING = Request()
