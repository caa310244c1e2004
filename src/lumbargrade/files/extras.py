"""Name the extra of this package that has a package which is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lumbargrade.domain.errors import UsageError

#: Packages by the names that are imported -> the extra of this package that installs them.
EXTRA_OF = {
    "dicomweb_client": "serve",
    "fsspec": "cloud",
    "gcsfs": "cloud",
    "nibabel": "bids",
    "onnx": "train",
    "onnxscript": "train",
    "openvino": "openvino",
    "prometheus_client": "serve",
    "pynetdicom": "serve",
    "python_multipart": "serve",
    "ray": "ray",
    "requests": "serve",
    "s3fs": "cloud",
    "safetensors": "train",
    "starlette": "serve",
    "tensorboard": "train",
    "timm": "train",
    "torch": "train",
    "uvicorn": "serve",
}


@contextmanager
def needs_extra(what: str) -> Iterator[None]:
    """Replace the error that a package of an extra is missing by one that says so.

    Args:
        what: what needs the package, to begin the text with.

    Raises:
        UsageError: if a package of an extra is imported but not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise UsageError(
            f"{what} needs {package}, which is not installed; "
            f"install it with `pip install 'lumbargrade[{EXTRA_OF[package]}]'`"
        ) from error
