"""Page of an audit: a card per suspect, with a picture and the proposed corrections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lumbargrade.audit.records import Chain, Suspect, chains_of
from lumbargrade.audit.result import COUNT_COLUMNS, Audit, Entry, write_tables
from lumbargrade.domain.errors import BadStore
from lumbargrade.domain.vocabulary import Condition, Side, plain_name
from lumbargrade.lsdc.corrections import Correction, Fix
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import LsdcTables
from lumbargrade.report.drawing import save_image
from lumbargrade.report.page import Block, Card, Section, Table, Text, problem_table, write_page

#: Side of a panel, pixels.
PANEL = 340
_MARGIN = 0.18
_PAPER, _LABEL, _SUSPECT, _PROPOSED = (24, 24, 28), (150, 190, 220), (255, 120, 60), (90, 220, 120)
_LEAD = (
    "Each entry shows labels that are probably wrong, the most suspicious first. Crosses mark the "
    "labelled points; orange crosses are suspect. Green rings mark proposed places. Each row of "
    "corrections.csv has the number of its entry: delete the rows that you do not agree with, then "
    "run `lumbargrade prepare DATA --label-fixes corrections.csv`."
)
_NO_IMAGES = (
    "Images were not used. Distances are in spacings: one spacing is the usual distance between "
    "the discs of the series, or on axial slices between left and right. "
)


def write_audit(
    out: Path, audit: Audit, tables: LsdcTables, store: VolumeStore | None = None
) -> None:
    """Write ``index.html``, ``pictures/`` and the tables.

    Args:
        store: if given, the pictures show slices behind the points.
    """
    write_tables(out, audit, tables.grades)
    chains = {
        (c.series_id, c.condition): c for cond in Condition for c in chains_of(cond, tables.points)
    }
    summary: list[Block] = [Table(COUNT_COLUMNS, audit.counts())]
    if audit.problems:
        summary += [Text("These could not be checked:"), problem_table(audit.problems)]
    sections = [Section("Summary", summary)]
    for condition in Condition:
        blocks: list[Block] = [
            _card(e, _picture(out, e, chains.get((e.suspect.series_id or "", condition)), store))
            for e in audit.entries
            if e.suspect.condition is condition
        ]
        if blocks:
            sections.append(Section(plain_name(condition), blocks))
    lead = _LEAD if store is not None else _NO_IMAGES + _LEAD
    title = f"Labels of {tables.folder.name} that are probably wrong"
    write_page(out / "index.html", title, sections, lead)


def _card(entry: Entry, picture: str) -> Card:
    suspect = entry.suspect
    series = f", series {suspect.series_id}" if suspect.series_id else ""
    where = f"study {suspect.study_id}{series}, {suspect.names}"
    lines = [
        f"{c.fix} {c.target.side or ''} {c.target.level.label}".replace("  ", " ")
        + (
            ""
            if c.fix is Fix.DROP
            else f" to ({c.x:.0f}, {c.y:.0f}) on instance {c.instance_number}"
        )
        for c in entry.corrections
    ]
    if suspect.corrections and not entry.corrections:
        lines = ["Resolve the other entry for this series first."]
    title = f"{entry.number}. {suspect.check.words}"
    text = f"{where}: {suspect.reason} (score {suspect.score:.1f})."
    return Card(f"e{entry.number}", title, text, picture, lines)


def _picture(out: Path, entry: Entry, chain: Chain | None, store: VolumeStore | None) -> str:
    """Draw an entry; return the picture's path relative to the page, "" without points."""
    if chain is None:
        return ""
    pixels, caption = _slice(entry.suspect, chain, store) if store is not None else (None, "")
    name = f"pictures/{entry.number}.{'png' if pixels is None else 'jpg'}"
    save_image(out / name, draw_suspect(entry.suspect, chain, pixels, caption))
    return name


