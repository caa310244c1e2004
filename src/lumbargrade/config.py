"""Recipes: frozen, typed definitions of an experiment, read from and written to strict TOML.

One definition serves the TOML files in ``recipes/``, the command line (``--train.epochs 3``), the
``--help`` text (the docstrings below each field) and the copy saved beside every model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import cattrs
from cattrs.errors import BaseValidationError
from cattrs.v import format_exception, transform_error

from lumbargrade.config_ranges import require_in_range
from lumbargrade.domain.errors import UsageError

TaskName = Literal["foraminal", "canal", "subarticular", "keypoints", "two_stage"]

#: Names of the views in recipes.
ViewName = Literal["sagittal_t1", "sagittal_t2", "axial_t2"]


@dataclass(frozen=True)
class EncoderConfig:
    """The 2-D image encoder, by its timm name."""

    name: str = "pvt_v2_b4"
    """timm model name, with the tag of its pretrained weights where it has one."""
    pretrained: bool = True
    """start from timm's pretrained weights"""
    weights: str = ""
    """local file with encoder weights, instead of timm's download"""
    whole_model: bool = False
    """keep the layout of a whole timm model in state_dict (one published checkpoint does)"""
    stages: int = 4
    """how many encoder stages (strides 4, 8, 16, 32) are used"""


@dataclass(frozen=True)
class NetworkConfig:
    """The decoder and heads around the encoder."""

    decoder: Literal["2d", "3d"] = "3d"
    """3d: points by softmax over the volume (foraminal); 2d: slice first, then plane (canal)"""
    widths: tuple[int, ...] = (384, 192, 96)
    """decoder channels, coarse to fine"""
    depths: tuple[int, ...] = (3, 3, 3)
    """3d: kernel size along the slices, block by block; 1 looks at each slice alone"""
    features: int = 128
    """grade features of the 3d head"""
    hidden: int = 64
    """hidden channels of the 2d heads"""
    neighbours: int = 3
    """2d: slices on each side of the expected slice that are averaged"""
    peak_radius: int = 0
    """points are read within this many mask pixels of a heatmap's peak; 0: mean over all of it"""
    shared_encoder: bool = False
    """two_stage: one encoder and decoder for all views instead of one each"""
    checkpoint_gradients: bool = False
    """recompute activations in the backward pass: less memory, more time"""


@dataclass(frozen=True)
class DataConfig:
    """What a training sample is."""

    size: int = 320
    """side of the square network input, pixels"""
    frame: int = 0
    """whole series: images are first resized to a square of this side, augmented in it, and then
    resized to the network input (512 in the published runs); 0 resamples them once, which keeps
    them sharper"""
    include_wrong_left_points: bool = False
    """put back the three studies whose left T1 point is wrong, as the published runs did"""
    view: ViewName = "sagittal_t1"
    """keypoints: the view that is looked at"""
    mean_shape: str = ""
    """sagittal views: file with the mean shape that points are aligned to (.npy, layout of the
    published files, or canal points as (5, 2)); empty: the mean shape of the store's points"""
    points: str = ""
    """two_stage, subarticular: out-of-fold points by `validate` (oof-points.csv) that crops are
    cut around; studies without any, or all where none is given, are cut around their labels"""
    suspects: str = ""
    """grades that `audit` found contradicted (contradicted.csv); training takes them as
    suspect_weight says, scores count them as they stand"""
    suspect_weight: float = 1.0
    """share of the epochs in which such a grade takes part: 1 trusts it, 0 drops it"""


#: Keys of ``data`` that name files. A run is identified by their content, not by their paths.
DATA_FILES = ("mean_shape", "points", "suspects")


