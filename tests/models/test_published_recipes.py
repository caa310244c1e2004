"""The seven published experiments carry every setting with which they were run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumbargrade.config import Published, Recipe, load_recipe, recipe_names
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.rows import select_rows
from lumbargrade.lsdc.tables import assign_folds, read_tables
from lumbargrade.models.registry import get_task
from lumbargrade.training.schedule import for_fold

NFN_AUGMENT = {
    "scale_min": -0.25, "scale_max": 0.35, "rotation": 20, "border": 5, "corners": 0.25,
    "blackout": 0.5, "shift_min": -0.25, "shift_max": 0.35,
}  # fmt: skip
SCS_AUGMENT = {
    "scale_min": -0.2, "scale_max": 0.2, "rotation": 15, "border": 10, "corners": 0.2,
    "blackout": 0, "shift_min": -0.2, "shift_max": 0.2,
}  # fmt: skip
COMMON_AUGMENT = {
    "flip": 0.5, "similarity": 0.7, "homography": 0.2, "brightness_contrast": 0.75,
    "brightness_limit": 0.2, "blur_or_noise": 0.5, "alignment": "ransac", "homography_border": 5,
}  # fmt: skip

# experiment: encoder, size, batch, [(learning rates, until)], score, with flips, any severe
PUBLISHED = {
    "one-stage-nfn-bugged/pvt_v2_b4-decoder3d-01": (
        "pvt_v2_b4", 320, 4,
        [((1e-4, 1e-4, 1e-5, 1e-5, 1e-5), (40, 40, 30, 45, 45)), ((1e-5,), (100,))],
        0.501, None, None,
    ),
    "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01": (
        "pvt_v2_b4", 320, 4, [((5e-5,), (83,))], 0.4923, 0.4909, None,
    ),
    "one-stage-nfn-fixed/convnext_small-decoder3d-01": (
        "convnext_small.fb_in22k", 320, 4, [((5e-5,), (70,))], 0.4910, 0.4889, None,
    ),
    "one-stage-nfn-fixed/effnet_b5-decoder3d-01": (
        "tf_efficientnet_b5.ns_jft_in1k", 384, 3, [((5e-5,), (70,))], 0.4876, 0.4851, None,
    ),
    "one-stage-scs/pvt_v2_b4-decoder2d-01": (
        "pvt_v2_b4", 320, 3,
        [((1e-4,), (11, 13, 6, 24, 12)), ((5e-5,), (21, 21, 28, 28, 24))],
        0.2691, None, 0.2396,
    ),
    "one-stage-scs/convnext_base-decoder2d-01": (
        "convnext_base.fb_in22k", 320, 3, [((5e-5,), (25,))], 0.2672, None, 0.2416,
    ),
    "one-stage-scs/effnet_b4-decoder2d-01": (
        "tf_efficientnet_b4.ns_jft_in1k", 384, 3, [((5e-5,), (37,))], 0.2742, None, 0.2512,
    ),
}  # fmt: skip


RESTARTS = {
    "one-stage-nfn-bugged/pvt_v2_b4-decoder3d-01": (28, 32, 25, 40, 40),
    "one-stage-scs/pvt_v2_b4-decoder2d-01": (10, 12, 5, 21, 10),
}

# experiment: epochs of the released weights, and their training steps by the names of their files
RELEASED = {
    "one-stage-nfn-bugged/pvt_v2_b4-decoder3d-01": (
        (84, 82, 92, 83, 76), (32592, 32144, 36524, 32619, 29488),
    ),
    "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01": (
        (83, 75, 38, 79, 74), (32204, 29400, 15086, 31047, 28712),
    ),
    "one-stage-nfn-fixed/convnext_small-decoder3d-01": (
        (59, 58, 50, 60, 52), (22892, 22736, 19850, 23580, 20176),
    ),
    "one-stage-nfn-fixed/effnet_b5-decoder3d-01": (
        (46, 53, 59, 51, 62), (23782, 27666, 31211, 26724, 32116),
    ),
    "one-stage-scs/pvt_v2_b4-decoder2d-01": (
        (19, 16, 23, 18, 12), (9899, 8416, 12259, 9486, 6276),
    ),
    "one-stage-scs/convnext_base-decoder2d-01": (
        (21, 15, 19, 17, 17), (10941, 7890, 10127, 8959, 8891),
    ),
    "one-stage-scs/effnet_b4-decoder2d-01": (
        (29, 28, 37, 22, 25), (15109, 14728, 19721, 11594, 13075),
    ),
}  # fmt: skip

# experiment: score and any severe over the studies of all folds together
POOLED = {
    "one-stage-scs/pvt_v2_b4-decoder2d-01": (0.2699, 0.2415),
    "one-stage-scs/convnext_base-decoder2d-01": (0.2680, None),
    "one-stage-scs/effnet_b4-decoder2d-01": (0.2748, None),
}

# experiment: score fold by fold
FOLDS = {"one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01": (0.473, 0.504, 0.500, 0.520, 0.465)}


def test_all_seven_are_there_and_named_as_published() -> None:
    assert {n for n in recipe_names() if n.startswith(("one-stage-nfn", "one-stage-scs"))} == set(
        PUBLISHED
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_table_row(name: str) -> None:
    encoder, size, batch, phases, score, score_flip, any_severe = PUBLISHED[name]
    recipe = load_recipe(name)
    assert recipe.name == name
    assert (recipe.encoder.name, recipe.encoder.pretrained) == (encoder, True)
    assert recipe.data.size == size
    assert recipe.data.frame == 512
    assert recipe.train.batch_size == batch
    assert [(p.lr, p.until) for p in recipe.train.phases] == phases
    assert recipe.published.score == score
    assert recipe.published.score_flip == score_flip
    assert recipe.published.any_severe == any_severe
    assert recipe.published.score_folds == FOLDS.get(name, ())
    pooled = recipe.published.score_pooled, recipe.published.any_severe_pooled
    assert pooled == POOLED.get(name, (None, None))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_last_phase_starts_where_it_did_and_reaches_the_released_weights(name: str) -> None:
    recipe = load_recipe(name)
    restart, (released, _) = RESTARTS.get(name, ()), RELEASED[name]
    assert recipe.train.restart_from == restart
    assert recipe.published.epochs == released
    phases = recipe.train.phases
    assert len(phases) == (2 if restart else 1)
    for fold, epoch in enumerate(released):
        assert epoch <= for_fold(phases[-1].until, fold)
        if restart:
            assert restart[fold] <= for_fold(phases[0].until, fold)
    # one released network of seven times five was taken from the first phase
    if restart:
        first = [f for f in range(5) if released[f] < restart[f]]
        assert first == ([3] if recipe.task == "canal" else [])


@pytest.mark.parametrize("name", PUBLISHED)
def test_released_weights_were_saved_after_whole_epochs(
    name: str, rows_by_fold: dict[str, list[int]]
) -> None:
    """With our rows and folds, the recipe's batch and a dropped last batch, to the step."""
    recipe = load_recipe(name)
    assert recipe.train.drop_last
    of_fold = rows_by_fold[recipe.task]
    epochs, steps = RELEASED[name]
    for fold, (epoch, step) in enumerate(zip(epochs, steps, strict=True)):
        batches = (sum(of_fold) - of_fold[fold]) // recipe.train.batch_size
        assert epoch * batches == step, fold


