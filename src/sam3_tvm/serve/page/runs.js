// COCO's compressed run lengths, as pycocotools writes them (rleToString in maskApi.c): five bits in
// a character, the lowest first; from the fourth on they are differences to the last but one.

/** Lengths of what isn't the mask and of what is, by turns, down the columns from left to right. */
export function runLengths(counts) {
  const lengths = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let place = 1; // a power of 32: shifts of JavaScript end at 32 bits
    let letter;
    do {
      letter = counts.charCodeAt(at++) - 48;
      value += (letter & 31) * place;
      place *= 32;
    } while (letter & 32);
    if (letter & 16) value -= place;
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
  }
  return lengths;
}

/**
 * A mask's part of a picture, every `step`-th pixel of it.
 *
 * @param {{size: number[], counts: string}} segmentation height and width, and the runs
 * @param {number} step
 * @returns {{x: number, y: number, width: number, height: number, step: number, data: Uint8Array}}
 *   x and y in the picture's pixels, multiples of step; width and height in values of data, 1 where
 *   the mask is
 */
export function maskWindow({ size: [rows, columns], counts }, step = 1) {
  const stretches = []; // column, first row, the row behind the last
  let [left, right, top, bottom] = [columns, -1, rows, 0];
  let at = 0;
  runLengths(counts).forEach((length, index) => {
    if (index % 2 === 1) {
      for (let begin = at; begin < at + length; ) {
        const column = Math.floor(begin / rows);
        const end = Math.min(at + length, (column + 1) * rows);
        const [first, last] = [begin - column * rows, end - column * rows];
        stretches.push(column, first, last);
        left = Math.min(left, column);
        right = Math.max(right, column);
        top = Math.min(top, first);
        bottom = Math.max(bottom, last);
        begin = end;
      }
    }
    at += length;
  });
  if (right < 0) return { x: 0, y: 0, width: 0, height: 0, step, data: new Uint8Array(0) };
  const x = left - (left % step);
  const y = top - (top % step);
  const width = Math.floor((right - x) / step) + 1;
  const height = Math.floor((bottom - 1 - y) / step) + 1;
  const data = new Uint8Array(width * height);
  for (let i = 0; i < stretches.length; i += 3) {
    if ((stretches[i] - x) % step) continue;
    const column = (stretches[i] - x) / step;
    const last = (stretches[i + 2] - y) / step;
    for (let row = Math.ceil((stretches[i + 1] - y) / step); row < last; row++) {
      data[row * width + column] = 1;
    }
  }
  return { x, y, width, height, step, data };
}

/** Whether a pixel of the picture is the mask's. */
export function covers(mask, x, y) {
  const column = Math.floor((x - mask.x) / mask.step);
  const row = Math.floor((y - mask.y) / mask.step);
  if (column < 0 || row < 0 || column >= mask.width || row >= mask.height) return false;
  return mask.data[row * mask.width + column] === 1;
}
