"""Options whose value is a folder or file of this machine, or a URL."""

from __future__ import annotations

from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from lumbargrade.files.urls import Place, Url, place


def _from_text(arguments: list[str]) -> Place:
    from lumbargrade.domain.errors import UsageError

    try:
        return place(arguments[0])
    except UsageError as error:
        raise ValueError(str(error)) from None


def _is_place(value: Any) -> bool:
    from pathlib import Path

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
