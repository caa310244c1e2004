// What the panes share: layers, the selected finding, the linked place, and how a pane is painted.

const KINDS = [
  ["sagittal_t2", "Sagittal T2"],
  ["sagittal_t1", "Sagittal T1"],
  ["axial_t2", "Axial T2"],
];
// a place farther than this from a slice is not drawn on it, mm
const NEAR_MM = 6;

class Workspace {
  constructor(data, review) {
    Object.assign(this, { data, review, selected: null, cursor: null, active: null });
    this.layers = { outlines: false, measurements: true, places: true, lines: true, heat: false };
    this.dragging = "auto";
    this.selectionListeners = [];
    this.places = this.gather();
    this.panes = KINDS.map(
      ([kind, title]) => new Pane(kind, title, data.series.filter((s) => s.kind === kind), this),
    );
    for (const pane of this.panes) if (pane.current) pane.show(this.start(pane));
  }

  /** Every finding with a place: {column, disc, series, x, y, z, lps}. */
  gather() {
    const found = [];
    for (const column of COLUMNS) {
      for (let disc = 0; disc < LEVELS.length; disc++) {
        const place = this.data.places[findingName(column, disc)];
        if (place) found.push({ column, disc, ...place });
      }
    }
    for (const series of this.data.series) {
      const own = found.filter((p) => p.series === series.index);
      if (!own.length) continue;
      const xs = own.map((p) => p.x);
      const ys = own.map((p) => p.y);
      series.spine = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    }
    return found;
  }

  /** First slice that a pane shows: the middle of the findings there, or of the series. */
  start(pane) {
    const { index, space, slices } = pane.current;
    const canals = this.places.filter((p) => !p.column.side);
    const own = canals.filter((p) => p.series === index);
    const middle = (own.length ? own : canals)[Math.floor((own.length || canals.length) / 2)];
    if (middle?.series === index) return Math.round(middle.z);
    const shared = middle?.lps && this.data.series[middle.series].space === space;
    return shared ? nearestSlice(slices, middle.lps) : Math.floor(slices.length / 2);
  }

  /** Place of a finding, or of another finding of its disc, to open the right slices. */
  placeOf(column, disc) {
    const own = this.places.find((p) => p.column === column && p.disc === disc);
    if (own) return { ...own, exact: true };
    const same = this.places.filter((p) => p.disc === disc);
    const near = same.find((p) => p.column.side === column.side) ?? same.find((p) => !p.column.side) ?? same[0];
    return near ? { ...near, exact: false } : null;
  }

  select(column, disc) {
    this.selected = { column, disc };
    this.cursor = null;
    const place = this.placeOf(column, disc);
    this.mark = place;
    if (place) {
      const { space } = this.data.series[place.series];
      for (const pane of this.panes) {
        if (!pane.current) continue;
        const own = pane.series.find((s) => s.index === place.series);
        if (own) {
          pane.open(own);
          pane.show(Math.round(place.z));
        } else if (place.lps) pane.seek(place.lps, space);
      }
      const first = this.panes.find((p) => p.current?.index === place.series);
      if (first) this.activate(first);
    }
    for (const listener of this.selectionListeners) listener();
    this.redraw();
  }

  /** Bring the other panes to a place that was clicked in one. */
  point(pane, lps) {
    const { space } = pane.current;
    this.cursor = { lps, space };
    for (const other of this.panes) if (other !== pane) other.seek(lps, space);
    this.redraw();
  }

  activate(pane) {
    this.active = pane;
    for (const each of this.panes) each.root.classList.toggle("active", each === pane);
    for (const tab of document.querySelectorAll("#tabs button")) {
      tab.setAttribute("aria-pressed", String(tab.dataset.kind === pane.kind));
    }
  }

  enlarge(pane) {
    const large = pane.root.classList.toggle("large");
    for (const each of this.panes) if (each !== pane) each.root.classList.remove("large");
    byId("views").classList.toggle("one-large", large);
    this.activate(pane);
  }

  scrolled(pane) {
    for (const other of this.panes ?? []) if (other !== pane) other.redraw();
  }

  toggle(layer, value) {
    this.layers[layer] = value ?? !this.layers[layer];
    const box = byId(`layer-${layer}`);
    if (box) box.checked = this.layers[layer];
    this.redraw();
  }

