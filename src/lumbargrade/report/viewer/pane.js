// A pane shows one series, slice by slice: scroll, window, zoom, click.

const SPINE_MARGIN = { sagittal: 45, axial: 42 };

class Pane {
  /**
   * @param {string} kind kind of the series, for example sagittal_t2
   * @param {object[]} series those of this kind
   * @param {object} workspace what all panes share: layers, selection, cursor, review, callbacks
   */
  constructor(kind, title, series, workspace) {
    Object.assign(this, { kind, title, series, workspace });
    this.current = series[0];
    this.z = Math.floor((this.current?.slices.length ?? 1) / 2);
    this.window = this.usualWindow();
    this.pointers = new Map();
    this.root = this.build();
    if (this.current) {
      this.listen();
      new ResizeObserver(() => this.resized()).observe(this.canvas);
    }
  }

  get slice() {
    return this.current.slices[this.z];
  }

  get images() {
    return (this.current.decoder ??= new Images(this.current.images));
  }

  build() {
    const name = make("h3", { id: `title-${this.kind}` }, this.title);
    if (!this.current) {
      return make("section", { class: "pane empty", "data-kind": this.kind, "aria-labelledby": name.id }, name,
        make("p", { class: "missing" }, study.with_images
          ? "The study has no usable series of this kind, or the page had no room for it."
          : "This page was written without images (--no-pictures)."));
    }
    this.canvas = make("canvas", { tabindex: 0, role: "slider", "aria-label": `${this.title}, slices`,
      "aria-orientation": "vertical", "aria-valuemin": 1, "aria-keyshortcuts": "ArrowUp ArrowDown" });
    this.slider = make("input", { type: "range", min: 1, max: this.current.slices.length, step: 1,
      "aria-label": `Slice of ${this.title}`, oninput: () => this.show(Number(this.slider.value) - 1) });
    this.choice = this.series.length < 2 ? null : make("select", { "aria-label": `Series of ${this.title}`,
      onchange: () => this.open(this.series[this.choice.selectedIndex]) },
      ...this.series.map((s, i) => make("option", {}, `series ${i + 1} (${s.slices.length} slices)`)));
    const large = make("button", { type: "button", class: "enlarge", title: "Enlarge this image (f)",
      "aria-label": `Enlarge ${this.title}`, onclick: () => this.workspace.enlarge(this) }, "⤢");
    const reset = make("button", { type: "button", title: "Reset window and zoom (0)",
      "aria-label": `Reset ${this.title}`, onclick: () => this.reset() }, "⟲");
    return make("section", { class: "pane", "data-kind": this.kind, "aria-labelledby": name.id },
      make("header", {}, name, this.choice, make("span", { class: "spacer" }), reset, large),
      this.canvas, this.slider);
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (e) => this.up(e));
    canvas.addEventListener("contextmenu", (e) => e.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", (e) => this.key(e));
    canvas.addEventListener("focus", () => this.workspace.activate(this));
  }

  /** Show another series of this kind. */
  open(series) {
    if (series === this.current) return;
    this.current = series;
    if (this.choice) this.choice.selectedIndex = this.series.indexOf(series);
    this.slider.max = series.slices.length;
    this.z = Math.min(this.z, series.slices.length - 1);
    this.window = this.usualWindow();
    this.fit();
    this.show(this.z);
  }

  show(z) {
    this.z = Math.max(0, Math.min(this.current.slices.length - 1, z));
    const number = this.slice.number < 0 ? "" : `, instance ${this.slice.number}`;
    this.slider.value = this.z + 1;
    const count = this.current.slices.length;
    this.canvas.setAttribute("aria-valuemax", count);
    this.canvas.setAttribute("aria-valuenow", this.z + 1);
    this.canvas.setAttribute("aria-valuetext", `slice ${this.z + 1} of ${count}${number}`);
    this.workspace.scrolled(this);
    this.redraw();
    const { images, z: wanted } = this;
    const around = [wanted, wanted + 1, wanted - 1, wanted + 2, wanted - 2];
    for (const near of around.filter((k) => k >= 0 && k < count && !images.ready(k))) {
      images.load(near).then(() => near === this.z && this.redraw());
    }
  }

  step(by) {
    this.show(this.z + by);
  }

  /** Show the slice nearest to a patient position, if this series shares its space. */
  seek(lps, space) {
    if (!this.current) return;
    const fits = this.current.space === space ? this.current : this.series.find((s) => s.space === space);
    if (!fits) return;
    this.open(fits);
    this.show(nearestSlice(fits.slices, lps));
  }

