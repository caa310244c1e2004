"""Ids of studies and series, which are text: numbers in the LSDC layout, otherwise DICOM UIDs."""

from __future__ import annotations

import hashlib


def id_order(text: str) -> tuple[int, str]:
    """Return a sort key for ids that sorts numbers by value.

    Examples:
        >>> sorted(["100", "20", "3"], key=id_order)
        ['3', '20', '100']
    """
    return len(text), text


def id_number(text: str) -> int:
    """Return a seed for random draws: the id as a number, or 64 bits of its SHA-256.

    Examples:
        >>> id_number("4003253")
        4003253
    """
    if text.isascii() and text.isdecimal():
        return int(text)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
