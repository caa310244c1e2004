"""How the starter does on real images: the labelled LSDC study and mid-sagittal slices of SPIDER.

    python -m benchmarks.real_images --out build/real-images

reads ``LUMBARGRADE_SHARED`` (or ``../shared``), writes sheets of pictures and figures.json, and
prints the figures. ``--run RUN`` takes the sagittal network of a training run instead of the
shipped one. ``--record`` writes the figures into the manifest of the shipped weights, whence every
page of a result quotes them. Nothing is fitted to the images.

SPIDER: van der Graaf et al. 2024, CC BY 4.0.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from lumbargrade.dicom.study import read_study
from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.measurement import Quantity
from lumbargrade.domain.outlines import Segment, Structure
from lumbargrade.domain.vocabulary import FINDINGS, Level, SeriesKind, Target
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.lsdc.tables import read_grade_table, read_point_table
from lumbargrade.starter.measurements import measure_series
from lumbargrade.starter.model import Starter
from lumbargrade.starter.sagittal import SagittalStudy, find_levels
from lumbargrade.starter.weights_file import (
    SHIPPED,
    Figure,
    open_weights,
    read_manifest,
    write_manifest,
)

Network = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]

_COLOURS = {
    Structure.BODY: (80, 80, 200),
    Structure.SACRUM: (60, 160, 160),
    Structure.DISC: (0, 200, 0),
    Structure.SAC: (220, 160, 0),
    Structure.FORAMEN: (200, 0, 200),
}


@dataclass(frozen=True)
class Options:
    """Options of the check on real images."""

    out: Path = Path("build/real-images")
    """folder for sheets and figures"""
    run: Path | None = None
    """run of `lumbargrade train starter/sagittal`; the shipped network if not given"""
    record: bool = False
    """write the figures into the manifest of the shipped weights"""
    outlines: bool = False
    """draw outlines of bodies, discs and sac on the sheets"""


def main(options: Options) -> None:
    """Run the check."""
    shared = Path(os.environ.get("LUMBARGRADE_SHARED", "../shared"))
    weights = open_weights()
    if options.run:
        networks = {**weights.networks, "sagittal": _of_run(options.run)}
        weights = replace(weights, networks=networks)  # type: ignore[arg-type]  # a callable is enough
    network: Network = weights.networks["sagittal"]
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    measured: list[dict[str, Any]] = []
    for kind in (SeriesKind.SAGITTAL_T2, SeriesKind.SAGITTAL_T1):
        figures[str(kind)] = _slices(
            shared / "realdata/spider_midsagittal", kind, network, options, measured
        )
    figures["against reader grades"] = _against_grades(
        shared / "realdata/spider_midsagittal/gradings.csv", measured
    )
    figures["labelled study"] = _labelled(shared / "realdata/rsna2024", Starter(weights))
    if options.record:
        _record(figures)
    text = json.dumps(figures, indent=1)
    (options.out / "figures.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _record(figures: Mapping[str, Any]) -> None:
    """Write the main figures into the manifest of the shipped weights."""
    spider = "middle slices of SPIDER"
    found = [
        Figure(f"{kind}, {spider}", "slices with five canal points", part["five canal points"], 60)
        for kind in (SeriesKind.SAGITTAL_T2, SeriesKind.SAGITTAL_T1)
        if (part := figures[str(kind)])
    ]
    points = [row for row in figures["labelled study"].values() if isinstance(row, dict)]
    worst = max(float(row["in the plane mm"]) for row in points)
    study, right = "one labelled study (LSDC)", figures["labelled study"]["grades as labelled"]
    found.append(Figure(study, "largest error of a point in the plane (mm)", worst, len(points)))
    found.append(Figure(study, "grades as labelled", right, len(FINDINGS)))
    write_manifest(SHIPPED, replace(read_manifest(SHIPPED), evaluation=tuple(found)))


def _of_run(run: Path) -> Network:
    import torch

    from lumbargrade.models.starter_weights import load_starter

    network, _ = load_starter(run)

    def predict(images: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        with torch.inference_mode():
            output = network(torch.from_numpy(images))
        return {name: value.numpy() for name, value in output._asdict().items()}

    return predict


def single_slice(image: NDArray[np.uint8], mm: float, kind: SeriesKind, name: str) -> Volume:
    """Return a volume of one sagittal slice with square pixels of ``mm``."""
    plane = SlicePlane((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (mm, mm))
    return Volume(image[None], (VolumeSlice(1, plane, 0, image.shape),), name, name, kind)


def _slices(
    folder: Path,
    kind: SeriesKind,
    network: Network,
    options: Options,
    measured: list[dict[str, Any]],
) -> dict[str, Any]:
    """Find the levels on every mid-sagittal slice, draw them on one sheet, and measure them."""
    weighting = "T2" if kind is SeriesKind.SAGITTAL_T2 else "T1"
    with (folder / "images.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["weighting"] == weighting]
    tiles, complete, agreeing, confidences = [], 0, 0, {}
    for row in rows:
        image = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        volume = single_slice(
            np.asarray(image, np.uint8), float(row["pixel_mm"]), kind, row["patient"]
        )
        study = find_levels([volume], network)
        found = len(study.series[0].canals)
        complete += found == len(Level)
        confidences[row["patient"]] = round(study.numbering.confidence, 3)
        counted = _count(study)
        agreeing += counted == int(row["discs"])
        measured += _measurements(study, row["patient"])
        title = f"{row['patient']} {study.numbering.confidence:.2f} {counted}/{row['discs']}"
        tiles.append(_tile(study, title, outlines=options.outlines))
    cv2.imwrite(str(options.out / f"spider_{weighting.lower()}.png"), _sheet(tiles, 10))
    return {
        "images": len(rows),
        "five canal points": complete,
        "number of discs from L5/S1 up as stated": agreeing,
        "confidence": confidences,
    }


def _measurements(study: SagittalStudy, patient: str) -> list[dict[str, Any]]:
    """Measurements of one slice, one row per level; readers count discs from L5/S1 upwards."""
    found = measure_series(study.series[0]).found
    rows = []
    for level in Level:
        values = {
            site.quantity: one.value
            for site, one in found.items()
            if site.level is level and site.side is None
        }
        rows.append({"patient": patient, "disc": 5 - list(Level).index(level), **values})
    return rows


def _against_grades(path: Path, measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare measurements with the readers' grades of the same discs; nothing is fitted."""
    with path.open(encoding="utf-8") as stream:
        grades = {(r["Patient"], int(r["IVD label"])): r for r in csv.DictReader(stream)}
    joined: dict[tuple[str, int], dict[str, list[float]]] = {}
    for row in measured:
        values = joined.setdefault((row["patient"], row["disc"]), {})
        for name, value in row.items():
            if isinstance(name, Quantity):
                values.setdefault(name, []).append(value)
    narrow, slipped, degenerated = "Disc narrowing", "Spondylolisthesis", "Pfirrman grade"
    pairs = {
        "disc height relative, narrowing (AUROC)": (Quantity.DISC_HEIGHT_RELATIVE, narrow, -1),
        "disc height index, narrowing (AUROC)": (Quantity.DISC_HEIGHT_INDEX, narrow, -1),
        "listhesis, spondylolisthesis (AUROC)": (Quantity.LISTHESIS, slipped, 0),
        "disc signal, Pfirrmann (Spearman)": (Quantity.DISC_SIGNAL, degenerated, -1),
        "disc to body, Pfirrmann (Spearman)": (Quantity.DISC_TO_BODY, degenerated, -1),
    }
    figures = {}
    for name, (quantity, column, sign) in pairs.items():
        rows = [
            (float(np.mean(values[quantity])), int(grades[key][column]))
            for key, values in joined.items()
            if key in grades and quantity in values
        ]
        x, y = (np.array(part, float) for part in zip(*rows, strict=True))
        x = np.abs(x) if sign == 0 else sign * x
        value = spearmanr(x, y).statistic if "Spearman" in name else _auroc(x, y > 0)
        figures[name] = {"value": round(float(value), 3), "discs": len(rows)}
    return figures


