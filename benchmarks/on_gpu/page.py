"""Figures derived from what ``benchmarks.gpu`` measures, and their tables in docs/gpu.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common import ROOT, Row, markdown_table, number, ratio, with_figures

DOCUMENT = ROOT / "docs" / "gpu.md"

#: States of a row, beside *failed* and *out of memory*.
MEASURED, LEFT_OUT, NOT_REACHED = "measured", "left out", "not reached"


def _ms(seconds: float) -> str:
    return number(1e3 * seconds)


def _tera(operations: float) -> str:
    return number(operations / 1e12)


Column = tuple[str, str, Callable[[Any], str]]

_RECIPE: tuple[Column, ...] = (("recipe", "recipe", str), ("precision", "precision", str))

#: Part, title and columns of each table: heading, figure, form.
TABLES: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    (
        "rate",
        "What the card can do",
        (("precision", "precision", str), ("Tflop/s", "operations_per_s", _tera)),
    ),
    (
        "training",
        "A training step",
        (
            *_RECIPE,
            ("volumes", "volumes", str),
            ("slices", "slices", str),
            ("ms", "step_s", _ms),
            ("slices/s", "slices_per_s", number),
            ("peak GiB", "peak_gib", number),
            ("share", "share_of_rate", ratio),
            ("difference", "difference", "{:.1g}".format),
            ("allowed", "tolerance", "{:g}".format),
        ),
    ),
    (
        "variant",
        "A training step with one choice changed",
        (
            ("step", "variant", str),
            ("precision", "precision", str),
            ("ms", "step_s", _ms),
            ("time over literal", "over_literal", ratio),
            ("peak GiB", "peak_gib", number),
            ("queued", "queued", ratio),
            ("matrix throughput", "share_of_rate", ratio),
            ("memory bandwidth", "share_of_copy", ratio),
        ),
    ),
    (
        "loader",
        "Loader headroom",
        (
            ("recipe", "recipe", str),
            ("workers", "workers", str),
            ("loader, samples/s", "samples_per_s", number),
            ("step, precision", "fastest_step", str),
            ("ratio", "headroom", ratio),
        ),
    ),
    (
        "inference",
        "Inference of one series",
        (
            *_RECIPE,
            ("slices", "slices", str),
            ("ms", "series_s", _ms),
            ("with mirrored volume, ms", "series_flip_s", _ms),
            ("preparing", "prepare_share", ratio),
        ),
    ),
    (
        "studies",
        "Inference of one study",
        (
            ("T1 network", "t1", str),
            ("T2 network", "t2", str),
            ("precision", "precision", str),
            ("ms", "series_s", _ms),
            ("with mirrored volumes, ms", "series_flip_s", _ms),
            ("preparing", "prepare_share", ratio),
        ),
    ),
)

#: The main figure of each part, for the progress.
_MAIN: dict[str, Column] = {
    "rate": ("Tflop/s", "operations_per_s", _tera),
    "copy": ("GB/s", "bytes_per_s", lambda rate: number(rate / 1e9)),
    "store": ("series", "series", str),
    "reference": ("volumes on the CPU", "volumes", str),
    "training": ("ms a step", "step_s", _ms),
    "variant": ("ms a step", "step_s", _ms),
    "loader": ("samples a second", "samples_per_s", number),
    "inference": ("ms a series", "series_s", _ms),
}


def name_of(row: Row) -> str:
    """Which job a row is of."""
    return " ".join(row[k] for k in ("part", "precision", "recipe", "variant") if k in row)


def said(row: Row) -> str:
    """The result of a job, in a few words."""
    text = row["state"]
    if text == MEASURED:
        unit, figure, form = _MAIN[row["part"]]
        text = f"{form(row[figure])} {unit}"
    return ": ".join([text, *row["problems"]])


def rows_of(found: dict[str, Any], part: str) -> list[Row]:
    """Measured rows of one part."""
    return [r for r in found["rows"] if r["part"] == part and r["state"] == MEASURED]


def derive(found: dict[str, Any]) -> None:
    """Add the derived figures, in place: rates, shares, whole studies, what is wrong or missing.

    A figure that needs another one that was not measured stays away.
    """
    rates = {r["precision"]: r["operations_per_s"] for r in rows_of(found, "rate")}
    fastest: dict[str, Row] = {}
    for row in rows_of(found, "training"):
        row["samples_per_s"] = row["volumes"] / row["step_s"]
        row["slices_per_s"] = row["slices"] / row["step_s"]
        # a CPU runs fp16 as bf16, so its rates say nothing of a step
        if found["machine"]["device"] == "cuda" and row["precision"] in rates:
            rate = row["operations"] / row["step_s"]
            row["share_of_rate"] = rate / rates[row["precision"]]
        best = fastest.get(row["recipe"], row)
        fastest[row["recipe"]] = min(best, row, key=lambda r: r["step_s"])
    _derive_variants(found, rates)
    for row in rows_of(found, "loader"):
        if step := fastest.get(row["recipe"]):
            row["headroom"] = row["samples_per_s"] / step["samples_per_s"]
            row["fastest_step"] = step["precision"]
    found["studies"] = studies(rows_of(found, "inference"))
    for row in (*rows_of(found, "inference"), *found["studies"]):
        row["prepare_share"] = min(row["prepare_s"] / row["series_s"], 1.0)
    rows = found["rows"]
    found["left_out"] = left_out(rows)
    found["problems"] = [
        ": ".join([name_of(r), r["state"], *r["problems"]])
        for r in rows
        if r["problems"] and r["state"] not in (LEFT_OUT, NOT_REACHED)
    ]
    found["complete"] = all(r["state"] == MEASURED and not r["problems"] for r in rows)


def _derive_variants(found: dict[str, Any], rates: dict[str, float]) -> None:
    rows = rows_of(found, "variant")
    literal = [r for r in rows if r["variant"] == "literal"]
    copies = rows_of(found, "copy")
    for row in rows:
        if literal:
            row["over_literal"] = row["step_s"] / literal[0]["step_s"]
        if "operations" in row and row["precision"] in rates:
            row["share_of_rate"] = row["operations"] / row["step_s"] / rates[row["precision"]]
        if "bytes" in row and copies:
            row["share_of_copy"] = row["bytes"] / row["step_s"] / copies[0]["bytes_per_s"]


def studies(rows: Sequence[Row]) -> list[Row]:
    """Whole studies: a T1 and a T2 series, each through a network with an encoder of one family."""
    found = []
    for t1 in rows:
        folder, name = t1["recipe"].split("/")
        family = name.split("_")[0]
        for t2 in rows if folder == "one-stage-nfn-fixed" else ():
            same = t1["precision"] == t2["precision"]
            if same and t2["recipe"].startswith(f"one-stage-scs/{family}_"):
                both = {k: t1[k] + t2[k] for k in ("series_s", "series_flip_s", "prepare_s")}
                names = {"t1": t1["recipe"], "t2": t2["recipe"], "precision": t1["precision"]}
                found.append({**names, **both})
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


def page(found: dict[str, Any]) -> str:
    """The document with the figures of a run."""
    return with_figures(DOCUMENT, figures(found))


def figures(found: dict[str, Any]) -> str:
    """The machine, all tables of a run, and what is wrong or missing."""
    parts = ["\n".join(f"* {name}: {value}" for name, value in found["machine"].items())]
    if found["tiny"]:
        parts.insert(0, "**Tiny networks: these figures say nothing of the published ones.**")
    spent = f"{found['spent_s']:.0f} of {found['budget_s']:.0f} s"
    parts.append(
        f"Complete in {spent}; every check passed."
        if found["complete"]
        else f"Incomplete or wrong after {spent}: see the lists below the tables."
    )
    for part, title, columns in TABLES:
        rows = found["studies"] if part == "studies" else rows_of(found, part)
        if rows:
            cells = [[form(r[k]) if k in r else "-" for _, k, form in columns] for r in rows]
            words = sum(form is str for _, _, form in columns[:2])
            table = markdown_table([heading for heading, _, _ in columns], cells, words)
            parts += [f"## {title}", table]
    for title, lines in (("Wrong", found["problems"]), ("Left out", found["left_out"])):
        if lines:
            parts += [f"## {title}", "\n".join(f"* {line}" for line in lines)]
    return "\n\n".join(parts)
