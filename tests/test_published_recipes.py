"""The seven published experiments carry every setting that was published."""

from __future__ import annotations

import pytest

from lumbargrade.config import Recipe, load_recipe, recipe_names

NFN_AUGMENT = {
    "scale_min": -0.25, "scale_max": 0.35, "rotation": 20, "border": 5, "corners": 0.25,
    "blackout": 0.5,
}  # fmt: skip
SCS_AUGMENT = {
    "scale_min": -0.2, "scale_max": 0.2, "rotation": 15, "border": 10, "corners": 0.2,
    "blackout": 0,
}  # fmt: skip
COMMON_AUGMENT = {
    "flip": 0.5, "similarity": 0.7, "homography": 0.2, "brightness_contrast": 0.75,
    "brightness_limit": 0.2, "blur_or_noise": 0.5,
}  # fmt: skip

# experiment: encoder, size, batch, [(learning rates, until)], score, with flips, any severe
PUBLISHED = {
    "one-stage-nfn-bugged/pvt_v2_b4-decoder3d-01": (
        "pvt_v2_b4", 320, 4,
        [((1e-4, 1e-4, 1e-5, 1e-5, 1e-5), (40, 40, 30, 45, 45)), ((1e-5,), (100,))],
        0.501, None, None,
    ),
    "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01": (
        "pvt_v2_b4", 320, 4, [((5e-5,), (80,))], 0.4923, 0.4909, None,
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
        "convnext_base.fb_in22k", 320, 4, [((5e-5,), (25,))], 0.2672, None, 0.2416,
    ),
    "one-stage-scs/effnet_b4-decoder2d-01": (
        "tf_efficientnet_b4.ns_jft_in1k", 384, 3, [((5e-5,), (31,))], 0.2742, None, 0.2512,
    ),
}  # fmt: skip


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
    assert recipe.train.batch_size == batch
    assert [(p.lr, p.until) for p in recipe.train.phases] == phases
    assert recipe.published.score == score
    assert recipe.published.score_flip == score_flip
    assert recipe.published.any_severe == any_severe


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
    assert {recipe.loss.coordinate, recipe.loss.heatmap, recipe.loss.grade} == {1.0}
    assert (recipe.train.ema_decay, recipe.train.schedule) == (0.99, "constant")
    assert (recipe.train.accumulate, recipe.train.validate_every) == (1, 1)
    assert (recipe.train.epochs, recipe.train.patience, recipe.train.clip_gradient) == (0, 0, 0)
    _per_fold_values_are_for_five_folds(recipe)


def _per_fold_values_are_for_five_folds(recipe: Recipe) -> None:
    for phase in recipe.train.phases:
        assert {len(phase.lr), len(phase.until)} <= {1, 5}
