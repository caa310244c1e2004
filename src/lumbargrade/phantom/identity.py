"""Study and series ids: look like LSDC ids, follow from seed and number, and never repeat."""

from __future__ import annotations

from lumbargrade.domain.errors import UsageError

#: Seeds and study numbers must be below these, so that ids of all of them differ.
SEEDS, STUDIES, SERIES = 2**11, 2**21, 2**4


def _scramble(value: int, bits: int) -> int:
    """A one-to-one map of ``0 .. 2**bits - 1`` onto itself that looks random."""
    mask = (1 << bits) - 1
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        value = (value * (factor | 1)) & mask
        value ^= value >> (bits // 2)
    return value


def study_number(seed: int, number: int) -> int:
    """The LSDC study id of study ``number`` of data set ``seed``, one to one.

    Raises:
        UsageError: if the seed or the number is out of range.
    """
    if not 0 <= seed < SEEDS:
        raise UsageError(f"seed must be from 0 to {SEEDS - 1}, got {seed}")
    if not 0 <= number < STUDIES:
        raise UsageError(f"study numbers go from 0 to {STUDIES - 1}, got {number}")
    return _scramble(seed * STUDIES + number + 1 & 0xFFFFFFFF, 32)


def series_number(seed: int, number: int, place: int) -> int:
    """The LSDC series id of the series at ``place`` in a study, one to one."""
    if not 0 <= place < SERIES:
        raise UsageError(f"a study has at most {SERIES} series, got place {place}")
    return _scramble((seed * STUDIES + number) * SERIES + place + 1, 36)


def uid(*parts: int) -> str:
    """A DICOM unique identifier made of numbers, under the root for such derived identifiers."""
    return ".".join(["1.2.826.0.1.3680043.10.1561", *(str(p) for p in parts)])
