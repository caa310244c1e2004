"""Open exported models with ONNX Runtime or OpenVINO."""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.cpus import usable_cpus
from lumbargrade.files.extras import needs_extra
from lumbargrade.files.timing import stage
from lumbargrade.files.writing import sha256_of
from lumbargrade.inference.base import Arrays, Engine
from lumbargrade.inference.model_folder import MODEL_META, Export, ExportedFor, ModelMeta, Precision

#: Name of the network's file in an exported model.
MODEL_FILE: dict[ExportedFor, str] = {"onnx": "model.onnx", "openvino": "model.xml"}

#: Names of the engines for people.
ENGINE_NAMES: dict[ExportedFor, str] = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def threads() -> int:
    """Return how many threads a network uses.

    This is the first number of OMP_NUM_THREADS if it is set, otherwise the number of usable CPUs.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return usable_cpus()


def onnx_session(path: Path, precision: Precision = "fp32") -> onnxruntime.InferenceSession:
    """Open an ONNX file for the CPU.

    Raises:
        BadModel: if it cannot be run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    # idle threads of ONNX Runtime spin, and take the cores from the rest of the program
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "int8_weights":  # otherwise weights would be converted in every run
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  ONNX Runtime has no common class of its errors
        raise BadModel(f"{path}: not a network that can be run: {error}") from None


class CpuEngine(ABC):
    """A network on the CPU (an `Engine`).

    Args:
        path: its file.
        title: its name in a profile; by default that of the file.
    """

    name: str
    #: Errors of the package that runs the network.
    _errors: ClassVar[type[Exception]]

    def __init__(self, path: Path, title: str = "") -> None:
        self.path = path
        self._stage = f"network {title or path.stem}"

    def run(self, inputs: Arrays) -> Arrays:
        """Run the network.

        Raises:
            BadModel: if it does not take these inputs.
        """
        given = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        try:
            with stage(self._stage):
                return self._run(given)
        except self._errors as error:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
            text = str(error).strip().splitlines()
            raise BadModel(
                f"{self.path}: the network cannot run on {shapes}, which {MODEL_META} beside it "
                f"asks for; export the model again ({text[-1] if text else type(error).__name__})"
            ) from None

    @abstractmethod
    def _run(self, inputs: Arrays) -> Arrays:
        """Run the network on contiguous inputs."""


class OnnxEngine(CpuEngine):
    """A network in ONNX Runtime.

    Args:
        path: its ONNX file.
        title: its name in a profile; by default that of the file.
        precision: what it was exported in.

    Raises:
        BadModel: if it cannot be run.
    """

    name = f"ONNX Runtime {onnxruntime.__version__}"
    _errors = Exception  # ONNX Runtime has no common class of its errors

    def __init__(self, path: Path, title: str = "", precision: Precision = "fp32") -> None:
        super().__init__(path, title)
        self.session = onnx_session(path, precision)
        self._outputs = [output.name for output in self.session.get_outputs()]

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata in the file."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def _run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._outputs, self.session.run(self._outputs, dict(inputs)), strict=True))


class OpenVinoEngine(CpuEngine):
    """A network in OpenVINO.

    Args:
        path: its XML file; the weights lie beside it.
        title: its name in a profile; by default that of the file.
        precision: what it was exported in.

    Raises:
        BadModel: if it cannot be run.
        UsageError: if OpenVINO is not installed.
    """

    _errors = RuntimeError

    def __init__(self, path: Path, title: str = "", precision: Precision = "fp32") -> None:
        super().__init__(path, title)
        openvino = openvino_package()
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        settings = {
            "INFERENCE_NUM_THREADS": threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": 1,
        }
        try:
            self._compiled = _core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            text = str(error).strip().splitlines()
            raise BadModel(f"{path}: not a network that can be run: {text[-1]}") from None
        self._request = self._compiled.create_infer_request()

    def _run(self, inputs: Arrays) -> Arrays:
        found = self._request.infer(dict(inputs), share_inputs=True)
        return {port.get_any_name(): np.array(value) for port, value in found.items()}


def openvino_package() -> Any:
    """Return the package of OpenVINO.

    Raises:
        UsageError: if it is not installed.
    """
    with needs_extra("a model for OpenVINO"):
        import openvino  # type: ignore[import-untyped]
    return openvino


@lru_cache(maxsize=1)
def _core() -> Any:
    return openvino_package().Core()


def is_installed(engine: ExportedFor) -> bool:
    """Return whether the package of an engine is installed."""
    return engine == "onnx" or importlib.util.find_spec("openvino") is not None


def open_exported(folder: Path, meta: ModelMeta) -> Engine:
    """Open an exported model.

    Args:
        folder: the model's folder.
        meta: its metadata.

    Raises:
        BadModel: if a file is missing or is not the one that was verified, or cannot be run.
        UsageError: if its engine is not installed.
    """
    export = meta.export
    assert export is not None
    _require_intact(folder, export)
    kind = OnnxEngine if export.engine == "onnx" else OpenVinoEngine
    return kind(folder / MODEL_FILE[export.engine], meta.recipe.name, export.precision)


def _require_intact(folder: Path, export: Export) -> None:
    for name, digest in export.files.items():
        path = folder / name
        if not path.is_file():
            raise BadModel(f"{path}: missing; export the model again")
        if sha256_of(path) != digest:
            raise BadModel(
                f"{path}: damaged or changed: its SHA-256 is not that of the file that was "
                "verified; export the model again"
            )
