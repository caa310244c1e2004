"""Write the JSON Schemas that the package ships: of findings.json and of a review.

Run ``python tools/make_schemas.py`` after a change; a test fails if a shipped file is not current.
"""

from __future__ import annotations

from lumbargrade.grading.schemas import SCHEMAS, schema_path, schema_text


def main() -> None:
    for name in SCHEMAS:
        schema_path(name).write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
