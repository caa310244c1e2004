"""Learning rates, epochs and the restart follow the phases, per fold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lumbargrade.config import Phase, TrainConfig, load_recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.training.schedule import Position, for_fold, plan_of

PER_FOLD = TrainConfig(
    phases=(Phase((1e-4, 1e-4, 1e-5, 1e-5, 1e-5), (40, 40, 30, 45, 45)), Phase((1e-6,), (100,)))
)
RESTARTED = replace(PER_FOLD, restart_from=(28, 32, 25, 40, 40))


def walked(train: TrainConfig, fold: int) -> list[tuple[int, int, float]]:
    """Phase, epoch (from 1) and learning rate of all epochs that a trainer does, in order."""
    plan, at = plan_of(train, fold), Position()
    found = []
    while not plan.done(at):
        if plan.restarts(at):
            at = Position(plan.restart, restarted=True)
        assert plan.trained(at) == len(found) < plan.total
        found.append((plan.phase(at), at.epoch + 1, plan.rate(at, 0.5)))
        at = at._replace(epoch=at.epoch + 1)
    assert len(found) == plan.total
    return found


@pytest.mark.parametrize(
    ("fold", "epoch", "expected"),
    [(0, 0, 1e-4), (0, 39, 1e-4), (0, 40, 1e-6), (2, 0, 1e-5), (4, 44, 1e-5), (1, 99, 1e-6)],
)
def test_a_phase_ends_where_its_fold_says(fold: int, epoch: int, expected: float) -> None:
    assert plan_of(PER_FOLD, fold).rate(Position(epoch), 0.5) == expected
    assert walked(PER_FOLD, fold)[epoch][2] == expected


def test_the_last_phase_sets_the_number_of_epochs_and_an_override_wins() -> None:
    assert walked(TrainConfig(phases=PER_FOLD.phases, epochs=7), 3)[-1][1] == 7
    assert [e for _, e, _ in walked(PER_FOLD, 3)] == list(range(1, 101))
    assert [e for _, e, _ in walked(replace(PER_FOLD, epochs=120), 3)] == list(range(1, 121))


@pytest.mark.parametrize("fold", range(5))
def test_the_last_phase_restarts_from_the_epoch_of_its_fold(fold: int) -> None:
    """The published foraminal runs: the first phase to its end, then on from an earlier epoch."""
    end, restart = (40, 40, 30, 45, 45)[fold], (28, 32, 25, 40, 40)[fold]
    rate = (1e-4, 1e-4, 1e-5, 1e-5, 1e-5)[fold]
    first = [(1, e, rate) for e in range(1, end + 1)]
    last = [(2, e, 1e-6) for e in range(restart + 1, 101)]
    assert walked(RESTARTED, fold) == first + last


@pytest.mark.parametrize(
    ("epochs", "last", "trained"),
    [(1, 1, 1), (35, 35, 35), (40, 40, 40), (41, 41, 40 + 13), (100, 100, 112), (120, 120, 132)],
)
def test_a_short_run_ends_when_the_count_gets_there(epochs: int, last: int, trained: int) -> None:
    """In the part before the restart where that reaches it, else in the last phase."""
    found = walked(replace(RESTARTED, epochs=epochs), 0)
    assert len(found) == trained
    assert found[-1][1] == last
    assert found == walked(RESTARTED, 0)[:trained] or epochs > 100


def test_a_run_that_is_beyond_an_override_is_done() -> None:
    plan = plan_of(replace(RESTARTED, epochs=35), 0)
    assert plan.done(Position(30, restarted=True))
    assert plan.done(Position(50, restarted=True))
    assert plan.done(Position(38))
    assert not plan.restarts(Position(40))


def test_a_restart_after_three_phases_and_one_that_ends_before_the_phase_before_it() -> None:
    three = TrainConfig(
        phases=(Phase((3.0,), (2,)), Phase((2.0,), (4,)), Phase((1.0,), (3,))), restart_from=(1,)
    )
    assert walked(three, 0) == [
        *((1, 1, 3.0), (1, 2, 3.0), (2, 3, 2.0), (2, 4, 2.0)),
        *((3, 2, 1.0), (3, 3, 1.0)),
    ]


def test_one_restart_epoch_serves_all_folds() -> None:
    assert {plan_of(replace(PER_FOLD, restart_from=(20,)), f).restart for f in range(5)} == {20}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"restart_from": (28, 32)}, r"train\.restart_from: no setting for fold 4 among 2"),
        ({"restart_from": (46,)}, r"train\.restart_from 46 \(fold 4\).* ends at epoch 45"),
        ({"restart_from": (0,)}, r"train\.restart_from 0 .*epoch from 1 to 45"),
        ({"restart_from": (-1,)}, r"train\.restart_from -1"),
        (
            {"restart_from": (5,), "phases": (Phase((1.0,), (9,)),)},
            r"train\.restart_from 5 .*train\.phases has one phase",
        ),
        (
            {"restart_from": (5,), "phases": (Phase((1.0,), (9,)), Phase((1.0,), (5,)))},
            r"train\.restart_from 5 .*last phase ends at epoch 5",
        ),
        ({"keep": (28, 101)}, r"train\.keep 101: the training has epochs 1 to 100"),
        ({"keep": (0,)}, r"train\.keep 0"),
        ({"keep_every": -1}, r"train\.keep_every -1"),
        ({"phases": (Phase((1.0, 2.0), (9,)),)}, r"train\.phases\.lr: no setting for fold 4"),
        ({"phases": (Phase((1.0,), (9, 9)),)}, r"train\.phases\.until: no setting for fold 4"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of(replace(PER_FOLD, **changed), 4)


def test_epochs_are_kept_where_named_at_the_interval_and_for_the_restart() -> None:
    def kept(train: TrainConfig, restarted: bool, fold: int = 0) -> list[int]:
        plan = plan_of(train, fold)
        return [n for n in range(1, 101) if plan.keeps(Position(n, restarted))]

    assert kept(PER_FOLD, False) == []
    assert kept(replace(PER_FOLD, keep=(3, 70), keep_every=25), False) == [3, 25, 50, 70, 75, 100]
    assert kept(RESTARTED, False, fold=1) == [32]
    assert kept(RESTARTED, True, fold=1) == []
    assert kept(replace(RESTARTED, keep=(35,)), True) == [35]


def test_epochs_to_keep_may_lie_beyond_the_end_of_a_fold_or_of_a_short_run() -> None:
    assert plan_of(replace(PER_FOLD, keep=(100,), epochs=2), 0).keep == (100,)
    canal = TrainConfig(phases=(Phase((1.0,), (21, 28)),), keep=(25,))
    assert [plan_of(canal, f).keep for f in (0, 1)] == [(25,), (25,)]
    assert plan_of(replace(PER_FOLD, keep=(110,), epochs=110), 0).keep == (110,)


def test_published_canal_run_ends_at_its_own_epoch_in_each_fold() -> None:
    recipe = load_recipe("one-stage-scs/pvt_v2_b4-decoder2d-01")
    assert [walked(recipe.train, fold)[-1][1] for fold in range(5)] == [21, 21, 28, 28, 24]


def test_one_cycle_warms_up_peaks_and_decays() -> None:
    plan = plan_of(TrainConfig(phases=(Phase((1e-3,), (10,)),), schedule="one_cycle"), 0)
    rates = [plan.rate(Position(), i / 100) for i in range(101)]
    peak = max(rates)
    assert peak == pytest.approx(1e-3, rel=1e-6)
    assert rates.index(peak) == 10
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert rates[-1] == pytest.approx(1e-6, rel=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_fold_without_a_value_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="fold 5"):
        for_fold((1.0, 2.0), 5)
