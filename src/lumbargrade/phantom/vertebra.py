"""Paint the structures of a cell: half bodies, disc, posterior elements, foramina, canal.

Later structures hide earlier ones: posterior bone, foramina, bodies and disc, canal.
All lengths are mm; coordinates are those of `anatomy`.
"""

from __future__ import annotations

import numpy as np

from lumbargrade.domain.vocabulary import Side
from lumbargrade.phantom.anatomy import SACRUM, Anatomy, Body, Cell
from lumbargrade.phantom.tissue import Canvas, Image, Tissue, box, ellipse


def paint_cell(
    anatomy: Anatomy, index: int, canvas: Canvas, wa: Image, wb: Image, va: Image, vb: Image
) -> None:
    """Paint cell ``index``.

    Args:
        anatomy: the patient.
        index: which cell.
        canvas: the part of the image that the cell may cover.
        wa, va: height and depth of the pixels in the upper body's own frame.
        wb, vb: the same in the lower body's frame.
    """
    cell = anatomy.cells[index]
    sacral = index >= SACRUM
    if part := canvas.part(6, 66, 20):
        _posterior(part[0], cell, sacral)
    if sacral:
        _ala(canvas, index)
    elif canvas.sees(6, 44):
        if part := canvas.part(-8, 34, 44):
            _pillars(part[0], cell, anatomy.bodies[index + 1], index + 1 >= SACRUM)
        if part := canvas.part(-6, 18, 38):
            _foramina(part[0], cell)
    if part := canvas.part(-46, 8, 34):
        at = part[1]
        _bodies(part[0], anatomy, index, (wa[at], va[at]), (wb[at], vb[at]))
    if part := canvas.part(-4, 28, 17):
        _canal(part[0], anatomy, index)


def _bone(canvas: Canvas, distance: Image, marrow: float = 1.0, shell: float = 0.9) -> None:
    """Paint marrow in a dark shell."""
    values = canvas.values
    canvas.lay(distance, float(values[Tissue.CORTEX]))
    canvas.lay(distance + np.float32(shell), float(values[Tissue.MARROW]) * marrow)


def _posterior(canvas: Canvas, cell: Cell, sacral: bool) -> None:
    """Paint fat and ligament on the mid-line, laminae and the spinous process."""
    u, v, w, out, values = canvas.u, canvas.v, canvas.w, canvas.out, canvas.values
    if sacral:
        distance = box(v - 16, out, 3.5, 18, 1)
        _bone(canvas, distance)
        return
    base = 19.0
    middle = box(out, v - (base + cell.spinous / 2), 3.2, cell.spinous / 2 + 5)
    mix = 0.65 * values[Tissue.FAT] + 0.35 * values[Tissue.LIGAMENT]
    canvas.lay(middle, float(mix))
    lamina_v = base - 0.42 * out
    lamina = box(v - lamina_v, w - 6.0, 3.0, 9.5, 1.5)
    _bone(canvas, np.maximum(lamina, out - np.float32(15)))
    slope = w - 4.5 + 0.22 * (v - base)
    spinous = box(v - (base + cell.spinous / 2), slope, cell.spinous / 2, 9.0, 4.0)
    width = 2.6 + 1.6 * np.clip((v - base - cell.spinous * 0.6) / 12, 0, 1)
    if u.size and canvas.sees(0, 8):
        _bone(canvas, np.maximum(spinous, out - width))


