"""Options whose value is a folder or file of this machine, or a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.urls import Place, Url, place


def _from_text(arguments: list[str]) -> Place:
    return place(arguments[0])


def _local_from_text(arguments: list[str]) -> Path:
    found = place(arguments[0])
    if isinstance(found, Url):
        raise UsageError(f"{found}: a URL cannot be used here; copy it to this machine first")
    return found


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

#: Reads options of the type Path, which alone would make s3:/bucket of s3://bucket.
LOCAL_PATHS = ConstructorRegistry()


@LOCAL_PATHS.primitive_rule
def _local_path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=_local_from_text,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )
