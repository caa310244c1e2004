"""The precisions in which ``benchmarks.gpu`` computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """How numbers are computed.

    Attributes:
        dtype: mixed-precision type; None computes in fp32.
        tf32: whether matrix products and convolutions of fp32 numbers may round them to TF32.
        tolerance: largest relative difference of a loss part from the CPU's in fp32.
    """

    dtype: torch.dtype | None
    tf32: bool
    tolerance: float

    def on(self, device: torch.device) -> torch.dtype | None:
        """The mixed-precision type on a device; a CPU computes fp16 far too slowly."""
        if self.dtype is torch.float16 and device.type == "cpu":
            return torch.bfloat16
        return self.dtype


# bf16 on a CPU, published networks at 128 px: 0.0001 to 0.012; TF32 and fp16 have 3 bits more
_PRECISIONS = {
    "fp32": Precision(None, tf32=False, tolerance=1e-3),
    "tf32": Precision(None, tf32=True, tolerance=1e-2),
    "fp16": Precision(torch.float16, tf32=False, tolerance=1e-2),
    "bf16": Precision(torch.bfloat16, tf32=False, tolerance=5e-2),
}


def precision_of(name: str) -> Precision:
    """A precision by its name."""
    return _PRECISIONS[name]


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """Allow TF32 or forbid it inside the block; torch's own default allows it in convolutions."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = precision.tf32
    try:
        yield
    finally:
        for place, was in zip(places, before, strict=True):
            place.allow_tf32 = was
