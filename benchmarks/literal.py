"""A literal implementation of the published foraminal network, with the weights of ours.

It repeats every slice to three channels, sends all slices through the encoder at once, projects the
volume to 128 channels, and pools it under each heatmap. The loss and the optimiser are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from lumbargrade.config import load_recipe
from lumbargrade.inference.base import MASK_STRIDE
from lumbargrade.models.registry import get_task
from lumbargrade.models.series_task import Batch
from lumbargrade.networks.one_stage import OneStageOutput
from lumbargrade.networks.recompute import activations, fewest, peak_of, recomputing, units

RECIPE = "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01"


def literal_forward(network: Any, slices: Any, counts: Sequence[int]) -> Any:
    """Section 4 of the specification step by step, with the parameters of one of our networks."""
    colour = ((slices.float() / 255 - 0.5) / 0.5).unsqueeze(1).repeat(1, 3, 1, 1)
    maps = network.encoder.model(colour)
    head = network.head
    heatmaps, xyz, pooled = [], [], []
    for volume in zip(*(torch.split(m, list(counts)) for m in maps), strict=True):
        *skips, x = (m.transpose(0, 1).unsqueeze(0) for m in volume)
        for block, skip in zip(network.decoder.blocks, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
            x = block.second(block.first(torch.cat([x, skip], dim=1)))
        logits = head.points(x)[0]
        heat = logits.flatten(1).softmax(dim=1).view(logits.shape)
        features = F.conv3d(x, head.project.weight[:, :, None, None, None], head.project.bias)[0]
        pooled.append(torch.stack([(features * h).sum(dim=(1, 2, 3)) for h in heat]))
        axes = [torch.arange(n, dtype=heat.dtype, device=heat.device) for n in heat.shape[1:]]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        xyz.append(torch.stack([(heat * c).sum(dim=(1, 2, 3)) for c in (x, y, z)], dim=-1))
        heatmaps.append(heat)
    features = torch.stack(pooled)
    logits = head.grade(features.flatten(0, 1)).view(*features.shape[:2], 3)
    points = torch.stack(xyz)
    return OneStageOutput(
        grade=logits.softmax(-1),
        log_grade=logits.log_softmax(-1),
        xy=points[..., :2],
        z=points[..., 2],
        counts=tuple(counts),
        volume_heatmaps=tuple(heatmaps),
    )


def batch_of(depth: int, size: int) -> Batch:
    """One volume of noise with ten graded points."""
    generator = torch.Generator().manual_seed(0)
    slices = torch.randint(0, 256, (depth, size, size), generator=generator).to(torch.uint8)
    share = torch.rand((1, 10, 3), generator=generator)
    return Batch(
        slices=slices,
        counts=[depth],
        xy=share[..., :2] * (size / MASK_STRIDE - 1),
        z=share[..., 2] * (depth - 1),
        annotated=torch.ones((1, 10), dtype=torch.bool),
        grade=torch.randint(0, 3, (1, 10), generator=generator),
        samples=[],
    )


def work_of(
    implementation: str, trains: bool, largest: Batch, encoder: str = ""
) -> Callable[[Any], Any]:
    """A function from a batch to the output of one step on it.

    The learning rate is 0, so that every step does the same work on the same weights.

    Args:
        implementation: ``ours``, ``literal``, ``least`` (recomputes all blocks), or a share of the
            memory of ``ours`` such as ``0.5``, within which blocks are recomputed.
        trains: whether the step is a training step, or inference.
        largest: the batch for which the blocks are chosen.
        encoder: a timm name instead of the recipe's encoder.
    """
    torch.manual_seed(0)
    recipe = load_recipe(RECIPE)
    recipe = replace(
        recipe,
        encoder=replace(recipe.encoder, name=encoder or recipe.encoder.name, pretrained=False),
    )
    task = get_task(recipe)
    network: Any = task.build_network().train(trains)
    if implementation == "literal":
        # the specification says nothing of memory layouts, so torch's own
        network = network.to(memory_format=torch.contiguous_format)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.0)
    blocks = units(network)

    def forward(batch: Any) -> Any:
        if implementation == "literal":
            return literal_forward(network, batch.slices, batch.counts)
        return network(batch.slices, batch.counts)

    def infer(batch: Any) -> Any:
        with torch.inference_mode():
            return forward(batch)

    def choose(batch: Any) -> tuple[str, ...]:
        """The blocks that are recomputed, as training chooses them for a budget."""
        if implementation in ("ours", "literal"):
            return ()
        if implementation == "least":
            return tuple(blocks)
        parts = activations(network, lambda: task.loss(forward(batch), batch))
        fixed = 4 * sum(p.nbytes for p in network.parameters())  # with gradients and moments
        budget = float(implementation) * (fixed + peak_of(parts, ()))
        found = fewest(parts, budget - fixed)
        return tuple(blocks) if found is None else found  # weights alone need more, if tiny

    chosen = [blocks[name] for name in choose(largest)] if trains else []

    def train(batch: Any) -> Any:
        optimiser.zero_grad()
        with recomputing(chosen):
            output = forward(batch)
        task.loss(output, batch).total.backward()
        optimiser.step()
        return output

    return train if trains else infer


def prepared(implementation: str, trains: str, tiny: str) -> Callable[[], object]:
    """One step as work for :func:`benchmarks.child.measure`, which gives its arguments as text.

    A step on a small volume comes first: it starts threads and makes the optimiser's state.
    """
    small = tiny == "True"
    batch = batch_of(*((3, 64) if small else (15, 320)))
    work = work_of(implementation, trains == "True", batch, "pvt_v2_b0" if small else "")
    work(batch_of(2, 64))
    return lambda: work(batch)
