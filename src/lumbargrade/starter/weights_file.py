"""Read the starter's networks (ONNX) and the manifest that says where they come from.

The manifest, ``manifest.json``, lists every file with its SHA-256, so that a damaged or exchanged
file is noticed before a study is graded with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.structures import read_plain, structured
from lumbargrade.files.writing import sha256_of, write_text
from lumbargrade.inference.engines import OnnxEngine

#: Folder of the weights that come with the package.
SHIPPED = Path(__file__).with_name("weights")
MANIFEST = "manifest.json"

#: Version of the manifest's layout; bumped when older programs could misread a newer file.
FORMAT = 1

_ABSENT = "reinstall lumbargrade, or train the networks (`lumbargrade train starter/sagittal`)"


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation.

    Attributes:
        data: the images, in words, for example "60 mid-sagittal T2 images (SPIDER)".
        measure: what was measured, in words, with its unit.
        value: the figure.
        cases: how many points, studies or images it was measured on.
    """

    data: str
    measure: str
    value: float
    cases: int


@dataclass(frozen=True)
class WeightRecord:
    """Where a file of weights comes from.

    Attributes:
        sha256, bytes: of the file.
        recipe: the recipe that it was trained with.
        seed: random seed of weights and phantoms.
        phantoms: version of the phantoms.
        steps: training steps.
        minutes: duration of the training.
        device: what it was trained on, for example "1 H100, 16 cores".
        evaluation: what the network was evaluated on, and the results.
    """

    sha256: str
    bytes: int
    recipe: str
    seed: int
    phantoms: str
    steps: int
    minutes: float
    device: str
    evaluation: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Content of the manifest.

    Attributes:
        files: file name -> where it comes from.
        evaluation: results of the whole starter.
    """

    files: Mapping[str, WeightRecord]
    evaluation: tuple[Figure, ...] = ()
    format: int = field(default=FORMAT)

    def with_files(self, new: Mapping[str, WeightRecord]) -> Manifest:
        """Return the manifest with new or replaced files.

        Results of the whole starter were those of the earlier files, so they are dropped.
        """
        return replace(self, files={**self.files, **new}, evaluation=())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder atomically."""
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, allow_nan=False) + "\n")


def manifest_to_extend(folder: Path) -> Manifest:
    """Return the manifest of a folder; one without files if there is none yet.

    Raises:
        BadModel: if it is damaged or of another format.
    """
    return read_manifest(folder) if (folder / MANIFEST).exists() else Manifest({})


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder.

    Raises:
        BadModel: if it is absent, damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadModel(f"{path}: the starter's weights are absent; {_ABSENT}")
    content = read_plain(path, BadModel)
    if content.get("format") != FORMAT:
        raise BadModel(
            f"{path}: a manifest of format {content.get('format')}, not {FORMAT}; {_ABSENT}"
        )
    return structured(content, Manifest, path, "manifest", BadModel)


class OnnxNetwork(OnnxEngine):
    """A network of the starter that sees images, ready to run on the CPU."""

    def __call__(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run the network on a batch (B, C, H, W); return its outputs by name, as float32."""
        (given,) = self.session.get_inputs()
        outputs = self.run({given.name: np.asarray(image, np.float32)})
        return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


class SagittalNetwork(OnnxNetwork):
    """Sees slices with their neighbours in both orders, and returns the mean.

    The order of slices is that of the patient's sides, so a mirrored patient gets equal outputs.
    """

    def __call__(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        one, other = super().__call__(image), super().__call__(image[:, ::-1])
        return {name: _mean(values, other[name]) for name, values in one.items()}


class AxialNetwork(OnnxNetwork):
    """Sees slices as they are and mirrored, and returns the mean.

    A mirrored patient gets mirrored outputs, with left and right recesses exchanged.
    """

    def __call__(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        one, other = super().__call__(image), super().__call__(image[..., ::-1])
        back = {name: values[..., ::-1] for name, values in other.items()}
        back["recesses"] = back["recesses"][:, ::-1]
        return {name: _mean(values, back[name]) for name, values in one.items()}


def _mean(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((one + other) / 2, np.float32)


#: Networks by the stem of the file; any other is used as it is.
_KINDS = {"sagittal": SagittalNetwork, "axial": AxialNetwork}


@dataclass(frozen=True, eq=False)
class Weights:
    """The networks of a folder.

    Attributes:
        manifest: where they come from.
        networks: by the stem of the file: ``sagittal``, ``axial``, and ``grader`` if there is one.
    """

    manifest: Manifest
    networks: Mapping[str, OnnxNetwork]


def open_weights(
    folder: Path = SHIPPED, needed: tuple[str, ...] = ("sagittal", "axial")
) -> Weights:
    """Check and open every network that the manifest of a folder lists.

    Args:
        folder: folder of the weights.
        needed: networks that must be there.

    Raises:
        BadModel: if the manifest or a file is absent or damaged; the text names the file.
    """
    manifest = read_manifest(folder)
    if missing := [name for name in needed if f"{name}.onnx" not in manifest.files]:
        raise BadModel(f"{folder / MANIFEST}: no {missing[0]}.onnx in it; {_ABSENT}")
    networks = {
        Path(name).stem: _opened(folder / name, record) for name, record in manifest.files.items()
    }
    return Weights(manifest, networks)


def _opened(path: Path, record: WeightRecord) -> OnnxNetwork:
    if not path.is_file():
        raise BadModel(f"{path}: the starter's weights are absent; {_ABSENT}")
    if sha256_of(path) != record.sha256:
        raise BadModel(
            f"{path}: damaged or exchanged: its SHA-256 is not that of {MANIFEST}; {_ABSENT}"
        )
    return _KINDS.get(path.stem, OnnxNetwork)(path)