  redraw() {
    for (const pane of this.panes) pane.redraw();
  }

  dragScrolls(event) {
    if (this.dragging === "auto") return event.pointerType === "touch";
    return this.dragging === "slices";
  }

  /** The finding whose ring is at a pixel, or undefined. */
  findingAt(pane, x, y) {
    if (!this.layers.places) return undefined;
    const radius = 11 * (window.devicePixelRatio || 1);
    const [cx, cy] = pane.at(x, y);
    return this.placesOn(pane.current, pane.z).find((p) => {
      const [px, py] = pane.at(p.x, p.y);
      return Math.hypot(px - cx, py - cy) <= radius;
    });
  }

  placesOn(series, z) {
    return this.places.filter((p) => p.series === series.index && Math.round(p.z) === z);
  }

  paint(pane) {
    const { canvas, slice, images, z } = pane;
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const image = images.ready(z);
    if (!image) return void images.load(z).then(() => pane.redraw());
    this.paintSlice(context, pane, image);
    const unit = window.devicePixelRatio || 1;
    const drawing = new Drawing(context, (x, y) => pane.at(x, y), unit);
    if (this.layers.heat) this.paintHeat(context, pane);
    if (this.layers.outlines) drawing.outlines(pane.current.outlines[z] ?? []);
    if (this.layers.measurements) this.paintMeasurements(drawing, pane);
    if (this.layers.lines) this.paintLines(drawing, pane);
    if (this.layers.places) this.paintPlaces(drawing, pane);
    this.paintMark(drawing, pane);
    this.paintLabels(drawing, pane, slice);
    canvas.dataset.shown = z;
    return undefined;
  }

  paintSlice(context, pane, image) {
    const { centre, width } = pane.window;
    const key = [pane.current.index, pane.z, centre, width].join();
    if (pane.shownKey !== key) [pane.shown, pane.shownKey] = [windowed(image, centre, width), key];
    const [x0, y0] = pane.at(-0.5, -0.5);
    const [x1, y1] = pane.at(pane.slice.w - 0.5, pane.slice.h - 0.5);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(pane.shown, x0, y0, x1 - x0, y1 - y0);
  }

  /** Heat maps of the selected finding's condition, or of all conditions if none is selected. */
  paintHeat(context, pane) {
    const wanted = this.selected?.column;
    for (const heat of pane.current.heat[pane.z] ?? []) {
      if (wanted && heat.condition !== wanted.condition) continue;
      if (wanted && heat.side && heat.side !== wanted.side) continue;
      heat.canvas ??= heatCanvas(heat);
      const [x0, y0] = pane.at(heat.box[0], heat.box[1]);
      const [x1, y1] = pane.at(heat.box[2], heat.box[3]);
      context.drawImage(heat.canvas, x0, y0, x1 - x0, y1 - y0);
    }
  }

  paintMeasurements(drawing, pane) {
    const { selected } = this;
    const all = pane.current.measurements[pane.z] ?? [];
    const mine = all.filter((m) => selected && m.disc === selected.disc);
    drawing.measurements(mine, pane.canvas.height - 14 * drawing.unit);
  }

  paintLines(drawing, pane) {
    for (const other of this.panes) {
      if (other === pane || !other.current || other.current.space !== pane.current.space) continue;
      const ends = crossing(pane.slice, other.slice);
      if (ends) {
        drawing.line(ends, LINE_COLOURS[other.kind], { width: 1, dash: [6, 4], edge: false });
      }
    }
  }

  paintPlaces(drawing, pane) {
    const { unit } = drawing;
    const sagittal = !pane.kind.startsWith("axial");
    for (const place of this.placesOn(pane.current, pane.z)) {
      const grade = this.review.grade(place.column, place.disc);
      const colour = GRADE_COLOURS[grade] ?? "#bbbbbb";
      const chosen = this.isSelected(place);
      if (!chosen) drawing.ring(place.x, place.y, 6, colour, 1.5);
      const [cx, cy] = pane.at(place.x, place.y);
      const name = sagittal ? levelLabel(place.disc, this.review.shift) : place.column.side.slice(0, 1).toUpperCase();
      const words = `${name} ${SYMBOLS[grade] ?? "–"}`;
      const left = place.column.side === "right" && !sagittal;
      const aside = (chosen ? 24 : 14) * unit;
      drawing.text(words, cx + (left ? -aside : aside), cy, colour, left ? "right" : "left", chosen ? 13 : 11);
    }
  }

