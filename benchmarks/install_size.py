"""What an installation for grading weighs, and that it grades.

``python -m benchmarks.install_size`` installs the package and what it needs (inference.lock) into a
fresh environment, grades a phantom study there, and prints the size of the largest packages. It
needs a package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.common import ROOT, markdown_table, number, progress

#: The smallest part of the installation that gets a row, MB.
_SHOWN_MB = 5.0


def sizes(site: Path) -> Counter[str]:
    """Bytes by package of a site-packages folder."""
    found: Counter[str] = Counter()
    for package in distributions(path=[str(site)]):
        files = [Path(str(package.locate_file(f))) for f in package.files or ()]
        found[package.metadata["Name"]] = sum(f.stat().st_size for f in files if f.is_file())
    return found


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file() or f.is_symlink())


def main() -> int:
    """Install, grade and print."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder, "environment")
        venv.create(fresh, with_pip=False)
        chosen = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        chosen["VIRTUAL_ENV"] = str(fresh)
        for what in (["--require-hashes", "-r", str(ROOT / "inference.lock")], [str(ROOT)]):
            progress(f"installing {what[-1]}")
            subprocess.run([uv, "pip", "install", "-q", "--no-deps", *what], env=chosen, check=True)
        out = str(Path(folder, "demo"))
        program = str(fresh / ("Scripts" if os.name == "nt" else "bin") / "lumbargrade")
        subprocess.run([program, "demo", "--out", out], env=chosen, check=True)
        (site,) = {p.parent for p in fresh.rglob("site-packages/numpy")}
        whole, parts = folder_bytes(fresh), sizes(site)
    rows = [
        [name, number(size / 1e6)] for name, size in parts.most_common() if size / 1e6 >= _SHOWN_MB
    ]
    print(markdown_table(["package", "MB"], [*rows, ["**all**", number(whole / 1e6)]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
