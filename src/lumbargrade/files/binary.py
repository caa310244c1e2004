"""Read the beginning of binary files: what they are, and the metadata of weight files."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import BadModel

#: First bytes of a Git LFS pointer, which replaces a file that was not fetched.
_LFS_POINTER = b"version https://git-lfs"

#: Bytes of printable ASCII text.
_TEXT = bytes([*range(0x20, 0x7F), *b"\t\n\r\f"])

#: The header of a safetensors file is at most this long (its own limit).
_LONGEST_HEADER = 100_000_000


def require_binary(path: Path) -> None:
    """Check that a file holds binary data.

    Raises:
        BadModel: if the file is a Git LFS pointer, a web page, other text, or empty.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(_LFS_POINTER):
        raise BadModel(
            f"{path}: a Git LFS pointer instead of the weights; fetch the weights with "
            "`git lfs pull`, or download them"
        )
    if not start:
        raise BadModel(f"{path}: damaged: the file is empty; download or copy it again")
    text = start.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise BadModel(
            f"{path}: a web page instead of weights, probably a login or error page; download the "
            "file again and check it"
        )
    if not start.translate(None, _TEXT):
        first = start.decode("ascii").strip().splitlines()[:1]
        raise BadModel(
            f"{path}: a text file instead of weights, which begins with {''.join(first)[:60]!r}; "
            "download the weights again"
        )


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in the header of a safetensors file, without reading its tensors.

    The file begins with the length of the header (8 bytes, little endian), then the header as JSON:
    each tensor's place, and the metadata. The package safetensors is not needed.

    Raises:
        BadModel: if the file is damaged or no safetensors file.
        OSError: if the file cannot be read.
    """
    require_binary(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise BadModel(f"{path}: damaged or not a model: no complete header")
        content = stream.read(length)
    try:
        header: dict[str, Any] = json.loads(content)
        end = max(
            (t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0
        )
        metadata = {str(k): str(v) for k, v in header.get("__metadata__", {}).items()}
    except (ValueError, TypeError, AttributeError, LookupError):
        raise BadModel(f"{path}: damaged or not a model: its header cannot be read") from None
    if size != 8 + length + end:
        raise BadModel(f"{path}: damaged: {size} bytes instead of {8 + length + end}")
    return metadata
