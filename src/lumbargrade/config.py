"""Recipes: frozen, typed definitions of an experiment, read from and written to strict TOML.

One definition serves the TOML files in ``recipes/``, the command line (``--train.epochs 3``), the
``--help`` text (the docstrings below each field) and the copy saved beside every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.structures import parse_plain, plain, read_plain, structured

TaskName = Literal["foraminal", "canal", "subarticular", "keypoints", "two_stage"]

#: Names of the views in recipes.
ViewName = Literal["sagittal_t1", "sagittal_t2", "axial_t2"]


@dataclass(frozen=True)
class Range:
    """The numbers that make sense for a setting, whatever the task."""

    holds: Callable[[float], bool]
    advice: str


_FROM_0 = Range(lambda value: value >= 0, "give 0 or more")
_FROM_1 = Range(lambda value: value >= 1, "give 1 or more")

Count = Annotated[int, _FROM_0]
Size = Annotated[int, _FROM_1]
Amount = Annotated[float, _FROM_0]
Length = Annotated[float, _FROM_1]
Share = Annotated[float, Range(lambda value: 0 <= value <= 1, "give a number from 0 to 1")]
Scale = Annotated[float, Range(lambda value: value > -1, "give more than -1")]
Rate = Annotated[float, Range(lambda value: value > 0, "give rates above 0")]
Epoch = Annotated[int, Range(lambda value: value >= 1, "give epochs from 1 on")]


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
    stages: Size = 4
    """how many encoder stages (strides 4, 8, 16, 32) are used"""


@dataclass(frozen=True)
class NetworkConfig:
    """The decoder and heads around the encoder."""

    decoder: Literal["2d", "3d"] = "3d"
    """3d: points by softmax over the volume (foraminal); 2d: slice first, then plane (canal)"""
    widths: tuple[Size, ...] = (384, 192, 96)
    """decoder channels, coarse to fine"""
    depths: tuple[Size, ...] = (3, 3, 3)
    """3d: kernel size along the slices, block by block; 1 looks at each slice alone"""
    features: Size = 128
    """grade features of the 3d head"""
    hidden: Size = 64
    """hidden channels of the 2d heads"""
    neighbours: Count = 3
    """2d: slices on each side of the expected slice that are averaged"""
    peak_radius: Count = 0
    """points are read within this many mask pixels of a heatmap's peak; 0: mean over all of it"""
    shared_encoder: bool = False
    """two_stage: one encoder and decoder for all views instead of one each"""
    checkpoint_gradients: bool = False
    """recompute activations in the backward pass: less memory, more time"""


@dataclass(frozen=True)
class DataConfig:
    """What a training sample is."""

    size: Size = 320
    """side of the square network input, pixels"""
    frame: Count = 0
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
    suspect_weight: Share = 1.0
    """share of the epochs in which such a grade takes part: 1 trusts it, 0 drops it"""


#: Keys of ``data`` that name files. A run is identified by their content, not by their paths.
DATA_FILES = ("mean_shape", "points", "suspects")


@dataclass(frozen=True)
class CropConfig:
    """Crops around each level, for the tasks that look at levels one by one."""

    axial_size: Size = 128
    """side of an axial crop, pixels"""
    axial_mm: Length = 64.0
    """side of an axial crop, mm"""
    sagittal_size: Size = 96
    """side of a sagittal crop, pixels"""
    sagittal_mm: Length = 64.0
    """side of a sagittal crop, mm"""
    lateral_mm: float = 10.0
    """axial crops are centred this far to the side of the canal, mm"""
    neighbours: Count = 2
    """slices on each side of the middle one"""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training sample; lengths are pixels of a 512 frame."""

    flip: Share = 0.5
    """probability of reversing the slice order"""
    flip_exchanges_sides: bool = True
    """exchange left and right points and grades with the flip; false is the published bug"""
    similarity: Share = 0.7
    """probability of align-to-mean-shape, then rotate, scale, recentre"""
    homography: Share = 0.2
    """probability of a random homography; the rest (1 - similarity - homography) is unchanged"""
    alignment: Literal["least_squares", "ransac"] = "least_squares"
    """similarity: how points are aligned to the mean shape; ransac (the published runs) fits
    random pairs of points and keeps the fit that most points agree with"""
    scale_min: Scale = -0.25
    """similarity: smallest change of scale"""
    scale_max: float = 0.35
    """similarity: largest change of scale"""
    rotation: Amount = 20.0
    """similarity: largest rotation, degrees either way"""
    shift_min: float = -10.0
    """similarity: smallest shift of the points' box from the middle of the frame, along x and y"""
    shift_max: float = 10.0
    """similarity: largest shift"""
    border: Amount = 5.0
    """similarity: points stay this far inside the frame"""
    corners: Amount = 0.25
    """homography: largest move of a corner, as a share of the frame"""
    homography_border: Amount = 5.0
    """homography: points stay this far inside the frame"""
    slices: Count = 0
    """train on this many neighbouring slices around the points, placed at random; 0 takes all"""
    jitter_mm: Amount = 0.0
    """crops: standard deviation of the points they are cut around; 0 measures it from the
    out-of-fold points of data.points (2 mm where there are none)"""
    drop_view: Share = 0.0
    """two_stage: probability of taking a view away; one is always kept"""
    blackout: Share = 0.5
    """probability of a black rectangle above the topmost point"""
    brightness_contrast: Share = 0.75
    """probability of a change of brightness and contrast"""
    brightness_limit: Amount = 0.2
    """largest change of brightness and of contrast"""
    blur_or_noise: Share = 0.5
    """probability of one of motion, median, Gaussian blur (5 px) or noise"""


