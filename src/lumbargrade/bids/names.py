"""Names of files in BIDS: entities and suffix (BIDS 1.10, common principles)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.dicom.opening import NIFTI_ENDINGS

_NAME = re.compile(r"(?P<entities>(?:[a-z]+-[A-Za-z0-9]+_)+)(?P<suffix>[A-Za-z0-9]+)")


@dataclass(frozen=True)
class BidsName:
    """The name of a file.

    Attributes:
        entities: such as ``{"sub": "01", "acq": "sag"}``, in their order.
        suffix: such as ``T2w``.
    """

    entities: Mapping[str, str]
    suffix: str

    @classmethod
    def parse(cls, file: str) -> BidsName | None:
        """Parse the name of an image; None if it is not one of BIDS with a subject."""
        stem = stem_of(file)
        match = _NAME.fullmatch(stem)
        if match is None:
            return None
        pairs = [part.split("-", 1) for part in match["entities"].rstrip("_").split("_")]
        entities = dict(pairs)
        if len(entities) < len(pairs) or next(iter(entities)) != "sub":
            return None
        return cls(entities, match["suffix"])

    @property
    def subject(self) -> str:
        """Subject and session as they begin the name, such as ``sub-01_ses-02``."""
        return "_".join(f"{k}-{self.entities[k]}" for k in ("sub", "ses") if k in self.entities)

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return "_".join([*(f"{k}-{v}" for k, v in self.entities.items()), self.suffix])


def stem_of(file: str) -> str:
    """The name of an image without its ending."""
    for ending in NIFTI_ENDINGS:
        if file.endswith(ending):
            return file.removesuffix(ending)
    return file


def sidecars_of(image: Path, name: BidsName) -> list[Path]:
    """The JSON files that hold for an image, from general to special (inheritance principle).

    These are the files in the folders from that of the data set to that of the image whose suffix
    is that of the image and whose entities it has too.
    """
    above = [image.parent, *image.parent.parents]
    depth = next((i for i, p in enumerate(above) if p.name.startswith("sub-")), 0)
    while depth + 1 < len(above) and above[depth].name.startswith(("sub-", "ses-")):
        depth += 1
    found = []
    for folder in reversed(above[: depth + 1]):
        own = [p for p in folder.glob(f"*{name.suffix}.json") if _holds(p, name)]
        found += sorted(own, key=lambda p: len(p.name))
    return found


def _holds(sidecar: Path, name: BidsName) -> bool:
    stem = sidecar.name.removesuffix(".json")
    if stem == name.suffix:
        return True
    match = _NAME.fullmatch(stem)
    if match is None or match["suffix"] != name.suffix:
        return False
    parts = match["entities"].rstrip("_").split("_")
    return all(name.entities.get(k) == v for k, _, v in (p.partition("-") for p in parts))
