"""Build a kit for the Kaggle competition: it installs, predicts and submits without a network.

OUT gets two folders. `dataset` has the wheels of lumbargrade and of the packages that Kaggle's
notebooks lack or have too old, a copy of the models, and the metadata of a dataset. `notebook` has
a notebook with its metadata, internet off: it installs from the dataset, predicts the studies of
the competition within its time limit and checks the submission. Upload both with Kaggle's program:

    kaggle datasets create -p OUT/dataset --dir-mode zip
    kaggle kernels push -p OUT/notebook

The models are tried on a phantom study before the wheels are downloaded.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lumbargrade.cli.model_options import ModelOptions

if TYPE_CHECKING:
    from packaging.version import Version

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Options of `lumbargrade kaggle-kit`; --device is that of the notebook."""

    out: Path
    """folder to write; it must not exist, or be an earlier kit, which is replaced"""
    user: str = ""
    """your account on Kaggle, for the metadata; if empty, put it there before you upload"""
    slug: str = "lumbargrade-kit"
    """name of the dataset on Kaggle; the notebook is called SLUG-submit"""
    python: str = "3.12"
    """Python version of Kaggle's notebooks"""
    image: Path | None = None
    """output of `pip freeze` in a Kaggle notebook; without it, a list in this program is used"""
    wheels: Path | None = None
    """folder of wheels to take instead of downloading"""
    trial: bool = True
    """try the models on a phantom study"""


def run(options: Options) -> int:
    import re

    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import atomic_folder
    from lumbargrade.kaggle.kit import DATASET, KIT, NO_USER, require_slug, size_of
    from lumbargrade.kaggle.wheels import read_image

    options.require_models()
    require_slug(options.slug)
    if not re.fullmatch(r"3\.\d+", options.python):
        raise UsageError(f"--python {options.python!r}: give a version such as 3.12")
    if options.wheels is not None and not options.wheels.is_dir():
        raise UsageError(f"--wheels {options.wheels}: no such folder")
    image = read_image(options.image)
    if options.out.exists() and not (options.out / DATASET / KIT).is_file():
        raise UsageError(f"{options.out} exists and is not a kit; choose another --out")
    with atomic_folder(options.out) as made:
        _build(options, made, image)
    megabytes = size_of(options.out / DATASET)
    log.info("%s: %.0f MB in %s", options.out, megabytes, DATASET)
    if not options.user:
        log.info("replace %s in both metadata files by your account on Kaggle", NO_USER)
    log.info("kaggle datasets create -p %s --dir-mode zip", options.out / DATASET)
    log.info("kaggle kernels push -p %s", options.out / "notebook")
    return 0


def _build(options: Options, made: Path, image: Mapping[str, Version]) -> None:
    from lumbargrade.files.mirror import local_copy
    from lumbargrade.grading.members import find_models
    from lumbargrade.kaggle.kit import (
        DATASET,
        NO_USER,
        NOTEBOOK,
        Chosen,
        add_wheels,
        copy_models,
        write_dataset_metadata,
        write_kit,
        write_notebook,
    )
    from lumbargrade.kaggle.own_wheel import read_project
    from lumbargrade.kaggle.trial import try_models
    from lumbargrade.kaggle.wheels import Target

    dataset, user = made / DATASET, options.user or NO_USER
    dataset.mkdir(parents=True)
    chosen = Chosen(
        models=find_models(map(local_copy, options.models)),
        guides=find_models(map(local_copy, options.guides)),
        unflipped=find_models(map(local_copy, options.unflipped)),
        blend=options.blend,
        flip=options.flip,
        engine=options.engine,
    )
    words = copy_models(chosen, dataset)
    log.info("%d models copied", sum(1 for _ in (dataset / "models").iterdir()))
    if options.trial:
        with tempfile.TemporaryDirectory() as place:
            trial = try_models(dataset, words, Path(place))
        log.info(
            "tried on a phantom study: %d of 25 findings predicted by %d models in %.0f s",
            trial.findings,
            len(trial.models),
            trial.seconds,
        )
    gathered = add_wheels(dataset, read_project(), Target(options.python), image, options.wheels)
    log.info("wheels for Python %s: %s", options.python, _named(gathered.wheels))
    if gathered.replaced:
        log.warning("newer than in Kaggle's image: %s", _named(gathered.replaced))
    words += ["--device", options.device]
    write_kit(dataset, words, gathered, options.python)
    write_dataset_metadata(dataset, user, options.slug)
    gpu = any(dataset.rglob("model.safetensors"))
    write_notebook(made / NOTEBOOK, user, options.slug, gpu=gpu)


def _named(versions: Mapping[str, Version]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "none"
