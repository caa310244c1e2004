"""The published foraminal network against a literal reading of its specification.

One training step and one inference at 15 x 320 x 320 with the pvt_v2_b4 encoder: time, and peak
memory of a process that does nothing else. ``python -m benchmarks.network`` prints the rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

#: Cases in the order of the table: name -> (implementation, whether it trains).
CASES = {
    "inference": ("ours", False),
    "inference, literal": ("literal", False),
    "training step": ("ours", True),
    "training step, gradient checkpoints": ("checkpointed", True),
    "training step, literal": ("literal", True),
}


def literal_forward(network: Any, slices: Any, counts: Sequence[int]) -> dict[str, Any]:
    """Section 4 of the specification step by step, with the parameters of one of our networks."""
    import torch
    from torch.nn import functional as F  # noqa: N812

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
    return {"grade": logits.softmax(-1), "xy": points[..., :2], "z": points[..., 2]}


def _network(implementation: str) -> Any:
    from lumbargrade.config import load_recipe
    from lumbargrade.networks.one_stage import build_network

    recipe = load_recipe("one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01")
    settings = replace(recipe.network, checkpoint_gradients=implementation == "checkpointed")
    return build_network(recipe.encoder, settings, 10, pretrained=False)


def _work(implementation: str, trains: bool, slices: Any) -> Callable[[], dict[str, Any]]:
    """One step of the case; returns its grade, xy and z."""
    import torch

    torch.manual_seed(0)
    network = _network(implementation).train(trains)
    counts = [len(slices)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def forward() -> dict[str, Any]:
        if implementation == "literal":
            return literal_forward(network, slices, counts)
        output = network(slices, counts)
        return {"grade": output.grade, "xy": output.xy, "z": output.z}

    def infer() -> dict[str, Any]:
        with torch.inference_mode():
            return forward()

    def train() -> dict[str, Any]:
        optimiser.zero_grad()
        output = forward()
        (output["grade"][..., 0].log().mean() + output["xy"].mean() + output["z"].mean()).backward()
        optimiser.step()
        return output

    return train if trains else infer


def measure(case: str, depth: int, size: int, repeats: int) -> dict[str, Any]:
    """Time, peak memory and outputs of one case in this process."""
    import torch

    implementation, trains = CASES[case]
    generator = torch.Generator().manual_seed(0)
    slices = torch.randint(0, 256, (depth, size, size), generator=generator).to(torch.uint8)
    work = _work(implementation, trains, slices)
    before = _peak_mib()
    seconds, output = [], {}
    for i in range(repeats):
        start = time.perf_counter()
        output = work()
        seconds.append(time.perf_counter() - start)
        if i == 0:
            first = {k: v.detach().flatten().tolist() for k, v in output.items()}
    return {
        "seconds": min(seconds),
        "median": statistics.median(seconds),
        "peak_mib": _peak_mib(),
        "before_mib": before,
        "output": first,
    }


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def run(depth: int = 15, size: int = 320, repeats: int = 2) -> list[dict[str, Any]]:
    """Every case in a process of its own.

    Returns:
        One row per case: seconds (the fastest of ``repeats``), peak memory, both as a ratio to the
        literal implementation, and the largest difference of grade, xy and z from it.
    """
    found = {case: _in_process(case, depth, size, repeats) for case in CASES}
    rows = []
    for case, ours in found.items():
        literal = found["training step, literal" if CASES[case][1] else "inference, literal"]
        pairs = [
            abs(a - b)
            for part in ours["output"]
            for a, b in zip(ours["output"][part], literal["output"][part], strict=True)
        ]
        rows.append(
            {
                "benchmark": f"pvt_v2_b4 foraminal {depth} x {size} x {size}",
                "case": case,
                "seconds": round(ours["seconds"], 3),
                "peak_mib": round(ours["peak_mib"]),
                "time_ratio": round(ours["seconds"] / literal["seconds"], 3),
                "memory_ratio": round(ours["peak_mib"] / literal["peak_mib"], 3),
                "largest_difference": max(pairs),
            }
        )
    return rows


def _in_process(case: str, depth: int, size: int, repeats: int) -> dict[str, Any]:
    numbers = [str(n) for n in (depth, size, repeats)]
    command = [sys.executable, "-m", "benchmarks.network", "--case", case, "--work", *numbers]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help="measure one case in this process")
    parser.add_argument("--work", nargs=3, type=int, default=[15, 320, 2], metavar="N")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, *options.work)))
        return
    for row in run(*options.work):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