@dataclass(frozen=True)
class LossConfig:
    """Losses of the task."""

    class_weights: tuple[Amount, ...] = (1.0, 2.0, 4.0)
    """weights of normal/mild, moderate, severe"""
    heatmap_sigma: Amount = 0.0
    """true heatmap: Gaussian sigma in mask pixels; 0 is one voxel"""
    heatmap_divergence: Literal["jensen_shannon", "cross_entropy"] = "jensen_shannon"
    """how a heatmap is compared with the truth; cross_entropy learns faster from scratch"""
    neighbour_distance: Amount = 1.0
    """canal: the grade map is also read this far to the left, right, above and below of a point
    (mask px, rounded to pixels); with 0.5 (the published runs) half of these hit the same pixel"""
    match_distance: Amount = 3.0
    """foraminal: a prediction is graded against the nearest true point this close in y (mask px)"""
    coordinate: Amount = 1.0
    """weight of the coordinate losses (xy and z)"""
    heatmap: Amount = 1.0
    """weight of the heatmap loss"""
    grade: Amount = 1.0
    """weight of the grade loss"""
    view_alone: Amount = 0.5
    """two_stage: weight of the grades that the view in which a condition is shown gives alone"""
    any_severe: Amount = 0.0
    """two_stage: weight of the metric's any-severe term"""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one learning rate; tuples hold one value, or one per fold."""

    lr: tuple[Rate, ...] = (5e-5,)
    """learning rate"""
    until: tuple[Epoch, ...] = (80,)
    """the epoch at which the phase ends, counted from the start of training"""


@dataclass(frozen=True)
class TrainConfig:
    """How the trainer runs."""

    phases: tuple[Phase, ...] = (Phase(),)
    """learning rates and epochs, one phase after another"""
    epochs: Count = 0
    """stop after this many epochs whatever the phases say; 0 leaves it to them"""
    restart_from: tuple[int, ...] = ()
    """the last phase starts from the averaged weights of this epoch (one, or one per fold) with a
    fresh optimiser, and epochs are counted on from it; empty: it continues where the phase before
    ended (the option --restart is another thing: it deletes the run)"""
    keep: tuple[int, ...] = ()
    """epochs whose averaged weights are kept as models of their own, beside the best one"""
    keep_every: Count = 0
    """also keep the weights of every n-th epoch; 1 keeps all, as in the published runs; 0 none"""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """learning rate inside the phases: constant, or warm-up and cosine decay over all epochs"""
    batch_size: Size = 4
    """volumes per step"""
    drop_last: bool = False
    """leave out the last batch of an epoch where it is smaller than the others"""
    accumulate: Size = 1
    """steps whose gradients are added before the optimiser moves"""
    weight_decay: Amount = 0.01
    """AdamW weight decay"""
    ema_decay: Share = 0.99
    """decay of the averaged weights that are validated and saved"""
    clip_gradient: Amount = 0.0
    """largest gradient norm; 0 leaves gradients alone"""
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"
    """mixed precision on CUDA; a CPU always computes in fp32"""
    amp_prediction: bool = False
    """predict in mixed precision too, on CUDA; false predicts in fp32"""
    patience: Count = 0
    """stop after this many epochs without a better score; 0 never stops early"""
    validate_every: Size = 1
    """epochs between validations"""
    workers: Count = 2
    """processes that load samples; 0 loads in the training process"""
    threads: Count = 0
    """torch CPU threads; 0 leaves the choice to torch"""
    seed: Count = 42
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


def recipe_from_dict(data: Mapping[str, Any], origin: str = "recipe") -> Recipe:
    """A recipe from nested plain data.

    Raises:
        UsageError: for unknown keys, wrong types and numbers out of range, each named.
    """
    recipe = structured(data, Recipe, origin, "recipe")
    require_in_range(recipe, origin)
    return recipe


def require_in_range(recipe: Recipe, origin: str = "") -> None:
    """Refuse a recipe with a number that no task can use.

    Raises:
        UsageError: naming every such key with its value and what it may be.
    """
    faults = [*_out_of_range(recipe)]
    augment = recipe.augment
    if not augment.scale_min <= augment.scale_max:
        faults.append(
            f"augment.scale_min {augment.scale_min} is more than "
            f"augment.scale_max {augment.scale_max}"
        )
    if not augment.shift_min <= augment.shift_max:
        faults.append(
            f"augment.shift_min {augment.shift_min} is more than "
            f"augment.shift_max {augment.shift_max}"
        )
    if faults:
        raise UsageError((f"{origin}: " if origin else "") + "; ".join(faults))


def _out_of_range(settings: Any, path: str = "") -> Iterator[str]:
    """Every number outside the :class:`Range` of its field."""
    for key, hint in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, key)
        if is_dataclass(value):
            yield from _out_of_range(value, f"{path}{key}.")
            continue
        several = isinstance(value, tuple)
        values = value if several else (value,)
        if values and is_dataclass(values[0]):
            for number, one in enumerate(values, 1):
                yield from _out_of_range(one, f"{path}{key} {number}: ")
            continue
        kind = get_args(hint)[0] if several else hint
        for limits in getattr(kind, "__metadata__", ()):
            if not all(map(limits.holds, values)):
                yield f"{path}{key} {', '.join(map(str, values))}: {limits.advice}"


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Nested plain data (JSON-able) that :func:`recipe_from_dict` reads back to an equal recipe."""
    return plain(recipe)


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
        file = resources.files("lumbargrade") / "recipes" / f"{name_or_path}.toml"
        data = parse_plain(file.read_text("utf-8"), name_or_path)
    elif name_or_path.endswith(".toml") and Path(name_or_path).is_file():
        data = read_plain(Path(name_or_path))
    else:
        names = "\n  ".join(recipe_names())
        raise UsageError(f"no recipe {name_or_path!r}; recipes are:\n  {names}")
    return recipe_from_dict(data, name_or_path)
