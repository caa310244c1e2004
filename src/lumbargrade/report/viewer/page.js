// The data of the page, and small helpers. Text is only ever set as text, never as HTML.

/** Content of a JSON block of the page. */
function jsonBlock(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

const study = jsonBlock("study");
const GRADES = ["normal_mild", "moderate", "severe"];
const SYMBOLS = { normal_mild: "○", moderate: "◐", severe: "●" };
const SHORT = { normal_mild: "normal/mild", moderate: "moderate", severe: "severe" };
// as in an axial image: the patient's right is on the left
const COLUMNS = [
  { condition: "neural_foraminal_narrowing", side: "right", head: "Right foramen" },
  { condition: "subarticular_stenosis", side: "right", head: "Right recess" },
  { condition: "spinal_canal_stenosis", side: "", head: "Canal" },
  { condition: "subarticular_stenosis", side: "left", head: "Left recess" },
  { condition: "neural_foraminal_narrowing", side: "left", head: "Left foramen" },
];
const LEVELS = ["l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1"];
const CONDITIONS = {
  spinal_canal_stenosis: "spinal canal stenosis",
  subarticular_stenosis: "subarticular stenosis",
  neural_foraminal_narrowing: "neural foraminal narrowing",
};

/** Name of a disc as it is called now: discs are counted from 0 (L1/L2 of the result) to 4. */
function levelLabel(disc, shift) {
  const names = ["T11/T12", "T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1", "S1/S2", "S2/S3"];
  return names[disc + shift + 2] ?? "?";
}

/** Name of a finding: that of a column of the tables. */
function findingName(column, level) {
  const side = column.side ? `${column.side}_` : "";
  return `${side}${column.condition}_${LEVELS[level]}`;
}

/** Title of a finding in words. */
function findingTitle(column, disc, shift) {
  const side = column.side ? `${column.side} ` : "";
  return `${levelLabel(disc, shift)} ${side}${CONDITIONS[column.condition]}`;
}

/** Make an element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}\u202f%`;

/** Say something to users of screen readers, and show it for a moment. */
function announce(text) {
  const region = byId("said");
  region.textContent = text;
  region.classList.add("shown");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => region.classList.remove("shown"), 4000);
}

/** Browser storage; pages in a sandbox have none. */
const storage = {
  get(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(key, value);
      return true;
    } catch {
      return false;
    }
  },
};
