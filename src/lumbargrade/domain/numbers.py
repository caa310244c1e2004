"""Numbers as a table or command line spells them, read as every other program reads them."""

from __future__ import annotations


def real(text: str) -> float:
    """A number, ``nan`` and ``inf`` included.

    Raises:
        ValueError: if it is none. Python alone also reads 1_0 as ten, and the digits of every
            script.
    """
    return float(_plain(text))


def whole(text: str) -> int:
    """A whole number, likewise."""
    return int(_plain(text))


def _plain(text: str) -> str:
    if "_" in text or not text.isascii():
        raise ValueError(f"not a number: {text!r}")
    return text
