"""Ranges of the numbers in a recipe: what lies outside makes no sense for any task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lumbargrade.domain.errors import UsageError

#: Smallest value -> the keys that it holds for; of a list, for each of its values.
_LEAST = {
    0: (
        *("network.neighbours", "network.peak_radius", "data.frame", "crop.neighbours"),
        *("augment.rotation", "augment.border", "augment.homography_border", "augment.corners"),
        *("augment.slices", "augment.jitter_mm", "augment.brightness_limit"),
        *("loss.class_weights", "loss.heatmap_sigma", "loss.match_distance", "loss.coordinate"),
        *("loss.neighbour_distance", "loss.heatmap", "loss.grade", "loss.view_alone"),
        *("loss.any_severe", "train.epochs", "train.keep_every", "train.weight_decay"),
        *("train.clip_gradient", "train.patience", "train.workers", "train.threads", "train.seed"),
    ),
    1: (
        *("encoder.stages", "network.widths", "network.depths", "network.features"),
        *("network.hidden", "data.size", "crop.axial_size", "crop.sagittal_size"),
        *("crop.axial_mm", "crop.sagittal_mm"),
        *("train.batch_size", "train.accumulate", "train.validate_every"),
    ),
}

#: Keys of probabilities and other shares, 0 to 1.
_SHARES = (
    *("data.suspect_weight", "augment.flip", "augment.similarity", "augment.homography"),
    *("augment.drop_view", "augment.blackout", "augment.brightness_contrast"),
    *("augment.blur_or_noise", "train.ema_decay"),
)

#: Keys of which the first may not be larger than the second.
_ORDERED = (
    ("augment.scale_min", "augment.scale_max"),
    ("augment.shift_min", "augment.shift_max"),
)


def require_in_range(settings: Mapping[str, Any], origin: str = "") -> None:
    """Refuse a recipe with a number that no task can use.

    Args:
        settings: nested plain data of a whole recipe, section by section.
        origin: the file, for messages.

    Raises:
        UsageError: naming every such key with its value and what it may be.
    """
    faults = list(_faults(settings))
    if faults:
        raise UsageError((f"{origin}: " if origin else "") + "; ".join(faults))


def _faults(settings: Mapping[str, Any]) -> Iterator[str]:
    for least, key in ((least, key) for least, keys in _LEAST.items() for key in keys):
        if not all(value >= least for value in _values(settings, key)):
            yield f"{key} {_shown(settings, key)}: give {least} or more"
    for key in _SHARES:
        if not all(0 <= value <= 1 for value in _values(settings, key)):
            yield f"{key} {_shown(settings, key)}: give a number from 0 to 1"
    for low, high in _ORDERED:
        if not _at(settings, low) <= _at(settings, high):
            yield f"{low} {_at(settings, low)} is more than {high} {_at(settings, high)}"
    if not _at(settings, "augment.scale_min") > -1:
        yield f"augment.scale_min {_at(settings, 'augment.scale_min')}: give more than -1"
    for number, phase in enumerate(_at(settings, "train.phases"), 1):
        if not all(rate > 0 for rate in phase["lr"]):
            yield f"train.phases {number}: lr {_listed(phase['lr'])}: give rates above 0"
        if not all(end >= 1 for end in phase["until"]):
            yield f"train.phases {number}: until {_listed(phase['until'])}: give epochs from 1 on"


def _at(settings: Mapping[str, Any], key: str) -> Any:
    section, name = key.split(".")
    return settings[section][name]


def _values(settings: Mapping[str, Any], key: str) -> list[float]:
    value = _at(settings, key)
    return list(value) if isinstance(value, list) else [value]


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return _listed(_values(settings, key))


def _listed(values: list[float]) -> str:
    return ", ".join(map(str, values))
