"""The log of a node: a JSON object per line, with nothing that names a patient.

Only what this room and `pacs` log is written, with its extra keys; other parts of the package name
studies and files in their messages. A study is its queue number.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from datetime import UTC, datetime
from typing import TextIO

#: Extra keys of a record that are written.
KEYS = (
    *("study", "result", "state", "destination", "file", "attempt", "status", "reason"),
    *("caller", "loop", "error", "port", "host", "count"),
)

_OURS = ("lumbargrade.serve", "lumbargrade.pacs")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: vars(record)[key] for key in KEYS if key in vars(record)},
        }
        return json.dumps(line, ensure_ascii=True)


def log_as_json(stream: TextIO | None = None) -> None:
    """Write the log of this process as JSON, in place of what `logging` was set up for."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(lambda record: record.name.startswith(_OURS))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # warnings of libraries contain values of headers; the workers inherit the environment
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    # its messages contain file names and values of headers
    logging.getLogger("pynetdicom").propagate = False
    logging.getLogger("pynetdicom").addHandler(logging.NullHandler())
