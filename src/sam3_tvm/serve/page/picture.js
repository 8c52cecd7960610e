// The tab for a picture. What is asked follows from the prompts, and what is shown from the answers:
// going back to earlier prompts shows what they gave, without asking again.

import { acceptDrops, attempt, byId, chip, hideFault, refill, save, say } from "./dom.js";
import { Answers } from "./answers.js";
import { objectColour } from "./colours.js";
import { canCopy, copy, exported, fileName } from "./exports.js";
import { History } from "./history.js";
import { listObjects } from "./objects.js";
import { Tools, historyKeys } from "./tools.js";
import { Upload } from "./upload.js";
import { Viewer } from "./viewer.js";

const NOTHING = { points: [], box: null, choice: null };
const EMPTY = { phrases: [], like: [], unlike: [], click: NOTHING, kept: [] };

export class PictureTab {
  constructor() {
    this.tab = byId("picture");
    this.tools = new Tools(this.tab, "tool");
    this.history = new History(EMPTY, () => this.sync());
    this.answers = new Answers();
    this.upload = new Upload();
    this.hidden = new Set(); // ids of objects that are not shown
    this.colours = new Map();
    this.viewer = new Viewer(byId("picture-canvas"), {
      label: "Picture",
      tool: () => this.tools.tool,
      act: (tool, place) => this.act(tool, place),
      describe: (x, y) => this.viewer.layers.at(this.shown(), x, y)?.name ?? "no object",
      key: (event) => this.key(event),
    });
    this.tools.connect(this.tab, this.viewer);
    this.#listen();
    this.render();
  }

