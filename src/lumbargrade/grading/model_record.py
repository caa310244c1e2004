"""Record the models behind an out-of-fold file in a small JSON file beside it.

Every row of the table names recipes and folds. The record adds the model folders, which a blend
needs, and their digests, so that a retrained model is not mistaken for the measured one.
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
from lumbargrade.files.writing import write_text
from lumbargrade.inference.model_folder import ModelMeta, read_meta, weights_digest

#: Version of the JSON layout; bumped when older programs could misread a newer file.
FORMAT = 1


@dataclass(frozen=True)
class ModelRecord:
    """A model folder and the model in it.

    Attributes:
        path: the folder; in files it is relative to the file if possible.
        recipe, fold: the model; see `ModelSource`.
        digest: SHA-256 of its weight file, which also holds its metadata; of an export, that of the
            weight file it was made from.
    """

    path: str
    recipe: str
    fold: int
    digest: str

    @property
    def source(self) -> ModelSource:
        """The model's identity: recipe and fold."""
        return ModelSource(self.recipe, self.fold)

    def relative_to(self, folder: Path) -> ModelRecord:
        """Return the record with a path relative to ``folder``."""
        try:
            path = os.path.relpath(Path(self.path).resolve(), folder.resolve())
        except ValueError:  # another drive
            path = str(Path(self.path).resolve())
        return replace(self, path=Path(path).as_posix())

    def seen_from(self, folder: Path) -> ModelRecord:
        """Return the record with its path, which is relative to ``folder``, resolved."""
        return replace(self, path=os.path.normpath(folder / self.path))

    def require_unchanged(self, asked_by: str) -> ModelMeta:
        """Check that the model is still the recorded one, and return its metadata.

        Raises:
            UsageError: if it is missing or another model; the text begins with ``asked_by``.
        """
        try:
            now = record_of(Path(self.path), meta := read_meta(self.path))
        except BadModel as error:
            raise UsageError(f"{asked_by}: {error}") from None
        name = f"{asked_by}: model {self.path}"
        for what in ("recipe", "fold"):
            if getattr(now, what) != getattr(self, what):
                raise UsageError(
                    f"{name}: {what} {getattr(now, what)}, not {getattr(self, what)} as measured; "
                    "put the measured model back, or run `validate` again"
                )
        if now.digest != self.digest:
            raise UsageError(f"{name} has changed since it was validated; run `validate` again")
        return meta


@dataclass(frozen=True)
class OofRecord:
    """The models behind an out-of-fold file.

    Attributes:
        format: version of the layout.
        folds: fingerprint of the folds (`validation.out_of_fold.fold_fingerprint`).
        flip: whether predictions are averaged with the mirrored volumes.
        models: the validated models.
        guides: models that only placed points.
        lumbargrade: version of this package that wrote the file.
    """

    format: int
    folds: str
    flip: bool
    models: tuple[ModelRecord, ...]
    guides: tuple[ModelRecord, ...] = ()
    lumbargrade: str = __version__


def record_of(path: Path, meta: ModelMeta) -> ModelRecord:
    """Return the record of a model folder; this reads the whole weight file."""
    return ModelRecord(str(path), meta.recipe.name, meta.fold, weights_digest(path))


def oof_record_path(table: Path) -> Path:
    """Return the path of the record of an out-of-fold file."""
    return table.with_suffix(".json")


def write_oof_record(table: Path, record: OofRecord) -> None:
    """Write the record of an out-of-fold file beside it, atomically."""

    def moved(models: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
        return tuple(m.relative_to(table.parent) for m in models)

    record = replace(record, models=moved(record.models), guides=moved(record.guides))
    write_text(oof_record_path(table), json.dumps(plain(record), indent=1) + "\n")


def read_oof_record(table: Path) -> OofRecord:
    """Read the record of an out-of-fold file; its paths are resolved against its folder.

    Raises:
        UsageError: if there is no record, or it has another format.
    """
    path = oof_record_path(table)
    if not path.is_file():
        raise UsageError(
            f"{table}: no {path.name} beside it, so its models are unknown; "
            "run `lumbargrade validate`, which writes both"
        )
    content = read_plain(path)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{path}: not the record of an out-of-fold file of format {FORMAT}; "
            "`lumbargrade validate` writes one"
        )
    record = structured(content, OofRecord, path, "record")

    def here(models: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
        return tuple(m.seen_from(path.parent) for m in models)

    return replace(record, models=here(record.models), guides=here(record.guides))
