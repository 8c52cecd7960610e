// Results in files. The server writes them, as `sam3-tvm annotate` does.

import { request } from "./api.js";
import { css } from "./colours.js";

const ENDINGS = {
  coco: ".coco.json", yolo: ".txt", "yolo.zip": ".yolo.zip", geojson: ".geojson", png: ".masks.png", overlay: ".drawn.png",
};

const TEXTS = new Set(["coco", "yolo", "geojson"]);
const PICTURES = new Set(["png", "overlay"]);

/** Whether a format can be laid on the clipboard. */
export function canCopy(format) {
  return TEXTS.has(format) || PICTURES.has(format);
}

/** What a picture's results in a format are called. */
export function fileName(picture, format) {
  return picture.replace(/\.[^.]*$/, "") + ENDINGS[format];
}

/**
 * The objects in a format.
 *
 * @param {{id: string, name: string, width: number, height: number, bitmap: ImageBitmap}} picture
 * @param {{name: string, phrase: string, score: number, bbox: number[], segmentation: object,
 *   colour: number[]}[]} objects
 * @param {string} format
 * @param {import("./layers.js").Layers} layers
 * @returns {Promise<Blob>}
 */
export async function exported(picture, objects, format, layers) {
  if (format === "overlay") return drawn(picture, objects, layers);
  const response = await request(`/v1/export/${format}`, {
    json: {
      width: picture.width,
      height: picture.height,
      file_name: picture.name.slice(-200),
      sha256: picture.id,
      objects: objects.map((one) => ({
        category: one.name, phrase: one.phrase, score: Math.min(1, Math.max(0, one.score)),
        bbox: one.bbox, segmentation: one.segmentation,
      })),
    },
  });
  return response.blob();
}

function drawn({ width, height, bitmap }, objects, layers) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (bitmap) context.drawImage(bitmap, 0, 0, width, height);
  layers.paint(context, objects, null);
  const size = Math.max(11, Math.round(Math.min(width, height) / 40));
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const one of objects) {
    const text = `${one.name} ${one.score.toFixed(2)}`;
    const wide = context.measureText(text).width + size * 0.6;
    const x = Math.max(0, Math.min(one.bbox[0], width - wide));
    const y = Math.max(0, one.bbox[1] - size * 1.3);
    context.fillStyle = css(one.colour);
    context.fillRect(x, y, wide, size * 1.3);
    context.fillStyle = "#fff";
    context.fillText(text, x + size * 0.3, y + size * 0.15);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** Lay something on the clipboard. `made` may come later: browsers want to be asked at the click. */
export async function copy(format, made) {
  if (!navigator.clipboard) throw new Error("This browser copies from pages of this machine or of https alone: use Download.");
  const kind = PICTURES.has(format) ? "image/png" : "text/plain";
  const content = made.then((blob) => new Blob([blob], { type: kind }));
  await navigator.clipboard.write([new ClipboardItem({ [kind]: content })]);
}
