// Clicks, boxes and the cursor, in sizes of the screen whatever the zoom.

const GOOD = "#1f9d55";
const BAD = "#d6322a";
const PLAIN = "#1f5fbf";

const COLOURS = { on: GOOD, beside: BAD, around: PLAIN, like: GOOD, unlike: BAD };

/**
 * @param {CanvasRenderingContext2D} context in the picture's pixels
 * @param {{kind: string, place: number[], open?: boolean}[]} marks points [x, y] and boxes
 * @param {number[] | null} cursor
 * @param {number} unit a CSS pixel, in the picture's
 */
export function paintPrompts(context, marks, cursor, unit) {
  for (const { kind, place, open } of marks) {
    if (place.length === 4) paintBox(context, place, COLOURS[kind], kind === "unlike" || open, unit);
    else paintPoint(context, place, kind === "on", unit);
  }
  if (cursor) paintCursor(context, cursor, unit);
}

/** Twice: a light line around the coloured one stands out on any ground. */
function stroked(context, colour, width, unit) {
  context.lineWidth = (width + 2) * unit;
  context.strokeStyle = "#fff";
  context.stroke();
  context.lineWidth = width * unit;
  context.strokeStyle = colour;
  context.stroke();
}

function paintBox(context, [x0, y0, x1, y1], colour, dashed, unit) {
  context.beginPath();
  context.setLineDash(dashed ? [6 * unit, 4 * unit] : []);
  context.rect(x0, y0, x1 - x0, y1 - y0);
  stroked(context, colour, 2, unit);
  context.setLineDash([]);
}

function paintPoint(context, [x, y], on, unit) {
  const [cx, cy, r] = [x + 0.5, y + 0.5, 8 * unit];
  context.beginPath();
  context.arc(cx, cy, r, 0, 2 * Math.PI);
  context.fillStyle = on ? GOOD : BAD;
  context.fill();
  context.lineWidth = 2 * unit;
  context.strokeStyle = "#fff";
  context.stroke();
  context.beginPath();
  context.moveTo(cx - r / 2, cy);
  context.lineTo(cx + r / 2, cy);
  if (on) {
    context.moveTo(cx, cy - r / 2);
    context.lineTo(cx, cy + r / 2);
  }
  context.stroke();
}

function paintCursor(context, [x, y], unit) {
  const [cx, cy] = [x + 0.5, y + 0.5];
  context.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    context.moveTo(cx + dx * 4 * unit, cy + dy * 4 * unit);
    context.lineTo(cx + dx * 16 * unit, cy + dy * 16 * unit);
  }
  stroked(context, "#111", 2, unit);
}
