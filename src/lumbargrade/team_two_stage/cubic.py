"""Convert a 2-D timm network to its cubic 3-D counterpart with the same parameter names."""

from __future__ import annotations

from typing import Any

from timm.layers import BatchNormAct2d, SelectAdaptivePool2d
from torch import Tensor, nn


def make_cubic(network: nn.Module) -> nn.Module:
    """Replace every 2-D layer of a network, in place, by a 3-D layer that is as long in every axis.

    Args:
        network: a network of convolutions, BatchNorm and pooling, such as DenseNet and ResNet.

    Returns:
        The network; it takes (N, C, X, Y, Z). Parameters have new random values.

    Raises:
        TypeError: if a layer has no 3-D counterpart here.
    """
    for name, layer in network.named_children():
        if (cubic := _counterpart(layer)) is not layer:
            setattr(network, name, cubic)
        else:
            make_cubic(layer)
    return network


def _counterpart(layer: nn.Module) -> nn.Module:
    """Return the 3-D counterpart of a layer; the layer itself if it has no axes of its own."""
    match layer:
        case nn.Conv2d():
            return nn.Conv3d(
                layer.in_channels,
                layer.out_channels,
                _side(layer.kernel_size),
                _side(layer.stride),
                _side(layer.padding),
                _side(layer.dilation),
                layer.groups,
                layer.bias is not None,
            )
        case BatchNormAct2d():
            return _BatchNormAct3d(layer)
        case nn.BatchNorm2d():
            return nn.BatchNorm3d(layer.num_features, layer.eps)
        case nn.MaxPool2d():
            return nn.MaxPool3d(
                _side(layer.kernel_size),
                _side(layer.stride),
                _side(layer.padding),
                _side(layer.dilation),
                ceil_mode=layer.ceil_mode,
            )
        case nn.AvgPool2d():
            return nn.AvgPool3d(
                _side(layer.kernel_size),
                _side(layer.stride),
                _side(layer.padding),
                ceil_mode=layer.ceil_mode,
                count_include_pad=layer.count_include_pad,
            )
        case SelectAdaptivePool2d():
            if layer.pool_type != "avg" or isinstance(layer.flatten, nn.Identity):
                raise TypeError(f"no 3-D counterpart of pooling {layer}")
            return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(1))
    if type(layer).__name__.endswith("2d"):
        raise TypeError(f"no 3-D counterpart of {type(layer).__name__}")
    return layer


def _side(sizes: Any) -> int:
    """Return the size that is the same in both axes."""
    values = {sizes} if isinstance(sizes, int) else set(sizes)
    if len(values) != 1 or not isinstance(side := values.pop(), int):
        raise TypeError(f"no 3-D counterpart of a layer of size {sizes}")
    return side


class _BatchNormAct3d(nn.BatchNorm3d):
    """timm's BatchNorm with an activation, which takes images only, for volumes."""

    def __init__(self, flat: Any) -> None:
        super().__init__(flat.num_features, flat.eps)
        self.drop, self.act = flat.drop, flat.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))  # type: ignore[no-any-return]
