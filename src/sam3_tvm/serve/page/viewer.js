// A picture on a canvas, with masks and prompts on it; it is clicked and drawn on by mouse, finger
// or keyboard. It keeps no state of its own but where one looks, the cursor and a box half drawn.

import { say } from "./dom.js";
import { Layers } from "./layers.js";
import { paintPrompts } from "./marks.js";

const MOST_ZOOM = 16;
const DRAG = 5; // CSS pixels from which a press is a drag

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas in an element that is as wide as it may be
   * @param {{tool: () => {name: string, box: boolean}, act: (tool: string, place: number[]) => void,
   *   describe: (x: number, y: number) => string, key: (event: KeyboardEvent) => boolean,
   *   label: string}} about
   *   the tool at hand, and what is done with a point [x, y] or a box [x0, y0, x1, y1] in the
   *   picture's pixels; what lies at a place; keys of the page's own
   */
  constructor(canvas, about) {
    this.canvas = canvas;
    this.about = about;
    this.layers = new Layers();
    this.picture = null;
    this.marks = [];
    this.masks = [];
    this.lit = null;
    this.zoom = 1;
    this.left = 0;
    this.top = 0;
    this.cursor = null;
    this.byKeys = false; // whether the cursor is to be seen
    this.corner = null; // of a box that is drawn
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    addEventListener("resize", () => this.resize());
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("blur", () => this.draw());
  }

  /** @param {ImageBitmap | null} picture @param {string} name @param {number[]} size width, height */
  show(picture, name, size, keepView = false) {
    this.picture = picture;
    this.width = size[0];
    this.height = size[1];
    this.canvas.hidden = false;
    this.canvas.previousElementSibling.hidden = true;
    this.canvas.ariaLabel = `${this.about.label} ${name}, ${size[0]} by ${size[1]} pixels`;
    if (!keepView) {
      this.zoom = 1;
      this.left = this.top = 0;
      this.corner = this.cursor = null;
      this.layers.clear();
    }
    this.resize();
  }

  /**
   * @param {{id: string, segmentation: object, colour: number[]}[]} masks the upper ones first
   * @param {{kind: string, place: number[]}[]} marks prompts
   * @param {string | null} lit the id of the mask that stands out
   */
  set(masks, marks, lit = null) {
    this.masks = masks;
    this.marks = marks;
    this.lit = lit;
    this.layers.keep(masks);
    this.draw();
  }

  /** CSS pixels per pixel of the picture. */
  get scale() { return this.fit * this.zoom; }

  resize() {
    if (!this.width || !this.canvas.parentElement.clientWidth) return;
    const room = this.canvas.parentElement.clientWidth;
    const most = Math.max(220, innerHeight * 0.7);
    this.fit = Math.min(room / this.width, most / this.height, Math.max(1, 640 / Math.max(this.width, this.height)));
    const [width, height] = [Math.round(this.width * this.fit), Math.round(this.height * this.fit)];
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.look();
  }

  /** Zoom by a factor, about a place of the picture that stays where it is; 0 shows all. */
  zoomBy(factor, x = this.left + this.width / this.zoom / 2, y = this.top + this.height / this.zoom / 2) {
    if (!this.width) return;
    const before = this.zoom;
    this.zoom = factor ? Math.min(MOST_ZOOM, Math.max(1, before * factor)) : 1;
    this.left = x - (x - this.left) * before / this.zoom;
    this.top = y - (y - this.top) * before / this.zoom;
    this.look();
  }

  /** Draw after where one looks has changed. */
  look() {
    this.left = Math.min(Math.max(0, this.left), this.width - this.width / this.zoom);
    this.top = Math.min(Math.max(0, this.top), this.height - this.height / this.zoom);
    this.touch();
    this.draw();
  }

  /** Let a finger scroll the page where it has nothing else to do here. */
  touch() {
    this.canvas.style.touchAction = this.zoom > 1 || this.about.tool().box ? "none" : "pan-y";
  }

  /** A picture's pixel at an event. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.#inside(
      this.left + (event.clientX - box.left) / this.scale,
      this.top + (event.clientY - box.top) / this.scale,
    );
  }

  #inside(x, y) {
    return [Math.min(Math.max(0, Math.floor(x)), this.width - 1), Math.min(Math.max(0, Math.floor(y)), this.height - 1)];
  }

  draw() {
    if (!this.width || this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.#paint();
    });
  }

  #paint() {
    const context = this.canvas.getContext("2d");
    const scale = this.scale * devicePixelRatio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#777";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(scale, 0, 0, scale, -this.left * scale, -this.top * scale);
    context.imageSmoothingEnabled = scale < 3;
    if (this.picture) context.drawImage(this.picture, 0, 0, this.width, this.height);
    this.layers.paint(context, this.masks, this.lit);
    const marks = [...this.marks];
    if (this.corner) {
      const end = this.end ?? this.cursor ?? this.corner;
      marks.push({ kind: this.about.tool().name, place: boxOf(this.corner, end), open: true });
    }
    const cursor = this.byKeys && document.activeElement === this.canvas ? this.cursor : null;
    paintPrompts(context, marks, cursor, 1 / this.scale);
  }

  #down(event) {
    if (!this.width || event.button !== 0) return;
    this.byKeys = false;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      this.corner = this.end = this.press = null;
      this.pinch = this.#spread();
      return;
    }
    this.press = { x: event.clientX, y: event.clientY, left: this.left, top: this.top, dragged: false };
    if (this.about.tool().box) {
      this.corner = this.place(event);
      this.end = this.corner;
    }
  }

  #move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      const now = this.#spread();
      const [x, y] = this.place(now);
      this.zoomBy(now.length / Math.max(1, this.pinch.length), x, y);
      this.pinch = now;
      return;
    }
    if (!this.press) return;
    const [dx, dy] = [event.clientX - this.press.x, event.clientY - this.press.y];
    if (Math.hypot(dx, dy) > DRAG) this.press.dragged = true;
    if (!this.press.dragged) return;
    if (this.corner) {
      this.end = this.place(event);
      this.draw();
    } else if (this.zoom > 1) {
      this.left = this.press.left - dx / this.scale;
      this.top = this.press.top - dy / this.scale;
      this.look();
    }
  }

  #spread() {
    const [a, b] = [...this.pointers.values()];
    return {
      clientX: (a.clientX + b.clientX) / 2,
      clientY: (a.clientY + b.clientY) / 2,
      length: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY),
    };
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.press) return;
    const { dragged } = this.press;
    const tool = this.about.tool();
    const place = this.place(event);
    const corner = this.corner;
    this.press = this.corner = this.end = null;
    this.cursor = place;
    if (corner) {
      const box = boxOf(corner, place);
      if (dragged && box[2] - box[0] > 1 && box[3] - box[1] > 1) this.about.act(tool.name, box);
      else say("Drag from one corner of the box to the other.");
    } else if (!dragged) {
      this.about.act(tool.name, place);
    }
    this.draw();
  }

  #cancel(event) {
    this.pointers.delete(event.pointerId);
    this.press = this.corner = this.end = null;
    this.draw();
  }

  #wheel(event) {
    if (!event.ctrlKey || !this.width) return; // the page scrolls
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 300), ...this.place(event));
  }

  #key(event) {
    if (!this.width || event.altKey) return;
    clearTimeout(this.telling); // what is done now is of more interest
    if (this.about.key(event)) {
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (steps[event.key]) this.#step(steps[event.key], event.shiftKey);
    else if (event.key === "Enter" || event.key === " ") this.#press();
    else if (event.key === "Escape" && this.corner) {
      this.corner = null;
      say("Box given up.");
    } else if (event.key === "+" || event.key === "=") this.zoomBy(1.5, ...(this.cursor ?? []));
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.zoomBy(0);
    else return;
    event.preventDefault();
    this.draw();
  }

  #step([dx, dy], fine) {
    const length = fine ? 1 : Math.max(1, Math.round(Math.max(this.width, this.height) / this.zoom / 40));
    this.byKeys = true;
    const [x, y] = this.cursor ?? [Math.floor(this.width / 2), Math.floor(this.height / 2)];
    this.cursor = this.cursor ? this.#inside(x + dx * length, y + dy * length) : [x, y];
    // What is looked at follows the cursor.
    const [w, h] = [this.width / this.zoom, this.height / this.zoom];
    this.left = Math.min(Math.max(this.left, this.cursor[0] - w * 0.95), this.cursor[0] - w * 0.05);
    this.top = Math.min(Math.max(this.top, this.cursor[1] - h * 0.95), this.cursor[1] - h * 0.05);
    this.look();
    clearTimeout(this.telling);
    this.telling = setTimeout(() => say(`${this.cursor.join(", ")}: ${this.about.describe(...this.cursor)}`), 250);
  }

  #press() {
    if (!this.cursor) {
      this.#step([0, 0], true);
      return;
    }
    const tool = this.about.tool();
    if (!tool.box) {
      this.about.act(tool.name, this.cursor);
    } else if (!this.corner) {
      this.corner = this.cursor;
      say(`A corner at ${this.cursor.join(", ")}: move to the other, and press again.`);
    } else {
      const box = boxOf(this.corner, this.cursor);
      if (box[2] - box[0] > 1 && box[3] - box[1] > 1) {
        this.corner = null;
        this.about.act(tool.name, box);
      } else say("The box has no size: move the cursor first.");
    }
  }
}

/** The box with these pixels as its corners, both within. */
function boxOf([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1) + 1, Math.max(y0, y1) + 1];
}