  isSelected({ column, disc }) {
    return this.selected?.column === column && this.selected?.disc === disc;
  }

  /** Mark the selected finding in every pane, and the place that was clicked. */
  paintMark(drawing, pane) {
    const { mark, cursor } = this;
    if (mark) {
      const own = mark.series === pane.current.index;
      const space = this.data.series[mark.series].space;
      const grade = this.review.grade(this.selected.column, this.selected.disc);
      const colour = GRADE_COLOURS[grade] ?? "#dddddd";
      if (own && Math.round(mark.z) === pane.z) {
        drawing.ring(mark.x, mark.y, 12, colour, 2.5, mark.exact ? [] : [4, 3]);
        drawing.ticks(mark.x, mark.y, 12, 19, colour);
      } else if (!own && mark.lps && space === pane.current.space) {
        const [x, y, away] = toPixel(pane.slice, mark.lps);
        if (Math.abs(away) <= NEAR_MM) {
          drawing.ring(x, y, 12, colour, 1.5, [4, 3]);
          drawing.ticks(x, y, 12, 18, colour);
        }
      }
    }
    if (cursor && cursor.space === pane.current.space) {
      const [x, y, away] = toPixel(pane.slice, cursor.lps);
      if (Math.abs(away) <= NEAR_MM) drawing.ticks(x, y, 5, 14, "#ffffff");
    }
  }

  paintLabels(drawing, pane, slice) {
    const { unit } = drawing;
    const { width, height } = pane.canvas;
    const back = (v) => v.map((x) => -x);
    const letters = [
      [directionLetter(back(slice.r)), 8 * unit, height / 2, "left"],
      [directionLetter(slice.r), width - 8 * unit, height / 2, "right"],
      [directionLetter(back(slice.c)), width / 2, 12 * unit, "center"],
      [directionLetter(slice.c), width / 2, height - 12 * unit, "center"],
    ];
    for (const [letter, x, y, align] of letters) drawing.text(letter, x, y, "#f2f2f2", align, 13);
    const number = slice.number < 0 ? "" : ` · instance ${slice.number}`;
    drawing.text(`${pane.z + 1}/${pane.current.slices.length}${number}`, 8 * unit, 12 * unit);
    const { centre, width: breadth } = pane.window;
    if (pane.windowed) {
      const said = `window ${Math.round(breadth)} at ${Math.round(centre)}`;
      drawing.text(said, 8 * unit, 28 * unit, "#f2f2f2", "left", 11);
    }
    const side = this.sideOf(pane, slice);
    if (side) drawing.text(side, width - 8 * unit, 12 * unit, "#f2f2f2", "right");
    this.paintScale(drawing, pane);
  }

  /** The patient's side of a sagittal slice, relative to the canal. */
  sideOf(pane, slice) {
    if (pane.kind.startsWith("axial")) return "";
    const { space } = pane.current;
    const canals = this.places.filter(
      (p) => !p.column.side && p.lps && this.data.series[p.series].space === space,
    );
    if (!canals.length) return "";
    const away = canals.reduce((sum, p) => sum - toPixel(slice, p.lps)[2], 0) / canals.length;
    const normal = cross(slice.r, slice.c);
    const left = Math.sign(normal[0]) * away;
    if (Math.abs(left) < 4) return "midline";
    return `${left > 0 ? "left" : "right"} ${Math.round(Math.abs(left))} mm`;
  }

  paintScale(drawing, pane) {
    const { unit } = drawing;
    const { width, height } = pane.canvas;
    const length = 20 * pane.view.scale;
    if (length > width / 2) return;
    const y = height - 10 * unit;
    const { context } = drawing;
    context.beginPath();
    context.moveTo(width - 10 * unit - length, y);
    context.lineTo(width - 10 * unit, y);
    context.lineWidth = 2 * unit;
    context.strokeStyle = "#f2f2f2";
    context.stroke();
    drawing.text("2 cm", width - 10 * unit, y - 9 * unit, "#f2f2f2", "right", 10);
  }
}
