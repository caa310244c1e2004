"""Write a wheel of this package from its own files, without a build tool or a network."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

import lumbargrade
from lumbargrade import __version__
from lumbargrade.domain.errors import LumbargradeError

NAME = "lumbargrade"

_COMMAND = "[console_scripts]\nlumbargrade = lumbargrade.cli.main:entry\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: lumbargrade\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
#: Zip files cannot hold older dates; a fixed one makes equal wheels equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Project:
    """What an installer must know of this package.

    Attributes:
        python: Python versions that it runs on.
        requires: its requirements; those of an extra have the marker ``extra == "..."``.
    """

    python: str
    requires: tuple[Requirement, ...]

    def of_extra(self, extra: str) -> dict[str, Requirement]:
        """The requirements of an extra by name, without their markers."""
        found = {}
        for requirement in self.requires:
            marker = requirement.marker
            if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
                bare = Requirement(str(requirement))
                bare.marker = None
                found[bare.name] = bare
        return found


def read_project() -> Project:
    """Read the requirements of this package: from its source tree, or as it is installed.

    Raises:
        LumbargradeError: if there is neither.
    """
    source = Path(lumbargrade.__file__).parents[2] / "pyproject.toml"
    if source.is_file():
        content = tomllib.loads(source.read_text("utf-8")).get("project", {})
        if content.get("name") == NAME:
            return _of_source(content)
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        raise LumbargradeError(
            f"{NAME} runs neither from its source tree nor as an installed package; "
            f"install it with `pip install {NAME}`"
        ) from None
    requires = tuple(Requirement(text) for text in installed.requires or ())
    return Project(installed.metadata["Requires-Python"], requires)


def _of_source(content: dict[str, object]) -> Project:
    requires = [Requirement(text) for text in _texts(content.get("dependencies"))]
    extras = content.get("optional-dependencies")
    assert isinstance(extras, dict)
    for extra, texts in extras.items():
        for requirement in map(Requirement, _texts(texts)):
            own = f"({requirement.marker}) and " if requirement.marker else ""
            requirement.marker = Marker(f'{own}extra == "{extra}"')
            requires.append(requirement)
    return Project(str(content["requires-python"]), tuple(requires))


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(text) for text in value]


def write_own_wheel(folder: Path, project: Project) -> Path:
    """Write the wheel of this package, with the code that runs now, into a folder."""
    path = folder / f"{NAME}-{__version__}-py3-none-any.whl"
    info = f"{NAME}-{__version__}.dist-info"
    content = dict(_code())
    content[f"{info}/METADATA"] = _metadata(project).encode()
    content[f"{info}/WHEEL"] = _WHEEL.encode()
    content[f"{info}/entry_points.txt"] = _COMMAND.encode()
    record = io.StringIO(newline="")
    rows = csv.writer(record, lineterminator="\n")
    rows.writerows([name, _digest(data), len(data)] for name, data in content.items())
    rows.writerow([f"{info}/RECORD", "", ""])
    content[f"{info}/RECORD"] = record.getvalue().encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def _code() -> Iterator[tuple[str, bytes]]:
    root = Path(lumbargrade.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{NAME}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _metadata(project: Project) -> str:
    extras = [r.marker for r in project.requires if r.marker]
    names = sorted({v for m in extras for v in _extra_names(m)})
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {__version__}",
        f"Requires-Python: {project.python}",
        *(f"Provides-Extra: {name}" for name in names),
        *(f"Requires-Dist: {requirement}" for requirement in project.requires),
    ]
    return "\n".join(lines) + "\n"


def _extra_names(marker: Marker) -> Iterator[str]:
    *_, last = str(marker).split("extra == ")
    if last != str(marker):
        yield last.strip('"')


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
