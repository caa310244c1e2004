"""Tiny ONNX networks in place of the starter's, with the manifest that lists them."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper, save

from lumbargrade.files.writing import sha256_of
from lumbargrade.starter.weights_file import Manifest, WeightRecord, write_manifest

#: The outputs of each network: name -> channels and stride.
OUTPUTS = {
    "sagittal": {"structures": (6, 1), "segments": (11, 4), "marks": (4, 2)},
    "axial": {"structures": (5, 1), "recesses": (2, 2)},
}
CHANNELS = {"sagittal": 3, "axial": 1}


def write_network(path: Path, channels: int, outputs: dict[str, tuple[int, int]]) -> None:
    """Write a network whose outputs are multiples of the mean of its input; it marks nothing."""
    nodes, weights, infos = [], [], []
    for name, (count, stride) in outputs.items():
        kernel = [0.01 * (k + 1) for k in range(count) for _ in range(channels * stride**2)]
        shape = [count, channels, stride, stride]
        weights.append(helper.make_tensor(f"{name}.w", TensorProto.FLOAT, shape, kernel))
        bias = [-9.0 if name in ("marks", "recesses") else 0.0] * count
        weights.append(helper.make_tensor(f"{name}.b", TensorProto.FLOAT, [count], bias))
        inputs = ["image", f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Conv", inputs, [name], strides=[stride] * 2))
        size = [None, count, None, None]
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, channels, None, None])
    graph = helper.make_graph(nodes, path.stem, [image], infos, weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def record_of(path: Path, **also: object) -> WeightRecord:
    """The manifest's entry for a file."""
    about = {"phantoms": "7", "steps": 10, "minutes": 0.5, "device": "cpu", **also}
    size = path.stat().st_size
    return WeightRecord(sha256_of(path), size, f"starter/{path.stem}", 1, **about)  # type: ignore[arg-type]


def write_weights(folder: Path) -> Path:
    """Write both networks and their manifest; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, outputs in OUTPUTS.items():
        write_network(folder / f"{name}.onnx", CHANNELS[name], outputs)
    files = {path.name: record_of(path) for path in sorted(folder.glob("*.onnx"))}
    write_manifest(folder, Manifest(files))
    return folder