def _pillars(canvas: Canvas, cell: Cell, lower: Body, first_sacral: bool) -> None:
    """Paint pedicles, transverse processes and facet joints of both sides."""
    v, w, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    left, right = cell.sides[Side.LEFT], cell.sides[Side.RIGHT]
    size = canvas.sided(left.facet, right.facet)
    outward = canvas.sided(left.foramen[0], right.foramen[0])
    low = -(cell.gap / 2 + 7.0)
    across = out - outward
    pad = ellipse(across, v - 12, 11, 15)
    shade = float(0.4 * values[Tissue.FAT] + 0.6 * values[Tissue.MUSCLE])
    canvas.image += np.clip(-pad / 5, 0, 1) * (shade - canvas.image)
    if canvas.sees(14, 44):
        wing = 60.0 if first_sacral else 26.0
        thick = 10.0 if first_sacral else 4.0
        process = ellipse(out - wing / 2 - 10, v - 8, wing / 2, thick)
        _bone(canvas, process + 0.5 * (w - low) ** 2 / thick)
    behind = 0.16 * w
    upper_dw = np.maximum(np.abs(w + 5) - 6.5, 0)
    upper = np.sqrt((across - 2.5) ** 2 + (v - 13.5 + behind) ** 2 + upper_dw**2) - 4.4 * size
    lower_dw = np.maximum(np.abs(w - 5) - 8, 0)
    inferior = np.sqrt((across + 2.6) ** 2 + (v - 19.5 + behind) ** 2 + lower_dw**2) - 4.6 * size
    pars = box(v - 12.5, w - (cell.gap / 2 + 10), 5.5, 6, 3)
    _bone(canvas, np.maximum(pars, np.abs(across) - 4.8))
    joint = np.maximum(np.abs(upper - inferior) - 1.0, np.minimum(upper, inferior) - 1.0)
    _bone(canvas, inferior)
    _bone(canvas, upper)
    canvas.lay(np.maximum(joint, np.abs(w) - 6), float(values[Tissue.JOINT]))
    pedicle = box(v - 5, w - low, 10, 5.6, 3)
    _bone(canvas, np.maximum(pedicle, np.abs(across) - 4.6), lower.marrow)


def _foramina(canvas: Canvas, cell: Cell) -> None:
    """Paint capsule and ligament, then the remaining fat, then the root in it."""
    v, w, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    sides = cell.sides[Side.LEFT], cell.sides[Side.RIGHT]

    def part(name: int) -> float | Image:
        return canvas.sided(sides[0].foramen[name], sides[1].foramen[name])

    tunnel = np.maximum(np.abs(out - part(0)) - 7.0, 0)
    y, z = v - part(1), w - part(2)
    capsule = ellipse(y, z, 6.2, 9.6) + tunnel
    canvas.lay(capsule, float(0.6 * values[Tissue.LIGAMENT] + 0.4 * values[Tissue.ANNULUS]))
    axes = [s.foramen_axes for s in sides]
    half_width = canvas.sided(axes[0][0], axes[1][0])
    half_height = canvas.sided(axes[0][1], axes[1][1])
    egg = half_width * (1 + 0.25 * np.clip(z / half_height, -1, 1))
    canvas.lay(ellipse(y, z, egg, half_height) + tunnel, float(values[Tissue.FAT]))
    radius = canvas.sided(sides[0].root_radius, sides[1].root_radius)
    narrow = np.minimum(radius, 0.9 * half_width)
    tall = np.minimum(radius * radius / narrow, 0.95 * half_height)
    lift = 0.45 * (half_height - tall) - 0.35 * (out - part(0))
    root = ellipse(y, z - lift, narrow, tall)
    reach = np.maximum(np.abs(out - part(0) - 4) - 13.0, 0)
    canvas.lay(root + reach, float(values[Tissue.ROOT]))


def _outline(canvas: Canvas, body: Body, v: Image, inset: float | Image = 0.0) -> Image:
    """Signed distance of a body's outline seen from above; ``inset`` narrows it."""
    half = np.float32(body.depth / 2)
    y = (v + half) / (half - inset)
    x = canvas.out / (np.float32(body.half_width) - inset)
    if canvas.out.min() > body.half_width + 4:
        return np.full_like(v, 9.0)
    notch = 0.10 * np.exp(-((canvas.out / 8) ** 2))
    qy, qx = y * y * (1 + notch * (y > 0)), x * x
    r = np.sqrt(np.sqrt(qx * qx + qy * qy + 2 * (1 - body.boxiness) * qx * qy))
    return np.asarray((r - 1) * half, np.float32)


