"""Decode with GDCM in a child process, because damaged files can crash GDCM.

GDCM is the only permissively licensed decoder of lossless JPEG, and some damaged streams crash its
process. The child starts when it is first needed. For each image it reads a line of JSON (transfer
syntax, description of the pixels, number of bytes) and then the compressed bytes from its standard
input. If it crashes, that file is an error, and the next file gets a new child. The child ends with
its parent.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from io import BufferedReader
from typing import Any, BinaryIO, cast

import numpy as np

from lumbargrade.dicom.opening import DECODE_ERRORS
from lumbargrade.domain.errors import one_line

_OK = "ok"

#: For the child's malloc (glibc): keep the memory of a frame for the next one. Otherwise every
#: frame gets fresh pages, which takes a third of the time of decoding.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


class _Child:
    """The child process that decodes, one file at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, encapsulated: bytes, syntax: str, options: Mapping[str, Any]) -> np.ndarray:
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                request = json.dumps([syntax, dict(options), len(encapsulated)])
                process.stdin.write(f"{request}\n".encode())
                process.stdin.write(encapsulated)
                process.stdin.flush()
            except OSError:  # a broken pipe; on Windows an invalid argument
                self.close()
                raise RuntimeError("the decoder did not start") from None
            answer = process.stdout.readline().decode().rstrip("\n")
            word, _, rest = answer.partition(" ")
            if word == _OK:
                kind, *shape = rest.split()
                pixels = np.empty(tuple(map(int, shape)), kind)
                stdout = cast(BufferedReader, process.stdout)
                if stdout.readinto(pixels.data.cast("B")) == pixels.nbytes:
                    return pixels
            elif word:
                raise RuntimeError(rest)
            self.close()
            raise RuntimeError("the decoder crashed")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                env={**os.environ, **_KEEP_MEMORY},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process

    def close(self) -> None:
        """Kill the child, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


_child = _Child()
atexit.register(_child.close)


def decode(encapsulated: bytes, syntax: str, options: Mapping[str, Any]) -> np.ndarray:
    """The pixel array of a frame, (rows, columns), decoded by GDCM in a child process.

    Args:
        encapsulated: the frame, encapsulated as in a file.
        syntax: UID of its transfer syntax.
        options: what describes the pixels, for pydicom's decoder.

    Raises:
        RuntimeError: if it cannot be decoded, or if the decoder crashed.
    """
    return _child.decode(encapsulated, syntax, options)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each request with ``ok TYPE SHAPE`` and the pixels, or with ``error REASON``."""
    from pydicom.pixels.decoders.base import get_decoder

    from lumbargrade.dicom.decoders import JPEG_DECODERS

    for line in requests:
        syntax, options, count = json.loads(line)
        encapsulated = requests.read(count)
        try:
            try:
                decoder = JPEG_DECODERS[syntax]
                pixels, _ = decoder.as_array(encapsulated, decoding_plugin="codec", **options)
            except DECODE_ERRORS:
                decoder = get_decoder(syntax)
                pixels, _ = decoder.as_array(encapsulated, decoding_plugin="gdcm", **options)
            head = " ".join(map(str, (_OK, pixels.dtype.str, *pixels.shape)))
            answers.write(f"{head}\n".encode())
            answers.write(np.ascontiguousarray(pixels).data)
        except DECODE_ERRORS as error:
            answers.write(f"error {one_line(error)}\n".encode())
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
