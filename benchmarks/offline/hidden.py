"""Data in the layout of the hidden test, with what can be wrong there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pydicom

from lumbargrade.kaggle.kit import COMPETITION
from lumbargrade.phantom.dataset import Settings, make_dataset

#: Tags that images of the hidden test may lack, and one that LSDC images never have.
_ABSENT = ("SpacingBetweenSlices", "SliceThickness", "PatientPosition", "FrameOfReferenceUID")


@dataclass(frozen=True)
class Hidden:
    """Where the data are.

    Attributes:
        data: the competition's folder: images, series descriptions and sample submission.
        solution: the true grades, elsewhere.
        studies: ids of all studies.
        untagged: study whose images lack tags.
        damaged: study with a damaged image and one that is not DICOM.
        lost: study without images.
    """

    data: Path
    solution: Path
    studies: tuple[str, ...]
    untagged: str
    damaged: str
    lost: str


def make_hidden(inputs: Path, elsewhere: Path, studies: int = 4) -> Hidden:
    """Write phantom studies where Kaggle has the competition, and damage three of them."""
    made = elsewhere / "phantoms"
    make_dataset(made, Settings(studies, 11, 500, "test", "rle"))
    data = inputs / "competitions" / COMPETITION
    data.mkdir(parents=True)
    for name in ("test_images", "test_series_descriptions.csv", "sample_submission.csv"):
        shutil.move(made / name, data / name)
    ids = sorted(path.name for path in (data / "test_images").iterdir())
    untagged, damaged, lost = ids[:3]
    for file in (data / "test_images" / untagged).rglob("*.dcm"):
        image = pydicom.dcmread(file)
        for tag in _ABSENT:
            if tag in image:
                delattr(image, tag)
        image.save_as(file)
    first, second, *_ = sorted((data / "test_images" / damaged).rglob("*.dcm"))
    first.write_bytes(first.read_bytes()[:-2000])
    second.write_bytes(b"not an image")
    shutil.rmtree(data / "test_images" / lost)
    return Hidden(data, made / "solution.csv", tuple(ids), untagged, damaged, lost)
