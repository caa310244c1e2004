"""``submit``: CPU time per study and peak memory, by number of studies and by system.

One untrained ``cpu-small`` model per recipe, so that reading and cropping count for much. DICOM to
submission on one thread, in a process of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import child
from benchmarks.studies import make_studies, repeat_studies, save_untrained

SAGITTAL = ("cpu-small/foraminal", "cpu-small/canal")
ONE_STAGE = (*SAGITTAL, "cpu-small/subarticular")
TWO_STAGES = ("cpu-small/keypoints-t1", "cpu-small/keypoints-t2", "cpu-small/two-stage")

by_studies = pytest.mark.benchmark(group="`submit` per study, by studies", timer=child.cpu_s)
by_system = pytest.mark.benchmark(group="`submit` per study, by system", timer=child.cpu_s)


@pytest.fixture(scope="module")
def studies(tiny: bool) -> int:
    """Studies of the data set."""
    return 1 if tiny else 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, studies: int) -> Path:
    """The data set."""
    return make_studies(tmp_path_factory.mktemp("data") / "data", studies, split="test")


def submit(
    measure: child.Measure, folder: Path, data: Path, studies: int, recipes: tuple[str, ...]
) -> None:
    """Benchmark ``submit`` with untrained models of some recipes."""
    save_untrained(folder / "models", recipes)
    options = ("--models", folder / "models", "--device", "cpu", "--out", folder / "out.csv")
    arguments = ("submit", data, "--workers", "0", *options)  # what is measured is one process
    measure(child.command, *arguments, per=studies)


@by_studies
@pytest.mark.parametrize("listed", [10, 40])
def bench_studies(
    measure: child.Measure, tmp_path: Path, data: Path, studies: int, listed: int, tiny: bool
) -> None:
    times = 1 if listed == 10 else 2 if tiny else 4
    many = repeat_studies(data, tmp_path / "data", times)
    submit(measure, tmp_path, many, studies * times, SAGITTAL)


@by_system
def bench_one_stage(measure: child.Measure, tmp_path: Path, data: Path, studies: int) -> None:
    submit(measure, tmp_path, data, studies, ONE_STAGE)


@by_system
def bench_one_stage_without_subarticular(
    measure: child.Measure, tmp_path: Path, data: Path, studies: int
) -> None:
    submit(measure, tmp_path, data, studies, SAGITTAL)


@by_system
def bench_two_stages(measure: child.Measure, tmp_path: Path, data: Path, studies: int) -> None:
    submit(measure, tmp_path, data, studies, TWO_STAGES)
