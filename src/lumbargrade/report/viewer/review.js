// The reader's review: decisions per finding, texts per level, the shift of the numbering. It is
// kept by disc (0 is the disc that the result calls L1/L2), so that a shift renames everything.

class Review {
  constructor(data, embedded) {
    this.data = data;
    this.listeners = [];
    this.key = ["lumbargrade-review", data.study_id, data.fingerprint, embedded?.time ?? ""].join("|");
    this.state = { reader: "", shift: 0, summary: "", findings: {}, texts: {} };
    const kept = this.kept();
    if (kept) Object.assign(this.state, kept);
    else if (embedded) this.take(embedded);
  }

  /** What this browser keeps of an earlier visit; null if nothing, or nothing that can be read. */
  kept() {
    try {
      return JSON.parse(storage.get(this.key));
    } catch {
      return null;
    }
  }

  get shift() {
    return this.state.shift;
  }

  /** Take the content of an exported review. */
  take(review) {
    const { reader, shift, summary } = review;
    const state = { reader, shift, summary, findings: {}, texts: {} };
    for (const entry of review.findings) {
      if (entry.status === "unreviewed") continue;
      const level = LEVELS.findIndex((name) => entry.finding.endsWith(`_${name}`));
      const column = COLUMNS.find((c) => findingName(c, level) === entry.finding);
      state.findings[this.keyOf(column, level - shift)] = {
        after: entry.grade_after,
        comment: entry.comment,
        reader: entry.reader,
        time: entry.time,
      };
    }
    for (const { level, text } of review.levels) state.texts[LEVELS.indexOf(level) - shift] = text;
    this.state = state;
  }

  keyOf(column, disc) {
    return `${column.condition}|${column.side}|${disc}`;
  }

  /** The finding of the models, or undefined if it is not graded. */
  modelled(column, disc) {
    return disc >= 0 && disc < LEVELS.length ? this.data.findings[findingName(column, disc)] : undefined;
  }

  /** Why a finding is not graded. */
  reason(column, disc) {
    if (disc < 0 || disc >= LEVELS.length) return "the numbering was moved; this disc was not graded";
    return this.data.absent[findingName(column, disc)] ?? "";
  }

  decision(column, disc) {
    return this.state.findings[this.keyOf(column, disc)];
  }

  before(column, disc) {
    return this.modelled(column, disc)?.grade ?? null;
  }

  /** The grade after the review, or null. */
  grade(column, disc) {
    const made = this.decision(column, disc);
    return made ? made.after : this.before(column, disc);
  }

  status(column, disc) {
    const made = this.decision(column, disc);
    if (!made) return "unreviewed";
    return made.after === this.before(column, disc) ? "accepted" : "overruled";
  }

  /** Decide about a finding: a grade, or null if it cannot be assessed. */
  decide(column, disc, after, comment) {
    const key = this.keyOf(column, disc);
    const kept = comment ?? this.state.findings[key]?.comment ?? "";
    const { reader } = this.state;
    this.state.findings[key] = { after, comment: kept, reader, time: new Date().toISOString() };
    this.changed();
  }

  withdraw(column, disc) {
    delete this.state.findings[this.keyOf(column, disc)];
    this.changed();
  }

  acceptRest() {
    for (const [column, disc] of this.shownFindings()) {
      if (this.before(column, disc) !== null && !this.decision(column, disc)) {
        const { reader } = this.state;
        const time = new Date().toISOString();
        const after = this.before(column, disc);
        this.state.findings[this.keyOf(column, disc)] = { after, comment: "", reader, time };
      }
    }
    this.changed();
  }

  set(name, value) {
    this.state[name] = value;
    this.changed();
  }

  setText(disc, text) {
    if (text === null) delete this.state.texts[disc];
    else this.state.texts[disc] = text;
    this.changed();
  }

  text(disc) {
    return this.state.texts[disc] ?? this.draft(disc);
  }

  edited(disc) {
    return disc in this.state.texts;
  }

  changed() {
    this.saved = storage.set(this.key, JSON.stringify(this.state));
    for (const listener of this.listeners) listener();
  }

  /** The discs that have the five graded names now, from L1/L2 down. */
  discs() {
    return LEVELS.map((_, level) => level - this.shift);
  }

