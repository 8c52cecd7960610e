// The tab for a film: it is sent, objects are named or shown, and followed; frames come one by one.

import { getJson, jsonLines, request } from "./api.js";
import { objectColour } from "./colours.js";
import { acceptDrops, attempt, byId, chip, hideFault, make, refill, save, say } from "./dom.js";
import { FrameSource } from "./frames.js";
import { History } from "./history.js";
import { listObjects } from "./objects.js";
import { Player } from "./player.js";
import { Tools, historyKeys } from "./tools.js";
import { Viewer } from "./viewer.js";

/** `shown` has an entry for each object and frame: id, frame, points [x, y, 1 or 0], box. */
const EMPTY = { phrases: [], shown: [], object: 1 };

export class FilmTab {
  constructor() {
    this.tab = byId("film");
    this.tools = new Tools(this.tab, "film-tool");
    this.history = new History(EMPTY, () => this.render());
    this.lines = new Map(); // by frame, as they came
    this.hidden = new Set();
    this.viewer = new Viewer(byId("film-canvas"), {
      label: "Frame of",
      tool: () => this.tools.tool,
      act: (tool, place) => this.act(tool, place),
      describe: (x, y) => this.viewer.layers.at(this.onFrame(), x, y)?.name ?? "no object",
      key: (event) => this.key(event),
    });
    this.player = new Player((index, picture) => {
      const first = this.viewer.picture === null || this.fresh;
      this.fresh = false;
      this.viewer.show(picture, this.film.name, [this.film.width, this.film.height], !first);
      this.render();
    });
    this.tools.connect(this.tab, this.viewer);
    this.#listen();
    this.render();
  }

