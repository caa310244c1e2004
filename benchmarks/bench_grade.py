"""Grading with the starter: how the cost grows with studies, slices and image size.

The studies are phantoms in RLE. *By studies* is `grade` from DICOM files to pages and pictures,
each run a process of its own; the other groups go from volumes to findings.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from benchmarks import child, enlarged
from benchmarks.studies import make_studies, repeat_studies

by_studies = pytest.mark.benchmark(group="`grade` per study, by studies", timer=child.cpu_s)
by_output = pytest.mark.benchmark(group="`grade` of a study, by output", timer=child.cpu_s)
by_slices = pytest.mark.benchmark(group="starter, by sagittal slices", timer=child.cpu_s)
by_size = pytest.mark.benchmark(group="starter, by image size", timer=child.cpu_s)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory, tiny: bool) -> Path:
    """Phantom studies in the LSDC layout."""
    return make_studies(tmp_path_factory.mktemp("phantoms") / "data", 1 if tiny else 4)


@pytest.fixture(scope="module")
def study(phantoms: Path) -> Path:
    """The first phantom study."""
    return min((phantoms / "train_images").iterdir())


def grade(measure: child.Measure, images: Path, out: Path, studies: int, *options: str) -> None:
    def remove() -> None:
        shutil.rmtree(out, ignore_errors=True)

    command = ("grade", images, "--out", out, *options)
    measure(child.command, *command, per=studies, setup=remove)


@by_studies
@pytest.mark.parametrize("studies", [4, 16, 32])
def bench_studies(
    measure: child.Measure, phantoms: Path, tmp_path: Path, studies: int, tiny: bool
) -> None:
    times = 1 if tiny else studies // 4
    many = repeat_studies(phantoms, tmp_path / "data", times) / "train_images"
    listed = len(list(many.iterdir()))
    grade(measure, many, tmp_path / "out", listed)
    with (tmp_path / "out" / "summary.json").open() as summary:
        assert len(json.load(summary)["studies"]) == listed


@by_output
def bench_with_pictures(measure: child.Measure, study: Path, tmp_path: Path) -> None:
    grade(measure, study, tmp_path / "out", 1)


@by_output
def bench_without_pictures(measure: child.Measure, study: Path, tmp_path: Path) -> None:
    grade(measure, study, tmp_path / "out", 1, "--no-pictures")


@by_slices
@pytest.mark.parametrize("slices", [8, 32, 64])
def bench_slices(measure: child.Measure, study: Path, slices: int, tiny: bool) -> None:
    measure(enlarged.prepared, study, 3 if tiny else slices, 0)


@by_size
@pytest.mark.parametrize("size", [256, 512, 1024])
def bench_pixels(measure: child.Measure, study: Path, size: int, tiny: bool) -> None:
    measure(enlarged.prepared, study, 3 if tiny else 0, size // 4 if tiny else size)
