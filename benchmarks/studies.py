"""Data sets of any number of studies: ten phantom studies, listed again under new numbers.

So every data set has the same mix of series and slices, and its cost per study can be compared.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from lumbargrade.config import load_recipe
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import get_task
from lumbargrade.phantom.dataset import Settings, make_dataset

#: Added to study and series ids, times the number of the copy.
_STEP = 10**12


def make_studies(out: Path, studies: int, *, split: str = "train") -> Path:
    """Phantom studies in RLE, as LSDC has them."""
    settings = Settings(studies=studies, seed=7, first=0, split=split, transfer_syntax="rle")  # type: ignore[arg-type]
    make_dataset(out, settings, workers=0)
    return out


def repeat_studies(data: Path, out: Path, times: int) -> Path:
    """A data set that lists every study of another so many times; images are links.

    Only commands that go by the tables see more studies: the images say that they are the same.
    """
    out.mkdir(parents=True)
    for images in data.glob("*_images"):
        for series in images.glob("*/*"):
            for copy in range(times):
                study, number = (_renamed(name, copy) for name in (series.parent.name, series.name))
                link = out / images.name / study / number
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(series.resolve(), target_is_directory=True)
    for table in data.glob("t*.csv"):
        with table.open(newline="") as source:
            header, *rows = csv.reader(source)
        with (out / table.name).open("w", newline="") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(header)
            for copy in range(times):
                writer.writerows([_of_copy(header, row, copy) for row in rows])
    return out


def _of_copy(header: list[str], row: list[str], copy: int) -> list[str]:
    ids = ("study_id", "series_id")
    return [
        _renamed(value, copy) if name in ids else value
        for name, value in zip(header, row, strict=True)
    ]


def _renamed(number: str, copy: int) -> str:
    return str(int(number) + copy * _STEP)


def save_untrained(folder: Path, recipes: Sequence[str]) -> None:
    """A model of each recipe with fresh weights."""
    torch.manual_seed(0)
    for name in recipes:
        recipe = load_recipe(name)
        network = get_task(recipe).build_network(pretrained=False)
        save_model(folder / name, network, ModelMeta(recipe=recipe, fold=0))
