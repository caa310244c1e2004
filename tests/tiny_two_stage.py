"""Torch networks of one parameter in place of the released ones, and their model folders."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lumbargrade.team_two_stage import networks
from lumbargrade.team_two_stage.members import Member, load_members
from lumbargrade.team_two_stage.model_files import import_released
from lumbargrade.team_two_stage.networks import GradeOutput, LevelOutput, PointOutput
from stub_networks import level_logits, points


class TinyNetwork(nn.Module):
    """Finds the same points in every study; its one parameter is the logit for severe."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.severe = nn.Parameter(torch.zeros(1))

    def forward(self, **images: Tensor) -> PointOutput | LevelOutput | GradeOutput:
        kind, count = self.name.split("-")[0], len(next(iter(images.values())))
        if kind == "level":
            sides = torch.from_numpy(level_logits(count))
            return LevelOutput(torch.zeros(1, count, 5), sides)
        if kind == "kp2d":
            if "axial" in self.name:
                return PointOutput(torch.tensor([[300.0, 256, 212, 250]]).repeat(count, 1))
            flat = points(1, (1, 1, 0)).reshape(5, 3)[:, :2].reshape(1, 10)
            return PointOutput(torch.from_numpy(flat))
        if kind == "kp3d":
            both = "sag-v2" in self.name
            scale = (4.0, 4.0, 16.0) if both else (1.0, 1.0, 1.0)
            rows = 3 if both else 1 if "sag-t2" in self.name else 2
            return PointOutput(torch.from_numpy(points(rows, scale)))
        crops = images["image"] if kind == "sag" else images["sagittal"]
        logits = torch.zeros(1, crops.shape[1] // 5, 5, 3)
        logits[..., 2] = self.severe.detach()
        return GradeOutput(logits)


def make_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build tiny networks in place of the released ones in this process."""
    tiny = {name: partial(TinyNetwork, name) for name in networks.NETWORKS}
    monkeypatch.setattr(networks, "NETWORKS", tiny)


def write_tiny_models(
    folder: Path, members: Iterable[Member] | None = None, severe: float = 1.0
) -> None:
    """Write model folders of tiny networks at the places of the released ones."""
    file = folder.with_suffix(".pt")
    torch.save({"severe": torch.full((1,), severe)}, file)
    for member in load_members() if members is None else members:
        import_released(file, member.network, folder / member.model_folder, member.fold)
