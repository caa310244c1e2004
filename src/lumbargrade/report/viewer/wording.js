// The draft report: a text per level that the reader edits, and its exports.

class WordingPanel {
  constructor(review) {
    this.review = review;
    this.list = byId("texts");
    review.listeners.push(() => this.render());
    this.build();
    this.fields = [];
    this.render();
  }

  build() {
    const { review } = this;
    const bind = (id, name) => {
      const field = byId(id);
      field.value = review.state[name];
      field.addEventListener("input", () => review.set(name, field.value));
    };
    bind("reader", "reader");
    bind("summary", "summary");
    byId("copy").addEventListener("click", () => this.copy());
    byId("save-text").addEventListener("click", () => this.download("report.txt", "text/plain", review.plainText()));
    byId("save-review").addEventListener("click", () => this.saveReview());
    byId("accept-rest").addEventListener("click", () => {
      review.acceptRest();
      announce("All findings that were not reviewed are accepted");
    });
    byId("load-review").addEventListener("change", (e) => this.load(e.target));
    byId("discard").addEventListener("click", () => this.discard());
  }

  render() {
    const { review } = this;
    const held = document.activeElement;
    if (this.shift !== review.shift) this.buildTexts();
    for (const { disc, field, state, restore } of this.fields) {
      if (field !== held) field.value = review.text(disc);
      fitHeight(field);
      state.textContent = review.edited(disc) ? "edited · " : "draft";
      restore.hidden = !review.edited(disc);
    }
    const [accepted, overruled] = [review.count("accepted"), review.count("overruled")];
    byId("progress").textContent =
      `${accepted} accepted, ${overruled} overruled, ${review.count("unreviewed")} open` +
      (review.saved === false ? " – this browser keeps no data of this page: export before you close it" : "");
    for (const id of ["reader", "summary"]) {
      if (byId(id) !== held) byId(id).value = review.state[id];
    }
  }

  buildTexts() {
    const { review } = this;
    this.shift = review.shift;
    this.fields = review.discs().map((disc, row) => {
      const id = `text-${row}`;
      const field = make("textarea", { id, rows: 1, maxlength: 10000, lang: review.data.wording.language });
      field.addEventListener("input", () => review.setText(disc, field.value === review.draft(disc) ? null : field.value));
      const state = make("span", { class: "small" });
      const restore = make("button", { type: "button", class: "link",
        "aria-label": `Restore the draft of ${levelLabel(disc, review.shift)}`,
        onclick: () => review.setText(disc, null) }, "restore");
      const line = make("div", { class: "text" },
        make("div", {}, make("label", { for: id }, levelLabel(disc, review.shift)), state, restore), field);
      return { disc, field, state, restore, line };
    });
    this.list.replaceChildren(...this.fields.map((f) => f.line));
  }

  async copy() {
    const text = this.review.plainText();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // without permission, or in a page from a file: the old way
      const field = make("textarea", { class: "hidden", "aria-hidden": "true" });
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    announce("The report was copied as text");
  }

  download(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    announce(`${name} was saved`);
  }

  saveReview() {
    if (!this.review.state.reader.trim()) {
      byId("reader").focus();
      announce("Write your name first: each decision is signed with it");
      return;
    }
    this.download("review.json", "application/json", JSON.stringify(this.review.exported(), null, 1) + "\n");
  }

  async load(input) {
    const file = input.files[0];
    if (!file) return;
    try {
      const loaded = JSON.parse(await file.text());
      const { study_id, fingerprint, review_format } = this.review.data;
      if (loaded.format !== review_format) throw new Error("it is not a review of this version");
      if (loaded.study_id !== study_id) throw new Error("it belongs to another study");
      if (loaded.fingerprint !== fingerprint) throw new Error("it belongs to another result of this study");
      this.review.take(loaded);
      this.review.changed();
      announce(`The review of ${loaded.reader} was loaded`);
    } catch (error) {
      announce(`${file.name} was not loaded: ${error.message}`);
    }
    input.value = "";
  }

  discard() {
    if (!confirm("Remove all decisions and edited texts of this study from this browser?")) return;
    Object.assign(this.review.state, { shift: 0, summary: "", findings: {}, texts: {} });
    this.review.changed();
  }
}

function fitHeight(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}
