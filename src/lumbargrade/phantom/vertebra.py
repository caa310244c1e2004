"""Paint the structures of a cell: half bodies, disc, posterior elements, foramina, canal.

Later structures hide earlier ones: posterior bone, foramina, bodies and disc, canal.
All lengths are mm; coordinates are those of `anatomy`.
"""

from __future__ import annotations

import numpy as np

from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.vocabulary import Side
from lumbargrade.phantom.anatomy import L1, SACRUM, Anatomy, Body, Cell
from lumbargrade.phantom.tissue import Canvas, Image, Tissue, box, clip, ellipse


def paint_cell(anatomy: Anatomy, index: int, canvas: Canvas, above: Image, below: Image) -> None:
    """Paint cell ``index``.

    Args:
        anatomy: the patient.
        index: which cell.
        canvas: the pixels of the cell, (n,).
        above: the pixels in the upper body's own frame (left, back, up) from its posterior wall,
            (3, n).
        below: the same in the lower body's frame.
    """
    cell = anatomy.cells[index]
    sacral = index >= SACRUM
    if part := canvas.part(6, 76, 20):
        _posterior(part.canvas, cell, sacral)
        part.put_back()
    if sacral:
        _ala(canvas, index)
    elif canvas.sees(6, 44):
        if part := canvas.part(-24 if anatomy.screws else -14, 34, 44):
            _pillars(part.canvas, anatomy, index)
            part.put_back()
        if part := canvas.part(-12, 18, 38):
            _foramina(part.canvas, index, cell)
            part.put_back()
    if part := canvas.part(-56, 8, 36):
        _bodies(part.canvas, anatomy, index, above[1:, part.at], below[1:, part.at])
        part.put_back()
    if part := canvas.part(-4, 36, 17):
        _canal(part.canvas, anatomy, index)
        part.put_back()


def _bone(
    canvas: Canvas,
    distance: Image,
    marrow: float | Image = 1.0,
    shell: float = 0.9,
    structure: Structure = Structure.OTHER,
) -> None:
    """Paint marrow in a dark shell."""
    values = canvas.values
    canvas.lay(distance, float(values[Tissue.CORTEX]), structure)
    inner = values[Tissue.MARROW] * marrow
    canvas.lay(distance + np.float32(shell), inner, structure)


def _posterior(canvas: Canvas, cell: Cell, sacral: bool) -> None:
    """Paint fat and ligament on the mid-line, laminae and the spinous process."""
    u, v, w, out, values = canvas.u, canvas.v, canvas.w, canvas.out, canvas.values
    if sacral:
        roof = 14 + cell.front_fat
        _bone(canvas, box(v - roof, out, 3.0, 18, 1))
        crest = np.abs(np.mod(w + 12, 24) - 12) - 7
        _bone(canvas, np.maximum(np.maximum(box(v - roof - 6, out, 6, 2.5, 1), crest), out - 3))
        return
    base = 19.0 + 0.5 * cell.front_fat
    length, half_height, fall = cell.spinous
    middle = box(out, v - (base + length / 2), 3.2, length / 2 + 5)
    mix = 0.65 * values[Tissue.FAT] + 0.35 * values[Tissue.LIGAMENT]
    canvas.lay(middle, float(mix))
    if cell.opened:
        seroma = ellipse(out, v - base - 10, 11, 13)
        canvas.lay(seroma, float(0.6 * values[Tissue.FAT] + 0.25 * values[Tissue.CSF]))
        return
    lamina_v = base - 0.42 * out
    lamina = box(v - lamina_v, w - 6.0, 3.0, 9.5, 1.5)
    _bone(canvas, np.maximum(lamina, out - np.float32(15)))
    slope = w - 4.5 + fall * (v - base)
    spinous = box(v - (base + length / 2), slope, length / 2, half_height, 4.0)
    width = 3.1 + 1.8 * clip((v - base - length * 0.6) / 12, 0, 1)
    if u.size and canvas.sees(0, 8):
        _bone(canvas, np.maximum(spinous, out - width))


