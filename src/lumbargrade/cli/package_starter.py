"""Write trained networks of the starter as ONNX files, with a manifest of where they come from.

Each network is compared with torch before its file is written. If OUT already has a manifest, its
other files stay in it; results of the whole starter are removed, because they were those of the
earlier files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade package-starter`."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """runs of `lumbargrade train starter/...`, at most one of each network"""
    out: Path
    """folder of the files; src/lumbargrade/starter/weights is the one that is shipped"""


def run(options: Options) -> int:
    from lumbargrade.phantom import stream
    from lumbargrade.training.starter_files import package

    for exported in package(options.runs, options.out, stream):
        log.info(
            "%s: %.1f MB, %d steps, probabilities within %.2g of torch's",
            exported.path,
            exported.path.stat().st_size / 1e6,
            exported.meta.steps,
            exported.deviation,
        )
    return 0
