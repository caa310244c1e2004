"""What work needs is counted as a formula says, and every stage gets its shares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.roofline import Limits, Needs, needs_of  # noqa: E402


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("infers", [False, True])
def test_operations_and_traffic_of_a_convolution(groups: int, infers: bool) -> None:
    x = torch.zeros(2, 8, 6, 6, requires_grad=True)
    weight = torch.zeros(16, 8 // groups, 3, 3, requires_grad=True)
    forward = 2 * 2 * 36 * weight.numel()

    def work() -> None:
        y = functional.conv2d(x, weight, padding=1, groups=groups)
        if not infers:
            y.backward(torch.ones_like(y))

    with torch.inference_mode(infers):
        needs = needs_of(work)
    assert needs.operations == (forward if infers else 3 * forward)
    y = 2 * 16 * 36
    if infers:
        assert needs.bytes == 4 * (x.numel() + weight.numel() + y)
        assert needs.kernels == 1


def test_views_move_nothing() -> None:
    x = torch.zeros(4, 5)
    assert needs_of(lambda: x.t().unsqueeze(0).view(5, 4)[1:]) == Needs()


def test_work_is_bound_by_the_limit_that_it_meets_first() -> None:
    limits = Limits(operations=100.0, bytes=10.0)
    assert limits.bound(Needs(1000, 50)) == "matrix products"
    assert limits.shortest(Needs(1000, 50)) == 10.0
    assert limits.bound(Needs(1000, 200)) == "memory"
    assert limits.shortest(Needs(1000, 200)) == 20.0


def test_every_stage_has_its_shares() -> None:
    command = [sys.executable, "-m", "benchmarks.limits", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert len(rows) == 4
    for name, bound, operations, traffic, limit in rows:
        assert f"| {name.strip()} |" in page
        assert bound.strip() in ("memory", "matrix products")
        assert 0 < float(traffic) < 1.5
        assert 0 < float(limit) < 1.5
        assert operations.strip() == "-" or 0 < float(operations) < 1.5