def _pillars(canvas: Canvas, anatomy: Anatomy, index: int) -> None:
    """Paint pedicles, transverse processes and facet joints of both sides."""
    cell, lower = anatomy.cells[index], anatomy.bodies[index + 1]
    first_sacral = index + 1 >= SACRUM
    v, w, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    left, right = cell.sides[Side.LEFT], cell.sides[Side.RIGHT]
    size = canvas.sided(left.facet, right.facet)
    outward = canvas.sided(left.foramen[0], right.foramen[0])
    low = -(cell.gap / 2 + 7.0)
    across = out - outward
    pad = ellipse(across, v - 12, 11, 15)
    shade = float(0.4 * values[Tissue.FAT] + 0.6 * values[Tissue.MUSCLE])
    canvas.image += clip(-pad / 5, 0, 1) * (shade - canvas.image)
    if canvas.sees(14, 44):
        wing = 60.0 if first_sacral else 26.0
        thick = 10.0 if first_sacral else 4.0
        process = ellipse(out - wing / 2 - 10, v - 8, wing / 2, thick)
        _bone(canvas, process + 0.5 * (w - low) ** 2 / thick)
    if index < L1 and canvas.sees(16, 44):
        ellipse_of_rib = ellipse(v - 4 - 0.3 * (out - 24), w - low - 5 + 0.4 * (out - 20), 5, 7)
        _bone(canvas, np.maximum(ellipse_of_rib, 17 - out))
    # along the joint (outwards and back) and across it (inwards and back)
    cos, sin = np.float32(np.cos(anatomy.joint)), np.float32(np.sin(anatomy.joint))
    # the recess ends at the joint: facets lie further forward where it is narrow
    recess = canvas.sided(left.recess_depth, right.recess_depth)
    y = v - (10.5 + cell.bulge + 0.9 * recess - 1.0) + 0.16 * w
    along, beyond = across * cos + y * sin, y * cos - across * sin
    long, short = 6.8 * size, 4.4 * size
    upper_dw = np.maximum(np.abs(w + 5) - 6.5, 0)
    upper = ellipse(along, beyond + 3.8, long, short) + 0.5 * upper_dw
    lower_dw = np.maximum(np.abs(w - 5) - 8, 0)
    inferior = ellipse(along, beyond - 3.8, long, short) + 0.5 * lower_dw
    pars = box(v - 12.5, w - (cell.gap / 2 + 10), 5.5, 6, 3)
    _bone(canvas, np.maximum(pars, np.abs(across) - 4.8))
    joint = np.maximum(np.abs(upper - inferior) - 1.0, np.minimum(upper, inferior) - 1.0)
    facet = Structure.FACET
    _bone(canvas, inferior, structure=facet)
    _bone(canvas, upper, structure=facet)
    canvas.lay(np.maximum(joint, np.abs(w) - 6), float(values[Tissue.JOINT]), facet)
    pedicle = box(v - 5, w - low, 10, 5.6, 3)
    wide = _pedicle(index)
    aside = across + 4.6 - wide
    _bone(canvas, np.maximum(pedicle, np.abs(aside) - wide), lower.marrow)
    if index + 1 in anatomy.screws:
        screw = np.maximum(box(v, w - low, 22, 3.6, 3), np.abs(aside) - 3.4)
        rod = ellipse(across, v - 27, 5, 5)
        canvas.lay(np.minimum(screw, rod), float(values[Tissue.AIR]))


def _pedicle(index: int) -> float:
    """Half width of the pedicle below a disc, mm: 4 in the thorax, 8 at L5 (Zindrick 1987)."""
    return 4.2 + 0.9 * min(max(index - L1 + 1, 0), 5)


