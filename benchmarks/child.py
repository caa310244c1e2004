"""One ``lumbargrade`` command in a process of its own: what it costs.

``python -m benchmarks.child COMMAND ...`` prints its seconds, CPU seconds (of its workers too),
peak memory and what of that came with the work, as JSON. Python's start and the imports of the
command are not counted.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

from benchmarks.common import held_mib, peak_mib

from lumbargrade.cli import main as command_line

#: What commands import only when they run.
_IMPORTS = {
    "prepare": ("lumbargrade.lsdc.prepare",),
    "submit": ("lumbargrade.report.submission", "lumbargrade.grading.lsdc_studies"),
}


def main(argv: list[str]) -> int:
    for module in _IMPORTS[argv[0]]:
        importlib.import_module(module)
    before, start, cpu = held_mib(), time.perf_counter(), time.process_time()
    code = command_line.main(argv)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu + workers.ru_utime + workers.ru_stime,
        "peak_mib": peak_mib(),
        "work_mib": peak_mib() - before,
    }
    print(json.dumps(cost))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