def _auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, from ranks."""
    ranks = rankdata(scores)
    count = int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores) - count)))


def _count(study: SagittalStudy) -> int:
    """Number of discs from L5/S1 upwards."""
    above = [d for d in study.discs if d.segment is not None and d.segment <= Segment.L5_S1]
    return len(above)


def _tile(study: SagittalStudy, title: str, *, outlines: bool, k: int = 0) -> NDArray[np.uint8]:
    """Draw a slice on the grid at two thirds of its millimetres."""
    series = study.series[0]
    grid = series.grid
    flat = np.clip(grid.images[k] * 170, 0, 255).astype(np.uint8)
    picture = np.repeat(flat[..., None], 3, axis=2)
    if outlines:
        labels = series.structures[k].argmax(0)
        order = (Structure.OTHER, Structure.BODY, Structure.SACRUM, Structure.DISC)
        for index, structure in enumerate((*order, Structure.SAC, Structure.FORAMEN)):
            if structure in _COLOURS:
                mask = labels == index
                picture[mask] = (0.6 * picture[mask] + 0.4 * np.array(_COLOURS[structure])).astype(
                    np.uint8
                )
    big = cv2.resize(picture, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)

    def at(lps: Sequence[float]) -> tuple[int, int]:
        x, y, _ = grid.from_patient(np.array([lps], float))[0]
        return round(x * 1.5 + 0.25), round(y * 1.5 + 0.25)

    for disc in study.discs:
        x, y = at(disc.centre)
        cv2.circle(big, (x, y), 2, (255, 255, 255) if disc.segment else (0, 0, 255), -1)
        if disc.segment is not None:
            cv2.putText(big, disc.segment.label, (x - 44, y + 3), 0, 0.3, (0, 255, 255), 1)
    for lps in series.canals.values():
        cv2.drawMarker(big, at(lps), (0, 0, 255), cv2.MARKER_CROSS, 7, 1)
    tile = np.zeros((380, 250, 3), np.uint8)
    xs = [at(d.centre)[0] for d in study.discs]
    left = int(
        np.clip((np.mean(xs) if xs else big.shape[1] / 2) - 125, 0, max(big.shape[1] - 250, 0))
    )
    part = big[:380, left : left + 250]
    tile[: part.shape[0], : part.shape[1]] = part
    cv2.putText(tile, title, (4, 12), 0, 0.4, (255, 255, 255), 1)
    return tile


def _sheet(tiles: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    rows = [list(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    rows[-1] += [np.zeros_like(tiles[0])] * (columns - len(rows[-1]))
    return np.vstack([np.hstack(row) for row in rows])


def _labelled(folder: Path, starter: Starter) -> dict[str, Any]:
    """Compare all points with the labels of the real study."""
    study_id = next(p.name for p in (folder / "train_images").iterdir())
    study = read_study(folder / "train_images" / study_id)
    found = starter.predict(study_id, study.volumes)
    assert found.numbering is not None
    volumes = {v.series_id: v for v in study.volumes}
    rows = {}
    for point in read_point_table(folder / "train_label_coordinates.csv"):
        if point.study_id != study_id or point.series_id not in volumes:
            continue
        target: Target = point.target
        volume = volumes[point.series_id]
        z = volume.slice_of_instance(point.instance_number)
        mine = found.points.get(target)
        if mine is None:
            rows[target.column] = f"absent: {found.absent.get(target)}"
            continue
        dy, dx = volume.slices[z].plane.spacing
        x, y, zz = volume.from_patient(np.array(mine.patient))
        right, down = (x - point.x) * dx, (y - point.y) * dy
        rows[target.column] = {
            "in the plane mm": round(float(np.hypot(right, down)), 1),
            "columns mm": round(right, 1),
            "rows mm": round(down, 1),
            "slices": round(float(zz) - z, 1),
        }
    grades = read_grade_table(folder / "train.csv")[study_id]
    right = sum(f.grade is grades.get(t) for t, f in found.findings.items())
    return {
        "grades as labelled": right,
        "numbering": found.numbering.reason,
        "confidence": found.numbering.confidence,
    } | rows


if __name__ == "__main__":
    main(tyro.cli(Options))
