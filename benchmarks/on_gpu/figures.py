"""Figures derived from the rows that ``benchmarks.gpu`` measures: rates, shares, missing parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.common import Row

#: Figures of each part; a measured row has each of them, or the reason why not in ``absent``.
FIGURES = {
    "rate": ("operations_per_s",),
    "store": ("studies", "series"),
    "reference": ("volumes", "cpu_s", "losses"),
    "training": (
        "step_s",
        "steps",
        "volumes",
        "slices",
        "samples_per_s",
        "slices_per_s",
        "difference",
        "operations",
        "share_of_rate",
        "peak_gib",
    ),
    "loader": ("samples_per_s", "workers", "headroom"),
    "inference": ("slices", "series_s", "series_flip_s", "prepare_s", "prepare_share"),
}
#: States of a row, beside *failed* and *out of memory*.
MEASURED, LEFT_OUT, NOT_REACHED = "measured", "left out", "not reached"

ON_A_GPU = "measured on a GPU only"


def rows_of(found: dict[str, Any], part: str) -> list[Row]:
    """Measured rows of one part."""
    return [r for r in found["rows"] if r["part"] == part and r["state"] == MEASURED]


def derive(found: dict[str, Any]) -> None:
    """Add the derived figures, in place: rates, shares, whole studies.

    Figures that a measured row lacks get a reason in its ``absent``.
    """
    gpu = found["machine"]["device"] == "cuda"
    rates = {r["precision"]: r["operations_per_s"] for r in rows_of(found, "rate")}
    fastest: dict[str, Row] = {}
    for row in rows_of(found, "training"):
        row["samples_per_s"] = row["volumes"] / row["step_s"]
        row["slices_per_s"] = row["slices"] / row["step_s"]
        absent = row.setdefault("absent", {})
        if not gpu:
            absent |= {"peak_gib": ON_A_GPU, "share_of_rate": ON_A_GPU}
        elif row["precision"] in rates:
            rate = row["operations"] / row["step_s"]
            row["share_of_rate"] = rate / rates[row["precision"]]
        else:
            absent["share_of_rate"] = f"the card's {row['precision']} rate is not known"
        best = fastest.get(row["recipe"], row)
        fastest[row["recipe"]] = min(best, row, key=lambda r: r["step_s"])
    for row in rows_of(found, "loader"):
        row["absent"] = {}
        if step := fastest.get(row["recipe"]):
            row["headroom"] = row["samples_per_s"] / step["samples_per_s"]
            row["fastest_step"] = step["precision"]
        else:
            row["absent"] = {"headroom": "no training step was measured"}
    for row in rows_of(found, "inference"):
        row["prepare_share"] = min(row["prepare_s"] / row["series_s"], 1.0)
    found["studies"] = studies(rows_of(found, "inference"))
    rows = found["rows"]
    found["left_out"] = left_out(rows)
    found["problems"] = [
        _line(r) for r in rows if r["problems"] and r["state"] not in (LEFT_OUT, NOT_REACHED)
    ]
    found["complete"] = all(r["state"] == MEASURED and not r["problems"] for r in rows)


def studies(rows: Sequence[Row]) -> list[Row]:
    """Whole studies: a T1 and a T2 series, each through a network with an encoder of one family."""
    by_key = {(r["recipe"], r["precision"]): r for r in rows}
    found = []
    for (recipe, precision), t1 in by_key.items():
        folder, name = recipe.split("/")
        if folder != "one-stage-nfn-fixed":
            continue
        family = name.split("_")[0]
        for (other, same), t2 in by_key.items():
            if same == precision and other.startswith(f"one-stage-scs/{family}_"):
                both = {k: t1[k] + t2[k] for k in ("series_s", "series_flip_s", "prepare_s")}
                names = {"t1": recipe, "t2": other, "precision": precision}
                found.append(
                    {**names, **{k.replace("series", "study"): s for k, s in both.items()}}
                )
    return found


def left_out(rows: Sequence[Row]) -> list[str]:
    """What was not measured for lack of time, one line for each part, precision and reason."""
    recipes: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["state"] in (LEFT_OUT, NOT_REACHED):
            what = " ".join(row[k] for k in ("part", "precision") if k in row)
            why = ": ".join([row["state"], *row["problems"]])
            recipes.setdefault((what, why), []).append(row.get("recipe", ""))
    return [
        f"{what}: {why}" + (f" ({', '.join(names)})" if any(names) else "")
        for (what, why), names in recipes.items()
    ]


def name_of(row: Row) -> str:
    """Which job a row is of."""
    return " ".join(row[k] for k in ("part", "precision", "recipe") if k in row)


def _line(row: Row) -> str:
    return ": ".join([name_of(row), row["state"], *row["problems"]])
