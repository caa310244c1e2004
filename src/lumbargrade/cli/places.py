"""Options whose value is a folder or file of this machine, or a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from lumbargrade.files.urls import Place, Url, place


def _from_text(arguments: list[str]) -> Place:
    return place(arguments[0])


def _is_place(value: Any) -> bool:
    return isinstance(value, Path | Url)


#: A path, or a URL such as s3://bucket/folder. The type Path alone would lose a slash of a URL.
PlaceOption = Annotated[
    Place,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=_from_text,
        is_instance=_is_place,
        str_from_instance=lambda value: [str(value)],
    ),
]