@dataclass(frozen=True)
class CropConfig:
    """Crops around each level, for the tasks that look at levels one by one."""

    axial_size: int = 128
    """side of an axial crop, pixels"""
    axial_mm: float = 64.0
    """side of an axial crop, mm"""
    sagittal_size: int = 96
    """side of a sagittal crop, pixels"""
    sagittal_mm: float = 64.0
    """side of a sagittal crop, mm"""
    lateral_mm: float = 10.0
    """axial crops are centred this far to the side of the canal, mm"""
    neighbours: int = 2
    """slices on each side of the middle one"""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training sample; lengths are pixels of a 512 frame."""

    flip: float = 0.5
    """probability of reversing the slice order"""
    flip_exchanges_sides: bool = True
    """exchange left and right points and grades with the flip; false is the published bug"""
    similarity: float = 0.7
    """probability of align-to-mean-shape, then rotate, scale, recentre"""
    homography: float = 0.2
    """probability of a random homography; the rest (1 - similarity - homography) is unchanged"""
    alignment: Literal["least_squares", "ransac"] = "least_squares"
    """similarity: how points are aligned to the mean shape; ransac (the published runs) fits
    random pairs of points and keeps the fit that most points agree with"""
    scale_min: float = -0.25
    """similarity: smallest change of scale"""
    scale_max: float = 0.35
    """similarity: largest change of scale"""
    rotation: float = 20.0
    """similarity: largest rotation, degrees either way"""
    shift_min: float = -10.0
    """similarity: smallest shift of the points' box from the middle of the frame, along x and y"""
    shift_max: float = 10.0
    """similarity: largest shift"""
    border: float = 5.0
    """similarity: points stay this far inside the frame"""
    corners: float = 0.25
    """homography: largest move of a corner, as a share of the frame"""
    homography_border: float = 5.0
    """homography: points stay this far inside the frame"""
    slices: int = 0
    """train on this many neighbouring slices around the points, placed at random; 0 takes all"""
    jitter_mm: float = 0.0
    """crops: standard deviation of the points they are cut around; 0 measures it from the
    out-of-fold points of data.points (2 mm where there are none)"""
    drop_view: float = 0.0
    """two_stage: probability of taking a view away; one is always kept"""
    blackout: float = 0.5
    """probability of a black rectangle above the topmost point"""
    brightness_contrast: float = 0.75
    """probability of a change of brightness and contrast"""
    brightness_limit: float = 0.2
    """largest change of brightness and of contrast"""
    blur_or_noise: float = 0.5
    """probability of one of motion, median, Gaussian blur (5 px) or noise"""


@dataclass(frozen=True)
class LossConfig:
    """Losses of the task."""

    class_weights: tuple[float, ...] = (1.0, 2.0, 4.0)
    """weights of normal/mild, moderate, severe"""
    heatmap_sigma: float = 0.0
    """true heatmap: Gaussian sigma in mask pixels; 0 is one voxel"""
    heatmap_divergence: Literal["jensen_shannon", "cross_entropy"] = "jensen_shannon"
    """how a heatmap is compared with the truth; cross_entropy learns faster from scratch"""
    neighbour_distance: float = 1.0
    """canal: the grade map is also read this far to the left, right, above and below of a point
    (mask px, rounded to pixels); with 0.5 (the published runs) half of these hit the same pixel"""
    match_distance: float = 3.0
    """foraminal: a prediction is graded against the nearest true point this close in y (mask px)"""
    coordinate: float = 1.0
    """weight of the coordinate losses (xy and z)"""
    heatmap: float = 1.0
    """weight of the heatmap loss"""
    grade: float = 1.0
    """weight of the grade loss"""
    view_alone: float = 0.5
    """two_stage: weight of the grades that the view in which a condition is shown gives alone"""
    any_severe: float = 0.0
    """two_stage: weight of the metric's any-severe term"""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one learning rate; tuples hold one value, or one per fold."""

    lr: tuple[float, ...] = (5e-5,)
    """learning rate"""
    until: tuple[int, ...] = (80,)
    """the epoch at which the phase ends, counted from the start of training"""


@dataclass(frozen=True)
class TrainConfig:
    """How the trainer runs."""

    phases: tuple[Phase, ...] = (Phase(),)
    """learning rates and epochs, one phase after another"""
    epochs: int = 0
    """stop after this many epochs whatever the phases say; 0 leaves it to them"""
    restart_from: tuple[int, ...] = ()
    """the last phase starts from the averaged weights of this epoch (one, or one per fold) with a
    fresh optimiser, and epochs are counted on from it; empty: it continues where the phase before
    ended (the option --restart is another thing: it deletes the run)"""
    keep: tuple[int, ...] = ()
    """epochs whose averaged weights are kept as models of their own, beside the best one"""
    keep_every: int = 0
    """also keep the weights of every n-th epoch; 1 keeps all, as in the published runs; 0 none"""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """learning rate inside the phases: constant, or warm-up and cosine decay over all epochs"""
    batch_size: int = 4
    """volumes per step"""
    drop_last: bool = False
    """leave out the last batch of an epoch where it is smaller than the others"""
    accumulate: int = 1
    """steps whose gradients are added before the optimiser moves"""
    weight_decay: float = 0.01
    """AdamW weight decay"""
    ema_decay: float = 0.99
    """decay of the averaged weights that are validated and saved"""
    clip_gradient: float = 0.0
    """largest gradient norm; 0 leaves gradients alone"""
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"
    """mixed precision on CUDA; a CPU always computes in fp32"""
    amp_prediction: bool = False
    """predict in mixed precision too, on CUDA; false predicts in fp32"""
    patience: int = 0
    """stop after this many epochs without a better score; 0 never stops early"""
    validate_every: int = 1
    """epochs between validations"""
    workers: int = 2
    """processes that load samples; 0 loads in the training process"""
    threads: int = 0
    """torch CPU threads; 0 leaves the choice to torch"""
    seed: int = 42
    """seed of weights, sample order and augmentation"""


@dataclass(frozen=True)
class Published:
    """Figures of the published run, shown beside ours; all empty for our own recipes."""

    score: float | None = None
    """local score, mean of the five folds' figures"""
    score_flip: float | None = None
    """local score with flip averaging, mean of the five folds' figures"""
    any_severe: float | None = None
    """any-severe loss, mean of the five folds' figures"""
    score_folds: tuple[float, ...] = ()
    """local score, fold by fold"""
    score_flip_folds: tuple[float, ...] = ()
    """local score with flip averaging, fold by fold"""
    score_pooled: float | None = None
    """local score over the studies of all folds together"""
    any_severe_pooled: float | None = None
    """any-severe loss over the studies of all folds together"""
    epochs: tuple[int, ...] = ()
    """epochs of the released checkpoints, fold by fold"""


