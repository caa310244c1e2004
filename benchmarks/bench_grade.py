"""Grading with the starter: how the cost grows with slices and image size.

The study is a phantom in RLE. *By output* is `grade` from DICOM files to the page, each run a
process of its own; the other groups go from volumes to findings. `benchmarks.scaling` has many
studies.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from benchmarks import child, enlarged
from benchmarks.studies import make_studies

by_output = pytest.mark.benchmark(group="`grade` of a study, by output", timer=child.cpu_s)
by_slices = pytest.mark.benchmark(group="starter, by sagittal slices", timer=child.cpu_s)
by_size = pytest.mark.benchmark(group="starter, by image size", timer=child.cpu_s)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom studies in the LSDC layout."""
    return make_studies(tmp_path_factory.mktemp("phantoms") / "data", 1)


@pytest.fixture(scope="module")
def study(phantoms: Path) -> Path:
    """The first phantom study."""
    return min((phantoms / "train_images").iterdir())


def grade(measure: child.Measure, images: Path, out: Path, *options: str) -> None:
    def remove() -> None:
        shutil.rmtree(out, ignore_errors=True)

    command = ("grade", images, "--out", out, *options)
    measure(child.command, *command, setup=remove)


@by_output
def bench_with_pictures(measure: child.Measure, study: Path, tmp_path: Path) -> None:
    grade(measure, study, tmp_path / "out")


@by_output
def bench_without_pictures(measure: child.Measure, study: Path, tmp_path: Path) -> None:
    grade(measure, study, tmp_path / "out", "--no-pictures")


@by_slices
@pytest.mark.parametrize("slices", [8, 32, 64])
def bench_slices(measure: child.Measure, study: Path, slices: int, tiny: bool) -> None:
    measure(enlarged.prepared, study, 3 if tiny else slices, 0)


@by_size
@pytest.mark.parametrize("size", [256, 512, 1024])
def bench_pixels(measure: child.Measure, study: Path, size: int, tiny: bool) -> None:
    measure(enlarged.prepared, study, 3 if tiny else 0, size // 4 if tiny else size)