  resized() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (width === this.canvas.width && height === this.canvas.height && this.view) return;
    Object.assign(this.canvas, { width, height });
    if (!this.view || !this.touched) this.fit();
    this.redraw();
  }

  /** Zoom to the spine: the part of the image with findings. */
  fit() {
    const { slice, current } = this;
    const [dx, dy] = slice.s;
    let box = [-0.5 * dx, -0.5 * dy, (slice.w - 0.5) * dx, (slice.h - 0.5) * dy];
    if (current.spine && !this.whole) {
      const margin = SPINE_MARGIN[this.kind.startsWith("axial") ? "axial" : "sagittal"];
      const [x0, y0, x1, y1] = current.spine;
      box = [
        Math.max(box[0], x0 * dx - margin), Math.max(box[1], y0 * dy - margin),
        Math.min(box[2], x1 * dx + margin), Math.min(box[3], y1 * dy + margin),
      ];
    }
    this.view = {
      x: (box[0] + box[2]) / 2,
      y: (box[1] + box[3]) / 2,
      scale: Math.min(this.canvas.width / (box[2] - box[0]), this.canvas.height / (box[3] - box[1])),
    };
    this.touched = false;
  }

  /** The window that shows the spine of this series well. */
  usualWindow() {
    const [centre, width] = this.current?.window ?? [128, 256];
    return { centre, width };
  }

  /** Whether the user changed the window. */
  get windowed() {
    const usual = this.usualWindow();
    return this.window.centre !== usual.centre || this.window.width !== usual.width;
  }

  reset() {
    this.window = this.usualWindow();
    this.fit();
    this.redraw();
  }

  /** Canvas place of a pixel, and the reverse. */
  at(x, y) {
    const { view, slice } = this;
    return [
      (x * slice.s[0] - view.x) * view.scale + this.canvas.width / 2,
      (y * slice.s[1] - view.y) * view.scale + this.canvas.height / 2,
    ];
  }

  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const cx = ((event.clientX - box.left) / box.width) * this.canvas.width;
    const cy = ((event.clientY - box.top) / box.height) * this.canvas.height;
    const { view, slice } = this;
    return [
      ((cx - this.canvas.width / 2) / view.scale + view.x) / slice.s[0],
      ((cy - this.canvas.height / 2) / view.scale + view.y) / slice.s[1],
    ];
  }

  zoom(factor, event) {
    const before = event ? this.pixel(event) : null;
    this.view.scale *= factor;
    if (before) {
      const after = this.pixel(event);
      this.view.x += (before[0] - after[0]) * this.slice.s[0];
      this.view.y += (before[1] - after[1]) * this.slice.s[1];
    }
    this.touched = true;
    this.redraw();
  }

  pan(dx, dy) {
    const ratio = this.canvas.width / this.canvas.clientWidth;
    this.view.x -= (dx * ratio) / this.view.scale;
    this.view.y -= (dy * ratio) / this.view.scale;
    this.touched = true;
    this.redraw();
  }

  setWindow(centre, width) {
    this.window = { centre: Math.max(-64, Math.min(320, centre)), width: Math.max(4, Math.min(768, width)) };
    this.redraw();
  }

  wheel(event) {
    event.preventDefault();
    if (event.ctrlKey) return this.zoom(Math.exp(-event.deltaY / 300), event);
    this.turned = (this.turned ?? 0) + (event.deltaMode ? event.deltaY * 40 : event.deltaY);
    const steps = Math.trunc(this.turned / 40);
    if (!steps) return undefined;
    this.turned -= steps * 40;
    // a notch of a wheel is one slice, whatever its size
    return this.step(Math.abs(event.deltaY) >= 80 ? Math.sign(steps) : steps);
  }

  down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 1) this.press = { event, moved: 0, window: { ...this.window }, z: this.z };
    else this.press = { moved: 99 };
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    if (this.pointers.size === 2) {
      const other = [...this.pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const span = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
      this.pan(dx / 2, dy / 2);
      this.zoom(span(event) / Math.max(1, span(last)), middle);
    } else this.drag(event, dx, dy);
    this.pointers.set(event.pointerId, event);
  }

  drag(event, dx, dy) {
    const { press } = this;
    press.moved = Math.max(press.moved, Math.hypot(
      event.clientX - press.event.clientX, event.clientY - press.event.clientY));
    if (press.moved < 4) return;
    if (event.shiftKey || event.buttons === 4) this.pan(dx, dy);
    else if (event.buttons === 2) this.zoom(Math.exp(-dy / 150));
    else if (this.workspace.dragScrolls(event)) {
      const height = this.canvas.clientHeight / Math.max(12, this.current.slices.length);
      this.show(press.z + Math.round((event.clientY - press.event.clientY) / height));
    } else {
      const { centre, width } = press.window;
      this.setWindow(centre + (event.clientY - press.event.clientY) / 2,
        width + (event.clientX - press.event.clientX) * 1.5);
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    const click = event.type === "pointerup" && event.button === 0 && this.press && this.press.moved < 4;
    if (click && !this.pointers.size) this.clicked(event);
  }

  clicked(event) {
    const [x, y] = this.pixel(event);
    const hit = this.workspace.findingAt(this, x, y);
    if (hit) this.workspace.select(hit.column, hit.disc);
    else this.workspace.point(this, toPatient(this.slice, x, y));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { centre, width } = this.window;
    const count = this.current.slices.length;
    const actions = {
      ArrowUp: () => this.step(-1),
      ArrowLeft: () => this.step(-1),
      ArrowDown: () => this.step(1),
      ArrowRight: () => this.step(1),
      PageUp: () => this.step(-5),
      PageDown: () => this.step(5),
      Home: () => this.show(0),
      End: () => this.show(count - 1),
      "+": () => this.zoom(1.2),
      "=": () => this.zoom(1.2),
      "-": () => this.zoom(1 / 1.2),
      "[": () => this.setWindow(centre, width - 16),
      "]": () => this.setWindow(centre, width + 16),
      "{": () => this.setWindow(centre - 8, width),
      "}": () => this.setWindow(centre + 8, width),
      0: () => this.reset(),
      Enter: () => this.workspace.point(this, toPatient(this.slice, ...this.centre())),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  /** Pixel in the middle of the pane. */
  centre() {
    return [this.view.x / this.slice.s[0], this.view.y / this.slice.s[1]];
  }

  redraw() {
    if (!this.current || this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      if (this.view) this.workspace.paint(this);
    });
  }
}