  #listen() {
    const { history } = this;
    byId("pick").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = ""; // the same one may be picked again
      if (file) this.open(file);
    });
    acceptDrops(byId("picture-drop"), (file) => this.open(file));
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
      if (file && !this.tab.hidden) this.open(file);
    });
    byId("phrase-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const phrase = byId("phrase").value.trim();
      byId("phrase").value = "";
      if (phrase && !history.state.phrases.includes(phrase)) {
        history.set({ phrases: [...history.state.phrases, phrase] });
      }
    });
    byId("undo").addEventListener("click", () => history.undo() && say("Undone."));
    byId("redo").addEventListener("click", () => history.redo() && say("Redone."));
    byId("clear").addEventListener("click", () => {
      history.set(EMPTY);
      say("All prompts are removed. Undo brings them back.");
    });
    byId("keep").addEventListener("click", () => this.keep());
    byId("discard").addEventListener("click", () => history.set({ click: NOTHING }));
    byId("other-mask").addEventListener("click", () => this.otherMask());
    byId("threshold").addEventListener("input", () => this.render());
    byId("threshold").addEventListener("change", () => say(byId("found-count").textContent));
    byId("format").addEventListener("change", () => this.render());
    byId("download").addEventListener("click", () => this.takeAway(save));
    byId("copy").addEventListener("click", () => this.takeAway(null));
    historyKeys(this.tab, history, say);
  }

  /** Take another picture: it is shown at once, and asked about when it is encoded. */
  async open(file) {
    hideFault();
    this.answers.clear();
    this.hidden.clear();
    this.colours.clear();
    this.picture = null;
    this.history.reset(EMPTY);
    byId("picture-name").textContent = file.name;
    await attempt(async () => {
      const opened = await this.upload.open(file, (bitmap) => {
        this.viewer.show(bitmap, file.name, [bitmap.width, bitmap.height]);
      });
      if (!opened) return; // another one was chosen meanwhile
      const size = [opened.width, opened.height];
      this.viewer.show(opened.bitmap, file.name, size, this.viewer.width === size[0] && this.viewer.height === size[1]);
      this.picture = opened;
      say(`The picture is ready, ${size[0]} by ${size[1]} pixels.`);
      await this.sync();
    });
  }

  act(tool, place) {
    const { state } = this.history;
    if (tool === "like" || tool === "unlike") {
      this.history.set({ [tool]: [...state[tool], place] });
      say(tool === "like" ? "Box around what is meant." : "Box around what is not meant.");
    } else if (tool === "around") {
      this.history.set({ click: { ...state.click, box: place, choice: null } });
    } else {
      const points = [...state.click.points, [...place, tool === "on" ? 1 : 0]];
      this.history.set({ click: { ...state.click, points, choice: null } });
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey) return false;
    const chosen = /^[1-5]$/.test(event.key) && this.tools.choose(Number(event.key));
    if (!chosen) return false;
    say(`Pointer: ${chosen}.`);
    return true;
  }

  /** Ask what the prompts need and isn't known yet, and show what is. */
  async sync() {
    this.render();
    if (!this.picture) return;
    const { picture } = this;
    const ask = (path, body, slot) => this.answers.ask(`/v1/images/${picture.id}/${path}`, body, slot);
    await attempt(() => this.upload.again(picture, async () => {
      const asked = this.#requests();
      const about = await Promise.all([
        asked.segment && ask("segment", asked.segment, "segment"),
        asked.click && ask("click", asked.click, "click"),
        ...asked.kept.map((one, at) => ask("click", one, `kept ${at}`)),
      ]);
      if (about.some((one) => one?.fresh) && picture === this.picture) {
        this.render();
        say(byId("found-count").textContent || byId("click-about").textContent);
      }
    }));
  }

  /** What the prompts at hand ask. */
  #requests() {
    const { phrases, like, unlike, click, kept } = this.history.state;
    const any = phrases.length || like.length || unlike.length;
    return {
      segment: any ? { phrases, boxes: like, negative_boxes: unlike, threshold: Number(byId("threshold").min) } : null,
      click: clickRequest(click),
      kept: kept.map(clickRequest),
    };
  }

  #mask(click) {
    const answer = this.answers.get(clickRequest(click));
    if (!answer) return null;
    const at = click.choice ?? answer.best;
    return { ...answer.masks[at], at, of: answer.masks.length, sure: answer.object_score };
  }

  keep() {
    const { click, kept } = this.history.state;
    const mask = this.#mask(click);
    if (!mask) return;
    const number = Math.max(0, ...kept.map((one) => one.number)) + 1;
    this.history.set({ click: NOTHING, kept: [...kept, { ...click, choice: mask.at, number, name: `object ${number}` }] });
    say(`Kept as object ${number}. The next click begins another.`);
  }

  otherMask() {
    const { click } = this.history.state;
    const mask = this.#mask(click);
    if (mask) this.history.set({ click: { ...click, choice: (mask.at + 1) % mask.of } });
  }

  /** All objects that are there, kept ones first, whatever the threshold. */
  objects() {
    const { click, kept } = this.history.state;
    const found = [];
    kept.forEach((one, at) => {
      const mask = this.#mask(one);
      if (!mask) return;
      const change = (to) => this.history.set({ kept: this.history.state.kept.flatMap((other, n) => (n === at ? to : [other])) });
      found.push({ ...mask, id: `kept ${one.number}`, name: one.name, phrase: one.name, clicked: true,
        rename: (name) => change([{ ...one, name }]), remove: () => change([]) });
    });
    const now = this.#mask(click);
    if (now) found.unshift({ ...now, id: "clicked", name: "clicked", phrase: "clicked", clicked: true });
    const { segment } = this.#requests();
    const answer = segment && this.answers.get(segment);
    for (const result of answer?.results ?? []) {
      const name = this.history.state.phrases.length ? result.text : "alike";
      result.objects.forEach((one, number) => {
        found.push({ ...one, id: `${name} ${number}`, name, phrase: name, clicked: false });
      });
    }
    return found.map((one) => ({ ...one, colour: this.#colour(one.id) }));
  }

  #colour(id) {
    if (!this.colours.has(id)) this.colours.set(id, objectColour(this.colours.size));
    return this.colours.get(id);
  }

  /** Objects above the threshold; those that are clicked always are. */
  listed() {
    const threshold = Number(byId("threshold").value);
    return this.objects().filter((one) => one.clicked || one.score > threshold);
  }

  shown() {
    return this.listed().filter((one) => !this.hidden.has(one.id));
  }

  render() {
    const { state } = this.history;
    byId("threshold-value").textContent = Number(byId("threshold").value).toFixed(2);
    byId("undo").disabled = !this.history.canUndo;
    byId("redo").disabled = !this.history.canRedo;
    byId("clear").disabled = state === EMPTY;
    this.#renderPrompts(state);
    this.#renderClick(state.click);
    const listed = this.listed();
    listObjects(byId("objects"), listed.map((one) => ({
      ...one, about: one.score.toFixed(2), shown: !this.hidden.has(one.id),
    })), {
      show: (id, shown) => {
        if (shown) this.hidden.delete(id);
        else this.hidden.add(id);
        this.#draw();
      },
      light: (id) => this.#draw(id),
    });
    const found = this.objects().filter((one) => !one.clicked).length;
    const above = listed.filter((one) => !one.clicked).length;
    const asked = Boolean(this.#requests().segment);
    const answered = asked && this.answers.get(this.#requests().segment);
    byId("found-count").textContent = answered ? `${above} found, of ${found} candidates` : "";
    byId("objects-none").hidden = listed.length > 0;
    byId("objects-none").textContent = !asked ? "Nothing yet: write a phrase, or click on an object."
      : answered ? "Nothing is above the threshold."
        : this.picture ? "Looking …" : "Asked as soon as the picture is encoded.";
    this.#draw();
  }

  #renderPrompts({ phrases, like, unlike }) {
    const without = (name, at) => () => this.history.set({ [name]: this.history.state[name].filter((_, n) => n !== at) });
    refill(byId("prompts"), [
      ...phrases.map((phrase, at) => chip(phrase, without("phrases", at))),
      ...like.map((_, at) => chip(`alike ${at + 1}`, without("like", at), "like")),
      ...unlike.map((_, at) => chip(`not alike ${at + 1}`, without("unlike", at), "unlike")),
    ]);
  }

  #renderClick(click) {
    const request = clickRequest(click);
    byId("clicked").hidden = !request;
    if (!request) return;
    const mask = this.#mask(click);
    byId("other-mask").disabled = !mask || mask.of < 2;
    byId("keep").disabled = !mask;
    const count = `${click.points.length} click${click.points.length === 1 ? "" : "s"}${click.box ? " and a box" : ""}`;
    byId("click-about").textContent = mask
      ? `${count}; mask ${mask.at + 1} of ${mask.of}, predicted overlap ${mask.score.toFixed(2)}. Click on what is missing or beside, to refine.`
      : `${count}; ${this.picture ? "asking …" : "asked as soon as the picture is encoded."}`;
  }

  #draw(lit = null) {
    const { like, unlike, click } = this.history.state;
    const shown = this.shown();
    const marks = [
      ...like.map((place) => ({ kind: "like", place })),
      ...unlike.map((place) => ({ kind: "unlike", place })),
      ...(click.box ? [{ kind: "around", place: click.box }] : []),
      ...click.points.map(([x, y, on]) => ({ kind: on ? "on" : "beside", place: [x, y] })),
    ];
    this.viewer.set(shown, marks, shown.some((one) => one.id === lit) ? lit : null);
    const format = byId("format").value;
    byId("download").disabled = !this.picture || !shown.length;
    byId("copy").disabled = byId("download").disabled || !canCopy(format);
  }

  async takeAway(keep) {
    const format = byId("format").value;
    const made = exported(this.picture, this.shown(), format, this.viewer.layers);
    await attempt(async () => {
      const name = fileName(this.picture.name, format);
      if (keep) keep(await made, name);
      else {
        await made; // its own fault, rather than the clipboard's
        await copy(format, made);
      }
      say(keep ? `Saved as ${name}.` : "Copied.");
    });
  }
}

/** What a click's prompts ask; null where there are none that say where the object is. */
function clickRequest({ points, box }) {
  if (!points.length && !box) return null;
  const of = (label) => points.filter((one) => one[2] === label).map(([x, y]) => [x, y]);
  return { points: of(1), negative_points: of(0), box, multimask: points.length + (box ? 2 : 0) < 2 };
}