def _slice(
    suspect: Suspect, chain: Chain, store: VolumeStore
) -> tuple[NDArray[np.uint8] | None, str]:
    """The slice of the first suspect point, or of the first point of the series."""
    first = next((chain.targets.index(t) for t in suspect.targets if t in chain.marked), None)
    i = int(chain.there[0]) if first is None else first
    try:
        volume = store.volume(chain.study_id, chain.series_id)
        instance = int(chain.instances[i])
        z = volume.slice_of_instance(instance)
    except (BadStore, KeyError):
        return None, "no image"
    return np.asarray(volume.pixels[z]), f"instance {instance}"


def draw_suspect(
    suspect: Suspect, chain: Chain, pixels: NDArray[np.uint8] | None = None, caption: str = ""
) -> NDArray[np.uint8]:
    """Draw one panel, RGB (PANEL, PANEL, 3).

    Args:
        chain: all points of the series.
        pixels: (H, W) the slice behind the points; a plain background if not given.
        caption: written at the top.
    """
    proposed = [c for c in suspect.corrections if c.fix is not Fix.DROP]
    window = _window(chain, proposed, None if pixels is None else pixels.shape)
    image = _ground(pixels, window)
    draw = ImageDraw.Draw(image)
    x0, y0, side = window
    scale = PANEL / side

    def at(xy: Sequence[float]) -> tuple[float, float]:
        return (xy[0] + 0.5 - x0) * scale, (xy[1] + 0.5 - y0) * scale

    for c in proposed:
        i = chain.targets.index(c.target)
        x, y = at((c.x, c.y))
        if i in chain.there:
            draw.line((*at(chain.xy[i].tolist()), x, y), fill=_PROPOSED, width=1)
        draw.ellipse((x - 8, y - 8, x + 8, y + 8), outline=_PROPOSED, width=2)
        if c.fix is Fix.ADD:
            _write(draw, (x + 11, y - 8), _name(chain, i), _PROPOSED)
    for i in chain.there.tolist():
        colour = _SUSPECT if chain.targets[i] in suspect.targets else _LABEL
        x, y = at(chain.xy[i].tolist())
        draw.line((x - 5, y - 5, x + 5, y + 5), fill=colour, width=2)
        draw.line((x - 5, y + 5, x + 5, y - 5), fill=colour, width=2)
        text = _name(chain, i)
        beside = -9 - _width(draw, text) if chain.targets[i].side is Side.RIGHT else 9
        _write(draw, (min(max(x + beside, 2), PANEL - 2 - _width(draw, text)), y - 7), text, colour)
    _write(draw, (6, 4), caption, (230, 230, 230))
    return np.asarray(image)


def _name(chain: Chain, i: int) -> str:
    target = chain.targets[i]
    return f"{target.side[0].upper()} {target.level.label}" if target.side else target.level.label


def _window(
    chain: Chain, proposed: Sequence[Correction], shape: tuple[int, ...] | None
) -> tuple[float, float, float]:
    """Left, top and side, in pixels, of a square that contains all points."""
    xy = np.array([*chain.xy[chain.there].tolist(), *([c.x, c.y] for c in proposed)])
    if shape is not None:
        xy = np.clip(xy, 0, [shape[1], shape[0]])
    low, high = xy.min(axis=0), xy.max(axis=0)
    side = float(max((high - low).max() * (1 + 2 * _MARGIN), 40))
    x0, y0 = ((low + high - side) / 2).tolist()
    return x0, y0, side


def _ground(pixels: NDArray[np.uint8] | None, window: tuple[float, float, float]) -> Image.Image:
    if pixels is None:
        return Image.new("RGB", (PANEL, PANEL), _PAPER)
    x0, y0, side = window
    box = (x0, y0, x0 + side, y0 + side)
    data = (box[0], box[1], box[0], box[3], box[2], box[3], box[2], box[1])
    picture = Image.fromarray(np.asarray(pixels))
    return picture.transform(
        (PANEL, PANEL), Image.Transform.QUAD, data, Image.Resampling.BICUBIC
    ).convert("RGB")


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int]
) -> None:
    draw.text(at, text, fill=colour, font=_font(), stroke_width=2, stroke_fill=(0, 0, 0))


def _width(draw: ImageDraw.ImageDraw, text: str) -> float:
    return draw.textlength(text, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)
