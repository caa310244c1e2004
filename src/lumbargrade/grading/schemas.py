"""JSON Schemas of the files of a result; the package ships them in ``grading/data``."""

from __future__ import annotations

import json
from pathlib import Path

from lumbargrade.files.schemas import json_schema
from lumbargrade.grading.findings_file import StoredFindings
from lumbargrade.grading.review_file import Review

#: Name of each schema -> the class that reads such a file, and a title.
SCHEMAS = {
    "findings": (StoredFindings, "findings.json of lumbargrade"),
    "review": (Review, "Review of a result of lumbargrade"),
}


def schema_path(name: str) -> Path:
    """Path of a shipped schema."""
    return Path(__file__).parent / "data" / f"{name}.schema.json"


def schema_text(name: str) -> str:
    """The content of a schema, as the code says it."""
    return json.dumps(json_schema(*SCHEMAS[name]), indent=1) + "\n"
