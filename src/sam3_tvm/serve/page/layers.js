// Masks as small pictures in their colours, made when they are first drawn.

import { covers, maskWindow } from "./runs.js";

const MOST_SIDE = 2048; // pixels of a mask that are kept along a side
const INSIDE = 110; // of 255
const DIMMED = 0.35;

export class Layers {
  #made = new Map();

  clear() { this.#made.clear(); }

  /** Forget what is not drawn any more. */
  keep(masks) {
    const ids = new Set(masks.map((one) => one.id));
    for (const id of this.#made.keys()) if (!ids.has(id)) this.#made.delete(id);
  }

  /** The uppermost of these masks at a pixel, if any. */
  at(masks, x, y) {
    return masks.find((one) => covers(this.#layer(one).mask, x, y));
  }

  /** Draw masks, the first on top. */
  paint(context, masks, lit) {
    for (const one of [...masks].reverse()) {
      const { canvas, mask } = this.#layer(one);
      if (!canvas) continue;
      context.globalAlpha = lit && lit !== one.id ? DIMMED : 1;
      context.drawImage(canvas, mask.x, mask.y, mask.width * mask.step, mask.height * mask.step);
    }
    context.globalAlpha = 1;
  }

  #layer(one) {
    const known = this.#made.get(one.id);
    if (known && known.segmentation === one.segmentation && known.colour === one.colour) return known;
    const step = Math.ceil(Math.max(...one.segmentation.size) / MOST_SIDE);
    const mask = maskWindow(one.segmentation, step);
    const canvas = mask.width ? painted(mask, one.colour) : null;
    const made = { segmentation: one.segmentation, colour: one.colour, mask, canvas };
    this.#made.set(one.id, made);
    return made;
  }
}

function painted({ width, height, data }, [red, green, blue]) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!data[at]) continue;
      const inner = x > 0 && y > 0 && x < width - 1 && y < height - 1
        && data[at - 1] && data[at + 1] && data[at - width] && data[at + width];
      pixels.data.set([red, green, blue, inner ? INSIDE : 255], 4 * at);
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
