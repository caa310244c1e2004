"""Faults of the published code that spoil inference only; each is reproduced by its key.

Faults that the weights were trained with, such as attention over the wrong axis or slices ordered
by one coordinate, are reproduced always: a network expects what it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

from lumbargrade.domain.errors import UsageError


@dataclass(frozen=True)
class Faults:
    """Which faults are reproduced; by default, the first four are mended.

    Attributes:
        exchanged_weight: the axial pvt_v2_b1 networks of set 8620 have the weight 1.0, which is
            52.6 % of the axial group; meant was 0.0987.
        third_series_window: from the third axial series on, its levels are read from the slices
            of other series.
        missing_views_fail: a study without axial series fails; without a sagittal series, findings
            are graded from black and grey images.
        short_series_fail: a series with fewer slices than a crop fails, instead of being stretched.
        rounded_confidence: of several axial series, the first whose confidence exceeds one half
            shows a level; otherwise the one with the largest confidence does.
        file_order: the level network reads the axial series in the order of the table; otherwise
            the one whose first slice is nearest to the head comes first, as in training.
    """

    exchanged_weight: bool = False
    third_series_window: bool = False
    missing_views_fail: bool = False
    short_series_fail: bool = False
    rounded_confidence: bool = True
    file_order: bool = True

    @classmethod
    def as_published(cls) -> Self:
        """Return all faults."""
        return cls(**dict.fromkeys(KEYS, True))

    @classmethod
    def of(cls, keys: Iterable[str]) -> Self:
        """Return the default with some keys changed.

        Args:
            keys: names of faults to reproduce; ``no-NAME`` mends one; ``all`` reproduces all.

        Raises:
            UsageError: if a key is unknown.
        """
        chosen: dict[str, bool] = {}
        for key in keys:
            name = key.removeprefix("no-").replace("-", "_")
            if key == "all":
                chosen.update(dict.fromkeys(KEYS, True))
            elif name in KEYS:
                chosen[name] = not key.startswith("no-")
            else:
                raise UsageError(
                    f"--as-published {key}: unknown; give all, or some of {', '.join(KEYS)}, "
                    "with no- before what is to be mended"
                )
        return cls(**chosen)

    def __str__(self) -> str:
        return ", ".join(key for key in KEYS if getattr(self, key)) or "none"


#: The names of all faults.
KEYS: tuple[str, ...] = tuple(f.name for f in fields(Faults))
