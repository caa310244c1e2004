"""Decode with GDCM in a child process, because damaged files can crash GDCM.

GDCM is the only permissively licensed decoder of lossless JPEG, and some damaged streams crash its
process. The child starts when it is first needed. It reads one line of JSON per image (path,
transfer syntax, frame) from its standard input. If it crashes, that file is an error, and the next
file gets a new child. The child ends with its parent.
"""

from __future__ import annotations

import atexit
import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lumbargrade.dicom.opening import DECODE_ERRORS
from lumbargrade.domain.errors import one_line

_PLUGIN = "gdcm"
_OK = "ok"


class _Child:
    """The child process that decodes, one file at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, path: Path, syntax: str, index: int | None) -> np.ndarray:
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                # JSON keeps any path on one line of ASCII
                request = json.dumps([str(path.resolve()), syntax, index])
                process.stdin.write(f"{request}\n".encode())
                process.stdin.flush()
            except OSError:  # a broken pipe; on Windows an invalid argument
                self.close()
                raise RuntimeError("the decoder did not start") from None
            answer = process.stdout.readline().decode().rstrip("\n")
            word, _, rest = answer.partition(" ")
            if word == _OK:
                content = process.stdout.read(int(rest))
                return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
            if word:
                raise RuntimeError(rest)
            self.close()
            raise RuntimeError("the decoder crashed")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
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


def decode(path: Path, syntax: str, index: int | None = None) -> np.ndarray:
    """The pixel array of a file, (rows, columns), decoded by GDCM in a child process.

    Args:
        path: the file.
        syntax: UID of the transfer syntax of its pixels; overrides that of the file.
        index: which frame, from 0; None for a single-frame file.

    Raises:
        RuntimeError: if it cannot be decoded, or if the decoder crashed.
    """
    return _child.decode(path, syntax, index)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each request with ``ok LENGTH`` and an array in npy format, or ``error REASON``."""
    import pydicom
    from pydicom.pixels.utils import pixel_array

    for line in requests:
        try:
            path, syntax, index = json.loads(line)
            dataset = pydicom.dcmread(path, force=True)
            dataset.file_meta.TransferSyntaxUID = syntax
            pixels = pixel_array(dataset, index=index, decoding_plugin=_PLUGIN)
            stored = io.BytesIO()
            np.save(stored, pixels, allow_pickle=False)
            answers.write(f"{_OK} {stored.tell()}\n".encode() + stored.getvalue())
        except DECODE_ERRORS as error:
            answers.write(f"error {one_line(error)}\n".encode())
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
