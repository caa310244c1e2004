"""Which models made an out-of-fold file: a small JSON file beside it.

Names of recipes and folds stand in every row; here are the model folders, so that a blend can name
them, and digests, so that a model that was trained anew is not taken for the one that was measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lumbargrade import __version__
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.files.structures import plain, read_plain, structured
from lumbargrade.files.writing import sha256_of, write_text
from lumbargrade.models.checkpoint import MODEL_WEIGHTS, ModelMeta, read_meta

#: Version of the JSON layout; bumped when older programs could misread a newer file.
FORMAT = 1


@dataclass(frozen=True)
class ModelRecord:
    """A model folder, and which model was in it.

    Attributes:
        path: the folder; in files relative to the file where that can be.
        recipe, fold: the model; see `ModelSource`.
        digest: SHA-256 of its weight file, which holds its metadata too.
    """

    path: str
    recipe: str
    fold: int
    digest: str

    @property
    def source(self) -> ModelSource:
        """Which model it is."""
        return ModelSource(self.recipe, self.fold)

    def relative_to(self, folder: Path) -> ModelRecord:
        """The same for a file in ``folder``."""
        try:
            path = os.path.relpath(Path(self.path).resolve(), folder.resolve())
        except ValueError:  # another drive
            path = str(Path(self.path).resolve())
        return replace(self, path=Path(path).as_posix())

    def seen_from(self, folder: Path) -> ModelRecord:
        """The same with a path that holds from here, of a record read from a file in ``folder``."""
        return replace(self, path=os.path.normpath(folder / self.path))

    def require_unchanged(self, asked_by: str) -> ModelMeta:
        """Make sure that the model is there and is the one that was recorded.

        Raises:
            UsageError: naming the model and ``asked_by`` if it is gone or another one.
        """
        try:
            now = record_of(Path(self.path), meta := read_meta(self.path))
        except BadModel as error:
            raise UsageError(f"{asked_by}: {error}") from None
        name = f"{asked_by}: model {self.path}"
        for what in ("recipe", "fold"):
            if getattr(now, what) != getattr(self, what):
                raise UsageError(
                    f"{name}: {what} {getattr(now, what)}, not {getattr(self, what)} as measured"
                )
        if now.digest != self.digest:
            raise UsageError(f"{name} has changed since it was validated; run `validate` again")
        return meta


@dataclass(frozen=True)
class OofRecord:
    """What an out-of-fold file was made from.

    Attributes:
        format: version of the layout.
        folds: fingerprint of which study is in which fold (`validation.fold_fingerprint`).
        flip: whether predictions are averaged with the mirrored volumes.
        models: the models that were judged.
        guides: models that only placed points.
        lumbargrade: version of this package that wrote it.
    """

    format: int
    folds: str
    flip: bool
    models: tuple[ModelRecord, ...]
    guides: tuple[ModelRecord, ...] = ()
    lumbargrade: str = __version__


def record_of(path: Path, meta: ModelMeta) -> ModelRecord:
    """What identifies the model of a folder; reads its whole weight file once."""
    file = path / MODEL_WEIGHTS if path.is_dir() else path
    return ModelRecord(str(path), meta.recipe.name, meta.fold, sha256_of(file))


def origin_path(table: Path) -> Path:
    """Where the record of an out-of-fold file stands."""
    return table.with_suffix(".json")


def write_origin(table: Path, record: OofRecord) -> None:
    """Write the record of an out-of-fold file beside it, atomically."""

    def moved(models: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
        return tuple(m.relative_to(table.parent) for m in models)

    record = replace(record, models=moved(record.models), guides=moved(record.guides))
    write_text(origin_path(table), json.dumps(plain(record), indent=1) + "\n")


def read_origin(table: Path) -> OofRecord:
    """The record of an out-of-fold file, with paths that hold from here.

    Raises:
        UsageError: if there is none, or it is not one of this format.
    """
    path = origin_path(table)
    if not path.is_file():
        raise UsageError(
            f"{table}: no {path.name} beside it, so its models are not known; "
            "`lumbargrade validate` writes both"
        )
    content = read_plain(path)
    if content.get("format") != FORMAT:
        raise UsageError(f"{path}: not the record of an out-of-fold file of format {FORMAT}")
    record = structured(content, OofRecord, path, "record")

    def here(models: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
        return tuple(m.seen_from(path.parent) for m in models)

    return replace(record, models=here(record.models), guides=here(record.guides))
