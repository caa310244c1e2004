"""Download the wheels that a Python of another machine lacks, with what they need in turn."""

from __future__ import annotations

import logging
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import HeaderParser
from importlib import resources
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from lumbargrade.domain.errors import LumbargradeError, UsageError

log = logging.getLogger(__name__)

#: Packages that the image always has, for its own GPU driver; they are never put into a kit.
PREINSTALLED = frozenset({"torch", "torchvision"})

#: The newest C library that wheels may need: that of Ubuntu 22.04.
_GLIBC = 35


@dataclass(frozen=True)
class Target:
    """The Python that wheels are for: CPython on Linux, x86-64.

    Attributes:
        python: its version, for example ``3.12``.
    """

    python: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables of dependency markers."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def needs(self, requirement: Requirement, extras: Iterable[str] = ("",)) -> bool:
        """Whether a requirement applies, if a package is wanted with some extras."""
        marker = requirement.marker
        return marker is None or any(
            marker.evaluate({**self.environment, "extra": extra}) for extra in extras
        )

    @property
    def pip_options(self) -> list[str]:
        """Options of ``pip download``."""
        platforms = [f"manylinux_2_{n}_x86_64" for n in range(_GLIBC, 4, -1)]
        platforms += [f"manylinux{n}_x86_64" for n in ("2014", "2010", "1")]
        options = [f"--platform={platform}" for platform in platforms]
        return [*options, "--implementation=cp", f"--python-version={self.python}"]


@dataclass
class Gathered:
    """The wheels of a kit.

    Attributes:
        wheels: name -> version of each wheel that was downloaded.
        replaced: name -> version in the image, of packages that are too old there.
        wanted: name -> versions that are needed, of all packages: of wheels and of the image.
    """

    wheels: dict[str, Version] = field(default_factory=dict)
    replaced: dict[str, Version] = field(default_factory=dict)
    wanted: dict[str, SpecifierSet] = field(default_factory=dict)

    @property
    def requirements(self) -> list[str]:
        """What the wheels are for, as pip is asked for it."""
        return [f"{name}{self.wanted[name]}" for name in sorted(self.wheels)]


def read_image(path: Path | None) -> dict[str, Version]:
    """Read the output of ``pip freeze``; without a file, the list that comes with this package.

    Raises:
        UsageError: if it names no package.
    """
    if path is None:
        text = (resources.files("lumbargrade") / "kaggle/image.txt").read_text("utf-8")
    else:
        text = path.read_text("utf-8")
    found = {}
    for line in text.splitlines():
        name, equals, version = line.partition("==")
        try:
            if equals and not line.startswith("#"):
                found[canonicalize_name(name.strip())] = Version(version.strip())
        except InvalidVersion:
            log.warning("%s: %r is not a version; the package counts as absent", path, line)
    if not found:
        raise UsageError(f"{path}: no line NAME==VERSION; give the output of `pip freeze`")
    return {str(name): version for name, version in found.items()}


def gather(
    requirements: Sequence[Requirement],
    image: Mapping[str, Version],
    target: Target,
    folder: Path,
    source: Path | None = None,
) -> Gathered:
    """Download the wheels of requirements that an image does not fulfil.

    What the image fulfils is neither downloaded nor looked into. If a later requirement excludes a
    wheel that was downloaded before, another one is downloaded.

    Args:
        requirements: what must be there in the end.
        image: name -> version of the packages there.
        target: the Python of the image.
        folder: gets the wheels.
        source: a folder of wheels to take them from; None for the package index of pip.

    Raises:
        LumbargradeError: if a wheel cannot be found; the text has the last line of pip.
    """
    found = Gathered()
    wanted = found.wanted
    extras: dict[str, set[str]] = {}
    files: dict[str, Path] = {}
    todo = [r for r in requirements if target.needs(r)]
    while todo:
        changed = set()
        for requirement in todo:
            name = str(canonicalize_name(requirement.name))
            if name in PREINSTALLED:
                continue
            wanted[name] = wanted.get(name, SpecifierSet()) & requirement.specifier
            more = requirement.extras - extras.setdefault(name, {""})
            extras[name] |= more
            there = found.wheels.get(name) or image.get(name)
            if there is None or more or not wanted[name].contains(there, prereleases=True):
                changed.add(name)
        for name in changed:
            if (old := files.pop(name, None)) is not None:
                old.unlink()
        texts = [f"{name}{wanted[name]}" for name in sorted(changed)]
        for path in _download(texts, target, folder, source):
            raw, version, *_ = parse_wheel_filename(path.name)
            files[str(raw)] = path
            found.wheels[str(raw)] = version
        todo = [
            r for name in changed for r in required_by(files[name]) if target.needs(r, extras[name])
        ]
    found.replaced = {name: image[name] for name in found.wheels if name in image}
    return found


def _download(
    requirements: Sequence[str], target: Target, folder: Path, source: Path | None
) -> list[Path]:
    """Download a wheel for each requirement; return the new files."""
    if not requirements:
        return []
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", *target.pip_options]
    if source is not None:
        command += ["--no-index", "--find-links", str(source)]
    done = subprocess.run(
        [*command, "--dest", str(folder), *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = "; ".join(dict.fromkeys(errors)) or done.stderr.strip()[-300:]
        raise LumbargradeError(
            f"no wheels for Python {target.python} of {', '.join(requirements)}: {said}"
        )
    return sorted(set(folder.glob("*.whl")) - before)


def required_by(wheel: Path) -> list[Requirement]:
    """The requirements of a wheel, with their markers.

    Raises:
        LumbargradeError: if it is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if _is_metadata(n))
            header = HeaderParser().parsestr(archive.read(name).decode("utf-8"))
        return [Requirement(text) for text in header.get_all("Requires-Dist", [])]
    except (zipfile.BadZipFile, ValueError, InvalidRequirement) as error:
        raise LumbargradeError(f"{wheel}: not a usable wheel ({error})") from None


def _is_metadata(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder.endswith(".dist-info") and file == "METADATA"
