"""Lengths of time as options: `90s`, `30m`, `8.5h`."""

from __future__ import annotations

import re
import time

from lumbargrade.domain.errors import UsageError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str, option: str) -> float | None:
    """Read a length of time; None if it is empty.

    Raises:
        UsageError: naming the option, if the text is not a number above 0 with s, m or h.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"{option} {text!r}: give a time above 0, for example 90s, 30m or 8.5h")
    return float(found[1]) * _SECONDS[found[2]]


def seconds_from_now(text: str, option: str) -> float | None:
    """When a length of time that begins now will have passed, by `time.monotonic`; see above."""
    seconds = seconds_of(text, option)
    return None if seconds is None else time.monotonic() + seconds
