"""Recipes: frozen, typed settings of an experiment, read from and written to strict TOML.

The classes below define the TOML files in ``recipes/``, the options of `train`
(``--train.epochs 3``), its ``--help`` text (the docstrings below each field) and the copy that is
saved with every model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.structures import parse_plain, plain, read_plain, structured

TaskName = Literal["foraminal", "canal", "subarticular", "keypoints", "two_stage"]

#: Networks of the starter that learn from an endless stream of phantoms.
StarterName = Literal["starter_sagittal", "starter_axial"]

#: Names of the views, as recipes write them.
ViewName = Literal["sagittal_t1", "sagittal_t2", "axial_t2"]


@dataclass(frozen=True)
class Range:
    """The valid values of a setting; they are the same for all tasks."""

    holds: Callable[[Any], bool]
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

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT])(i?)B\s*")


def bytes_of(size: str) -> int:
    """Convert a size such as ``16GB`` (16 * 10^9 bytes) or ``16GiB`` (16 * 2^30) to bytes.

    Raises:
        UsageError: if it is none.
    """
    if not (found := _SIZE.fullmatch(size)):
        raise UsageError(f"{size!r} is no size; give one such as 16GB or 16GiB")
    step = 1024 if found[3] else 1000
    factor: int = step ** (1 + "kMGT".index(found[2]))
    return round(float(found[1]) * factor)


def _is_size(text: str) -> bool:
    return not text or (_SIZE.fullmatch(text) is not None and bytes_of(text) > 0)


Memory = Annotated[str, Range(_is_size, "give a size such as 16GB, or nothing")]


@dataclass(frozen=True)
class EncoderConfig:
    """The 2-D image encoder, by its timm name."""

    name: str = "pvt_v2_b4"
    """timm model name, with the tag of its pretrained weights if it has one"""
    pretrained: bool = True
    """start from timm's pretrained weights"""
    weights: str = ""
    """local file with encoder weights; give it to avoid timm's download"""
    whole_model: bool = False
    """keep the parameter names of a whole timm model in state_dict (one published checkpoint needs
    this)"""
    stages: Size = 4
    """number of encoder stages (strides 4, 8, 16, 32) that are used"""


@dataclass(frozen=True)
class NetworkConfig:
    """The decoder and heads around the encoder."""

    decoder: Literal["2d", "3d"] = "3d"
    """3d: find a point by softmax over the whole volume (foraminal); 2d: find the slice, then the
    place in it (canal)"""
    widths: tuple[Size, ...] = (384, 192, 96)
    """decoder channels, coarse to fine"""
    depths: tuple[Size, ...] = (3, 3, 3)
    """3d: kernel size along the slices, per block; with 1 a block sees each slice alone"""
    features: Size = 128
    """3d: number of features from which grades are predicted"""
    hidden: Size = 64
    """2d: hidden channels of the heads"""
    neighbours: Count = 3
    """2d: the head averages the expected slice and this many slices on each side"""
    peak_radius: Count = 0
    """a point is the mean of the heatmap within this many mask pixels of its peak; 0: of the whole
    heatmap"""
    shared_encoder: bool = False
    """two_stage: share one encoder and decoder between all views"""
    checkpoint_gradients: bool = False
    """recompute the activations of all blocks in the backward pass: least memory, more time;
    train.max_memory recomputes only as many as needed"""


@dataclass(frozen=True)
class DataConfig:
    """Which data a training sample holds."""

    size: Size = 320
    """side of the square network input, pixels"""
    frame: Count = 0
    """tasks on whole series: resize images to a square of this side, augment them, then resize them
    to the network input (512 in the published runs); 0: resample once, which keeps them sharper"""
    include_wrong_left_points: bool = False
    """also train on the three studies with a wrong left T1 point, as the published runs did"""
    view: ViewName = "sagittal_t1"
    """keypoints: the view whose points are predicted"""
    mean_shape: str = ""
    """sagittal views: .npy file of the mean shape to which augmentation aligns points, in the
    layout of the published files or canal points as (5, 2); empty: that of the store's points"""
    points: str = ""
    """two_stage, subarticular: oof-points.csv of `validate`; crops are cut around these out-of-fold
    points. Studies without such points, or all studies if empty, are cut around their labels"""
    suspects: str = ""
    """contradicted.csv of `audit`; training uses these grades as often as suspect_weight says;
    scores count them like all others"""
    suspect_weight: Share = 1.0
    """share of the epochs in which the grades of data.suspects are used: 1 all epochs, 0 none"""


