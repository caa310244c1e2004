"""The page that shows what ``benchmarks.gpu`` measured, and its progress in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common import ROOT, Row, markdown_table, number, ratio, wrapped
from benchmarks.on_gpu.figures import MEASURED, rows_of

DOCUMENT = ROOT / "docs" / "gpu.md"

#: The part of the page between these lines is replaced by each run.
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def said(row: Row) -> str:
    """The result of a job, in a few words."""
    text = row["state"]
    if text == MEASURED:
        text = _MAIN_FIGURE[row["part"]](row)
    return ": ".join([text, *row["problems"]])


_MAIN_FIGURE: dict[str, Callable[[Row], str]] = {
    "rate": lambda r: f"{number(r['operations_per_s'] / 1e12)} Tflop/s",
    "store": lambda r: f"{r['series']} series",
    "reference": lambda r: f"loss {r['losses']['loss']:.4g} of {r['volumes']} volumes",
    "training": lambda r: f"{number(1e3 * r['step_s'])} ms a step",
    "loader": lambda r: f"{number(r['samples_per_s'])} samples a second",
    "inference": lambda r: f"{number(1e3 * r['series_s'])} ms a series",
}


def page(found: dict[str, Any]) -> str:
    """The document with the figures of a run.

    Raises:
        ValueError: if the document has lost its markers.
    """
    text = DOCUMENT.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT}: the lines {BEGIN} and {END} are needed")
    return f"{before}{BEGIN}\n\n{figures(found)}\n\n{END}{after}"


def figures(found: dict[str, Any]) -> str:
    """All tables of a run."""
    parts = [_about(found)]
    for title, words, header, cells in (
        _rates(found),
        _training(found),
        _loader(found),
        _inference(found),
        _studies(found),
    ):
        if cells:
            parts += [f"## {title}", wrapped(words), markdown_table(header, cells)]
    if found["problems"]:
        parts += ["## What is wrong", "\n".join(f"* {line}" for line in found["problems"])]
    if found["left_out"]:
        parts += ["## What was left out", "\n".join(f"* {line}" for line in found["left_out"])]
    return "\n\n".join(parts)


def _about(found: dict[str, Any]) -> str:
    machine = found["machine"]
    memory = f" ({machine['card_gib']:.0f} GiB)" if "card_gib" in machine else ""
    tiny = "**Tiny networks: these figures say nothing of the published ones.** "
    return wrapped(
        (tiny if found["tiny"] else "")
        + f"Card: {machine['card']}{memory}, driver {machine['driver']}; {machine['processor']}; "
        f"Python {machine['python']}, torch {machine['torch']}, torchvision "
        f"{machine['torchvision']}, timm {machine['timm']}. Measured on {machine['date']} by "
        f"`{machine['command']}` in {found['spent_s']:.0f} of {found['budget_s']:.0f} s. "
        + (
            "Everything was measured, and every check passed."
            if found["complete"]
            else "Something is missing or wrong: see the end of this page."
        )
    )


Table = tuple[str, str, Sequence[str], list[list[str]]]


def _rates(found: dict[str, Any]) -> Table:
    rows = rows_of(found, "rate")
    side = rows[0]["matrix"] if rows else 0
    return (
        "What the card can do",
        f"Operations a second of a product of two {side} x {side} matrices. *fp32* forbids TF32, "
        "*tf32* allows it everywhere. torch allows it in convolutions alone unless told otherwise, "
        "and so does training with `--train.amp off`.",
        ["precision", "Tflop/s"],
        [[r["precision"], number(r["operations_per_s"] / 1e12)] for r in rows],
    )


_TRAINING_HEADER = (
    "recipe",
    "precision",
    "volumes / slices",
    "ms",
    "slices/s",
    "peak GiB",
    "share",
    "difference",
)


def _training(found: dict[str, Any]) -> Table:
    cells, allowed = [], {}
    for row in rows_of(found, "training"):
        allowed[row["precision"]] = f"{row['tolerance']:g} in {row['precision']}"
        cells.append(
            [
                row["recipe"],
                row["precision"],
                f"{row['volumes']} / {row['slices']}",
                number(1e3 * row["step_s"]),
                number(row["slices_per_s"]),
                _cell(row, "peak_gib", number),
                _cell(row, "share_of_rate", ratio),
                _cell(row, "difference", lambda d: f"{d:.1g}"),
            ]
        )
    return (
        "A training step",
        "At the recipe's own batch and image size: forward, loss, backward, AdamW and the averaged "
        "weights. Median time of at least seven steps after three that warm up. *Share* is the "
        "step's operations (counted by torch's FlopCounterMode) over its time, as a share of the "
        "card's rate in the same precision. *Difference* is the largest relative difference of a "
        "part of the loss from the CPU's in fp32, on the same weights and the same volumes (parts "
        f"below 1 % of the loss count as 1 %); allowed are {', '.join(allowed.values())}.",
        _TRAINING_HEADER,
        cells,
    )


def _cell(row: Row, figure: str, form: Callable[[float], str]) -> str:
    return form(row[figure]) if figure in row else "-"


def _loader(found: dict[str, Any]) -> Table:
    rows = rows_of(found, "loader")
    workers = rows[0]["workers"] if rows else 0
    return (
        "Loader headroom",
        f"Samples a second with the published augmentation and {workers} worker processes, over "
        "what the fastest measured training step uses: above 1 the GPU is the bottleneck, below 1 "
        "it waits for samples.",
        ["recipe", "loader, samples/s", "step, precision", "ratio"],
        [
            [
                row["recipe"],
                number(row["samples_per_s"]),
                row.get("fastest_step", "-"),
                _cell(row, "headroom", ratio),
            ]
            for row in rows
        ],
    )


def _inference(found: dict[str, Any]) -> Table:
    return (
        "Inference of one series",
        "From the volume store to points and grades, one series at a time. *Preparing* is the "
        "share of the time without the mirrored volume in which the series is read, resized and "
        "copied to the device.",
        ["recipe", "precision", "slices", "ms", "with mirrored volume, ms", "preparing"],
        [
            [
                row["recipe"],
                row["precision"],
                str(row["slices"]),
                number(1e3 * row["series_s"]),
                number(1e3 * row["series_flip_s"]),
                ratio(row["prepare_share"]),
            ]
            for row in rows_of(found, "inference")
        ],
    )


def _studies(found: dict[str, Any]) -> Table:
    return (
        "Inference of one study",
        "One T1 series through a foraminal network and one T2 series through a canal network: the "
        "sums of the table above.",
        ["networks", "precision", "ms", "with mirrored volumes, ms", "preparing"],
        [
            [
                f"{row['t1']} and {row['t2']}",
                row["precision"],
                number(1e3 * row["study_s"]),
                number(1e3 * row["study_flip_s"]),
                ratio(min(row["prepare_s"] / row["study_s"], 1.0)),
            ]
            for row in found["studies"]
        ],
    )
