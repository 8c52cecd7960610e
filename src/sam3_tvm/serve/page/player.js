// Which frame of a film is shown, and that it plays.

import { attempt, byId, say } from "./dom.js";

const DEFAULT_FPS = 25;

export class Player {
  /** @param {(index: number, picture: ImageBitmap) => void} show */
  constructor(show) {
    this.show = show;
    this.index = 0;
    this.playing = false;
    byId("seek").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    byId("play").addEventListener("click", () => this.toggle());
    byId("back").addEventListener("click", () => this.step(-1));
    byId("forth").addEventListener("click", () => this.step(1));
  }

  /** @param {import("./frames.js").FrameSource | null} frames */
  open(frames, count, fps) {
    this.frames = frames;
    this.count = count;
    this.fps = fps || DEFAULT_FPS;
    this.playing = false;
    byId("play").textContent = "Play";
    for (const id of ["play", "back", "forth", "seek"]) byId(id).disabled = !frames;
    byId("seek").max = Math.max(0, count - 1);
    byId("place").textContent = "";
    return frames ? this.seek(0) : null;
  }

  /** Show a frame; one that is asked for later passes those that haven't come. */
  async seek(index) {
    this.index = Math.min(Math.max(0, index), this.count - 1);
    const { index: wanted, frames } = this;
    byId("seek").value = wanted;
    const text = `${wanted} of ${this.count - 1} · ${(wanted / this.fps).toFixed(2)} s`;
    byId("place").textContent = text;
    byId("seek").ariaValueText = `frame ${text}`;
    const shown = await attempt(async () => {
      const picture = await frames.get(wanted).catch((error) => {
        if (this.frames === frames) throw error; // else of a film that is gone
      });
      if (this.index === wanted && this.frames === frames) this.show(wanted, picture);
    });
    if (!shown) this.playing = false;
  }

  step(by) {
    this.pause();
    return this.seek(this.index + by);
  }

  pause() {
    this.playing = false;
    byId("play").textContent = "Play";
  }

  async toggle() {
    if (this.playing) {
      this.pause();
      return;
    }
    this.playing = true;
    byId("play").textContent = "Pause";
    if (this.index >= this.count - 1) this.index = -1;
    while (this.playing && this.index < this.count - 1) {
      const next = new Promise((done) => setTimeout(done, 1000 / this.fps));
      await this.seek(this.index + 1);
      if (this.index + 1 < this.count) this.frames.get(this.index + 1).catch(() => {});
      await next;
    }
    if (this.playing) say("The end of the film.");
    this.pause();
  }
}
