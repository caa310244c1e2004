"""What the page of a study draws over its slices: outlines, lines of measurements, places.

Coordinates are pixels of the upright slices (`report.embedded.Shown`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import FloatArray, apply_homography
from lumbargrade.domain.heat_maps import HeatMaps
from lumbargrade.domain.measurement import Measurement, Quality
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.vocabulary import Level, Target
from lumbargrade.report.embedded import Shown
from lumbargrade.report.measured import NOT_DRAWN, measured_label
from lumbargrade.report.wording import DIGITS

#: Outlines are stored in quarters of a pixel.
_PARTS = 4
#: Grid pixels are divided so often before the outline is traced.
_FINER = 3
#: Outlines of fewer grid pixels are noise; corners nearer than this to the outline are left out.
_LEAST_AREA, _TOLERANCE = 6.0, 0.2

#: Percentiles of grey values that the usual window shows from black to white, its smallest width,
#: and margin around the findings within which they are counted, mm.
_WINDOW, _LEAST_WIDTH, _AROUND_MM = (0.2, 99.0), 32.0, 30.0
#: Smallest height of a heat map that is drawn, times 255.
_WARM = 13

Flat = list[int]


def outlines_of(shown: Shown, found: Iterable[SeriesOutlines]) -> dict[int, list[tuple[str, Flat]]]:
    """Return the outlines of each upright slice: structure, and its corners x, y, x, y, ...

    Args:
        shown: the series.
        found: outlines of a study; those of other series are ignored.
    """
    lines: dict[int, list[tuple[str, Flat]]] = {}
    for outlines in found:
        if outlines.series_id != shown.stored.series_id:
            continue
        for k, z in enumerate(outlines.zs.tolist()):
            back = np.linalg.inv(shown.upright.to_stored(shown.stored, z))
            matrix = back @ outlines.to_native[k]
            here = lines.setdefault(shown.place(z), [])
            for structure, share in zip(
                outlines.structures, outlines.probabilities[k], strict=True
            ):
                if structure is not Structure.OTHER:
                    for corners in _traced(share):
                        upright = apply_homography(matrix, corners)
                        flat = np.rint(upright * _PARTS).astype(int).ravel().tolist()
                        here.append((structure.name.lower(), flat))
    return lines


def _traced(share: NDArray[np.uint8]) -> Iterable[FloatArray]:
    """Yield the outlines (N, 2) of where a probability (times 255) is above one half."""
    inside = share >= 128
    if not inside.any():
        return
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, left = max(rows[0] - 2, 0), max(columns[0] - 2, 0)
    part = share[top : rows[-1] + 3, left : columns[-1] + 3]
    size = (part.shape[1] * _FINER, part.shape[0] * _FINER)
    fine = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_LINEAR)
    found, _ = cv2.findContours(
        (fine >= 128).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    for contour in found:
        if cv2.contourArea(contour) >= _LEAST_AREA * _FINER**2:
            corners = cv2.approxPolyDP(contour, _TOLERANCE * _FINER, closed=True)[:, 0]
            # pixel centres are integers on both grids
            yield (corners + 0.5) / _FINER - 0.5 + [left, top]


def heat_of(shown: Shown, found: Iterable[HeatMaps]) -> dict[int, list[dict[str, Any]]]:
    """Return the heat maps of each upright slice, cut to where they are warm.

    A map is ``columns`` wide, ``data`` has its rows in base64; ``box`` are its left, top, right and
    bottom edges in pixels of the upright slice.
    """
    drawn: dict[int, list[dict[str, Any]]] = {}
    for heat in found:
        if heat.series_id != shown.stored.series_id:
            continue
        for k, z in enumerate(heat.zs.tolist()):
            back = np.linalg.inv(shown.upright.to_stored(shown.stored, z)) @ heat.to_native[k]
            for (condition, side), one in zip(heat.shows, heat.maps[k], strict=True):
                warm = one >= _WARM
                if not warm.any():
                    continue
                rows, columns = np.flatnonzero(warm.any(axis=1)), np.flatnonzero(warm.any(axis=0))
                part = one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                corners = [
                    (columns[0] - 0.5, rows[0] - 0.5),
                    (columns[-1] + 0.5, rows[-1] + 0.5),
                ]
                drawn.setdefault(shown.place(z), []).append(
                    {
                        "condition": condition,
                        "side": side or "",
                        "columns": part.shape[1],
                        "box": np.round(apply_homography(back, corners), 2).ravel().tolist(),
                        "data": b64encode(part.tobytes()).decode(),
                    }
                )
    return drawn


def measurements_of(
    shown: Shown, measurements: Iterable[Measurement]
) -> dict[int, list[dict[str, Any]]]:
    """Return the lines of measurements of each upright slice."""
    found: dict[int, list[dict[str, Any]]] = {}
    for m in measurements:
        if m.series_id != shown.stored.series_id or not m.line or m.quantity in NOT_DRAWN:
            continue
        z = _slice_of(shown, m)
        points = shown.volume.slices[z].plane.from_patient(np.array(m.line))[:, :2]
        found.setdefault(z, []).append(
            {
                "quantity": m.quantity,
                "disc": None if m.level is None else list(Level).index(m.level),
                "label": measured_label(m),
                "doubtful": m.quality is Quality.DOUBTFUL,
                "line": np.round(points, 2).tolist(),
                "closed": m.closed,
            }
        )
    return found


def _slice_of(shown: Shown, m: Measurement) -> int:
    if m.instance_number >= 0:
        return shown.volume.slice_of_instance(m.instance_number)
    middle = np.mean(m.line, axis=0)
    return int(shown.volume.nearest_slices(shown.volume.from_patient([middle])[:, 2])[0])


def places_of(series: Sequence[Shown], prediction: StudyPrediction) -> dict[str, dict[str, Any]]:
    """Return where each finding lies, by its name; findings without a point have none.

    Points of targets that are not graded are there too: the page opens their slices.
    """
    index = {one.stored.series_id: i for i, one in enumerate(series)}
    points = {t: p for t, p in prediction.points.items() if p.series_id in index}
    graded = {t: f.point for t, f in prediction.findings.items() if f.point is not None}
    points |= {t: p for t, p in graded.items() if p.series_id in index}
    found = {}
    for target, point in points.items():
        number = index[point.series_id]
        upright = series[number].upright.points(np.array([point.voxel], float))[0]
        if not np.isfinite(upright).all():
            continue
        x, y, z = np.round(upright, 2).tolist()
        lps = None if point.patient is None else [round(v, 2) for v in point.patient]
        found[target.column] = {"series": number, "x": x, "y": y, "z": z, "lps": lps}
    return found


def window_of(shown: Shown, places: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Return centre and width of the window that shows the spine: where findings of a series lie.

    Args:
        shown: the series.
        places: those of `places_of` that lie in it; without any, the whole series counts.
    """
    pixels = shown.volume.pixels
    xyz = np.array([[p["x"], p["y"], p["z"]] for p in places])
    if len(xyz):
        margin = _AROUND_MM / np.array(shown.volume.slices[0].plane.spacing)[::-1]
        around = np.append(margin, 1)
        low = np.maximum(xyz.min(axis=0) - around, 0).astype(int)
        high = np.ceil(xyz.max(axis=0) + around).astype(int)
        pixels = pixels[low[2] : high[2] + 1, low[1] : high[1] + 1, low[0] : high[0] + 1]
    # a quarter of the pixels is enough
    dark, bright = np.percentile(pixels[:, ::2, ::2], _WINDOW) if pixels.size else (0, 255)
    width = max(float(bright - dark), _LEAST_WIDTH)
    return round(dark + width / 2), round(width)


def findings_of(
    prediction: StudyPrediction, measured: Mapping[Target, str]
) -> dict[str, dict[str, Any]]:
    """Return what the page shows of each graded finding, by its name."""
    return {
        target.column: {
            "grade": f.model_grade.column,
            "shares": _rounded(f.shown),
            "raw": None if f.calibrated is None else _rounded(f.probabilities),
            "disputed": f.disputed,
            "measured": measured.get(target, ""),
            "opinion": None
            if f.opinion is None
            else {
                "grade": f.opinion.grade.column,
                "reason": f.opinion.reason,
                "value": f"{f.opinion.value:.{DIGITS[f.opinion.quantity.unit]}f}",
                "doubtful": f.opinion.quality is Quality.DOUBTFUL,
            },
        }
        for target, f in prediction.findings.items()
    }


def _rounded(shares: Sequence[float]) -> list[float]:
    return [round(float(p), 4) for p in shares]
