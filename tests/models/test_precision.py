"""Predictions in mixed precision: only where asked for, and never silently not finite.

A CPU stands in for CUDA: autocast computes there in bf16 and fp16 too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lumbargrade.config import TrainConfig
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.device import amp_dtype, run_forward
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine
from small_models import small_recipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

TASKS = (
    ("canal", "sagittal_t2"),
    ("foraminal", "sagittal_t1"),
    ("keypoints", "sagittal_t1"),
    ("keypoints", "axial_t2"),
    ("subarticular", "axial_t2"),
    ("two_stage", "axial_t2"),
)


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    monkeypatch.setattr("lumbargrade.models.device.amp_dtype", lambda *_: request.param)
    return request.param


def test_the_type_follows_the_recipe_and_a_cpu_is_always_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    found = {a: amp_dtype(TrainConfig(amp=a), CUDA) for a in ("auto", "bf16", "fp16", "off")}  # type: ignore[arg-type]
    half, brain = torch.float16, torch.bfloat16
    assert found == {"auto": half, "bf16": brain, "fp16": half, "off": None}
    assert {amp_dtype(TrainConfig(amp=a), CPU) for a in ("auto", "bf16", "fp16")} == {None}  # type: ignore[arg-type]


def predictions_of(
    task: str, view: str, store: VolumeStore, *, mixed: bool
) -> tuple[list[tuple[FloatArray, FloatArray]], set[torch.dtype]]:
    """What an untrained network says of all rows, and the types its convolutions gave.

    Probabilities and voxels of each row, (P, 3).
    """
    recipe = small_recipe(task, view=view)  # type: ignore[arg-type]
    learner = get_task(replace(recipe, train=replace(recipe.train, amp_prediction=mixed)))
    torch.manual_seed(3)
    network = learner.build_network(pretrained=False).eval()
    seen: set[torch.dtype] = set()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    rows = learner.rows(store)
    with torch.random.fork_rng(devices=[]):
        predictions = learner.predict_rows(
            TorchEngine(learner, network), store, rows, flip=learner.flips
        )
    assert len(predictions) == len(rows) > 0
    found = [
        (p.probability_rows(learner.targets), p.point_rows(learner.targets, patient=False))
        for p in predictions
    ]
    return found, seen


@pytest.mark.parametrize(("task", "view"), TASKS)
def test_a_task_predicts_in_mixed_precision_only_where_its_recipe_says_so(
    task: str, view: str, small_store: Any, dtype: torch.dtype
) -> None:
    """Close to fp32, in float64, every finding's probabilities summing to 1."""
    store = VolumeStore.open(small_store)
    plain, seen = predictions_of(task, view, store, mixed=False)
    assert seen == {torch.float32}
    mixed, seen = predictions_of(task, view, store, mixed=True)
    assert seen == {dtype}
    rounding = {torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    for (p, p_voxels), (m, m_voxels) in zip(plain, mixed, strict=True):
        assert m.dtype == m_voxels.dtype == np.float64
        assert (np.isfinite(m) == np.isfinite(p)).all()
        known = np.isfinite(m).all(axis=1)
        assert m[known].sum(axis=1) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(m, p, atol=rounding)
        assert not np.array_equal(m_voxels, p_voxels, equal_nan=True)


def test_without_mixed_precision_nothing_changes_on_a_cpu(small_store: Any) -> None:
    store = VolumeStore.open(small_store)
    plain, _ = predictions_of("foraminal", "sagittal_t1", store, mixed=False)
    asked, seen = predictions_of("foraminal", "sagittal_t1", store, mixed=True)
    assert seen == {torch.float32}
    for (p, p_voxels), (m, m_voxels) in zip(plain, asked, strict=True):
        assert np.array_equal(p, m)
        assert np.array_equal(p_voxels, m_voxels)


@dataclass(frozen=True)
class _Output:
    maps: tuple[Tensor, ...]
    named: dict[str, Tensor]
    none: Tensor | None = None


def test_an_output_that_overflows_is_computed_again_in_fp32(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """In whatever part of the output; 300 x 300 is more than fp16 holds, not more than bf16."""
    big = torch.full((2, 2), 300.0)

    def forward() -> _Output:
        product = big @ big
        return _Output((torch.ones(2), product.float()), {"int": torch.zeros(2, dtype=torch.long)})

    train = TrainConfig(amp_prediction=True)
    with caplog.at_level(logging.WARNING):
        output = run_forward(train, CPU, forward)
    assert bool(output.maps[1].isfinite().all())
    overflowed = dtype is torch.float16
    assert ("computing this batch again in fp32" in caplog.text) == overflowed
    assert output.maps[1].max().item() == pytest.approx(180000, rel=0 if overflowed else 0.01)

    caplog.clear()
    hidden = run_forward(train, CPU, lambda: _Output((), {"m": (big @ big).float()}))
    assert bool(hidden.named["m"].isfinite().all())
    assert ("computing this batch again" in caplog.text) == overflowed


def test_a_network_that_overflows_in_fp16_is_graded_all_the_same(
    small_store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights as large as this give NaN in fp16: without a second look no finding would be said."""
    monkeypatch.setattr("lumbargrade.models.device.amp_dtype", lambda *_: torch.float16)
    store = VolumeStore.open(small_store)
    recipe = small_recipe("canal", view="sagittal_t2")
    found = {}
    for mixed in (False, True):
        learner = get_task(replace(recipe, train=replace(recipe.train, amp_prediction=mixed)))
        torch.manual_seed(3)
        network: Any = learner.build_network(pretrained=False).eval()
        with torch.no_grad():
            network.head.grade[0].weight.mul_(1e7)
        rows = learner.rows(store)[:2]
        found[mixed] = learner.predict_rows(TorchEngine(learner, network), store, rows)
    assert "computing this batch again in fp32" in caplog.text
    for plain, mixed_one in zip(found[False], found[True], strict=True):
        said, mixed_said = (p.probability_rows(learner.targets) for p in (plain, mixed_one))
        assert np.isfinite(mixed_said).all()
        np.testing.assert_array_equal(said, mixed_said)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize(("task", "view"), TASKS)
def test_predictions_on_a_gpu_agree_with_the_cpu(
    task: str, view: str, amp: Any, small_store: Any
) -> None:
    store = VolumeStore.open(small_store)
    recipe = small_recipe(task, view=view)  # type: ignore[arg-type]
    learner = get_task(replace(recipe, train=replace(recipe.train, amp=amp, amp_prediction=True)))
    torch.manual_seed(3)
    network = learner.build_network(pretrained=False).eval()
    rows = learner.rows(store)
    ours = learner.predict_rows(TorchEngine(learner, network.to(CUDA)), store, rows)
    theirs = learner.predict_rows(TorchEngine(learner, network.to(CPU)), store, rows)
    for one, other in zip(ours, theirs, strict=True):
        on_gpu, on_cpu = (p.probability_rows(learner.targets) for p in (one, other))
        np.testing.assert_allclose(on_gpu, on_cpu, atol=0.1)
