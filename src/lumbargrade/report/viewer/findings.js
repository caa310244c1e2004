// The grid of findings and the detail of the selected one.

class FindingsGrid {
  constructor(workspace) {
    this.workspace = workspace;
    this.review = workspace.review;
    this.focus = [0, 2];
    this.table = byId("grid");
    this.table.addEventListener("keydown", (e) => this.key(e));
    this.review.listeners.push(() => this.render());
    workspace.selectionListeners.push(() => this.chosen());
    this.render();
  }

  render() {
    const { review } = this;
    const head = make("tr", {}, make("th", { scope: "col" }, make("span", { class: "hidden" }, "Level")),
      ...COLUMNS.map((c) => make("th", { scope: "col" }, c.head)));
    const rows = review.discs().map((disc, row) => make("tr", {},
      make("th", { scope: "row" }, levelLabel(disc, review.shift)),
      ...COLUMNS.map((column, i) => make("td", {}, this.cell(column, disc, row, i)))));
    const kept = document.activeElement?.closest?.("#grid");
    this.table.querySelector("thead").replaceChildren(head);
    this.table.querySelector("tbody").replaceChildren(...rows);
    if (kept) this.button(...this.focus)?.focus();
  }

  cell(column, disc, row, i) {
    const { review, workspace } = this;
    const found = review.modelled(column, disc);
    const grade = review.grade(column, disc);
    const status = review.status(column, disc);
    const overruled = status === "overruled";
    const share = overruled || !found ? "" : percent(found.shares[GRADES.indexOf(found.grade)]);
    const disputed = !overruled && found?.disputed;
    const said = [
      findingTitle(column, disc, review.shift),
      grade ? SHORT[grade] : overruled ? "cannot be assessed" : `not graded: ${review.reason(column, disc)}`,
      share && `probability ${share}`,
      disputed && `by measurement ${SHORT[found.opinion.grade]}`,
      overruled && `changed by the reader${found ? ` from ${SHORT[found.grade]}` : ""}`,
      status,
    ];
    return make("button", {
      type: "button",
      class: `finding ${grade ?? "absent"} ${status}${workspace.isSelected({ column, disc }) ? " selected" : ""}`,
      "aria-pressed": String(workspace.isSelected({ column, disc })),
      "aria-label": said.filter(Boolean).join(", "),
      tabindex: row === this.focus[0] && i === this.focus[1] ? 0 : -1,
      "data-finding": findingName(column, row),
      onclick: () => this.choose(row, i),
    },
    make("span", { class: "grade" }, grade ? SHORT[grade].replace("/", "/\u200b") : overruled ? "not assessed" : "not graded"),
    share && found ? this.bar(found.shares) : null,
    make("span", { class: "share" }, make("span", { class: "symbol" }, grade ? SYMBOLS[grade] : "–"), share,
      disputed ? make("span", { class: "disputed" }, `≠${SYMBOLS[found.opinion.grade]}`) : null),
    status === "unreviewed" ? null : make("span", { class: "status" }, overruled ? "✎" : "✓"));
  }

  bar(shares) {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    shares.forEach((share, i) => {
      const part = make("span", { class: GRADES[i] });
      part.style.width = `${100 * share}%`;
      bar.append(part);
    });
    return bar;
  }

  button(row, i) {
    return this.table.querySelectorAll("tbody tr")[row]?.querySelectorAll("button")[i];
  }

  choose(row, i) {
    this.focus = [row, i];
    this.workspace.select(COLUMNS[i], this.review.discs()[row]);
    if (matchMedia("(max-width: 700px)").matches) byId("viewer").scrollIntoView({ block: "start" });
  }

  /** Show which finding is selected. */
  chosen() {
    const { selected } = this.workspace;
    const row = this.review.discs().indexOf(selected.disc);
    if (row >= 0) this.focus = [row, COLUMNS.indexOf(selected.column)];
    this.render();
  }

  /** Select the next finding, or the next that is reported or disputed and not reviewed. */
  next(by, open = false) {
    const cells = this.review.shownFindings();
    const { selected } = this.workspace;
    const at = cells.findIndex(([c, d]) => selected && c === selected.column && d === selected.disc);
    const least = GRADES.indexOf(this.review.data.wording.report_from);
    for (let n = 1; n <= cells.length; n++) {
      const start = at < 0 && by < 0 ? 0 : at;
      const [column, disc] = cells[(start + by * n + cells.length * 2) % cells.length];
      const grade = this.review.grade(column, disc);
      const matters = GRADES.indexOf(grade) >= least || this.review.modelled(column, disc)?.disputed;
      if (!open || (matters && this.review.status(column, disc) === "unreviewed")) {
        this.workspace.select(column, disc);
        return;
      }
    }
    announce("No open finding is left");
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const row = Math.max(0, Math.min(LEVELS.length - 1, this.focus[0] + move[0]));
    const i = Math.max(0, Math.min(COLUMNS.length - 1, this.focus[1] + move[1]));
    this.choose(row, i);
    this.button(row, i).focus();
  }
}

class FindingDetail {
  constructor(workspace, grid) {
    Object.assign(this, { workspace, grid, review: workspace.review });
    this.root = byId("detail");
    this.review.listeners.push(() => this.render());
    workspace.selectionListeners.push(() => this.render());
    this.render();
  }