def _foramina(canvas: Canvas, index: int, cell: Cell) -> None:
    """Paint capsule and ligament, then the remaining fat, then the root in it."""
    v, w, out, values = canvas.v, canvas.w, canvas.out, canvas.values
    sides = cell.sides[Side.LEFT], cell.sides[Side.RIGHT]

    def part(name: int) -> float | Image:
        return canvas.sided(sides[0].foramen[name], sides[1].foramen[name])

    # the tunnel is as long as the pedicles are wide; readers mark its inner half
    reach = _pedicle(index) + 2.5
    tunnel = np.maximum(np.abs(out - part(0) + 6.0 - reach) - reach, 0)
    y, z = v - part(1), w - part(2)
    capsule = ellipse(y, z, 6.2, 9.6) + tunnel
    canvas.lay(capsule, float(0.6 * values[Tissue.LIGAMENT] + 0.4 * values[Tissue.ANNULUS]))
    axes = [s.foramen_axes for s in sides]
    half_width = canvas.sided(axes[0][0], axes[1][0])
    half_height = canvas.sided(axes[0][1], axes[1][1])
    egg = half_width * (1 + 0.25 * clip(z / half_height, -1, 1))
    fat = ellipse(y, z, egg, half_height) + tunnel
    canvas.lay(fat, float(values[Tissue.FAT]), Structure.FORAMEN)
    roots = [s.root_axes for s in sides]
    narrow, tall = (canvas.sided(roots[0][k], roots[1][k]) for k in (0, 1))
    lift = canvas.sided(sides[0].root[2], sides[1].root[2]) - part(2) - 0.35 * (out - part(0))
    root = ellipse(y, z - lift, narrow, tall)
    reach = np.maximum(np.abs(out - part(0) - 4) - 13.0, 0)
    canvas.lay(root + reach, float(values[Tissue.ROOT]), None)


def _outline(canvas: Canvas, body: Body, v: Image, inset: float | Image = 0.0) -> Image:
    """Signed distance of a body's outline seen from above.

    ``inset`` narrows it: from both sides above the sacrum, from the front in the sacrum.
    """
    half = np.float32(body.depth / 2)
    shift = inset if body.taper else 0.0
    y = (v + half - shift) / (half - inset)
    x = canvas.out / (np.float32(body.half_width) - inset)
    if canvas.out.min() > body.half_width + 4:
        return np.full_like(v, 9.0)
    notch = 0.10 * np.exp(-((canvas.out / 8) ** 2))
    qy, qx = y * y * (1 + notch * (y > 0)), x * x
    r = np.sqrt(np.sqrt(qx * qx + qy * qy + 2 * (1 - body.boxiness) * qx * qy))
    return np.asarray((r - 1) * half, np.float32)


def _endplate(canvas: Canvas, body: Body, v: Image, upper: bool) -> Image:
    """How far an endplate lies below the body's usual height, mm: wedge, hollow, node, tilt."""
    front = clip(-v * np.float32(1 / body.depth), -0.1, 1.1)  # 0 at the back wall, 1 in front
    middle = 2 * front - 1
    lost = 0.5 * body.wedge * front
    across = (canvas.out / np.float32(body.half_width)) ** 2
    hollow = clip(1 - middle * middle, 0, 1) ** 0.8 * clip(1.05 - across, 0, 1)
    lost = lost + body.concavity * hollow
    place, depth = body.nodes[0 if upper else 1]
    if depth:
        node = np.exp(-(((middle + place) * body.depth / 7) ** 2) - (canvas.u / 6) ** 2)
        lost = lost + depth * clip(node * 1.5 - 0.3, 0, 1)
    if upper and body.tilt:
        lost = lost + body.tilt * (front - 0.5)
    return np.asarray(lost, np.float32)


def _rounded(a: Image, b: Image, radius: float) -> Image:
    """Signed distance of the part that is inside of both, with rounded corners."""
    x, y = a + np.float32(radius), b + np.float32(radius)
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(x, y), 0) - np.float32(radius), np.float32)


def _marrow(canvas: Canvas, anatomy: Anatomy, body: Body, v: Image, w: Image) -> Image:
    """Brightness of a body's marrow: patches, haemangioma, vein."""
    phase = float(body.centre[2]) % 7
    patches = np.sin(0.53 * v + 0.21 * w + phase) * np.sin(0.37 * w - 0.17 * v + 2.3 * phase)
    bright = body.marrow * (1 + anatomy.texture * patches)
    level, u0, v0, w0, radius = body.spot
    if radius:
        away = np.sqrt((canvas.u - u0) ** 2 + (v + body.depth / 2 - v0) ** 2 + (w - w0) ** 2)
        bright = bright * np.where(away < radius, np.float32(level), np.float32(1))
    if body.vein and canvas.sees(0, 5):
        cleft = np.exp(-((w / 1.5) ** 2)) * clip(1 + v / (0.45 * body.depth), 0, 1)
        bright = bright * (1 - 0.6 * body.vein * cleft * clip((5 - canvas.out) / 3, 0, 1))
    return np.asarray(bright, np.float32)


