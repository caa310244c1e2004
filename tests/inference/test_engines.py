"""Engines: threads of this machine, and what is refused when an exported model is opened."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.inference import engines
from lumbargrade.inference.engines import OnnxEngine, threads
from made_weights import write_network


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("2,1", 2), ("0", 5), ("", 5)])
def test_threads_follow_omp_num_threads(
    given: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "usable_cpus", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads() == expected


def test_a_file_that_is_no_network_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(BadModel, match=r"model\.onnx: not a network that can be run"):
        OnnxEngine(tmp_path / "model.onnx")


def test_an_engine_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'lumbargrade\[openvino\]'"):
        engines.openvino_package()


def test_inputs_that_a_network_does_not_take_are_the_fault_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_network(path, 3, {"marks": (4, 2)})
    engine = OnnxEngine(path)
    with pytest.raises(BadModel, match=r"the network cannot run on image \(1, 5, 8, 8\), which"):
        engine.run({"image": np.zeros((1, 5, 8, 8), np.float32)})
