// What the server said of the picture at hand, by what it was asked.

import { request } from "./api.js";

export class Answers {
  #known = new Map();
  #asking = new Map();

  /** Forget all, and what is being asked. */
  clear() {
    for (const { stop } of this.#asking.values()) stop.abort();
    this.#asking.clear();
    this.#known.clear();
  }

  /** The answer to a request, if it is known. */
  get(body) {
    return body ? this.#known.get(JSON.stringify(body)) : undefined;
  }

  /**
   * An answer, known or new. A later request of the same slot ends one that runs.
   *
   * @returns {Promise<{fresh: boolean}>} whether it wasn't known before
   */
  async ask(path, body, slot) {
    const key = JSON.stringify(body);
    const running = this.#asking.get(slot);
    if (running?.key === key) return running.answer;
    running?.stop.abort();
    this.#asking.delete(slot);
    if (this.#known.has(key)) return { fresh: false };
    const stop = new AbortController();
    const answer = request(path, { json: body, signal: stop.signal })
      .then((response) => response.json())
      .then((said) => {
        this.#known.set(key, said);
        return { fresh: true };
      })
      .finally(() => {
        if (this.#asking.get(slot)?.stop === stop) this.#asking.delete(slot);
      });
    this.#asking.set(slot, { key, stop, answer });
    return answer;
  }
}
