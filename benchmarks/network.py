"""The published foraminal network against a literal reading of its specification.

One training step and one inference with the pvt_v2_b4 encoder: CPU time on one thread, so that what
else the machine does hardly counts, and peak memory of a process that does nothing else.
``python -m benchmarks.network`` prints the section of docs/benchmarks.md.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.common import (
    Row,
    Section,
    against,
    held_mib,
    main,
    number,
    peak_mib,
    progress,
    ratio,
    run_child,
)

RECIPE = "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01"

#: Cases in the order of the table: name -> (implementation, whether it trains).
CASES = {
    "inference, ours": ("ours", False),
    "inference, literal": ("literal", False),
    "training step, ours": ("ours", True),
    "training step, ours, gradient checkpoints": ("checkpointed", True),
    "training step, literal": ("literal", True),
}


def literal_forward(network: Any, slices: Any, counts: Sequence[int]) -> Any:
    """Section 4 of the specification step by step, with the parameters of one of our networks."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    from lumbargrade.networks.one_stage import OneStageOutput

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
        axes = [torch.arange(n, dtype=heat.dtype) for n in heat.shape[1:]]
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


def batch_of(depth: int, size: int) -> Any:
    """One volume of noise with ten graded points."""
    import torch

    from lumbargrade.models.one_stage import Batch
    from lumbargrade.models.task import MASK_STRIDE

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


def work_of(implementation: str, trains: bool, encoder: str = "") -> Callable[[Any], Any]:
    """A function from a batch to the output of one step on it.

    The learning rate is 0, so that every step does the same work on the same weights.

    Args:
        implementation: ``ours``, ``checkpointed`` or ``literal``.
        trains: whether the step is a training step, or inference.
        encoder: a timm name instead of the recipe's encoder.
    """
    import torch

    from lumbargrade.config import load_recipe
    from lumbargrade.models.registry import get_task

    torch.manual_seed(0)
    recipe = load_recipe(RECIPE)
    settings = replace(recipe.network, checkpoint_gradients=implementation == "checkpointed")
    recipe = replace(
        recipe,
        network=settings,
        encoder=replace(recipe.encoder, name=encoder or recipe.encoder.name, pretrained=False),
    )
    task = get_task(recipe)
    network: Any = task.build_network().train(trains)
    if implementation == "literal":
        # the specification says nothing of memory layouts, so torch's own
        network = network.to(memory_format=torch.contiguous_format)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.0)

    def forward(batch: Any) -> Any:
        if implementation == "literal":
            return literal_forward(network, batch.slices, batch.counts)
        return network(batch.slices, batch.counts)

    def infer(batch: Any) -> Any:
        with torch.inference_mode():
            return forward(batch)

    def train(batch: Any) -> Any:
        optimiser.zero_grad()
        output = forward(batch)
        task.loss(output, batch).total.backward()
        optimiser.step()
        return output

    return train if trains else infer


def measure(case: str, depth: int, size: int, steps: int) -> dict[str, Any]:
    """CPU times, peak memory and outputs of one case in this process.

    A step on a small volume comes first: it starts threads and makes the optimiser's state.
    """
    work = work_of(*CASES[case])
    work(batch_of(2, 64))
    batch = batch_of(depth, size)
    seconds, held = [], held_mib()
    for _ in range(steps):
        start = time.process_time()
        output = work(batch)
        seconds.append(time.process_time() - start)
    flat = {k: getattr(output, k).detach().flatten().tolist() for k in ("grade", "xy", "z")}
    return {"seconds": seconds, "held_mib": held, "peak_mib": peak_mib(), "output": flat}


def run(quick: bool = False) -> list[Row]:
    """Every case in a process of its own, one training step or the median of a few inferences.

    Returns:
        One row per case: CPU seconds, peak memory, and the largest difference of grade, xy and z
        from the literal implementation.
    """
    depth, size, inferences = (3, 64, 1) if quick else (15, 320, 3)
    found: dict[str, dict[str, Any]] = {}
    for case, (_, trains) in CASES.items():
        progress(f"  {case}")
        steps = 1 if trains else inferences
        found[case] = run_child("benchmarks.network", "case", case, depth, size, steps)
    return [
        {
            "shape": [depth, size, size],
            "case": case,
            "seconds": statistics.median(result["seconds"]),
            "peak_mib": result["peak_mib"],
            "step_mib": result["peak_mib"] - result["held_mib"],
            "difference": _difference(result, found[literal_of(case)]),
        }
        for case, result in found.items()
    ]


def literal_of(case: str) -> str:
    """The case that a case is compared with."""
    return case.split(",")[0] + ", literal"


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    pairs = [zip(v, other["output"][k], strict=True) for k, v in one["output"].items()]
    return max(abs(a - b) for pair in pairs for a, b in pair)


def sections(rows: list[Row]) -> list[Section]:
    """One table."""
    by_case = {row["case"]: row for row in rows}
    shape = " x ".join(map(str, rows[0]["shape"]))
    cells = []
    for case, row in by_case.items():
        literal = by_case[literal_of(case)]
        cells.append(
            [
                case,
                number(row["seconds"]),
                ratio(row["seconds"] / literal["seconds"]),
                number(row["peak_mib"]),
                ratio(row["peak_mib"] / literal["peak_mib"]),
                number(row["step_mib"]),
                ratio(row["step_mib"] / literal["step_mib"]),
            ]
        )
    return [
        Section(
            f"The published foraminal network (pvt_v2_b4) at {shape}",
            " ".join(_shows(by_case, case) for case in by_case if case != literal_of(case)),
            "a literal implementation of the specification with the same weights",
            "*Literal* repeats every slice to three channels, sends all slices through the encoder "
            "at once, projects the volume to 128 channels, and pools it under each heatmap; the "
            "rest is the same, the loss and the optimiser too. Outputs differ by at most "
            f"{max(r['difference'] for r in rows):.0e} (probabilities, pixels, slices). One "
            "volume in fp32 on one thread; CPU time of one training step and median of three "
            "inferences, each case in a process of its own; *the step's* memory is what the "
            "process holds more than before.",
            ["", "CPU s", "ratio", "peak MiB", "ratio", "of it the step's", "ratio"],
            cells,
        )
    ]


def _shows(by_case: dict[str, Row], case: str) -> str:
    row, literal = by_case[case], by_case[literal_of(case)]
    whole = ratio(row["peak_mib"] / literal["peak_mib"])
    speed = against(row["seconds"] / literal["seconds"], "the literal one")
    return f"{case.capitalize()}: {speed}, with {whole} of its peak memory."


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        print(json.dumps(measure(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main("benchmarks.network", run, sections)