@pytest.fixture(scope="module")
def rows_by_fold(shared: Path) -> dict[str, list[int]]:
    """Rows of the published tables in each fold, by task."""
    fixes = shared / "reference/published/train_label_coordinates.fix01b.csv"
    tables = read_tables(shared / "realdata/rsna2024", label_fixes=fixes)
    folds = assign_folds(tables.grades)
    found = {}
    for task, condition in (("foraminal", Condition.FORAMINAL), ("canal", Condition.CANAL)):
        rows = select_rows(condition, tables.series, tables.points, include_wrong_left_points=True)
        found[task] = np.bincount([folds[entry.study_id] for entry in rows]).tolist()
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_regime(name: str) -> None:
    recipe = load_recipe(name)
    foraminal = recipe.task == "foraminal"
    assert foraminal == ("nfn" in name)
    assert recipe.network.decoder == ("3d" if foraminal else "2d")
    assert recipe.network.widths == (384, 192, 96)
    augment = COMMON_AUGMENT | (NFN_AUGMENT if foraminal else SCS_AUGMENT)
    assert {key: getattr(recipe.augment, key) for key in augment} == augment
    assert recipe.augment.flip_exchanges_sides == ("bugged" not in name)
    assert recipe.data.include_wrong_left_points == foraminal
    assert recipe.loss.class_weights == (1, 2, 4)
    assert recipe.loss.heatmap_sigma == (0 if foraminal else 1)
    assert recipe.loss.match_distance == 3
    assert recipe.loss.neighbour_distance == (1 if foraminal else 0.5)
    assert recipe.loss.heatmap_divergence == "jensen_shannon"
    assert {recipe.loss.coordinate, recipe.loss.heatmap, recipe.loss.grade} == {1.0}
    assert (recipe.train.ema_decay, recipe.train.schedule) == (0.99, "constant")
    assert (recipe.train.seed, recipe.train.weight_decay) == (1234, 0.01)
    assert (recipe.train.amp, recipe.train.amp_prediction) == ("fp16", True)
    assert recipe.train.flip_prediction
    assert recipe.train.drop_last
    assert (recipe.train.accumulate, recipe.train.validate_every) == (1, 1)
    assert (recipe.train.epochs, recipe.train.patience, recipe.train.clip_gradient) == (0, 0, 0)
    _per_fold_values_are_for_five_folds(recipe)


def _per_fold_values_are_for_five_folds(recipe: Recipe) -> None:
    for phase in recipe.train.phases:
        assert {len(phase.lr), len(phase.until)} <= {1, 5}
    per_fold = recipe.train.restart_from, recipe.published.epochs, recipe.published.score_folds
    assert {len(values) for values in per_fold} <= {0, 5}


@pytest.mark.parametrize("name", sorted(set(recipe_names()) - set(PUBLISHED)))
def test_our_own_recipes_keep_what_is_better(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.augment.alignment == "least_squares"
    assert (recipe.augment.shift_min, recipe.augment.shift_max) == (-10, 10)
    assert recipe.loss.neighbour_distance == 1
    assert not recipe.train.drop_last
    assert not recipe.train.amp_prediction
    assert not get_task(recipe).flips  # it doubles the time for nothing
    assert recipe.train.restart_from == ()
    assert recipe.published == Published()