  #listen() {
    const { history } = this;
    byId("film-pick").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.open(file);
    });
    acceptDrops(byId("film-drop"), (file) => this.open(file));
    byId("film-phrase-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const phrase = byId("film-phrase").value.trim();
      byId("film-phrase").value = "";
      if (phrase && !history.state.phrases.includes(phrase)) history.set({ phrases: [...history.state.phrases, phrase] });
    });
    byId("film-object").addEventListener("change", (event) => history.set({ object: Number(event.target.value) }));
    byId("film-undo").addEventListener("click", () => history.undo() && say("Undone."));
    byId("film-redo").addEventListener("click", () => history.redo() && say("Redone."));
    byId("film-clear").addEventListener("click", () => history.set(EMPTY));
    byId("follow").addEventListener("click", () => this.follow());
    byId("stop").addEventListener("click", () => this.stop?.abort());
    byId("film-jsonl").addEventListener("click", () => this.takeAway("jsonl"));
    byId("film-mp4").addEventListener("click", () => this.takeAway("mp4"));
    historyKeys(this.tab, history, say);
  }

  async open(file) {
    hideFault();
    this.stop?.abort();
    this.sending?.abort();
    const sending = (this.sending = new AbortController());
    this.player.open(null, 0, null);
    byId("film-name").textContent = file.name;
    byId("sending").hidden = false;
    this.lines.clear();
    this.hidden.clear();
    const before = this.film;
    this.film = null;
    this.history.reset(EMPTY);
    // The server keeps a few only.
    if (before) request(`/v1/videos/${before.id}`, { method: "DELETE" }).catch(() => {});
    await attempt(async () => {
      const about = await getJson("/v1/videos", { body: file, type: "application/octet-stream", signal: sending.signal });
      this.film = { ...about, name: file.name };
      this.fresh = true;
      say(`The film is ready: ${about.frames ?? "an unknown number of"} frames.`);
      await this.player.open(new FrameSource(about), about.frames ?? 1, about.fps);
    });
    if (this.sending !== sending) return; // another was chosen meanwhile
    byId("sending").hidden = true;
    this.render();
  }

  act(tool, place) {
    this.player.pause();
    const { state } = this.history;
    const frame = this.player.index;
    const of = (one) => one.id === state.object && one.frame === frame;
    const now = state.shown.find(of) ?? { id: state.object, frame, points: [], box: null };
    const next = tool === "around" ? { ...now, box: place }
      : { ...now, points: [...now.points, [...place, tool === "on" ? 1 : 0]] };
    this.history.set({ shown: [...state.shown.filter((one) => !of(one)), next] });
    say(`Object ${state.object} on frame ${frame}. Follow shows what comes of it.`);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey) return false;
    if (event.key === ",") this.player.step(-1);
    else if (event.key === ".") this.player.step(1);
    else if (event.key.toLowerCase() === "p") this.player.toggle();
    else {
      const chosen = /^[1-3]$/.test(event.key) && this.tools.choose(Number(event.key));
      if (chosen) say(`Pointer: ${chosen}.`);
      return Boolean(chosen);
    }
    return true;
  }

  /** Follow from the beginning what is named and shown; frames are shown as they come. */
  async follow() {
    hideFault();
    this.player.pause();
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    const { film } = this;
    this.lines = new Map();
    byId("following").hidden = byId("stop").hidden = false;
    this.render();
    this.#progress();
    say("Following.");
    const whole = await attempt(async () => {
      const response = await request(`/v1/videos/${film.id}/track`, { json: this.#asked(), signal: stop.signal });
      for await (const line of jsonLines(response)) {
        stop.signal.throwIfAborted(); // lines that came together with the last are left
        if (line.error) throw Object.assign(new Error(line.error.detail), { status: line.error.status });
        this.lines.set(line.frame, line);
        this.#progress();
        await this.player.seek(line.frame);
      }
    });
    if (this.stop !== stop) return; // another began
    byId("following").hidden = byId("stop").hidden = true;
    this.stop = null;
    this.render();
    say(`${whole ? "Done" : "Stopped"}: ${this.lines.size} frames.`);
  }

  #progress() {
    const total = this.film.frames ?? 0;
    byId("following-bar").max = Math.max(1, total);
    byId("following-bar").value = this.lines.size;
    const late = !this.lines.size && this.history.state.phrases.length && !byId("live").checked
      ? "; the first results come some frames late" : "";
    byId("following-text").textContent = `${this.lines.size} of ${total || "?"} frames${late}`;
  }

  #asked() {
    const { phrases, shown } = this.history.state;
    const points = (one, label) => one.points.filter((p) => p[2] === label).map(([x, y]) => [x, y]);
    return {
      phrases,
      objects: shown.map((one) => ({ id: one.id, frame: one.frame, points: points(one, 1), negative_points: points(one, 0), box: one.box })),
      direction: byId("direction").value,
      live: byId("live").checked && phrases.length > 0,
    };
  }

  /** The objects that were found anywhere, by id. */
  objects() {
    const found = new Map();
    for (const { objects } of this.lines.values()) {
      for (const { id, phrase, area } of objects) {
        const one = found.get(id) ?? { id: `${id}`, name: phrase ?? `object ${id}`, frames: 0, colour: colourOf(id) };
        if (area) one.frames++;
        found.set(id, one);
      }
    }
    return [...found.values()];
  }

  /** The masks on the frame that is shown. */
  onFrame() {
    const line = this.lines.get(this.player.index);
    return (line?.objects ?? []).filter((one) => !this.hidden.has(`${one.id}`) && one.area).map((one) => ({
      id: `${one.id}`, name: one.phrase ?? `object ${one.id}`, segmentation: one.segmentation, colour: colourOf(one.id),
    }));
  }

  render() {
    const { state, canUndo, canRedo } = this.history;
    byId("film-undo").disabled = !canUndo;
    byId("film-redo").disabled = !canRedo;
    byId("film-clear").disabled = state === EMPTY;
    byId("follow").disabled = !this.film || !(state.phrases.length || state.shown.length);
    byId("film-mp4").disabled = byId("film-jsonl").disabled = !this.lines.size || !byId("stop").hidden;
    this.#renderPrompts(state);
    const objects = this.objects();
    byId("film-none").hidden = objects.length > 0;
    listObjects(byId("film-objects"), objects.map((one) => ({
      ...one, about: `${one.frames} frame${one.frames === 1 ? "" : "s"}`, shown: !this.hidden.has(one.id),
    })), {
      show: (id, shown) => {
        if (shown) this.hidden.delete(id);
        else this.hidden.add(id);
        this.#draw();
      },
      light: (id) => this.#draw(id),
    });
    this.#draw();
  }

  #renderPrompts({ phrases, shown, object }) {
    const without = (name, at) => () => this.history.set({ [name]: this.history.state[name].filter((_, n) => n !== at) });
    refill(byId("film-prompts"), [
      ...phrases.map((phrase, at) => chip(phrase, without("phrases", at))),
      ...shown.map((one, at) => chip(`object ${one.id} on frame ${one.frame}`, without("shown", at))),
    ]);
    const most = Math.max(0, ...shown.map((one) => one.id));
    const ids = Array.from({ length: Math.max(object, most + 1) }, (_, n) => n + 1);
    const options = ids.map((id) => make("option", { value: `${id}` }, id > most ? `a new object (${id})` : `object ${id}`));
    byId("film-object").replaceChildren(...options);
    byId("film-object").value = `${object}`;
  }

  #draw(lit = null) {
    const marks = this.history.state.shown.filter((one) => one.frame === this.player.index).flatMap((one) => [
      ...(one.box ? [{ kind: "around", place: one.box }] : []),
      ...one.points.map(([x, y, on]) => ({ kind: on ? "on" : "beside", place: [x, y] })),
    ]);
    this.viewer.set(this.onFrame(), marks, lit);
  }

  async takeAway(form) {
    const lines = [...this.lines.values()].sort((a, b) => a.frame - b.frame)
      .map((line) => ({ ...line, objects: line.objects.filter((one) => !this.hidden.has(`${one.id}`)) }));
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    const name = this.film.name.replace(/\.[^.]*$/, "");
    await attempt(async () => {
      if (form === "jsonl") save(new Blob([text], { type: "application/x-ndjson" }), `${name}.jsonl`);
      else {
        say("The film is drawn.");
        byId("film-mp4").disabled = true;
        const made = await request(`/v1/videos/${this.film.id}/draw`, { body: text, type: "application/x-ndjson" });
        save(await made.blob(), `${name}.masks.mp4`);
      }
      say("Saved.");
    });
    this.render();
  }
}

const colours = new Map();

/** Of an id, the same on every frame. */
function colourOf(id) {
  if (!colours.has(id)) colours.set(id, objectColour(colours.size));
  return colours.get(id);
}
