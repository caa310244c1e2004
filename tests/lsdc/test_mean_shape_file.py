"""Mean shapes from files: the published layouts are read right, everything else is refused."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.config import AugmentConfig, DataConfig, Recipe
from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.domain.geometry import apply_homography, scale_frame
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.mean_shape import FRAME, read_mean_shape
from lumbargrade.models.registry import get_task
from made_series import MadeStore, make_row
from small_models import small_recipe

FORAMINAL = np.array(
    [[290 - 7 * level + 2 * side, 140 + 55 * level + side] for side in (0, 1) for level in range(5)]
)
#: Anterior and posterior points of each level around the frame's centre.
CANAL = np.array(
    [[[-40.0 - level, 60 * level - 120], [45 - 3 * level, 55 * level - 105]] for level in range(5)]
)
POSTERIOR = CANAL[:, 1] + 256


def saved(folder: Path, array: object, name: str = "mean.npy") -> Path:
    np.save(folder / name, array)  # type: ignore[arg-type]
    return folder / name


@pytest.mark.parametrize(
    ("array", "condition", "expected"),
    [
        (FORAMINAL, Condition.FORAMINAL, FORAMINAL),
        (FORAMINAL.astype(np.float32), Condition.FORAMINAL, FORAMINAL),
        (np.asfortranarray(FORAMINAL.astype(">f8")), Condition.FORAMINAL, FORAMINAL),
        (CANAL.reshape(20), Condition.CANAL, POSTERIOR),
        (POSTERIOR, Condition.CANAL, POSTERIOR),
    ],
)
def test_each_layout_gives_points_of_the_frame(tmp_path, array, condition, expected):
    found = read_mean_shape(saved(tmp_path, array), condition)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_a_shape_of_a_store_can_be_given_back(tmp_path):
    for condition in (Condition.FORAMINAL, Condition.CANAL):
        shape = MadeStore(1).mean_shape(condition)
        np.testing.assert_array_equal(read_mean_shape(saved(tmp_path, shape), condition), shape)


def _with(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.astype(float)
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (CANAL.reshape(20), r"\(20,\) is the layout of spinal_canal_stenosis.*needs .* neural_for"),
        (POSTERIOR, r"\(5, 2\) is the layout of spinal_canal_stenosis.*give the other file"),
        (np.vstack([FORAMINAL, POSTERIOR]), r"array of shape \(15, 2\); a mean shape is one of"),
        (FORAMINAL.T, r"array of shape \(2, 10\)"),
        (np.float64(3), r"array of shape \(\)"),
        (np.zeros((0, 2)), r"array of shape \(0, 2\)"),
        (_with(FORAMINAL, (3, 1), np.nan), "finite"),
        (_with(FORAMINAL, (3, 1), np.inf), "finite"),
        (FORAMINAL > 200, r"\(bool\) are finite numbers"),
        (FORAMINAL.astype(complex), "complex"),
        (FORAMINAL.astype(str), "<U"),
        (CANAL.reshape(10, 2), "lies outside the 512 x 512 frame"),
        (FORAMINAL * 3, r"the point \(.*\) lies outside the 512 x 512 frame"),
        (FORAMINAL - 512, "lies outside the 512 x 512 frame"),
        (FORAMINAL[:, ::-1], "y does not grow from L1/L2 to L5/S1; give x before y"),
        (FORAMINAL[::-1], "y does not grow"),
        (np.full((10, 2), 200.0), "y does not grow"),
    ],
)
def test_other_arrays_are_refused_with_the_name_of_the_file(tmp_path, array, reason):
    with pytest.raises(BadInput, match=reason) as caught:
        read_mean_shape(saved(tmp_path, array), Condition.FORAMINAL)
    assert "mean.npy" in str(caught.value)


def test_a_foraminal_shape_is_no_canal_shape(tmp_path):
    with pytest.raises(BadInput, match=r"\(10, 2\) is the layout of neural_foraminal_narrowing"):
        read_mean_shape(saved(tmp_path, FORAMINAL), Condition.CANAL)


def test_files_that_are_no_arrays_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was unpickled",))

    good = saved(tmp_path, FORAMINAL).read_bytes()
    np.savez(tmp_path / "many.npz", FORAMINAL)
    saved(tmp_path, np.array([Trap()], dtype=object), "objects.npy")
    huge = good.replace(b"(10, 2), }" + b" " * 9, b"(10, 2222222222), }")
    assert len(huge) == len(good)
    assert huge != good
    for name, content in {
        "empty.npy": b"",
        "text.npy": b"290 140\n",
        "cut.npy": good[:-8],
        "header.npy": good[:40],
        "huge.npy": huge,
        "zip.npy": b"PK\x03\x04" + bytes(100),
        "pickle.npy": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
    }.items():
        (tmp_path / name).write_bytes(content)
    for path in tmp_path.iterdir():
        if path.name == "mean.npy":
            continue
        with pytest.raises(BadInput, match=path.name):
            read_mean_shape(path, Condition.FORAMINAL)
    for absent in (tmp_path, tmp_path / "absent.npy"):
        with pytest.raises(BadInput, match="no such file"):
            read_mean_shape(absent, Condition.FORAMINAL)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_damaged_files_never_give_another_kind_of_error(tmp_path):
    good = saved(tmp_path, FORAMINAL).read_bytes()
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "broken.npy", []
    for _ in range(400):
        broken = bytearray(good)
        for place in rng.integers(0, 128, 2):
            broken[place] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            read_mean_shape(path, Condition.FORAMINAL)
        except BadInput as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all("broken.npy" in text for text in refused)


@pytest.mark.parametrize("condition", [Condition.FORAMINAL, Condition.CANAL])
def test_the_published_files(shared, condition):
    folder = shared / "reference/published"
    if condition is Condition.FORAMINAL:
        found = read_mean_shape(folder / "nfn_sag_t1_mean_shape.512.npy", condition)
        np.testing.assert_allclose(found[[0, 5], 0], [294.2853716, 294.08954084])
    else:
        found = read_mean_shape(folder / "scs_sag_t2_mean.512.npy", condition)
        np.testing.assert_allclose(found[[0, 4], 0], [308.2083313, 304.4985562])
        np.testing.assert_allclose(found[[0, 4], 1], [148.063036, 349.2934503])
    assert len(found) == (10 if condition.sided else 5)


STILL = AugmentConfig(
    flip=0, similarity=1, homography=0, scale_min=0, scale_max=0, rotation=0, shift_min=0,
    shift_max=0, border=0, blackout=0, brightness_contrast=0, blur_or_noise=0,
)  # fmt: skip


def centred(points: np.ndarray) -> np.ndarray:
    return points - (points.min(axis=0) + points.max(axis=0)) / 2


@pytest.mark.parametrize(
    ("task", "view", "condition", "array", "shape"),
    [
        ("foraminal", "sagittal_t1", Condition.FORAMINAL, FORAMINAL, FORAMINAL),
        ("canal", "sagittal_t1", Condition.CANAL, CANAL.reshape(20), POSTERIOR),
        ("keypoints", "sagittal_t1", Condition.FORAMINAL, FORAMINAL, FORAMINAL),
        ("keypoints", "sagittal_t2", Condition.CANAL, POSTERIOR, POSTERIOR),
    ],
)
def test_samples_are_aligned_to_the_shape_of_the_file(
    tmp_path, task, view, condition, array, shape
):
    """Without scale, rotation and shift the points come to lie as the file says, box in the middle.

    The labelled points are the file's shape, turned, shrunk and shifted.
    """
    small = np.array([[0.3, -0.06, 20.0], [0.06, 0.3, 10.0], [0, 0, 1]])
    row = make_row(condition)
    row.points[:, :2] = apply_homography(small, shape)

    def placed(data: DataConfig) -> np.ndarray:
        recipe = replace(small_recipe(task, view), data=data, augment=STILL)
        sample = get_task(recipe).sample(MadeStore(1), row, np.random.default_rng(0))
        return apply_homography(scale_frame(data.size, FRAME), sample.points[:, :2])

    data = DataConfig(64, view=view)
    given = placed(replace(data, mean_shape=str(saved(tmp_path, array))))
    np.testing.assert_allclose(centred(given), centred(shape.astype(float)), atol=1e-3)
    assert np.abs(centred(placed(data)) - centred(shape.astype(float))).max() > 10


def test_only_training_needs_the_file(tmp_path):
    recipe = small_recipe("foraminal")
    recipe = replace(recipe, data=replace(recipe.data, mean_shape=str(tmp_path / "gone.npy")))
    task = get_task(recipe)
    assert task.sample(MadeStore(1), make_row(Condition.FORAMINAL)).image.shape[1:] == (64, 64)
    with pytest.raises(BadInput, match=r"gone\.npy: no such file"):
        task.read_files()


@pytest.mark.parametrize(
    ("task", "view"),
    [("subarticular", "sagittal_t1"), ("two_stage", "sagittal_t1"), ("keypoints", "axial_t2")],
)
def test_tasks_that_align_nothing_refuse_a_mean_shape(task, view):
    recipe: Recipe = small_recipe(task, view)
    get_task(recipe)
    with pytest.raises(
        UsageError, match=r"data\.mean_shape 'mean\.npy' .*whole sagittal series; remove"
    ):
        get_task(replace(recipe, data=replace(recipe.data, mean_shape="mean.npy")))


def test_a_file_that_changes_after_it_was_read_changes_nothing(tmp_path):
    recipe = small_recipe("foraminal")
    path = saved(tmp_path, FORAMINAL)
    recipe = replace(recipe, data=replace(recipe.data, mean_shape=str(path)), augment=STILL)
    task, row = get_task(recipe), make_row(Condition.FORAMINAL)
    task.read_files()
    saved(tmp_path, FORAMINAL * [1.5, 1])
    late = task.sample(MadeStore(1), row, np.random.default_rng(0))
    new = get_task(recipe).sample(MadeStore(1), row, np.random.default_rng(0))
    np.testing.assert_allclose(late.points[:, 1].max() - late.points[:, 1].min(), 27.5, atol=2)
    assert not np.allclose(late.points, new.points)


def test_a_header_that_claims_any_size_costs_nothing(tmp_path, recwarn):
    """Nor does a large file, or a header of Python 2."""
    head = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s, 2), }"
    for name, count, size in (("claim", "300000000", 160), ("big", "10", 3 << 30)):
        text = (head % count).ljust(117) + "\n"
        path = tmp_path / f"{name}.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + text.encode())
        with path.open("r+b") as stream:
            stream.truncate(size)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(BadInput, match=f"{name}.npy"):
            read_mean_shape(path, Condition.FORAMINAL)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    old = (head % "10L").ljust(117) + "\n"
    path = tmp_path / "old.npy"
    path.write_bytes(
        b"\x93NUMPY\x01\x00\x76\x00" + old.encode() + FORAMINAL.astype("<f8").tobytes()
    )
    np.testing.assert_array_equal(read_mean_shape(path, Condition.FORAMINAL), FORAMINAL)
    assert not recwarn.list
