"""Convert the whole release to model folders, and say what is missing or left over."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.folders import walk
from lumbargrade.files.writing import sha256_of
from lumbargrade.inference.model_folder import MODEL_WEIGHTS
from lumbargrade.team_two_stage.members import Member, SetName, load_members
from lumbargrade.team_two_stage.model_files import import_released, read_released_meta

log = logging.getLogger(__name__)

#: Left-over files that are named; the others are counted.
_LISTED = 50


@dataclass(frozen=True)
class ReleaseImport:
    """What became of the files of a release.

    Attributes:
        imported: written by this run.
        kept: already there from an earlier run, from the same file.
        failed: files that are no such network -> why.
        missing: no file in any of its roots.
        left_over: files of the release that no network is read from, relative to it.
    """

    imported: tuple[Member, ...]
    kept: tuple[Member, ...]
    failed: dict[Member, str]
    missing: tuple[Member, ...]
    left_over: tuple[Path, ...]

    def lines(self) -> Iterator[str]:
        """Yield what a user must know, line by line."""
        for text in self.failed.values():
            yield f"not imported: {text}"
        for name, absent in _by_pattern(self.missing).items():
            yield f"missing: {name} ({_networks(absent)})"
        for path in self.left_over[:_LISTED]:
            yield f"left over, no network of the table: {path}"
        if more := self.left_over[_LISTED:]:
            yield f"left over, no network of the table: {len(more)} more files"
        there = {*self.imported, *self.kept}
        for name in get_args(SetName):
            needed = [member for member in load_members() if name in member.sets]
            count = sum(member in there for member in needed)
            state = "complete" if count == len(needed) else "incomplete"
            yield f"set {name}: {count} of {len(needed)} networks, {state}"
        yield f"{len(self.imported)} networks imported, {len(self.kept)} were already there"


def _by_pattern(missing: Sequence[Member]) -> dict[str, list[Member]]:
    """Group missing files of a folder, if it has none: by file, or by what all are named like."""
    folders: dict[tuple[str, ...], list[Member]] = {}
    for member in missing:
        folders.setdefault((*member.roots, member.folder), []).append(member)
    found = {}
    for members in folders.values():
        alike = [m for m in load_members() if _folder(m) == _folder(members[0])]
        if len(members) == len(alike) > 1:
            folds = f"{members[0].fold}..{members[-1].fold}"
            name = members[0].file.replace(str(members[0].fold), f"{{{folds}}}", 1)
            found[f"{_folder(members[0])}/{name}"] = members
        else:
            found |= {f"{_folder(m)}/{m.file}": [m] for m in members}
    return found


def _folder(member: Member) -> str:
    return f"{' or '.join(member.roots)}/{member.folder}"


def _networks(members: Sequence[Member]) -> str:
    used = ", ".join(f"set {name}" for name in members[0].sets) or "not used by either set"
    return f"{members[0].network}, {used}"


def import_release(root: Path, out: Path) -> ReleaseImport:
    """Convert every released file below a folder; one that does not fit stops no other.

    A model that an earlier run made from the same file is kept.

    Args:
        root: the folder that holds the released roots, ``wkdir_final`` and ``wkdir_final2``.
        out: folder for the models, each at its `Member.model_folder`.

    Raises:
        UsageError: if the folder holds none of the roots, or ``out`` lies in it.
        OSError: if a model cannot be written.
    """
    members = load_members()
    roots = list(dict.fromkeys(name for member in members for name in member.roots))
    if not any((root / name).is_dir() for name in roots):
        raise UsageError(f"{root} holds no folder {' or '.join(roots)}; give the one that does")
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--out {out} lies in the release {root}; choose another folder")
    files = {member: file for member in members if (file := _file(root, member)) is not None}
    imported, kept, failed = [], [], {}
    for member, file in files.items():
        folder = out / member.model_folder
        if _is_made_from(folder, member, file):
            kept.append(member)
            continue
        try:
            import_released(file, member.network, folder, member.fold)
        except BadModel as error:
            failed[member] = str(error)
            continue
        except OSError as error:
            if error.filename != str(file):
                raise
            failed[member] = f"{file}: {error.strerror}"
            continue
        imported.append(member)
        log.info("%s: model of %s, fold %d", folder, member.network, member.fold)
    missing = tuple(member for member in members if member not in files)
    left_over = tuple(_left_over(root, set(files.values())))
    return ReleaseImport(tuple(imported), tuple(kept), failed, missing, left_over)


def _file(root: Path, member: Member) -> Path | None:
    places = (root / name / member.folder / member.file for name in member.roots)
    return next((file for file in places if file.is_file()), None)


def _is_made_from(folder: Path, member: Member, file: Path) -> bool:
    if not (folder / MODEL_WEIGHTS).is_file():
        return False
    try:
        meta = read_released_meta(folder)
    except BadModel:
        return False
    same = (meta.network, meta.fold) == (member.network, member.fold)
    return same and meta.provenance.get("sha256") == sha256_of(file)


def _left_over(root: Path, used: Collection[Path]) -> Iterator[Path]:
    for folder, _, names in walk(root):
        for name in sorted(names):
            if folder / name not in used:
                yield (folder / name).relative_to(root)
