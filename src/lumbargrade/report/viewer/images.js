// The slices of a series: JPEGs in a data block of the page, decoded when they are first shown.

class Images {
  /** @param {string} block id of the data block; it has one JPEG in base64 per line. */
  constructor(block) {
    this.block = block;
    this.decoded = new Map();
    this.coded = null;
  }

  /** The grey values of a slice, or null if it is not decoded yet. */
  ready(z) {
    const known = this.decoded.get(z);
    return known && known.data ? known : null;
  }

  /** Decode a slice: {width, height, data} with a byte per pixel. */
  async load(z) {
    if (!this.decoded.has(z)) this.decoded.set(z, this.decode(z));
    const image = await this.decoded.get(z);
    this.decoded.set(z, image);
    return image;
  }

  async decode(z) {
    this.coded ??= document.getElementById(this.block).textContent.trim().split("\n");
    const bytes = Uint8Array.from(atob(this.coded[z]), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    const { width, height } = bitmap;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const rgba = context.getImageData(0, 0, width, height).data;
    const data = new Uint8Array(width * height);
    for (let i = 0; i < data.length; i++) data[i] = rgba[4 * i];
    return { width, height, data };
  }
}

/** A canvas with a heat map: dark red to yellow, clear where it is cold. */
function heatCanvas({ columns, data }) {
  const values = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: columns, height: values.length / columns });
  const context = canvas.getContext("2d");
  const shown = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, i) => {
    const share = value / 255;
    shown.data.set([255, 255 * share, 40 * share, 200 * Math.min(1, 1.5 * share)], 4 * i);
  });
  context.putImageData(shown, 0, 0);
  return canvas;
}

/** Table of 256 shown values of a window with a centre and a width. */
function windowTable(centre, width) {
  const table = new Uint8Array(256);
  for (let v = 0; v < 256; v++) {
    const share = (v - centre) / Math.max(width, 1) + 0.5;
    table[v] = Math.round(255 * Math.min(1, Math.max(0, share)));
  }
  return table;
}

/** A canvas with a decoded slice as a window shows it. */
function windowed(image, centre, width) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  const shown = context.createImageData(image.width, image.height);
  const pixels = new Uint32Array(shown.data.buffer);
  const table = Uint32Array.from(windowTable(centre, width), (v) => (0xff000000 | (v * 0x010101)) >>> 0);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[image.data[i]];
  context.putImageData(shown, 0, 0);
  return canvas;
}
