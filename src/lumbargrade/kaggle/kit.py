"""Build a kit: a folder to upload as a dataset, and one with the notebook that uses it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from lumbargrade import __version__
from lumbargrade.domain.errors import UsageError
from lumbargrade.files.writing import write_text
from lumbargrade.grading.blend_file import read_blend, write_blend
from lumbargrade.grading.model_record import ModelRecord
from lumbargrade.inference.engines import MODEL_FILE
from lumbargrade.inference.model_folder import MODEL_WEIGHTS
from lumbargrade.kaggle.notebook import notebook_of
from lumbargrade.kaggle.own_wheel import NAME, Project, write_own_wheel
from lumbargrade.kaggle.wheels import Gathered, Target, gather
from lumbargrade.scoring.fill import training_fill
from lumbargrade.team_two_stage.folders import is_released

COMPETITION = "rsna-2024-lumbar-spine-degenerative-classification"

#: In metadata, where the name of a Kaggle account must be put; Kaggle's own program refuses it.
NO_USER = "INSERT_USERNAME_HERE"

DATASET, NOTEBOOK, KIT = "dataset", "notebook", "kit.json"

#: What models with torch weights need beside torch, by the names of the extra ``train``.
_FOR_TORCH = ("safetensors", "timm")


@dataclass(frozen=True)
class Chosen:
    """Models of a kit, as `submit` is told of them.

    Attributes:
        models, guides, unflipped: model folders.
        blend: a blend file instead of them, or None.
        flip: average with the mirrored volume.
        engine: what runs the models.
    """

    models: Sequence[Path] = ()
    guides: Sequence[Path] = ()
    unflipped: Sequence[Path] = ()
    blend: Path | None = None
    flip: bool = True
    engine: str = "auto"


def copy_models(chosen: Chosen, dataset: Path) -> list[str]:
    """Copy model folders, whole, and the blend; return the options of `submit` for them.

    Folders in the options begin with ``@kit``, in place of the dataset's folder.

    Raises:
        UsageError: if the blend or a model of it cannot be used.
        OSError: if something cannot be read or written.
    """
    if any(map(is_released, (*chosen.models, *chosen.guides, *chosen.unflipped))):
        raise UsageError("--models: a kit cannot hold the released two-stage networks; omit them")
    copied: dict[Path, Path] = {}

    def copy(folder: Path) -> Path:
        source = folder.resolve()
        if source not in copied:
            place = dataset / "models" / f"{len(copied):02d}-{_name(source)}"
            shutil.copytree(source, place)
            copied[source] = place
        return copied[source]

    options = ["--engine", chosen.engine, *([] if chosen.flip else ["--no-flip"])]
    for option in ("models", "guides", "unflipped"):
        if folders := getattr(chosen, option):
            places = [copy(folder).relative_to(dataset).as_posix() for folder in folders]
            options += [f"--{option}", *(f"@kit/{place}" for place in places)]
    if chosen.blend is not None:
        blend = read_blend(chosen.blend)
        if blend.takes_models:
            raise UsageError(
                f"--blend {chosen.blend}: a kit cannot hold the released two-stage networks; give "
                "a blend of `lumbargrade blend`"
            )

        def moved(records: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
            for record in records:
                record.require_unchanged(str(chosen.blend))
            return tuple(replace(r, path=str(copy(Path(r.path)))) for r in records)

        members = [
            replace(m, models=moved(m.models), guides=moved(m.guides)) for m in blend.members
        ]
        write_blend(dataset / "blend.toml", replace(blend, members=tuple(members)))
        options += ["--blend", "@kit/blend.toml"]
    return options


def _name(folder: Path) -> str:
    """A name that tells a model, from the last parts of its path."""
    parts = [p for p in folder.parts[-4:] if p not in ("model", folder.anchor)]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts))[-80:].strip("-.")


def requirements_of(dataset: Path, project: Project) -> list[Requirement]:
    """What must be installed to predict with the models of a kit, beside this package and torch."""
    found = []
    if any(dataset.rglob(MODEL_WEIGHTS)):
        known = project.of_extra("train")
        found += [known[name] for name in _FOR_TORCH]
    if any(dataset.rglob(MODEL_FILE["openvino"])):
        found += project.of_extra("openvino").values()
    return found


def add_wheels(
    dataset: Path,
    project: Project,
    target: Target,
    image: Mapping[str, Version],
    source: Path | None,
) -> Gathered:
    """Write the wheel of this package and those of what the image lacks; see `gather`."""
    wheels = dataset / "wheels"
    wheels.mkdir(parents=True)
    write_own_wheel(wheels, project)
    also = requirements_of(dataset, project)
    return gather([*project.requires, *also], image, target, wheels, source)


def write_kit(dataset: Path, options: Sequence[str], gathered: Gathered, python: str) -> None:
    """Write what the notebook reads of the kit."""
    content = {
        "lumbargrade": __version__,
        "python": python,
        # pip installs these without their dependencies: it would otherwise check all of the image
        "install": [f"{NAME}=={__version__}", *gathered.requirements],
        "needs": [f"{name}{versions}" for name, versions in sorted(gathered.wanted.items())],
        "options": list(options),
    }
    _write_json(dataset / KIT, content)


def write_dataset_metadata(dataset: Path, user: str, slug: str) -> None:
    """Write the file that Kaggle's program reads when it uploads the dataset."""
    content = {"title": _title(slug), "id": f"{user}/{slug}", "licenses": [{"name": "other"}]}
    _write_json(dataset / "dataset-metadata.json", content)


def write_notebook(folder: Path, user: str, slug: str, *, gpu: bool) -> Path:
    """Write the notebook, and the file that Kaggle's program reads when it uploads it."""
    script = (resources.files("lumbargrade") / "kaggle/cells.py").read_text("utf-8")
    fill = json.dumps({target.column: list(row) for target, row in training_fill([]).items()})
    script = script.replace("] = {}\n", f"] = json.loads({fill!r})\n", 1)
    name = f"{slug}-submit"
    path = folder / f"{name}.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(path, notebook_of(script))
    content = {
        "id": f"{user}/{name}",
        "title": _title(name),
        "code_file": path.name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": gpu,
        "enable_internet": False,
        "dataset_sources": [f"{user}/{slug}"],
        "competition_sources": [COMPETITION],
        "kernel_sources": [],
        "model_sources": [],
    }
    _write_json(folder / "kernel-metadata.json", content)
    return path


def require_slug(slug: str) -> None:
    """Check the name of the dataset in addresses of Kaggle.

    Raises:
        UsageError: if Kaggle would refuse it.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) or not 6 <= len(slug) <= 43:
        raise UsageError(
            f"--slug {slug!r}: use 6 to 43 lower-case letters, digits and single hyphens"
        )


def _title(slug: str) -> str:
    # Kaggle makes the slug of a title: lower case, hyphens for spaces
    return slug.replace("-", " ")


def _write_json(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def size_of(folder: Path) -> float:
    """Megabytes of the files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