  render() {
    const { selected } = this.workspace;
    if (document.activeElement?.id === "comment" && this.shown === selected) return;
    const held = this.root.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    this.shown = selected;
    if (!selected) {
      this.root.replaceChildren(...this.overview());
      return;
    }
    const { column, disc } = selected;
    const { review } = this;
    const found = review.modelled(column, disc);
    const parts = [make("h3", {}, findingTitle(column, disc, review.shift))];
    if (found) parts.push(this.probabilities(found), ...this.opinion(found));
    else parts.push(make("p", { class: "reason" }, `Not graded: ${review.reason(column, disc)}.`));
    const place = this.workspace.placeOf(column, disc);
    if (!place) parts.push(make("p", { class: "small" }, "It has no place in the images."));
    else if (!place.exact) {
      parts.push(make("p", { class: "small" }, "It has no place of its own; the images show another finding of this disc."));
    }
    parts.push(this.decisions(column, disc), this.commentField(column, disc));
    this.root.replaceChildren(...parts);
    if (held) this.root.querySelector(`[data-act="${held}"]`)?.focus();
  }

  /** What is there to see, before a finding is selected. */
  overview() {
    const { review, workspace } = this;
    const least = GRADES.indexOf(review.data.wording.report_from);
    const rank = ([c, d]) => GRADES.indexOf(review.grade(c, d));
    const reported = review.shownFindings().filter((f) => rank(f) >= Math.max(1, least));
    reported.sort((a, b) => rank(b) - rank(a));
    const disputed = review.shownFindings().filter(([c, d]) => review.modelled(c, d)?.disputed).length;
    const items = reported.map(([column, disc]) => make("li", {}, make("button", { type: "button",
      onclick: () => workspace.select(column, disc) },
    `${SYMBOLS[review.grade(column, disc)]} ${SHORT[review.grade(column, disc)]}: ${findingTitle(column, disc, review.shift)}`)));
    return [
      make("h3", {}, items.length ? "Moderate and severe findings" : "No moderate or severe finding"),
      make("ul", { class: "listed" }, ...items),
      make("p", {}, `The measurement gives another grade (≠) in ${disputed} of ${review.shownFindings().length} findings.`),
      make("p", { class: "small" }, "Choose a finding: the images open at its place. Shift+N goes to the next open one, ? shows the keys."),
    ];
  }

  probabilities(found) {
    const rows = GRADES.map((grade, i) => {
      const part = make("span", { class: `part ${grade}` });
      part.style.width = `${100 * found.shares[i]}%`;
      const raw = found.raw ? make("td", { class: "small" }, `${percent(found.raw[i])} by the models`) : null;
      return make("tr", { class: grade === found.grade ? "likely" : "" },
        make("th", { scope: "row" }, `${SYMBOLS[grade]} ${SHORT[grade]}`),
        make("td", { class: "track" }, make("span", { class: "rail", "aria-hidden": "true" }, part)),
        make("td", { class: "number" }, percent(found.shares[i])), raw);
    });
    const what = found.raw ? "Probability, calibrated" : "Probability, not calibrated";
    return make("table", { class: "probabilities" }, make("caption", {}, what), make("tbody", {}, ...rows));
  }

  opinion(found) {
    if (!found.opinion) return [];
    const { grade, reason, doubtful } = found.opinion;
    const agrees = found.disputed ? "disagrees" : "agrees";
    return [make("p", { class: `opinion ${found.disputed ? "warn" : ""}` },
      make("strong", {}, `By measurement: ${SYMBOLS[grade]} ${SHORT[grade]} (${agrees}). `),
      `${reason}${doubtful ? " – doubtful measurement" : ""}.`)];
  }

  decisions(column, disc) {
    const { review } = this;
    const before = review.before(column, disc);
    const status = review.status(column, disc);
    const now = review.grade(column, disc);
    const group = make("div", { class: "decisions", role: "group", "aria-label": "Decision" });
    const add = (act, text, key, pressed, action, disabled = false) => group.append(make("button", {
      type: "button", "data-act": act, "aria-pressed": pressed === null ? null : String(pressed), disabled,
      class: `act ${GRADES.includes(act) ? act : ""}`, "aria-keyshortcuts": key, onclick: action,
    }, text, make("kbd", { "aria-hidden": "true" }, key)));
    add("accept", "✓ Accept", "a", status === "accepted", () => review.decide(column, disc, before));
    GRADES.forEach((grade, i) => add(grade, `${SYMBOLS[grade]} ${SHORT[grade]}`, "qwe"[i],
      status !== "unreviewed" && now === grade, () => review.decide(column, disc, grade)));
    add("none", "– Cannot be assessed", "x", status !== "unreviewed" && now === null,
      () => review.decide(column, disc, null));
    add("withdraw", "Withdraw", "u", null, () => review.withdraw(column, disc), status === "unreviewed");
    return group;
  }

  commentField(column, disc) {
    const made = this.review.decision(column, disc);
    const field = make("input", { id: "comment", type: "text", maxlength: 2000, value: made?.comment ?? "",
      placeholder: made ? "" : "decide first", disabled: !made,
      onchange: () => this.review.decide(column, disc, this.review.grade(column, disc), field.value) });
    const line = make("p", { class: "small audit" }, made
      ? `${this.review.status(column, disc)} ${made.time.slice(0, 16).replace("T", " ")} UTC${made.reader ? ` by ${made.reader}` : ""}`
      : "not reviewed yet");
    return make("div", { class: "comment" }, make("label", { for: "comment" }, "Comment"), field, line);
  }
}
