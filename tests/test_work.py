"""How much work is done, in counts that are the same on every machine.

These tests fail if a change makes networks larger, runs them more often or on more pixels, or makes
reading and augmentation hold more memory. Where more work is meant, the numbers are changed here.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lumbargrade import read_study
from lumbargrade.config import load_recipe
from lumbargrade.dicom.study import Study
from lumbargrade.domain.vocabulary import Condition, Level
from lumbargrade.models.registry import get_task
from lumbargrade.sampling.series import make_sample
from lumbargrade.starter.axial import NEAR
from lumbargrade.starter.grid import SagittalGrid
from lumbargrade.starter.model import Starter, open_starter
from lumbargrade.starter.weights_file import SHIPPED, OnnxNetwork, Weights
from made_series import make_row, make_volume

#: Multiply-adds of a forward of three slices of 96 x 96, in millions, counted twice as usual.
OPERATIONS = {
    "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01": 19_804,
    "one-stage-nfn-fixed/convnext_small-decoder3d-01": 19_885,
    "one-stage-scs/pvt_v2_b4-decoder2d-01": 13_792,
    "one-stage-scs/effnet_b4-decoder2d-01": 4_270,
    "cpu-small/foraminal": 465,
    "cpu-small/canal": 360,
}


@pytest.mark.parametrize("recipe", OPERATIONS)
def test_a_network_does_not_grow(recipe: str) -> None:
    network = get_task(load_recipe(recipe)).build_network(pretrained=False).eval()
    slices = torch.zeros(3, 96, 96, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(slices, [3])
    assert round(counter.get_total_flops() / 1e6) == OPERATIONS[recipe]


class Counted(OnnxNetwork):
    """A network that notes the shape of every batch it is given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.shapes.append(image.shape)
        return super().__call__(image)


@pytest.fixture(scope="module")
def study(phantom_store: Path) -> Study:
    images = phantom_store.with_name("data") / "train_images"
    return read_study(min(images.iterdir()))


def test_the_starter_sees_each_slice_once_and_no_more_pixels_than_it_needs(study: Study) -> None:
    weights = open_starter().weights
    networks = {name: Counted(SHIPPED / f"{name}.onnx") for name in weights.networks}
    found = Starter(Weights(weights.manifest, networks)).predict("1", study.volumes)
    assert found.findings
    sagittal = [SagittalGrid.of(v).images for v in study.volumes if v.kind and v.kind.sagittal]
    pixels = sum(int(np.prod(s)) for s in networks["sagittal"].shapes)
    assert pixels == 3 * sum(images.size for images in sagittal)  # a slice and its neighbours
    axial = [v for v in study.volumes if v.kind and not v.kind.sagittal]
    gap = min(abs(np.diff([s.plane.projection for s in v.slices])).min() for v in axial)
    seen = sum(s[0] for s in networks["axial"].shapes)
    assert len(networks["axial"].shapes) <= len(Level) * len(axial)
    assert seen <= len(Level) * len(axial) * (2 * NEAR / gap + 1)


def peak_mib(work: object) -> float:
    """Peak memory that a call allocates, MiB."""
    tracemalloc.start()
    try:
        kept = work()  # type: ignore[operator]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept is not None
    return peak / 2**20


def test_a_sample_holds_a_few_copies_of_its_slices_and_no_more() -> None:
    volume = make_volume(15, 512, 512)
    row = make_row(Condition.FORAMINAL, 15)
    sample = make_sample(volume, row, size=320)
    size = sample.image.nbytes / 2**20
    assert peak_mib(lambda: make_sample(volume, row, size=320)) < 3 * size
