"""Learning rates and epochs follow the phases, per fold."""

from __future__ import annotations

import pytest

from lumbargrade.config import Phase, TrainConfig, load_recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.training.schedule import for_fold, learning_rate, total_epochs

PER_FOLD = TrainConfig(
    phases=(Phase((1e-4, 1e-4, 1e-5, 1e-5, 1e-5), (40, 40, 30, 45, 45)), Phase((1e-5,), (100,)))
)


@pytest.mark.parametrize(
    ("fold", "epoch", "expected"),
    [(0, 0, 1e-4), (0, 39, 1e-4), (0, 40, 1e-5), (2, 0, 1e-5), (4, 44, 1e-5), (1, 99, 1e-5)],
)
def test_a_phase_ends_where_its_fold_says(fold: int, epoch: int, expected: float) -> None:
    assert learning_rate(PER_FOLD, fold, epoch, 0.5) == expected


def test_the_last_phase_sets_the_number_of_epochs_and_an_override_wins() -> None:
    assert total_epochs(PER_FOLD, 3) == 100
    assert total_epochs(TrainConfig(phases=PER_FOLD.phases, epochs=7), 3) == 7


def test_published_canal_run_ends_at_its_own_epoch_in_each_fold() -> None:
    recipe = load_recipe("one-stage-scs/pvt_v2_b4-decoder2d-01")
    assert [total_epochs(recipe.train, fold) for fold in range(5)] == [21, 21, 28, 28, 24]


def test_one_cycle_warms_up_peaks_and_decays() -> None:
    train = TrainConfig(phases=(Phase((1e-3,), (10,)),), schedule="one_cycle")
    rates = [learning_rate(train, 0, 0, i / 100) for i in range(101)]
    peak = max(rates)
    assert peak == pytest.approx(1e-3, rel=1e-6)
    assert rates.index(peak) == 10
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert rates[-1] == pytest.approx(1e-6, rel=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_fold_without_a_value_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="fold 5"):
        for_fold((1.0, 2.0), 5)
