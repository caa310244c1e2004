"""Networks whose outputs are known, and studies in which they find what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.team_two_stage.members import Member, load_members
from lumbargrade.team_two_stage.state import member_key

Array = NDArray[Any]
Outputs = Mapping[str, Array]

#: Fractions of the frame (x, y) and depth (z) at which the stub point networks find L1/L2 to L5/S1.
X, Y, Z = 0.5, np.linspace(0.2, 0.8, 5), 0.5


def points(count: int, scale: tuple[float, float, float]) -> Array:
    """``count`` times five points, x, y and z in the units of a network."""
    five = np.stack([np.full(5, X), Y, np.full(5, Z)], axis=1)
    return (np.tile(five, (count, 1)) * scale).reshape(1, -1)


def level_logits(slices: int) -> Array:
    """Every level has its slice at (level + 1) / 6 of the stack; logits (1, Z, 2, 5)."""
    at = (np.arange(5) + 1) / 6 * (slices - 1)
    logits = 4 - 4 * np.abs(np.arange(slices)[:, None] - at)
    return np.repeat(logits[:, None], 2, axis=1)[None]


def stub(member: Member, inputs: Outputs, grade: Callable[[Member], float]) -> Outputs:
    """What a network says: known points, and grades that only the network decides."""
    image = inputs.get("image", inputs.get("sagittal"))
    assert image is not None
    assert image.dtype == np.uint8
    group = member.group
    if group in ("sagittal_2d_t1", "sagittal_2d_t2"):
        assert image.shape == (1, 1, 512, 512)
        return {"output": points(1, (1, 1, 0)).reshape(5, 3)[:, :2].reshape(1, 10)}
    if group == "sagittal_3d_both":
        assert image.shape == (1, 2, 48, 256, 256)
        return {"output": points(3, (4, 4, 16))}
    if group in ("sagittal_3d_t1", "sagittal_3d_t2"):
        assert image.shape == (1, 1, 32, 384, 384)
        return {"output": points(2 if group.endswith("t1") else 1, (1, 1, 1))}
    if group == "axial_3d":
        assert image.shape == (1, 1, 96, 256, 256)
        levels = points(2, (4, 4, 16)).reshape(2, 5, 3)
        levels[..., 2] = (np.arange(5) + 1) / 6 * 16
        return {"output": levels.reshape(1, 30)}
    if group == "axial_level":
        assert image.shape[1:] == (224, 224)
        return {"level": np.zeros((1, len(image), 5)), "sides": level_logits(len(image))}
    if group == "axial_2d":
        assert image.shape[1:] == (1, 512, 512)
        return {"output": np.tile([300.0, 256.0, 212.0, 250.0], (len(image), 1))}
    assert image.shape[-2:] == (128, 128)
    groups = {"fused": 5, "t1": 2, "t2": 1, "axial": 2}[group]
    logits = np.zeros((1, groups, 5, 3))
    logits[..., 2] = grade(member)
    return {"logits": logits}


@dataclass
class StubNetworks:
    """`predictor.Networks` whose grading networks say how severe: logits (0, 0, grade)."""

    grade: Callable[[Member], float] = field(default=lambda member: 1.0)
    members: Sequence[Member] = field(default_factory=load_members)
    opened: list[str] = field(default_factory=list)
    version: str = ""
    engine: str = "stub"

    def open(self, member: Member) -> Callable[[Outputs], Outputs]:
        self.opened.append(member_key(member))
        return lambda inputs: stub(member, inputs, self.grade)

    def fingerprint(self, member: Member) -> str:
        return self.version


def made_volume(kind: SeriesKind, series: str, depth: int = 12, seed: int = 0) -> Volume:
    """A series of noise, 64 rows and 80 columns of 4 mm pixels, without files."""
    rng = np.random.default_rng(seed)
    slices = []
    for i in range(depth):
        if kind.sagittal:  # from the patient's left to the right, as our volumes
            position = (20.0 - 4 * i, -100.0, 100.0)
            plane = SlicePlane(position, (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (4.0, 4.0))
        else:
            position = (-150.0, -120.0, 60.0 - 10 * i)
            plane = SlicePlane(position, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (4.0, 4.0))
        slices.append(VolumeSlice(i + 1, plane, 0, (64, 80), f"{i + 1}.dcm"))
    pixels = rng.integers(0, 255, (depth, 64, 80), np.uint8)
    return Volume(pixels, tuple(slices), "study", series, kind, "frame")


@cache
def made_study(*, t1: int = 1, t2: int = 1, axial: int = 1, depth: int = 12) -> list[Volume]:
    """As many series of each kind; made once."""
    counts = zip(SeriesKind, (t1, t2, axial), strict=True)
    return [
        made_volume(kind, f"{kind.name.lower()}-{i}", depth, seed=i)
        for kind, count in counts
        for i in range(count)
    ]