def _bodies(canvas: Canvas, anatomy: Anatomy, index: int, above: Image, below: Image) -> None:
    """Paint the disc, then the lower half of the upper body and the upper half of the lower one.

    ``above`` and ``below`` are places behind and above the walls' middles of the two bodies,
    (2, n).
    """
    upper, lower, cell = anatomy.bodies[index], anatomy.bodies[index + 1], anatomy.cells[index]
    (va, wa), (vb, wb) = above, below
    values = canvas.values
    first = _outline(canvas, upper, va, _waist(wa, upper))
    second = _outline(canvas, lower, vb, _waist(wb, lower))
    top = -upper.height / 2 - wa  # negative inside the upper body
    bottom = wb - lower.height / 2
    top = top + _endplate(canvas, upper, va, upper=False)
    bottom = bottom + _endplate(canvas, lower, vb, upper=True)
    if upper.spur:
        first = first - upper.spur * np.exp(-((top / 3.5) ** 2)) * (va < -upper.depth / 2)
    if lower.spur:
        second = second - lower.spur * np.exp(-((bottom / 3.5) ** 2)) * (vb < -lower.depth / 2)
    mean = (first + second) * np.float32(0.5)
    bulge = cell.bulge * np.exp(-((canvas.out / 13) ** 2)) * (canvas.v > -8)
    bulge += np.float32(cell.front_bulge) * (canvas.v < -14)
    disc = np.maximum(mean - 0.9 - bulge, np.maximum(-top, -bottom) - 1.5)
    sacral = index >= SACRUM
    structure = Structure.SACRUM if sacral else Structure.DISC
    canvas.lay(disc, float(values[Tissue.ANNULUS]), structure)
    wet = values[Tissue.ANNULUS] + cell.hydration * (
        values[Tissue.NUCLEUS] - values[Tissue.ANNULUS]
    )
    canvas.lay(np.maximum(mean + 2.5, disc + 1), float(0.5 * (wet + values[Tissue.ANNULUS])), None)
    canvas.lay(np.maximum(mean + 5, disc + 1.6), float(wet), None)
    for body, (v, w), outline, end in (
        (upper, above, first, top),
        (lower, below, second, bottom),
    ):
        own = Structure.SACRUM if body.taper else Structure.BODY
        shade = _marrow(canvas, anatomy, body, v, w)
        if cell.endplates != 1:
            shade = shade * np.where(end > -6, np.float32(cell.endplates), np.float32(1))
        _bone(canvas, _rounded(outline, end, body.corner), shade, 1.0, own)


def _waist(height: Image, body: Body) -> Image:
    """How much narrower a body is at a height than at its endplates, mm."""
    if body.taper:
        return np.asarray(body.depth / 2 * body.taper * (0.5 - height / body.height), np.float32)
    share = clip(1 - (height / (body.height / 2)) ** 2, 0, 1)
    return np.asarray(share * np.float32(0.5 * body.waist * body.depth), np.float32)


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
    areas = [c.wide_area for c in anatomy.cells]
    wide = np.sqrt(_between(canvas, anatomy, index, areas) / np.float32(np.pi * 1.25))
    wide = wide * np.sqrt(_remaining(canvas, anatomy, index))
    size = wide * np.float32(np.sqrt(np.pi * 1.25 / 195))
    fat = _between(canvas, anatomy, index, [c.front_fat for c in anatomy.cells])
    room = np.maximum(size, 0.7)
    bony = ellipse(u, v - 8.8 * room - 0.5 * fat, 12.0 * room, 9.2 * room + 0.5 * fat)
    canvas.lay(bony, float(values[Tissue.EPIDURAL_FAT]))
    ligament = float(values[Tissue.LIGAMENT])
    half_width: Image | float
    half_depth: Image | float
    half_width, half_depth = cell.sac_axes
    level = index < SACRUM
    if level:
        flavum = ellipse(u, v - 9 - 0.5 * fat, 13.5, 10.5) + 3.5 * (w / cell.flavum) ** 2
        canvas.lay(flavum, ligament)
        behind = cell.sac_front + 2 * half_depth + 0.5 * cell.epidural
        fat_behind = box(out, v - behind, 3.0, 0.5 * cell.epidural, 0.5)
        canvas.lay(fat_behind, float(values[Tissue.EPIDURAL_FAT]))
        _recesses(canvas, cell)
    else:
        canvas.lay(np.abs(v) - 0.8, ligament)
        half_width = half_width * np.sqrt(_remaining(canvas, anatomy, index))
        half_depth = half_depth * np.sqrt(_remaining(canvas, anatomy, index))
    a = wide * 1.25 + (half_width - wide * 1.25) * narrow
    b = wide + (half_depth - wide) * narrow
    base = 1.4 + fat
    front = base + (cell.sac_front - base) * narrow
    ended = np.float32(9) * (wide < 0.8)
    back = clip((v - front - b) / np.maximum(b, 0.1), -1, 1)
    a = np.maximum(a * (1 - cell.sac_triangle * back), 0.1)
    sac = ellipse(u, v - (front + b), a, np.maximum(b, 0.1)) + ended
    canvas.lay(sac - 0.7, ligament)
    filling = _sac_filling(canvas, anatomy, index, np.pi * a * b, v - (front + b), b)
    canvas.lay(sac, filling, Structure.SAC)
    _cord(canvas, anatomy, index, v - (front + b))
    length, drift, outward = cell.hernia
    if length:
        half = 0.5 * (length + cell.bulge)
        extrusion = ellipse(v - 0.5 * length, w - drift * clip(v / length, 0, 1), half, 5)
        extrusion = np.maximum(extrusion, np.abs(u - outward) - 7)
        canvas.lay(extrusion - 0.6, ligament)
        canvas.lay(extrusion, float(values[Tissue.ANNULUS]))