  shownFindings() {
    return this.discs().flatMap((disc) => COLUMNS.map((column) => [column, disc]));
  }

  count(status) {
    return this.shownFindings().filter(([c, d]) => this.status(c, d) === status).length;
  }

  /** Draft text of a disc; report/wording.py makes the same. */
  draft(disc) {
    const words = this.data.wording;
    const least = GRADES.indexOf(words.report_from);
    const said = [];
    const missing = [];
    let graded = false;
    for (const condition of this.data.order) {
      const columns = COLUMNS.filter((c) => c.condition === condition);
      columns.sort((a, b) => (a.side === "left") - (b.side === "left"));
      const grades = columns.map((c) => this.grade(c, disc));
      graded ||= grades.some((g) => g !== null);
      const named = columns.filter((_, i) => grades[i] !== null && GRADES.indexOf(grades[i]) >= least);
      const absent = columns.filter((_, i) => grades[i] === null);
      const phrase = (grade, side, measured) =>
        filled(words.findings[condition], { grade: words.grades[grade], side, measured });
      const side = (column) => (column.side ? words.sides[column.side] : "");
      if (named.length === 2 && grades[0] === grades[1]) said.push(phrase(grades[0], words.sides.both, ""));
      else {
        for (const column of named) {
          const measured = this.modelled(column, disc)?.measured ?? "";
          said.push(phrase(this.grade(column, disc), side(column), measured));
        }
      }
      const name = words.names[condition];
      if (absent.length === 2) missing.push(filled(name, { side: words.sides.both }));
      else missing.push(...absent.map((c) => filled(name, { side: side(c) })));
    }
    const parts = [];
    if (said.length) parts.push(filled(words.level, { findings: said.join(words.separator) }));
    else if (graded) parts.push(words.nothing);
    if (missing.length) {
      parts.push(filled(words.not_assessed, { findings: missing.join(words.separator) }));
    }
    return parts.map((part) => part.slice(0, 1).toUpperCase() + part.slice(1)).join(" ");
  }

  /** The whole report as plain text. */
  plainText() {
    const lines = [this.data.wording.title, ""];
    for (const disc of this.discs()) lines.push(`${levelLabel(disc, this.shift)}: ${this.text(disc)}`);
    if (this.state.summary.trim()) lines.push("", this.state.summary.trim());
    const reviewed = this.count("accepted") + this.count("overruled");
    const total = this.shownFindings().filter(([c, d]) => this.grade(c, d) !== null || this.decision(c, d));
    const footer = filled(reviewed ? this.data.wording.footer : this.data.wording.unreviewed, {
      program: `lumbargrade ${this.data.version}`,
      reader: this.state.reader || "–",
      date: new Date().toISOString().slice(0, 10),
      reviewed: String(reviewed),
      total: String(total.length),
    });
    return [...lines, "", footer, ""].join("\n");
  }

  /** The review file (grading/review_file.py): one entry per finding, named as after the shift. */
  exported() {
    const name = cleaned(this.state.reader);
    const findings = this.shownFindings().map(([column, disc]) => {
      const made = this.decision(column, disc);
      return {
        finding: findingName(column, disc + this.shift),
        status: this.status(column, disc),
        grade_before: this.before(column, disc),
        grade_after: this.grade(column, disc),
        reader: made ? cleaned(made.reader) || name : "",
        time: made?.time ?? "",
        comment: cleaned(made?.comment ?? ""),
      };
    });
    const levels = this.discs()
      .filter((disc) => this.edited(disc))
      .map((disc) => ({ level: LEVELS[disc + this.shift], text: cleaned(this.text(disc), true) }));
    return {
      format: this.data.review_format,
      lumbargrade: this.data.version,
      study_id: this.data.study_id,
      fingerprint: this.data.fingerprint,
      reader: name,
      time: new Date().toISOString(),
      shift: this.shift,
      summary: cleaned(this.state.summary, true),
      findings,
      levels,
    };
  }
}

/** A text without what a review file refuses: control characters, and spaces that do not break. */
function cleaned(text, lines = false) {
  const plain = text.replace(/[\p{Zl}\p{Zp}]/gu, "\n").replace(/\p{Zs}/gu, " ");
  return plain.replace(lines ? /[^\P{C}\n\t]/gu : /\p{C}/gu, "").trim();
}

/** A text with the names in braces replaced. */
function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
