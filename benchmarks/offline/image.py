"""A fresh Python environment that stands for Kaggle's: some packages are there, others are not."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: The package under test must come from the kit.
OWN = "lumbargrade"


@dataclass(frozen=True)
class Image:
    """An environment of `venv`.

    Attributes:
        python: its interpreter.
        freeze: a file like the output of ``pip freeze``.
        packages: names of the packages in it.
    """

    python: Path
    freeze: Path
    packages: frozenset[str]


def make_image(folder: Path, names: Collection[str] | None = None) -> Image:
    """Make an environment with packages of this one, as links.

    Args:
        folder: an empty folder.
        names: packages that it has, with all that they need; None for all of this environment,
            except this project.
    """
    known = {canonicalize_name(d.name): d for d in distributions()}
    wanted = set(known) if names is None else _closure({*names, "pip"}, known)
    wanted.discard(canonicalize_name(OWN))
    packages = folder / "packages"
    packages.mkdir(parents=True)
    site = Path(sysconfig.get_path("purelib"))
    for name in sorted(wanted & known.keys()):
        for entry in _entries(known[name]):
            if (site / entry).exists() and not (packages / entry).exists():
                (packages / entry).symlink_to(site / entry)
    place = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (own_site,) = place.glob("lib/python*/site-packages")
    (own_site / "image.pth").write_text(f"{packages}\n")
    freeze = folder / "image.txt"
    lines = [f"{known[n].name}=={known[n].version}" for n in sorted(wanted & known.keys())]
    freeze.write_text("\n".join(lines) + "\n")
    return Image(place / "bin" / "python", freeze, frozenset(wanted))


def _closure(names: Collection[str], known: dict[str, Distribution]) -> set[str]:
    """Names of installed packages and of all that they need."""
    found: set[str] = set()
    todo = [canonicalize_name(n) for n in names]
    while todo:
        name = todo.pop()
        if name in found or name not in known:
            continue
        found.add(name)
        for text in known[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(requirement.name))
    return found


def _entries(package: Distribution) -> set[str]:
    """Files and folders of a package at the top of ``site-packages``."""
    parts = {path.parts[0] for path in package.files or ()}
    return {p for p in parts if p not in ("..", "__pycache__") and not p.endswith(".pth")}
