"""The 2-D encoder: feature maps of any timm network at strides 4, 8, 16 and 32."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from lumbargrade.config import EncoderConfig
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.networks.weights import first_line, read_weights, require_fit


def load_pretrained(encoder: Encoder, config: EncoderConfig) -> None:
    """Load the weights of the file ``config.weights``, or timm's if it is empty.

    Raises:
        BadModel: if the weights cannot be downloaded or read, or do not fit the encoder.
    """
    if config.weights:
        weights, origin = read_weights(Path(config.weights)).tensors, config.weights
    else:
        weights, origin = _download(config.name), f"timm's {config.name}"
    _fill(encoder, config, weights, origin)


def _download(name: str) -> dict[str, Tensor]:
    try:
        model = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise BadModel(
            f"pretrained weights of {name!r} cannot be downloaded: {first_line(error)}\n"
            "Give a local file: set encoder.weights to the path of the timm weight file "
            f"(model.safetensors of https://huggingface.co/timm, model {name}), "
            "or set encoder.pretrained to false to start from random weights."
        ) from None
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def make_encoder(config: EncoderConfig, pretrained: bool | None = None) -> Encoder:
    """Build the encoder of a recipe and load its pretrained weights.

    Args:
        config: timm name and settings of the encoder.
        pretrained: whether to start from pretrained weights; None follows the recipe.

    Raises:
        UsageError: if timm does not know the name, or the network lacks the strides.
        BadModel: if requested pretrained weights are not available.
    """
    encoder = build_encoder(config)
    if config.pretrained if pretrained is None else pretrained:
        load_pretrained(encoder, config)
    return encoder


def _fill(
    encoder: Encoder, config: EncoderConfig, weights: Mapping[str, Tensor], origin: str
) -> None:
    """Copy weights into the encoder; only weights after its last feature map may be unused.

    timm's feature networks flatten one level of names (``stages.0`` is ``stages_0``), so dots and
    underscores are treated as equal.
    """
    prefix = "model.model." if config.whole_model else "model."
    ours = {_plain(k.removeprefix(prefix)): v for k, v in encoder.state_dict().items()}
    given = {_plain(k): v for k, v in weights.items()}
    with torch.device("meta"):
        whole = timm.create_model(config.name, pretrained=False)
    # weights after the last feature map (the classifier) are not used
    unused = {_plain(name) for name in whole.state_dict()} - set(ours)
    used = {name: tensor for name, tensor in given.items() if name not in unused}
    shapes = {name: tensor.shape for name, tensor in ours.items()}
    require_fit(used, shapes, f"{origin} does not fit encoder {config.name!r}")
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(given[name])


def _plain(name: str) -> str:
    return name.replace("_", ".")


#: Slices encoded at once if slices are independent of each other.
CHUNK = 4


class Encoder(nn.Module):
    """Compute feature maps of single-channel slices, fine to coarse.

    A slice is scaled to ``x / 127.5 - 1`` and used for all three colour channels of the timm
    network. Instead of copying it, the first convolution is applied once with its weights summed
    over colours, which gives the same result. Parameters keep timm's names and shapes. timm's
    ``in_chans=1`` is not used: its first convolution lacks the shape of the published weights, and
    a step of AdamW would change it a third as much as the summed one.

    Args:
        model: a network from (N, 3, H, W) to a sequence of feature maps.
        stem: name in ``model`` of the first convolution.
        channels: channels of each feature map, fine to coarse.
        strides: stride of each feature map, fine to coarse.
    """

    def __init__(
        self,
        model: nn.Module,
        stem: str,
        channels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        self.model = model
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.stem = stem
        self._batch_norm = any(isinstance(m, _BatchNorm) for m in model.modules())

    def forward(self, slices: Tensor) -> list[Tensor]:
        """Encode slices uint8 (N, H, W) to maps (N, channels[i], H/strides[i], W/strides[i]).

        Without gradients, slices that are independent of each other (all but those of BatchNorm in
        training) are encoded in chunks, which saves memory.
        """
        independent = not (self.training and self._batch_norm)
        if independent and not torch.is_grad_enabled():
            parts = [self._features(chunk) for chunk in torch.split(slices, CHUNK)]
            return [torch.cat(maps) for maps in zip(*parts, strict=True)]
        return list(self._features(slices))

    def grey_network(self) -> nn.Module:
        """Return a copy of the timm network that takes one channel, (N, 1, H, W) from -1 to 1.

        Its first convolution has the summed weights of `Encoder`. Exported networks use it.
        """
        model = copy.deepcopy(self.model)
        stem = model.get_submodule(self.stem)
        assert isinstance(stem, nn.Conv2d)
        stem.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
        stem.in_channels = 1
        return model

    def _features(self, slices: Tensor) -> tuple[Tensor, ...]:
        x = scaled(slices)
        name = f"{self.stem}.weight"
        stem = self.model.get_parameter(name).sum(dim=1, keepdim=True)
        return tuple(functional_call(self.model, {name: stem}, (x,), tie_weights=False))


def scaled(slices: Tensor) -> Tensor:
    """Return grey values uint8 (N, H, W) as one channel from -1 to 1, (N, 1, H, W)."""
    return slices.unsqueeze(1).to(torch.get_default_dtype()) / 127.5 - 1


def require_multiples(slices: Tensor, stride: int) -> None:
    """Check that the sides of slices (..., H, W) are multiples of a stride.

    Raises:
        UsageError: if a side is not a multiple of its coarsest stride.
    """
    height, width = slices.shape[-2:]
    if height % stride or width % stride:
        raise UsageError(
            f"image of {height} x {width} pixels: "
            f"both sides must be multiples of {stride}, the encoder's coarsest stride"
        )


class WholeModel(nn.Module):
    """Compute feature maps with a whole timm model, whose parameter names are kept."""

    def __init__(self, model: Any, indices: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self._indices = list(indices)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Convert images (N, 3, H, W) to the chosen feature maps."""
        maps: list[Tensor] = self.model.forward_intermediates(
            x, indices=self._indices, intermediates_only=True
        )
        return maps


