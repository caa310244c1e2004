// Geometry of slices in the patient (LPS, mm). A slice is {number, p, r, c, s, w, h}: instance
// number, centre of its first pixel, unit directions of columns and rows, spacing of columns and
// rows (dx, dy), width and height in pixels. The same formulas are in domain/geometry.py.

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

/** Patient position of a pixel. */
function toPatient(slice, x, y) {
  return [0, 1, 2].map((i) => slice.p[i] + x * slice.s[0] * slice.r[i] + y * slice.s[1] * slice.c[i]);
}

/** Pixel (x, y) of a patient position, and its signed distance to the plane in mm. */
function toPixel(slice, lps) {
  const off = minus(lps, slice.p);
  return [
    dot(off, slice.r) / slice.s[0],
    dot(off, slice.c) / slice.s[1],
    dot(off, cross(slice.r, slice.c)),
  ];
}

/** Distance in mm of a patient position to the rectangle of a slice's image. */
function distanceTo(slice, lps) {
  const [x, y, away] = toPixel(slice, lps);
  const beyond = (v, size) => Math.max(0, -0.5 - v, v - (size - 0.5));
  return Math.hypot(beyond(x, slice.w) * slice.s[0], beyond(y, slice.h) * slice.s[1], away);
}

/** Index of the slice whose image is nearest to a patient position. */
function nearestSlice(slices, lps) {
  let best = 0;
  let least = Infinity;
  slices.forEach((slice, z) => {
    const distance = distanceTo(slice, lps);
    if (distance < least - 1e-6) [best, least] = [z, distance];
  });
  return best;
}

/** Where the image of another slice cuts this slice: two pixels of this slice, or null. */
function crossing(slice, other) {
  const corners = [
    [-0.5, -0.5],
    [other.w - 0.5, -0.5],
    [other.w - 0.5, other.h - 0.5],
    [-0.5, other.h - 0.5],
  ].map(([x, y]) => toPixel(slice, toPatient(other, x, y)));
  const ends = [];
  corners.forEach((a, i) => {
    const b = corners[(i + 1) % 4];
    if (a[2] < 0 !== b[2] < 0) {
      const t = a[2] / (a[2] - b[2]);
      ends.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
    }
  });
  return ends.length === 2 ? ends : null;
}

/** Letter of the patient direction nearest to an LPS vector. */
function directionLetter(vector) {
  const sizes = vector.map(Math.abs);
  const axis = sizes.indexOf(Math.max(...sizes));
  return [["R", "L"], ["A", "P"], ["F", "H"]][axis][vector[axis] > 0 ? 1 : 0];
}
