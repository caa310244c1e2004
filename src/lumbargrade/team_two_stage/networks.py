"""The 33 released two-stage networks, by the name of their structure.

Every network takes uint8 images and normalises them itself. The mirrored passes that the published
code averages are part of the networks `level-*`, `axial-*` and `fuse-*`; they are not part of the
others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lumbargrade.domain.errors import UsageError
from lumbargrade.team_two_stage.cubic import make_cubic
from lumbargrade.team_two_stage.parts import (
    CONDITIONS,
    JOINED,
    LEVELS,
    SLICES_WIDTH,
    WIDTH,
    CropReader,
    SliceReader,
    both_ways,
    encoded,
    encoder,
    imagenet_normalised,
    normalised,
    two_layers,
)

#: Numbers of the conditions left and right foraminal narrowing.
_FORAMINAL = (1, 2)


@dataclass(frozen=True)
class PointOutput:
    """Coordinates of points."""

    output: Tensor
    """(N, outputs)"""


@dataclass(frozen=True)
class LevelOutput:
    """Logits of how near each slice is to each level."""

    level: Tensor
    """(1, Z, 5) of either side; not used"""
    sides: Tensor
    """(1, Z, 2, 5) left and right"""


@dataclass(frozen=True)
class GradeOutput:
    """Logits of the three grades."""

    logits: Tensor
    """(N, groups, 5 levels, 3); the groups are sides, or for `fuse-*` the five conditions"""


class Points2d(nn.Module):
    """`kp2d-*`: points in a slice.

    Args:
        name: timm's name of the encoder.
        outputs: two for each point, x and y.
    """

    def __init__(self, name: str, outputs: int) -> None:
        super().__init__()
        self.model = encoder(name, 1, outputs)

    def forward(self, image: Tensor) -> PointOutput:
        """Find points in slices uint8 (N, 1, H, W)."""
        return PointOutput(encoded(self.model, normalised(image)))


class Points3d(nn.Module):
    """`kp3d-*`: points in a volume.

    Args:
        name: timm's name of the 2-D encoder.
        channels: volumes that are read together.
        outputs: three for each point, x, y and z.
    """

    def __init__(self, name: str, channels: int, outputs: int) -> None:
        super().__init__()
        self.model = make_cubic(encoder(name, channels, outputs))

    def forward(self, image: Tensor) -> PointOutput:
        """Find points in volumes uint8 (N, channels, slices, H, W)."""
        return PointOutput(self.model(normalised(image).movedim(2, -1)))


class _SliceEncoder(nn.Module):
    """Features of every slice of a stack, which know the other slices by an LSTM."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = encoder(name, 3, WIDTH)
        self.lstm = both_ways(nn.LSTM, WIDTH, WIDTH // 2)
        self.xy_reg = two_layers(WIDTH, WIDTH, 4)  # unused
        self.classifier = nn.Linear(WIDTH, LEVELS)  # unused

    def forward(self, slices: Tensor) -> Tensor:
        """Return features (1, Z, 512) of a stack (Z, H, W), normalised."""
        padded = pad(slices, (0, 0, 0, 0, 1, 1))
        images = torch.stack([padded[:-2], padded[1:-1], padded[2:]], dim=1)
        x = encoded(self.model, images)[None]
        found: Tensor = x + self.lstm(x)[0]
        return found


class Levels(nn.Module):
    """`level-*`: the level of every axial slice of a study.

    The transformer's attention is over a sequence of one slice, as in training: see `forward`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.cnn_encoder = _SliceEncoder(name)
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=2048)
        self.ts_encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.level_classifier = nn.Linear(WIDTH, LEVELS)
        self.left_classifier = nn.Linear(WIDTH, LEVELS)
        self.right_classifier = nn.Linear(WIDTH, LEVELS)

    def forward(self, image: Tensor) -> LevelOutput:
        """Read the slices uint8 (Z, H, W) of a study, one series after the other.

        Logits are the mean over the stack as it is, mirrored left-right and mirrored top-bottom.
        Left and right outputs are not exchanged when the image is mirrored, as in training.
        """
        x = normalised(image)
        passes = [self._once(y) for y in (x, x.flip(-1), x.flip(-2))]
        level, sides = (torch.stack(each).mean(dim=0) for each in zip(*passes, strict=True))
        return LevelOutput(level, sides)

    def _once(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        # (1, Z, 512) is read as a batch of Z sequences of one slice
        x = self.ts_encoder(self.cnn_encoder(slices))
        sides = torch.stack([self.left_classifier(x), self.right_classifier(x)], dim=2)
        return self.level_classifier(x), sides


class Crops(CropReader):
    """`sag-plain-*`, `sag-cond-*` and `sag-lstm-*`: grades of crops around points.

    The slices of a crop are the channels of an image.
    """

    def forward(self, image: Tensor) -> GradeOutput:  # type: ignore[override]
        """Grade crops uint8 (N, 5 or 10, slices, H, W): one group of levels, or left and right."""
        conditions = torch.tensor(_FORAMINAL, device=image.device)
        return GradeOutput(self.out_linear(super().forward(normalised(image), conditions)))


class SliceCrops(SliceReader):
    """`sag-gru-*`: grades of crops around points; the slices of a crop are read in turn."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 1, 3)
        self.out_fea_extractor = two_layers(2 * SLICES_WIDTH, WIDTH, WIDTH)  # unused

    def forward(self, image: Tensor) -> GradeOutput:  # type: ignore[override]
        """Grade crops uint8 (N, 5 or 10, slices, H, W): one group of levels, or left and right."""
        scores = self.exam_predictor(super().forward(normalised(image)[:, :, :, None]))
        return GradeOutput(scores.unflatten(1, (-1, LEVELS)))


class _AxialSlices(SliceReader):
    """The axial branch of `axial-*`. Its head for grades is unused."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__(name, channels, 3)
        self.out_fea_extractor = two_layers(SLICES_WIDTH, WIDTH, JOINED)


class AxialCrops(nn.Module):
    """`axial-*`: grades of axial crops with sagittal T2 crops beside them.

    Args:
        name: timm's name of both encoders.
        channels: channels of an axial slice.
    """

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.sag_model = CropReader(name, 4, levels=True, joined=True)
        self.axial_model = _AxialSlices(name, channels)
        self.out_linear = nn.Linear(2 * JOINED, 3)

    def forward(self, sagittal: Tensor, axial: Tensor) -> GradeOutput:
        """Grade crops, left L1/L2 to L5/S1, then right.

        Args:
            sagittal: uint8 (N, 10, 4 slices, H, W).
            axial: uint8 (N, 10, slices, channels, H, W).

        Returns:
            Mean of the logits of both as they are, and of sagittal crops mirrored left-right with
            axial crops mirrored top-bottom.
        """
        return _with_mirrored(self._once, normalised(sagittal), normalised(axial))

    def _once(self, sagittal: Tensor, axial: Tensor) -> Tensor:
        beside = self.sag_model.out_fea_extractor(self.sag_model(sagittal))
        found = self.axial_model.out_fea_extractor(self.axial_model(axial))
        joined = torch.cat([beside, found.view_as(beside)], dim=-1)
        scores: Tensor = self.out_linear(joined)
        return scores


class Fused(nn.Module):
    """`fuse-*`: all 25 grades from sagittal crops and whole axial slices.

    Args:
        sagittal: timm's name of the encoder of sagittal crops.
        axial: timm's name of the encoder of axial slices.
    """

    def __init__(self, sagittal: str, axial: str) -> None:
        super().__init__()
        self.sag_model = CropReader(sagittal, 5, gate=True, joined=True)
        self.axial_model = SliceReader(axial, 3, 3 * CONDITIONS)  # its head for grades is unused
        self.out_linear = nn.Linear(CONDITIONS * JOINED + SLICES_WIDTH, 3 * CONDITIONS)

    def forward(self, sagittal: Tensor, axial: Tensor) -> GradeOutput:
        """Grade the five conditions, each at five levels.

        Args:
            sagittal: uint8 (N, 25, 5 slices, H, W), the five levels of one condition after the
                other.
            axial: uint8 (N, 5 levels, slices, 3, H, W); any number of slices.

        Returns:
            Mean of the logits of both as they are, and of sagittal crops mirrored left-right with
            axial slices mirrored top-bottom.
        """
        return _with_mirrored(self._once, normalised(sagittal), imagenet_normalised(axial))

    def _once(self, sagittal: Tensor, axial: Tensor) -> Tensor:
        conditions = torch.arange(CONDITIONS, device=sagittal.device)
        crops = self.sag_model(sagittal, conditions)
        alone: Tensor = self.sag_model.out_linear(crops)
        by_level = self.sag_model.out_fea_extractor(crops).transpose(1, 2).flatten(2)
        joined = torch.cat([by_level, self.axial_model(axial)], dim=-1)
        added: Tensor = self.out_linear(joined).unflatten(-1, (CONDITIONS, 3)).transpose(1, 2)
        return alone + added


def _with_mirrored(
    once: Callable[[Tensor, Tensor], Tensor], sagittal: Tensor, axial: Tensor
) -> GradeOutput:
    return GradeOutput((once(sagittal, axial) + once(sagittal.flip(-1), axial.flip(-2))) / 2)


#: Name of a structure -> builds the network with random weights.
NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "kp2d-axial-xception65": partial(Points2d, "xception65", 4),
    "kp2d-sag-densenet161": partial(Points2d, "densenet161", 10),
    "kp2d-sag-t1-fastvit_ma36": partial(Points2d, "fastvit_ma36", 10),
    "kp2d-sag-t2-convformer_s36": partial(Points2d, "convformer_s36", 10),
    "kp3d-axial-v2-densenet161": partial(Points3d, "densenet161", 1, 30),
    "kp3d-sag-t1-resnet34d": partial(Points3d, "resnet34d", 1, 30),
    "kp3d-sag-t2-densenet161": partial(Points3d, "densenet161", 1, 15),
    "kp3d-sag-t2-resnet34d": partial(Points3d, "resnet34d", 1, 15),
    "kp3d-sag-v2-densenet161": partial(Points3d, "densenet161", 2, 45),
    "level-axial-convnext_small": partial(Levels, "convnext_small"),
    "level-axial-pvt_v2_b2": partial(Levels, "pvt_v2_b2"),
    "sag-plain-convnext_small-z3": partial(Crops, "convnext_small", 3),
    "sag-cond-convnext_small-z3": partial(Crops, "convnext_small", 3, gate=True, joined=True),
    "sag-lstm-convnext_small-z3": partial(Crops, "convnext_small", 3, levels=True),
    "sag-lstm-convnext_tiny-z3": partial(Crops, "convnext_tiny", 3, levels=True),
    "sag-lstm-convnext_tiny-z5": partial(Crops, "convnext_tiny", 5, levels=True),
    "sag-lstm-pvt_v2_b2-z3": partial(Crops, "pvt_v2_b2", 3, levels=True),
    "sag-lstm-pvt_v2_b5-z5": partial(Crops, "pvt_v2_b5", 5, levels=True),
    "sag-lstm-rexnetr_200-z3": partial(Crops, "rexnetr_200", 3, levels=True),
    "sag-gru-convnext_small": partial(SliceCrops, "convnext_small"),
    "sag-gru-convnext_tiny": partial(SliceCrops, "convnext_tiny"),
    "sag-gru-pvt_v2_b1": partial(SliceCrops, "pvt_v2_b1"),
    "sag-gru-rexnetr_200": partial(SliceCrops, "rexnetr_200"),
    "axial-convnext_small-z3": partial(AxialCrops, "convnext_small", 1),
    "axial-convnext_tiny-z3": partial(AxialCrops, "convnext_tiny", 1),
    "axial-densenet161-z3": partial(AxialCrops, "densenet161", 1),
    "axial-pvt_v2_b1-z3": partial(AxialCrops, "pvt_v2_b1", 1),
    "axial-rexnetr_200-z5": partial(AxialCrops, "rexnetr_200", 3),
    "fuse-convnext_nano+convnext_nano": partial(Fused, "convnext_nano", "convnext_nano"),
    "fuse-convnext_small+densenet161": partial(Fused, "convnext_small", "densenet161"),
    "fuse-pvt_v2_b1+densenet161": partial(Fused, "pvt_v2_b1", "densenet161"),
    "fuse-pvt_v2_b1+pvt_v2_b1": partial(Fused, "pvt_v2_b1", "pvt_v2_b1"),
    "fuse-pvt_v2_b2+pvt_v2_b2": partial(Fused, "pvt_v2_b2", "pvt_v2_b2"),
}


def build_network(name: str) -> nn.Module:
    """Build a released network with random weights, in evaluation mode.

    Args:
        name: name of its structure, a key of `NETWORKS`.

    Raises:
        UsageError: if there is no such network.
    """
    if name not in NETWORKS:
        raise UsageError(
            f"{name!r}: no released two-stage network; there are {', '.join(NETWORKS)}"
        )
    return NETWORKS[name]().eval()