def _place(canvas: Canvas, anatomy: Anatomy, index: int) -> Image:
    """Place along the spine: the (fractional) index of the body."""
    length, origin = anatomy.cell_lengths(index)
    return np.asarray(index + 1 - (canvas.w / np.float32(length) + np.float32(origin)))


def _remaining(canvas: Canvas, anatomy: Anatomy, index: int) -> Image | float:
    """Share of the sac's area that is left on the way to its end, 0 to 1."""
    if index < SACRUM - 1:
        return 1.0
    left = (anatomy.sac_end - _place(canvas, anatomy, index)) / 1.7
    return np.asarray(clip(left, 0.002, 1), np.float32)


def _between(canvas: Canvas, anatomy: Anatomy, index: int, values: list[float]) -> Image:
    """A quantity of the cells, continuous from the middle of one body to the next."""
    here = values[index]
    top = (here + values[max(index - 1, 0)]) / 2
    bottom = (here + values[min(index + 1, len(values) - 1)]) / 2
    length, origin = anatomy.cell_lengths(index)
    share = canvas.w * np.float32(1 / length) + np.float32(origin)
    return np.asarray(bottom + (top - bottom) * share, np.float32)


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
    tight = min(c.sac_area for c in anatomy.cells[L1:SACRUM]) < 65
    coil = 1.4 * np.sin(0.45 * w + phase[2]) if anatomy.redundant and tight else 0.0
    strands = np.sin(2.0 * u + 0.03 * w + phase[0] + coil)
    strands = strands + np.sin(1.9 * behind + phase[1] + 0.06 * w + coil)
    strands += np.sin(1.7 * u - 1.5 * behind + phase[2])
    below = min(max(index - L1 + 0.8, 0.0), 1.0)
    lying = clip(0.35 + 0.75 * behind / half, 0, 1)
    crowd = clip(55 * anatomy.roots / area - 0.28, 0, 0.85)
    thread = clip(strands - 1.2 + 0.9 * anatomy.roots, 0, 1) * lying * (0.9 * below)
    filled = clip(crowd + thread * (1 - crowd), 0, 1)
    csf, root = float(values[Tissue.CSF]), float(values[Tissue.ROOT])
    return np.asarray(csf + filled * (root - csf), np.float32)


def _cord(canvas: Canvas, anatomy: Anatomy, index: int, behind: Image) -> None:
    """Paint cord and conus, down to the body at which they end."""
    if index > anatomy.conus:
        return
    place = _place(canvas, anatomy, index)
    taper = clip((anatomy.conus - place) / 0.9, 0, 1)
    radius = 4.4 * np.sqrt(taper)
    cord = ellipse(canvas.u, behind - 1.5 * (1 - taper), radius + 0.01, 0.85 * radius + 0.01)
    canvas.lay(cord + np.float32(2) * (taper <= 0), float(canvas.values[Tissue.CORD]), None)
