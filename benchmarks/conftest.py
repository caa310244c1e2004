"""Options and fixtures of all benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import pytest
import SimpleITK
import torch
from benchmarks import child


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tiny", action="store_true", help="small work: do the benchmarks run?")


@pytest.fixture(scope="session")
def tiny(request: pytest.FixtureRequest) -> bool:
    """Whether the work is small."""
    return bool(request.config.getoption("tiny"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread for all libraries: threads that wait for a core count as CPU time."""
    cv2.setNumThreads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)


@pytest.fixture
def measure(benchmark: Any, tiny: bool) -> Callable[..., None]:
    """:func:`benchmarks.child.measure`; tiny work needs no process of its own."""
    return partial(child.measure, benchmark, here=tiny)
