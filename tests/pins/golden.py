"""Golden files: what is pinned, how it is written, and how it is compared with the present."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a number may lie from its pin: by a share of it, or by as much."""

    relative: float
    absolute: float


#: On the kind of processor that a pin was made on.
SAME_PROCESSOR = Tolerance(1e-4, 1e-6)

#: Elsewhere grey values of resampled images may differ by one, of which untrained networks make
#: differences of up to a thousandth.
OTHER_PROCESSOR = Tolerance(1e-2, 2e-3)

#: Arrays with at most this many values are pinned as they are, larger ones as a summary.
WHOLE = 60

RENEW = "pytest tests/pins --renew-pins"

#: Key of a table in a pin: column -> its values.
TABLE = "table"


def plain(value: Any) -> Any:
    """Any value as JSON data: arrays as numbers or a summary, dataclasses by their fields."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return _rounded(float(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return plain(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return _array(value)
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [plain(v) for v in value]
    raise TypeError(f"cannot pin a {type(value).__name__}")


def _rounded(value: float) -> float | str:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)


def _array(values: np.ndarray) -> Any:
    if values.size <= WHOLE:
        return plain(values.tolist())
    numbers = values.astype(np.float64)
    summary: dict[str, Any] = {"shape": list(values.shape), "type": str(values.dtype)}
    summary |= {"mean": numbers.mean(), "deviation": numbers.std()}
    summary["profiles"] = [list(_profile(numbers, axis)) for axis in range(values.ndim)]
    flat = numbers.ravel()
    chosen = np.random.default_rng(0).choice(flat.size, 32, replace=False)
    if not np.issubdtype(values.dtype, np.uint8):  # a grey value may differ by one
        summary["samples"] = flat[np.sort(chosen)].tolist()
    return plain(summary)


def _profile(numbers: np.ndarray, axis: int) -> Iterator[float]:
    """Means of up to eight parts along an axis: they change when it is reversed."""
    parts = np.array_split(np.moveaxis(numbers, axis, 0), min(8, numbers.shape[axis]))
    for part in parts:
        yield float(part.mean())


def digest(pixels: np.ndarray) -> str:
    """sha256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def table(path: Path, without: Sequence[str] = ()) -> dict[str, Any]:
    """A CSV file column by column; cells that are numbers as numbers."""
    with path.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    columns = {name: [_cell(row[i]) for row in rows] for i, name in enumerate(header)}
    return {TABLE: {k: v for k, v in columns.items() if k not in without}}


def _cell(text: str) -> Any:
    for number in (int, float):
        try:
            return plain(number(text))
        except ValueError:
            pass
    return text


def written(value: Any, indent: int = 0) -> str:
    """JSON in which whatever fits on a line is on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= 100 or not isinstance(value, (dict, list)) or not value:
        return line
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        items = [f"{json.dumps(k)}: {written(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(pad + i for i in items) + "\n" + pad[1:] + "}"
    if any(isinstance(v, (dict, list)) for v in value):
        return "[\n" + ",\n".join(pad + written(v, indent + 1) for v in value) + f"\n{pad[1:]}]"
    return line


def processor() -> str:
    """The kind of processor: its vector instructions decide how floats are rounded."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def differences(
    pinned: Any,
    present: Any,
    tolerance: Tolerance = SAME_PROCESSOR,
    path: str = "",
    unit: float = 0.0,
) -> Iterator[str]:
    """Key path, pinned and present value of everything that differs.

    Args:
        unit: the last decimal of the numbers of a table's column; a cell may differ by one.
    """
    if isinstance(pinned, dict) and isinstance(present, dict):
        for key in [*pinned, *(k for k in present if k not in pinned)]:
            where = f"{path}/{key}"
            if key not in present:
                yield f"{where}: pinned {_short(pinned[key])}, now absent"
            elif key not in pinned:
                yield f"{where}: not pinned, now {_short(present[key])}"
            elif key == TABLE:
                for name, column in pinned[key].items():
                    now = present[key].get(name)
                    place = f"{where}/{name}"
                    yield from differences(column, now, tolerance, place, _unit(column))
                for name in present[key].keys() - pinned[key].keys():
                    yield f"{where}/{name}: not pinned, now {_short(present[key][name])}"
            else:
                yield from differences(pinned[key], present[key], tolerance, where)
    elif isinstance(pinned, list) and isinstance(present, list):
        if len(pinned) != len(present):
            yield f"{path}: pinned {len(pinned)} values, now {len(present)}"
        for i, (a, b) in enumerate(zip(pinned, present, strict=False)):
            yield from differences(a, b, tolerance, f"{path}[{i}]", unit)
    elif not _same(pinned, present, tolerance, unit):
        yield f"{path}: pinned {_short(pinned)}, now {_short(present)}"


def _same(pinned: Any, present: Any, tolerance: Tolerance, unit: float) -> bool:
    numbers = all(type(v) in (int, float) for v in (pinned, present))
    if numbers and float in (type(pinned), type(present)):
        return math.isclose(
            pinned,
            present,
            rel_tol=tolerance.relative,
            abs_tol=max(tolerance.absolute, unit) * (1 + 1e-6),
        )
    return type(pinned) is type(present) and pinned == present


def _unit(column: Sequence[Any]) -> float:
    """One in the last decimal of a column's numbers."""
    texts = [np.format_float_positional(v, trim="-") for v in column if isinstance(v, float)]
    decimals = max((len(t.partition(".")[2]) for t in texts), default=0)
    return 10.0**-decimals if decimals else 0.0


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