#: Keys of ``data`` that name files. The content of these files, not the path, identifies a run.
DATA_FILES = ("mean_shape", "points", "suspects")


@dataclass(frozen=True)
class CropConfig:
    """Crops around each level, for the tasks that grade levels separately."""

    axial_size: Size = 128
    """side of an axial crop, pixels"""
    axial_mm: Length = 64.0
    """side of an axial crop, mm"""
    sagittal_size: Size = 96
    """side of a sagittal crop, pixels"""
    sagittal_mm: Length = 64.0
    """side of a sagittal crop, mm"""
    lateral_mm: float = 10.0
    """distance of the centre of an axial crop from the canal, to its side, mm"""
    neighbours: Count = 2
    """number of slices on each side of the middle slice"""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training sample. Lengths are in pixels of a frame of 512."""

    flip: Share = 0.5
    """probability of reversing the slice order"""
    flip_exchanges_sides: bool = True
    """exchange left and right points and grades with the flip; false repeats the published bug"""
    similarity: Share = 0.7
    """probability of a similarity: align to the mean shape, then rotate, scale and shift"""
    homography: Share = 0.2
    """probability of a random homography; with probability 1 - similarity - homography, the
    geometry is unchanged"""
    alignment: Literal["least_squares", "ransac"] = "least_squares"
    """similarity: how points are aligned to the mean shape; ransac (as in the published runs) fits
    random pairs of points and keeps the fit with which most points agree"""
    scale_min: Scale = -0.25
    """similarity: smallest change of scale"""
    scale_max: float = 0.35
    """similarity: largest change of scale"""
    rotation: Amount = 20.0
    """similarity: largest rotation in either direction, degrees"""
    shift_min: float = -10.0
    """similarity: smallest shift of the points' bounding box from the middle of the frame, in x and
    in y"""
    shift_max: float = 10.0
    """similarity: largest shift"""
    border: Amount = 5.0
    """similarity: smallest distance of the points from the edge of the frame"""
    corners: Amount = 0.25
    """homography: largest shift of a corner, as a share of the frame"""
    homography_border: Amount = 5.0
    """homography: smallest distance of the points from the edge of the frame"""
    slices: Count = 0
    """train on this many neighbouring slices, chosen at random around the points; 0: on all"""
    jitter_mm: Amount = 0.0
    """crops: standard deviation of random shifts of the points that crops are cut around; 0: as
    measured on the out-of-fold points of data.points, or 2 mm without such points"""
    drop_view: Share = 0.0
    """two_stage: probability that a view is dropped; at least one view is kept"""
    blackout: Share = 0.5
    """probability of a black rectangle above the highest point"""
    brightness_contrast: Share = 0.75
    """probability of a change of brightness and contrast"""
    brightness_limit: Amount = 0.2
    """largest change of brightness and of contrast"""
    blur_or_noise: Share = 0.5
    """probability of motion blur, median blur, Gaussian blur (5 px) or noise"""


@dataclass(frozen=True)
class LossConfig:
    """Losses and their weights."""

    class_weights: tuple[Amount, ...] = (1.0, 2.0, 4.0)
    """weights of the grades normal/mild, moderate and severe in the loss"""
    heatmap_sigma: Amount = 0.0
    """sigma of the Gaussian of the true heatmap, mask pixels; 0: a single voxel"""
    heatmap_divergence: Literal["jensen_shannon", "cross_entropy"] = "jensen_shannon"
    """loss between predicted and true heatmap; cross_entropy learns faster from random
    weights"""
    neighbour_distance: Amount = 1.0
    """canal: grades are also read this far to the left, to the right, above and below a point (mask
    pixels, rounded); with 0.5 (as in the published runs) half of these are the point's own pixel"""
    match_distance: Amount = 3.0
    """foraminal: largest distance in y, mask pixels, at which a predicted point is trained with the
    grade of the nearest true point"""
    coordinate: Amount = 1.0
    """weight of the coordinate losses (xy and z)"""
    heatmap: Amount = 1.0
    """weight of the heatmap loss"""
    grade: Amount = 1.0
    """weight of the grade loss"""
    view_alone: Amount = 0.5
    """two_stage: weight of the loss of grades predicted from the view of the condition alone"""
    any_severe: Amount = 0.0
    """two_stage: weight of the any-severe loss of the official score"""


@dataclass(frozen=True)
class Phase:
    """A part of training with one learning rate. Tuples hold one value, or one per fold."""

    lr: tuple[Rate, ...] = (5e-5,)
    """learning rate"""
    until: tuple[Epoch, ...] = (80,)
    """last epoch of the phase, counted from the start of training"""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    phases: tuple[Phase, ...] = (Phase(),)
    """learning rates and epochs of the phases, in order"""
    epochs: Count = 0
    """stop after this many epochs, even if phases remain; 0: train all phases"""
    restart_from: tuple[int, ...] = ()
    """start the last phase from the averaged weights of this epoch (one, or one per fold), with a
    new optimiser, and count epochs from it; empty: continue after the previous phase. The option
    --restart is different: it deletes the run"""
    keep: tuple[int, ...] = ()
    """epochs whose averaged weights are also saved as models, beside the best model"""
    keep_every: Count = 0
    """also save every n-th epoch as a model: 1 all epochs, as in the published runs; 0 none"""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """learning rate: constant in each phase, or with warm-up and cosine decay over all epochs"""
    batch_size: Size = 4
    """number of volumes per step"""
    drop_last: bool = False
    """skip the last batch of an epoch if it is smaller than the others"""
    accumulate: Size = 1
    """number of steps whose gradients are added for one update of the optimiser"""
    weight_decay: Amount = 0.01
    """AdamW weight decay"""
    ema_decay: Share = 0.99
    """decay of the moving average of the weights; the averaged weights are validated and saved"""
    clip_gradient: Amount = 0.0
    """largest gradient norm; 0: gradients are not clipped"""
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"
    """mixed precision of training on CUDA; a CPU always computes in fp32"""
    flip_prediction: bool = True
    """average predictions with those of the mirrored series, if sides are separate outputs. This
    doubles the time; it gained 0.3 to 0.6 % of the published scores, and nothing on phantoms"""
    amp_prediction: bool = False
    """also predict in mixed precision on CUDA; false: predict in fp32"""
    patience: Count = 0
    """stop after this many epochs without a better score; 0: never stop early"""
    validate_every: Size = 1
    """number of epochs from one validation to the next"""
    workers: Count = 2
    """number of processes that load samples; 0: load in the training process"""
    threads: Count = 0
    """number of CPU threads of torch; 0: as many as torch chooses"""
    max_memory: Memory = ""
    """memory that training may use, such as 16GB: GPU memory, or on a CPU the memory of the process
    without its workers. As few activations as possible are recomputed to stay below it; results are
    the same. Empty: nothing is recomputed"""
    seed: Count = 42
    """random seed of weights, sample order and augmentation"""


@dataclass(frozen=True)
class Published:
    """Scores of the published run, shown beside new ones; empty for unpublished recipes."""

    score: float | None = None
    """local score, mean over the five folds"""
    score_flip: float | None = None
    """local score with flip averaging, mean over the five folds"""
    any_severe: float | None = None
    """any-severe loss, mean over the five folds"""
    score_folds: tuple[float, ...] = ()
    """local score of each fold"""
    score_flip_folds: tuple[float, ...] = ()
    """local score with flip averaging of each fold"""
    score_pooled: float | None = None
    """local score over the pooled studies of all folds"""
    any_severe_pooled: float | None = None
    """any-severe loss over the pooled studies of all folds"""
    epochs: tuple[int, ...] = ()
    """epoch of the released checkpoint of each fold"""


@dataclass(frozen=True)
class Recipe:
    """Settings of one experiment."""

    name: str
    """name of the recipe; its runs are saved in a folder of this name"""
    task: TaskName
    """what the model learns to predict"""
    summary: str = ""
    """one line that describes the recipe"""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    published: Published = field(default_factory=Published)
    init: str = ""
    """folder of a model whose weights training starts from; starter: the grader that comes with the
    package (task two_stage); empty: random weights, or those of encoder.pretrained"""