def _bodies(
    canvas: Canvas,
    anatomy: Anatomy,
    index: int,
    above: tuple[Image, Image],
    below: tuple[Image, Image],
) -> None:
    """Paint the disc, then the lower half of the upper body and the upper half of the lower one."""
    upper, lower, cell = anatomy.bodies[index], anatomy.bodies[index + 1], anatomy.cells[index]
    values = canvas.values
    first = _outline(canvas, upper, above[1], _waist(above[0], upper))
    second = _outline(canvas, lower, below[1], _waist(below[0], lower))
    mean = (first + second) * np.float32(0.5)
    top = -upper.height / 2 - above[0]  # negative inside the upper body
    bottom = below[0] - lower.height / 2
    dip = 1.2 * np.clip(-mean / 8, 0, 1)
    bulge = cell.bulge * np.exp(-((canvas.out / 13) ** 2)) * (canvas.v > -8)
    disc = np.maximum(mean - 1.2 - bulge, np.maximum(-top, -bottom) - 1.5)
    canvas.lay(disc, float(values[Tissue.ANNULUS]))
    wet = values[Tissue.ANNULUS] + cell.hydration * (
        values[Tissue.NUCLEUS] - values[Tissue.ANNULUS]
    )
    canvas.lay(disc + 4.5, float(0.5 * (wet + values[Tissue.ANNULUS])))
    canvas.lay(disc + 6.5, float(wet))
    _bone(canvas, np.maximum(first, top + dip), upper.marrow, 1.0)
    _bone(canvas, np.maximum(second, bottom + dip), lower.marrow, 1.0)


def _waist(height: Image, body: Body) -> Image:
    """How much narrower a body is at a height than at its endplates, mm."""
    if body.taper:
        return np.asarray(body.depth / 2 * body.taper * (0.5 - height / body.height), np.float32)
    share = np.clip(1 - (height / (body.height / 2)) ** 2, 0, 1)
    return np.asarray(share * np.float32(0.05 * body.depth), np.float32)


def _ala(canvas: Canvas, index: int) -> None:
    """Paint the lateral masses of the sacrum."""
    width = 44.0 - 7.0 * (index - SACRUM)
    ala = box(canvas.out, canvas.v + 2, width, 14 - 2.0 * (index - SACRUM), 5)
    _bone(canvas, ala)


def _canal(canvas: Canvas, anatomy: Anatomy, index: int) -> None:
    """Paint epidural fat, ligaments at the disc, recesses, sac, cord and roots."""
    cell = anatomy.cells[index]
    u, v, w, out, values = canvas.u, canvas.v, canvas.w, canvas.out, canvas.values
    narrow = np.exp(-((w / cell.flavum) ** 2))
    wide = np.sqrt(_wide_area(canvas, anatomy, index) / np.float32(np.pi * 1.25))
    size = wide * np.float32(np.sqrt(np.pi * 1.25 / 195))
    bony = ellipse(u, v - 8.8 * size, 12.0 * size, 9.2 * size)
    canvas.lay(bony, float(values[Tissue.EPIDURAL_FAT]))
    ligament = float(values[Tissue.LIGAMENT])
    level = index < SACRUM
    if level:
        flavum = ellipse(u, v - 9, 13.5, 10.5) + 3.5 * (w / cell.flavum) ** 2
        canvas.lay(flavum, ligament)
        fat_behind = box(out, v - (cell.sac_front + 2 * cell.sac_axes[1] + 2.2), 3.0, 2.2, 1.5)
        canvas.lay(fat_behind, float(values[Tissue.EPIDURAL_FAT]))
        _recesses(canvas, cell)
    else:
        canvas.lay(np.abs(v) - 0.8, ligament)
    half_width, half_depth = cell.sac_axes
    a = wide * 1.25 + (half_width - wide * 1.25) * narrow
    b = wide + (half_depth - wide) * narrow
    front = 1.4 + (cell.sac_front - 1.4) * narrow
    sac = ellipse(u, v - (front + b), a, b)
    canvas.lay(sac - 0.7, ligament)
    canvas.lay(sac, _sac_filling(canvas, anatomy, index, np.pi * a * b, v - (front + b), b))
    _cord(canvas, anatomy, index, v - (front + b))


