"""Print the JSON Schema of a file that other programs read or write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `lumbargrade schema`."""

    name: tyro.conf.Positional[Literal["findings", "review"]]
    """findings: findings.json of a study; review: a reader's review of it"""


def run(options: Options) -> int:
    from lumbargrade.grading.schemas import schema_path

    print(schema_path(options.name).read_text(encoding="utf-8"), end="")
    return 0
