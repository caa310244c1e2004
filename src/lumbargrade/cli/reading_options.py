"""Options that say how DICOM images are read, shared by the commands that read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from lumbargrade.dicom.requests import Request


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """Which series are used, and which header values are replaced."""

    series: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KIND=SERIES")
    ] = ()
    """use this series for a kind (t1, t2 or axial) instead of the one that is chosen: its
    SeriesInstanceUID or SeriesNumber, for example t2=4; several with commas: axial=5,6"""
    header_values: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(name="set", metavar="[SERIES:]KEYWORD=VALUE"),
    ] = ()
    """header value that replaces that of the files of a broken export, for example
    'PixelSpacing=0.5\\0.5', or 'ContrastBolusAgent=' for none; with 4: before it, only that of
    series 4"""

    def request(self) -> Request:
        """What the user requests.

        Raises:
            UsageError: if an option is malformed.
        """
        from lumbargrade.dicom.requests import Request

        return Request.parse(self.series, self.header_values)