@dataclass(frozen=True)
class StarterNetworkConfig:
    """A small U-Net, see `lumbargrade.networks.starter`."""

    widths: tuple[Size, ...] = (16, 32, 48, 96, 144, 160)
    """channels at strides 1, 2, 4 and so on"""
    blocks: tuple[Count, ...] = (1, 1, 1, 0, 0)
    """number of residual blocks of the encoder at strides 2, 4 and so on"""
    wide_blocks: Count = 4
    """number of blocks with a large depthwise kernel at each of the two coarsest strides"""
    kernel: Size = 9
    """side of the large kernels; an odd number"""


@dataclass(frozen=True)
class StarterLossConfig:
    """Losses of the starter's networks and their weights."""

    structures: Amount = 1.0
    """weight of cross-entropy and soft Dice of the structures"""
    segments: Amount = 1.0
    """starter_sagittal: weight of the cross-entropy of the segments"""
    points: Amount = 1.0
    """weight of the loss of heatmaps (marks or recesses)"""
    structure_weights: tuple[Amount, ...] = (1.0, 1.0, 1.5, 2.0, 1.5, 4.0)
    """weights of the classes of structures in the cross-entropy; thin ones weigh more"""
    background_segment: Amount = 0.5
    """starter_sagittal: weight of pixels off the spine in the cross-entropy of the segments"""
    smoothing: Share = 0.05
    """starter_sagittal: label smoothing of the segments"""


@dataclass(frozen=True)
class StreamConfig:
    """How a network is trained on an endless stream of phantoms."""

    steps: Size = 20000
    """number of steps; may be changed when a run is resumed"""
    batch_size: Size = 6
    """number of phantom series per step"""
    lr: Rate = 2e-3
    """peak learning rate, with warm-up and cosine decay over all steps"""
    weight_decay: Amount = 0.01
    """AdamW weight decay"""
    ema_decay: Share = 0.999
    """decay of the moving average of the weights; the averaged weights are evaluated and saved"""
    clip_gradient: Amount = 2.0
    """largest gradient norm; 0: gradients are not clipped"""
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"
    """mixed precision; auto: on CUDA only. bf16 is also used on a CPU, and is faster on one that
    computes in it (AVX512-BF16, AMX)"""
    slices: Size = 2
    """starter_sagittal: number of slices of a series that are trained on: first inner ones, then
    those at the ends, which have one neighbour"""
    single_slice: Share = 0.15
    """starter_sagittal: share of series shown as single slices, without neighbours"""
    log_minutes: Amount = 1.0
    """minutes from one line of the log and of metrics.csv to the next"""
    save_minutes: Amount = 10.0
    """minutes from one saved state to the next"""
    evaluate_every: Count = 2000
    """number of steps from one evaluation to the next; 0: only at the end"""
    evaluation_series: Size = 100
    """number of held-out phantom series of an evaluation"""
    workers: Count = 1
    """number of processes that render phantoms; 0: render in the training process"""
    threads: Count = 0
    """number of CPU threads of torch; 0: as many as torch chooses"""
    seed: Count = 42
    """random seed of weights and phantoms"""


@dataclass(frozen=True)
class StarterRecipe:
    """Settings of one network of the starter."""

    name: str
    """name of the recipe"""
    task: StarterName
    """what the network learns to predict"""
    summary: str = ""
    """one line that describes the recipe"""
    init: str = ""
    """folder of an earlier run whose weights training starts from; empty: random weights"""
    network: StarterNetworkConfig = field(default_factory=StarterNetworkConfig)
    loss: StarterLossConfig = field(default_factory=StarterLossConfig)
    train: StreamConfig = field(default_factory=StreamConfig)


def recipe_from_dict(data: Mapping[str, Any], origin: str = "recipe") -> Recipe:
    """Build a recipe from nested plain data.

    Raises:
        UsageError: naming each unknown key, wrong type and number out of range.
    """
    recipe = structured(data, Recipe, origin, "recipe", partial=True)
    require_in_range(recipe, origin)
    return recipe


def starter_recipe_from_dict(data: Mapping[str, Any], origin: str = "recipe") -> StarterRecipe:
    """Build a recipe of a starter network from nested plain data.

    Raises:
        UsageError: naming each unknown key, wrong type and number out of range.
    """
    recipe = structured(data, StarterRecipe, origin, "recipe", partial=True)
    require_starter_in_range(recipe, origin)
    return recipe