def _wide_area(canvas: Canvas, anatomy: Anatomy, index: int) -> Image:
    """Sac area away from the disc, continuous with the neighbouring cells."""
    areas = [cell.wide_area for cell in anatomy.cells]
    here = areas[index]
    top = (here + areas[max(index - 1, 0)]) / 2
    bottom = (here + areas[min(index + 1, len(areas) - 1)]) / 2
    length, origin = anatomy.cell_lengths(index)
    share = canvas.w * np.float32(1 / length) + np.float32(origin)
    return np.asarray(bottom + (top - bottom) * share)


def _recesses(canvas: Canvas, cell: Cell) -> None:
    """Paint the lateral recess of each side: fat in front of the facet, with a root in it."""
    v, w, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    left, right = cell.sides[Side.LEFT], cell.sides[Side.RIGHT]
    depth = canvas.sided(left.recess_depth, right.recess_depth)
    outward = canvas.sided(left.recess, right.recess)
    y = v - (cell.bulge + depth / 2)
    x = out - outward
    along = np.maximum(np.abs(w) - 8, 0)
    bright = 0.5 * float(values[Tissue.EPIDURAL_FAT]) + 0.5 * float(values[Tissue.CSF])
    canvas.lay(ellipse(x, y, 3.6, depth / 2) + along, bright)
    tall = np.minimum(1.4, 0.42 * depth)
    canvas.lay(ellipse(x - 0.4, y, 1.96 / tall * 0.8, tall) + along, float(values[Tissue.ROOT]))


def _sac_filling(
    canvas: Canvas, anatomy: Anatomy, index: int, area: Image, behind: Image, half: Image
) -> Image:
    """CSF darkened by the roots in it. Roots keep their size, so a narrow sac has little CSF."""
    u, w, values = canvas.u, canvas.w, canvas.values
    rng = np.random.default_rng([anatomy.seed, index])
    phase = [float(p) for p in rng.uniform(0, 6.28, 3)]
    strands = np.sin(2.3 * u + 0.03 * w + phase[0]) + np.sin(2.1 * behind + phase[1] + 0.06 * w)
    strands += np.sin(1.7 * u - 1.5 * behind + phase[2])
    below = np.clip(index - 2.2, 0, 1)
    lying = np.clip(0.35 + 0.75 * behind / half, 0, 1)
    crowd = np.clip(55 / area - 0.28, 0, 0.85)
    thread = np.clip(strands - 0.7, 0, 1) * lying * (0.75 * below)
    filled = np.clip(crowd + thread * (1 - crowd), 0, 1)
    csf, root = float(values[Tissue.CSF]), float(values[Tissue.ROOT])
    return np.asarray(csf + filled * (root - csf), np.float32)


def _cord(canvas: Canvas, anatomy: Anatomy, index: int, behind: Image) -> None:
    """Paint cord and conus, down to the body at which they end."""
    length, origin = anatomy.cell_lengths(index)
    if index > anatomy.conus:
        return
    place = index + 1 - (canvas.w / np.float32(length) + np.float32(origin))
    taper = np.clip((anatomy.conus - place) / 0.9, 0, 1)
    radius = 4.4 * np.sqrt(taper)
    cord = ellipse(canvas.u, behind - 1.5 * (1 - taper), radius + 0.01, 0.85 * radius + 0.01)
    canvas.lay(cord + 2 * (taper <= 0), float(canvas.values[Tissue.CORD]))
