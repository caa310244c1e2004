// Puts the page together: header, panes, grid, wording, keys, print.

const review = new Review(study, jsonBlock("review"));
const workspace = new Workspace(study, review);
byId("views").prepend(...workspace.panes.map((pane) => pane.root));
const grid = new FindingsGrid(workspace);
const detail = new FindingDetail(workspace, grid);
const wording = new WordingPanel(review);
review.listeners.push(() => workspace.redraw());

function buildTabs() {
  const tabs = workspace.panes.map((pane) => make("button", { type: "button", "data-kind": pane.kind,
    "aria-pressed": "false", onclick: () => workspace.activate(pane) }, pane.title));
  byId("tabs").append(...tabs);
  workspace.activate(workspace.panes.find((p) => p.current) ?? workspace.panes[0]);
}

function bindLayers() {
  for (const layer of Object.keys(workspace.layers)) {
    const box = byId(`layer-${layer}`);
    if (!box) continue;
    box.checked = workspace.layers[layer];
    box.addEventListener("change", () => workspace.toggle(layer, box.checked));
  }
  byId("dragging").addEventListener("change", (e) => (workspace.dragging = e.target.value));
  byId("whole").addEventListener("click", () => toggleWhole());
}

function toggleWhole() {
  for (const pane of workspace.panes) {
    if (!pane.current) continue;
    pane.whole = !pane.whole;
    pane.fit();
    pane.redraw();
  }
  byId("whole").setAttribute("aria-pressed", String(workspace.panes.some((p) => p.whole)));
}

function bindNumbering() {
  const buttons = [...document.querySelectorAll("#shift button")];
  const show = () => {
    for (const b of buttons) b.setAttribute("aria-pressed", String(Number(b.value) === review.shift));
    byId("shifted").hidden = review.shift === 0;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      review.set("shift", Number(button.value));
      announce(review.shift ? "The names of the discs were moved" : "The discs have their first names");
      detail.render();
    });
  }
  review.listeners.push(show);
  show();
}

function bindTheme() {
  const choice = byId("theme");
  const kept = storage.get("lumbargrade-theme") ?? "auto";
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  choice.value = ["auto", "dark", "light"].includes(kept) ? kept : "auto";
  apply(choice.value);
  choice.addEventListener("change", () => {
    apply(choice.value);
    storage.set("lumbargrade-theme", choice.value);
  });
}

function decide(action) {
  const { selected } = workspace;
  if (!selected) return announce("Choose a finding first");
  const { column, disc } = selected;
  if (action === "withdraw") review.withdraw(column, disc);
  else review.decide(column, disc, action === "accept" ? review.before(column, disc) : action);
  return announce(`${findingTitle(column, disc, review.shift)}: ${review.status(column, disc)}`);
}

const KEYS = {
  "?": () => byId("help").showModal(),
  1: () => workspace.panes[0].canvas?.focus(),
  2: () => workspace.panes[1].canvas?.focus(),
  3: () => workspace.panes[2].canvas?.focus(),
  g: () => grid.button(...grid.focus).focus(),
  n: () => grid.next(1),
  p: () => grid.next(-1),
  N: () => grid.next(1, true),
  a: () => decide("accept"),
  q: () => decide("normal_mild"),
  w: () => decide("moderate"),
  e: () => decide("severe"),
  x: () => decide(null),
  u: () => decide("withdraw"),
  o: () => workspace.toggle("outlines"),
  m: () => workspace.toggle("measurements"),
  l: () => workspace.toggle("lines"),
  d: () => workspace.toggle("places"),
  h: () => workspace.toggle("heat"),
  f: () => workspace.active && workspace.enlarge(workspace.active),
  Escape: () => workspace.active?.root.classList.contains("large") && workspace.enlarge(workspace.active),
  v: () => toggleWhole(),
  t: () => byId("text-0").focus(),
  c: () => wording.copy(),
};

function bindKeys() {
  const box = byId("keys-on");
  box.checked = storage.get("lumbargrade-keys") !== "off";
  box.addEventListener("change", () => storage.set("lumbargrade-keys", box.checked ? "on" : "off"));
  byId("open-help").addEventListener("click", () => byId("help").showModal());
  byId("close-help").addEventListener("click", () => byId("help").close());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    if (event.target.closest("textarea, select, input:not([type=checkbox], [type=range])")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const { active } = workspace;
    if (event.target === document.body && active?.current && /^(Arrow|Page)/.test(event.key)) {
      active.key(event);
      return;
    }
    const action = (box.checked || event.key === "?") && KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

buildTabs();
bindLayers();
bindNumbering();
bindTheme();
bindKeys();
const head = () => document.documentElement.style.setProperty("--head", `${byId("top").offsetHeight}px`);
new ResizeObserver(head).observe(byId("top"));
const prints = new PrintPages(workspace);
document.documentElement.classList.add("ready");