@dataclass(frozen=True)
class Recipe:
    """One experiment."""

    name: str
    """name of the experiment; its runs are kept in a folder of this name"""
    task: TaskName
    """which group of conditions it learns"""
    summary: str = ""
    """one line for `lumbargrade recipes`"""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    published: Published = field(default_factory=Published)


_T = TypeVar("_T")

_converter = cattrs.Converter(forbid_extra_keys=True)


def _strict_number(kind: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and numeric:
            return float(value)
        if kind is str and isinstance(value, str):
            return value
        raise ValueError(f"expected {kind.__name__}, got {value!r}")

    return structure


for _kind in (bool, int, float, str):
    _converter.register_structure_hook(_kind, _strict_number(_kind))
# a StrEnum is a str, whose hook would let any text pass
_converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))


def structured(data: Mapping[str, Any], kind: type[_T], origin: str, name: str) -> _T:
    """A dataclass of typed settings from nested plain data; nothing is guessed or converted.

    Args:
        data: as TOML or JSON give it.
        kind: the dataclass.
        origin: the file, for messages.
        name: what paths of keys start with, for messages.

    Raises:
        UsageError: for unknown or missing keys and wrong values, each named with its path.
    """
    try:
        return _converter.structure(dict(data), kind)
    except BaseValidationError as error:
        reasons = transform_error(error, path=name, format_exception=_reason)
        raise UsageError(f"{origin}: " + "; ".join(reasons)) from None


def _reason(error: BaseException, kind: type | None) -> str:
    """cattrs keeps the text of a ValueError to itself; ours are written to be read."""
    text = str(error) if isinstance(error, ValueError) else ""
    return f"invalid value: {text}" if text else format_exception(error, kind)


def recipe_from_dict(data: Mapping[str, Any], origin: str = "recipe") -> Recipe:
    """A recipe from nested plain data.

    Raises:
        UsageError: for unknown keys, wrong types and numbers out of range, each named.
    """
    recipe = structured(data, Recipe, origin, "recipe")
    require_in_range(recipe_to_dict(recipe), origin)
    return recipe


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Nested plain data (JSON-able) that :func:`recipe_from_dict` reads back to an equal recipe."""
    return plain(recipe)


def plain(settings: Any) -> dict[str, Any]:
    """Nested plain data of a dataclass, which :func:`structured` reads back; None is left out."""
    found: dict[str, Any] = _plain(asdict(settings))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with the package, sorted."""
    root = resources.files("lumbargrade") / "recipes"
    found = []
    for entry in root.iterdir():
        if entry.name.endswith(".toml"):
            found.append(entry.name.removesuffix(".toml"))
        elif entry.is_dir():
            found += [
                f"{entry.name}/{f.name.removesuffix('.toml')}"
                for f in entry.iterdir()
                if f.name.endswith(".toml")
            ]
    return tuple(sorted(found))


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe by its name, or from a TOML file of the user's own.

    Raises:
        UsageError: for a name that does not exist (listing those that do) or a bad file.

    Examples:
        >>> recipe = load_recipe("one-stage-scs/pvt_v2_b4-decoder2d-01")
        >>> recipe.task, recipe.encoder.name
        ('canal', 'pvt_v2_b4')
    """
    if name_or_path in recipe_names():
        text = (resources.files("lumbargrade") / "recipes" / f"{name_or_path}.toml").read_text(
            "utf-8"
        )
    elif name_or_path.endswith(".toml") and Path(name_or_path).is_file():
        try:
            text = Path(name_or_path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name_or_path}: not a text file in UTF-8: {error}") from None
    else:
        names = "\n  ".join(recipe_names())
        raise UsageError(f"no recipe {name_or_path!r}; recipes are:\n  {names}")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name_or_path}: not valid TOML: {error}") from None
    return recipe_from_dict(data, name_or_path)