def require_starter_in_range(recipe: StarterRecipe, origin: str = "") -> None:
    """Check the numbers of a recipe of a starter network; see `require_in_range`."""
    faults = [*_out_of_range(recipe)]
    network = recipe.network
    if len(network.widths) < 4:
        faults.append(f"network.widths {list(network.widths)}: give 4 widths or more")
    if len(network.blocks) != len(network.widths) - 1:
        faults.append(
            f"network.blocks {list(network.blocks)}: give one number less than network.widths has"
        )
    if network.kernel % 2 == 0:
        faults.append(f"network.kernel {network.kernel}: give an odd number")
    if faults:
        raise UsageError((f"{origin}: " if origin else "") + "; ".join(faults))


def require_in_range(recipe: Recipe, origin: str = "") -> None:
    """Check the numbers of a recipe.

    Raises:
        UsageError: naming each key with an invalid number, its value and the valid range.
    """
    faults = [*_out_of_range(recipe)]
    augment = recipe.augment
    if not augment.scale_min <= augment.scale_max:
        faults.append(
            f"augment.scale_min {augment.scale_min} is more than "
            f"augment.scale_max {augment.scale_max}: exchange them"
        )
    if not augment.shift_min <= augment.shift_max:
        faults.append(
            f"augment.shift_min {augment.shift_min} is more than "
            f"augment.shift_max {augment.shift_max}: exchange them"
        )
    if faults:
        raise UsageError((f"{origin}: " if origin else "") + "; ".join(faults))


def _out_of_range(settings: Any, path: str = "") -> Iterator[str]:
    """A message for each number outside the :class:`Range` of its field."""
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


def recipe_to_dict(recipe: Recipe | StarterRecipe) -> dict[str, Any]:
    """Nested plain data, for JSON, from which :func:`recipe_from_dict` builds an equal recipe."""
    return plain(recipe)


def _packaged() -> dict[str, dict[str, Any]]:
    """The content of all recipe files in the package, by sorted name."""
    root = resources.files("lumbargrade") / "recipes"
    files: dict[str, Any] = {}
    for entry in root.iterdir():
        if entry.is_dir():
            files |= {f"{entry.name}/{f.name}": f for f in entry.iterdir()}
        else:
            files[entry.name] = entry
    return {
        (name := file.removesuffix(".toml")): parse_plain(files[file].read_text("utf-8"), name)
        for file in sorted(files)
        if file.endswith(".toml")
    }


def _is_starter(data: Mapping[str, Any]) -> bool:
    return data.get("task") in get_args(StarterName)


def recipe_names() -> tuple[str, ...]:
    """Sorted names of the recipes in the package, without those of `starter_recipe_names`."""
    return tuple(name for name, data in _packaged().items() if not _is_starter(data))


def starter_recipe_names() -> tuple[str, ...]:
    """Sorted names of the recipes of starter networks in the package."""
    return tuple(name for name, data in _packaged().items() if _is_starter(data))


def load_recipe(name_or_path: str) -> Recipe:
    """Load a recipe of the package by name, or a TOML file by path.

    Raises:
        UsageError: for an unknown name (the message lists all names) or a malformed file.

    Examples:
        >>> recipe = load_recipe("one-stage-scs/pvt_v2_b4-decoder2d-01")
        >>> recipe.task, recipe.encoder.name
        ('canal', 'pvt_v2_b4')
    """
    return recipe_from_dict(_read_recipe(name_or_path), name_or_path)


def load_any_recipe(name_or_path: str) -> Recipe | StarterRecipe:
    """Load a recipe of either kind, see `load_recipe`; its task says which it is."""
    data = _read_recipe(name_or_path)
    read = starter_recipe_from_dict if _is_starter(data) else recipe_from_dict
    return read(data, name_or_path)


def _read_recipe(name_or_path: str) -> dict[str, Any]:
    packaged = _packaged()
    if name_or_path in packaged:
        return packaged[name_or_path]
    if name_or_path.endswith(".toml") and Path(name_or_path).is_file():
        return read_plain(Path(name_or_path))
    names = "\n  ".join(packaged)
    raise UsageError(f"no recipe {name_or_path!r}; give a TOML file or one of:\n  {names}")
