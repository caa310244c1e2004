"""Making a phantom study, against writing as many slices of noise with bare pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lumbargrade.phantom.dataset import Settings, make_dataset
from lumbargrade.phantom.study import plan_study

SEED = 1

pytestmark = pytest.mark.benchmark(group="making phantom studies")


def slice_shapes(studies: int) -> list[tuple[int, int]]:
    """(rows, columns) of every slice of the first phantom studies."""
    series = [s for study in range(studies) for s in plan_study(SEED, study).series]
    return [s.shape for s in series for _ in s.planes]


def bare(out: Path, shapes: Sequence[tuple[int, int]]) -> None:
    """Slices of these sizes, of noise, one minimal file each."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate(shapes):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.Rows, data.Columns = shape
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.SamplesPerPixel, data.PixelRepresentation = 15, 1, 0
        data.PhotometricInterpretation = "MONOCHROME2"
        data.PixelData = rng.integers(0, 1000, shape, np.uint16).tobytes()
        data.save_as(out / f"{i}.dcm", enforce_file_format=True)


@pytest.fixture
def studies(tiny: bool) -> int:
    """How many studies are made in one round."""
    return 1 if tiny else 3


def bench_bare_pydicom_and_noise(benchmark: Any, tmp_path: Path, studies: int) -> None:
    shapes = slice_shapes(studies)
    benchmark(bare, tmp_path, shapes)
    assert len(list(tmp_path.iterdir())) == len(shapes)


def bench_lumbargrade(
    benchmark: Any, tmp_path_factory: pytest.TempPathFactory, studies: int
) -> None:
    settings = Settings(studies, SEED, 0, "train", "explicit")
    benchmark(lambda: make_dataset(tmp_path_factory.mktemp("data") / "data", settings))
