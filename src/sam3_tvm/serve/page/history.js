// States that one can go back to. They are never changed, only replaced.

export class History {
  #past = [];
  #future = [];

  /** @param {object} state the first @param {(state: object) => void} changed called after each change */
  constructor(state, changed) {
    this.first = state;
    this.state = state;
    this.changed = changed;
  }

  get canUndo() { return this.#past.length > 0; }
  get canRedo() { return this.#future.length > 0; }

  /** Go on to a state with these members changed. */
  set(changes) {
    this.#past.push(this.state);
    this.#future = [];
    this.state = { ...this.state, ...changes };
    this.changed(this.state);
  }

  /** Whether there was something to undo. */
  undo() { return this.#move(this.#past, this.#future); }
  redo() { return this.#move(this.#future, this.#past); }

  /** Begin anew, for another picture, say. */
  reset(state = this.first) {
    this.#past = [];
    this.#future = [];
    this.state = state;
    this.changed(state);
  }

  #move(from, to) {
    if (!from.length) return false;
    to.push(this.state);
    this.state = from.pop();
    this.changed(this.state);
    return true;
  }
}
