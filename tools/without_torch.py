"""Splits a hash-locked requirements file into torch and the rest, for the smaller CPU build.

    python tools/without_torch.py < requirements.lock          # all but torch and GPU libraries
    python tools/without_torch.py --torch < requirements.lock  # torch==X torchvision==Y

The default torch wheel brings gigabytes of CUDA libraries. The CPU build has the same version but
another wheel, which the lock file's hashes do not cover, so it is installed apart.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

TORCH = ("torch", "torchvision")
_GPU = re.compile(r"torch|torchvision|triton|pytorch-triton.*|(nvidia|cuda)-.*")
_PINNED = re.compile(r"(?P<name>[a-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)", re.IGNORECASE)


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and lines of each requirement; its hashes are the indented lines below it.

    Comments, blank lines and options before or between requirements come with an empty name.
    """
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if lines and not line.startswith((" ", "\t")):
            yield _block(lines)
            lines = []
        lines.append(line)
    if lines:
        yield _block(lines)


def _block(lines: list[str]) -> tuple[str, str, str]:
    found = _PINNED.match(lines[0])
    name, version = (found["name"].lower(), found["version"]) if found else ("", "")
    return name, version, "".join(lines)


def without_torch(text: str) -> str:
    """The requirements without torch and what only its GPU build needs."""
    return "".join(block for name, _, block in blocks(text) if not _GPU.fullmatch(name))


def torch_pins(text: str) -> list[str]:
    """``torch==X`` and ``torchvision==Y``.

    Raises:
        ValueError: naming what is not pinned.
    """
    versions = {name: version for name, version, _ in blocks(text)}
    missing = [name for name in TORCH if name not in versions]
    if missing:
        raise ValueError(f"{', '.join(missing)} not pinned")
    return [f"{name}=={versions[name]}" for name in TORCH]


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--torch"]):
        print("usage: without_torch.py [--torch] < requirements.lock", file=sys.stderr)
        return 2
    text = sys.stdin.read()
    if not arguments:
        sys.stdout.write(without_torch(text))
        return 0
    try:
        print(*torch_pins(text))
    except ValueError as error:
        print(f"without_torch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
