// Key images for print: midline, foramina and the axial slice of each level, drawn beforehand
// because a browser does not wait for images when it prints.

class PrintPages {
  constructor(workspace) {
    this.workspace = workspace;
    this.root = byId("key-images");
    this.later = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.render(), 400);
    };
    workspace.review.listeners.push(this.later);
    window.addEventListener("beforeprint", () => this.texts());
    this.texts();
    this.later();
  }

  /** Paragraphs instead of text fields, which print cuts off. */
  texts() {
    const { review } = this.workspace;
    const lines = review.plainText().trimEnd().split("\n");
    byId("print-text").replaceChildren(...lines.map((line) => make("p", {}, line)));
    byId("print-notes").replaceChildren(...this.notes().map((line) => make("p", {}, line)));
  }

  /** Why findings are not graded, and the notes on the images. */
  notes() {
    const { review } = this.workspace;
    const reasons = new Map();
    for (const [column, disc] of review.shownFindings()) {
      if (review.grade(column, disc) !== null) continue;
      const why = review.decision(column, disc)?.comment || review.reason(column, disc) || "the reader rejected it";
      const name = findingTitle(column, disc, review.shift);
      reasons.set(why, [...(reasons.get(why) ?? []), name]);
    }
    const notGraded = [...reasons].map(([why, names]) => `Not graded: ${names.join(", ")}: ${why}.`);
    const notes = [...document.querySelectorAll("#top .notes li")].map((item) => item.textContent);
    return [...notGraded, ...notes.slice(0, 12), ...(notes.length > 12 ? [`and ${notes.length - 12} more notes`] : [])];
  }

  /** Which slices are printed: {series, z, title, marks}. */
  chosen() {
    const { workspace } = this;
    const { places, review, data } = workspace;
    const found = [];
    const add = (title, marks) => {
      if (!marks.length) return;
      const zs = marks.map((m) => m.z).sort((a, b) => a - b);
      found.push({ series: data.series[marks[0].series], z: Math.round(zs[zs.length >> 1]), title, marks });
    };
    const sameSeries = (marks) => marks.filter((m) => m.series === marks[0].series);
    add("Canal", sameSeries(places.filter((p) => !p.column.side)));
    for (const side of ["right", "left"]) {
      const own = (p) => p.column.side === side && p.column.condition === "neural_foraminal_narrowing";
      add(`${side === "right" ? "Right" : "Left"} foramina`, sameSeries(places.filter(own)));
    }
    for (const disc of review.discs()) {
      const own = places.filter((p) => p.disc === disc && p.column.condition === "subarticular_stenosis");
      if (own.length) add(levelLabel(disc, review.shift), sameSeries(own));
    }
    return found;
  }

  async render() {
    this.texts();
    const figures = [];
    for (const one of this.chosen()) figures.push(await this.figure(one));
    this.root.replaceChildren(...figures);
  }

  async figure({ series, z, title, marks }) {
    const { review } = this.workspace;
    series.decoder ??= new Images(series.images);
    const image = await series.decoder.load(z);
    const slice = series.slices[z];
    const axial = series.kind.startsWith("axial");
    const [dx, dy] = slice.s;
    const xs = marks.map((m) => m.x * dx);
    const ys = marks.map((m) => m.y * dy);
    const middle = [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2];
    const height = axial ? 90 : Math.max(...ys) - Math.min(...ys) + 80;
    const width = axial ? 90 : height * 0.75;
    const canvas = make("canvas", { width: axial ? 300 : 420, height: axial ? 300 : 560, role: "img",
      "aria-label": `${title}, slice ${z + 1}` });
    const scale = canvas.height / height;
    const at = (x, y) => [
      (x * dx - middle[0]) * scale + canvas.width / 2,
      (y * dy - middle[1]) * scale + canvas.height / 2,
    ];
    const context = canvas.getContext("2d");
    context.fillRect(0, 0, canvas.width, canvas.height);
    const [x0, y0] = at(-0.5, -0.5);
    const [x1, y1] = at(slice.w - 0.5, slice.h - 0.5);
    context.imageSmoothingQuality = "high";
    context.drawImage(windowed(image, ...series.window), x0, y0, x1 - x0, y1 - y0);
    const drawing = new Drawing(context, at, 1.6);
    for (const mark of marks) {
      const grade = review.grade(mark.column, mark.disc);
      const colour = GRADE_COLOURS[grade] ?? "#bbbbbb";
      drawing.ring(mark.x, mark.y, 6, colour, 1.5);
      const [cx, cy] = at(mark.x, mark.y);
      const right = axial && mark.column.side === "right";
      const name = axial ? mark.column.side.slice(0, 1).toUpperCase() : levelLabel(mark.disc, review.shift);
      const words = `${name} ${SYMBOLS[grade] ?? "–"}`;
      drawing.text(words, cx + (right ? -16 : 16), cy, colour, right ? "right" : "left", 11);
    }
    if (width > 0) drawing.text(directionLetter(slice.r.map((v) => -v)), 8, canvas.height / 2, "#f2f2f2", "left", 11);
    return make("figure", { class: axial ? "axial" : "sagittal" }, canvas,
      make("figcaption", {}, `${title}, slice ${z + 1}`));
  }
}
