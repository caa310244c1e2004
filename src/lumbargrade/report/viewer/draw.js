// What is drawn over a slice: outlines, measurements, places of findings, reference lines.

// of Okabe and Ito; the same colours mean the same in docs/report.md
const GRADE_COLOURS = { normal_mild: "#56b4e9", moderate: "#f0e442", severe: "#ff8a5c" };
const LINE_COLOURS = { sagittal_t2: "#7fd4ff", sagittal_t1: "#ffb3e6", axial_t2: "#b8f28c" };
const STRUCTURE_COLOURS = {
  body: "#d9b38c",
  sacrum: "#c58f5c",
  disc: "#f0e442",
  sac: "#56b4e9",
  foramen: "#5adca0",
  facet: "#e696c8",
};
const MEASURE_COLOURS = [
  ["sac", "#56b4e9"],
  ["recess", "#ff8c5a"],
  ["foramen", "#5adca0"],
  ["listhesis", "#e696c8"],
  ["lordosis", "#c8c8c8"],
  ["disc", "#f0e442"],
];

function measureColour(measured) {
  return MEASURE_COLOURS.find(([word]) => measured.quantity.includes(word))[1];
}

class Drawing {
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {(x: number, y: number) => [number, number]} at canvas place of a pixel
   * @param {number} unit device pixels per CSS pixel
   */
  constructor(context, at, unit) {
    Object.assign(this, { context, at, unit });
  }

  path(points, closed) {
    this.context.beginPath();
    points.forEach(([x, y], i) => this.context[i ? "lineTo" : "moveTo"](...this.at(x, y)));
    if (closed) this.context.closePath();
  }

  /** Draw a line with a dark edge, so that it is seen on bright and dark tissue. */
  line(points, colour, { closed = false, width = 1.5, dash = [], edge = true } = {}) {
    const { context, unit } = this;
    this.path(points, closed);
    context.lineJoin = "round";
    context.setLineDash(dash.map((d) => d * unit));
    if (edge) {
      context.lineWidth = (width + 1.6) * unit;
      context.strokeStyle = "rgba(0, 0, 0, 0.55)";
      context.stroke();
    }
    context.lineWidth = width * unit;
    context.strokeStyle = colour;
    context.stroke();
    context.setLineDash([]);
  }

  text(words, x, y, colour = "#f2f2f2", align = "left", size = 12, baseline = "middle") {
    const { context, unit } = this;
    context.font = `600 ${size * unit}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = baseline;
    context.lineWidth = 3 * unit;
    context.lineJoin = "round";
    context.strokeStyle = "rgba(0, 0, 0, 0.8)";
    context.strokeText(words, x, y);
    context.fillStyle = colour;
    context.fillText(words, x, y);
  }

  ring(x, y, radius, colour, width, dash = []) {
    const { context, unit } = this;
    const [cx, cy] = this.at(x, y);
    for (const [w, c] of [[width + 2, "rgba(0, 0, 0, 0.65)"], [width, colour]]) {
      context.beginPath();
      context.setLineDash(dash.map((d) => d * unit));
      context.arc(cx, cy, radius * unit, 0, 2 * Math.PI);
      context.lineWidth = w * unit;
      context.strokeStyle = c;
      context.stroke();
    }
    context.setLineDash([]);
  }

  /** Four ticks around a place that leave its middle free. */
  ticks(x, y, from, to, colour) {
    const { context, unit } = this;
    const [cx, cy] = this.at(x, y);
    for (const [w, c] of [[4, "rgba(0, 0, 0, 0.65)"], [2, colour]]) {
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(cx + dx * from * unit, cy + dy * from * unit);
        context.lineTo(cx + dx * to * unit, cy + dy * to * unit);
      }
      context.lineWidth = w * unit;
      context.strokeStyle = c;
      context.stroke();
    }
  }

  outlines(found) {
    for (const [structure, flat] of found) {
      const points = [];
      for (let i = 0; i < flat.length; i += 2) points.push([flat[i] / 4, flat[i + 1] / 4]);
      this.line(points, STRUCTURE_COLOURS[structure], { closed: true, width: 1.1, edge: false });
    }
  }

  /** Draw lines of measurements, and list their values in the lower left corner. */
  measurements(found, bottom) {
    const { unit } = this;
    for (const m of found) {
      this.line(m.line, measureColour(m), { closed: m.closed, width: 1.6, dash: m.doubtful ? [4, 3] : [] });
    }
    [...found].reverse().forEach((m, i) => {
      this.text(m.label, 8 * unit, bottom - i * 15 * unit, measureColour(m), "left", 11);
    });
  }
}
