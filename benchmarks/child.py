"""One ``lumbargrade`` command in a process of its own: its seconds and its peak memory.

``python -m benchmarks.child COMMAND ...`` prints, as its last line, seconds, peak MiB, and what of
that came with the work. Python's start and the imports of the command are not counted.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

from benchmarks.common import held_mib, peak_mib

from lumbargrade.cli import main as command_line

#: What commands import only when they run.
_IMPORTS = {
    "prepare": ("lumbargrade.dataset.prepare",),
    "submit": ("lumbargrade.outputs.submission", "lumbargrade.prediction.studies"),
}


def main(argv: list[str]) -> int:
    for module in _IMPORTS[argv[0]]:
        importlib.import_module(module)
    before, start = held_mib(), time.perf_counter()
    code = command_line.main(argv)
    seconds, peak = time.perf_counter() - start, peak_mib()
    print(json.dumps([seconds, peak, peak - before]))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
