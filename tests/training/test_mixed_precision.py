"""Mixed precision in training: the scaled loss, steps that are left out, and the average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lumbargrade.config import Phase
from lumbargrade.lsdc.store import VolumeStore
from small_runs import metrics_of, small_recipe, small_trainer, state_of


@pytest.fixture
def fp16_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU computes fp16 autocast too, only slowly; so what CUDA does can be looked at."""
    monkeypatch.setattr("lumbargrade.training.loop.amp_dtype", lambda *_: torch.float16)


@pytest.mark.parametrize("task", ["canal", "foraminal"])
def test_losses_of_an_fp16_pass_are_fp32_and_scaled(
    task: str, store: VolumeStore, tmp_path: Path, fp16_on_cpu: None
) -> None:
    trainer = small_trainer(small_recipe(task, phases=(Phase((1e-3,), (1,)),)), store, tmp_path)
    assert trainer.learner.scaler.is_enabled()
    forward, loss = trainer.task.forward, trainer.task.loss

    def checked(output: Any, batch: Any) -> Any:
        assert not torch.is_autocast_enabled("cpu")
        terms = loss(output, batch)
        assert {v.dtype for v in (terms.total, *terms.parts.values())} == {torch.float32}
        return terms

    def in_fp16(network: Any, batch: Any) -> Any:
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.float16
        return forward(network, batch)

    trainer.task.loss = checked  # type: ignore[method-assign]
    trainer.task.forward = in_fp16  # type: ignore[method-assign]
    trainer.run()
    assert state_of(tmp_path)["parts"]["scaler"]["scale"] > 1
    assert torch.isfinite(torch.tensor(float(metrics_of(tmp_path)[0]["train_loss"])))


def test_a_step_whose_gradients_overflow_is_left_out_and_the_average_stays_finite(
    store: VolumeStore, tmp_path: Path, fp16_on_cpu: None
) -> None:
    """As in the published runs the average takes in the unchanged weights once more."""
    recipe = small_recipe("canal", phases=(Phase((1e-3,), (1,)),), ema_decay=0.8)
    trainer = small_trainer(recipe, store, tmp_path)
    learner = trainer.learner
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)  # none overflows by itself
    move, seen = learner.move, []

    def overflow_in_the_second() -> None:
        weights = [p.detach().clone() for p in learner.network.parameters()]
        average = [p.detach().clone() for p in learner.average.module.parameters()]
        scale = learner.scaler.get_scale()
        if len(seen) == 1:
            next(p for p in learner.network.parameters() if p.grad is not None).grad.fill_(
                float("inf")
            )
        move()
        moved = any(
            not torch.equal(a, b)
            for a, b in zip(weights, learner.network.parameters(), strict=True)
        )
        seen.append((moved, learner.scaler.get_scale() / scale))
        if len(seen) > 1:
            for old, new, now in zip(
                average,
                learner.average.module.parameters(),
                learner.network.parameters(),
                strict=True,
            ):
                torch.testing.assert_close(new, 0.8 * old + 0.2 * now)

    learner.move = overflow_in_the_second  # type: ignore[method-assign]
    trainer.run()
    assert seen == [(True, 1.0), (False, 0.5), (True, 1.0)]
    average = state_of(tmp_path)["parts"]["average"]
    assert all(bool(v.isfinite().all()) for v in average.values())
