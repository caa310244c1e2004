"""The starter's weights: what is opened is what the manifest lists, or the error names the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import BadModel
from lumbargrade.starter.weights_file import (
    MANIFEST,
    Figure,
    Manifest,
    open_weights,
    read_manifest,
    write_manifest,
)
from made_weights import record_of, write_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights")


def test_a_manifest_reads_back_as_it_was_written(folder: Path) -> None:
    figure = Figure("60 images", "points on the right disc (%)", 93.3, 300)
    record = record_of(folder / "axial.onnx", evaluation=(figure,))
    manifest = Manifest({"axial.onnx": record}, (figure, replace(figure, value=1.0)))
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest


def test_networks_run_in_batches_and_name_their_outputs(folder: Path) -> None:
    weights = open_weights(folder)
    assert set(weights.networks) == {"sagittal", "axial"}
    image = np.random.default_rng(1).random((2, 3, 32, 64), np.float32)
    out = weights.networks["sagittal"](image)
    shapes = {name: value.shape for name, value in out.items()}
    assert shapes == {
        "structures": (2, 6, 32, 64),
        "segments": (2, 11, 8, 16),
        "marks": (2, 4, 16, 32),
    }
    assert out["structures"].dtype == np.float32
    np.testing.assert_allclose(out["structures"][:, 1], 0.02 * image.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("name", "channels", "axis"), [("sagittal", 3, 1), ("axial", 1, 3)])
def test_a_mirrored_patient_gets_mirrored_outputs(name: str, channels: int, axis: int) -> None:
    """With the shipped networks: slices run from left to right, and columns of axial slices do."""
    network = open_weights().networks[name]
    image = np.random.default_rng(1).random((2, channels, 64, 96), np.float32)
    out, mirrored = network(image), network(np.flip(image, axis))
    if name == "axial":
        mirrored = {key: np.flip(value, 3) for key, value in mirrored.items()}
        mirrored["recesses"] = np.flip(mirrored["recesses"], 1)
        assert np.abs(out["recesses"][:, 0] - out["recesses"][:, 1]).max() > 0.1
    for key, value in out.items():
        np.testing.assert_allclose(value, mirrored[key], atol=1e-4)


def test_absent_weights_are_named_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"nowhere.*absent; reinstall lumbargrade, or train"):
        open_weights(tmp_path / "nowhere")
    (folder / "axial.onnx").unlink()
    with pytest.raises(BadModel, match=r"axial\.onnx: the starter's weights are absent"):
        open_weights(folder)
    manifest = read_manifest(folder)
    left = {k: v for k, v in manifest.files.items() if k != "axial.onnx"}
    write_manifest(folder, replace(manifest, files=left))
    with pytest.raises(BadModel, match=r"manifest\.json: no axial\.onnx in it"):
        open_weights(folder)
    assert set(open_weights(folder, ("sagittal",)).networks) == {"sagittal"}


def test_a_damaged_file_is_refused(folder: Path) -> None:
    path = folder / "sagittal.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadModel, match=r"sagittal\.onnx: damaged or exchanged"):
        open_weights(folder)
    path.write_bytes(b"not a network")
    files = {p.name: record_of(p) for p in folder.glob("*.onnx")}
    write_manifest(folder, Manifest(files))
    with pytest.raises(BadModel, match=r"sagittal\.onnx: not a network that can be run"):
        open_weights(folder)


def test_a_manifest_of_another_format_or_with_other_keys_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "format": 9}), encoding="utf-8")
    with pytest.raises(BadModel, match="format 9, not 1"):
        read_manifest(folder)
    path.write_text(json.dumps({**content, "colour": 3}), encoding="utf-8")
    with pytest.raises(BadModel, match="colour"):
        read_manifest(folder)