def build_encoder(config: EncoderConfig) -> Encoder:
    """Build an encoder with random weights; `load_pretrained` fills them.

    Raises:
        UsageError: if timm does not know the name, or the network lacks the strides.
    """
    strides = [4 * 2**i for i in range(config.stages)]
    try:
        if config.whole_model:
            model = timm.create_model(config.name, pretrained=False, num_classes=0)
        else:
            everything = _feature_info(config.name)
            picked = _indices(config.name, [f["reduction"] for f in everything], strides)
            model = timm.create_model(
                config.name, pretrained=False, features_only=True, out_indices=picked
            )
    except RuntimeError as error:
        raise UsageError(f"encoder {config.name!r} cannot be built: {error}") from None
    stem = str(model.pretrained_cfg["first_conv"])
    if not config.whole_model:
        return Encoder(model, _flat(model, stem), model.feature_info.channels(), strides)
    picked = _indices(config.name, [f["reduction"] for f in model.feature_info], strides)
    channels = [model.feature_info[i]["num_chs"] for i in picked]
    whole = WholeModel(model, picked)
    return Encoder(whole, f"model.{stem}", channels, strides)


def _feature_info(name: str) -> list[dict[str, Any]]:
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, features_only=True)
    info: list[dict[str, Any]] = model.feature_info.info
    return info


def _indices(name: str, available: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    if missing := [s for s in strides if s not in available]:
        raise UsageError(
            f"encoder {name!r} has feature maps at strides {list(available)}, not at {missing}"
        )
    return tuple(max(i for i, r in enumerate(available) if r == s) for s in strides)


def _flat(model: nn.Module, stem: str) -> str:
    # timm's feature wrapper flattens one level of sequential modules: stem.0 becomes stem_0
    names = dict(model.named_modules())
    return stem if stem in names else stem.replace(".", "_", 1)
