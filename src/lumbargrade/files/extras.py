"""Name the extra of this package that has a package which is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lumbargrade.domain.errors import UsageError

#: Packages of the extra ``train``, by the names that are imported.
TRAIN = frozenset({"onnx", "onnxscript", "safetensors", "tensorboard", "timm", "torch"})


@contextmanager
def train_extra(what: str) -> Iterator[None]:
    """Replace the error that a package of the extra ``train`` is missing by one that says so.

    Args:
        what: what needs the package, to begin the text with.

    Raises:
        UsageError: if a package of the extra is imported but not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in TRAIN:
            raise
        raise UsageError(
            f"{what} needs {package}, which is not installed; "
            "install it with `pip install 'lumbargrade[train]'`"
        ) from error
