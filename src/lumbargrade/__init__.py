"""Grades lumbar-spine MRI: canal, foraminal and subarticular stenosis at five disc levels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lumbargrade.dicom.study import read_study as read_study
    from lumbargrade.grading.study import grade_study as grade_study
    from lumbargrade.models.opening import load_model as load_model

__version__ = "0.2.0"

# imported when first asked for, so that light commands never wait for torch
_LAZY = {
    "grade_study": "lumbargrade.grading.study",
    "load_model": "lumbargrade.models.opening",
    "read_study": "lumbargrade.dicom.study",
}

__all__ = ["__version__", "grade_study", "load_model", "read_study"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lumbargrade' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
